"""An HNSW graph between two programs: rows, links and keys, checked once, so that no graph is built again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Ids, Vectors
from firth.compress import Scalar
from firth.errors import FormatError, SettingsError
from firth.index.hnsw import ALIVE, HNSW
from firth.index.hnsw_file import CODE_WIDTH
from firth.index.keys import Keys
from firth.index.metric import Metric, levelled
from firth.kernels.codes import scalar_encode, split_codes
from firth.kernels.flat import longest_row

MOST_M = 256  # links a node on the upper levels; native/graph.hpp
MOST_LEVEL = 15
NO_NODE = np.uint32(0xFFFFFFFF)
LARGEST_VALUE = 1e15  # of a row: squares and sums of larger ones leave float32
UNIT_WITHIN = 1e-3  # how far from one the length of a "unit" row may be

Links = NDArray[np.uint32]


@dataclass(frozen=True)
class ForeignGraph:
    """A graph as the peers keep one.

    Attributes:
        rows: (n, d) float32.
        keys: (n,) int64, each at least 0.
        levels: (n,) int, the top level of each node.
        base: (n, at most 2m) uint32 links of level 0; `NO_NODE` pads.
        upper: (sum of levels, at most m) uint32 links of the levels from 1 up, node after node; `NO_NODE` pads.
        m: links a node on upper levels.
        ef_construction: the beam that it was built with.
        entry: the node that searches start from.
        hidden: (n,) True where a node was deleted and is only walked through.
    """

    rows: Vectors
    keys: Ids
    levels: NDArray[Any]
    base: Links
    upper: Links
    m: int
    ef_construction: int
    entry: int
    hidden: NDArray[np.bool_]


def adopt(graph: ForeignGraph, metric: Metric, *, codec: str | None = "sq8", seed: int = 0) -> HNSW:
    """An index of ours over the same graph.

    Args:
        metric: what its links were made by; under "cosine" the rows must be unit rows.
        codec: "sq8" walks over one byte a dimension, None over float32.

    Raises:
        FormatError: links, levels, keys or rows that cannot be.
    """
    rows, n = np.ascontiguousarray(graph.rows, np.float32), len(graph.rows)
    _check(graph, rows, metric)
    longest = longest_row(rows) if metric == "dot" else 0.0
    wide = levelled(rows, longest) if metric == "dot" else rows
    d = wide.shape[1]
    scalar = _codec(wide, seed) if codec == "sq8" else None
    index = HNSW(rows.shape[1], metric, graph.m, graph.ef_construction, scalar, seed)
    index.longest = longest
    base = _widened(graph.base, 2 * graph.m)
    blocks = np.zeros((n, index._graph.block_bytes), np.uint8)
    blocks[:, : base.shape[1] * 4] = base.view(np.uint8)
    low = np.zeros((n, 0), np.uint8)
    if scalar is None:
        norms = np.einsum("nd,nd->n", wide, wide, dtype=np.float64).astype(np.float32).view(np.uint32)
    else:
        codes = scalar_encode(wide, scalar.centre, scalar.inverse, width=-(-d // CODE_WIDTH) * CODE_WIDTH)
        high, low = split_codes(codes)
        blocks[:, base.shape[1] * 4 :][:, : high.shape[1]] = high
        steps = codes.astype(np.int32) - 128
        norms = np.einsum("nd,nd->n", steps, steps, dtype=np.int64).astype(np.uint32)
    levels = np.minimum(graph.levels, MOST_LEVEL).astype(np.uint8)
    starts = np.cumsum(graph.levels, dtype=np.int64) - graph.levels
    columns = (
        blocks, low, norms[:, None], wide, graph.keys[:, None], levels[:, None],
        graph.hidden.astype(np.uint8)[:, None], starts.astype(np.uint32)[:, None], _widened(graph.upper, graph.m),
    )  # fmt: skip
    try:
        index._graph.open(*columns, int(graph.entry) if n else 0)
    except ValueError as error:
        raise FormatError(f"damaged: {error}") from error
    index._held = columns
    alive = np.ascontiguousarray(graph.keys[~graph.hidden])
    index._keys = Keys()
    index._keys.accept(None, alive)
    index._graph.connect()
    return index


def given(index: HNSW) -> ForeignGraph:
    """The graph of an index of ours, removed vectors mended away and their slots closed up.

    Keys are integers; an index with string keys gives their serial numbers.
    """
    with index._writer:
        graph = index._graph
        if graph.count != graph.alive + graph.free:
            index.repair()
        there = graph.state[:, 0] == ALIVE
        number = np.full(graph.count + 1, NO_NODE, np.uint32)
        number[: graph.count][there] = np.arange(int(there.sum()), dtype=np.uint32)
        levels = np.array(graph.levels[:, 0][there], np.int64)
        starts = np.array(graph.upper_at[:, 0][there], np.int64)
        place = np.repeat(starts - (np.cumsum(levels) - levels), levels) + np.arange(int(levels.sum()))
        links = graph.blocks[:, : 8 * index.m].view(np.uint32)[there]
        return ForeignGraph(
            rows=np.ascontiguousarray(graph.rows[there][:, : index.dims]),
            keys=np.array(graph.keys[:, 0][there]),
            levels=levels,
            base=_renamed(links, number),
            upper=_renamed(graph.upper[place], number),
            m=index.m,
            ef_construction=index.ef_construction,
            entry=int(number[graph.entry]) if len(levels) else -1,
            hidden=np.zeros(len(levels), bool),
        )


def _renamed(links: Links, number: Links) -> Links:
    """Links under the new numbers, those that lead nowhere dropped, at the front of each list."""
    named = number[np.minimum(links, len(number) - 1)]
    order = np.argsort(named == NO_NODE, axis=1, kind="stable")
    return np.ascontiguousarray(np.take_along_axis(named, order, 1))


def _widened(links: Links, width: int) -> Links:
    return np.pad(links, ((0, 0), (0, width - links.shape[1])), constant_values=NO_NODE)


def _codec(rows: Vectors, seed: int) -> Scalar:
    if len(rows):
        return Scalar.train(rows, uniform=True, seed=seed)
    return Scalar(np.zeros(rows.shape[1], np.float32), np.full(rows.shape[1], 1 / 127, np.float32), 8)


def _check(graph: ForeignGraph, rows: Vectors, metric: Metric) -> None:
    n = len(rows)
    if not 2 <= graph.m <= MOST_M or graph.base.shape[1] > 2 * graph.m or graph.upper.shape[1] > graph.m:
        raise FormatError(f"damaged or too large: {graph.m} links a node; firth keeps 2 to {MOST_M}")
    sound = (np.abs(rows) <= LARGEST_VALUE).all(axis=1)  # False for NaN too
    if not sound.all():
        raise FormatError(f"damaged: row {sound.argmin()} holds a value that is not finite or above {LARGEST_VALUE:g}")
    for links in (graph.base, graph.upper):
        if ((links >= n) & (links != NO_NODE)).any():
            raise FormatError(f"damaged: a link leads to node {links[(links >= n) & (links != NO_NODE)][0]} of {n}")
    if len(graph.keys) and (graph.keys.min() < 0 or len(np.unique(graph.keys)) != n):
        raise FormatError("damaged: a key is below 0 or there twice")
    if n and not 0 <= graph.entry < n:
        raise FormatError(f"damaged: searches start from node {graph.entry} of {n}")
    if metric == "cosine" and n:
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
        worst = int(np.abs(lengths - 1).argmax())
        if abs(lengths[worst] - 1) > UNIT_WITHIN:
            raise SettingsError(
                f"metric=cosine: row {worst} has length {lengths[worst]:.4g}; cosine indexes hold unit rows: "
                'try metric="dot" or "euclid"'
            )
