"""Vectors laid out on a plane so that near ones lie near: what the page's map shows.

Begins at the two principal directions; then each point is drawn to its nearest neighbours and pushed from points drawn
at random. 2,000 points of 384 dimensions take about two seconds on one core.

Source: the attraction and repulsion of McInnes, Healy and Melville 2018, "UMAP", arXiv:1802.03426, section 3.2, with
a = b = 1. Where we differ: every neighbour counts alike, and all points move at once in NumPy, a round at a time.
"""

from __future__ import annotations

import numpy as np

from firth.arrays import Vectors
from firth.kernels.flat import flat

NEAREST = 12  # neighbours that a point is drawn to
ROUNDS = 200
PUSHES = 5  # random points that a point is pushed from, for each neighbour that it is drawn to
STEP = 0.5  # of the first round; falls to zero
FURTHEST = 4.0  # that one force moves a point, in the map's units
SPREAD = 10.0  # width of the first layout


def laid_out(rows: Vectors, *, seed: int = 0) -> Vectors:
    """(n, 2) float32, centred, most of it within -1 … 1.

    Args:
        rows: (n, d) float32 unit rows.
        seed: of the random pushes; the same rows and seed give the same map.
    """
    n = len(rows)
    if n < 3:
        return np.array([[i - (n - 1) / 2, 0] for i in range(n)], np.float32).reshape(n, 2)
    rng = np.random.default_rng(seed)
    places = _principal(rows)
    k = min(NEAREST, n - 1)
    near = flat(rows, rows, k + 1).ids
    others = np.array([[j for j in line if j != i][:k] for i, line in enumerate(near.tolist())])
    heads, tails = np.repeat(np.arange(n), k), others.ravel()
    for turn in range(ROUNDS):
        step = STEP * (1 - turn / ROUNDS)
        move = _summed(heads, tails, _drawn(places[heads] - places[tails]), n)
        away = rng.integers(0, n, (n, PUSHES))
        apart = places[:, None, :] - places[away]
        move += np.clip(_pushed(apart), -FURTHEST, FURTHEST).sum(axis=1) * k
        places += step * np.clip(move / k, -FURTHEST, FURTHEST)
    places -= places.mean(axis=0)
    scale = np.quantile(np.abs(places), 0.98)
    found: Vectors = (places / max(float(scale), 1e-9)).astype(np.float32)
    return found


def _principal(rows: Vectors) -> np.ndarray:
    centred = rows - rows.mean(axis=0)
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    places: np.ndarray = (
        centred.astype(np.float64) @ directions[:, -2:][:, ::-1]
        if rows.shape[1] > 1
        else (np.column_stack([centred[:, 0], np.zeros(len(rows))]))
    )
    return places / max(float(np.abs(places).max()), 1e-9) * SPREAD


def _drawn(apart: np.ndarray) -> np.ndarray:
    """The pull of a neighbour at this distance, towards it."""
    squared = (apart**2).sum(axis=1, keepdims=True)
    pull: np.ndarray = np.clip(-2 * apart / (1 + squared), -FURTHEST, FURTHEST)
    return pull


def _pushed(apart: np.ndarray) -> np.ndarray:
    squared = (apart**2).sum(axis=-1, keepdims=True)
    push: np.ndarray = 2 * apart / ((0.001 + squared) * (1 + squared))
    return push


def _summed(heads: np.ndarray, tails: np.ndarray, pull: np.ndarray, n: int) -> np.ndarray:
    """Forces of all edges, added up at both of their ends."""
    axes = [np.bincount(heads, pull[:, axis], n) - np.bincount(tails, pull[:, axis], n) for axis in range(2)]
    return np.column_stack(axes)
