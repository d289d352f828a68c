"""The adapter for ann-benchmarks does what its harness calls, with the settings of its own config."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from firth.arrays import Vectors
from firth.index import Flat

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "ann_benchmarks"


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module as the harness imports it: inside of its package, beside its base class."""
    base = ModuleType("ann_benchmarks.algorithms.base.module")
    base.BaseANN = type("BaseANN", (), {})  # type: ignore[attr-defined]
    for name in ("ann_benchmarks", "ann_benchmarks.algorithms", "ann_benchmarks.algorithms.base"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, base.__name__, base)
    spec = importlib.util.spec_from_file_location("ann_benchmarks.algorithms.firth.module", FOLDER / "module.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__package__ = "ann_benchmarks.algorithms.firth"
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
def test_the_harness_gets_the_nearest_rows(adapter: Any, rows: Vectors, queries: Vectors, metric: str) -> None:
    peer = adapter.Firth(metric, {"m": 12, "ef_construction": 100, "codec": "sq8"})
    peer.fit(rows)
    peer.set_query_arguments(200)
    exact = Flat.build(rows, metric="cosine" if metric == "angular" else "euclid").search(queries, 10).ids
    peer.batch_query(queries, 10)
    batch = peer.get_batch_results()
    for i in range(20):
        np.testing.assert_array_equal(peer.query(queries[i], 10), batch[i])
    assert np.mean([len({*a.tolist()} & {*b.tolist()}) for a, b in zip(batch, exact, strict=True)]) >= 9.9
    assert str(peer) == "firth(m=12, ef_construction=100, codec=sq8, ef=200)"


def test_a_metric_without_an_answer_is_refused(adapter: Any) -> None:
    with pytest.raises(NotImplementedError, match="hamming"):
        adapter.Firth("hamming", {})


def test_the_config_names_the_class_and_settings_that_it_takes(adapter: Any) -> None:
    text = (FOLDER / "config.yml").read_text()
    assert f"constructor: {adapter.Firth.__name__}\n" in text
    groups = re.findall(r"\{m: (\d+), ef_construction: (\d+), codec: (\w+)\}", text)
    assert len(groups) == text.count("arg_groups")
    assert {codec for *_, codec in groups} == {"sq8", "float32"}
