"""The choice of an index: what is measured, what is skipped, and who wins."""

from __future__ import annotations

import numpy as np
import pytest

from firth.arrays import Neighbours, Vectors, unit
from firth.errors import SettingsError
from firth.recipes import sweep
from firth.recipes.sweep import Point, choose


@pytest.fixture
def rows(rng: np.random.Generator) -> Vectors:
    """(1500, 48) unit rows whose first dimensions carry most."""
    return unit((rng.normal(size=(1500, 48)) / np.arange(1, 49)).astype(np.float32))


def point(recall: float, rate: float, bytes_: float) -> Point:
    return Point(8, "sq8", "hnsw", {}, recall, rate, bytes_)


def test_the_fastest_of_the_nearly_smallest_that_reach_the_recall_wins() -> None:
    poor, small, fast, huge = point(0.9, 900, 10), point(0.99, 100, 100), point(0.995, 500, 140), point(1, 9000, 400)
    assert choose([poor, small, fast, huge], 0.99) is fast


def test_where_none_reaches_the_recall_the_nearest_to_it_wins() -> None:
    poor, better = point(0.5, 900, 10), point(0.9, 100, 100)
    assert choose([poor, better], 0.99) is better


def test_the_choice_reaches_the_recall_and_is_among_the_points(rows: Vectors) -> None:
    found = sweep.sweep(rows[100:], rows[:100], recall=0.95)
    assert found.chosen in found.points
    assert found.chosen.recall >= 0.95


def test_exact_search_at_full_width_finds_everything(rows: Vectors) -> None:
    first = sweep.sweep(rows[100:], rows[:100], recall=0.95).points[0]
    assert (first.dims, first.index, first.recall) == (48, "flat", 1.0)


def test_each_point_is_scored_by_what_it_returns_for_the_judged_queries(rows: Vectors) -> None:
    def first_is_right(found: Neighbours) -> float:
        return float((found.ids[:, 0] == np.arange(40)).mean())

    vectors, asked = rows[100:], rows[:100]
    tests = sweep.Tests(vectors[:40], first_is_right)
    points = sweep.sweep(vectors, asked, recall=0.5, widths=[48, 16], tests=tests).points
    assert {point.dims for point in points} == {48, 16}
    scanned = [point for point in points if point.index == "flat"]
    assert [point.score for point in scanned] == [1.0, 1.0]
    wrong = sweep.Tests(vectors[40:80], first_is_right)
    assert sweep.sweep(vectors, asked, recall=0.5, widths=[48], tests=wrong).points[0].score == 0
    assert all(point.score is None for point in sweep.sweep(vectors, asked, recall=0.5, widths=[48]).points)


def test_the_latency_is_of_single_queries_and_of_the_slow_ones_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now, sizes = [0.0], []

    def search(rows: Vectors, k: int) -> Neighbours:
        sizes.append(len(rows))
        now[0] += 0.5 if len(sizes) > 90 else 0.002
        return Neighbours(np.zeros((1, k), np.int64), np.zeros((1, k), np.float32))

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    assert sweep.latency(search, np.zeros((300, 4), np.float32), 1) == pytest.approx(500)
    assert sizes == [1] * 100


def test_no_graph_is_built_over_prefixes_that_even_a_scan_loses_too_much_with(rows: Vectors) -> None:
    for found in sweep.sweep(rows[100:], rows[:100], recall=0.99, widths=[48, 16]).points:
        assert found.dims == 48 or found.index == "flat"


def test_codes_keep_less_in_memory_than_rows(rows: Vectors) -> None:
    points = sweep.sweep(rows[100:], rows[:100], recall=0.95, widths=[48]).points
    bytes_of = {found.codec: found.bytes_per_vector for found in points if found.index == "hnsw"}
    assert bytes_of["sq8"] < bytes_of["float32"]


def test_nothing_to_choose_by_is_an_error(rows: Vectors) -> None:
    with pytest.raises(SettingsError, match="nothing to choose by"):
        sweep.sweep(rows, rows[:0], recall=0.9)
