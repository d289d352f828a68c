"""The unmodified qdrant-client against the server, with its own local mode as the oracle: same points, same scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from asking import ask
from firth.serve import Running

N, D = 120, 8
UUID = "e9c1f5d2-7a34-4a8e-9d1b-5f0c2b6a7d11"


@pytest.fixture
def client(running: Running) -> Iterator[QdrantClient]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = QdrantClient(url=running.url, timeout=60, cloud_inference=True, check_compatibility=False)
    yield made
    made.close()


@pytest.fixture
def both(running: Running) -> Iterator[tuple[QdrantClient, QdrantClient]]:
    """The server and the oracle with the same points: two cosine vectors, one of them missing here and there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clients = QdrantClient(url=running.url, timeout=60, check_compatibility=False), QdrantClient(":memory:")
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(N, D)), rng.normal(size=(N, D))
    points = []
    for i in range(N):
        vector = {"a": rows[i].tolist(), **({"b": others[i].tolist()} if i % 3 else {})}
        payload = {
            "n": i,
            "lang": ("de", "en", "fr")[i % 3],
            "tags": [f"t{i % 5}", f"t{i % 7}"],
            "price": i / 7,
            "nested": {"deep": [{"x": i % 4}, {"x": i % 6}], "keep": "me"},
            **({"flag": True} if i % 2 else {}),
        }
        points.append(models.PointStruct(id=i, vector=vector, payload=payload))
    size = {name: models.VectorParams(size=D, distance=d) for name, d in (("a", "Cosine"), ("b", "Euclid"))}
    for one in clients:
        one.create_collection("c", vectors_config=size)
        one.upsert("c", points)
    yield clients
    for one in clients:
        one.close()


QUERY = np.random.default_rng(1).normal(size=D).tolist()
LANG = models.Filter(must=[models.FieldCondition(key="lang", match=models.MatchAny(any=["de", "en"]))])
CHEAP = models.Filter(
    must_not=[models.FieldCondition(key="price", range=models.Range(gte=10))],
    should=[models.FieldCondition(key="tags", match=models.MatchValue(value=f"t{i}")) for i in (1, 2)],
)
NEAR_A = models.Prefetch(query=QUERY, using="a", limit=20)
NEAR_B = models.Prefetch(query=QUERY[::-1], using="b", limit=15, filter=LANG)

QUERIES: dict[str, dict[str, Any]] = {
    "nearest": {"query": QUERY, "using": "a"},
    "nearest by euclid": {"query": QUERY, "using": "b"},
    "filtered": {"query": QUERY, "using": "a", "query_filter": LANG, "limit": 30},
    "filtered by should and must_not": {"query": QUERY, "using": "a", "query_filter": CHEAP, "limit": 30},
    "offset": {"query": QUERY, "using": "a", "offset": 7, "limit": 5},
    "above a score": {"query": QUERY, "using": "a", "score_threshold": 0.2, "limit": 100},
    "within a distance": {"query": QUERY, "using": "b", "score_threshold": 3.5, "limit": 100},
    "exact": {"query": QUERY, "using": "a", "search_params": models.SearchParams(exact=True), "limit": 9},
    "near a point": {"query": 17, "using": "a"},
    "near a point in the other vectors": {"query": 17, "using": "b"},
    "recommended": {
        "query": models.RecommendQuery(recommend=models.RecommendInput(positive=[3, 4, QUERY], negative=[9])),
        "using": "a",
    },
    "all": {"limit": 20},
    "rrf": {"prefetch": [NEAR_A, NEAR_B], "query": models.FusionQuery(fusion=models.Fusion.RRF)},
    "rrf with settings": {"prefetch": [NEAR_A, NEAR_B], "query": models.RrfQuery(rrf=models.Rrf(k=60, weights=[3, 1]))},
    "dbsf": {"prefetch": [NEAR_A, NEAR_B], "query": models.FusionQuery(fusion=models.Fusion.DBSF), "limit": 25},
    "fused and filtered": {
        "prefetch": [NEAR_A, NEAR_B],
        "query": models.FusionQuery(fusion=models.Fusion.RRF),
        "query_filter": CHEAP,
        "offset": 2,
    },
    "filtered by words before": {
        "prefetch": models.Prefetch(
            query=QUERY,
            using="a",
            limit=30,
            filter=models.Filter(must=[models.FieldCondition(key="lang", match=models.MatchText(text="fr"))]),
        ),
        "query": models.FusionQuery(fusion="rrf"),
        "limit": 30,
    },
    "rescored": {"prefetch": models.Prefetch(query=QUERY[::-1], using="b", limit=30), "query": QUERY, "using": "a"},
    "rescored twice": {
        "prefetch": models.Prefetch(prefetch=[NEAR_A, NEAR_B], query=models.FusionQuery(fusion="rrf"), limit=12),
        "query": QUERY,
        "using": "a",
    },
    "diverse": {
        "query": models.NearestQuery(nearest=QUERY, mmr=models.Mmr(diversity=0.6, candidates_limit=40)),
        "using": "a",
    },
    "ordered": {"query": models.OrderByQuery(order_by=models.OrderBy(key="price", direction="desc")), "limit": 15},
}
SELECTED = [
    {"with_payload": False},
    {"with_payload": ["n", "nested.deep[].x"]},
    {"with_payload": models.PayloadSelectorExclude(exclude=["nested.keep", "tags"])},
    {"with_vectors": True},
    {"with_vectors": ["b"]},
]


