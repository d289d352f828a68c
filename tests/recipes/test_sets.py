"""Train, dev and test share neither a query nor a relevant document."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from firth.recipes.sets import split
from firth.text.records import Judgements

judgements = st.dictionaries(
    st.integers(0, 80).map(lambda i: f"q{i}"),
    st.dictionaries(st.integers(0, 60).map(lambda i: f"d{i}"), st.sampled_from([0.0, 1.0, 2.0]), max_size=3),
    max_size=80,
)


def relevant(part: Judgements) -> set[str]:
    return {document for found in part.values() for document, grade in found.items() if grade > 0}


@given(judgements, st.integers(0, 5))
def test_drawn_parts_share_no_query_and_no_relevant_document(train: Judgements, seed: int) -> None:
    sets = split({"train": train}, {}, seed=seed)
    for one, other in itertools.combinations((sets.train, sets.dev, sets.test), 2):
        assert not set(one) & set(other)
        assert not relevant(one) & relevant(other)


@given(judgements)
def test_the_same_seed_draws_the_same_parts(train: Judgements) -> None:
    assert split({"train": train}, {}, seed=3) == split({"train": train}, {}, seed=3)


def test_no_judged_query_is_lost_when_parts_are_drawn() -> None:
    train = {f"q{i}": {f"d{i}": 1.0} for i in range(100)}
    sets = split({"train": train}, {}, seed=0)
    assert {*sets.train, *sets.dev, *sets.test} == set(train)
    assert 25 <= len(sets.test) <= 31
    assert sets.dev


def test_parts_that_the_owner_named_are_kept() -> None:
    train, test = {f"q{i}": {f"d{i}": 1.0} for i in range(50)}, {"t": {"d0": 1.0}}
    sets = split({"train": train, "test": test}, {}, seed=0)
    assert sets.test == test
    assert {*sets.train, *sets.dev} == set(train)


def test_a_training_query_that_repeats_a_test_query_is_left_out_and_counted() -> None:
    train = {f"q{i}": {f"d{i}": 1.0} for i in range(5)}
    queries = {f"q{i}": f"question {i}" for i in range(5)} | {"t": "  Question 3 "}
    sets = split({"train": train, "test": {"t": {"d9": 1.0}}}, queries, seed=0)
    assert "q3" not in sets.train
    assert any(note.startswith("1 training queries") for note in sets.notes)


def test_answers_that_the_owners_train_and_test_parts_share_are_told() -> None:
    train = {f"q{i}": {f"d{i}": 1.0} for i in range(5)}
    sets = split({"train": train, "test": {"t": {"d3": 1.0}, "u": {"d9": 1.0, "d4": 0.0}}}, {}, seed=0)
    assert any(
        note.startswith("1 of 2 test queries are answered by documents that answer training") for note in sets.notes
    )


def test_a_query_without_a_relevant_document_neither_trains_nor_measures() -> None:
    sets = split({"train": {"q": {"d": 0.0}}, "test": {"t": {"d": 0.0}}}, {}, seed=0)
    assert (sets.train, sets.dev, sets.test) == ({}, {}, {})


def test_two_few_training_queries_give_up_no_dev_part() -> None:
    sets = split({"train": {"a": {"x": 1.0}}, "test": {"b": {"y": 1.0}}}, {}, seed=0)
    assert sets.dev == {}
    assert set(sets.train) == {"a"}
