"""Which dimensions, codec and index settings are the cheapest that keep the recall.

Every configuration is one that a collection can be built with; it is built from the model's own vectors and searched
with the domain's own queries. Recall is the share of the exact float32 neighbours at full width that it returns. Cheap
means few bytes a vector in memory first: of the configurations that reach the wanted recall, those within
`MEMORY_SLACK` of the smallest compete, and the fastest wins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from firth.arrays import Neighbours, Vectors, unit
from firth.errors import SettingsError
from firth.evaluate.records import Point
from firth.index import HNSW, Flat
from firth.progress import Progress, silent

MEMORY_SLACK = 1.5  # times the smallest; twice the links cost a tenth of that and can be far faster
WIDTHS = (1.0, 2 / 3, 1 / 2, 1 / 3)  # of the model's dimensions
CODECS: tuple[Literal["sq8"] | None, ...] = (None, "sq8")  # None = float32
LINKS = (8, 16)  # HNSW's m
BEAMS = (16, 24, 32, 48, 64, 96, 128, 192, 256)  # ef, ascending; the first that reaches the recall ends the row
EF_CONSTRUCTION = 200
MOST_QUERIES = 500  # more narrow the estimate of recall by less than half a point
TIMED_SECONDS = 0.3  # each configuration is searched at least this long for its speed


@dataclass(frozen=True)
class Sweep:
    """All that was measured, and the choice."""

    points: tuple[Point, ...]
    chosen: Point


def sweep(
    vectors: Vectors,
    queries: Vectors,
    *,
    recall: float,
    k: int = 10,
    threads: int = 1,
    seed: int = 0,
    widths: Sequence[int] = (),
    progress: Progress = silent,
) -> Sweep:
    """Measure every configuration and choose.

    Args:
        vectors: (n, d) float32 unit rows of the documents.
        queries: (q, d) float32 unit rows; the first `MOST_QUERIES` are used.
        recall: share of the exact k neighbours to keep, above 0 to 1.
        k: neighbours that recall is counted over.
        threads: for building; searches are timed on one thread.
        widths: dimensions to try; by default the full width and shares of it that are multiples of 16.

    Raises:
        SettingsError: recall out of range, no documents or no queries.
    """
    if not 0 < recall <= 1 or not len(vectors) or not len(queries):
        raise SettingsError(f"recall {recall}, {len(vectors)} documents, {len(queries)} queries: nothing to choose by")
    queries = queries[:MOST_QUERIES]
    k = min(k, len(vectors))
    exact = Flat.build(vectors, threads=threads).search(queries, k=k, threads=threads)
    points: list[Point] = []
    widths = widths or _widths(vectors.shape[1])
    for done, width in enumerate(widths):
        progress(done, len(widths), f"{width} dims")
        whole = width == vectors.shape[1]
        short, asked = (vectors, queries) if whole else (unit(vectors[:, :width]), unit(queries[:, :width]))
        flat = _scanned(short, asked, exact)
        points.append(flat)
        # A graph ranks by the same rows in the end, so that what the scan of them misses no graph can find.
        if flat.recall >= recall:
            for codec in CODECS:
                points += _walked(short, asked, exact, codec, recall, threads, seed)
    progress(len(widths), len(widths))
    return Sweep(tuple(points), choose(points, recall))


def choose(points: Sequence[Point], recall: float) -> Point:
    """The fastest of those that reach the recall and are nearly as small as the smallest; see the head of this file.

    Where none reaches it, the one that comes nearest.
    """
    enough = [point for point in points if point.recall >= recall]
    if not enough:
        return max(points, key=lambda point: (point.recall, point.queries_per_second))
    least = min(point.bytes_per_vector for point in enough)
    small = [point for point in enough if point.bytes_per_vector <= MEMORY_SLACK * least]
    return max(small, key=lambda point: point.queries_per_second)


def overlap(found: Neighbours, exact: Neighbours) -> float:
    """Share of the exact neighbours that were found, 0 to 1: recall@k of an index."""
    hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(found.ids, exact.ids, strict=True))
    return float(hits / max(1, int((exact.ids >= 0).sum())))


def _scanned(vectors: Vectors, queries: Vectors, exact: Neighbours) -> Point:
    """Exact search over float32 rows of one width."""
    flat = Flat.build(vectors)
    rate, found = timed(partial(flat.search, queries, k=exact.k))
    return Point(
        vectors.shape[1], "float32", "flat", {}, overlap(found, exact), rate * len(queries), flat.bytes_per_vector
    )


def _walked(
    vectors: Vectors,
    queries: Vectors,
    exact: Neighbours,
    codec: Literal["sq8"] | None,
    recall: float,
    threads: int,
    seed: int,
) -> Iterator[Point]:
    """Each HNSW of one width and codec, with a wider beam up to the first that reaches the recall."""
    k, d = exact.k, vectors.shape[1]
    for m in LINKS:
        index = HNSW.build(vectors, m=m, ef_construction=EF_CONSTRUCTION, codec=codec, threads=threads, seed=seed)
        # Under codes, the float32 rows are only read to rank the last few: they stay on disk, mapped.
        memory = index.bytes_per_vector - (vectors.itemsize * d if codec else 0)
        before = -1.0
        for ef in (ef for ef in BEAMS if ef >= k):
            rate, found = timed(partial(index.search, queries, k=k, ef=ef))
            reached = overlap(found, exact)
            settings = {"m": m, "ef_construction": EF_CONSTRUCTION, "ef": ef}
            yield Point(d, codec or "float32", "hnsw", settings, reached, rate * len(queries), memory)
            if reached >= recall or reached == before:  # a wider beam finds no more
                break
            before = reached


def timed(search: Callable[[], Neighbours]) -> tuple[float, Neighbours]:
    """Searches a second of the whole batch on one thread, and what it found."""
    found = search()
    start, turns = time.perf_counter(), 0
    while turns == 0 or time.perf_counter() - start < TIMED_SECONDS:
        search()
        turns += 1
    return turns / (time.perf_counter() - start), found


def _widths(d: int) -> list[int]:
    """Shares of the full width that are multiples of 16, widest first."""
    return sorted({d, *(round(d * share / 16) * 16 for share in WIDTHS[1:] if d * share >= 16)}, reverse=True)