def alike(ours: Any, oracle: Any) -> None:
    """The same points with the same payloads, scores and vectors; ties in another order are no difference."""
    mine, theirs = (
        sorted(points, key=lambda p: (round(-getattr(p, "score", 0), 4), str(p.id))) for points in (ours, oracle)
    )
    assert [(p.id, p.payload) for p in mine] == [(p.id, p.payload) for p in theirs]
    np.testing.assert_allclose(*([getattr(p, "score", 0) for p in points] for points in (ours, oracle)), atol=1e-5)
    for one, other in zip(mine, theirs, strict=True):
        assert type(one.vector) is type(other.vector)
        for name in one.vector or {}:
            np.testing.assert_allclose(one.vector[name], other.vector[name], atol=1e-5)
        assert sorted(one.vector or {}) == sorted(other.vector or {})


@pytest.mark.filterwarnings("ignore:Local mode performs exact")
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_finds_the_same_points_with_the_same_scores(both: Any, name: str) -> None:
    ours, oracle = (one.query_points("c", **QUERIES[name]).points for one in both)
    alike(ours, oracle)
    if name != "all":
        assert len(ours) > 3


@pytest.mark.parametrize("chosen", SELECTED, ids=lambda chosen: next(iter(chosen)) + str(len(str(chosen))))
def test_payload_and_vectors_come_as_they_were_asked_for(both: Any, chosen: dict[str, Any]) -> None:
    ours, oracle = (one.query_points("c", query=QUERY, using="a", **chosen).points for one in both)
    alike(ours, oracle)
    ours, oracle = (one.scroll("c", limit=20, **chosen)[0] for one in both)
    alike(ours, oracle)


def test_scrolling_counting_and_facets_agree(both: Any) -> None:
    for filter_ in (None, LANG, CHEAP):
        pages: list[list[Any]] = [[], []]
        for one, seen in zip(both, pages, strict=True):
            offset = None
            while True:
                points, offset = one.scroll("c", scroll_filter=filter_, limit=17, offset=offset)
                seen += [p.id for p in points]
                if offset is None:
                    break
        assert pages[0] == pages[1]
        ours, oracle = (one.count("c", count_filter=filter_).count for one in both)
        assert ours == oracle == len(pages[0])
        for key in ("lang", "tags", "flag", "nested.deep[].x"):
            ours, oracle = (one.facet("c", key=key, facet_filter=filter_, limit=4).hits for one in both)
            assert [(h.value, h.count) for h in ours] == [(h.value, h.count) for h in oracle]
    ours, oracle = (one.scroll("c", order_by=models.OrderBy(key="n", start_from=100), limit=30)[0] for one in both)
    assert [p.id for p in ours] == [p.id for p in oracle] == list(range(100, 120))


@pytest.mark.parametrize("by", ["lang", "tags"])
def test_groups_agree(both: Any, by: str) -> None:
    for more in ({"query": QUERY, "using": "a"}, QUERIES["rrf"]):
        groups = [one.query_points_groups("c", group_by=by, limit=3, group_size=4, **more).groups for one in both]
        ours, oracle = ([(g.id, [(h.id, round(h.score, 4)) for h in g.hits]) for g in found] for found in groups)
        assert ours == oracle
        assert len(ours) == 3


