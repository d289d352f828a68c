"""Kernels over byte codes: encoding a dimension in one byte, and integer inner products of codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Codes, Vectors
from firth.kernels import native

ZERO = 128  # the code of a value that is the mean
FOUR = np.uint8(4)  # bits of a half byte
Row = NDArray[np.float32]


def scalar_encode(
    vectors: Vectors, mean: Row, inverse: Row, *, width: int | None = None, threads: int = 1, module: Any = native
) -> Codes:
    """(n, width) codes: 128 + the distance from `mean` (d,) in steps, rounded and cut off at 1 and 255.

    inverse: (d,) 1 / step. width: bytes a code, at least d (the default); what is over is filled with 128.
    """
    out = np.empty((len(vectors), width or vectors.shape[1]), np.uint8)
    module.scalar_encode(vectors, mean, inverse, out, threads)
    return out


def scalar_encode_twin(vectors: Vectors, mean: Row, inverse: Row, *, width: int | None = None) -> Codes:
    """NumPy twin of `scalar_encode`."""
    steps = np.clip((vectors - mean) * inverse, np.float32(-127), np.float32(127))
    out = np.full((len(vectors), width or vectors.shape[1]), ZERO, np.uint8)
    out[:, : vectors.shape[1]] = (steps + np.float32(128.5)).astype(np.int32)
    return out


def axes_encode(
    vectors: Vectors,
    mean: Row,
    axes: Vectors,
    step: Row,
    top: Codes,
    weight: Row,
    *,
    threads: int = 1,
    module: Any = native,
) -> Codes:
    """(n, m) codes from 0 to top (m,): how many steps (m,) a row lies from the mean along each axis (m, d).

    Half of `top` stands for 0. One value after the other may be rounded the other way, so that errors cancel along the
    row: what counts is the sum of weight · error², plus the square of the error's share in the row's own direction.
    """
    out = np.empty((len(vectors), len(axes)), np.uint8)
    module.axes_encode(vectors, mean, axes, step, top, weight, out, threads)
    return out


def axes_encode_twin(vectors: Vectors, mean: Row, axes: Vectors, step: Row, top: Codes, weight: Row) -> Codes:
    """NumPy twin of `axes_encode`."""
    rows, size, half = (vectors - mean).astype(np.float64) @ axes.T, step.astype(np.float64), top / 2
    codes = np.clip(np.floor(rows / size + (half + 0.5)), 0, top)
    off = (codes - half) * size - rows
    norm, along = (rows**2).sum(axis=1), (off * rows).sum(axis=1)
    for j in range(rows.shape[1]):
        others, x = along - off[:, j] * rows[:, j], rows[:, j]
        below = np.maximum(weight[j] * norm + x * x, np.finfo(np.float64).tiny)
        codes[:, j] = np.clip(np.floor((x - others * x / below) / size[j] + (half[j] + 0.5)), 0, top[j])
        along = others + ((codes[:, j] - half[j]) * size[j] - x) * x
    return codes.astype(np.uint8)


def dot_codes(queries: NDArray[np.int8], codes: Codes, *, module: Any = native) -> NDArray[np.int32]:
    """(q, n) int32 inner products of signed queries (q, w) with unsigned codes (n, w), w a multiple of 64."""
    out = np.empty((len(queries), len(codes)), np.int32)
    module.dot_codes(queries, codes, out)
    return out


def dot_codes_twin(queries: NDArray[np.int8], codes: Codes) -> NDArray[np.int32]:
    """NumPy twin of `dot_codes`."""
    return (queries.astype(np.int64) @ codes.T.astype(np.int64)).astype(np.int32)


def split_codes(codes: Codes) -> tuple[Codes, Codes]:
    """The planes of codes (n, w), (n, w / 2) each: upper half bytes and lower ones, value b beside value b + w / 2."""
    first, second = np.split(codes, 2, axis=1)
    upper, lower = np.uint8(0xF0), np.uint8(0x0F)
    return first >> FOUR | second & upper, first & lower | second << FOUR


def join_codes(high: Codes, low: Codes) -> Codes:
    """The codes (n, w) of two planes: what `split_codes` took apart."""
    upper, lower = np.uint8(0xF0), np.uint8(0x0F)
    return np.concatenate([high << FOUR | low & lower, high & upper | low >> FOUR], axis=1)


def dot_planes(
    queries: NDArray[np.int8], high: Codes, low: Codes | None = None, *, module: Any = native
) -> NDArray[np.int32]:
    """(q, n) int32 inner products of signed queries (q, w) with the upper half bytes alone, or with whole codes."""
    out = np.empty((len(queries), len(high)), np.int32)
    module.dot_planes(queries, high, low, out)
    return out


def dot_planes_twin(queries: NDArray[np.int8], high: Codes, low: Codes | None = None) -> NDArray[np.int32]:
    """NumPy twin of `dot_planes`."""
    codes = join_codes(high, high if low is None else low)
    return dot_codes_twin(queries, codes >> FOUR if low is None else codes)


def pair_distances(rows: Codes, codes: Codes, *, module: Any = native) -> NDArray[np.uint32]:
    """(q, n) squared distances, in steps of the code, of codes (q, w) to codes (n, w), w a multiple of 64."""
    out = np.empty((len(rows), len(codes)), np.uint32)
    module.pair_distances(rows, codes, out)
    return out


def pair_distances_twin(rows: Codes, codes: Codes) -> NDArray[np.uint32]:
    """NumPy twin of `pair_distances`."""
    apart = rows[:, None].astype(np.int64) - codes[None]
    squared: NDArray[np.uint32] = (apart**2).sum(axis=2).astype(np.uint32)
    return squared


def kmeans(
    points: Vectors, k: int, drawn: NDArray[np.float64], *, rounds: int = 10, threads: int = 1, module: Any = native
) -> Vectors:
    """(k, d) centres of points (n, d) after `rounds` of Lloyd's algorithm; drawn (k,) in [0, 1) choose the starts."""
    centres = np.empty((k, points.shape[1]), np.float32)
    module.kmeans(points, drawn, rounds, centres, threads)
    return centres


