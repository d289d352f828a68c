"""Index files of faiss: IndexFlat and IndexHNSWFlat, alone or inside an IndexIDMap, read and written.

Four letters name the class, then comes what all share: int32 d, int64 n, two int64 that mean nothing, a byte "is
trained", int32 metric (0 inner product, 1 L2). Every vector of numbers is a uint64 count and the numbers.

| letters | what follows |
|---|---|
| IxFI, IxF2, IxFl | the rows: a count of float32 and their bytes |
| IHNf | doubles (odds of each level), int32 (links up to each level), int32 (levels + 1), uint64 (where each node's links begin), int32 (links, -1 pads), int32 entry, top level, efConstruction, efSearch, 1; then the index of the rows |
| IxMp, IxM2 | an index, then the int64 keys of its rows |

Source: faiss's own `write_index` (github.com/facebookresearch/faiss, MIT), whose layout this is; no code of it is used.
"""  # noqa: E501  a table's row is one line

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth import files
from firth.arrays import Ids, Vectors
from firth.index.foreign.bytes import Bytes
from firth.index.foreign.graph import MOST_M, NO_NODE, ForeignGraph, Links
from firth.index.metric import Metric

_HEAD = "4siqqq?i"
_UNUSED = 1 << 20
_METRICS: dict[int, Metric] = {0: "dot", 1: "euclid"}
_FLAT = (b"IxFI", b"IxF2", b"IxFl")
_MAPPED = (b"IxMp", b"IxM2")
_HNSW = b"IHNf"
_LEVELS_WRITTEN = 15  # odds and offsets for levels that no node has cost nothing
_EF_SEARCH = 16  # faiss's own default; not kept by firth, where a search names its beam
LETTERS = (*_FLAT, *_MAPPED, _HNSW)


def read(path: Path | str) -> tuple[ForeignGraph | tuple[Vectors, Ids], Metric]:
    """The graph, or the rows and their keys where the file has no graph, and the metric.

    Raises:
        FormatError: truncated, damaged, of another metric or another class of index.
    """
    source = Bytes(path)
    kind, d, n, metric = _head(source)
    if kind not in _MAPPED:
        return _read(source, kind, d, n, metric), metric
    inner, d_inner, n_inner, metric = _head(source)
    if inner in _MAPPED or (d_inner, n_inner) != (d, n):
        raise source.damaged("an IndexIDMap around an index of another size")
    found = _read(source, inner, d, n, metric)
    keys = _vector(source, "<i8", "keys").astype(np.int64)
    if len(keys) != n or (n and (keys.min() < 0 or len(np.unique(keys)) != n)):
        raise source.damaged(f"{len(keys):,} keys for {n:,} vectors, or one below 0 or there twice")
    return (replace(found, keys=keys) if isinstance(found, ForeignGraph) else (found[0], keys)), metric


def write_flat(rows: Vectors, keys: Ids, metric: Metric, path: Path | str) -> None:
    """An IndexFlat, inside an IndexIDMap unless the keys are the row numbers."""
    with files.write_whole(path) as file:
        mapped = not np.array_equal(keys, np.arange(len(keys)))
        if mapped:
            file.write(_header(b"IxMp", rows, metric))
        _write_rows(file, rows, metric)
        if mapped:
            _write_vector(file, keys, "<i8")


def write_graph(graph: ForeignGraph, metric: Metric, path: Path | str) -> None:
    """An IndexHNSWFlat of the same graph, inside an IndexIDMap unless the keys are the row numbers.

    faiss's M is our m; cosine becomes its inner product, over unit rows.
    """
    n, m = len(graph.rows), graph.m
    widths = 2 * m + graph.levels * m
    offsets = np.concatenate([[0], np.cumsum(widths)])
    links = np.full(int(offsets[-1]), -1, np.int64)
    base = np.full((n, 2 * m), -1, np.int64)
    base[:, : graph.base.shape[1]] = _signed(graph.base)
    links[offsets[:-1, None] + np.arange(2 * m)] = base
    first = np.repeat(offsets[:-1] + 2 * m, graph.levels)
    step = np.arange(int(graph.levels.sum())) - np.repeat(np.cumsum(graph.levels) - graph.levels, graph.levels)
    links[(first + step * m)[:, None] + np.arange(m)] = _signed(graph.upper)
    odds = [math.exp(-level * math.log(m)) * (1 - 1 / m) for level in range(_LEVELS_WRITTEN)]
    reach = np.concatenate([[0], 2 * m + m * np.arange(_LEVELS_WRITTEN)])
    top = int(graph.levels[graph.entry]) if n else -1
    with files.write_whole(path) as file:
        mapped = not np.array_equal(graph.keys, np.arange(n))
        if mapped:
            file.write(_header(b"IxMp", graph.rows, metric))
        file.write(_header(_HNSW, graph.rows, metric))
        for values, dtype in (
            (np.array(odds), "<f8"), (reach, "<i4"), (graph.levels + 1, "<i4"), (offsets, "<u8"), (links, "<i4"),
        ):  # fmt: skip
            _write_vector(file, values, dtype)
        file.write(struct.pack("<5i", graph.entry, top, graph.ef_construction, _EF_SEARCH, 1))
        _write_rows(file, graph.rows, metric)
        if mapped:
            _write_vector(file, graph.keys, "<i8")


