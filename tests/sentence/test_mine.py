"""Mining keeps what is hard and leaves out what is, or may be, an answer; and it accounts for every candidate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.arrays import Ids, Neighbours, Vectors, unit
from firth.errors import SettingsError, ShapeError
from firth.sentence.mine import MineSettings, mine


def table(ids: list[list[int]], scores: list[list[float]]) -> Neighbours:
    return Neighbours(np.array(ids, np.int64), np.array(scores, np.float32))


def search(queries: Vectors, vectors: Vectors, k: int) -> Neighbours:
    scores = queries @ vectors.T
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Neighbours(ids, np.take_along_axis(scores, ids, 1))


@pytest.fixture
def domain(rng: np.random.Generator) -> tuple[Neighbours, Neighbours, Vectors]:
    """200 queries, 60 neighbours of each among 1,000 documents, one to three answers each."""
    vectors = unit(rng.normal(size=(1000, 24)).astype(np.float32))
    queries = unit(vectors[:200] + 0.1 * rng.normal(size=(200, 24)).astype(np.float32))
    near = search(queries, vectors, 60)
    answers = near.ids[:, [0, 2, 5]].copy()
    answers[rng.random(200) < 0.5, 1:] = -1
    return near, Neighbours(answers, np.where(answers < 0, -np.inf, near.scores[:, [0, 2, 5]])), vectors


PLAIN = MineSettings(negatives=3, relative=None, depth=None, sampling="top")
FOUR = table([[7, 1, 2, 3]], [[0.9, 0.8, 0.6, 0.5]])


def mined(settings: MineSettings, neighbours: Neighbours = FOUR, positive: float = 0.8) -> list[int]:
    return [int(i) for i in mine(neighbours, table([[1]], [[positive]]), settings).negatives.ids[0]]


def test_the_best_that_are_no_answers_are_taken_in_order() -> None:
    assert mined(PLAIN) == [7, 2, 3]


def test_a_candidate_above_95_percent_of_the_answers_score_is_left_out() -> None:
    near = table([[5, 6, 7]], [[0.7601, 0.7600, 0.7599]])
    assert mined(replace(PLAIN, relative=0.95), near) == [6, 7, -1]


def test_a_relative_margin_lowers_a_negative_score() -> None:
    near = table([[5, 6, 7]], [[-0.19, -0.2, -0.3]])
    assert mined(replace(PLAIN, relative=0.5), near, positive=-0.2) == [7, -1, -1]


def test_an_absolute_margin_is_kept() -> None:
    assert mined(replace(PLAIN, absolute=0.2)) == [2, 3, -1]


def test_scores_out_of_range_are_left_out() -> None:
    assert mined(replace(PLAIN, most=0.85, least=0.55)) == [2, -1, -1]


def test_the_best_of_what_is_left_are_skipped() -> None:
    assert mined(replace(PLAIN, skip=1)) == [2, 3, -1]


def test_no_negative_comes_from_beyond_the_depth() -> None:
    assert mined(replace(PLAIN, depth=2)) == [7, 2, -1]


def test_every_answer_is_excluded_and_the_lowest_sets_the_margin() -> None:
    found = mine(FOUR, table([[1, 3]], [[0.8, 0.5]]), MineSettings(negatives=3, relative=0.95))
    assert found.negatives.ids.tolist() == [[-1, -1, -1]]
    found = mine(FOUR, table([[1, 3]], [[0.8, 0.5]]), replace(PLAIN, negatives=4))
    assert found.negatives.ids.tolist() == [[7, 2, -1, -1]]


def test_a_near_duplicate_of_an_answer_is_left_out() -> None:
    vectors = unit(np.array([[1, 0, 0], [0, 1, 0], [0.01, 1, 0], [0, 0.8, 0.6]], np.float32))
    near, known = table([[0, 2, 3]], [[0.5, 0.4, 0.3]]), table([[1]], [[0.9]])
    assert mine(near, known, PLAIN, vectors=vectors).negatives.ids.tolist() == [[0, 3, -1]]
    assert mine(near, known, PLAIN).negatives.ids.tolist() == [[0, 2, 3]]


def test_a_reranker_judges_candidates_and_answers() -> None:
    asked: list[tuple[int, int]] = []

    def rerank(queries: Ids, documents: Ids) -> Vectors:
        asked.extend(zip(queries.tolist(), documents.tolist(), strict=True))
        return np.array([{7: 9.0, 1: 5.0, 2: 4.9, 3: 1.0}[int(i)] for i in documents], np.float32)

    found = mine(FOUR, table([[1]], [[0.1]]), MineSettings(negatives=2, relative=0.95), rerank=rerank)
    assert found.negatives.ids.tolist() == [[3, -1]]
    assert found.negatives.scores[0, 0] == 1.0
    assert sorted(asked) == [(0, 1), (0, 2), (0, 3), (0, 7)]  # the answer once, as answer


def test_a_reranker_that_returns_too_few_scores_is_refused() -> None:
    with pytest.raises(ShapeError, match="rerank: expected 3 finite scores"):
        mine(FOUR, table([[1]], [[0.8]]), PLAIN, rerank=lambda queries, _: np.zeros(len(queries) - 1))


def test_a_query_whose_every_candidate_is_removed_is_told(domain: tuple[Neighbours, Neighbours, Vectors]) -> None:
    found = mine(table([[1, 2], [3, 4]], [[0.9, 0.8], [0.9, 0.1]]), table([[1], [3]], [[0.8], [0.9]]), PLAIN)
    assert found.empty.tolist() == []
    found = mine(
        table([[1, 2], [3, 4]], [[0.9, 0.8], [0.9, 0.1]]), table([[1], [3]], [[0.8], [0.9]]), MineSettings(negatives=1)
    )
    assert found.empty.tolist() == [0]
    assert found.short.tolist() == [0]
    assert "1 queries got fewer than 1, 1 none" in "\n".join(found.lines())


@pytest.mark.parametrize("sampling", ["top", "random"])
@pytest.mark.parametrize("with_vectors", [False, True])
def test_every_candidate_is_counted_once(
    domain: tuple[Neighbours, Neighbours, Vectors], sampling: str, with_vectors: bool
) -> None:
    near, known, vectors = domain
    settings = MineSettings(negatives=5, skip=2, depth=20, absolute=0.1, least=0.33, duplicate=0.5, sampling=sampling)
    found = mine(near, known, settings, vectors=vectors if with_vectors else None)
    kept = int((found.negatives.ids >= 0).sum())
    assert kept > 0
    assert found.candidates == near.ids.size == kept + sum(found.removed.values())
    assert all(count > 0 for rule, count in found.removed.items() if with_vectors or "duplicate" not in rule)


def test_the_rules_agree_with_a_plain_loop(domain: tuple[Neighbours, Neighbours, Vectors]) -> None:
    near, known, vectors = domain
    settings = MineSettings(negatives=4, relative=0.9, absolute=0.05, skip=1, depth=10, duplicate=0.6, sampling="top")
    found = mine(near, known, settings, vectors=vectors)
    for row in range(len(near)):
        answers = [i for i in known.ids[row] if i >= 0]
        lowest = min(known.scores[row][known.ids[row] >= 0])
        left = [
            int(i)
            for i, score in zip(near.ids[row], near.scores[row], strict=True)
            if i not in answers
            and max(vectors[i] @ vectors[a] for a in answers) < 0.6
            and score <= min(lowest - 0.1 * abs(lowest), lowest - 0.05)
        ]
        expected = left[1:11][:4]
        assert [int(i) for i in found.negatives.ids[row] if i >= 0] == expected


@settings(deadline=None)  # a shared machine's speed is no property
@given(megabytes=st.integers(1, 3), seed=st.integers(0, 3))
def test_memory_changes_speed_and_nothing_else(megabytes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.random((3000, 50)).astype(np.float32), axis=1)
    near = Neighbours(rng.integers(0, 500, (3000, 50)), scores)
    known = Neighbours(rng.integers(0, 500, (3000, 1)), rng.random((3000, 1)).astype(np.float32))
    settings = MineSettings(negatives=3, sampling="random", seed=seed)
    whole, blocked = mine(near, known, settings), mine(near, known, replace(settings, megabytes=megabytes))
    assert np.array_equal(whole.negatives.ids, blocked.negatives.ids)
    assert whole.removed == blocked.removed


def test_random_sampling_is_by_seed_among_all_that_is_left(domain: tuple[Neighbours, Neighbours, Vectors]) -> None:
    near, known, _ = domain
    settings = MineSettings(negatives=3, sampling="random")
    one, again, other = (mine(near, known, replace(settings, seed=seed)).negatives for seed in (1, 1, 2))
    assert np.array_equal(one.ids, again.ids)
    assert not np.array_equal(one.ids, other.ids)
    deeper = mine(near, known, replace(settings, sampling="top")).negatives
    assert one.scores.mean() < deeper.scores.mean()
    assert (np.diff(one.scores[one.ids.min(1) >= 0], axis=1) <= 0).all()


def test_the_spread_of_scores_is_told(domain: tuple[Neighbours, Neighbours, Vectors]) -> None:
    near, known, _ = domain
    found = mine(near, known, MineSettings(negatives=2), random_scores=np.linspace(-1, 1, 101))
    assert found.spread["random"] == pytest.approx((-0.9, -0.5, 0, 0.5, 0.9))
    assert found.spread["hard"][2] < found.spread["positive"][2]
    assert any(line.strip().startswith("positive scores:") for line in found.lines())


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="1 queries have neighbours, 2 have answers"):
        mine(FOUR, table([[1], [2]], [[0.8], [0.7]]))
    with pytest.raises(ShapeError, match="1 queries have no answer, the first is row 0"):
        mine(FOUR, table([[-1]], [[-np.inf]]))
    with pytest.raises(ShapeError, match="neighbours: a score is NaN"):
        mine(table([[1]], [[np.nan]]), table([[2]], [[0.5]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"negatives": 0}, "negatives: expected at least 1"),
        ({"relative": 1.5}, "relative: expected a share"),
        ({"sampling": "worst"}, "sampling: expected top or random"),
        ({"depth": 0}, "depth: expected at least 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(PLAIN, **changes)
