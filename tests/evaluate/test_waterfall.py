"""The waterfall: each stage against the first and the one before."""

from __future__ import annotations

import numpy as np
import pytest

from firth.arrays import Neighbours, Vectors, unit
from firth.errors import DataError, SettingsError
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Ranking
from firth.evaluate.waterfall import waterfall

NAMES = [f"d{i}" for i in range(1000)]
QUERIES = [f"q{i}" for i in range(40)]


@pytest.fixture
def queries(rng: np.random.Generator, vectors: Vectors) -> Vectors:
    return unit(vectors[:40] + 0.3 * rng.normal(size=(40, 48)).astype(np.float32))


def ranked(queries: Vectors, vectors: Vectors, dims: int = 48) -> Ranking:
    return Ranking(QUERIES, NAMES, nearest(unit(queries[:, :dims]), [unit(vectors[:, :dims])], 20))


def test_each_step_is_measured_against_the_first_and_the_one_before(queries: Vectors, vectors: Vectors) -> None:
    judged = {f"q{i}": {f"d{i}": 1.0} for i in range(40)}
    exact, shorter, shortest = (ranked(queries, vectors, dims) for dims in (48, 32, 8))
    first, second, third = waterfall([("exact", exact), ("32 dims", shorter), ("8 dims", shortest)], judged, k=10)
    assert first.recall.value == 1
    assert first.step is None
    assert second.step is not None
    assert third.step is not None
    assert second.recall.value + third.step.delta == pytest.approx(third.recall.value)
    assert third.recall.value < second.recall.value < 1
    assert third.step.p < 0.01
    overlap = [len(set(exact.neighbours.ids[i, :10]) & set(shorter.neighbours.ids[i, :10])) / 10 for i in range(40)]
    assert second.recall.value == pytest.approx(np.mean(overlap))
    assert first.score is not None
    assert third.score is not None
    assert third.score_step is not None
    assert first.score.value > third.score.value


def test_a_step_that_changes_nothing_costs_nothing(queries: Vectors, vectors: Vectors) -> None:
    exact = ranked(queries, vectors)
    _, same = waterfall([("exact", exact), ("graph", exact)])
    assert same.recall.value == 1
    assert same.step is not None
    assert (same.step.delta, same.step.p) == (0, 1)
    assert same.score is None


def test_a_filtered_stage_is_held_against_exact_search_among_those_that_pass(
    queries: Vectors, vectors: Vectors
) -> None:
    judged = {f"q{i}": {f"d{i}": 1.0} for i in range(40)}
    few = np.arange(0, 1000, 10)
    among = Ranking(QUERIES, [NAMES[row] for row in few], nearest(queries, [vectors[few]], 20))
    half = Ranking(QUERIES, among.documents, Neighbours(among.neighbours.ids[:, ::2], among.neighbours.scores[:, ::2]))
    stages = [("exact", ranked(queries, vectors)), ("graph", ranked(queries, vectors)), ("filter", half)]
    _, graph, filtered = waterfall(stages, judged, exact_of={"filter": among}, k=10)
    assert filtered.recall.value == 0.5
    assert filtered.step is not None
    assert filtered.step.delta == -0.5
    assert (filtered.score, filtered.score_step) == (None, None)
    assert graph.score_step is not None
    with pytest.raises(SettingsError, match="there is no stage 'fliter', only exact, graph, filter"):
        waterfall(stages, exact_of={"fliter": among})


def test_stages_of_other_queries_are_refused(queries: Vectors, vectors: Vectors) -> None:
    exact = ranked(queries, vectors)
    other = Ranking([f"p{i}" for i in range(40)], NAMES, exact.neighbours)
    with pytest.raises(DataError, match="stage 'graph' ranks other queries"):
        waterfall([("exact", exact), ("graph", other)])
    with pytest.raises(SettingsError, match="got 0 and k=10"):
        waterfall([])
