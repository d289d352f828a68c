"""Vectors that lie as embeddings do: in clusters of unequal size, off centre, in fewer dimensions than they have."""

from __future__ import annotations

import numpy as np
import pytest

from firth.arrays import Vectors, unit


def embeddings(n: int, d: int = 64, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(60, d))
    spread = np.random.default_rng(98).normal(size=(d // 2, d)) / np.sqrt(d // 2)
    rows = centres[rng.zipf(1.5, n) % 60] + 1.5 * rng.normal(size=(n, d // 2)) @ spread
    return unit((rows + 0.3).astype(np.float32))


@pytest.fixture(scope="session")
def rows() -> Vectors:
    """(6000, 64) unit rows."""
    return embeddings(6000)


@pytest.fixture(scope="session")
def queries() -> Vectors:
    """(100, 64) unit rows from the same clusters."""
    return embeddings(100, seed=1)


@pytest.fixture(scope="session")
def many() -> Vectors:
    """(12000, 64) unit rows, enough for a build without walks."""
    return embeddings(12_000)