def _head(source: Bytes) -> tuple[bytes, int, int, Metric]:
    kind, d, n, _, _, _, metric = source.values(_HEAD, "faiss's header")
    if kind not in LETTERS:
        raise source.damaged(f"a faiss index of class {kind!r}; firth reads IndexFlat, IndexHNSWFlat and IndexIDMap")
    if metric not in _METRICS:
        raise source.damaged(f"faiss metric {metric}; firth has inner product (0) and L2 (1)")
    if d < 1 or n < 0 or n > source.size:
        raise source.damaged(f"{n:,} vectors of {d:,} dimensions")
    return kind, d, n, _METRICS[metric]


def _read(source: Bytes, kind: bytes, d: int, n: int, metric: Metric) -> ForeignGraph | tuple[Vectors, Ids]:
    keys = np.arange(n, dtype=np.int64)
    if kind in _FLAT:
        return _rows(source, d, n), keys
    if kind != _HNSW:
        raise source.damaged(f"an index of class {kind!r} inside of an IndexIDMap")
    _vector(source, "<f8", "odds")
    reach = _vector(source, "<i4", "links up to each level").astype(np.int64)
    levels = _vector(source, "<i4", "levels").astype(np.int64) - 1
    offsets = _vector(source, "<u8", "offsets")
    links = _vector(source, "<i4", "links").astype(np.int64)
    entry, _, effort, _, _ = source.values("5i", "faiss's search settings")
    _check(source, n, reach, levels, offsets, links)
    inner, d_rows, n_rows, rows_metric = _head(source)
    if inner not in _FLAT or (d_rows, n_rows, rows_metric) != (d, n, metric):
        raise source.damaged(f"the rows of the graph are an index of class {inner!r}; firth reads IndexHNSWFlat")
    starts = offsets[:-1].astype(np.int64)
    base, m = int(reach[1]), int(reach[2] - reach[1]) if len(reach) > 2 else int(reach[1] + 1) // 2
    first = np.repeat(starts + base, levels)
    step = np.arange(int(levels.sum())) - np.repeat(np.cumsum(levels) - levels, levels)
    return ForeignGraph(
        rows=_rows(source, d, n),
        keys=keys,
        levels=levels,
        base=_links(links[starts[:, None] + np.arange(base)]),
        upper=_links(links[(first + step * m)[:, None] + np.arange(m)]),
        m=max(m, -(-base // 2), 2),
        ef_construction=min(max(effort, 1), 1 << 20),
        entry=entry,
        hidden=np.zeros(n, bool),
    )


def _check(
    source: Bytes, n: int, reach: NDArray[Any], levels: NDArray[Any], offsets: NDArray[Any], links: NDArray[Any]
) -> None:
    """The links of each node lie where its level says, and lead to nodes."""
    steps = np.diff(reach)
    if len(reach) < 2 or reach[0] != 0 or not 1 <= steps[0] <= 2 * MOST_M or (steps[1:] != steps[1:2]).any():
        raise source.damaged(f"links up to each level are {reach[:4].tolist()}…")
    if len(steps) > 1 and not 1 <= steps[1] <= MOST_M:
        raise source.damaged(f"{steps[1]} links a level; firth keeps up to {MOST_M}")
    if len(levels) != n or (n and (levels.min() < 0 or levels.max() + 1 >= len(reach))):
        raise source.damaged(f"{len(levels):,} levels for {n:,} vectors, or one outside of 1 … {len(reach) - 1}")
    expected = np.concatenate([[0], np.cumsum(reach[levels + 1])])
    if len(offsets) != n + 1 or (offsets.astype(np.float64) != expected).any() or len(links) != expected[-1]:
        raise source.damaged("the links of the nodes do not lie one after the other")
    if len(links) and (links.min() < -1 or links.max() >= n):
        raise source.damaged(f"a link leads to node {links.max() if links.max() >= n else links.min()} of {n:,}")


def _rows(source: Bytes, d: int, n: int) -> Vectors:
    values = _vector(source, "<f4", "values of rows")
    if len(values) != n * d:
        raise source.damaged(f"{len(values):,} values for {n:,} rows of {d:,}")
    return values.reshape(n, d).astype(np.float32, copy=False)


def _vector(source: Bytes, dtype: str, what: str) -> NDArray[Any]:
    (count,) = source.values("Q", f"number of {what}")
    return source.array(dtype, count, what)


def _links(links: NDArray[Any]) -> Links:
    """-1 becomes `NO_NODE`, at the end of each list."""
    order = np.argsort(links < 0, axis=1, kind="stable")
    ended = np.take_along_axis(links, order, 1)
    return np.where(ended < 0, NO_NODE, ended).astype(np.uint32)


def _signed(links: Links) -> NDArray[np.int64]:
    return np.where(links == NO_NODE, -1, links.astype(np.int64))


def _header(kind: bytes, rows: Vectors, metric: Metric) -> bytes:
    n, d = rows.shape
    return struct.pack("<" + _HEAD, kind, d, n, _UNUSED, _UNUSED, True, int(metric == "euclid"))


def _write_rows(file: Any, rows: Vectors, metric: Metric) -> None:
    file.write(_header(b"IxF2" if metric == "euclid" else b"IxFI", rows, metric))
    _write_vector(file, rows.reshape(-1), "<f4")


def _write_vector(file: Any, values: NDArray[Any], dtype: str) -> None:
    file.write(struct.pack("<Q", len(values)))
    file.write(np.ascontiguousarray(values, dtype).tobytes())