def test_batches_of_queries_agree(both: Any) -> None:
    requests = [models.QueryRequest(query=QUERY, using=name, limit=4) for name in ("a", "b")]
    ours, oracle = (one.query_batch_points("c", requests=requests) for one in both)
    for mine, theirs in zip(ours, oracle, strict=True):
        alike(mine.points, theirs.points)


def test_every_write_leaves_the_same_points(both: Any) -> None:
    def write(one: QdrantClient) -> None:
        one.set_payload("c", {"lang": "it", "new": 1}, points=[1, 2])
        one.set_payload("c", {"text": "some words"}, points=LANG)
        one.overwrite_payload("c", {"only": "this"}, points=[5])
        one.delete_payload("c", ["nested.keep", "tags"], points=[6, 7])
        one.clear_payload("c", points_selector=[8])
        one.update_vectors("c", [models.PointVectors(id=9, vector={"b": QUERY})])
        one.delete_vectors("c", ["b"], points=[10])
        one.delete("c", points_selector=[11, 12])
        one.delete("c", points_selector=models.FilterSelector(filter=models.Filter(
            must=[models.FieldCondition(key="n", range=models.Range(gt=100))])))  # fmt: skip
        one.upsert("c", models.Batch(ids=[200, 201], vectors={"a": [QUERY, QUERY]}, payloads=[{"n": 1}, {"n": 2}]))
        one.batch_update_points(
            "c",
            [
                models.UpsertOperation(
                    upsert=models.PointsList(points=[models.PointStruct(id=3, vector={}, payload={})])
                ),
                models.SetPayloadOperation(set_payload=models.SetPayload(payload={"z": 0}, points=[3])),
                models.DeleteOperation(delete=models.PointIdsList(points=[4])),
            ],
        )

    states = []
    for one in both:
        write(one)
        states.append(one.scroll("c", limit=1000, with_vectors=True)[0])
        one.close()
    alike(*states)
    assert len(states[0]) == 120 - 2 - 19 + 2 - 1


def test_ids_come_back_as_they_are_and_a_uuid_with_its_dashes(client: QdrantClient) -> None:
    client.create_collection("c", vectors_config=models.VectorParams(size=2, distance="Dot"))
    ids: list[Any] = [7, UUID.replace("-", ""), "any/string ü"]
    client.upsert("c", [models.PointStruct(id=id_, vector=[1.0, float(i)]) for i, id_ in enumerate(ids)])
    assert [p.id for p in client.query_points("c", query=[0.0, 1.0]).points] == ["any/string ü", UUID, 7]
    assert {p.id for p in client.retrieve("c", ids=ids)} == {7, UUID, "any/string ü"}
    found = client.scroll("c", scroll_filter=models.Filter(must=[models.HasIdCondition(has_id=[UUID.upper()])]))[0]
    assert [p.id for p in found] == [UUID]


def test_unnamed_vectors_are_the_vectors_named_with_nothing(client: QdrantClient) -> None:
    for name, config in (("a", models.VectorParams(size=2, distance="Cosine")),
                         ("b", {"": models.VectorParams(size=2, distance="Cosine")})):  # fmt: skip
        client.create_collection(name, vectors_config=config)
        client.upsert(
            name, [models.PointStruct(id=1, vector=[3.0, 4.0]), models.PointStruct(id=2, vector={"": [1.0, 0.0]})]
        )
        got = client.retrieve(name, ids=[1, 2], with_vectors=True)
        np.testing.assert_allclose([p.vector for p in got], [[0.6, 0.8], [1, 0]], atol=1e-6)
        assert [p.id for p in client.query_points(name, query=[1.0, 0.0], using="").points] == [2, 1]
        told = client.get_collection(name)
        assert isinstance(told.config.params.vectors, dict) == isinstance(config, dict)
        assert (told.points_count, told.status) == (2, "green")


