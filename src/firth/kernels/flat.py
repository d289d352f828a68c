"""Exact search over float32 rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from firth.arrays import NO_ID, NO_SCORE, Ids, Neighbours, Vectors
from firth.kernels import native


def flat(
    queries: Vectors,
    rows: Vectors,
    k: int,
    *,
    only: Ids | None = None,
    euclid: bool = False,
    longest: float | None = None,
    threads: int = 1,
    module: Any = native,
) -> Neighbours:
    """The k best rows of each query, by their number; scores are float64 sums rounded to float32.

    only: (a,) ascending row numbers to look at. euclid: the score is minus the squared distance instead of the inner
    product. longest: an upper bound of the rows' lengths, computed here when it is not known.
    """
    ids, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    bound = longest_row(rows) if longest is None else longest
    module.flat(queries, rows, k, only, euclid, bound, ids, scores, threads)
    return Neighbours(ids, scores)


def flat_twin(queries: Vectors, rows: Vectors, k: int, *, only: Ids | None = None, euclid: bool = False) -> Neighbours:
    """NumPy twin of `flat`."""
    q, x = queries.astype(np.float64), rows.astype(np.float64)
    score = -((q[:, None] - x[None]) ** 2).sum(2) if euclid else q @ x.T
    if only is not None:
        mask = np.ones(len(rows), bool)
        mask[only] = False
        score[:, mask] = -np.inf
    score = np.pad(score, ((0, 0), (0, k)), constant_values=-np.inf)
    best = np.argsort(-score, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(score, best, 1).astype(np.float32)
    return Neighbours(np.where(found == NO_SCORE, NO_ID, best), found)


def longest_row(rows: Vectors) -> float:
    """An upper bound of the lengths of the rows, 0 where there are none."""
    if not len(rows):
        return 0.0
    return float(np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64).max()) * (1 + 1e-6))
