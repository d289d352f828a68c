"""A batch never holds the same text as another's wrong answer, and an epoch holds every pair once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.errors import DataError
from firth.sentence.batches import Epoch
from firth.sentence.examples import Examples, examples, joined
from firth.text.records import Pair, Ragged


def by_letters(texts: Sequence[str], kind: str) -> Ragged:
    return Ragged.of([[ord(letter) for letter in text] + [0 if kind == "query" else 1] for text in texts])


def made(pairs: Sequence[Pair]) -> Examples:
    return examples(pairs, by_letters)


@st.composite
def some_pairs(draw: st.DrawFn) -> list[Pair]:
    letters = st.sampled_from("abcdefgh")
    negatives = st.lists(letters.map(str.upper), max_size=3).map(tuple)
    return draw(st.lists(st.builds(Pair, letters, letters.map(str.upper), negatives), min_size=1, max_size=60))


@settings(deadline=None)  # a shared machine's speed is no property
@given(pairs=some_pairs(), batch=st.integers(1, 9), negatives=st.integers(0, 3), epoch=st.integers(0, 2))
def test_an_epoch_holds_every_pair_once_and_no_batch_a_text_twice(
    pairs: list[Pair], batch: int, negatives: int, epoch: int
) -> None:
    found = made(pairs)
    seen = []
    for part in Epoch(found, batch=batch, negatives=negatives, seed=3, epoch=epoch):
        assert 1 <= len(part) <= batch
        assert len(set(part.queries.tolist())) == len(part)
        assert len(set(part.documents.tolist())) == len(part.documents)
        seen += list(zip(part.queries.tolist(), part.documents.tolist()[: len(part)], strict=True))
    assert len(seen) == len(found)
    assert set(seen) == set(zip(found.query.tolist(), found.positive.tolist(), strict=True))


@settings(deadline=None)  # a shared machine's speed is no property
@given(pairs=some_pairs(), negatives=st.integers(0, 3))
def test_another_answer_of_a_query_is_ignored_and_nothing_else_is(pairs: list[Pair], negatives: int) -> None:
    found = made(pairs)
    for part in Epoch(found, batch=6, negatives=negatives, seed=0, epoch=0):
        for row, query in enumerate(part.queries):
            for column, document in enumerate(part.documents):
                other = column != row and document in found.answers[int(query)]
                assert ([row, column] in part.ignore.tolist()) == other


@settings(deadline=None)  # a shared machine's speed is no property
@given(pairs=some_pairs())
def test_a_pairs_own_negatives_are_its_own_and_no_answers(pairs: list[Pair]) -> None:
    found = made(pairs)
    merged: dict[tuple[int, int], set[int]] = {}
    for i, key in enumerate(zip(found.query.tolist(), found.positive.tolist(), strict=True)):
        merged.setdefault(key, set()).update(found.negatives[i].tolist())
    for part in Epoch(found, batch=6, negatives=2, seed=0, epoch=0):
        for row, columns in enumerate(part.own):
            key = (int(part.queries[row]), int(part.documents[row]))
            chosen = {int(part.documents[column]) for column in columns if column >= 0}
            assert chosen <= merged[key] - set(found.answers[key[0]].tolist())


def test_order_and_negatives_are_drawn_from_seed_and_epoch() -> None:
    pairs = [Pair(f"q{i}", f"d{i}", tuple(f"n{i} {j}" for j in range(5))) for i in range(40)]
    found = made(pairs)

    def drawn(seed: int, epoch: int) -> list[list[int]]:
        return [part.documents.tolist() for part in Epoch(found, batch=8, negatives=2, seed=seed, epoch=epoch)]

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert all(len(columns) == 8 + 16 for columns in drawn(1, 0))


def test_pairs_that_all_share_one_answer_still_end_and_come_one_by_one() -> None:
    found = made([Pair(f"q{i}", "the answer") for i in range(300)])
    sizes = [len(part) for part in Epoch(found, batch=32, negatives=0, seed=0, epoch=0)]
    assert sizes == [1] * 300


def test_each_different_text_is_tokenised_once() -> None:
    found = made([Pair("q", "d", ("n", "m")), Pair("q", "n"), Pair("p", "d", ("m",))])
    assert (len(found.queries), len(found.documents)) == (2, 3)
    assert [answers.tolist() for answers in found.answers] == [[0, 1], [0]]
    assert found.queries.row(0).tolist() == [ord("q"), 0]
    assert found.documents.row(1).tolist() == [ord("n"), 1]


def test_texts_with_the_same_tokens_are_one_and_never_each_others_wrong_answer() -> None:
    def lower(texts: Sequence[str], kind: str) -> Ragged:
        return by_letters([text.lower()[:6] for text in texts], kind)

    found = examples([Pair("q", "THE Cat"), Pair("p", "the cat"), Pair("r", "the cats ran", ("The CAT",))], lower)
    assert len(found.documents) == 1
    assert found.positive.tolist() == [0, 0, 0]
    assert [len(part) for part in Epoch(found, batch=3, negatives=1, seed=0, epoch=0)] == [1, 1, 1]


@pytest.mark.parametrize("block", [1, 3, 100])
def test_pairs_of_a_stream_whose_tokens_lie_on_disk_are_those_in_memory(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firth.sentence.examples.BLOCK", block)
    pairs = [Pair(f"q{i % 7}", f"d{i % 5}", (f"n{i % 4}", f"d{i % 3}"), i % 2) for i in range(60)]
    held, mapped = examples(pairs, by_letters), examples(iter(pairs), by_letters, folder=tmp_path)
    assert mapped.identity == held.identity
    assert isinstance(mapped.documents.ids, np.memmap)
    assert mapped.asked == mapped.told == ()
    assert held.told[:4] == ("d0", "n0", "d1", "n1")
    assert len(held) == len(set(pairs))


def test_a_batch_is_the_same_whenever_it_is_asked_for() -> None:
    found = made([Pair(f"q{i}", f"d{i}", tuple(f"n{i} {j}" for j in range(5))) for i in range(40)])
    drawn = Epoch(found, batch=8, negatives=2, seed=1, epoch=2)
    assert drawn[3].documents.tolist() == drawn[3].documents.tolist() == drawn[-2].documents.tolist()
    assert [part.documents.tolist() for part in drawn[1:3]] == [drawn[i].documents.tolist() for i in (1, 2)]


def test_a_pair_alone_in_its_batch_is_left_out_where_it_can_teach_nothing() -> None:
    found = made([Pair("a", "x"), Pair("b", "x"), Pair("c", "x", ("y",))])
    kept = Epoch(found, batch=4, negatives=1, seed=0, epoch=0, least=2)
    assert [part.documents.tolist() for part in kept] == [[0, 1]]
    assert len(Epoch(found, batch=4, negatives=0, seed=0, epoch=0, least=2)) == 0


def test_the_same_pair_twice_counts_once() -> None:
    assert len(made([Pair("q", "d"), Pair("q", "d"), Pair("q", "d", ("n",))])) == 2


def test_the_identity_changes_with_the_data() -> None:
    assert made([Pair("q", "d")]).identity == made([Pair("q", "d")]).identity
    others = [[Pair("q", "e")], [Pair("q", "d", ("n",))], [Pair("q", "d", score=0.5)], [Pair("q", "d"), Pair("p", "d")]]
    assert len({made(pairs).identity for pairs in [*others, [Pair("q", "d")]]}) == 5


def test_joined_rows_follow_each_other() -> None:
    both = joined(Ragged.of([[1, 2], [3]]), Ragged.of([[4], [5, 6, 7]]))
    assert [both.row(i).tolist() for i in range(4)] == [[1, 2], [3], [4], [5, 6, 7]]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "there are no pairs"),
        ([Pair("a", "b"), Pair("", "x")], "pair 2: its query is empty"),
        ([Pair("a", "  ")], r"pair 1: its positive is empty \('a'\)"),
        ([Pair("a", "b", ("c", ""))], "its negative is empty"),
    ],
)
def test_a_pair_with_an_empty_side_is_named(pairs: list[Pair], message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(pairs)


def test_scores_come_along() -> None:
    found = made([Pair("a", "b", score=0.25), Pair("c", "d")])
    (part,) = Epoch(found, batch=4, negatives=0, seed=0, epoch=0)
    assert np.isnan(part.score).sum() == 1
    assert part.score[part.queries == 0] == 0.25
