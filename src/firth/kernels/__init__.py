"""Each native kernel beside its NumPy twin, which is its specification.

The native half is compiled once for each CPU level from the same source; the best level that this machine runs is
picked at import. `FIRTH_LEVEL=v2|v3|v4|neon|plain` forces one. A level that is asked for and cannot run here falls
back to the best one below it, and `firth doctor` says so. This file picks the level; each family of kernels that needs
more than one function has a file here of its own, kernels and twins side by side.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from firth import _cpu
from firth.arrays import NO_SCORE, Ids, Vectors
from firth.errors import SettingsError

ORDER = ("plain", "neon", "v2", "v3", "v4")


@cache
def load(level: str) -> Any:
    """The native module of one CPU level.

    Raises:
        SettingsError: the machine cannot run it, or it was not built.
    """
    if level not in levels():
        raise SettingsError(f"CPU level {level!r} does not run here; this machine runs {', '.join(levels())}")
    return importlib.import_module(f"firth._native_{level}")


@cache
def levels() -> tuple[str, ...]:
    """The levels that this machine runs and that were built, slowest first."""
    return tuple(name for name in _cpu.levels() if find_spec(f"firth._native_{name}"))


def default_threads() -> int:
    """Threads a call uses unless told otherwise: the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pick() -> str:
    here = levels()
    wanted = os.environ.get("FIRTH_LEVEL")
    if not wanted:
        return here[-1]
    if wanted not in ORDER:
        raise SettingsError(f"FIRTH_LEVEL={wanted!r}: expected one of {', '.join(ORDER)}")
    below = [name for name in here if ORDER.index(name) <= ORDER.index(wanted)]
    return below[-1] if below else here[0]


LEVEL = _pick()
native = load(LEVEL)


# --- scores: exact inner products of given pairs ------------------------------------------------------------------


def scores(queries: Vectors, vectors: Vectors, ids: Ids, *, threads: int = 1, module: Any = native) -> Vectors:
    """(q, k) float32 inner products of query i with row ids[i, j], summed in float64; -inf where there is no row."""
    out = np.empty(ids.shape, np.float32)
    module.scores(queries, vectors, ids, out, threads)
    return out


def scores_twin(queries: Vectors, vectors: Vectors, ids: Ids) -> Vectors:
    """NumPy twin of `scores`."""
    rows = vectors[np.clip(ids, 0, len(vectors) - 1)].astype(np.float64)
    found = np.einsum("qd,qkd->qk", queries.astype(np.float64), rows)
    return np.where((ids >= 0) & (ids < len(vectors)), found, NO_SCORE).astype(np.float32)
