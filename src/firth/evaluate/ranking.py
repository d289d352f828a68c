"""Rankings, and where the judged documents stand in them.

Documents of one query are ordered by score in float32, equal scores by document id, descending: the rule of
trec_eval. Nothing is sorted to find that out: the rank of a judged document is one more than the documents that beat
it, so only judged documents cost anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Neighbours
from firth.errors import DataError, ShapeError
from firth.evaluate.runfile import ranks_in_file

_COMPARED_AT_ONCE = 4_000_000  # scores held at a time while ranks are counted: 16 MB of float32

Run = Mapping[str, Mapping[str, float]]
Judgements = Mapping[str, Mapping[str, float]]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """What a search returned for many queries, by row number.

    Attributes:
        queries: q query ids; row i of the neighbours answers queries[i].
        documents: n document ids; neighbour id j is documents[j].
        neighbours: Neighbours (q, k).
    """

    queries: Sequence[str]
    documents: Sequence[str]
    neighbours: Neighbours

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.neighbours):
            raise ShapeError(f"ranking: {len(self.queries):,} query ids for {len(self.neighbours):,} rows")
        ids = self.neighbours.ids
        if ids.size and int(ids.max()) >= len(self.documents):
            raise ShapeError(
                f"ranking: row {int(ids.max()):,} is named, there are {len(self.documents):,} document ids"
            )

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each query id."""
        return {query: row for row, query in enumerate(self.queries)}

    @cached_property
    def row_of_document(self) -> dict[str, int]:
        """Row of each document id.

        Raises:
            DataError: an id stands for two rows.
        """
        rows = {document: row for row, document in enumerate(self.documents)}
        if len(rows) != len(self.documents):
            raise DataError(f"{len(self.documents) - len(rows):,} document ids of the ranking stand for two rows")
        return rows

    def best(self, query: str, k: int) -> list[tuple[str, float]]:
        """The first k (document id, score) of one query in the order that is scored; see the head of this file."""
        row = self.row_of[query]
        found = zip(self.neighbours.ids[row].tolist(), self.neighbours.scores[row].tolist(), strict=True)
        return in_order({self.documents[id_]: score for id_, score in found if id_ >= 0})[:k]

    def run(self) -> dict[str, dict[str, float]]:
        """The same as query id -> document id -> score, the form of a TREC run file."""
        return {query: dict(self.best(query, self.neighbours.k)) for query in self.queries}


@dataclass(frozen=True)
class Hits:
    """Relevant documents at their ranks: everything that a measure needs, sorted by query, then rank.

    query, rank (from 1), grade: (h,) of the relevant documents that were ranked.
    ideal_query, ideal_rank, ideal_grade: the same for the best possible order.
    relevant: (q,) relevant documents of each query.
    ranked: (q,) documents ranked for each query.
    """

    query: Integers
    rank: Integers
    grade: Floats
    ideal_query: Integers
    ideal_rank: Integers
    ideal_grade: Floats
    relevant: Integers
    ranked: Integers

    def summed(self, weights: Floats, chosen: NDArray[np.bool_]) -> Floats:
        """(q,) sum over the chosen hits of each query."""
        return np.asarray(np.bincount(self.query[chosen], weights[chosen], len(self.relevant)), np.float64)


