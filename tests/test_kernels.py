"""The native kernels do at every CPU level what their NumPy twins say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from firth import kernels
from firth.arrays import Vectors
from firth.errors import SettingsError


@pytest.mark.parametrize("d", [1, 7, 8, 16, 31, 33, 384])
def test_scores_equal_their_twin_to_the_last_bit_of_float32(level: Any, rng: np.random.Generator, d: int) -> None:
    queries, rows = (rng.normal(size=(n, d)).astype(np.float32) for n in (5, 40))
    ids = rng.integers(-1, 42, (5, 9))
    found = kernels.scores(queries, rows, ids, module=level)
    np.testing.assert_allclose(found, kernels.scores_twin(queries, rows, ids), rtol=2e-7)


def test_scores_are_the_same_bits_at_every_level(vectors: Vectors, rng: np.random.Generator) -> None:
    ids = rng.integers(0, len(vectors), (20, 30))
    found = [kernels.scores(vectors[:20], vectors, ids, module=kernels.load(name)) for name in kernels.levels()]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_scores_do_not_depend_on_the_number_of_threads(vectors: Vectors, rng: np.random.Generator) -> None:
    ids = rng.integers(0, len(vectors), (100, 10))
    one, four = (kernels.scores(vectors[:100], vectors, ids, threads=n) for n in (1, 4))
    np.testing.assert_array_equal(one, four)


@pytest.mark.parametrize("name", kernels.levels())
def test_an_environment_variable_forces_the_level(name: str) -> None:
    assert _level_with(name) == name


def test_an_unknown_level_is_refused_with_the_list() -> None:
    with pytest.raises(SettingsError, match="this machine runs " + ", ".join(kernels.levels())):
        kernels.load("v9")


def _level_with(name: str) -> str:
    code = "from firth import kernels; print(kernels.native.level)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"FIRTH_LEVEL": name, "PATH": ""} | _python_path(),
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path)}
