"""Tasks of pairs and of labels: worked cases, what is refused, and intervals. Parity with mteb is in tests/parity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firth.arrays import Vectors, unit
from firth.errors import DataError, ShapeError
from firth.evaluate.similarity import (
    average_precision,
    bitext,
    pair_classification,
    pearson,
    ranks,
    spearman,
    sts,
    summarization,
)
from firth.evaluate.tasks import classification, clustering, multilabel, reranking


@pytest.fixture
def groups(rng: np.random.Generator) -> tuple[Vectors, list[str]]:
    """(90, 8) in three well separated groups, and their names."""
    centres = 4 * np.eye(8)[:3]
    rows = np.repeat(centres, 30, axis=0) + 0.3 * rng.normal(size=(90, 8))
    return unit(rows.astype(np.float32)), np.repeat(["law", "code", "health"], 30).tolist()


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks([10, 20, 20, 5]).tolist() == [2, 3.5, 3.5, 1]


def test_spearman_sees_order_only_and_pearson_sees_distance() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(a, np.exp(a)) == pytest.approx(1)
    assert pearson(a, np.exp(a)) < 0.95
    assert spearman(a, -a) == pytest.approx(-1)


def test_a_constant_side_has_no_correlation() -> None:
    with pytest.raises(DataError, match="two different values on both sides"):
        spearman([1.0, 2.0, 3.0], [4.0, 4.0, 4.0])


def test_average_precision_is_worked_by_hand() -> None:
    assert average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([0.5, 0.5], [1, 0]) == pytest.approx(0.5)  # equal scores are one threshold


def test_pairs_that_agree_with_people_score_one(rng: np.random.Generator) -> None:
    first = unit(rng.normal(size=(50, 16)).astype(np.float32))
    second = unit(first + rng.normal(size=(50, 16)).astype(np.float32))
    gold = (first * second).sum(axis=1)
    score = sts(first, second, gold)
    assert score.value == pytest.approx(1)
    assert score.interval.n == 50
    assert str(score).startswith("cosine_spearman 1.000 [")


def test_the_interval_of_a_correlation_covers_it(rng: np.random.Generator) -> None:
    first = unit(rng.normal(size=(200, 8)).astype(np.float32))
    second = unit(first + rng.normal(size=(200, 8)).astype(np.float32))
    score = sts(first, second, (first * second).sum(axis=1) + rng.normal(size=200))
    assert score.interval.low < score.value < score.interval.high


def test_pairs_of_one_class_only_are_refused(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(5, 4)).astype(np.float32)
    with pytest.raises(DataError, match="all 5 pairs have label 1; both classes are needed"):
        pair_classification(rows, rows, [1] * 5)
    with pytest.raises(DataError, match="expected 0 or 1"):
        pair_classification(rows, rows, [0, 1, 2, 0, 1])


def test_pairs_that_differ_in_number_or_hold_nan_are_refused(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(5, 4)).astype(np.float32)
    with pytest.raises(ShapeError, match="must be of one shape"):
        sts(rows, rows[:4], [1.0] * 5)
    with pytest.raises(ShapeError, match="gold: expected one number for each of 5 rows"):
        sts(rows, rows, [1.0] * 4)
    with pytest.raises(DataError, match="gold: 1 of 5 are NaN"):
        sts(rows, rows, [1.0, 2.0, math.nan, 1.0, 3.0])


def test_a_translation_is_found_where_its_sentence_is_nearest(rng: np.random.Generator) -> None:
    rows = unit(rng.normal(size=(30, 16)).astype(np.float32))
    assert bitext(rows, rows).value == 1
    order = rng.permutation(30)
    assert bitext(rows[order], rows, order).value == 1
    assert bitext(rows, rows[order]).values["accuracy"] < 0.3


def test_a_translation_that_does_not_exist_is_refused(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(3, 4)).astype(np.float32)
    with pytest.raises(DataError, match="rows 0 to 2 of second"):
        bitext(rows, rows, [0, 1, 3])
    with pytest.raises(ShapeError, match="one row for each of 3"):
        bitext(rows, rows, [0, 1])


def test_summaries_without_any_difference_are_refused(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(3, 4)).astype(np.float32)
    with pytest.raises(DataError, match="none of 1 texts"):
        summarization([rows], [rows], [[2.0, 2.0, 2.0]])


def test_separate_groups_are_told_apart(groups: tuple[Vectors, list[str]]) -> None:
    rows, labels = groups
    score = classification(rows[::2], labels[::2], rows[1::2], labels[1::2], experiments=2)
    assert score.value == 1
    assert score.interval.n == 45
    found = clustering(rows, labels, experiments=2, documents=200)
    assert found.value > 0.95


def test_labels_of_chance_are_told_apart_by_chance(groups: tuple[Vectors, list[str]], rng: np.random.Generator) -> None:
    rows, labels = groups
    shuffled = rng.permutation(labels).tolist()
    assert classification(rows[::2], shuffled[::2], rows[1::2], shuffled[1::2], experiments=2).value < 0.6
    assert clustering(rows, shuffled, experiments=2, documents=200).value < 0.3


def test_one_label_only_is_refused(groups: tuple[Vectors, list[str]]) -> None:
    rows, labels = groups
    with pytest.raises(DataError, match="train: all 30 rows have one label"):
        classification(rows[:30], labels[:30], rows, labels)
    with pytest.raises(DataError, match="level 0 has one label only"):
        clustering(rows[:30], labels[:30])


def test_labels_and_vectors_of_different_number_are_refused(groups: tuple[Vectors, list[str]]) -> None:
    rows, labels = groups
    with pytest.raises(ShapeError, match="test: 90 vectors for 89 labels"):
        classification(rows, labels, rows, labels[1:])
    with pytest.raises(ShapeError, match="2 queries, 1 lists"):
        reranking(rows[:2], [rows], [[1.0] * 90])


def test_sets_of_labels_are_told(groups: tuple[Vectors, list[str]]) -> None:
    rows, labels = groups
    sets = [[label, "text"] for label in labels]
    assert multilabel(rows[::2], sets[::2], rows[1::2], sets[1::2], experiments=2).values["hamming"] == 1


def test_a_short_list_in_the_right_order_scores_one(groups: tuple[Vectors, list[str]]) -> None:
    rows, labels = groups
    grades = [[float(label == labels[i]) for label in labels] for i in (0, 40)]
    assert reranking(rows[[0, 40]], [rows, rows], grades).value == pytest.approx(1)


def test_a_query_without_a_relevant_candidate_is_left_out(groups: tuple[Vectors, list[str]]) -> None:
    rows, _ = groups
    score = reranking(rows[:2], [rows[:3], rows[:3]], [[1, 0, 0], [0, 0, 0]])
    assert score.interval.n == 1
