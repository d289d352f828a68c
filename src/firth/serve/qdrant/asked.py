"""A query as it came, made into one that can be worked out: its texts embedded, every part checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from firth.arrays import Vectors
from firth.serve.batcher import narrowed
from firth.serve.library import Library, Shelf
from firth.serve.qdrant.bodies import Params, Query
from firth.serve.qdrant.shapes import both, checked_filter, checked_limit, point_id, refuse_shards
from firth.serve.qdrant.texts import Spoken, places, spoken
from firth.serve.wire import Call, Refused, checked_depth, unsupported
from firth.store import Key

KINDS = ("nearest", "recommend", "order_by", "fusion", "rrf", "sample")
REFUSED = ("discover", "context", "formula", "relevance_feedback", "text")

Filter = dict[str, Any] | None


@dataclass(slots=True)
class Scored:
    """One answer; `value` is what order_by sorted it by."""

    id: Key
    score: float
    value: float | None = None


@dataclass(slots=True)
class Asked:
    """A query as it is worked out: its texts are vectors already, its parts are checked.

    Attributes:
        kind: one of KINDS, or "" for no query at all.
        about: what the query says under its kind.
    """

    kind: str
    about: Any
    using: str
    filter: Filter
    params: Params
    threshold: float | None
    limit: int
    offset: int
    prefetch: list[Asked]
    source: tuple[Shelf, str]  # where the vectors of ids are looked up


async def understood(call: Call, shelf: Shelf, body: Query) -> tuple[Asked, dict[str, Any] | None]:
    """The query with its texts embedded and every part checked."""
    holder: dict[str, Any] = {"query": body.query, "prefetch": body.prefetch}
    checked_depth(holder, 4 * call.server.limits.depth, "query")
    found = [place for key in holder for place in places(holder[key], holder, key, query=True)]
    few(call, len(found), "texts")
    usage = await spoken(call, shelf, found, "query", keeps=False)
    body.query, body.prefetch = holder["query"], holder["prefetch"]
    return _asked(call, shelf, body, None, 0), usage


def vector_of(asked: Asked, wanted: Any) -> tuple[Vectors, list[Key]]:
    """The vector that an example stands for, and the id that it names if it is a point of this collection."""
    if isinstance(wanted, Spoken):
        row: Vectors = wanted.vector
        width = asked.source[0].spaces.get(asked.using)
        return (row if width is None or width.dims >= len(row) else narrowed(row[None], width.dims)[0]), []
    if isinstance(wanted, int | str) and not isinstance(wanted, bool):
        shelf, name = asked.source
        records = shelf.collection.get([point_id(wanted)], with_vectors=True)
        if not records or name not in records[0].vectors:
            raise Refused(404, f"Not found: No point with id {wanted!s:.200} found")
        return records[0].vectors[name], [records[0].id]
    if isinstance(wanted, list) and numbers(wanted, len(wanted)) and wanted:
        return np.array(wanted, np.float32), []
    if isinstance(wanted, dict) and "indices" in wanted:
        raise Refused(400, "not supported: a sparse vector as query; send a text with model bm25", param="query")
    raise Refused(400, "query: expected a vector, an id, or a text with its model", param="query")


def metric_of(shelf: Shelf, name: str) -> str:
    spaces = shelf.spaces
    if name not in spaces:
        raise Refused(400, f"Wrong input: Not existing vector name error: {name[:200]}")
    return spaces[name].metric


def numbers(values: Any, n: int) -> bool:
    numeric = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    return numeric and len(values) == n and all(abs(value) < 3e38 for value in values)


def few(call: Call, n: int, what: str) -> None:
    most = call.server.limits.queries
    if n > most:
        raise Refused(400, f"{what}: {n:,}; at most {most:,} are taken in one request", param=what)


def _asked(call: Call, shelf: Shelf, body: Query, around: Filter, depth: int) -> Asked:
    if depth > call.server.limits.depth:
        raise Refused(400, f"prefetch: nested more than {call.server.limits.depth} deep", param="prefetch")
    refuse_shards(body.shard_key)
    params = body.params or Params()
    unsupported({"params.indexed_only": params.indexed_only, "params.acorn": params.acorn, "params.idf": params.idf})
    if params.hnsw_ef is not None and not 1 <= params.hnsw_ef <= call.server.limits.points:
        raise Refused(400, f"params.hnsw_ef: {params.hnsw_ef}: expected 1 to {call.server.limits.points:,}")
    raw = body.prefetch if isinstance(body.prefetch, list) else [] if body.prefetch is None else [body.prefetch]
    few(call, len(raw), "prefetch")
    filter_ = both(around, checked_filter(call, body.filter))
    inner = []
    for i, line in enumerate(raw):
        try:
            part = msgspec.convert(line, Query)
        except msgspec.ValidationError as error:
            raise Refused(400, f"prefetch[{i}]: {error}") from error
        inner.append(_asked(call, shelf, part, filter_, depth + 1))
    kind, about = _kind(body.query)
    if kind in ("fusion", "rrf") and not inner:
        raise Refused(400, f"{kind} needs a prefetch", param="prefetch")
    if body.offset is not None and not 0 <= body.offset <= call.server.limits.points:
        raise Refused(400, f"offset: {body.offset}: expected 0 to {call.server.limits.points:,}", param="offset")
    return Asked(
        kind,
        about,
        body.using or "",
        filter_,
        params,
        body.score_threshold,
        checked_limit(call, body.limit, 10),
        body.offset or 0,
        inner,
        _source(call.server.library, shelf, body),
    )


def _source(library: Library, shelf: Shelf, body: Query) -> tuple[Shelf, str]:
    wanted = body.lookup_from
    if wanted is None:
        return shelf, body.using or ""
    if not isinstance(wanted.get("collection"), str) or set(wanted) - {"collection", "vector", "shard_key"}:
        raise Refused(400, "lookup_from: expected collection and vector", param="lookup_from")
    refuse_shards(wanted.get("shard_key"))
    return library.get(wanted["collection"]), str(wanted.get("vector") or body.using or "")


def _kind(query: Any) -> tuple[str, Any]:
    """What kind of query it is, and what it says."""
    if query is None:
        return "", None
    if not isinstance(query, dict):
        return "nearest", {"nearest": query}
    for name in REFUSED:
        if name in query:
            raise Refused(400, f"not supported: query.{name}", param="query")
    found = [name for name in KINDS if name in query]
    if len(found) != 1 or set(query) - {found[0], "mmr"} or ("mmr" in query and found != ["nearest"]):
        if "indices" in query:
            raise Refused(400, "not supported: a sparse vector as query; send a text with model bm25", param="query")
        raise Refused(400, f"query: expected one of {', '.join(KINDS)}, got {sorted(query)!r:.100}", param="query")
    return found[0], query
