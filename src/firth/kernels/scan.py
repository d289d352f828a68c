"""Scans over codes: the k best rows by sums of table entries, or by weighted sums of sub-codes.

The kernels keep 2·k + 16 rows by coarse sums (of integers, but for tables of 256) and score these in
float64; the twins score every row. Both return scores of what the codes stand for; with few enough rows they agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import NO_ID, NO_SCORE, Codes, Neighbours, Vectors
from firth.kernels import native

BLOCK = 32  # vectors whose 4-bit codes lie together; native/scan.hpp
LANES = 4  # sub-codes are padded to a multiple of it: the widest register holds so many tables
WEIGHTED_BLOCK, LINE = 64, 64  # vectors whose weighted codes lie together, bytes of a line; native/scan_weighted.cpp
SLICE = 65_536  # rows packed at a time

Mask = NDArray[np.bool_]
# Bytes of a code that hold one sub-code of 8 bits, two of 4 and four of 2, in this order, the lowest bits first.
Sections = tuple[int, int, int]


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


def pack_weighted(codes: Codes, sections: Sections) -> Codes:
    """(n, w) codes of these sections -> (⌈n/64⌉, …) in the order in which `scan_weighted` reads them.

    native/scan_weighted.cpp describes it.
    """
    n, blocks = len(codes), -(-len(codes) // WEIGHTED_BLOCK)
    out = _aligned(blocks, sum(lines * LINE * steps for _, _, lines, steps in _steps(sections)))
    for start in range(0, n, SLICE):
        some = codes[start : start + SLICE]
        at, first = 0, start // WEIGHTED_BLOCK
        for part, per, lines, steps in _steps(sections):
            each = np.zeros((-(-len(some) // WEIGHTED_BLOCK) * WEIGHTED_BLOCK, 4 * steps), np.uint8)
            shifts = np.arange(per, dtype=np.uint8) * np.uint8(8 // per)
            opened = some[:, part, None] >> shifts & np.uint8((1 << 8 // per) - 1)
            each[: len(some), : opened[0].size] = opened.reshape(len(some), -1)
            turned = each.reshape(-1, lines, per, 16, steps, 4).transpose(0, 4, 1, 2, 3, 5)
            joined = np.bitwise_or.reduce(turned << shifts[:, None, None], axis=3)
            wide = joined.reshape(len(joined), steps * lines * LINE)
            out[first : first + len(wide), at : at + wide.shape[1]] = wide
            at += wide.shape[1]
    return out


def unpack_weighted(packed: Codes, n: int, sections: Sections) -> Codes:
    """The (n, w) codes that `pack_weighted` was given."""
    codes = np.empty((n, sum(sections)), np.uint8)
    at = 0
    for part, per, lines, steps in _steps(sections):
        shifts = np.arange(per, dtype=np.uint8) * np.uint8(8 // per)
        wide = packed[:, at : at + steps * lines * LINE].reshape(-1, steps, lines, 1, 16, 4)
        turned = wide >> shifts[:, None, None] & np.uint8((1 << 8 // per) - 1)
        each = turned.transpose(0, 2, 3, 4, 1, 5).reshape(-1, 4 * steps)[:n, : per * (part.stop - part.start)]
        codes[:, part] = np.bitwise_or.reduce(each.reshape(n, part.stop - part.start, per) << shifts, axis=2)
        at += steps * lines * LINE
    return codes


def scan_weighted(
    packed: Codes,
    n: int,
    sections: Sections,
    weights: Vectors,
    bases: NDArray[np.float64],
    k: int,
    *,
    allow: Mask | None = None,
    threads: int = 1,
    module: Any = native,
) -> Neighbours:
    """The k best of n packed codes by base (q,) + the sum of weight (q, m) · sub-code."""
    ids, scores = _empty(len(weights), k)
    module.scan_weighted(packed, n, *sections, weights, bases, _bytes(allow), ids, scores, threads)
    return Neighbours(ids, scores)


def scan_weighted_twin(
    codes: Codes,
    sections: Sections,
    weights: Vectors,
    bases: NDArray[np.float64],
    k: int,
    *,
    allow: Mask | None = None,
) -> Neighbours:
    """NumPy twin of `scan_weighted`, over codes that are not packed."""
    score = bases[:, None] + weights.astype(np.float64) @ sub_codes_of(codes, sections).T.astype(np.float64)
    return _best(score, k, allow)


def sub_codes_of(codes: Codes, sections: Sections) -> Codes:
    """(n, w) codes -> (n, m): their sub-codes of 8, then of 4, then of 2 bits, one a byte."""
    bytes_, nibbles, _ = np.split(codes, np.cumsum(sections)[:2], axis=1)
    crumbs = codes[:, sum(sections[:2]) :, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3
    halves = np.stack([nibbles & 15, nibbles >> 4], axis=2).reshape(len(codes), 2 * nibbles.shape[1])
    return np.hstack([bytes_, halves, crumbs.reshape(len(codes), 4 * crumbs.shape[1])])


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


def _steps(sections: Sections) -> Iterator[tuple[slice, int, int, int]]:
    """Of each section its bytes in a code, sub-codes a byte, lines a step, and steps."""
    at = 0
    for size, per in zip(sections, (1, 2, 4), strict=True):
        if size:
            yield slice(at, at + size), per, 4 // per, -(-size * per // 4)
        at += size


def _aligned(rows: int, width: int) -> Codes:
    """(rows, width) zeros that begin where a cache line does: a register is then read from one line, not from two."""
    held = np.zeros(rows * width + LINE - 1, np.uint8)
    first = -held.ctypes.data % LINE
    return held[first : first + rows * width].reshape(rows, width)


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
