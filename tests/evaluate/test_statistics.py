"""Intervals that cover, tests that keep their promise, and what too few queries cannot show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firth.errors import DataError, SettingsError, ShapeError
from firth.evaluate.statistics import bootstrap, holm, needed, paired_permutation, visible


def test_the_interval_holds_the_true_mean_about_nineteen_times_in_twenty(rng: np.random.Generator) -> None:
    # Scores as search gives them: many zeros and ones, some between; true mean 0.5.
    intervals = [bootstrap(rng.choice([0, 0.25, 0.5, 0.75, 1.0], 200), i, resamples=400) for i in range(400)]
    covered = np.mean([interval.low <= 0.5 <= interval.high for interval in intervals])
    assert 0.91 <= covered <= 0.98


def test_the_interval_is_as_wide_as_theory_says(rng: np.random.Generator) -> None:
    values = rng.random(2_000)
    interval = bootstrap(values, seed=1)
    width = 2 * 1.96 * values.std() / math.sqrt(len(values))
    assert interval.high - interval.low == pytest.approx(width, rel=0.05)
    assert interval.value == pytest.approx(values.mean())
    assert interval.n == 2_000


def test_the_same_seed_gives_the_same_interval_and_another_seed_another(rng: np.random.Generator) -> None:
    values = rng.random(50)
    assert bootstrap(values, 3) == bootstrap(values, 3)
    assert bootstrap(values, 3) != bootstrap(values, 4)


def test_drawing_in_small_blocks_gives_a_valid_interval(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = rng.random(100)
    whole = bootstrap(values)
    monkeypatch.setattr("firth.evaluate.statistics._DRAWS_AT_ONCE", 1_000)
    assert bootstrap(values).low == pytest.approx(whole.low, abs=0.01)


@pytest.mark.parametrize("values", [[0.25], [1.0, 1.0, 1.0]])
def test_an_interval_of_one_score_or_of_equal_scores_is_a_point(values: list[float]) -> None:
    interval = bootstrap(values)
    assert interval.low == interval.value == interval.high == values[0]


def test_few_differing_queries_are_tested_exactly() -> None:
    # Five queries, all better: of 2^5 sign patterns only the two extreme ones are as far from zero.
    paired = paired_permutation([0, 0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert paired.p == pytest.approx(2 / 32)
    assert paired.delta == pytest.approx(0.3)


def test_the_random_test_agrees_with_the_exact_one(rng: np.random.Generator) -> None:
    first = rng.random(12)
    second = first + rng.normal(0.08, 0.2, 12)
    exact = paired_permutation(first, second, resamples=2**12).p
    assert paired_permutation(first, second, resamples=2**12 - 1).p == pytest.approx(exact, abs=0.03)


def test_equal_systems_are_called_different_one_time_in_twenty(rng: np.random.Generator) -> None:
    p = [paired_permutation(rng.random(40), rng.random(40), i, resamples=200).p for i in range(400)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.085


def test_the_p_value_agrees_with_scipy(rng: np.random.Generator) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = rng.random(80), rng.random(80) + 0.07
    theirs = stats.permutation_test(
        (first, second), lambda a, b, axis: (b - a).mean(axis), permutation_type="samples", vectorized=True, rng=rng
    )
    assert paired_permutation(first, second).p == pytest.approx(theirs.pvalue, abs=0.015)


def test_systems_that_never_differ_have_p_one() -> None:
    paired = paired_permutation([0.5, 0.2], [0.5, 0.2])
    assert (paired.delta, paired.p, paired.visible) == (0, 1, 0)


def test_swapping_the_systems_turns_the_sign_and_keeps_p(rng: np.random.Generator) -> None:
    a, b = rng.random(60), rng.random(60)
    there, back = paired_permutation(a, b), paired_permutation(b, a)
    assert there.delta == pytest.approx(-back.delta)
    assert there.p == pytest.approx(back.p, abs=0.01)


def test_holm_multiplies_the_smallest_by_all_and_never_reorders() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_what_n_queries_can_show_is_shown_four_times_in_five(rng: np.random.Generator) -> None:
    spread = rng.normal(0, 0.25, 300)
    edge = visible(spread - spread.mean())
    seen = [
        paired_permutation(np.zeros(300), rng.normal(edge, 0.25, 300), i, resamples=200).p < 0.05 for i in range(200)
    ]
    assert 0.7 <= np.mean(seen) <= 0.9


def test_needed_and_visible_are_inverse(rng: np.random.Generator) -> None:
    differences = rng.normal(0.02, 0.25, 500)
    assert needed(visible(differences), float(differences.std(ddof=1))) == pytest.approx(500, abs=1)
    assert visible([0.1]) == math.inf


def test_a_score_that_is_not_a_number_is_refused_with_its_place() -> None:
    with pytest.raises(DataError, match="1 of 3 scores are NaN or infinite, the first is number 1"):
        bootstrap([0.5, math.nan, 0.2])


def test_no_scores_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="were there judged queries"):
        bootstrap([])


def test_different_numbers_of_queries_cannot_be_paired() -> None:
    with pytest.raises(ShapeError, match="3 scores against 2"):
        paired_permutation([1, 2, 3], [1, 2])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="level=95"):
        bootstrap([1.0, 2.0], level=95)
    with pytest.raises(SettingsError, match="power=1"):
        visible([1.0, 2.0], power=1)
    with pytest.raises(SettingsError, match="resamples=0"):
        bootstrap([1.0, 2.0], resamples=0)
    with pytest.raises(SettingsError, match="difference of zero"):
        needed(0, 0.2)
