"""Words beside vectors, what each source said, diversity, groups; the arrays behind them, by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from firth.arrays import Encoder, Vectors, unit
from firth.errors import SettingsError
from firth.store import Collection, Hybrid
from firth.store.hybrid import Ranking, fused, spread

TEXTS = [
    "the alpha particle decays",
    "a beta particle and an alpha particle",
    "gamma rays are light",
    "delta of the Nile",
    "alphabet soup",
]
ANGLES = np.deg2rad([0, 10, 20, 50, 100])


class Compass:
    """An Encoder whose vectors are directions in the plane: every query points to 0 degrees."""

    dims = 2
    fingerprint = "compass"

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        return np.array([[1.0, 0.0]] * len(texts), np.float32)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c", encoder=Compass()) as made:
        payloads = [{"kind": "a", "n": 0}, {"kind": "b"}, {"kind": "a"}, {"kind": ["b", "c"]}, {}]
        titles = ["", "", "", "alpha", ""]
        made.upsert(range(5), TEXTS, payloads, titles=titles, vectors=np.column_stack([np.cos(ANGLES), np.sin(ANGLES)]))
        yield made


def test_reciprocal_ranks_add_up_to_the_fused_score(plane: Collection) -> None:
    hits = plane.search("alpha particle", k=5, hybrid=True)
    for hit in hits:
        assert hit.score == pytest.approx(sum(source.share for source in hit.sources.values()))
        for source in hit.sources.values():
            assert source.share == pytest.approx(1 / (60 + source.rank))
    assert {hit.id for hit in hits[:2]} == {0, 1}
    assert hits[0].sources["dense"].rank + hits[0].sources["bm25"].rank <= 3
    assert "bm25" not in next(hit for hit in hits if hit.id == 2).sources


def test_weights_turn_a_source_up_and_down(plane: Collection) -> None:
    assert [hit.id for hit in plane.search("Nile", k=5, hybrid=Hybrid(words=0))] == [0, 1, 2, 3, 4]
    assert plane.search("Nile", k=1, hybrid=Hybrid(dense=0))[0].id == 3
    assert plane.search("Nile", k=1, hybrid=Hybrid(words=2))[0].id == 3


def test_a_word_in_the_title_can_count_more(plane: Collection) -> None:
    heavy = plane.search("alpha", k=5, hybrid=Hybrid(dense=0, title=50))
    assert heavy[0].id == 3
    assert plane.search("alpha", k=5, hybrid=Hybrid(dense=0, title=0.01))[0].id in (0, 1)


def test_words_are_found_in_other_forms_and_without_their_accents(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", dims=2) as collection:
        collection.upsert([1, 2], ["Running in the café", "naught"], vectors=np.ones((2, 2)))
        collection._models.first = Compass()
        for words in ("runs", "CAFE", "café"):
            assert collection.search(words, k=1, hybrid=Hybrid(dense=0))[0].id == 1


@pytest.mark.parametrize(
    "text", ['"', "a AND", "NEAR(", "title:x", "*", "x OR", "(", "", "   ", "-", "^a", "{a}", "\0"]
)
def test_no_query_text_is_mistaken_for_a_command_of_the_word_index(plane: Collection, text: str) -> None:
    assert len(plane.search(text, k=5, hybrid=True)) == 5


def test_leaving_common_words_out_changes_no_score(tmp_path: Path) -> None:
    from firth.store.hybrid import CommonWords, by_words

    class AllOfThem(CommonWords):
        def without(self, db, words):  # type: ignore[no-untyped-def]
            return words

    with Collection.create(tmp_path / "c", dims=2) as collection:
        texts = [
            f"the common words of number {i} {'odd' if i % 2 else 'even'} {'rare' * (i % 50 == 0)}" for i in range(400)
        ]
        collection.upsert(range(400), texts, vectors=np.ones((400, 2)))
        query = "the rare common odd number 7"
        rare, every = CommonWords(), AllOfThem()
        few, all_ = (
            collection._ground.read(lambda moment, c=c: by_words(moment.db, query, 30, c)) for c in (rare, every)
        )
        assert [word for word, (_, common) in rare._counted.items() if common] == ["the", "common", "number"]
        np.testing.assert_allclose(few.scores, all_.scores, atol=1e-4)
        assert few.ids[:8].tolist() == all_.ids[:8].tolist()
        assert rare.without(None, ["the", "common"]) == ["the", "common"]  # type: ignore[arg-type]


def test_a_filter_holds_for_words_and_vectors(plane: Collection) -> None:
    hits = plane.search("alpha particle", k=5, hybrid=True, filter={"kind": "a"})
    assert sorted(hit.id for hit in hits) == [0, 2]


def test_words_beyond_the_nearest_few_pass_the_filter_too(tmp_path: Path) -> None:
    n = 2000
    with Collection.create(tmp_path / "c", encoder=Compass()) as collection:
        rows = np.random.default_rng(0).normal(size=(n, 2))
        collection.upsert(range(n), ["common words"] * n, [{"n": i} for i in range(n)], vectors=rows)
        hits = collection.search("common", k=3, hybrid=Hybrid(dense=0), filter={"n": {"$gte": n - 3}})
        assert sorted(hit.id for hit in hits) == [n - 3, n - 2, n - 1]


def test_explain_tells_what_a_source_says_of_a_hit_that_it_did_not_find(plane: Collection) -> None:
    asked = Hybrid(candidates=1)
    plain = {hit.id: hit for hit in plane.search("Nile", k=5, hybrid=asked)}
    told = {hit.id: hit for hit in plane.search("Nile", k=5, hybrid=Hybrid(candidates=5), explain=True)}
    assert plain[3].sources["bm25"].rank == 1
    assert told[3].sources["dense"].score == pytest.approx(np.cos(ANGLES[3]), abs=1e-6)
    dense = plane.search("Nile", k=2, explain=True)
    assert [(hit.sources["dense"].rank, hit.sources["dense"].score) for hit in dense] == [
        (1, dense[0].score),
        (2, dense[1].score),
    ]
    assert plane.search("Nile", k=1)[0].sources == {}


def test_explain_does_not_change_the_answer(plane: Collection) -> None:
    plain = plane.search("alpha particle", k=4, hybrid=True)
    told = plane.search("alpha particle", k=4, hybrid=True, explain=True)
    assert [(hit.id, hit.score) for hit in plain] == [(hit.id, hit.score) for hit in told]


def test_least_leaves_out_what_scores_less(plane: Collection) -> None:
    assert [hit.id for hit in plane.search("x", k=5, least=0.9)] == [0, 1, 2]


def test_diversity_prefers_the_unlike(plane: Collection) -> None:
    assert [hit.id for hit in plane.search("x", k=3, diversity=0)] == [0, 1, 2]
    assert [hit.id for hit in plane.search("x", k=2, diversity=0.9)] == [0, 4]
    assert plane.search("x", k=2, diversity=0.9)[0].score == pytest.approx(1, abs=1e-6)


def test_spread_is_maximal_marginal_relevance(rng: np.random.Generator) -> None:
    rows, query = unit(rng.normal(size=(30, 6)).astype(np.float32)), unit(rng.normal(size=(1, 6)).astype(np.float32))
    relevance, likeness = (rows @ query[0]), rows @ rows.T
    order = spread(relevance, likeness, 10, 0.4)
    chosen = [int(np.argmax(relevance))]
    while len(chosen) < 10:
        left = [i for i in range(30) if i not in chosen]
        chosen.append(max(left, key=lambda i: 0.6 * relevance[i] - 0.4 * max(likeness[i][j] for j in chosen)))
    assert order == chosen


def test_fused_breaks_ties_by_the_smaller_id() -> None:
    one, two = Ranking(np.array([5, 9]), np.ones(2)), Ranking(np.array([9, 5]), np.ones(2))
    assert [id_ for id_, _, _ in fused({"a": one, "b": two}, {"a": 1.0, "b": 1.0})] == [5, 9]


def test_groups_hold_the_best_hits_of_each_value(plane: Collection) -> None:
    groups = plane.search_groups("x", by="kind", k=3, size=2)
    assert [(group.value, [hit.id for hit in group.hits]) for group in groups] == [
        ("a", [0, 2]),
        ("b", [1, 3]),
        ("c", [3]),
    ]
    assert [group.value for group in plane.search_groups("x", by="kind", k=1, size=1)] == ["a"]
    assert plane.search_groups("x", by="absent") == []


def test_groups_are_sought_until_there_are_enough(tmp_path: Path) -> None:
    n = 3000
    with Collection.create(tmp_path / "c", dims=2) as collection:
        angles = np.linspace(0, 1, n)
        payloads = [{"g": 0 if i < n - 5 else i} for i in range(n)]  # all the nearest are of one group
        collection.upsert(range(n), [""] * n, payloads, vectors=np.column_stack([np.cos(angles), np.sin(angles)]))
        groups = collection.search_groups(np.array([1.0, 0.0]), by="g", k=3, size=1)
        assert [group.value for group in groups] == [0, n - 5, n - 4]


def test_many_queries_get_what_each_gets_alone(plane: Collection) -> None:
    texts = ["alpha", "gamma rays", "Nile"]
    assert plane.search_many(texts, k=3, hybrid=True) == [plane.search(text, k=3, hybrid=True) for text in texts]
    assert plane.search_many([], k=3) == []


def test_other_metrics_rank_by_their_own_measure(tmp_path: Path, rng: np.random.Generator) -> None:
    from firth.store import VectorSettings

    rows = rng.normal(size=(400, 6)).astype(np.float32) * rng.uniform(0.2, 3, size=(400, 1)).astype(np.float32)
    query = rng.normal(size=6).astype(np.float32)
    spaces = {"dot": VectorSettings(6, "dot"), "euclid": VectorSettings(6, "euclid")}
    with Collection.create(tmp_path / "c", vectors=spaces) as collection:
        collection.upsert(range(400), [""] * 400, vectors={"dot": rows, "euclid": rows})
        scores = {"dot": rows @ query, "euclid": -((rows - query) ** 2).sum(1)}
        for name, score in scores.items():
            hits = collection.search(query, k=10, vector=name)
            assert [hit.id for hit in hits] == np.argsort(-score)[:10].tolist()
            np.testing.assert_allclose([hit.score for hit in hits], np.sort(score)[::-1][:10], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ef": 0}, "ef=0"),
        ({"ef": 10, "recall": 0.9}, "expected one of them"),
        ({"recall": 1.5}, "recall=1.5"),
        ({"diversity": 2}, "diversity=2"),
    ],
)
def test_settings_out_of_range_are_named(plane: Collection, settings: dict[str, float], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        plane.search("x", **settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="weights"):
        Hybrid(words=-1)


def test_words_alone_are_searched_without_a_model(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", dims=2) as made:
        made.upsert(
            [1, 2, 3], ["red fox", "red red wine", "blue sky"], [{"n": i} for i in range(3)], vectors=np.eye(3, 2) + 1
        )
        assert [hit.id for hit in made.search_words("reds")] == [2, 1]
        assert [hit.id for hit in made.search_words("reds", filter={"n": 0})] == [1]
        assert made.search_words("nothing here") == []
        (best, other) = made.search_words("red")
        assert made.search_words("red", least=(best.score + other.score) / 2) == [best]


def test_a_hybrid_search_takes_a_vector_that_was_made_before(collection: Collection, encoder: Encoder) -> None:
    collection.upsert([1, 2, 3], ["red fox", "red wine", "blue sky"])
    (row,) = encoder.encode(["red wine"], kind="query")
    assert collection.search_both("red wine", row, 2) == collection.search("red wine", 2, hybrid=True)


def test_facets_count_documents_and_not_values(collection: Collection) -> None:
    payloads = [{"t": ["a", "a", "b"]}, {"t": "a"}, {"t": 1}, {"t": True}, {"t": 2.5}, {}]
    collection.upsert(range(6), ["x"] * 6, payloads)
    found = collection.facet("t")
    assert found[0] == ("a", 2)
    assert sorted(map(repr, found[1:])) == ["('b', 1)", "(1, 1)", "(True, 1)"]
    assert collection.facet("t", filter={"t": "b"}, limit=1) == [("a", 1)]


def test_a_sample_is_drawn_from_what_passes_and_the_same_for_a_seed(collection: Collection) -> None:
    collection.upsert(range(50), ["x"] * 50, [{"even": i % 2 == 0} for i in range(50)])
    drawn = collection.sample(10, filter={"even": True}, seed=1, with_vectors=True)
    assert len({record.id for record in drawn}) == 10
    assert all(record.payload["even"] and "" in record.vectors for record in drawn)
    assert drawn[3].id == collection.sample(10, filter={"even": True}, seed=1)[3].id
    assert len(collection.sample(99)) == 50
