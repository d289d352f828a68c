"""Scans over codes: the k best rows by sums of table entries, or by inner products with one byte a dimension.

The kernels keep 2·k + 16 rows by coarse sums (integers for codes of 4 bits and for scalar codes) and score these in
float64; the twins score every row. Both return scores of what the codes stand for; with few enough rows they agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import NO_ID, NO_SCORE, Codes, Neighbours, Vectors
from firth.kernels import native

BLOCK = 32  # vectors whose 4-bit codes lie together; native/scan.hpp
LANES = 4  # sub-codes are padded to a multiple of it: the widest register holds so many tables
SLICE = 65_536  # rows packed at a time

Mask = NDArray[np.bool_]


def pack(codes: Codes) -> Codes:
    """(n, w) codes, two sub-codes a byte -> (⌈n/32⌉, 16·m) for `scan_nibbles`; m is `sub_codes(w)`."""
    n, m = len(codes), sub_codes(codes.shape[1])
    out = np.zeros((-(-n // BLOCK), m, 16), np.uint8)
    for start in range(0, n, SLICE):
        some = codes[start : start + SLICE]
        halves = np.zeros((-(-len(some) // BLOCK) * BLOCK, m), np.uint8)
        halves[: len(some), : 2 * codes.shape[1] : 2] = some & 15
        halves[: len(some), 1 : 2 * codes.shape[1] : 2] = some >> 4
        blocks = halves.reshape(-1, 2, 16, m).transpose(0, 1, 3, 2)
        out[start // BLOCK :][: len(blocks)] = blocks[:, 0] | blocks[:, 1] << 4
    return out.reshape(len(out), m * 16)


def unpack(packed: Codes, n: int, width: int) -> Codes:
    """The (n, width) codes that `pack` was given."""
    m = packed.shape[1] // 16
    blocks = packed.reshape(len(packed), m, 16)
    halves = np.stack([blocks & 15, blocks >> 4], axis=1).transpose(0, 1, 3, 2).reshape(len(packed) * BLOCK, m)
    codes: Codes = halves[:n, : 2 * width : 2] | halves[:n, 1 : 2 * width : 2] << 4
    return codes


def sub_codes(width: int) -> int:
    """Sub-codes of 4 bits that `pack` makes of `width` bytes, those that pad included."""
    return -(-2 * width // LANES) * LANES


def scan_nibbles(
    packed: Codes, n: int, tables: Vectors, k: int, *, allow: Mask | None = None, threads: int = 1, module: Any = native
) -> Neighbours:
    """The k best of n packed codes for each query; tables (q, m, 16) float32, a score is the sum of m entries.

    allow: (n,) of the rows that may appear.
    """
    q, m, _ = tables.shape
    wide = np.ascontiguousarray(tables)
    if m * 16 < packed.shape[1]:
        wide = np.zeros((q, packed.shape[1] // 16, 16), np.float32)
        wide[:, :m] = tables
    ids, scores = _empty(q, k)
    module.scan_nibbles(packed, n, wide.reshape(q, -1), _bytes(allow), ids, scores, threads)
    return Neighbours(ids, scores)


def scan_nibbles_twin(codes: Codes, tables: Vectors, k: int, *, allow: Mask | None = None) -> Neighbours:
    """NumPy twin of `scan_nibbles`, over codes that are not packed."""
    halves = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)[:, : tables.shape[1]]
    return scan_tables_twin(halves, tables, k, allow=allow)


def scan_halves(
    packed: Codes,
    n: int,
    queries: Vectors,
    centre: Vectors,
    step: Vectors,
    k: int,
    *,
    allow: Mask | None = None,
    threads: int = 1,
    module: Any = native,
) -> Neighbours:
    """The k best of n packed codes by inner product with queries (q, d); a value is centre + step · (code - 7.5)."""
    ids, scores = _empty(len(queries), k)
    module.scan_halves(packed, n, queries, centre, step, _bytes(allow), ids, scores, threads)
    return Neighbours(ids, scores)


def scan_halves_twin(
    codes: Codes, queries: Vectors, centre: Vectors, step: Vectors, k: int, *, allow: Mask | None = None
) -> Neighbours:
    """NumPy twin of `scan_halves`, over codes that are not packed."""
    halves = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)[:, : queries.shape[1]]
    rows = centre + step * (halves.astype(np.float32) - np.float32(7.5))
    return _best(queries.astype(np.float64) @ rows.T.astype(np.float64), k, allow)


def scan_tables(
    codes: Codes, tables: Vectors, k: int, *, allow: Mask | None = None, threads: int = 1, module: Any = native
) -> Neighbours:
    """The k best codes (n, m) for each query; tables (q, m, 256) float32, a score is the sum of m entries."""
    ids, scores = _empty(len(tables), k)
    flat = np.ascontiguousarray(tables).reshape(len(tables), -1)
    module.scan_tables(np.ascontiguousarray(codes), flat, _bytes(allow), ids, scores, threads)
    return Neighbours(ids, scores)


def scan_tables_twin(codes: Codes, tables: Vectors, k: int, *, allow: Mask | None = None) -> Neighbours:
    """NumPy twin of `scan_tables`."""
    parts = np.arange(codes.shape[1])
    found = np.array([table.astype(np.float64)[parts, codes].sum(1) for table in tables])
    return _best(found.reshape(len(tables), len(codes)), k, allow)


def scan_scalar(
    codes: Codes,
    queries: Vectors,
    centre: Vectors,
    step: Vectors,
    k: int,
    *,
    allow: Mask | None = None,
    threads: int = 1,
    module: Any = native,
) -> Neighbours:
    """The k best codes (n, d) by inner product with queries (q, d); a value is centre + step · (code - 128)."""
    ids, scores = _empty(len(queries), k)
    held = np.ascontiguousarray(codes)
    module.scan_scalar(held, queries, centre, step, _bytes(allow), ids, scores, threads)
    return Neighbours(ids, scores)


def scan_scalar_twin(
    codes: Codes, queries: Vectors, centre: Vectors, step: Vectors, k: int, *, allow: Mask | None = None
) -> Neighbours:
    """NumPy twin of `scan_scalar`."""
    rows = centre + step * (codes.astype(np.float32) - np.float32(128))
    return _best(queries.astype(np.float64) @ rows.T.astype(np.float64), k, allow)


def _best(score: NDArray[np.float64], k: int, allow: Mask | None) -> Neighbours:
    score = np.where(allow, score, -np.inf) if allow is not None else score
    score = np.pad(score, ((0, 0), (0, k)), constant_values=-np.inf)
    best = np.argsort(-score, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(score, best, 1).astype(np.float32)
    return Neighbours(np.where(found == NO_SCORE, NO_ID, best), found)


def _empty(q: int, k: int) -> tuple[NDArray[np.int64], Vectors]:
    return np.empty((q, k), np.int64), np.empty((q, k), np.float32)


def _bytes(allow: Mask | None) -> Codes | None:
    return None if allow is None else np.ascontiguousarray(allow).view(np.uint8)
