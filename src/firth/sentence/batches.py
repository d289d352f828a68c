"""Training examples as token ids, and the batches of an epoch, in which no text answers two queries.

With in-batch negatives every other row's answer counts as wrong. So a batch holds no query and no answer twice, and
a document that another pair names as an answer of the same query is not held against it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError
from firth.text.records import Pair, Ragged

Rows = NDArray[np.int64]
Tokenize = Callable[[Sequence[str], str], Ragged]


@dataclass(frozen=True)
class Examples:
    """Pairs whose texts are token ids, each different text once.

    Attributes:
        queries: the different queries.
        documents: the different answers and negatives.
        query: (n,) row of pair i's query.
        positive: (n,) row of its answer.
        negatives: n arrays, rows of its mined negatives.
        score: (n,) float64 how alike the two are; NaN where the pair does not say.
        answers: query row -> rows of all documents that are its answers in any pair.
    """

    queries: Ragged
    documents: Ragged
    query: Rows
    positive: Rows
    negatives: tuple[Rows, ...]
    score: NDArray[np.float64]
    answers: dict[int, frozenset[int]]

    def __len__(self) -> int:
        return len(self.query)

    @property
    def identity(self) -> str:
        """Hex SHA-256 of every id and its place: other data, other digest."""
        digest = hashlib.sha256()
        arrays: tuple[NDArray[Any], ...] = (
            self.queries.ids,
            self.queries.offsets,
            self.documents.ids,
            self.documents.offsets,
            self.query,
            self.positive,
            self.score,
            *self.negatives,
        )
        for array in arrays:
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Batch:
    """b examples as one step sees them.

    Attributes:
        queries: (b,) rows of the queries.
        documents: (b + r,) rows of their answers, in the same order, then of the batch's negatives, each once.
        ignore: (b, b + r) true where a document is no negative of a query: it is another answer of it.
        own: (b, per) columns of each pair's own negatives in `documents`; short rows repeat, -1 where it has none.
        score: (b,) as in Examples.
    """

    queries: Rows
    documents: Rows
    ignore: NDArray[np.bool_]
    own: Rows
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.queries)


def examples(pairs: Sequence[Pair], tokenize: Tokenize) -> Examples:
    """Tokenize each different text once.

    Args:
        pairs: what is learnt from; the same pair twice counts once.
        tokenize: texts and their kind, "query" or "document" -> Ragged.

    Raises:
        DataError: no pairs, or a pair with an empty side; says which.
    """
    if not pairs:
        raise DataError("there are no pairs to learn from")
    for number, pair in enumerate(pairs, 1):
        empty = [name for name in ("query", "positive") if not getattr(pair, name).strip()]
        if empty or any(not text.strip() for text in pair.negatives):
            side = empty[0] if empty else "negative"
            raise DataError(
                f"pair {number:,} of {len(pairs):,}: its {side} is empty ({pair.query[:60]!r}); leave it out"
            )
    pairs = list(dict.fromkeys(pairs))
    queries = {text: row for row, text in enumerate(dict.fromkeys(pair.query for pair in pairs))}
    texts = (text for pair in pairs for text in (pair.positive, *pair.negatives))
    documents = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    answers: dict[int, set[int]] = defaultdict(set)
    for pair in pairs:
        answers[queries[pair.query]].add(documents[pair.positive])
    return Examples(
        tokenize(list(queries), "query"),
        tokenize(list(documents), "document"),
        np.array([queries[pair.query] for pair in pairs]),
        np.array([documents[pair.positive] for pair in pairs]),
        tuple(np.array([documents[text] for text in pair.negatives], np.int64) for pair in pairs),
        np.array([np.nan if pair.score is None else pair.score for pair in pairs], np.float64),
        {row: frozenset(found) for row, found in answers.items()},
    )


def epoch_batches(found: Examples, *, batch: int, negatives: int, seed: int, epoch: int) -> list[Batch]:
    """The batches of one epoch: every pair once, in an order and with negatives drawn from seed and epoch.

    Args:
        found: the examples.
        batch: pairs in a batch, at most.
        negatives: mined negatives of each pair, at most; drawn anew each epoch from those that it has.
        seed: of the draw.
        epoch: 0, 1, …
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(found))
    return [_batch(found, rows, negatives, random) for rows in without_repeats(found, order, batch)]


def without_repeats(found: Examples, order: Rows, batch: int) -> list[Rows]:
    """Cut an order of pairs into batches in which no query and no answer stands twice.

    Each pair goes into the first batch that has room and neither of its texts; one pass, whatever repeats.
    """
    filled: list[list[int]] = []
    first_open = 0
    next_query: dict[int, int] = {}  # row -> the first batch after the last one that holds it
    next_document: dict[int, int] = {}
    for pair in order:
        query, document = int(found.query[pair]), int(found.positive[pair])
        place = max(next_query.get(query, 0), next_document.get(document, 0), first_open)
        while place < len(filled) and len(filled[place]) >= batch:
            place += 1
        if place >= len(filled):
            filled.extend([] for _ in range(place + 1 - len(filled)))
        filled[place].append(int(pair))
        next_query[query] = next_document[document] = place + 1
        while first_open < len(filled) and len(filled[first_open]) >= batch:
            first_open += 1
    return [np.array(rows) for rows in filled if rows]


def joined(first: Ragged, second: Ragged) -> Ragged:
    """The rows of one after those of the other."""
    return Ragged(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        np.concatenate([first.cut, second.cut]),
    )


def _batch(found: Examples, rows: Rows, negatives: int, random: np.random.Generator) -> Batch:
    positives = found.positive[rows]
    column = {int(document): place for place, document in enumerate(positives)}
    own = np.full((len(rows), max(1, negatives)), -1, np.int64)
    for place, row in enumerate(rows):
        answers = found.answers[int(found.query[row])]
        usable = [int(document) for document in found.negatives[row] if int(document) not in answers]
        if not usable or not negatives:
            continue
        drawn = random.permutation(len(usable))[:negatives]
        mine = [column.setdefault(usable[i], len(column)) for i in drawn]
        own[place] = np.resize(mine, own.shape[1])
    documents = np.array(list(column), np.int64)
    ignore = np.zeros((len(rows), len(documents)), bool)
    for place, row in enumerate(rows):
        for document in found.answers[int(found.query[row])]:
            if document in column:
                ignore[place, column[document]] = True
    ignore[np.arange(len(rows)), np.arange(len(rows))] = False
    return Batch(found.query[rows], documents, ignore, own, found.score[rows])
