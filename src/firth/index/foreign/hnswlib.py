"""Index files of hnswlib (0.4 to 0.8), read and written.

96 bytes of settings, all little-endian: six uint64 (offset of level 0, room, elements, bytes an element, offset of the
label, offset of the vector), int32 top level, uint32 entry, three uint64 (links on upper levels, on level 0, M), a
double, uint64 ef_construction. Then an element after the other: [uint16 count, uint8 flags, uint8] [links of level 0]
[vector] [uint64 label]; flag 1 = deleted. Then for each element the uint32 bytes of its upper lists, and these, each
[uint32 count] [links]. The metric is not in the file: whoever opens it has to know.

Source: hnswlib's own `saveIndex` (github.com/nmslib/hnswlib, Apache-2.0), whose layout this is; no code of it is used.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import files
from firth.index.foreign.bytes import Bytes
from firth.index.foreign.graph import NO_NODE, ForeignGraph, Links

_HEAD = "6Qi I 3Q d Q".replace(" ", "")
_DELETED = 1
_MOST_KEY = np.iinfo(np.int64).max
HEAD_BYTES = struct.calcsize("<" + _HEAD)


def read(path: Path | str) -> ForeignGraph:
    """The graph in a file that hnswlib saved.

    Raises:
        FormatError: truncated, damaged, or not hnswlib's.
    """
    source = Bytes(path)
    offset, _, n, size, label_at, row_at, _, entry, m, m0, _, _, ef = source.values(_HEAD, "hnswlib's settings")
    fits = offset == 0 and row_at == 4 + 4 * m0 and row_at < label_at and size == label_at + 8
    if not fits or (label_at - row_at) % 4 or not 1 <= m <= m0 or n > source.left // size:
        raise source.damaged(f"these are not hnswlib's settings: {n:,} elements of {size:,} bytes, {m}/{m0} links")
    raw = source.take(n * size, "elements").reshape(n, size)
    counts = _column(raw, 0, 2, "<u2")[:, 0].astype(np.int64)
    if n and counts.max() > m0:
        raise source.damaged(f"element {counts.argmax():,} has {counts.max()} links of at most {m0}")
    base = _ended(_column(raw, 4, row_at, "<u4"), counts)
    labels = _column(raw, label_at, size, "<u8")[:, 0]
    if n and labels.max() > _MOST_KEY:
        raise source.damaged(f"label {labels.max()} does not fit into 63 bits")
    levels, upper = _upper(source, n, m)
    return ForeignGraph(
        rows=_column(raw, row_at, label_at, "<f4").astype(np.float32, copy=False),
        keys=labels.astype(np.int64),
        levels=levels,
        base=base,
        upper=upper,
        m=max(m, -(-m0 // 2), 2),
        ef_construction=min(max(ef, 1), 1 << 20),
        entry=entry,
        hidden=(raw[:, 2] & _DELETED).astype(bool),
    )


def write(graph: ForeignGraph, path: Path | str) -> None:
    """A file that hnswlib's `load_index` opens: its M is our m, its labels are our keys."""
    n, d = graph.rows.shape
    m, m0 = graph.m, 2 * graph.m
    row_at = 4 + 4 * m0
    size = row_at + 4 * d + 8
    raw = np.zeros((n, size), np.uint8)
    counts = (graph.base != NO_NODE).sum(axis=1).astype("<u2")
    raw[:, :2] = counts[:, None].view(np.uint8)
    links = np.zeros((n, m0), "<u4")
    links[:, : graph.base.shape[1]] = np.where(graph.base == NO_NODE, 0, graph.base)
    raw[:, 4:row_at] = links.view(np.uint8)
    raw[:, row_at : row_at + 4 * d] = np.ascontiguousarray(graph.rows, "<f4").view(np.uint8)
    raw[:, size - 8 :] = graph.keys.astype("<u8")[:, None].view(np.uint8)
    upper = np.zeros((len(graph.upper), m + 1), "<u4")
    upper[:, 0] = (graph.upper != NO_NODE).sum(axis=1)
    upper[:, 1:] = np.where(graph.upper == NO_NODE, 0, graph.upper)
    top = int(graph.levels[graph.entry]) if n else -1
    entry = graph.entry & 0xFFFFFFFF
    head = (0, max(n, 1), n, size, size - 8, row_at, top, entry, m, m0, m, 1 / math.log(m), graph.ef_construction)
    with files.write_whole(path) as file:
        file.write(struct.pack("<" + _HEAD, *head))
        file.write(raw.tobytes())
        at = 0
        for level in graph.levels.tolist():
            file.write(struct.pack("<I", level * 4 * (m + 1)))
            file.write(upper[at : at + level].tobytes())
            at += level


def _column(raw: NDArray[np.uint8], begin: int, end: int, dtype: str) -> NDArray[Any]:
    return np.ascontiguousarray(raw[:, begin:end]).view(dtype)


def _ended(links: NDArray[Any], counts: NDArray[np.int64]) -> Links:
    """Lists that end where their count says."""
    there = np.arange(links.shape[1])[None, :] < counts[:, None]
    return np.where(there, links, NO_NODE).astype(np.uint32)


def _upper(source: Bytes, n: int, m: int) -> tuple[NDArray[np.int64], Links]:
    """Top level of each element, and the lists above level 0, element after element."""
    group, levels, blocks = 4 + 4 * m, np.zeros(n, np.int64), []
    for i in range(n):
        (length,) = source.values("I", "length of an element's upper lists")
        if length % group:
            raise source.damaged(f"element {i:,} has {length} bytes of upper lists; a list takes {group}")
        levels[i] = length // group
        if length:
            blocks.append(source.take(length, "upper lists"))
    lists = np.concatenate(blocks).view("<u4").reshape(-1, m + 1) if blocks else np.empty((0, m + 1), "<u4")
    counts = lists[:, 0].astype(np.int64)
    if len(counts) and counts.max() > m:
        raise source.damaged(f"an upper list has {counts.max()} links of at most {m}")
    return levels, _ended(lists[:, 1:], counts)
