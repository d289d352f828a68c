"""What every room's tests share: the real data's folder, the CPU levels, and reproducible vectors."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import kernels
from firth.arrays import Vectors, unit

# A shell without job control starts background commands with Ctrl-C ignored, and their children inherit that: the
# tests of Ctrl-C, here and in programs that they start, would wait for it for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real corpora beside the project; a test that needs it skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}")
    return DATA


@pytest.fixture(params=kernels.levels())
def level(request: pytest.FixtureRequest) -> Any:
    """The native module of each CPU level that this machine runs, one after another."""
    return kernels.load(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20_261_123)


@pytest.fixture
def vectors(rng: np.random.Generator) -> Vectors:
    """(1000, 48) float32 unit rows."""
    return unit(rng.normal(size=(1000, 48)).astype(np.float32))


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the published all-MiniLM-L6-v2; a test that needs it skips where it was never fetched."""
    from firth.sentence.published import find

    folder = find("sentence-transformers/all-MiniLM-L6-v2")
    if folder is None:
        pytest.skip("all-MiniLM-L6-v2 is not on this machine; python -m pytest -m network fetches it")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The test that fetches the published model comes first, so that those that need it find it."""
    items.sort(key=lambda item: item.get_closest_marker("network") is None)
