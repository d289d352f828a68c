"""The batches of an epoch, in which no text answers two queries; each is made when it is asked for.

With in-batch negatives every other row's answer counts as wrong. So a batch holds no query and no answer twice, and
a document that another pair names as an answer of the same query is not held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from firth.sentence.examples import Examples, Rows


@dataclass(frozen=True)
class Batch:
    """b examples as one step sees them.

    Attributes:
        queries: (b,) rows of the queries.
        documents: (b + r,) rows of their answers, in the same order, then of the batch's negatives, each once.
        ignore: (i, 2) row and column of each document that is no negative of a query: it is another answer of it.
        own: (b, per) columns of each pair's own negatives in `documents`; short rows repeat, -1 where it has none.
        score: (b,) as in Examples.
    """

    queries: Rows
    documents: Rows
    ignore: Rows
    own: Rows
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.queries)


class Epoch(Sequence[Batch]):
    """Every pair once, in an order and with negatives drawn from seed and epoch.

    Args:
        found: the examples.
        batch: pairs in a batch, at most.
        negatives: mined negatives of each pair, at most; drawn anew each epoch from those that it has.
        seed: of the draw.
        epoch: 0, 1, …
        least: leave out batches of fewer documents: one alone has nothing to be told from.
    """

    def __init__(self, found: Examples, *, batch: int, negatives: int, seed: int, epoch: int, least: int = 1) -> None:
        self.found, self.negatives, self.seed, self.epoch = found, negatives, seed, epoch
        order = np.random.default_rng([seed, epoch]).permutation(len(found))
        cut = without_repeats(found, order, batch)
        self.rows = [rows for rows in cut if len(rows) + self._more(rows) >= least]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Batch: ...

    @overload
    def __getitem__(self, place: slice) -> list[Batch]: ...

    def __getitem__(self, place: int | slice) -> Batch | list[Batch]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        rows = self.rows[place]
        random = np.random.default_rng([self.seed, self.epoch, place % len(self)])
        return _batch(self.found, rows, self.negatives, random)

    def _more(self, rows: Rows) -> int:
        """Of a batch of one pair, how many documents its negatives add; of others it does not matter."""
        if len(rows) > 1 or not self.negatives:
            return 0
        return len(_usable(self.found, int(rows[0])))


def without_repeats(found: Examples, order: Rows, batch: int) -> list[Rows]:
    """Cut an order of pairs into batches in which no query and no answer stands twice.

    Each pair goes into the first batch that has room and neither of its texts; one pass, whatever repeats.
    """
    filled: list[list[int]] = []
    first_open = 0
    # The first batch after the last one that holds a query, or a document.
    next_query, next_document = np.zeros(len(found.queries), np.int64), np.zeros(len(found.documents), np.int64)
    for pair in order.tolist():
        query, document = found.query[pair], found.positive[pair]
        place = max(int(next_query[query]), int(next_document[document]), first_open)
        while place < len(filled) and len(filled[place]) >= batch:
            place += 1
        if place >= len(filled):
            filled.extend([] for _ in range(place + 1 - len(filled)))
        filled[place].append(pair)
        next_query[query] = next_document[document] = place + 1
        while first_open < len(filled) and len(filled[first_open]) >= batch:
            first_open += 1
    return [np.array(rows) for rows in filled if rows]


def _batch(found: Examples, rows: Rows, negatives: int, random: np.random.Generator) -> Batch:
    column = {document: place for place, document in enumerate(found.positive[rows].tolist())}
    own = np.full((len(rows), max(1, negatives)), -1, np.int64)
    for place, row in enumerate(rows.tolist() if negatives else []):
        usable = _usable(found, row)
        if usable:
            drawn = random.permutation(len(usable))[:negatives]
            own[place] = np.resize([column.setdefault(usable[i], len(column)) for i in drawn], own.shape[1])
    ignore = [
        (place, column[document])
        for place, query in enumerate(found.query[rows].tolist())
        for document in found.answers[query].tolist()
        if column.get(document, place) != place
    ]
    return Batch(
        found.query[rows],
        np.array(list(column), np.int64),
        np.array(ignore, np.int64).reshape(-1, 2),
        own,
        found.score[rows],
    )


def _usable(found: Examples, row: int) -> list[int]:
    """A pair's negatives that no other pair names as an answer of its query."""
    answers = set(found.answers[int(found.query[row])].tolist())
    return [document for document in found.negatives[row].tolist() if document not in answers]
