"""Retrieval measures: small cases worked by hand, the tie rule, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firth.arrays import Neighbours
from firth.errors import DataError, SettingsError, ShapeError
from firth.evaluate.ranking import Ranking, in_order
from firth.evaluate.retrieval import MEASURES, adjusted, measure

RUN = {
    "q1": {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6},
    "q2": {"b": 0.9, "e": 0.1},
}
JUDGED = {"q1": {"b": 2, "d": 1, "z": 1, "a": 0}, "q2": {"b": 1}}


def one(run: dict[str, float], judged: dict[str, float], name: str) -> float:
    return measure({"q": run}, {"q": judged}, [name]).mean[name]


def ranking(ids: list[list[int]], scores: list[list[float]], documents: str = "abcdez") -> Ranking:
    neighbours = Neighbours(np.array(ids, np.int64), np.array(scores, np.float32))
    return Ranking([f"q{i + 1}" for i in range(len(ids))], list(documents), neighbours)


@pytest.mark.parametrize(
    ("name", "worked"),
    [
        ("ndcg@3", (2 / math.log2(3)) / (2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4))),
        ("ndcg", (2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3) + 1 / 2)),
        ("recall@3", 1 / 3),
        ("recall", 2 / 3),
        ("precision@4", 2 / 4),
        ("precision@10", 2 / 10),
        ("mrr@1", 0.0),
        ("mrr@2", 1 / 2),
        ("mrr", 1 / 2),
        ("map@3", (1 / 2) / 3),
        ("map", (1 / 2 + 2 / 4) / 3),
        ("hit@1", 0.0),
        ("hit@2", 1.0),
    ],
)
def test_each_measure_is_what_its_formula_says(name: str, worked: float) -> None:
    assert measure(RUN, JUDGED, [name]).per_query[name][0] == pytest.approx(worked, abs=1e-15)


def test_a_perfect_ranking_scores_one_on_every_rank_measure() -> None:
    scores = measure(
        {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"q": {"a": 2, "b": 1}}, ["ndcg@10", "map", "mrr", "recall@2"]
    )
    assert set(scores.mean.values()) == {1.0}


def test_the_best_possible_order_is_found_whatever_the_order_of_the_judgements() -> None:
    assert one({"a": 2.0, "b": 1.0}, {"b": 1, "a": 2}, "ndcg@10") == 1.0


def test_equal_scores_are_ordered_by_descending_document_id() -> None:
    assert one({"a": 0.5, "b": 0.5, "c": 0.5}, {"c": 1}, "mrr") == 1.0
    assert one({"a": 0.5, "b": 0.5, "c": 0.5}, {"a": 1}, "mrr") == pytest.approx(1 / 3)


def test_scores_that_are_equal_in_float32_are_a_tie() -> None:
    assert one({"a": 0.5 + 1e-12, "b": 0.5}, {"b": 1}, "mrr") == 1.0


def test_a_ranking_by_row_number_scores_as_the_same_run_by_name() -> None:
    by_row = ranking([[0, 1, 2, 3], [1, 4, -1, -1]], [[0.9, 0.8, 0.7, 0.6], [0.9, 0.1, -np.inf, -np.inf]])
    named, numbered = measure(RUN, JUDGED, MEASURES), measure(by_row, JUDGED, MEASURES)
    for name in MEASURES:
        np.testing.assert_array_equal(named.per_query[name], numbered.per_query[name])


def test_a_ranking_by_row_number_breaks_ties_by_document_id_too() -> None:
    tied = ranking([[0, 1, 2]], [[0.5, 0.5, 0.5]])
    assert measure(tied, {"q1": {"a": 1}}, ["mrr"]).mean["mrr"] == pytest.approx(1 / 3)
    assert tied.best("q1", 2) == [("c", 0.5), ("b", 0.5)]


def test_random_rankings_score_as_a_sort_says(rng: np.random.Generator) -> None:
    run = {f"q{i}": {f"d{j}": float(rng.integers(0, 8)) for j in range(int(rng.integers(1, 40)))} for i in range(60)}
    judged = {q: {f"d{j}": float(rng.integers(0, 3)) for j in rng.integers(0, 50, 6)} | {"d0": 1.0} for q in run}
    scores = measure(run, judged, ["mrr@5", "ndcg@10"])
    for i, query in enumerate(scores.queries):
        grades = [judged[query].get(document, 0.0) for document, _ in in_order(run[query])]
        ranks = [rank for rank, grade in enumerate(grades, 1) if grade > 0]
        best = sorted(judged[query].values(), reverse=True)
        discounts = 1 / np.log2(np.arange(2, 12))
        assert scores.per_query["mrr@5"][i] == (1 / ranks[0] if ranks and ranks[0] <= 5 else 0)
        assert scores.per_query["ndcg@10"][i] == pytest.approx(
            np.dot(grades[:10], discounts[: len(grades[:10])]) / np.dot(best[:10], discounts[: len(best[:10])])
        )


def test_comparing_in_small_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure(RUN, JUDGED, MEASURES)
    monkeypatch.setattr("firth.evaluate.ranking._COMPARED_AT_ONCE", 3)
    for name, values in measure(RUN, JUDGED, MEASURES).per_query.items():
        np.testing.assert_array_equal(values, whole.per_query[name])


def test_a_judged_query_that_is_not_in_the_ranking_scores_zero_and_is_named() -> None:
    scores = measure({"q1": RUN["q1"]}, JUDGED, ["hit@2"])
    assert scores.absent == ("q2",)
    assert scores.per_query["hit@2"].tolist() == [1.0, 0.0]


def test_a_query_without_a_relevant_document_has_no_score_and_is_named() -> None:
    scores = measure(RUN, {**JUDGED, "q3": {"a": 0}}, ["hit@1"])
    assert scores.queries == ("q1", "q2")
    assert scores.without_relevant == ("q3",)


def test_queries_that_nobody_judged_are_ignored() -> None:
    assert measure({**RUN, "q9": {"a": 1.0}}, JUDGED, ["mrr"]).queries == ("q1", "q2")


def test_a_negative_grade_is_not_relevant_and_costs_nothing() -> None:
    assert one({"a": 2.0, "b": 1.0}, {"a": -2, "b": 1}, "ndcg@10") == pytest.approx(1 / math.log2(3))


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1e300])
def test_a_score_that_is_not_a_float32_number_is_refused_by_name(score: float) -> None:
    with pytest.raises(DataError, match=r"query 'q2': the score of document 'y' is (nan|-?inf|1e\+300)"):
        measure({"q1": {"a": 1.0}, "q2": {"x": 1.0, "y": score}}, {"q1": {"a": 1}, "q2": {"x": 1}})


def test_a_nan_among_the_neighbours_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="query 'q1': the score of document 'b' is nan"):
        measure(ranking([[0, 1]], [[0.5, math.nan]]), {"q1": {"a": 1}})


def test_a_document_ranked_twice_for_one_query_is_refused() -> None:
    with pytest.raises(DataError, match="query 'q1': document 'b' is ranked twice"):
        measure(ranking([[1, 0, 1]], [[0.5, 0.4, 0.3]]), {"q1": {"b": 1}})


def test_a_grade_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(DataError, match="grade of document 'b' is nan"):
        measure({"q": {"a": 1.0}}, {"q": {"a": 1, "b": math.nan}})


def test_judgements_of_other_queries_than_those_ranked_are_an_error_that_shows_both() -> None:
    with pytest.raises(DataError, match="judged are 'one', ranked are 'q1', 'q2'; do both use the same query ids"):
        measure(RUN, {"one": {"a": 1}})


def test_judgements_without_any_relevant_document_are_an_error() -> None:
    with pytest.raises(DataError, match="none of 1 judged queries has a document with a grade above 0"):
        measure(RUN, {"q1": {"a": 0}})


@pytest.mark.parametrize("name", ["ndgc@10", "ndcg@0", "recall@-1", "precision", "hit", "f1@10", "ndcg@ten"])
def test_a_measure_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        measure(RUN, JUDGED, [name])


def test_a_ranking_whose_parts_do_not_fit_is_refused() -> None:
    near = Neighbours(np.array([[7]]), np.array([[1.0]], np.float32))
    with pytest.raises(ShapeError, match="row 7 is named, there are 2 document ids"):
        Ranking(["q"], ["a", "b"], near)
    with pytest.raises(ShapeError, match="2 query ids for 1 rows"):
        Ranking(["q", "r"], ["a"] * 9, near)


def test_scores_are_compared_only_over_the_same_queries() -> None:
    both, one_query = measure(RUN, JUDGED, ["mrr"]), measure(RUN, {"q1": JUDGED["q1"]}, ["mrr"])
    with pytest.raises(DataError, match="the same queries and measures: 1 queries with mrr against 2 with mrr"):
        one_query.against(both)


def test_the_comparison_is_positive_where_the_second_system_is_better() -> None:
    base = measure({q: {"x": 1.0} for q in JUDGED}, JUDGED, ["mrr", "hit@1"])
    paired = measure(RUN, JUDGED, ["mrr", "hit@1"]).against(base)
    assert paired["mrr"].delta == pytest.approx(0.75)
    assert adjusted(paired)["mrr"] >= paired["mrr"].p
