"""How wide a beam which recall needs: measured once, on rows that the graph has not seen, and kept with the index.

The build holds a few hundred rows back, links the rest, searches for the held-out rows with wider and wider beams,
compares with the exact answer, and then adds them. So `search(recall=0.99)` can pick ef, and says so in `beam`.
Rows stand in for queries; where real queries are of another kind (short questions over long passages), measure with
`index.recall(queries)` and ask for more.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from firth.arrays import NO_ID, Ids, Neighbours, Vectors

HELD_OUT = 400  # rows; at recall 0.99 of 10 neighbours the standard error is 0.0016
FEWEST = 5_000  # vectors; a smaller index is scanned or nearly so, and has no curve
K = (1, 10, 100)
EF = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
# A beam is widened by this power of the index's growth since the curve was measured. In clusters of noise, where it
# matters most, recall 0.99 took a beam of 21 at 5,000 vectors and 30 at 11,000; without it recall fell to 0.974.
GROWTH = 0.5
NEAREST = 1e-4  # of the k-th squared distance: copies of the query say nothing about dimensions
MOST_DIMENSION = 1e4  # rows at equal distances from each other
ENOUGH = 0.9995  # recall at which wider beams are no longer measured


class Searched(Protocol):
    """The part of an index that is measured."""

    def __len__(self) -> int: ...

    dimension: float

    def exact(self, queries: Vectors, k: int = 10, *, threads: int | None = None) -> Neighbours: ...

    def squared_distances(self, queries: Vectors, near: Neighbours) -> NDArray[np.float64]: ...

    def _search(
        self, queries: Vectors, k: int, *, ef: int, threads: int | None = 1
    ) -> tuple[Neighbours, NDArray[np.uint32]]: ...


@dataclass(frozen=True)
class Point:
    """One measurement: the mean recall of k neighbours at a beam of ef, and the mean distances a query."""

    k: int
    ef: int
    recall: float
    work: float


@dataclass(frozen=True)
class Curve:
    """Recall against ef for a few k, ascending in k and then ef, of an index of so many `vectors`."""

    points: tuple[Point, ...]
    vectors: int

    def ef(self, k: int, recall: float, *, vectors: int = 0) -> int:
        """The smallest beam, interpolated between those measured, that reached this recall for k neighbours.

        In an index that has grown to more `vectors` since, the beam is widened; see `GROWTH`. For a k between two that
        were measured, the beams of both are interpolated by log k; where the recall was never reached it is the widest
        beam measured, scaled with k.
        """
        wider = max(vectors / self.vectors, 1.0) ** GROWTH if self.vectors else 1.0
        return max(k, int(np.ceil(wider * self._between(k, recall))))

    def _between(self, k: int, recall: float) -> int:
        ks = sorted({point.k for point in self.points})
        at = bisect_left(ks, k)
        if at == len(ks):
            return -(-self._ef(ks[-1], recall) * k // ks[-1])
        if ks[at] == k or at == 0:
            return self._ef(ks[at], recall)
        low, high = ks[at - 1], ks[at]
        share = np.log(k / low) / np.log(high / low)
        return int(np.ceil((1 - share) * self._ef(low, recall) + share * self._ef(high, recall)))

    def _ef(self, k: int, recall: float) -> int:
        points = [point for point in self.points if point.k == k]
        for before, point in zip([None, *points], points, strict=False):
            if point.recall >= recall:
                if before is None or point.recall == before.recall:
                    return point.ef
                share = (recall - before.recall) / (point.recall - before.recall)
                return int(np.ceil(before.ef + max(share, 0) * (point.ef - before.ef)))
        return points[-1].ef

    def state(self) -> list[list[float]]:
        """Rows of k, ef, recall, work."""
        return [[point.k, point.ef, point.recall, point.work] for point in self.points]

    @classmethod
    def restore(cls, rows: Any, vectors: int) -> Self:
        """The curve that `state` described, of an index of so many vectors; ValueError if it is none."""
        points = tuple(Point(int(k), int(ef), float(recall), float(work)) for k, ef, recall, work in rows)
        if not points or any(point.k < 1 or point.ef < 1 or not 0 <= point.recall <= 1 for point in points):
            raise ValueError("a curve needs points of k >= 1, ef >= 1 and 0 <= recall <= 1")
        if vectors < 0:
            raise ValueError(f"a curve of an index of {vectors} vectors")
        return cls(points, vectors)


def held_out(n: int, seed: int) -> Ids:
    """Row numbers, ascending, to hold back from the build; none of a small index."""
    if n < FEWEST:
        return np.empty(0, np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, HELD_OUT, replace=False))


def measure(index: Searched, queries: Vectors, *, threads: int | None = None) -> Curve:
    """The curve of an index on queries that it does not hold; its `dimension`, which searches go by, is set first."""
    points: list[Point] = []
    truth = index.exact(queries, max(K), threads=threads)
    index.dimension = dimension(index.squared_distances(queries, truth))
    for k in K:
        exact = Neighbours(truth.ids[:, :k], truth.scores[:, :k])
        for ef in EF:
            if ef < k:
                continue
            found, work = index._search(queries, k, ef=ef, threads=threads)
            points.append(Point(k, ef, recall(found, exact), float(work.mean())))
            if points[-1].recall >= ENOUGH:
                break
    return Curve(tuple(points), len(index))


def dimension(squares: NDArray[np.float64]) -> float:
    """The local intrinsic dimension: how fast the number of neighbours grows with the distance; 0 where it does not.

    Args:
        squares: (q, k) squared distances of each query's k nearest, ascending.

    Source: Amsaleg et al. 2015, "Estimating Local Intrinsic Dimensionality", the maximum likelihood estimate.
    """
    last = squares[:, -1:]
    ratios = squares[:, :-1][last[:, 0] > 0] / last[last[:, 0] > 0]
    mean = -0.5 * np.log(np.maximum(ratios, NEAREST)).mean() if ratios.size else 0.0
    return float(min(1 / mean, MOST_DIMENSION)) if mean > 0 else 0.0


def recall(found: Neighbours, exact: Neighbours) -> float:
    """Share of the exact neighbours that were found; one as near as the k-th counts, so ties cost nothing."""
    there = exact.ids != NO_ID
    if not there.any():
        return 1.0
    kth = np.where(there, exact.scores, np.inf).min(axis=1)
    hits = ((found.ids != NO_ID) & (found.scores >= kth[:, None])).sum(axis=1)
    return float(np.minimum(hits, there.sum(axis=1)).sum() / there.sum())
