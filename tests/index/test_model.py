"""Any order of adding, removing, searching, saving and loading, against a dictionary and an exact search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firth.arrays import Vectors
from index.lives import KINDS, STEPS, Life

OPERATIONS = 300
LEAST_RECALL = 0.97  # of all searches together


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_a_random_life_agrees_with_a_dictionary_and_an_exact_search(rows: Vectors, tmp_path: Path, seed: int) -> None:
    life = Life(rows, tmp_path, seed, **KINDS[seed])
    for _ in range(OPERATIONS):
        life.step()
    assert sum(life.done.values()) == OPERATIONS
    assert life.wanted > OPERATIONS
    assert life.recall >= LEAST_RECALL


def test_a_life_takes_every_step(rows: Vectors, tmp_path: Path) -> None:
    life: Any = Life(rows, tmp_path, 99, codec="sq8", first=100)
    for step in life.steps.values():
        step()
    assert life.steps.keys() == STEPS.keys()
