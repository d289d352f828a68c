"""Flipped queries: the right ones, in order, with both rankings and what was missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from firth.arrays import Neighbours
from firth.errors import DataError
from firth.evaluate.flips import flips, snippet
from firth.evaluate.ranking import Ranking


@dataclass(frozen=True)
class Text:
    title: str
    text: str


@dataclass(frozen=True)
class Small:
    documents: dict[str, Text]
    queries: dict[str, str]
    judgements: dict[str, dict[str, float]]


@pytest.fixture
def small() -> Small:
    documents = {name: Text(name.upper(), f"text of {name}") for name in "abcdef"}
    queries = {"up": "gains", "down": "loses", "same": "stays", "little": "gains a little"}
    judgements: dict[str, dict[str, float]] = {
        "up": {"c": 1, "f": 2}, "down": {"a": 1}, "same": {"a": 1}, "little": {"b": 1},
    }  # fmt: skip
    return Small(documents, queries, judgements)


def ranking(small: Small, orders: list[str]) -> Ranking:
    ids = np.array([["abcdef".index(letter) for letter in order] for order in orders])
    scores = np.tile(np.array([0.9, 0.8, 0.7], np.float32), (len(orders), 1))
    return Ranking(list(small.queries), list(small.documents), Neighbours(ids, scores))


def test_gains_come_first_then_losses_each_by_size(small: Small) -> None:
    base, tuned = ranking(small, ["abc", "abc", "abc", "acb"]), ranking(small, ["cab", "bca", "acb", "abc"])
    found = flips(base, tuned, small, name="mrr")
    assert [flip.query_id for flip in found] == ["up", "little", "down"]
    assert [(flip.before, flip.after) for flip in found] == [(1 / 3, 1.0), (1 / 3, 1 / 2), (1.0, 1 / 3)]


def test_only_as_many_as_asked_for_are_shown(small: Small) -> None:
    base, tuned = ranking(small, ["abc", "abc", "abc", "acb"]), ranking(small, ["cab", "bca", "acb", "abc"])
    assert [flip.query_id for flip in flips(base, tuned, small, name="mrr", most=1)] == ["up", "down"]


def test_relevant_documents_further_down_follow_with_their_rank_and_missed_ones_without(small: Small) -> None:
    base, tuned = ranking(small, ["abc"] * 4), ranking(small, ["cab", "abc", "abc", "abc"])
    (flip,) = flips(base, tuned, small, name="mrr", shown=1)
    assert [(shown.rank, shown.id, shown.grade) for shown in flip.base] == [(1, "a", None), (3, "c", 1), (None, "f", 2)]
    assert [(shown.rank, shown.id) for shown in flip.tuned] == [(1, "c"), (None, "f")]
    assert flip.base[0].title == "A"
    assert flip.base[0].snippet == "text of a"


def test_rankings_of_different_queries_are_not_compared(small: Small) -> None:
    base = ranking(small, ["abc"] * 4)
    short = Ranking(base.queries[:3], base.documents, Neighbours(base.neighbours.ids[:3], base.neighbours.scores[:3]))
    with pytest.raises(DataError, match="lack different queries: 0 and 1"):
        flips(base, short, small)


def test_a_snippet_is_one_line_cut_between_words() -> None:
    assert snippet("one\n two\tthree") == "one two three"
    assert snippet("word " * 100, most=22) == "word word word word …"
    assert snippet("x" * 1000, most=50) == "x" * 50 + " …"
