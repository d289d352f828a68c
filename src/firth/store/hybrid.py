"""Search by word (BM25 of SQLite's FTS5), and the fusion of several rankings into one.

Source: reciprocal-rank fusion, Cormack, Clarke and Büttcher 2009, SIGIR, with their k = 60. Scores of two sources are
in units that cannot be compared; ranks can.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from firth.arrays import Ids, Vectors
from firth.errors import SettingsError
from firth.store.records import Source
from firth.store.words import tokens

COMMON = 0.6  # of the documents
FEW_WORDS = 3  # in a query; from there on common ones are left out
MOST_COUNTED = 50_000  # words whose counts are kept: some 5 MB
MOST_TOKENS = 64  # of a query; a longer one is a document, and each word costs a pass over its postings


@dataclass(frozen=True, slots=True)
class Hybrid:
    """How words and vectors are joined.

    Attributes:
        dense: weight of the vectors' ranking.
        words: weight of BM25's ranking.
        k: of the reciprocal rank 1 / (k + rank); larger lets lower ranks count more.
        candidates: taken from each source before they are joined; at least the k of the search.
        title: how much more a word in the title counts than one in the text.
    """

    dense: float = 1.0
    words: float = 1.0
    k: int = 60
    candidates: int = 100
    title: float = 1.0

    def __post_init__(self) -> None:
        if min(self.dense, self.words, self.title) < 0 or self.dense + self.words == 0:
            raise SettingsError(f"hybrid: weights must not be negative nor all zero, got {self}")
        if self.k < 0 or self.candidates < 1:
            raise SettingsError(f"hybrid: k must be at least 0 and candidates at least 1, got {self}")


class CommonWords:
    """Which words more than half of the documents hold: BM25 gives them no weight, so they need not be looked up.

    On SciFact that halves the time of a search by words and changes no score. What was counted is kept until the
    collection has grown or shrunk by a tenth; the bar is above a half by as much.
    """

    def __init__(self) -> None:
        self._counted: dict[str, tuple[int, bool]] = {}  # word -> (documents there were, whether it was common)

    def without(self, db: sqlite3.Connection, words: list[str]) -> list[str]:
        """`words` without the common ones; all of them where no other is left."""
        if len(words) < FEW_WORDS:
            return words
        (n,) = db.execute("SELECT count(*) FROM rows").fetchone()
        return [word for word in words if not self._common(db, word, n)] or words

    def _common(self, db: sqlite3.Connection, word: str, n: int) -> bool:
        then, common = self._counted.get(word, (0, False))
        if abs(n - then) > (COMMON - 0.5) * then:
            limited = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
            (held,) = db.execute(limited, (f'"{word}"', int(COMMON * n) + 1)).fetchone()
            common = held > COMMON * n
            if len(self._counted) >= MOST_COUNTED:
                self._counted.clear()
            self._counted[word] = (n, common)
        return common


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ids (n,) int64 of one source, best first, and their scores (n,) float32."""

    ids: Ids
    scores: Vectors


def by_words(
    db: sqlite3.Connection,
    query: str,
    limit: int,
    common: CommonWords,
    *,
    title: float = 1.0,
    where: tuple[str, list[Any]] | None = None,
) -> Ranking:
    """The rows whose title or text holds words of the query, by BM25 (k1 = 1.2, b = 0.75), larger is better.

    Args:
        title: how much more a word in the title counts.
        where: an SQL condition over `rows` and its values.
    """
    words = common.without(db, list(dict.fromkeys(tokens(query)[:MOST_TOKENS])))
    wanted = " OR ".join(f'"{word}"' for word in words)
    if not wanted:
        return Ranking(np.empty(0, np.int64), np.empty(0, np.float32))
    joined, values = ("", []) if where is None else (f"JOIN rows ON rows.id = words.rowid AND ({where[0]})", where[1])
    found = db.execute(
        f"SELECT words.rowid, -bm25(words, ?, 1.0) AS score FROM words {joined} WHERE words MATCH ? "
        "ORDER BY score DESC, words.rowid LIMIT ?",
        [title, *values, wanted, limit],
    ).fetchall()
    return Ranking(np.array([id_ for id_, _ in found], np.int64), np.array([s for _, s in found], np.float32))


def fused(
    rankings: Mapping[str, Ranking], weights: Mapping[str, float], *, k: int = 60
) -> list[tuple[int, float, dict[str, Source]]]:
    """(id, score, what each source said) best first; the score is the sum of weight / (k + rank), rank from 1.

    >>> a, b = Ranking(np.array([7, 8]), np.ones(2)), Ranking(np.array([8]), np.ones(1))
    >>> [id_ for id_, _, _ in fused({"a": a, "b": b}, {"a": 1, "b": 1})]
    [8, 7]
    """
    sources: dict[int, dict[str, Source]] = {}
    for name, ranking in rankings.items():
        for rank, (id_, score) in enumerate(zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True), 1):
            sources.setdefault(id_, {})[name] = Source(rank, score, weights[name] / (k + rank))
    joined = [(id_, sum(source.share for source in said.values()), said) for id_, said in sources.items()]
    return sorted(joined, key=lambda line: (-line[1], line[0]))


def spread(relevance: Vectors, likeness: Vectors, k: int, diversity: float) -> list[int]:
    """Which k of n candidates to show, in order: near to the query and unlike those already chosen.

    Args:
        relevance: (n,) similarity to the query.
        likeness: (n, n) similarity to each other.
        diversity: 0 = by relevance alone, 1 = by unlikeness alone (after the first).

    Source: maximal marginal relevance, Carbonell and Goldstein 1998, SIGIR; their lambda is 1 - diversity.
    """
    left = np.arange(len(relevance))
    nearest = np.full(len(relevance), -np.inf)  # likeness to the nearest chosen one
    order: list[int] = []
    while len(left) and len(order) < k:
        gain = relevance[left] if not order else (1 - diversity) * relevance[left] - diversity * nearest[left]
        best = int(left[np.argmax(gain)])
        order.append(best)
        left = left[left != best]
        nearest = np.maximum(nearest, likeness[best])
    return order
