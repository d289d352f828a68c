"""Qdrant's routes that search: query, its batches and groups, the distance matrix, and the older search.

A prefetch is searched first, its filter joined to the ones around it; what is above ranks what it found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from firth.arrays import Vectors, unit
from firth.serve.library import Shelf
from firth.serve.qdrant.asked import Asked, Scored, few, metric_of, numbers, understood, vector_of
from firth.serve.qdrant.bodies import (
    Groups,
    Matrix,
    Params,
    Queries,
    Query,
    Search,
    Searches,
)
from firth.serve.qdrant.fusion import by_distribution, by_rank
from firth.serve.qdrant.records import ordered
from firth.serve.qdrant.shapes import (
    among,
    answered,
    both,
    checked_filter,
    checked_limit,
    failure,
    refuse_shards,
    shelf_of,
    shown,
    without,
)
from firth.serve.qdrant.texts import Spoken, Words
from firth.serve.searching import sample
from firth.serve.wire import Call, Endpoint, Refused, Reply, unsupported
from firth.store import Key
from firth.store.hybrid import spread
from firth.store.paths import parsed, values_at
from firth.store.space import similarity

MOST_SAMPLED = 1_000  # points of a distance matrix
UNRANKED = 1.0  # score of points that no vector or word was asked for, as Qdrant gives it
WIDE = 1_000  # points that are looked at for groups first
WIDEST = 10_000  # points that are looked at for groups


async def queried(call: Call) -> Reply:
    """The best points by one query."""
    body, shelf = call.read(Query), shelf_of(call)
    asked, usage = await understood(call, shelf, body)
    begun = time.perf_counter()
    points = await call.work(_answered, shelf, asked, body)
    call.server.metrics.searching.labels(shelf.name).observe(time.perf_counter() - begun)
    _sample(call, shelf, asked, points)
    call.rows = len(points)
    return answered(call, {"points": points}, usage=usage)


async def queried_together(call: Call) -> Reply:
    """Several queries, one answer each."""
    bodies, shelf, results = call.read(Queries).searches, shelf_of(call), []
    few(call, len(bodies), "searches")
    queries = [await understood(call, shelf, body) for body in bodies]
    for body, (asked, _) in zip(bodies, queries, strict=True):
        results.append({"points": await call.work(_answered, shelf, asked, body)})
    return answered(call, results)


async def grouped(call: Call) -> Reply:
    """The best groups of points by the value of a payload field."""
    body, shelf = call.read(Groups), shelf_of(call)
    unsupported({"with_lookup": body.with_lookup, "offset": body.offset})
    if not body.group_by:
        raise Refused(400, "group_by: expected a payload field", param="group_by")
    limit, size = checked_limit(call, body.limit, 10), checked_limit(call, body.group_size, 3, "group_size")
    asked, usage = await understood(call, shelf, body)
    groups = await call.work(_groups, shelf, asked, body, limit, size)
    return answered(call, {"groups": groups}, usage=usage)


async def searched(call: Call) -> Reply:
    """The older search by one vector."""
    body, shelf = call.read(Search), shelf_of(call)
    asked, new = await _older(call, shelf, body)
    return answered(call, await call.work(_answered, shelf, asked, new))


async def searched_together(call: Call) -> Reply:
    """Several of the older searches."""
    bodies, shelf, results = call.read(Searches).searches, shelf_of(call), []
    few(call, len(bodies), "searches")
    for body in bodies:
        asked, new = await _older(call, shelf, body)
        results.append(await call.work(_answered, shelf, asked, new))
    return answered(call, results)


async def pairs(call: Call) -> Reply:
    """The nearest of a random sample to each of it, as pairs."""
    ids, near = await _matrix(call)
    found = [{"a": a, "b": hit.id, "score": hit.score} for a, hits in zip(ids, near, strict=True) for hit in hits]
    return answered(call, {"pairs": found})


async def offsets(call: Call) -> Reply:
    """The same as rows, columns and scores of a sparse matrix."""
    ids, near = await _matrix(call)
    place = {id_: i for i, id_ in enumerate(ids)}
    lines = [(row, place[hit.id], hit.score) for row, hits in enumerate(near) for hit in hits]
    columns: list[list[Any]] = [list(column) for column in zip(*lines, strict=True)] or [[], [], []]
    return answered(call, {"offsets_row": columns[0], "offsets_col": columns[1], "scores": columns[2], "ids": ids})


def _sample(call: Call, shelf: Shelf, asked: Asked, points: list[dict[str, Any]]) -> None:
    """Now and then a plain search is repeated exactly, for the recall that /metrics tells."""
    if asked.kind != "nearest" or asked.prefetch or asked.offset or asked.threshold is not None or asked.params.exact:
        return
    wanted = asked.about["nearest"]
    if isinstance(wanted, Spoken | list) and asked.about.get("mmr") is None:
        row, _ = vector_of(asked, wanted)
        sample(call.server, shelf, row, [point["id"] for point in points], asked.limit, asked.filter, asked.using)


async def _older(call: Call, shelf: Shelf, body: Search) -> tuple[Asked, Query]:
    vector, using = body.vector, None
    if isinstance(vector, dict) and set(vector) == {"name", "vector"}:
        vector, using = vector["vector"], vector["name"]
        if not isinstance(using, str):
            raise Refused(400, "vector.name: expected a string", param="vector")
    new = Query(
        query={"nearest": vector},
        using=using,
        filter=body.filter,
        params=body.params,
        score_threshold=body.score_threshold,
        limit=body.limit,
        offset=body.offset,
        with_payload=False if body.with_payload is None else body.with_payload,
        with_vector=body.with_vector,
        shard_key=body.shard_key,
    )
    return (await understood(call, shelf, new))[0], new


def _answered(shelf: Shelf, asked: Asked, body: Query) -> list[dict[str, Any]]:
    """The points that go back."""
    return _shown(shelf, found(shelf, asked), body.with_payload, body.with_vector)


def _shown(shelf: Shelf, scored: list[Scored], with_payload: Any, with_vector: Any) -> list[dict[str, Any]]:
    wanted = [line.id for line in scored]
    records = {record.id: record for record in shelf.collection.get(wanted, with_vectors=bool(with_vector))}
    points = []
    for line in scored:
        if line.id in records:  # else it was removed a moment ago
            point = shown(shelf, records[line.id], with_payload, with_vector)
            more = {} if line.value is None else {"order_value": line.value}
            points.append({**point, "version": 0, "score": line.score, **more})
    return points


def found(shelf: Shelf, asked: Asked) -> list[Scored]:
    """The answer to a query, best first."""
    if asked.prefetch:
        sources = [found(shelf, part) for part in asked.prefetch]
        if asked.kind in ("fusion", "rrf"):
            return _fused(asked, sources)
        ids = list(dict.fromkeys(line.id for source in sources for line in source))
        if not ids:
            return []
        asked.filter = among(asked.filter, ids)
    return _WAYS[asked.kind](shelf, asked)


def _fused(asked: Asked, sources: list[list[Scored]]) -> list[Scored]:
    lists = [[(line.id, line.score) for line in source] for source in sources]
    if asked.kind == "rrf":
        about = asked.about["rrf"]
        if not isinstance(about, dict) or set(about) - {"k", "weights"}:
            raise Refused(400, "query.rrf: expected k and weights", param="query")
        k, weights = about.get("k"), about.get("weights")
        if k is not None and (not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= WIDEST):
            raise Refused(400, f"query.rrf.k: expected a whole number from 1 to {WIDEST:,}", param="query")
        if weights is not None and not numbers(weights, len(lists)):
            raise Refused(400, "query.rrf.weights: expected a number for each prefetch", param="query")
        scores = by_rank(lists, k=k or 2, weights=weights)
    elif asked.about["fusion"] == "rrf":
        scores = by_rank(lists)
    elif asked.about["fusion"] == "dbsf":
        scores = by_distribution(lists)
    else:
        raise Refused(400, f"query.fusion: {asked.about['fusion']!r:.40}: expected rrf or dbsf", param="query")
    best = [Scored(id_, score) for id_, score in scores[: asked.limit + asked.offset]]
    if asked.threshold is not None:
        best = [line for line in best if line.score >= asked.threshold]
    return best[asked.offset :]


def _everything(shelf: Shelf, asked: Asked) -> list[Scored]:
    page = shelf.collection.scroll(asked.filter, limit=asked.limit + asked.offset)
    return [Scored(record.id, UNRANKED) for record in page.records[asked.offset :]]


def _nearest(shelf: Shelf, asked: Asked) -> list[Scored]:
    wanted = asked.about["nearest"]
    if isinstance(wanted, Words):
        return _by_words(shelf, asked, wanted)
    row, mentioned = vector_of(asked, wanted)
    asked.filter = without(asked.filter, mentioned)
    if asked.about.get("mmr") is not None:
        return _diverse(shelf, asked, row)
    return _ranked(shelf, asked, row, asked.limit + asked.offset)[asked.offset :]


def _ranked(shelf: Shelf, asked: Asked, row: Vectors, limit: int) -> list[Scored]:
    """The nearest to a vector, scored as Qdrant does: for Euclid by the distance itself."""
    euclid = metric_of(shelf, asked.using) == "euclid"
    hits = shelf.collection.search(
        row,
        limit,
        filter=asked.filter,
        vector=asked.using,
        ef=None if asked.params.exact else asked.params.hnsw_ef,
        recall=1.0 if asked.params.exact else shelf.recall if asked.params.hnsw_ef is None else None,
    )
    scored = [Scored(hit.id, math.sqrt(max(0.0, -hit.score)) if euclid else hit.score) for hit in hits]
    if asked.threshold is None:
        return scored
    return [line for line in scored if (line.score <= asked.threshold if euclid else line.score >= asked.threshold)]


def _by_words(shelf: Shelf, asked: Asked, wanted: Words) -> list[Scored]:
    if asked.about.get("mmr") is not None:
        raise Refused(400, "not supported: mmr of a search by words", param="query")
    limit = asked.limit + asked.offset
    hits = shelf.collection.search_words(wanted.text, limit, filter=asked.filter, least=asked.threshold)
    return [Scored(hit.id, hit.score) for hit in hits[asked.offset :]]


def _diverse(shelf: Shelf, asked: Asked, row: Vectors) -> list[Scored]:
    """Maximal marginal relevance among the nearest candidates."""
    mmr = asked.about["mmr"]
    if not isinstance(mmr, dict) or set(mmr) - {"diversity", "candidates_limit"}:
        raise Refused(400, "query.mmr: expected diversity and candidates_limit", param="query")
    diversity = 0.5 if mmr.get("diversity") is None else mmr["diversity"]
    candidates = mmr.get("candidates_limit") or asked.limit
    if not numbers([diversity], 1) or not 0 <= diversity <= 1:
        raise Refused(400, "query.mmr.diversity: expected 0 to 1", param="query")
    if not isinstance(candidates, int) or isinstance(candidates, bool) or not 1 <= candidates <= WIDEST:
        raise Refused(400, f"query.mmr.candidates_limit: expected 1 to {WIDEST:,}", param="query")
    near = _ranked(shelf, asked, row, candidates)
    if not near:
        return []
    records = {r.id: r for r in shelf.collection.get([line.id for line in near], with_vectors=True)}
    near = [line for line in near if line.id in records]
    rows = np.stack([records[line.id].vectors[asked.using] for line in near])
    metric = metric_of(shelf, asked.using)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # products of the largest float32 values are infinite, which sorts
        relevance = similarity(unit(row[None]) if metric == "cosine" else row[None], rows, metric)[0]
        likeness = similarity(rows, rows, metric)
    order = spread(relevance, likeness, asked.limit + asked.offset, float(diversity))
    return [near[i] for i in order][asked.offset :]


def _recommended(shelf: Shelf, asked: Asked) -> list[Scored]:
    """Near to the mean of the positive examples, away from the mean of the negative ones."""
    about = asked.about["recommend"]
    if not isinstance(about, dict) or set(about) - {"positive", "negative", "strategy"}:
        raise Refused(400, "query.recommend: expected positive, negative and strategy", param="query")
    if about.get("strategy") not in (None, "average_vector"):
        raise Refused(400, f"not supported: recommend strategy {about['strategy']!r:.40}", param="query")
    rows: dict[str, list[Vectors]] = {"positive": [], "negative": []}
    mentioned: list[Key] = []
    for side, found_ in rows.items():
        examples = about.get(side) or []
        if not isinstance(examples, list) or len(examples) > MOST_SAMPLED:
            raise Refused(400, f"query.recommend.{side}: expected a list of at most {MOST_SAMPLED:,}", param="query")
        for example in examples:
            row, ids = vector_of(asked, example)
            found_.append(row)
            mentioned += ids
    if len({len(row) for side in rows.values() for row in side}) > 1:
        raise Refused(400, "query.recommend: the examples are of different widths", param="query")
    if not rows["positive"]:
        raise Refused(400, "query.recommend.positive: expected at least one example", param="query")
    mean = np.mean(rows["positive"], axis=0)
    if rows["negative"]:
        mean = 2 * mean - np.mean(rows["negative"], axis=0)
    asked.filter = without(asked.filter, mentioned)
    return _ranked(shelf, asked, mean.astype(np.float32), asked.limit + asked.offset)[asked.offset :]


def _ordered(shelf: Shelf, asked: Asked) -> list[Scored]:
    rows = ordered(shelf, asked.about["order_by"], asked.filter, asked.limit + asked.offset)
    return [Scored(record.id, UNRANKED, value) for record, value in rows[asked.offset :]]


def _sampled(shelf: Shelf, asked: Asked) -> list[Scored]:
    if asked.about["sample"] != "random":
        raise Refused(400, f"query.sample: {asked.about['sample']!r:.40}: expected random", param="query")
    records = shelf.collection.sample(asked.limit, filter=asked.filter)
    return [Scored(record.id, UNRANKED) for record in records]


_WAYS: dict[str, Callable[[Shelf, Asked], list[Scored]]] = {
    "": _everything,
    "nearest": _nearest,
    "recommend": _recommended,
    "order_by": _ordered,
    "sample": _sampled,
}


def _groups(shelf: Shelf, asked: Asked, body: Groups, limit: int, size: int) -> list[dict[str, Any]]:
    path, wide = parsed(body.group_by), min(WIDEST, max(WIDE, 4 * limit * size))
    filter_ = asked.filter
    while True:
        asked.filter = filter_
        for part in _all(asked):
            part.limit = wide
        scored = found(shelf, asked)
        records = {record.id: record for record in shelf.collection.get([line.id for line in scored])}
        groups: dict[tuple[str, Any], list[Scored]] = {}
        for line in scored:
            values = values_at(records[line.id].payload, path) if line.id in records else []
            if all(type(value) in (int, str) for value in values):
                for value in dict.fromkeys(values):
                    groups.setdefault((type(value).__name__, value), []).append(line)
        best = list(groups.items())[:limit]
        if wide >= WIDEST or len(scored) < wide or (len(best) == limit and all(len(hits) >= size for _, hits in best)):
            break
        wide = min(WIDEST, 4 * wide)
    return [
        {"id": value, "hits": _shown(shelf, hits[:size], body.with_payload, body.with_vector)}
        for (_, value), hits in best
    ]


def _all(asked: Asked) -> list[Asked]:
    return [asked, *(part for inner in asked.prefetch for part in _all(inner))]


async def _matrix(call: Call) -> tuple[list[Key], list[list[Scored]]]:
    body, shelf = call.read(Matrix), shelf_of(call)
    refuse_shards(body.shard_key)
    sample, limit, using = body.sample or 10, checked_limit(call, body.limit, 3), body.using or ""
    if not 1 <= sample <= MOST_SAMPLED:
        raise Refused(
            422, f"Validation error in JSON body: [sample: value {sample} invalid, must be 1 to {MOST_SAMPLED}]"
        )
    filter_ = checked_filter(call, body.filter)

    def work() -> tuple[list[Key], list[list[Scored]]]:
        has_vector = both(filter_, {"must": [{"has_vector": using}]})
        metric_of(shelf, using)
        records = shelf.collection.sample(sample, filter=has_vector, with_vectors=True)
        if len(records) < 2:
            return [], []
        records.sort(key=lambda record: (isinstance(record.id, str), record.id))
        ids = [record.id for record in records]
        near = []
        for record in records:
            others = [id_ for id_ in ids if id_ != record.id]
            only = Asked(
                "nearest", None, using, among(filter_, others), Params(exact=True), None, limit, 0, [], (shelf, using)
            )
            near.append(_ranked(shelf, only, record.vectors[using], limit))
        return ids, near

    return await call.work(work)


OF = "/collections/{collection}/points"
ENDPOINTS = [
    Endpoint("POST", OF + "/query", "read", queried, failure, Query, "Search"),
    Endpoint("POST", OF + "/query/batch", "read", queried_together, failure, Queries, "Several searches"),
    Endpoint("POST", OF + "/query/groups", "read", grouped, failure, Groups, "Search in groups"),
    Endpoint("POST", OF + "/search", "read", searched, failure, Search, "The older search"),
    Endpoint(
        "POST", OF + "/search/batch", "read", searched_together, failure, Searches, "Several of the older searches"
    ),
    Endpoint("POST", OF + "/search/matrix/pairs", "read", pairs, failure, Matrix, "Distances within a sample"),
    Endpoint("POST", OF + "/search/matrix/offsets", "read", offsets, failure, Matrix, "The same as a sparse matrix"),
]
