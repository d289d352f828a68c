"""Training pairs as token ids, each different text once; of files larger than memory the ids lie on disk.

Pairs are read once, some thousand at a time, so that they may come from a file of any size. Two texts are the same
where their tokens are: a copy in capitals, or one that differs behind the model's longest text, would otherwise stand
in a batch as a wrong answer that no training can tell from the right one.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError
from firth.text.records import Pair, Ragged

BLOCK = 4096  # pairs read and tokenised at once
DIGEST = 12  # bytes that name a text: two of a thousand million share one with probability 1e-11

Rows = NDArray[np.int64]
Tokenize = Callable[[Sequence[str], str], Ragged]


@dataclass(frozen=True)
class Lists:
    """Lists of rows of different lengths, packed: list i is `values[offsets[i]:offsets[i + 1]]`."""

    offsets: Rows
    values: Rows

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Rows:
        return self.values[self.offsets[i] : self.offsets[i + 1]]


@dataclass(frozen=True)
class Examples:
    """Pairs whose texts are token ids.

    Attributes:
        queries: the different queries.
        documents: the different answers and negatives.
        query: (n,) row of pair i's query.
        positive: (n,) row of its answer.
        negatives: of pair i, the rows of its mined negatives.
        score: (n,) float64 how alike the two are; NaN where the pair does not say.
        answers: of query row i, the rows of all documents that are its answers in any pair, ascending.
        asked, told: the texts of the queries and of the documents; empty where they were left on disk.
    """

    queries: Ragged
    documents: Ragged
    query: Rows
    positive: Rows
    negatives: Lists
    score: NDArray[np.float64]
    answers: Lists
    asked: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

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
            self.negatives.offsets,
            self.negatives.values,
        )
        for values in arrays:
            digest.update(f"{values.shape}".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()


def examples(pairs: Iterable[Pair], tokenize: Tokenize, *, folder: Path | None = None) -> Examples:
    """Tokenize each different text once.

    Args:
        pairs: what is learnt from, read once; the same pair twice counts once.
        tokenize: texts and their kind, "query" or "document" -> Ragged.
        folder: where token ids are kept and mapped from, in place of memory; about 400 bytes a pair stay in memory,
            whatever the length of its texts.

    Raises:
        DataError: no pairs, or a pair with an empty side; says which.
    """
    queries = _Texts(tokenize, "query", folder)
    documents = _Texts(tokenize, "document", folder)
    flat, sizes, scores = array("q"), array("q"), array("d")  # of each pair: its query, answer and negatives
    seen: set[bytes] = set()
    number = 0
    for block in _blocks(pairs):
        for pair in block:
            number += 1
            _check_sides(pair, number)
        asked = queries.rows([pair.query for pair in block])
        told = documents.rows([text for pair in block for text in (pair.positive, *pair.negatives)])
        start = 0
        for query, pair in zip(asked, block, strict=True):
            end = start + 1 + len(pair.negatives)
            row = array("q", [query, *told[start:end]])
            start = end
            score = np.nan if pair.score is None else pair.score
            name = hashlib.blake2b(row.tobytes() + np.float64(score).tobytes(), digest_size=DIGEST).digest()
            if name not in seen:
                seen.add(name)
                flat.extend(row)
                sizes.append(len(row))
                scores.append(score)
    if not sizes:
        raise DataError("there are no pairs to learn from")
    values, lengths = np.array(flat, np.int64), np.array(sizes, np.int64)
    starts = np.cumsum(lengths) - lengths
    query, positive = values[starts], values[starts + 1]
    return Examples(
        queries.ragged(),
        documents.ragged(),
        query,
        positive,
        Lists(_offsets(lengths - 2), np.delete(values, np.concatenate([starts, starts + 1]))),
        np.array(scores, np.float64),
        _answers(query, positive, len(queries)),
        tuple(queries.texts),
        tuple(documents.texts),
    )


@dataclass(frozen=True)
class Alone:
    """Different texts as token ids, for objectives that need no pairs."""

    texts: Ragged

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def identity(self) -> str:
        """Hex SHA-256 of every id and its place."""
        digest = hashlib.sha256(self.texts.ids.tobytes())
        digest.update(self.texts.offsets.tobytes())
        return digest.hexdigest()


def texts_alone(texts: Iterable[str], tokenize: Tokenize) -> Alone:
    """Tokenize each different text once.

    Raises:
        DataError: no texts, or an empty one; says which.
    """
    held = _Texts(tokenize, "document", None)
    number, walk = 0, iter(texts)
    while block := list(islice(walk, BLOCK)):
        for text in block:
            number += 1
            if not text.strip():
                raise DataError(f"text {number:,} is empty; leave it out")
        held.rows(block)
    if not number:
        raise DataError("there are no texts to learn from")
    return Alone(held.ragged())


def joined(first: Ragged, second: Ragged) -> Ragged:
    """The rows of one after those of the other."""
    return Ragged(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        np.concatenate([first.cut, second.cut]),
    )


class _Texts:
    """The different texts of one kind: a text in, its row out."""

    def __init__(self, tokenize: Tokenize, kind: str, folder: Path | None) -> None:
        self.tokenize, self.kind = tokenize, kind
        self.texts: list[str] = []  # of each row, unless they are left on disk
        self.row_of_text: dict[str, int] = {}
        self.row_of_ids: dict[bytes, int] = {}
        self.lengths, self.cut = array("q"), array("q")
        self.held: list[NDArray[np.int32]] = []
        self.path = None if folder is None else folder / f"{kind}.ids"
        self.file: IO[bytes] | None = None if self.path is None else self.path.open("wb")

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, texts: Sequence[str]) -> list[int]:
        """The row of each text."""
        known = self.row_of_text if self.file is None else {}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        ragged = self.tokenize(new, self.kind) if new else Ragged.of([])
        for i, text in enumerate(new):
            known[text] = self._row(text, ragged.row(i), int(ragged.cut[i]))
        return [known[text] for text in texts]

    def _row(self, text: str, ids: NDArray[np.int32], cut: int) -> int:
        name = hashlib.blake2b(ids.tobytes(), digest_size=DIGEST).digest()
        row = self.row_of_ids.setdefault(name, len(self))
        if row == len(self):
            self.lengths.append(len(ids))
            self.cut.append(cut)
            if self.file is None:
                self.texts.append(text)
                self.held.append(ids)
            else:
                self.file.write(ids.tobytes())
        return row

    def ragged(self) -> Ragged:
        """All rows, mapped where they lie on disk."""
        offsets = _offsets(np.array(self.lengths, np.int64))
        if self.file is None or self.path is None:
            ids = np.concatenate(self.held)
        else:
            self.file.close()
            ids = np.memmap(self.path, np.int32, "r") if offsets[-1] else np.empty(0, np.int32)
        return Ragged(ids, offsets, np.array(self.cut, np.int64))


def _blocks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    walk = iter(pairs)
    while block := list(islice(walk, BLOCK)):
        yield block


def _check_sides(pair: Pair, number: int) -> None:
    empty = [name for name in ("query", "positive") if not getattr(pair, name).strip()]
    if empty or any(not text.strip() for text in pair.negatives):
        side = empty[0] if empty else "negative"
        raise DataError(f"pair {number:,}: its {side} is empty ({pair.query[:60]!r}); leave it out")


def _offsets(lengths: Rows) -> Rows:
    """(n + 1,) where each of n lists begins, and the end of the last."""
    return np.concatenate([[0], np.cumsum(lengths)])


def _answers(query: Rows, positive: Rows, queries: int) -> Lists:
    """Of each query, the different documents that answer it."""
    both = np.unique(np.stack([query, positive], 1), axis=0)
    return Lists(_offsets(np.bincount(both[:, 0], minlength=queries)), both[:, 1].copy())
