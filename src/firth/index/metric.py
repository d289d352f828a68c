"""What "near" means, and the rows that make it an inner product or a distance.

| metric | score, larger is nearer | rows are kept as |
|---|---|---|
| cosine | inner product of unit rows | unit rows |
| dot | inner product | as they are; the graph sees one more dimension that makes all lengths equal |
| euclid | minus the squared distance | as they are |
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from firth.arrays import Vectors, as_vectors, unit
from firth.errors import SettingsError

Metric = Literal["cosine", "dot", "euclid"]


def check_metric(metric: str) -> None:
    """SettingsError unless it is one of the three."""
    if metric not in get_args(Metric):
        raise SettingsError(f"metric={metric!r}: expected one of {', '.join(get_args(Metric))}")


def as_rows(vectors: ArrayLike, metric: Metric, *, dims: int | None = None, name: str = "vectors") -> Vectors:
    """(n, d) float32 rows as the index keeps them."""
    rows = as_vectors(vectors, dims=dims, name=name)
    return unit(rows) if metric == "cosine" else rows


def levelled(rows: Vectors, longest: float) -> Vectors:
    """(n, d + 1) rows of one length: the largest inner product with them is the smallest distance to them.

    Source: Bachrach et al. 2014, "Speeding up the Xbox recommender system using a Euclidean transformation".
    """
    squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    rest = np.sqrt(np.maximum(longest**2 - squares, 0)).astype(np.float32)
    return np.ascontiguousarray(np.column_stack([rows, rest]))
