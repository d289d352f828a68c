"""What vectors, codes and neighbours are, and the letters that every file uses for their sizes.

    n vectors   q queries   d dimensions   k neighbours   b batch   t tokens   h heads   v vocabulary   m sub-spaces

Vectors are C-contiguous float32 (n, d). Codes are C-contiguous uint8 (n, w). Neighbours are best first, a larger
score is nearer, and a short row is padded with id -1 and score -inf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.errors import ShapeError

Vectors = NDArray[np.float32]
Codes = NDArray[np.uint8]
Ids = NDArray[np.int64]

NO_ID = -1
NO_SCORE = np.float32(-np.inf)
SLOPE = 1e-6  # of the mean variance: beyond rounding, below what a vector says


@dataclass(frozen=True)
class Neighbours:
    """Who is near each query.

    Attributes:
        ids: (q, k) int64, best first; -1 where fewer than k exist.
        scores: (q, k) float32, larger is nearer; -inf beside an id of -1.
    """

    ids: Ids
    scores: Vectors

    def __post_init__(self) -> None:
        if self.ids.shape != self.scores.shape or self.ids.ndim != 2:
            raise ShapeError(f"neighbours: ids {self.ids.shape} and scores {self.scores.shape} must be one (q, k)")

    def __len__(self) -> int:
        return int(self.ids.shape[0])

    @property
    def k(self) -> int:
        """Neighbours a query."""
        return int(self.ids.shape[1])


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns texts into unit rows; what a collection, a miner or an evaluation is handed."""

    @property
    def dims(self) -> int:
        """Width of the vectors."""

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes when the vectors would: weights, tokenizer, pooling, prompts."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        kind: str | None = None,
        dims: int | None = None,
        progress: bool = False,
    ) -> Vectors:
        """(n, d) float32 unit rows in the order of the texts; kind is "query", "document" or None."""


def as_vectors(values: ArrayLike, *, dims: int | None = None, name: str = "vectors") -> Vectors:
    """Checked C-contiguous (n, d) float32; copies only where it must. One row (d,) becomes (1, d).

    Raises:
        ShapeError: not numeric, not one or two axes, another width than `dims`, NaN or infinite.
    """
    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ShapeError(f"{name}: expected numbers, got {array.dtype}; were texts passed where vectors belong?")
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2:
        raise ShapeError(f"{name}: expected (n, d), got {array.ndim} axes (shape {array.shape})")
    if dims is not None and array.shape[1] != dims:
        raise ShapeError(
            f"{name}: expected {dims} dimensions, got {array.shape[1]} (shape {array.shape}); "
            "were both sides encoded by the same model?"
        )
    vectors: Vectors = np.ascontiguousarray(array, dtype=np.float32)
    # A sum is finite only if every value is; float64 keeps large finite rows from overflowing on the way.
    if not np.isfinite(vectors.sum(dtype=np.float64)):
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        raise ShapeError(f"{name}: {len(bad)} rows hold NaN or infinity, the first is row {bad[0]}")
    return vectors


def unit(vectors: Vectors) -> Vectors:
    """Each row brought to length one; a row of zeros stays zeros."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    rows: Vectors = np.empty(vectors.shape, np.float32)
    # Divided in float64 and rounded a few thousand at a time: a float64 copy of all rows would take longer to clear.
    np.divide(vectors, np.where(lengths == 0, 1, lengths), out=rows, dtype=np.float64, casting="same_kind")
    return rows


def principal_axes(vectors: Vectors) -> NDArray[np.float32]:
    """(d, d) float32 orthogonal: `vectors @ axes` has its variance falling along the dimensions.

    Args:
        vectors: (n, d); the mean is taken out before, so that the direction which all texts share costs no dimension.
    """
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    spread = centred.T @ centred
    # Directions in which no text differs have no order of their own; the slope gives them the same one everywhere.
    spread += np.diag(np.arange(len(spread), 0, -1)) * SLOPE * np.trace(spread) / len(spread) ** 2
    _, axes = np.linalg.eigh(spread)
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(axes))])
    return np.ascontiguousarray(axes[:, ::-1], np.float32)
