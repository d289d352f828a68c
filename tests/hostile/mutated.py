"""Requests that nobody should send: good ones for every route, what is made wrong in them, and how they are sent.

`storm` sends any number of them straight into the application; tests/hostile/test_server.py sends a few thousand,
benchmarks/bench_siege.py a hundred thousand.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from firth.arrays import Vectors, unit
from firth.serve import Server

STRANGE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    1e308,
    -0.0,
    1.5,
    "",
    "a",
    "\0",
    "\ud800",
    "ü" * 5000,
    "../../etc/passwd",
    "'; DROP TABLE rows; --",
    '" OR 1=1 --',
    "<script>alert(1)</script>",
    "%00",
    "a.b[].c",
    "[",
    "a[",
    '"',
    [],
    [[]],
    [None],
    {},
    {"": {}},
    {"must": {}},
    [1, "a", None],
    {"text": 1},
    {"text": "cat", "model": "bm25"},
    {"nearest": [1, 2]},
    [float("nan")],
    [float("inf")],
    {"id": {}},
    "2024-13-45T99:00:00Z",
    "firth_x",
    "*",
    "NOT AND OR NEAR(",
]


class Hashed:
    """An Encoder of eight dimensions that takes any text."""

    dims, fingerprint = 8, "hashed"

    def encode(self, texts: Any, *, kind: Any = None, dims: Any = None, progress: bool = False) -> Vectors:
        rows = [np.random.default_rng(abs(hash(text)) % 2**32).normal(size=8) for text in texts]
        return unit(np.array(rows, np.float32))


def valid() -> list[tuple[str, str, Any]]:
    """One good request for every route that takes a body, and some that do not: what is mutated."""
    filter_ = {"must": [{"key": "n", "range": {"gte": 1}}], "should": [{"key": "t", "match": {"any": ["a"]}}]}
    vector, of = [0.1] * 8, "/collections/c"
    nested = {"prefetch": {"query": vector, "limit": 3, "filter": filter_}, "query": {"fusion": "rrf"}}
    return [
        ("POST", "/v1/embeddings", {"model": "m", "input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"}),
        (
            "POST",
            "/v2/embed",
            {"model": "m", "texts": ["a"], "input_type": "search_query", "embedding_types": ["int8"]},
        ),
        ("POST", "/v2/rerank", {"model": "m", "query": "a", "documents": ["b", {"text": "c"}], "top_n": 1}),
        ("POST", "/embed", {"inputs": "a", "truncate": True}),
        ("POST", "/rerank", {"query": "a", "texts": ["b"], "raw_scores": True}),
        ("POST", "/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
        ("POST", "/tokenize", {"inputs": ["a"]}),
        ("POST", "/inference", {"inputs": [{"data": "a", "model": "m", "data_type": "text"}], "inference": "search"}),
        ("GET", "/v1/models/m", None),
        ("PUT", "/collections/made", {"vectors": {"size": 4, "distance": "Dot", "hnsw_config": {"m": 8}}}),
        ("PUT", "/collections/named", {"vectors": {"a": {"size": 4, "distance": "Cosine"}}}),
        ("DELETE", "/collections/made", None),
        ("PATCH", of, {"metadata": {"a": 1}}),
        ("PUT", of + "/index", {"field_name": "n", "field_schema": {"type": "integer"}}),
        ("DELETE", of + "/index/n", None),
        ("POST", "/collections/aliases", {"actions": [{"create_alias": {"alias_name": "z", "collection_name": "c"}}]}),
        ("PUT", of + "/points", {"points": [{"id": 7, "vector": vector, "payload": {"n": 1, "t": ["a", {"b": 2}]}}]}),
        ("PUT", of + "/points", {"batch": {"ids": [1, "x"], "vectors": [vector, vector], "payloads": [{}, {"n": 1}]}}),
        ("POST", of + "/points", {"ids": [1, "x"], "with_payload": ["n"], "with_vector": True}),
        ("GET", of + "/points/1", None),
        ("POST", of + "/points/delete", {"filter": {"must": [{"key": "n", "match": {"value": 12345}}]}}),
        ("POST", of + "/points/payload", {"payload": {"n": 2}, "points": [1]}),
        ("PUT", of + "/points/payload", {"payload": {"n": 2}, "filter": filter_}),
        ("POST", of + "/points/payload/delete", {"keys": ["t[].b"], "points": [1]}),
        ("PUT", of + "/points/vectors", {"points": [{"id": 1, "vector": vector}]}),
        ("POST", of + "/points/vectors/delete", {"vector": [""], "points": [55]}),
        ("POST", of + "/points/batch", {"operations": [{"set_payload": {"payload": {"z": 1}, "points": [1]}}]}),
        (
            "POST",
            of + "/points/scroll",
            {"filter": filter_, "limit": 3, "offset": 1, "with_payload": {"exclude": ["n"]}},
        ),
        ("POST", of + "/points/scroll", {"order_by": {"key": "n", "direction": "desc", "start_from": 3}}),
        ("POST", of + "/points/count", {"filter": filter_, "exact": True}),
        ("POST", of + "/facet", {"key": "t", "limit": 3, "filter": filter_}),
        ("POST", of + "/points/query", {"query": vector, "filter": filter_, "params": {"hnsw_ef": 64}, "limit": 3}),
        ("POST", of + "/points/query", nested),
        ("POST", of + "/points/query", {"query": {"recommend": {"positive": [1], "negative": [vector]}}}),
        (
            "POST",
            of + "/points/query",
            {"query": {"nearest": vector, "mmr": {"diversity": 0.5, "candidates_limit": 9}}},
        ),
        ("POST", of + "/points/query", {"query": {"text": "a cat", "model": "m"}, "score_threshold": 0.1}),
        ("POST", of + "/points/query", {**nested, "query": {"rrf": {"k": 3, "weights": [1.0]}}}),
        ("POST", of + "/points/query", {"query": {"sample": "random"}, "lookup_from": {"collection": "c"}}),
        ("POST", of + "/points/query/batch", {"searches": [{"query": vector}, nested]}),
        ("POST", of + "/points/query/groups", {"query": vector, "group_by": "t", "limit": 2, "group_size": 2}),
        ("POST", of + "/points/search", {"vector": {"name": "", "vector": vector}, "limit": 2}),
        ("POST", of + "/points/search/matrix/pairs", {"sample": 5, "limit": 2, "filter": filter_}),
        ("GET", of + "/snapshots", None),
        ("PUT", of + "/snapshots/recover", {"location": "file:///x/none.snapshot"}),
        ("DELETE", of + "/snapshots/none.snapshot", None),
        (
            "POST",
            "/api/v1/search",
            {"collection": "c", "query": "a", "mode": "hybrid", "filter": filter_, "explain": True},
        ),
        ("POST", "/api/v1/search", {"collection": "c", "vector": vector, "k": 3, "diversity": 0.3, "least": 0.1}),
        ("POST", "/api/v1/evaluate", {"collection": "c", "queries": {"a": "b"}, "judgements": {"a": {"1": 1}}}),
        ("POST", "/api/v1/map", {"collection": "c", "n": 20, "field": "t"}),
        ("POST", "/api/v1/recall", {"collection": "c", "n": 3, "k": 2}),
        ("POST", "/api/v1/jobs", {"kind": "check", "collection": "c"}),
        ("GET", "/api/v1/collections/c/facets/t", None),
        ("GET", "/api/v1/collections/c/documents/1", None),
        ("GET", "/openapi.json", None),
    ]


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list and dict in a body, with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places_in(value[key])


def mutated(rng: random.Random, body: Any) -> bytes:
    """A body with something wrong in it, or right after all."""
    body = copy.deepcopy(body)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = list(places_in(body))
        if not found or rng.random() < 0.05:
            body = copy.deepcopy(rng.choice(STRANGE))
            continue
        holder, key = rng.choice(found)
        how = rng.random()
        if how < 0.55:
            holder[key] = copy.deepcopy(rng.choice(STRANGE))
        elif how < 0.7:
            del holder[key]
        elif how < 0.8 and isinstance(holder, dict):
            holder[str(rng.choice(STRANGE))[:40]] = copy.deepcopy(rng.choice(STRANGE))
        elif how < 0.9:
            holder[key] = [holder[key]] * rng.choice((0, 1, 3, 40))
        else:
            for _ in range(rng.choice((3, 30, 120))):
                holder[key] = rng.choice(({"must": [holder[key]]}, [holder[key]], {"prefetch": holder[key]}))
                if not isinstance(holder[key], dict | list):
                    break
    raw = json.dumps(body).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:  # broken below JSON
        place = rng.randrange(len(raw) + 1)
        raw = (
            raw[:place] + rng.choice((b"", b"\xff", b"\0", b"}", b"NaN", b"[" * 5000)) + raw[place + rng.randrange(3) :]
        )
    return raw


async def asked(
    server: Server, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """A request straight into the application, as the HTTP server would hand it over."""
    plain, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(plain, errors="replace"),
        "raw_path": plain.encode("utf-8", "replace"),
        "root_path": "",
        "query_string": query.encode("utf-8", "replace"),
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 5),
        "headers": [
            (n.lower().encode("latin-1", "replace"), v.encode("latin-1", "replace")) for n, v in (headers or {}).items()
        ],
    }
    sent = [{"type": "http.request", "body": body, "more_body": False}]
    status, parts = 0, []

    async def receive() -> Any:
        return sent.pop() if sent else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await server.app(scope, receive, send)
    return status, b"".join(parts)


async def fill(server: Server) -> None:
    rng = np.random.default_rng(0)
    points = [
        {"id": i, "vector": rng.normal(size=8).tolist(), "payload": {"n": i, "t": ["a", "b"][i % 2]}}
        for i in range(100)
    ]
    points.append({"id": 500, "vector": {"text": "a cat", "model": "m"}, "payload": {"n": 0}})
    body = {"vectors": {"size": 8, "distance": "Cosine"}}
    assert (await asked(server, "PUT", "/collections/c", json.dumps(body).encode()))[0] == 200
    assert (await asked(server, "PUT", "/collections/c/points", json.dumps({"points": points}).encode()))[0] == 200


async def storm(server: Server, requests: int, seed: int, watch: Callable[[int], None] | None = None) -> dict[int, int]:
    """Mutated requests one after the other, over a fresh collection; how many were answered with which status.

    Args:
        watch: told the number of requests after each thousand.

    Raises:
        AssertionError: a 5xx, a traceback, or the folder's name in an answer; names the request.
    """
    for name in server.library.names:  # of an earlier storm
        await asked(server, "DELETE", f"/collections/{quote(name, safe='')}", b"")
    await fill(server)
    seen: dict[int, int] = {}
    rng, good = random.Random(seed), valid()
    for method, path, body in good:  # as they stand they are understood
        status, answer = await asked(server, method, path, b"" if body is None else json.dumps(body).encode())
        assert status in (200, 202, 404) or path == "/tokenize", (method, path, answer)
    for turn in range(requests):
        method, path, body = rng.choice(good)
        if rng.random() < 0.12:
            parts = path.split("/")
            parts[rng.randrange(1, len(parts))] = quote(str(rng.choice(STRANGE)).encode("utf-8", "replace"), safe="")
            path = "/".join(parts)
        raw = b"" if body is None else mutated(rng, body)
        status, answer = await asked(server, method, path, raw)
        seen[status] = seen.get(status, 0) + 1
        assert status < 500, (seed, turn, method, path, raw[:2000], answer)
        assert b"Traceback" not in answer
        assert str(server.library.root).encode() not in answer, (method, path, raw[:500], answer)
        if not server.library.has("c"):
            await fill(server)
        if watch is not None and turn % 1000 == 999:
            watch(turn + 1)
    return seen
