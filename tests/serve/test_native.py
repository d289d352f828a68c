"""firth's own routes: search with explanations, evaluation, the map, recall, jobs, the description of all routes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from asking import ask
from firth.arrays import unit
from firth.serve import Running
from firth.serve.layout import laid_out
from firth.store import Collection

TEXTS = ["the cat sat on the mat", "dogs bark at night", "stocks fell on monday", "a cat and a dog"]


@pytest.fixture
def filled(serving: Any, encoder: Any, tmp_path: Any) -> Running:
    """A server over a collection that the model embedded."""
    root = tmp_path / "served"
    with Collection.create(root / "collections" / "notes", encoder=encoder) as made:
        titles = [f"Note {i}" for i in range(4)]
        made.upsert([1, 2, "three", 4], TEXTS, [{"lang": "en", "n": i} for i in range(4)], titles=titles)
    running: Running = serving(encoder, root=root)
    return running


def test_a_search_by_text_vector_or_document_finds_the_nearest(filled: Running, encoder: Any) -> None:
    def found(**question: Any) -> Any:
        status, _, answer = ask(filled.url, "POST", "/api/v1/search", {"collection": "notes", **question})
        assert status == 200, answer
        return answer["hits"]

    (best, *_) = found(query="dogs at night")
    assert (best["id"], best["title"], best["text"], best["payload"]) == (2, "Note 1", TEXTS[1], {"lang": "en", "n": 1})
    row = encoder.encode([f"Note 2 {TEXTS[2]}"], kind="document")[0].tolist()
    assert found(vector=row, k=1)[0]["id"] == "three"
    near = found(id=1, k=3)
    assert 1 not in [hit["id"] for hit in near]
    rows = encoder.encode([f"Note {i} {text}" for i, text in enumerate(TEXTS)], kind="document")
    assert near[0]["id"] == [1, 2, "three", 4][1 + int(np.argmax(rows[1:] @ rows[0]))]
    assert {hit["id"] for hit in found(query="cats", mode="words")} == {1, 4}
    both = found(query="dogs", mode="hybrid", explain=True)
    assert both[0]["sources"]["bm25"]["rank"] >= 1
    assert found(query="dogs", filter={"n": {"$lt": 1}})[0]["id"] == 1
    assert found(query="dogs", characters=4)[0]["cut"]


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ({}, "one of query, vector and id"),
        ({"query": "a", "id": 1}, "one of query, vector and id"),
        ({"query": "a", "k": 0}, "k: 0"),
        ({"query": "a", "wibble": 1}, "wibble"),
        ({"query": "a", "space": "other"}, "other"),
        ({"id": 99}, "no document"),
        ({"vector": [1, 2], "mode": "words"}, "need a query in words"),
        ({"query": "a", "filter": {"must": [{"key": "a", "match": {"valeu": 1}}]}}, "valeu"),
        ({"query": "a", "mode": "psychic"}, "psychic"),
    ],
)
def test_a_question_that_cannot_be_answered_is_told_why(filled: Running, question: Any, named: str) -> None:
    status, _, answer = ask(filled.url, "POST", "/api/v1/search", {"collection": "notes", **question})
    assert status in (400, 404)
    assert named in answer["error"]["message"]


def test_qdrant_clients_see_title_and_text_of_a_collection_that_they_did_not_make(filled: Running) -> None:
    body = {"query": {"text": "dogs at night", "model": "hashed-words"}, "limit": 1, "with_payload": True}
    (point,) = ask(filled.url, "POST", "/collections/notes/points/query", body)[2]["result"]["points"]
    assert point["payload"] == {"title": "Note 1", "text": TEXTS[1], "lang": "en", "n": 1}
    upserted = {"points": [{"id": 9, "vector": {"text": "a new note", "model": "hashed-words"}, "payload": {"n": 9}}]}
    assert ask(filled.url, "PUT", "/collections/notes/points", upserted)[0] == 200
    hits = ask(filled.url, "POST", "/api/v1/search", {"collection": "notes", "query": "a new note", "k": 1})[2]["hits"]
    assert (hits[0]["id"], hits[0]["text"], hits[0]["payload"]) == (9, "a new note", {"n": 9})


def test_evaluation_scores_the_searches_with_intervals(filled: Running) -> None:
    queries = {"a": "dogs bark at night", "b": "stocks fell on monday"}
    body = {
        "collection": "notes",
        "queries": queries,
        "judgements": {"a": {"2": 1}, "b": {"1": 1}},
        "measures": ["hit@1"],
    }
    answer = ask(filled.url, "POST", "/api/v1/evaluate", body)[2]
    assert answer["measures"]["hit@1"]["value"] == 0.5
    assert answer["queries"] == 2
    assert ask(filled.url, "POST", "/api/v1/evaluate", {**body, "measures": ["wibble"]})[0] == 400


def test_the_map_shows_each_document_once_with_its_colour(filled: Running) -> None:
    answer = ask(filled.url, "POST", "/api/v1/map", {"collection": "notes", "field": "lang"})[2]
    assert sorted(str(point["id"]) for point in answer["points"]) == ["1", "2", "4", "three"]
    assert {point["value"] for point in answer["points"]} == {"en"}
    again = ask(filled.url, "POST", "/api/v1/map", {"collection": "notes"})[2]
    assert [point["x"] for point in again["points"]] == [point["x"] for point in answer["points"]]


def test_the_layout_keeps_clusters_apart() -> None:
    rng = np.random.default_rng(0)
    centres, noise = rng.normal(size=(4, 32)), rng.normal(size=(240, 32))
    rows = unit((np.repeat(centres, 60, axis=0) + 0.3 * noise).astype(np.float32))
    places = laid_out(rows, seed=3)
    group = np.repeat(np.arange(4), 60)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (group[apart.argmin(axis=1)] == group).mean() > 0.98
    np.testing.assert_array_equal(places, laid_out(rows, seed=3))
    assert laid_out(rows[:1]).shape == (1, 2)
    assert np.isfinite(laid_out(np.ones((40, 1), np.float32))).all()


def test_recall_and_jobs_tell_that_all_is_well(filled: Running) -> None:
    answer = ask(filled.url, "POST", "/api/v1/recall", {"collection": "notes", "n": 4, "k": 2})[2]
    assert (answer["recall"], answer["n"]) == (1.0, 4)
    status, _, job = ask(filled.url, "POST", "/api/v1/jobs", {"kind": "check", "collection": "notes"})
    assert status == 202
    deadline = time.monotonic() + 20
    while job["state"] not in ("done", "failed") and time.monotonic() < deadline:
        time.sleep(0.05)
        job = ask(filled.url, "GET", f"/api/v1/jobs/{job['id']}")[2]
    assert (job["state"], job["result"]) == ("done", [])
    assert ask(filled.url, "GET", "/api/v1/jobs")[2]["jobs"][0]["id"] == job["id"]


def test_every_route_is_described(filled: Running) -> None:
    document = ask(filled.url, "GET", "/openapi.json")[2]
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert told == {(e.method, e.path.replace(":path", "")) for e in filled.server.endpoints}
    body = document["paths"]["/api/v1/search"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "query" in document["components"]["schemas"][body["$ref"].rsplit("/", 1)[1]]["properties"]


def test_a_program_gets_the_version_and_a_browser_the_page(filled: Running) -> None:
    assert ask(filled.url, "GET", "/")[2]["version"] == "1.20.0"
    status, headers, page = ask(filled.url, "GET", "/", None, {"accept": "text/html,*/*"})
    assert (status, page.startswith(b"<!doctype html>")) == (200, True)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert ask(filled.url, "GET", "/web/..%2fapp.py")[0] == 404
