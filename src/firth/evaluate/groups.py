"""Groups among vectors: k-means by cosine, the number of groups by their silhouette, and a plane to draw them in.

Sources: Dhillon and Modha 2001 (spherical k-means); Arthur and Vassilvitskii 2007 (first centres); Rousseeuw 1987
(silhouette).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors, as_vectors, unit

ROUNDS, STARTS = 50, 8
APART = 0.08  # silhouette under which vectors count as one group; random vectors in many dimensions stay below


@dataclass(frozen=True)
class Groups:
    """Labels (n,) int64 from 0, the largest group first; silhouette (n,) of each vector, 0 in a single group."""

    labels: NDArray[np.int64]
    silhouette: NDArray[np.float64]

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.labels.max(initial=-1)) + 1


def group(vectors: Vectors, *, count: int = 0, most: int = 6, seed: int = 0) -> Groups:
    """Divide (n, d) vectors into groups.

    Args:
        vectors: of any length; direction alone counts.
        count: how many groups; 0 = the number of 2 … `most` whose mean silhouette is largest, or 1 if none is apart.
        most: groups that are tried.
        seed: of the first centres.
    """
    rows = unit(as_vectors(vectors))
    n = len(rows)
    distance = np.clip(1.0 - rows @ rows.T, 0.0, 2.0).astype(np.float64)
    whole = Groups(np.zeros(n, np.int64), np.zeros(n))
    tried = [count] if count else range(2, min(most, n - 1) + 1)
    best = whole
    for k in tried:
        if not 1 < k <= n:
            continue
        labels = _kmeans(rows, k, np.random.default_rng([seed, k]))
        found = Groups(labels, silhouette(distance, labels))
        if found.silhouette.mean() > best.silhouette.mean() or count:
            best = found
    return best if count or best.silhouette.mean() > APART else whole


def silhouette(distance: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) how much nearer each vector is to its own group than to the next one, -1 … 1; 0 for a group of one.

    Args:
        distance: (n, n) between vectors.
        labels: (n,) from 0.
    """
    k = int(labels.max()) + 1
    member = np.eye(k)[labels]  # (n, k)
    sizes = member.sum(0)
    sums = distance @ member
    row = np.arange(len(labels))
    own = sums[row, labels] / np.maximum(sizes[labels] - 1, 1)
    others = np.where(np.arange(k) == labels[:, None], np.inf, sums / np.maximum(sizes, 1))
    near = others.min(1) if k > 1 else own
    worst = np.maximum(np.maximum(own, near), 1e-12)
    return np.where(sizes[labels] > 1, (near - own) / worst, 0.0)


def plane(vectors: Vectors) -> NDArray[np.float64]:
    """(n, 2) the two principal components of the directions; their signs are fixed, and so is the picture."""
    rows = unit(as_vectors(vectors)).astype(np.float64)
    rows -= rows.mean(0)
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    found = np.zeros((len(rows), 2))
    for axis in range(min(2, len(s))):
        found[:, axis] = u[:, axis] * s[axis] * (np.sign(vt[axis][np.abs(vt[axis]).argmax()]) or 1.0)
    return found


def _kmeans(rows: Vectors, k: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The best of a few starts by the sum of cosines; the largest group is number 0."""
    best, labels = -np.inf, np.zeros(len(rows), np.int64)
    for _ in range(STARTS):
        centres = rows[_first(rows, k, random)]
        found = labels
        for _ in range(ROUNDS):
            now = (rows @ centres.T).argmax(1)
            sums = np.zeros_like(centres)
            np.add.at(sums, now, rows)
            centres = unit(np.where(np.bincount(now, minlength=k)[:, None] > 0, sums, centres))
            if np.array_equal(now, found):
                break
            found = now
        worth = float((rows @ centres.T).max(1).sum())
        if worth > best:
            best, labels = worth, found
    order = np.argsort(-np.bincount(labels, minlength=k), kind="stable")
    places: NDArray[np.int64] = np.argsort(order)[labels]
    return places


def _first(rows: Vectors, k: int, random: np.random.Generator) -> list[int]:
    """k rows far from one another, each drawn with a chance that grows with its distance."""
    chosen = [int(random.integers(len(rows)))]
    while len(chosen) < k:
        away = np.clip(1.0 - (rows @ rows[chosen].T).max(1), 0.0, None).astype(np.float64)
        away[chosen] = 0.0
        total = away.sum()
        free = [i for i in range(len(rows)) if i not in chosen]
        chosen.append(int(random.choice(len(rows), p=away / total)) if total > 0 else free[0])
    return chosen