def in_order(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """One query's (document id, score), best first by the rule at the head of this file."""
    return sorted(scores.items(), key=lambda pair: (np.float32(pair[1]), pair[0]), reverse=True)


def hits(found: Run | Ranking | Path, scored: Judgements) -> Hits:
    """Where the relevant documents of each query in `scored` stand.

    Raises:
        DataError: a score or grade is NaN or infinite, or a document is ranked twice for one query; for a run file
            also a malformed line, named by its number.
    """
    counts = np.fromiter(map(len, scored.values()), np.int64, len(scored))
    grades = np.fromiter(chain.from_iterable(judged.values() for judged in scored.values()), np.float64, counts.sum())
    _check_grades(grades, scored)
    owner = np.repeat(np.arange(len(scored)), counts)
    if isinstance(found, Path):
        rank, ranked = ranks_in_file(found, scored, owner)
        kept = np.flatnonzero((rank > 0) & (grades > 0))
        query, grade, rank = owner[kept], grades[kept], rank[kept]
    else:
        places = _places_in_ranking(found, scored) if isinstance(found, Ranking) else _places_in_run(found, scored)
        kept = np.flatnonzero(places.grade > 0)
        query, grade, rank, ranked = places.query[kept], places.grade[kept], _ranks(places)[kept], places.listed
    order = np.lexsort((rank, query))
    relevant = np.flatnonzero(grades > 0)
    ideal = relevant[np.lexsort((-grades[relevant], owner[relevant]))]
    return Hits(
        query=query[order],
        rank=rank[order],
        grade=grade[order],
        ideal_query=owner[ideal],
        ideal_rank=place_within(owner[ideal]),
        ideal_grade=grades[ideal],
        relevant=np.bincount(owner[relevant], minlength=len(scored)),
        ranked=ranked,
    )


@dataclass(frozen=True)
class _Places:
    """Judged documents that were ranked, and the rankings that they stand in.

    `flat[starts[i] : starts[i] + lengths[i]]` are the float32 scores of scored query i and `names(i)` the ids beside
    them, asked for only where there are ties; listed[i] of them are documents and not padding. Each of the h judged
    and ranked documents has the number of its query, its grade, its score and its id.
    """

    flat: NDArray[np.float32]
    starts: Integers
    lengths: Integers
    query: Integers
    grade: Floats
    score: NDArray[np.float32]
    ids: list[str]
    names: Callable[[int], Iterable[str]]
    listed: Integers


def place_within(query: Integers) -> Integers:
    """1, 2, 3 … within each run of equal queries."""
    first = np.flatnonzero(np.diff(query, prepend=-1) > 0)
    return np.arange(len(query)) - np.repeat(first, np.diff(first, append=len(query))) + 1


def _ranks(found: _Places) -> Integers:
    """(h,) one more than the documents that stand before each judged one; ties are looked at one by one."""
    above = np.zeros(len(found.query), np.int64)
    equal = np.zeros(len(found.query), np.int64)
    for start, stop in _blocks_of(found.lengths[found.query]):
        query, score = found.query[start:stop], found.score[start:stop, None]
        columns = np.arange(max(1, int(found.lengths[query].max())))
        inside = columns < found.lengths[query][:, None]
        rows = found.flat[np.minimum(found.starts[query][:, None] + columns, len(found.flat) - 1)]
        above[start:stop] = ((rows > score) & inside).sum(axis=1)
        equal[start:stop] = ((rows == score) & inside).sum(axis=1)
    for i in np.flatnonzero(equal > 1).tolist():
        query = found.query[i]
        rivals = found.flat[found.starts[query] : found.starts[query] + found.lengths[query]] == found.score[i]
        above[i] += sum(
            1
            for name, tied in zip(found.names(int(query)), rivals.tolist(), strict=True)
            if tied and name > found.ids[i]
        )
    return above + 1


def _blocks_of(lengths: Integers) -> Iterable[tuple[int, int]]:
    """Slices of the hits, each of few enough scores to compare at once."""
    start = 0
    while start < len(lengths):
        widest = np.maximum.accumulate(lengths[start:])
        cells = widest * np.arange(1, len(widest) + 1)
        stop = start + max(1, int(np.searchsorted(cells, _COMPARED_AT_ONCE, side="right")))
        yield start, stop
        start = stop


def _places_in_run(run: Run, scored: Judgements) -> _Places:
    rows: list[Mapping[str, float]] = [run.get(query, {}) for query in scored]
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    flat = _float32(np.fromiter(chain.from_iterable(row.values() for row in rows), np.float64, int(lengths.sum())))
    ends = np.cumsum(lengths)
    bad = _first_not_finite(flat)
    if bad is not None:
        i = int(np.searchsorted(ends, bad, side="right"))
        query, document = list(scored)[i], list(rows[i])[bad - int(ends[i] - lengths[i])]
        raise _not_finite(query, document, rows[i][document])
    found = [
        (i, grade, row[document], document)
        for i, (row, judged) in enumerate(zip(rows, scored.values(), strict=True))
        for document, grade in judged.items()
        if document in row
    ]
    return _Places(
        flat=flat,
        starts=ends - lengths,
        lengths=lengths,
        query=np.array([i for i, *_ in found], np.int64),
        grade=np.array([grade for _, grade, *_ in found], np.float64),
        score=np.array([score for _, _, score, _ in found], np.float32),
        ids=[document for *_, document in found],
        names=rows.__getitem__,
        listed=lengths,
    )


def _places_in_ranking(ranking: Ranking, scored: Judgements) -> _Places:
    ids, scores = ranking.neighbours.ids, _float32(ranking.neighbours.scores)
    bad = _first_not_finite(np.where(ids < 0, np.float32(0), scores))
    if bad is not None:
        query, place = divmod(bad, ranking.neighbours.k)
        raise _not_finite(ranking.queries[query], ranking.documents[ids[query, place]], float(scores[query, place]))
    row_of = ranking.row_of_document
    judged = [
        (i, grade, row_of[document], document)
        for i, documents in enumerate(scored.values())
        for document, grade in documents.items()
        if document in row_of
    ]
    lines = np.array([ranking.row_of.get(query, -1) for query in scored], np.int64)
    line = lines[np.array([i for i, *_ in judged], np.int64)]
    column = _columns(ids, line, np.array([row for _, _, row, _ in judged], np.int64), ranking)
    kept = np.flatnonzero(column >= 0)
    k = ranking.neighbours.k
    return _Places(
        flat=np.where(ids < 0, np.float32(-np.inf), scores).reshape(-1),
        starts=np.maximum(lines, 0) * k,
        lengths=np.where(lines < 0, 0, k),
        query=np.array([judged[i][0] for i in kept], np.int64),
        grade=np.array([judged[i][1] for i in kept], np.float64),
        score=scores[line[kept], column[kept]],
        ids=[judged[i][3] for i in kept],
        names=lambda i: ("" if row < 0 else ranking.documents[row] for row in ids[lines[i]].tolist()),
        listed=np.where(lines < 0, 0, (ids >= 0).sum(axis=1)[lines]),
    )


def _columns(ids: Integers, line: Integers, row: Integers, ranking: Ranking) -> Integers:
    """(h,) where document row[i] stands in line[i] of ids; -1 where it does not, or the line is -1."""
    column = np.full(len(line), -1, np.int64)
    at_once = max(1, _COMPARED_AT_ONCE // max(1, ids.shape[1]))
    for start in range(0, len(line), at_once):
        block = slice(start, start + at_once)
        same = (ids[line[block]] == row[block, None]) & (line[block] >= 0)[:, None]
        counts = same.sum(axis=1)
        if (counts > 1).any():
            twice = start + int(np.argmax(counts > 1))
            raise DataError(
                f"query {ranking.queries[line[twice]]!r}: document {ranking.documents[row[twice]]!r} is ranked twice"
            )
        column[block] = np.where(counts > 0, same.argmax(axis=1), -1)
    return column


def _float32(scores: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused by name
        return scores.astype(np.float32)


def _first_not_finite(scores: NDArray[np.float32]) -> int | None:
    bad = np.flatnonzero(~np.isfinite(scores))
    return int(bad[0]) if len(bad) else None


def _not_finite(query: str, document: str, score: float) -> DataError:
    return DataError(
        f"query {query!r}: the score of document {document!r} is {score}; scores must be finite float32 numbers, "
        "or the order of the ranking has no meaning"
    )


def _check_grades(grades: Floats, judgements: Judgements) -> None:
    if not np.isfinite(grades).all():
        query, document, grade = next(
            (query, document, grade)
            for query, judged in judgements.items()
            for document, grade in judged.items()
            if not math.isfinite(grade)
        )
        raise DataError(f"query {query!r}: the grade of document {document!r} is {grade}, not a finite number")
