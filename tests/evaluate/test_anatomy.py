"""What explains a score: spreads, slices, widths and the map, each against a case whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from firth.arrays import Neighbours, Vectors, unit
from firth.errors import ShapeError
from firth.evaluate.anatomy import HARD, RANDOM, atlas, histograms, slices, widths
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Ranking
from firth.evaluate.retrieval import Scores, measure


@pytest.fixture
def ranking(vectors: Vectors) -> Ranking:
    """Forty queries, each a noisy copy of the document of its number."""
    near = nearest(asked(vectors), [vectors], 10)
    return Ranking([f"q{i}" for i in range(40)], [f"d{i}" for i in range(1000)], near)


JUDGED = {f"q{i}": {f"d{i}": 1.0} for i in range(40)}


def asked(vectors: Vectors) -> Vectors:
    noise = np.random.default_rng(5).normal(size=(40, vectors.shape[1])).astype(np.float32)
    return unit(vectors[:40] + 0.3 * noise)


def test_each_spread_counts_every_pair_of_its_kind(vectors: Vectors, ranking: Ranking) -> None:
    found = {each.kind: each for each in histograms("m", asked(vectors), vectors, ranking, JUDGED)}
    assert found["answer"].n == 40
    assert found["hard"].n == 40 * HARD
    assert 40 * RANDOM - 5 <= found["random"].n <= 40 * RANDOM
    cosine = float(np.mean(np.sum(asked(vectors) * vectors[:40], axis=1)))
    assert found["answer"].mean == pytest.approx(cosine, abs=1e-6)
    assert found["answer"].mean > found["hard"].mean > found["random"].mean
    assert len({(each.low, each.high, len(each.counts)) for each in found.values()}) == 1


def test_a_query_without_a_known_answer_adds_none(vectors: Vectors, ranking: Ranking) -> None:
    found = histograms("m", asked(vectors), vectors, ranking, {"q0": {"elsewhere": 1.0}})
    assert found[0].n == 0
    assert found[0].mean is None


def test_slices_hold_the_means_of_their_own_queries_and_small_ones_are_left_out() -> None:
    values = np.linspace(0, 1, 30)
    base = Scores(tuple(f"q{i}" for i in range(30)), {"ndcg@10": values})
    tuned = Scores(base.queries, {"ndcg@10": np.minimum(1, values + 0.1)})
    kinds = {"parity": lambda query: "few" if query in ("q1", "q3") else "even" if int(query[1:]) % 2 == 0 else "odd"}
    found = {part.name: part for part in slices(kinds, base, tuned)}
    assert set(found) == {"even", "odd"}
    assert found["even"].base["ndcg@10"].value == pytest.approx(values[::2].mean())
    assert found["even"].paired is not None
    assert found["even"].paired["ndcg@10"].n == 15
    assert found["even"].paired["ndcg@10"].delta > 0
    assert slices({"one": lambda _: "all"}, base, None) == ()


def test_all_dimensions_score_what_exact_search_scores(vectors: Vectors, ranking: Ranking) -> None:
    found = widths(
        "m", asked(vectors), ranking.queries, lambda: [vectors[:600], vectors[600:]], ranking.documents, JUDGED
    )
    assert [each.dims for each in found] == [16, 32, 48]
    exact = measure(ranking, JUDGED, ["ndcg@10"]).mean["ndcg@10"]
    assert found[-1].score.value == pytest.approx(exact)
    assert found[0].score.value < found[-1].score.value


def test_a_turned_space_has_not_moved(vectors: Vectors, rng: np.random.Generator) -> None:
    turn, _ = np.linalg.qr(rng.normal(size=(48, 48)))
    found = atlas([f"d{i}" for i in range(1000)], vectors, unit((vectors @ turn).astype(np.float32)), most=200)
    assert len(found.dots) == 200
    assert max(dot.moved for dot in found.dots) < 1e-4
    assert min(dot.kept for dot in found.dots) == 1
    assert all(dot.before == pytest.approx(dot.after, abs=1e-3) for dot in found.dots)


def test_the_documents_that_moved_are_those_that_moved_farthest(vectors: Vectors) -> None:
    tuned = vectors.copy()
    tuned[:10] = -vectors[:10]
    found = atlas([f"d{i}" for i in range(300)], vectors[:300], tuned[:300], most=300)
    farthest = sorted(found.dots, key=lambda dot: -dot.moved)[:10]
    assert {dot.id for dot in farthest} == {f"d{i}" for i in range(10)}
    assert np.mean([dot.kept for dot in farthest]) < 0.5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_documents_can_be_drawn(vectors: Vectors, n: int) -> None:
    found = atlas([f"d{i}" for i in range(n)], vectors[:n], vectors[:n])
    assert len(found.dots) == n
    assert found.k == n - 1
    assert 0 <= found.shown <= 1


def test_two_widths_cannot_be_laid_over_one_another(vectors: Vectors) -> None:
    with pytest.raises(ShapeError, match="both need one shape"):
        atlas(["a"], vectors[:1], vectors[:1, :16])


def test_an_empty_row_of_neighbours_has_no_hard_negatives(vectors: Vectors) -> None:
    near = Neighbours(np.full((1, 3), -1, np.int64), np.full((1, 3), -np.inf, np.float32))
    found = histograms("m", vectors[:1], vectors[:5], Ranking(["q0"], list("abcde"), near), {"q0": {"a": 1.0}})
    assert found[1].n == 0
