"""What the readers give: documents, pairs, judgements, and ragged rows of token ids.

A collection of texts with judgements has the shape of BEIR (Thakur et al. 2021, arXiv:2104.08663): documents and
queries by id, and for each query the grade of some documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firth.errors import ShapeError

Judgements = dict[str, dict[str, float]]  # query id -> document id -> grade; 0 and below = not relevant


@dataclass(frozen=True, slots=True)
class Document:
    """One text that can be found.

    Attributes:
        id: unique in its corpus.
        text: what is embedded, below its title.
        title: a title or the headings above the text; may be empty.
        source: the file it came from, relative to what was read; may be empty.
        start, end: where `text` stands in the source's text, in characters; both 0 for a text that was not cut.
    """

    id: str
    text: str
    title: str = ""
    source: str = ""
    start: int = 0
    end: int = 0

    @property
    def full(self) -> str:
        """Title and text in one line of thought, as BEIR embeds them."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Pair:
    """One training example.

    Attributes:
        query: what is asked, or the first of two sentences.
        positive: what answers it, or the second sentence.
        negatives: texts that look like an answer and are none.
        score: how alike query and positive are, where the data says so; None where it only says that they are.
    """

    query: str
    positive: str
    negatives: tuple[str, ...] = ()
    score: float | None = None


@dataclass(frozen=True)
class Ragged:
    """Rows of token ids of different lengths, packed without padding.

    Row i is `ids[offsets[i]:offsets[i + 1]]`.

    Attributes:
        ids: (t,) int32, all rows one after another.
        offsets: (n + 1,) int64, ascending from 0 to t.
        cut: (n,) int64, tokens of row i's text that did not fit and were left out.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    cut: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.offsets.ndim != 1 or len(self.offsets) != len(self.cut) + 1 or self.offsets[-1] != len(self.ids):
            raise ShapeError(
                f"ragged: {self.ids.shape} ids, {self.offsets.shape} offsets and {self.cut.shape} cut do not fit: "
                "expected (t,), (n + 1,) ending in t, and (n,)"
            )

    def __len__(self) -> int:
        return len(self.cut)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) int64 tokens a row."""
        lengths: NDArray[np.int64] = np.diff(self.offsets)
        return lengths

    def row(self, i: int) -> NDArray[np.int32]:
        """(length of row i,) int32, a view."""
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    def take(self, rows: NDArray[np.integer]) -> Ragged:
        """The given rows in the given order, for instance a batch of texts of like length."""
        lengths = self.lengths[rows]
        offsets = _offsets(lengths)
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Ragged(self.ids[places], offsets, self.cut[rows])

    @staticmethod
    def of(rows: list[list[int]]) -> Ragged:
        """Rows given as lists, nothing cut."""
        offsets = _offsets(np.array([len(row) for row in rows], dtype=np.int64))
        ids = np.array([token for row in rows for token in row], dtype=np.int32)
        return Ragged(ids, offsets, np.zeros(len(rows), np.int64))


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