def kmeans_twin(points: Vectors, k: int, drawn: NDArray[np.float64], *, rounds: int = 10) -> Vectors:
    """NumPy twin of `kmeans`."""
    centres = points[[int(drawn[0] * len(points))]]
    while len(centres) < k:
        gap = np.cumsum(((points[:, None] - centres[None]) ** 2).sum(2).min(1), dtype=np.float64)
        place = np.searchsorted(gap, drawn[len(centres)] * gap[-1], side="right") if gap[-1] > 0 else 0
        spare = int(drawn[len(centres)] * len(points))
        centres = np.vstack([centres, points[min(place, len(points) - 1) if gap[-1] > 0 else spare]])
    for _ in range(rounds):
        label = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
        means = [points[label == c].mean(0, np.float64) if (label == c).any() else centres[c] for c in range(k)]
        centres = np.array(means, np.float32)
    return centres


def product_encode(vectors: Vectors, books: Vectors, *, threads: int = 1, module: Any = native) -> Codes:
    """(n, m) number of the nearest centre of each sub-space; books (m, k, d / m), k at most 256."""
    out = np.empty((len(vectors), len(books)), np.uint8)
    module.product_encode(vectors, books, out, threads)
    return out


def product_encode_twin(vectors: Vectors, books: Vectors) -> Codes:
    """NumPy twin of `product_encode`."""
    parts = vectors.reshape(len(vectors), len(books), 1, -1)
    codes: Codes = ((parts - books[None]) ** 2).sum(3).argmin(2).astype(np.uint8)
    return codes


def hamming(queries: Codes, codes: Codes, *, threads: int = 1, module: Any = native) -> NDArray[np.int32]:
    """(q, n) bits in which two codes differ."""
    out = np.empty((len(queries), len(codes)), np.int32)
    module.hamming(queries, codes, out, threads)
    return out


def hamming_twin(queries: Codes, codes: Codes) -> NDArray[np.int32]:
    """NumPy twin of `hamming`."""
    differ: NDArray[np.int32] = np.unpackbits(queries[:, None] ^ codes[None], axis=2).sum(2, dtype=np.int32)
    return differ
