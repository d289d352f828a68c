"""Which dimensions, codec and index settings are the cheapest that keep the recall.

Every configuration is one that a collection can be built with; it is built from the model's own vectors and searched
with the domain's own queries. Recall is the share of the exact float32 neighbours at full width that it returns; where
there are judged queries, what it returns for them is scored too, which the choice does not look at. Cheap means few
bytes a vector in memory first: of the configurations that reach the wanted recall, those within `MEMORY_SLACK` of the
smallest compete, and the fastest wins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
ONE_BY_ONE = 100  # queries asked one at a time for the latency; five of them are slower than its 95th percentile


@dataclass(frozen=True)
class Tests:
    """Judged queries (t, d), float32 unit rows, and the score of Neighbours (t, k) that were found for them, 0 to 1."""

    queries: Vectors
    score: Callable[[Neighbours], float]


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
    tests: Tests | None = None,
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
        tests: what each point's score is of; None leaves it out.

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
        short = _short(vectors, width)
        asked = _Asked(_short(queries, width), exact, tests and Tests(_short(tests.queries, width), tests.score))
        scan = Flat.build(short)
        flat = asked.point(scan.search, "float32", "flat", {}, scan.bytes_per_vector)
        points.append(flat)
        # A graph ranks by the same rows in the end, so that what the scan of them misses no graph can find.
        if flat.recall >= recall:
            for codec in CODECS:
                points += _walked(short, asked, codec, recall, threads, seed)
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


@dataclass(frozen=True)
class _Asked:
    """The queries at one width, their exact neighbours at full width, and the judged ones."""

    queries: Vectors
    exact: Neighbours
    tests: Tests | None

    def point(
        self, search: Callable[..., Neighbours], codec: str, index: str, settings: Mapping[str, int], memory: float
    ) -> Point:
        """What a search of this width finds and takes; `memory` is its bytes a vector."""
        k = self.exact.k
        rate, found = timed(partial(search, self.queries, k=k))
        return Point(
            dims=self.queries.shape[1],
            codec=codec,
            index=index,
            settings=settings,
            recall=overlap(found, self.exact),
            queries_per_second=rate * len(self.queries),
            bytes_per_vector=memory,
            score=None if self.tests is None else self.tests.score(search(self.tests.queries, k=k)),
            milliseconds=latency(search, self.queries, k),
        )


def _walked(
    vectors: Vectors, asked: _Asked, codec: Literal["sq8"] | None, recall: float, threads: int, seed: int
) -> Iterator[Point]:
    """Each HNSW of one width and codec, with a wider beam up to the first that reaches the recall."""
    for m in LINKS:
        index = HNSW.build(vectors, m=m, ef_construction=EF_CONSTRUCTION, codec=codec, threads=threads, seed=seed)
        # Under codes, the float32 rows are only read to rank the last few: they stay on disk, mapped.
        memory = index.bytes_per_vector - (vectors.itemsize * vectors.shape[1] if codec else 0)
        before = -1.0
        for ef in (ef for ef in BEAMS if ef >= asked.exact.k):
            settings = {"m": m, "ef_construction": EF_CONSTRUCTION, "ef": ef}
            point = asked.point(partial(index.search, ef=ef), codec or "float32", "hnsw", settings, memory)
            yield point
            if point.recall >= recall or point.recall == before:  # a wider beam finds no more
                break
            before = point.recall


def timed(search: Callable[[], Neighbours]) -> tuple[float, Neighbours]:
    """Searches a second of the whole batch on one thread, and what it found."""
    found = search()
    start, turns = time.perf_counter(), 0
    while turns == 0 or time.perf_counter() - start < TIMED_SECONDS:
        search()
        turns += 1
    return turns / (time.perf_counter() - start), found


def latency(search: Callable[..., Neighbours], queries: Vectors, k: int) -> float:
    """95th percentile of the milliseconds that one query takes, asked alone on one thread."""
    taken = []
    for row in queries[:ONE_BY_ONE]:
        start = time.perf_counter()
        search(row[None], k=k)
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.percentile(taken, 95))


def _short(rows: Vectors, width: int) -> Vectors:
    return rows if width == rows.shape[1] else unit(rows[:, :width])


def _widths(d: int) -> list[int]:
    """Shares of the full width that are multiples of 16, widest first."""
    return sorted({d, *(round(d * share / 16) * 16 for share in WIDTHS[1:] if d * share >= 16)}, reverse=True)
