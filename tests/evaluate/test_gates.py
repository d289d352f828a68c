"""Gates hold a report against a bar or a baseline, and say the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.errors import DataError, FormatError, SettingsError
from firth.evaluate.gates import check, compare, scores_of
from firth.evaluate.records import BuildReport, as_json
from firth.evaluate.retrieval import Scores
from firth.files import write_json


def tree(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """A report of one measure."""
    scores = Scores(tuple(f"q{i}" for i in range(len(values))), {"ndcg@10": values})
    interval = scores.intervals()["ndcg@10"]
    per_query = dict(zip(scores.queries, values.tolist(), strict=True))
    shown = {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}
    return {"scores": {"ndcg@10": shown}, "per_query": {"ndcg@10": per_query}}


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(200,) scores with a mean of about 0.7."""
    return rng.beta(7, 3, 200)


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        ("ndcg@10>=0.65", True),
        ("ndcg@10 > 0.75", False),
        ("ndcg@10<0.75", True),
        ("low(ndcg@10)>=0.6", True),
        ("low(ndcg@10) >= 0.699", False),
        ("high( ndcg@10 )<=0.75", True),
    ],
)
def test_a_bar_is_held_against_the_mean_or_a_bound(values: Any, gate: str, passed: bool) -> None:
    (verdict,) = check([gate], tree(values))
    assert verdict.passed is passed
    assert "n = 200" in verdict.told


def test_a_build_is_judged_by_its_tuned_model(report: BuildReport) -> None:
    found = as_json(report)
    assert scores_of(found)["ndcg@10"]["value"] == 0.694
    assert check(["ndcg@10>=0.69"], found)[0].passed
    assert not check(["ndcg@10>=0.69"], {**found, "tuned": None})[0].passed


@pytest.mark.parametrize("gate", ["", "ndcg@10", "ndcg@10=0.5", "ndcg@10>=much", "mean(ndcg@10)>0.5", "worse than x"])
def test_a_gate_that_is_not_understood_is_refused_with_examples(values: Any, gate: str) -> None:
    with pytest.raises(SettingsError, match=r"is not understood; write 'recall@10>=0\.90'"):
        check([gate], tree(values))


def test_a_measure_that_the_report_lacks_is_named_with_those_it_has(values: Any) -> None:
    with pytest.raises(SettingsError, match=r"the report has no mrr@10; it has ndcg@10"):
        check(["mrr@10>0.5"], tree(values))


def test_a_baseline_is_beaten_by_itself_and_by_chance_but_not_by_a_loss(
    values: Any, rng: np.random.Generator, tmp_path: Path
) -> None:
    write_json(tmp_path / "baseline.json", tree(values))
    noise = rng.normal(0, 0.05, len(values))
    gate = ["no worse than baseline.json"]
    assert check(gate, tree(values), folder=tmp_path)[0].passed
    assert check(gate, tree(values + noise - noise.mean()), folder=tmp_path)[0].passed
    assert check(gate, tree(values + 0.02), folder=tmp_path)[0].passed
    (lost,) = check(gate, tree(values + noise - noise.mean() - 0.02), folder=tmp_path)
    assert not lost.passed
    assert lost.told.startswith("ndcg@10 -0.0200 (p = 0.0")


def test_a_baseline_of_other_queries_is_refused(values: Any) -> None:
    with pytest.raises(DataError, match=r"different queries \(200 and 199; 'q199' is in one only\)"):
        compare(tree(values), tree(values[:-1]))


def test_reports_without_scores_by_query_cannot_be_compared(values: Any) -> None:
    with pytest.raises(DataError, match="no scores by query"):
        compare(tree(values), {"scores": {}})
    with pytest.raises(DataError, match="share no measure"):
        compare(tree(values), {"per_query": {"mrr": {"q0": 1.0}}})


def test_a_baseline_that_is_no_report_is_refused(values: Any, tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text("not json")
    with pytest.raises(FormatError, match="not JSON"):
        check(["no worse than baseline.json"], tree(values), folder=tmp_path)
    with pytest.raises(DataError, match="not a report of firth"):
        scores_of({"a": 1})
