"""firth's own routes: what is here, search with explanations, evaluation, the map, jobs."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from firth.arrays import unit
from firth.evaluate.retrieval import MEASURES, depth, measure
from firth.serve import openai
from firth.serve.batcher import Served
from firth.serve.layout import laid_out
from firth.serve.library import Shelf
from firth.serve.searching import Mode, Question, asked
from firth.serve.twin import twin_of
from firth.serve.wire import Call, Endpoint, Refused, Reply, checked_depth, reply
from firth.store import Hit, Record
from firth.store.paths import parsed, values_at

MOST_MAPPED = 5_000  # points of a map
MAPS_KEPT = 8
SNIPPET = 160  # characters of a document that the map shows
FIELDS_FROM = 200  # documents looked at to learn which payload fields there are


class Evaluate(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/v1/evaluate."""

    collection: str
    queries: dict[str, str]
    judgements: dict[str, dict[str, float]]
    measures: list[str] | None = None
    mode: Mode = "dense"
    exact: bool = False
    filter: dict[str, Any] | None = None


class Mapped(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/v1/map; `field` is the payload field that colours the points."""

    collection: str
    n: int = 2_000
    space: str = ""
    field: str | None = None
    filter: dict[str, Any] | None = None
    seed: int = 0


class Recall(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/v1/recall."""

    collection: str
    n: int = 100
    k: int = 10
    space: str = ""
    seed: int = 0


class Begin(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/v1/jobs: compact, check (does everything agree?), or base (see `twin`)."""

    kind: str
    collection: str


def failure(status: int, message: str, param: str | None) -> Any:
    """An error: what happened, and in which field."""
    return {"error": {"status": status, "message": message, "param": param}}


async def about(call: Call) -> Reply:
    """What is served here."""
    from firth import __version__

    library = call.server.library
    shelves = [library.get(name) for name in library.names]
    return reply(
        {
            "version": __version__,
            "model": None if library.served is None else openai.about(library.served),
            "base": None if library.base is None else library.base.name,
            "collections": [await call.work(_described, call, shelf) for shelf in shelves],
            "aliases": library.aliases,
            "readonly": library.readonly,
            "report": library.report is not None,
            "seconds": round(time.time() - call.server.began),
        }
    )


async def search(call: Call) -> Reply:
    """The best documents, with what each source said of them."""
    question = call.read(Question)
    shelf, hits, seconds = await asked(call, question)
    return reply({"collection": shelf.name, "hits": [_hit(hit, question) for hit in hits], "seconds": seconds})


async def document(call: Call) -> Reply:
    """One document, whole."""
    shelf = call.server.library.get(call.path["collection"])
    text = call.path["id"]
    wanted: list[int | str] = [int(text), text] if text.isdecimal() and len(text) < 19 else [text]
    found = await call.work(shelf.collection.get, wanted)
    if not found:
        raise Refused(404, f"no document {text[:200]!r} in {shelf.name!r}")
    record: Record = found[0]
    return reply({"id": record.id, "title": record.title, "text": record.text, "payload": record.payload})


async def facets(call: Call) -> Reply:
    """The most frequent values of a payload field."""
    shelf = call.server.library.get(call.path["collection"])
    found = await call.work(shelf.collection.facet, call.path["field"], limit=20)
    return reply({"values": [{"value": value, "count": count} for value, count in found]})


async def evaluated(call: Call) -> Reply:
    """How well searches answer judged queries, each measure with its 95 % interval and n."""
    body = call.read(Evaluate)
    measures = body.measures or list(MEASURES)
    k, n = depth(measures), len(body.queries)
    limits = call.server.limits
    if not 1 <= n <= limits.batch or k > limits.points:
        raise Refused(400, f"expected 1 to {limits.batch:,} queries and measures no deeper than {limits.points:,}")
    ranked: dict[str, dict[str, float]] = {}
    for name, text in body.queries.items():
        question = Question(
            body.collection, text, k=k, mode=body.mode, filter=body.filter, exact=body.exact, characters=0
        )
        _, hits, _ = await asked(call, question)
        ranked[name] = {str(hit.id): hit.score for hit in hits}
    scores = await call.work(measure, ranked, body.judgements, measures)
    intervals = await call.work(scores.intervals)
    return reply(
        {
            "measures": {name: asdict(interval) for name, interval in intervals.items()},
            "queries": len(scores.queries),
            "absent": scores.absent,
            "without_relevant": scores.without_relevant,
        }
    )


async def mapped(call: Call) -> Reply:
    """A sample of the documents on a plane, near ones near each other."""
    body = call.read(Mapped)
    shelf = call.server.library.get(body.collection)
    if not 1 <= body.n <= MOST_MAPPED or body.seed < 0:
        raise Refused(400, f"n: {body.n}: expected 1 to {MOST_MAPPED:,}", param="n")
    if body.space not in shelf.spaces:
        raise Refused(400, f"space: no vectors called {body.space[:80]!r}; there are {sorted(shelf.spaces)}")
    if body.filter is not None:
        checked_depth(body.filter, 2 * call.server.limits.depth + 2, "filter")
    path = None if body.field is None else parsed(body.field)
    records, places = await call.work(_laid_out, call, shelf, body)
    points = []
    for record, (x, y) in zip(records, places.tolist(), strict=True):
        values = [] if path is None else values_at(record.payload, path)
        shown = record.title or record.text[:SNIPPET]
        points.append({"id": record.id, "x": x, "y": y, "label": shown, "value": values[0] if values else None})
    return reply({"collection": shelf.name, "points": points, "of": await call.work(len, shelf.collection)})


async def recall(call: Call) -> Reply:
    """How much of the exact answer the index finds, asked with stored vectors."""
    body = call.read(Recall)
    shelf = call.server.library.get(body.collection)
    if not 1 <= body.n <= 1_000 or not 1 <= body.k <= 1_000 or body.seed < 0 or body.space not in shelf.spaces:
        raise Refused(400, "expected n and k from 1 to 1,000, and the name of vectors that are there")

    def compared() -> dict[str, Any]:
        records = shelf.collection.sample(body.n, seed=body.seed, with_vectors=True)
        rows = [record.vectors[body.space] for record in records if body.space in record.vectors]
        shares, index, exact = [], 0.0, 0.0
        for row in rows:
            begun = time.perf_counter()
            near = shelf.collection.search(row, body.k, vector=body.space, recall=shelf.recall)
            between = time.perf_counter()
            best = shelf.collection.search(row, body.k, vector=body.space, recall=1.0)
            index, exact = index + between - begun, exact + time.perf_counter() - between
            shares.append(len({hit.id for hit in near} & {hit.id for hit in best}) / max(1, len(best)))
        n = max(1, len(rows))
        mean = float(np.mean(shares)) if shares else None
        return {"recall": mean, "n": len(rows), "k": body.k, "index_ms": 1e3 * index / n, "exact_ms": 1e3 * exact / n}

    return reply(await call.work(compared))


async def begun(call: Call) -> Reply:
    """A job begun; ask after it by its id."""
    body = call.read(Begin)
    shelf = call.server.library.get(body.collection)
    if body.kind == "base":
        work: Any = twin_of(call.server.library, shelf)
    else:
        work = {"compact": shelf.collection.compact, "check": shelf.collection.check}.get(body.kind)
    if work is None:
        raise Refused(400, f"kind: {body.kind[:40]!r}: expected compact, check or base", param="kind")
    return reply(call.server.jobs.start(body.kind, shelf.name, work).as_json(), status=202)


async def jobs(call: Call) -> Reply:
    """The last jobs."""
    return reply({"jobs": [job.as_json() for job in call.server.jobs.all()]})


async def job(call: Call) -> Reply:
    """One job."""
    return reply(call.server.jobs.find(call.path["id"]).as_json())


async def report(call: Call) -> Reply:
    """The report of the build, a page that needs nothing else."""
    path: Path | None = call.server.library.report
    if path is None:
        raise Refused(404, "there is no report here; firth build writes one")
    return Reply(await call.work(path.read_bytes), kind="text/html; charset=utf-8")


def _hit(hit: Hit, question: Question) -> dict[str, Any]:
    text = hit.text if question.characters is None else hit.text[: max(0, question.characters)]
    found: dict[str, Any] = {
        "id": hit.id,
        "score": hit.score,
        "title": hit.title,
        "text": text,
        "cut": len(text) < len(hit.text),
        "payload": hit.payload,
    }
    return (
        {**found, "sources": {name: asdict(source) for name, source in hit.sources.items()}} if hit.sources else found
    )


def _described(call: Call, shelf: Shelf) -> dict[str, Any]:
    collection, n = shelf.collection, len(shelf.collection)
    indexed = collection.indexed()
    fields: dict[str, None] = {}
    for record in collection.scroll(limit=FIELDS_FROM).records:
        fields.update(dict.fromkeys(record.payload))
    try:
        asks: Served | None = call.server.library.model_of(shelf)
    except Refused:  # the page then searches by words
        asks = None
    embedded = shelf.embedded_by is not None or any(space.embeds is not None for space in shelf.spaces.values())
    return {
        "name": shelf.name,
        "model": asks.name if asks is not None and embedded else None,
        "documents": n,
        "vectors": [
            {
                "name": name,
                "dims": space.dims,
                "metric": space.metric,
                "codec": space.codec,
                "of_texts": space.embeds is not None or shelf.embedded_by is not None,
                "in_graph": indexed.get(name, 0),
                "recall": shelf.recall or space.index.recall,
            }
            for name, space in shelf.spaces.items()
        ],
        "texts_can_ask": asks is not None and embedded,
        "fields": sorted(fields)[:50],
        "declared": collection.declared,
    }


def _laid_out(call: Call, shelf: Shelf, body: Mapped) -> tuple[list[Record], Any]:
    """The sampled records and their places; kept while the collection has as many documents."""
    key = (shelf.name, body.n, body.space, repr(body.filter), body.seed, len(shelf.collection))
    maps = call.server.maps
    if key not in maps:
        records = [
            record
            for record in shelf.collection.sample(body.n, filter=body.filter, seed=body.seed, with_vectors=True)
            if body.space in record.vectors
        ]
        rows = np.stack([record.vectors[body.space] for record in records]) if records else np.empty((0, 1), np.float32)
        bare = [Record(r.id, r.text[:SNIPPET], r.title, r.payload) for r in records]
        while len(maps) >= MAPS_KEPT:
            maps.pop(next(iter(maps)), None)
        maps[key] = bare, laid_out(unit(rows), seed=body.seed)
    laid: tuple[list[Record], Any] = maps[key]
    return laid


OF = "/api/v1/collections/{collection}"
ENDPOINTS = [
    Endpoint("GET", "/api/v1", "read", about, failure, None, "What is served here"),
    Endpoint("POST", "/api/v1/search", "read", search, failure, Question, "Search with explanations"),
    Endpoint("POST", "/api/v1/evaluate", "read", evaluated, failure, Evaluate, "Measure searches on judged queries"),
    Endpoint("POST", "/api/v1/map", "read", mapped, failure, Mapped, "Documents on a plane"),
    Endpoint("POST", "/api/v1/recall", "read", recall, failure, Recall, "The index against the exact answer"),
    Endpoint("GET", "/api/v1/collections/{collection}/facets/{field:path}", "read", facets, failure, None, "Values"),
    Endpoint(
        "GET", "/api/v1/collections/{collection}/documents/{id:path}", "read", document, failure, None, "One document"
    ),
    Endpoint("POST", "/api/v1/jobs", "admin", begun, failure, Begin, "Begin a job"),
    Endpoint("GET", "/api/v1/jobs", "read", jobs, failure, None, "The last jobs"),
    Endpoint("GET", "/api/v1/jobs/{id}", "read", job, failure, None, "One job"),
    Endpoint("GET", "/api/v1/report", "read", report, failure, None, "The report of the build"),
]