def test_texts_stand_for_vectors_in_the_role_that_the_route_knows(client: QdrantClient, encoder: Any) -> None:
    config = {"vectors_config": {"dense": models.VectorParams(size=32, distance="Cosine")},
              "sparse_vectors_config": {"words": models.SparseVectorParams(modifier=models.Modifier.IDF)}}  # fmt: skip
    client.create_collection("c", **config)
    texts = ["the cat sat on the mat", "dogs bark at night", "stocks fell on monday"]
    documents = [models.Document(text=text, model="hashed-words") for text in texts]
    words = [models.Document(text=text, model="qdrant/bm25") for text in texts]
    client.upsert(
        "c",
        [
            models.PointStruct(id=i, vector={"dense": one, "words": two}, payload={"i": i})
            for i, (one, two) in enumerate(zip(documents, words, strict=True))
        ],
    )
    assert encoder.kinds == ["document"]
    asked = models.Document(text="dogs at night", model="hashed-words")
    answer = client.query_points("c", query=asked, using="dense", with_vectors=True)
    assert encoder.kinds[-1] == "query"
    assert answer.points[0].id == 1
    np.testing.assert_allclose(
        answer.points[0].vector["dense"], encoder.encode([texts[1]], kind="document")[0], atol=1e-6
    )
    assert answer.points[0].payload == {"i": 1}
    by_words = client.query_points("c", query=models.Document(text="cats", model="qdrant/bm25"), using="words").points
    assert [p.id for p in by_words] == [0]  # by its stem
    hybrid = client.query_points(
        "c",
        prefetch=[
            models.Prefetch(query=asked, using="dense"),
            models.Prefetch(query=models.Document(text="cats", model="qdrant/bm25"), using="words"),
        ],
        query=models.FusionQuery(fusion="rrf"),
    ).points
    assert {p.id for p in hybrid} == {0, 1, 2}
    assert hybrid[0].id in (0, 1)


def test_a_collection_whose_texts_another_model_embedded_is_not_mixed(
    serving: Callable[..., Running], encoder: Any, tmp_path: Any
) -> None:
    body = {"vectors": {"size": 32, "distance": "Cosine"}}
    point = {"points": [{"id": 1, "vector": {"text": "a cat", "model": "hashed-words"}}]}
    from firth.serve import Server, Settings, started
    from firth.serve.batcher import Served
    from firth.serve.library import Library

    for seed, expected in (("", 200), ("another", 409), ("", 200)):
        library = Library(tmp_path, Served(type(encoder)(seed), "hashed-words"), grows=True)
        with started(Server(library, Settings(port=0))) as running:
            if not library.has("c"):
                assert ask(running.url, "PUT", "/collections/c", body)[0] == 200
            status, _, answer = ask(running.url, "PUT", "/collections/c/points", point)
            assert (status, "another model" in str(answer)) == (expected, expected == 409)


def test_aliases_indexes_and_collections_come_and_go(client: QdrantClient) -> None:
    client.create_collection("c", vectors_config=models.VectorParams(size=2, distance="Dot"))
    assert client.collection_exists("c")
    assert not client.collection_exists("d")
    client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="c", alias_name="now"))]
    )
    client.upsert("now", [models.PointStruct(id=1, vector=[1.0, 1.0], payload={"lang": "de"})])
    assert client.count("c").count == 1
    assert [a.alias_name for a in client.get_collection_aliases("c").aliases] == ["now"]
    assert len(client.get_aliases().aliases) == 1
    client.create_payload_index("c", "lang", "keyword")
    assert client.get_collection("c").payload_schema["lang"].points == 1
    client.delete_payload_index("c", "lang")
    assert client.get_collection("c").payload_schema == {}
    assert [c.name for c in client.get_collections().collections] == ["c"]
    assert client.delete_collection("c")
    assert client.get_collections().collections == []
    assert client.get_aliases().aliases == []
    with pytest.raises(UnexpectedResponse, match="Not found: Collection"):
        client.count("c")


def test_a_collection_is_there_again_after_a_restart(
    serving: Callable[..., Running], encoder: Any, tmp_path: Any
) -> None:
    from firth.serve import Server, Settings, started
    from firth.serve.library import Library

    config = {"vectors": {"size": 2, "distance": "Euclid", "on_disk": True}, "metadata": {"whose": "ours"}}
    with started(Server(Library(tmp_path, None, grows=True), Settings(port=0))) as running:
        assert ask(running.url, "PUT", "/collections/c", config)[0] == 200
        assert ask(running.url, "PUT", "/collections/c", config)[0] == 409
        body = {"points": [{"id": "x", "vector": [1, 2], "payload": {"a": 1}}]}
        assert ask(running.url, "PUT", "/collections/c/points?wait=true", body)[2]["result"]["status"] == "completed"
    with started(Server(Library(tmp_path, None, grows=True), Settings(port=0))) as running:
        told = ask(running.url, "GET", "/collections/c")[2]["result"]
        assert told["config"]["params"]["vectors"] == config["vectors"]
        assert told["config"]["metadata"] == {"whose": "ours"}
        assert ask(running.url, "GET", "/collections/c/points/x")[2]["result"]["payload"] == {"a": 1}


