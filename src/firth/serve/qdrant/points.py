"""Qdrant's routes that write and read points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from firth.serve.library import Shelf
from firth.serve.qdrant.bodies import (
    Chosen,
    Count,
    DeletePayload,
    DeleteVectors,
    Facet,
    Ids,
    Operations,
    Scroll,
    SetPayload,
    UpdateVectors,
    Upsert,
)
from firth.serve.qdrant.records import TEXTS, change, locked, named, ordered, points_of, put, record_of, those
from firth.serve.qdrant.shapes import (
    answered,
    checked_filter,
    checked_limit,
    failure,
    id_in_path,
    point_id,
    refuse_shards,
    removed,
    shelf_of,
    shown,
    updated,
)
from firth.serve.qdrant.texts import places, spoken
from firth.serve.wire import DEEPEST, Call, Endpoint, Refused, Reply, checked_depth, unsupported
from firth.store import Key, Record
from firth.store.paths import parsed
from firth.store.records import checked_key

T = TypeVar("T")


async def upserted(call: Call) -> Reply:
    """Points added or replaced; on the disk when this answers."""
    usage = await _upsert(call, shelf_of(call), call.read(Upsert))
    return updated(call, usage=usage)


async def deleted(call: Call) -> Reply:
    """Points removed, by id or by filter."""
    await _delete(call, shelf_of(call), call.read(Chosen))
    return updated(call)


async def payload_set(call: Call) -> Reply:
    """Some payload fields of points set."""
    await _set_payload(call, shelf_of(call), call.read(SetPayload), replace=False)
    return updated(call)


async def payload_replaced(call: Call) -> Reply:
    """The whole payload of points replaced."""
    await _set_payload(call, shelf_of(call), call.read(SetPayload), replace=True)
    return updated(call)


async def payload_deleted(call: Call) -> Reply:
    """Some payload fields of points removed."""
    await _delete_payload(call, shelf_of(call), call.read(DeletePayload))
    return updated(call)


async def payload_cleared(call: Call) -> Reply:
    """The whole payload of points removed."""
    await _clear_payload(call, shelf_of(call), call.read(Chosen))
    return updated(call)


async def vectors_updated(call: Call) -> Reply:
    """Some vectors of points replaced; the others and the payload stay."""
    usage = await _update_vectors(call, shelf_of(call), call.read(UpdateVectors))
    return updated(call, usage=usage)


async def vectors_deleted(call: Call) -> Reply:
    """Some named vectors of points removed."""
    await _delete_vectors(call, shelf_of(call), call.read(DeleteVectors))
    return updated(call)


async def batched(call: Call) -> Reply:
    """Several writes one after another; each is committed by itself."""
    operations, shelf, results = call.read(Operations).operations, shelf_of(call), []
    if len(operations) > call.server.limits.points:
        raise Refused(400, f"operations: at most {call.server.limits.points:,} are taken in one request")
    work = []
    for i, operation in enumerate(operations):
        ((name, raw),) = operation.items() if len(operation) == 1 else [("", None)]
        if name not in _OPERATIONS:
            raise Refused(400, f"operations[{i}]: expected one of {', '.join(_OPERATIONS)}")
        type_, run = _OPERATIONS[name]
        try:
            work.append((run, msgspec.convert(raw, type_)))
        except msgspec.ValidationError as error:
            raise Refused(400, f"operations[{i}].{name}: {error}") from error
    for run, body in work:  # all are understood before the first is done
        await run(call, shelf, body)
        results.append({"operation_id": call.server.operation(), "status": "completed"})
    return answered(call, results)


async def retrieved(call: Call) -> Reply:
    """Points by their ids, in the order asked; those that do not exist are left out."""
    body, shelf = call.read(Ids), shelf_of(call)
    refuse_shards(body.shard_key)
    if len(body.ids) > call.server.limits.points:
        raise Refused(400, f"ids: at most {call.server.limits.points:,} are taken in one request", param="ids")
    with_payload = True if body.with_payload is None else body.with_payload
    ids = [point_id(id_) for id_ in body.ids]
    found = await call.work(shelf.collection.get, ids, with_vectors=bool(body.with_vector))
    call.rows = len(found)
    return answered(call, [shown(shelf, record, with_payload, body.with_vector) for record in found])


async def one(call: Call) -> Reply:
    """One point."""
    shelf, id_ = shelf_of(call), id_in_path(call.path["id"])
    found = await call.work(shelf.collection.get, [id_], with_vectors=True)
    if not found:
        raise Refused(404, f"Not found: Point with id {id_!s:.200} does not exists!")
    return answered(call, shown(shelf, found[0], True, True))


async def scrolled(call: Call) -> Reply:
    """Points page by page in the order of their ids, or by a payload field."""
    body, shelf = call.read(Scroll), shelf_of(call)
    refuse_shards(body.shard_key)
    filter_, limit = checked_filter(call, body.filter), checked_limit(call, body.limit, 10)
    with_payload = True if body.with_payload is None else body.with_payload
    if body.order_by is not None:
        if body.offset is not None:
            raise Refused(400, "offset has no meaning with order_by; use order_by.start_from", param="offset")
        rows = await call.work(ordered, shelf, body.order_by, filter_, limit, with_vectors=bool(body.with_vector))
        call.rows = len(rows)
        points = [{**shown(shelf, r, with_payload, body.with_vector), "order_value": value} for r, value in rows]
        return answered(call, {"points": points, "next_page_offset": None})
    start = None if body.offset is None else checked_key(point_id(body.offset))
    page = await call.work(
        shelf.collection.scroll, filter_, limit=limit, start=start, with_vectors=bool(body.with_vector)
    )
    call.rows = len(page.records)
    points = [shown(shelf, record, with_payload, body.with_vector) for record in page.records]
    return answered(call, {"points": points, "next_page_offset": page.next})


async def counted(call: Call) -> Reply:
    """How many points satisfy a filter."""
    body, shelf = call.read(Count), shelf_of(call)
    refuse_shards(body.shard_key)
    return answered(call, {"count": await call.work(shelf.collection.count, checked_filter(call, body.filter))})


async def faceted(call: Call) -> Reply:
    """The most frequent values of a payload field."""
    body, shelf = call.read(Facet), shelf_of(call)
    refuse_shards(body.shard_key)
    filter_, limit = checked_filter(call, body.filter), checked_limit(call, body.limit, 10)
    found = await call.work(shelf.collection.facet, body.key, filter=filter_, limit=limit)
    return answered(call, {"hits": [{"value": value, "count": count} for value, count in found]})


async def _upsert(call: Call, shelf: Shelf, body: Upsert) -> dict[str, Any] | None:
    refuse_shards(body.shard_key)
    unsupported({"update_filter": body.update_filter})
    if body.update_mode not in (None, "upsert"):
        raise Refused(400, f"not supported: update_mode {body.update_mode[:40]!r}", param="update_mode")
    points = points_of(body)
    if len(points) > call.server.limits.points:
        raise Refused(400, f"points: {len(points):,}; at most {call.server.limits.points:,} are taken in one request")
    for point in points:
        checked_depth(point.payload, DEEPEST, "payload")
    vectors: list[Any] = [point.vector for point in points]
    usage = await spoken(
        call, shelf, [place for i, v in enumerate(vectors) for place in places(v, vectors, i)], "document", keeps=True
    )
    call.rows += len(points)

    def work() -> None:
        records = [record_of(shelf, p.id, vector, p.payload) for p, vector in zip(points, vectors, strict=True)]
        with shelf.changing:
            put(shelf, records)

    await call.write(work)
    return usage


async def _delete(call: Call, shelf: Shelf, body: Chosen) -> None:
    ids, filter_ = _chosen(call, body)
    await call.write(shelf.collection.delete, ids, filter=filter_)


async def _set_payload(call: Call, shelf: Shelf, body: SetPayload, *, replace: bool = False) -> None:
    unsupported({"key": body.key}, "set the whole top-level field")
    checked_depth(body.payload, DEEPEST, "payload")
    ids, filter_ = _chosen(call, body)

    def work() -> None:
        with shelf.changing:
            if shelf.made is None or (not replace and not set(TEXTS) & set(body.payload)):
                shelf.collection.set_payload(body.payload, ids, filter=filter_, replace=replace)
            else:  # the text that is searched by word may have changed with the payload
                change(shelf, ids, filter_, lambda old: body.payload if replace else {**old, **body.payload})

    await call.write(work)


async def _replace_payload(call: Call, shelf: Shelf, body: SetPayload) -> None:
    await _set_payload(call, shelf, body, replace=True)


async def _delete_payload(call: Call, shelf: Shelf, body: DeletePayload) -> None:
    ids, filter_ = _chosen(call, body)
    paths = [parsed(key) for key in body.keys]

    def changed(payload: dict[str, Any]) -> dict[str, Any]:
        for path in paths:
            removed(payload, path)
        return payload

    await call.write(locked, shelf, lambda: change(shelf, ids, filter_, changed))


async def _clear_payload(call: Call, shelf: Shelf, body: Chosen) -> None:
    ids, filter_ = _chosen(call, body)
    await call.write(locked, shelf, lambda: change(shelf, ids, filter_, lambda _: {}))


async def _update_vectors(call: Call, shelf: Shelf, body: UpdateVectors) -> dict[str, Any] | None:
    refuse_shards(body.shard_key)
    unsupported({"update_filter": body.update_filter})
    vectors: list[Any] = [point.vector for point in body.points]
    usage = await spoken(
        call, shelf, [place for i, v in enumerate(vectors) for place in places(v, vectors, i)], "document", keeps=True
    )
    given = {point_id(point.id): vector for point, vector in zip(body.points, vectors, strict=True)}

    def work() -> None:
        known = {record.id: record for record in shelf.collection.get(list(given), with_vectors=True)}
        missing = [id_ for id_ in given if id_ not in known]
        if missing:
            raise Refused(404, f"Not found: No point with id {missing[0]!s:.200} found")
        records = []
        for id_, vector in given.items():
            old = known[id_]
            text, given_ones = named(vector)
            records.append(Record(old.id, text or old.text, old.title, old.payload, {**old.vectors, **given_ones}))
        put(shelf, records)

    await call.write(locked, shelf, work)
    return usage


async def _delete_vectors(call: Call, shelf: Shelf, body: DeleteVectors) -> None:
    ids, filter_ = _chosen(call, body)
    unknown = sorted(set(body.vector) - set(shelf.spaces))
    if unknown:
        raise Refused(400, f"Wrong input: Not existing vector name error: {unknown[0][:200]}")
    made_here = [name for name in body.vector if shelf.spaces[name].embeds is not None]
    if made_here:
        raise Refused(400, f"the vectors {made_here[0]!r} are made of the texts; they go with their documents")

    def work() -> None:
        records = []
        for record in those(shelf, ids, filter_, with_vectors=True):
            kept = {name: row for name, row in record.vectors.items() if name not in body.vector}
            records.append(Record(record.id, record.text, record.title, record.payload, kept))
        put(shelf, records)

    await call.write(locked, shelf, work)


_OPERATIONS: dict[str, tuple[Any, Callable[[Call, Shelf, Any], Any]]] = {
    "upsert": (Upsert, _upsert),
    "delete": (Chosen, _delete),
    "set_payload": (SetPayload, _set_payload),
    "overwrite_payload": (SetPayload, _replace_payload),
    "delete_payload": (DeletePayload, _delete_payload),
    "clear_payload": (Chosen, _clear_payload),
    "update_vectors": (UpdateVectors, _update_vectors),
    "delete_vectors": (DeleteVectors, _delete_vectors),
}


def _chosen(call: Call, body: Chosen) -> tuple[list[Key] | None, dict[str, Any] | None]:
    """Either ids or a filter."""
    refuse_shards(body.shard_key)
    if (body.points is None) == (body.filter is None):
        raise Refused(400, "expected either points or filter")
    if body.points is None:
        return None, checked_filter(call, body.filter) or {}
    if len(body.points) > call.server.limits.points:
        raise Refused(400, f"points: at most {call.server.limits.points:,} are taken in one request")
    return [point_id(id_) for id_ in body.points], None


OF = "/collections/{collection}"
AT = OF + "/points"
ENDPOINTS = [
    Endpoint("PUT", AT, "write", upserted, failure, Upsert, "Add or replace points"),
    Endpoint("POST", AT, "read", retrieved, failure, Ids, "Points by their ids"),
    Endpoint("POST", AT + "/delete", "write", deleted, failure, Chosen, "Remove points"),
    Endpoint("POST", AT + "/payload", "write", payload_set, failure, SetPayload, "Set payload fields"),
    Endpoint("PUT", AT + "/payload", "write", payload_replaced, failure, SetPayload, "Replace payloads"),
    Endpoint("POST", AT + "/payload/delete", "write", payload_deleted, failure, DeletePayload, "Remove payload fields"),
    Endpoint("POST", AT + "/payload/clear", "write", payload_cleared, failure, Chosen, "Remove payloads"),
    Endpoint("PUT", AT + "/vectors", "write", vectors_updated, failure, UpdateVectors, "Replace vectors"),
    Endpoint("POST", AT + "/vectors/delete", "write", vectors_deleted, failure, DeleteVectors, "Remove vectors"),
    Endpoint("POST", AT + "/batch", "write", batched, failure, Operations, "Several writes"),
    Endpoint("POST", AT + "/scroll", "read", scrolled, failure, Scroll, "Points page by page"),
    Endpoint("POST", AT + "/count", "read", counted, failure, Count, "How many points"),
    Endpoint("POST", OF + "/facet", "read", faceted, failure, Facet, "Frequent values of a payload field"),
    Endpoint("GET", AT + "/{id:path}", "read", one, failure, None, "One point"),
]
