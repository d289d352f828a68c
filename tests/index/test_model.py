"""Any order of adding, removing, searching, saving and loading, against a dictionary and an exact search."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import Vectors
from firth.index import HNSW

OPERATIONS = int(os.environ.get("FIRTH_OPERATIONS", "400"))  # 100,000 for a long run
SEED = int(os.environ.get("FIRTH_SEED", "0"))  # a long run takes another for each of its rounds
EF = 60
LEAST_RECALL = 0.97  # of all searches together


@pytest.mark.parametrize("codec", ["sq8", None])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_life_agrees_with_a_dictionary(rows: Vectors, tmp_path: Path, seed: int, codec: Any) -> None:
    rng = np.random.default_rng([seed, SEED])
    held: dict[int, Any] = {}
    index = HNSW.build(rows[:0].reshape(0, 64), m=6, ef_construction=40, codec=codec)
    hits = wanted = 0
    for step in range(OPERATIONS):
        what = rng.choice(["add", "remove", "search", "filter", "file", "repair"], p=[0.4, 0.2, 0.25, 0.1, 0.03, 0.02])
        if what == "add":
            n = int(rng.choice([1, 3, 40, 200]))
            keys = np.setdiff1d(rng.choice(20_000, n, replace=False), list(held))
            vectors = rows[rng.choice(len(rows), len(keys))]
            index.add(keys, vectors)
            held.update(zip(keys.tolist(), vectors, strict=True))
        elif what == "remove" and held:
            n = min(int(rng.choice([1, 5, 100, 2000])), len(held))
            keys = rng.choice(list(held), n, replace=False)
            index.remove(keys)
            for key in keys.tolist():
                del held[key]
        elif what in ("search", "filter"):
            k, query = int(rng.choice([1, 10, 30])), rows[rng.integers(len(rows))]
            allow = rng.choice(20_000, int(rng.choice([5, 500, 15_000])), replace=False) if what == "filter" else None
            open_keys = list(held) if allow is None else sorted(set(allow.tolist()) & held.keys())
            near = index.search(query, k, ef=EF, allow=allow)
            found = [i for i in near.ids[0].tolist() if i >= 0]
            assert len(found) == len(set(found)) == min(k, len(open_keys)), (step, what)
            assert set(found) <= set(open_keys), (step, what)
            if found:
                exact = np.array([held[key] for key in open_keys]).astype("f8") @ query
                np.testing.assert_allclose(near.scores[0, : len(found)], [held[i] @ query for i in found], atol=1e-5)
                hits += int((near.scores[0, : len(found)] >= np.sort(exact)[-len(found)] - 1e-6).sum())
                wanted += len(found)
        elif what == "file":
            index.save(tmp_path / "x")
            index = HNSW.load(tmp_path / "x")
        elif what == "repair":
            index.repair()
            assert index.unreachable == 0
        assert len(index) == len(held)
    assert wanted > OPERATIONS
    assert hits / wanted >= LEAST_RECALL