def test_a_snapshot_is_put_back_as_it_was(client: QdrantClient, running: Running) -> None:
    client.create_collection("c", vectors_config=models.VectorParams(size=2, distance="Dot"))
    client.upsert("c", [models.PointStruct(id=i, vector=[1.0, float(i)]) for i in range(50)])
    made = client.create_snapshot("c")
    assert made is not None
    client.delete("c", points_selector=list(range(40)))
    assert [s.name for s in client.list_snapshots("c")] == [made.name]
    status, _, content = ask(running.url, "GET", f"/collections/c/snapshots/{made.name}")
    assert (status, len(content)) == (200, made.size)
    assert client.recover_snapshot("c", location=f"file:///elsewhere/{made.name}")
    assert client.count("c").count == 50
    assert client.query_points("c", query=[0.0, 1.0], limit=1).points[0].id == 49
    client.delete_snapshot("c", made.name)
    assert client.list_snapshots("c") == []
    assert ask(running.url, "PUT", "/collections/c/snapshots/recover", {"location": "file:///etc/passwd"})[0] == 404


UNSUPPORTED = {
    "discover": {"query": {"discover": {"target": [1, 2], "context": []}}},
    "formula": {"query": {"formula": {"sum": [1]}}, "prefetch": {"query": [1, 2]}},
    "shard_key": {"query": [1, 2], "shard_key": "a"},
    "indexed_only": {"query": [1, 2], "params": {"indexed_only": True}},
    "sparse vector": {"query": {"indices": [1], "values": [1.0]}},
    "strategy": {"query": {"recommend": {"positive": [[1, 2]], "strategy": "best_score"}}},
    "nonsense": {"query": [1, 2], "nonsense": 1},
    "wibble": {"query": [1, 2], "filter": {"wibble": []}},
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_would_change_a_result_is_refused_by_name(running: Running, name: str) -> None:
    ask(running.url, "PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}})
    status, _, answer = ask(running.url, "POST", "/collections/c/points/query", UNSUPPORTED[name])
    assert status == 400
    assert name in answer["status"]["error"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"distance": "Manhattan"}, "Manhattan"),
        ({"multivector_config": {"comparator": "max_sim"}}, "multivector_config"),
        ({"datatype": "uint8"}, "datatype"),
        ({"quantization_config": {"binary": {}}}, "quantization_config"),
        ({"size": 0}, "size"),
        ({"size": 100_000}, "size"),
    ],
)
def test_a_collection_that_would_not_be_as_asked_is_not_made(running: Running, more: Any, named: str) -> None:
    body = {"vectors": {"size": 2, "distance": "Dot", **more}}
    status, _, answer = ask(running.url, "PUT", "/collections/c", body)
    assert (status, named in answer["status"]["error"]) == (400, True)
    assert ask(running.url, "GET", "/collections")[2]["result"]["collections"] == []


def test_the_older_search_and_the_distance_matrix_answer(running: Running) -> None:
    ask(running.url, "PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Cosine"}})
    points = [{"id": i, "vector": [1.0, i / 10]} for i in range(20)]
    ask(running.url, "PUT", "/collections/c/points", {"points": points})
    found = ask(running.url, "POST", "/collections/c/points/search", {"vector": [1, 0], "limit": 2})[2]["result"]
    assert [p["id"] for p in found] == [0, 1]
    body = {"sample": 10, "limit": 3}
    pairs = ask(running.url, "POST", "/collections/c/points/search/matrix/pairs", body)[2]["result"]["pairs"]
    assert len(pairs) == 30
    offsets = ask(running.url, "POST", "/collections/c/points/search/matrix/offsets", body)[2]["result"]
    assert len(offsets["ids"]) == 10
    assert len(offsets["scores"]) == len(offsets["offsets_row"]) == 30


def test_a_real_qdrant_is_given_vectors_in_the_role_it_asks_for(running: Running, encoder: Any) -> None:
    item = {"data": "a cat", "data_type": "text", "model": "hashed-words", "options": {}}
    answer = ask(running.url, "POST", "/inference", {"inputs": [item], "inference": "search"})[2]
    np.testing.assert_allclose(answer["embeddings"][0], encoder.encode(["a cat"], kind="query")[0], atol=1e-6)
    assert answer["usage"]["models"]["hashed-words"]["tokens"] == 4
