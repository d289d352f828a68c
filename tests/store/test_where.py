"""What a filter finds: by Qdrant's own implementation where there is one, by hand where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firth.errors import DataError, FilterError
from firth.store import Collection

EXAMPLES = int(os.environ.get("FIRTH_EXAMPLES", "250"))  # more of them: FIRTH_EXAMPLES=10000 pytest …

PAYLOADS: list[dict[str, Any]] = [
    {"lang": "de", "year": 2020, "tags": ["a", "b"], "draft": True, "when": "2024-05-01T10:00:00Z"},
    {"lang": "en", "year": 2021.5, "tags": [], "draft": False, "when": "2024-05-01T12:00:00+02:00"},
    {"lang": "en", "year": "2020", "tags": ["b", None], "draft": 1, "when": "yesterday"},
    {"lang": None, "tags": "a", "rows": [{"n": 1, "c": "red"}, {"n": 2, "c": "blue"}]},
    {"year": 2020.0, "tags": {"a": 1}, "rows": [{"n": 1, "c": "blue"}, 7, "x"], "author": {"name": "Ann Lee"}},
    {"lang": ["de", "fr"], "year": [1999, 2030], "rows": {"n": 1}, "author": {"name": ["Bo", "Cy"]}},
    {"lang": "The_Quick brown fox", "author": None, "here": {"lat": 52.52, "lon": 13.405}},
    {"lang": "the quick", "here": [{"lat": 51.5, "lon": -0.12}, {"lat": 0, "lon": 179.5}], "a.b": 5, "year": True},
    {},
]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    with Collection.create(tmp_path_factory.mktemp("where") / "c", dims=2) as made:
        made.upsert(range(len(PAYLOADS)), [""] * len(PAYLOADS), PAYLOADS, vectors=np.ones((len(PAYLOADS), 2)))
        yield made


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """The same, with every field declared as every kind: half of the rows came before and half after."""
    with Collection.create(tmp_path_factory.mktemp("where") / "d", dims=2) as made:
        made.upsert(range(5), [""] * 5, PAYLOADS[:5], vectors=np.ones((5, 2)))
        for field in ("lang", "year", "tags", "draft", "when", "rows[].n", "author.name"):
            for kind in ("keyword", "number", "time"):
                made.declare(field, kind)
        rest = range(5, len(PAYLOADS))
        made.upsert(rest, [""] * len(rest), PAYLOADS[5:], vectors=np.ones((len(rest), 2)))
        yield made


@pytest.fixture(scope="module")
def oracle() -> Iterator[Any]:
    qdrant = pytest.importorskip("qdrant_client")
    client = qdrant.QdrantClient(":memory:")
    models = qdrant.models
    client.create_collection("c", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE))
    points = [models.PointStruct(id=i, vector=[1.0, 1.0], payload=p) for i, p in enumerate(PAYLOADS)]
    client.upsert("c", points)
    yield lambda f: [p.id for p in client.scroll("c", scroll_filter=models.Filter.model_validate(f), limit=99)[0]]
    client.close()


KEYS = st.one_of(
    st.sampled_from(
        ["lang", "year", "tags", "tags[]", "tags[1]", "draft", "when", "here", '"a.b"', "absent", "absent.b"]
    ),
    st.sampled_from(["rows", "rows[].n", "rows[].c", "rows.n", "rows[0].n", "author", "author.name", "author.name[]"]),
)
WORDS = st.sampled_from(["de", "en", "fr", "a", "b", "red", "blue", "2020", "Ann Lee", "Bo", "the quick", "quick", ""])
NUMBERS = st.sampled_from([0, 1, 2, 2020, 1999, 7, 5])
BOUND = st.one_of(NUMBERS, st.sampled_from([1.5, 2020.5, -1.0]))
TIMES = st.sampled_from(["2024-05-01T10:00:00Z", "2024-05-01", "2024-05-01 11:00:00", "2025-01-01T00:00:00.5+01:00"])
POINTS = st.sampled_from([{"lat": 52.0, "lon": 13.0}, {"lat": 60.0, "lon": -10.0}, {"lat": -10.0, "lon": 170.0}])


def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), values, min_size=1, max_size=2)


MATCH = st.one_of(
    st.one_of(WORDS, NUMBERS, st.booleans()).map(lambda v: {"value": v}),
    st.lists(WORDS, max_size=3).map(lambda v: {"any": v}),
    st.lists(NUMBERS, min_size=1, max_size=3).map(lambda v: {"any": v}),
    st.lists(WORDS, max_size=3).map(lambda v: {"except": v}),
    st.lists(NUMBERS, min_size=1, max_size=3).map(lambda v: {"except": v}),
    st.builds(lambda kind, v: {kind: v}, st.sampled_from(["text", "text_any", "phrase", "prefix"]), WORDS),
)
BOXES = st.builds(
    lambda top, bottom, left, right: {
        "top_left": {"lat": top, "lon": left},
        "bottom_right": {"lat": bottom, "lon": right},
    },
    st.sampled_from([55.0, 80.0]),
    st.sampled_from([-5.0, 50.0]),
    st.sampled_from([-10.0, 170.0]),
    st.sampled_from([20.0, -170.0]),
)
FIELD = st.one_of(
    st.builds(lambda k, m: {"key": k, "match": m}, KEYS, MATCH),
    st.builds(lambda k, r: {"key": k, "range": r}, KEYS, st.one_of(bounds(BOUND), bounds(TIMES))),
    st.builds(lambda k, c: {"key": k, "values_count": c}, KEYS, bounds(st.integers(0, 3))),
    st.builds(
        lambda k, p, r: {"key": k, "geo_radius": {"center": p, "radius": r}}, KEYS, POINTS, st.sampled_from([1e5, 2e6])
    ),
    st.builds(lambda k, b: {"key": k, "geo_bounding_box": b}, KEYS, BOXES),
    st.builds(lambda n, k: {n: {"key": k}}, st.sampled_from(["is_empty", "is_null"]), KEYS),
)
LEAF = st.one_of(FIELD, st.lists(st.integers(0, 9), max_size=3).map(lambda ids: {"has_id": ids}))


def clauses(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(conditions, min_size=0, max_size=3)
    least = st.builds(lambda n, c: {"min_count": n, "conditions": c}, st.integers(1, 2), several)
    return st.fixed_dictionaries(
        {}, optional={"must": several, "should": several, "must_not": several, "min_should": least}
    )


NESTED = st.builds(
    lambda key, inner: {"nested": {"key": key, "filter": inner}},
    st.sampled_from(["rows", "rows[]", "tags", "here"]),
    clauses(st.builds(lambda k, m: {"key": k, "match": m}, st.sampled_from(["n", "c", "lat"]), MATCH)),
)
FILTER = clauses(st.recursive(st.one_of(LEAF, NESTED), clauses, max_leaves=4))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(filter_=FILTER)
def test_a_filter_finds_what_qdrants_own_implementation_finds(
    filter_: dict[str, Any], collection: Collection, declared: Collection, oracle: Any
) -> None:
    expected = oracle(filter_)
    assert [record.id for record in collection.scroll(filter_).records] == expected
    assert [record.id for record in declared.scroll(filter_).records] == expected


@pytest.mark.parametrize(
    ("filter_", "ids"),
    [
        ({"lang": "de"}, [0, 5]),
        ({"lang": {"$eq": "de"}, "year": 2030}, [5]),
        ({"year": 2020}, [0, 4]),  # in Mongo 2020 and 2020.0 are equal
        ({"year": {"$gt": 2000, "$lt": 2021}}, [0, 4]),
        ({"lang": {"$in": ["fr", "en"]}}, [1, 2, 5]),
        ({"tags": {"$in": ["a", 7]}, "draft": True}, [0]),
        ({"lang": {"$nin": ["fr", "en"]}}, [0, 3, 4, 6, 7, 8]),
        ({"draft": {"$ne": True}}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"draft": False}, [1]),
        ({"author": {"$exists": True}}, [4, 5]),
        ({"author": {"$exists": False}, "lang": "en"}, [1, 2]),
        ({"lang": None}, [3]),
        ({"tags": {"$contains": "b"}}, [0, 2]),
        ({"$or": [{"lang": "fr"}, {"draft": False}]}, [1, 5]),
        ({"$and": [{"lang": "de"}, {"$not": {"year": 2020}}]}, [5]),
        ({"$nor": [{"lang": ["de"][0]}, {"lang": "en"}]}, [3, 4, 6, 7, 8]),
        ({"author.name": "Ann Lee"}, [4]),
        ({"when": {"$gte": "2024-05-01T10:00:00Z"}}, [0, 1]),
        ({"key": "lang", "match": {"substring": "quick"}}, [7]),
        ({"has_id": [3, 99]}, [3]),
        ({"has_vector": "absent"}, []),
        ({"must": [{"has_vector": ""}], "must_not": {"key": "lang", "match": {"value": "en"}}}, [0, 3, 4, 5, 6, 7, 8]),
        ({}, list(range(9))),
    ],
)
def test_sugar_and_the_canonical_language_find_what_they_say(
    filter_: dict[str, Any], ids: list[int], collection: Collection, declared: Collection
) -> None:
    assert [record.id for record in collection.scroll(filter_).records] == ids
    assert [record.id for record in declared.scroll(filter_).records] == ids
    assert declared.count(filter_) == len(ids)


def test_a_polygon_holds_what_is_inside_it_and_outside_of_its_holes(collection: Collection) -> None:
    def square(low: float, high: float) -> dict[str, Any]:
        corners = [(low, low), (low, high), (high, high), (high, low), (low, low)]
        return {"points": [{"lat": lat + 40, "lon": lon} for lat, lon in corners]}

    wide = {"key": "here", "geo_polygon": {"exterior": square(-1, 20)}}
    holed = {"key": "here", "geo_polygon": {"exterior": square(-1, 20), "interiors": [square(12, 14)]}}
    assert [record.id for record in collection.scroll(wide).records] == [6, 7]
    assert [record.id for record in collection.scroll(holed).records] == [7]


@pytest.mark.parametrize(
    ("filter_", "says"),
    [
        ({"must": [{"key": "a", "match": {"valeu": 1}}]}, r"filter\.must\[0\]\.match: 'valeu' is not known here"),
        ({"must": [{"key": "a"}]}, "expected one of match"),
        ({"must": [{"key": "a", "match": {"value": None}}]}, "expected a string or a finite number, got None"),
        ({"must": [{"key": "a", "match": {"any": "abc"}}]}, "expected a list"),
        ({"must": [{"key": "a", "match": {"any": [float("nan")]}}]}, "finite"),
        ({"must": [{"key": "a", "range": {"gt": "soon"}}]}, "expected a time like"),
        ({"must": [{"key": "a", "range": {"gt": True}}]}, "expected a number or a time"),
        ({"must": [{"key": "a..b", "match": {"value": 1}}]}, "not a path"),
        ({"must": [{"key": "", "match": {"value": 1}}]}, "not a path"),
        ({"must": [{"key": 7, "match": {"value": 1}}]}, "expected the name of a payload field"),
        ({"must": [{"key": "a", "geo_radius": {"center": {"lat": 1}, "radius": 1}}]}, "expected a point"),
        ({"must": [{"slice": {"total": 2, "index": 0}}]}, "expected key, nested"),
        ({"must": "x"}, "filter.must: expected a list"),
        ({"must": [], "mast": []}, "'mast' is not known here"),
        ({"min_should": {"conditions": [], "min_count": 0}}, "at least 1"),
        ({"a": {"$regex": "x"}}, r"filter\.a\.\$regex: unknown operator"),
        ({"$xor": []}, r"\$xor: unknown"),
        ({"a": [1]}, "expected a string, a number"),
        ({"a": "x\0"}, "NUL"),
        ("lang = 'de'", "expected a dict, got str"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(filter_: Any, says: str, collection: Collection) -> None:
    with pytest.raises(FilterError, match=says):
        collection.search(np.ones(2), filter=filter_)


def test_a_filter_is_not_deeper_than_the_limit(collection: Collection) -> None:
    filter_: dict[str, Any] = {"must": [{"has_id": [1]}]}
    for _ in range(25):
        filter_ = {"must": [filter_]}
    with pytest.raises(FilterError, match="more than 20 deep"):
        collection.count(filter_)


@pytest.mark.parametrize("name", ["a' OR '1'='1", 'x"); DROP TABLE rows; --', "naïve-ключ 键", "a b", "$", "x'y"])
def test_a_field_may_have_any_name_and_none_of_them_is_sql(name: str, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", dims=2) as collection:
        collection.upsert([1, 2], ["", ""], [{name: "v"}, {}], vectors=np.ones((2, 2)))
        condition = {"key": f'"{name}"', "match": {"value": "v"}}
        if '"' in name:
            with pytest.raises(FilterError, match="not a path"):
                collection.count({"must": [condition]})
        else:
            assert [record.id for record in collection.scroll({"must": [condition]}).records] == [1]
        assert collection.count() == 2


@pytest.mark.parametrize("value", ["' OR 1=1 --", "\\u0000", "\x01", "%", "_", "🙂", "a" * 100_000])
def test_any_string_is_a_value_and_matches_only_itself(value: str, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", dims=2) as collection:
        collection.upsert([1, 2], ["", ""], [{"k": value}, {"k": "other"}], vectors=np.ones((2, 2)))
        collection.declare("k", "keyword")
        assert [record.id for record in collection.scroll({"k": value}).records] == [1]
        assert collection.scroll({"k": {"$in": [value]}}).records[0].payload == {"k": value}


def test_half_a_surrogate_pair_in_a_filter_is_refused(collection: Collection) -> None:
    with pytest.raises(DataError, match="surrogate"):
        collection.count({"lang": "\ud800"})


def test_payloads_change_in_place_and_declared_fields_follow(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", dims=2) as collection:
        collection.declare("lang", "keyword")
        collection.upsert([1, 2], ["", ""], [{"lang": "de", "n": 1}, {"lang": "en"}], vectors=np.ones((2, 2)))
        assert collection.set_payload({"lang": "fr"}, [1, 99]) == 1
        assert collection.get([1])[0].payload == {"lang": "fr", "n": 1}
        assert collection.count({"lang": "de"}) == 0
        assert collection.set_payload({"x": 1}, filter={"lang": {"$in": ["fr", "en"]}}, replace=True) == 2
        assert [record.payload for record in collection] == [{"x": 1}, {"x": 1}]
        assert collection.count({"lang": "fr"}) == 0
        assert collection.search(np.ones(2), filter={"x": 1})[0].payload == {"x": 1}


def test_a_declared_field_is_asked_and_not_the_payloads(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", dims=2) as collection:
        collection.upsert([1], [""], [{"n": 5}], vectors=np.ones((1, 2)))
        collection.declare("n", "number")
        with collection._ground.write() as moment:  # make the two disagree, to see which one answers
            moment.db.execute("UPDATE entries SET value = 6")
        assert collection.count({"n": 6}) == 1
        assert collection.undeclare("n")
        assert collection.count({"n": 6}) == 0
        assert not collection.undeclare("n")


def test_a_filtered_search_is_the_search_of_the_filtered(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.normal(size=(3000, 8)).astype(np.float32)
    payloads = [{"n": i, "odd": bool(i % 2)} for i in range(3000)]
    queries = rng.normal(size=(5, 8)).astype(np.float32)
    with Collection.create(tmp_path / "c", dims=8) as collection:
        collection.upsert(range(3000), [""] * 3000, payloads, vectors=rows)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for filter_, allowed in [
            ({"odd": True}, np.arange(1, 3000, 2)),
            ({"n": {"$lt": 40}}, np.arange(40)),
            ({"n": {"$lt": 4}}, np.arange(4)),
            ({"n": -1}, np.arange(0)),
        ]:
            found = collection.search_many(queries, k=10, filter=filter_)
            for query, hits in zip(queries, found, strict=True):
                order = allowed[np.argsort(-(unit[allowed] @ query))][:10]
                assert [hit.id for hit in hits] == order.tolist()
