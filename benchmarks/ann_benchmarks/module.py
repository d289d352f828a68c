"""firth in ann-benchmarks: copy this folder to `ann_benchmarks/algorithms/firth` of its checkout.

    python install.py --algorithm firth
    python run.py --algorithm firth --dataset glove-100-angular

Source of the interface: Aumüller et al. 2018, "ANN-Benchmarks", arXiv:1807.05614, and its `BaseANN` class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.index import HNSW

from ..base.module import BaseANN  # noqa: TID252  the folder becomes a part of that package

METRICS = {"angular": "cosine", "euclidean": "euclid"}


class Firth(BaseANN):  # type: ignore[misc]
    """One thread builds and answers, as the harness asks."""

    def __init__(self, metric: str, settings: dict[str, Any]) -> None:
        """`settings`: m, ef_construction and codec ("sq8" or "float32") of config.yml."""
        if metric not in METRICS:
            raise NotImplementedError(f"firth: no metric {metric}; {', '.join(METRICS)}")
        self._metric, self._settings = METRICS[metric], settings
        self._index: HNSW | None = None
        self._ef = 0

    def fit(self, X: NDArray[Any]) -> None:
        """Build the index of rows (n, d)."""
        self._index = HNSW.build(
            X,
            m=self._settings["m"],
            ef_construction=self._settings["ef_construction"],
            codec="sq8" if self._settings.get("codec", "sq8") == "sq8" else None,
            metric=self._metric,
            threads=1,
        )

    def set_query_arguments(self, ef: int) -> None:
        """The beam of the queries that follow."""
        self._ef = ef

    def query(self, v: NDArray[Any], n: int) -> NDArray[np.int64]:
        """Row numbers of the n nearest, best first."""
        assert self._index is not None
        found = self._index.search(v, n, ef=self._ef, threads=1).ids[0]
        return found[found >= 0]

    def batch_query(self, X: NDArray[Any], n: int) -> None:
        """All queries at once, on all cores; `get_batch_results` gives the answers."""
        assert self._index is not None
        self._answers = self._index.search(X, n, ef=self._ef, threads=None).ids

    def get_batch_results(self) -> list[NDArray[np.int64]]:
        """A row of ids a query."""
        return [row[row >= 0] for row in self._answers]

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in self._settings.items())
        return f"firth({settings}, ef={self._ef})"
