"""Points as records of a collection: read, written whole, changed; their text found where clients keep it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from firth.arrays import Vectors, as_vectors
from firth.serve.library import Shelf
from firth.serve.qdrant.bodies import Point, Upsert
from firth.serve.qdrant.shapes import point_id
from firth.serve.qdrant.texts import Spoken, Words, is_text
from firth.serve.wire import Refused
from firth.store import Key, Record
from firth.store.paths import parsed, values_at
from firth.store.words import time_of

T = TypeVar("T")
TEXTS = ("text", "page_content", "document", "content")  # payload fields that clients keep a point's text in
NUMBERS = (int, float, np.float32)
PAGE = 1_000  # records read at a time where all have to be looked at


def everything(shelf: Shelf, filter_: Mapping[str, Any] | None, *, with_vectors: bool = False) -> Iterable[Record]:
    """All records that satisfy a filter, some at a time."""
    start: Key | None = None
    while True:
        page = shelf.collection.scroll(filter_, limit=PAGE, start=start, with_vectors=with_vectors)
        yield from page.records
        start = page.next
        if start is None:
            return


def ordered(
    shelf: Shelf, order_by: Any, filter_: Mapping[str, Any] | None, limit: int, *, with_vectors: bool = False
) -> list[tuple[Record, float]]:
    """Records by the numbers or times in a payload field; one with several values comes for each of them.

    Raises:
        Refused: 400.
    """
    order = {"key": order_by} if isinstance(order_by, str) else order_by
    if not isinstance(order, dict) or not isinstance(order.get("key"), str):
        raise Refused(400, "order_by: expected a payload field, or key, direction and start_from", param="order_by")
    for name in sorted(set(order) - {"key", "direction", "start_from"}):
        raise Refused(400, f"order_by.{name[:80]}: not known here", param="order_by")
    direction = order.get("direction") or "asc"
    if direction not in ("asc", "desc"):
        raise Refused(400, f"order_by.direction: {direction!r:.40}: expected asc or desc", param="order_by")
    sign, steps = (1 if direction == "asc" else -1), parsed(order["key"])
    start = _order_value(order.get("start_from"))
    if start is None and order.get("start_from") is not None:
        raise Refused(400, "order_by.start_from: expected a number or a time", param="order_by")
    found: set[tuple[float, Key]] = set()
    for record in everything(shelf, filter_):
        for value in values_at(record.payload, steps):
            number = _order_value(value)
            if number is not None and (start is None or sign * number >= sign * start):
                found.add((number, record.id))
    best = sorted(found, key=lambda line: (sign * line[0], isinstance(line[1], str), line[1]))[:limit]
    records = {r.id: r for r in shelf.collection.get([id_ for _, id_ in best], with_vectors=with_vectors)}
    return [(records[id_], value) for value, id_ in best if id_ in records]


def put(shelf: Shelf, records: Iterable[Record]) -> None:
    """Store whole records, replacing those with these ids; of an id given twice the last one counts."""
    spaces = shelf.spaces
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in {record.id: record for record in records}.values():
        unknown = sorted(set(record.vectors) - set(spaces))
        if unknown:
            raise Refused(400, f"Wrong input: Not existing vector name error: {unknown[0][:200]}")
        groups.setdefault(tuple(sorted(record.vectors)), []).append(record)
    for names, group in groups.items():
        shelf.collection.upsert(
            [record.id for record in group],
            [record.text for record in group],
            [record.payload for record in group],
            titles=[record.title for record in group],
            vectors={name: _stacked([record.vectors[name] for record in group], name) for name in names},
        )


def change(
    shelf: Shelf,
    ids: list[Key] | None,
    filter_: Mapping[str, Any] | None,
    changed: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Other payloads for the chosen points; where a Qdrant client made the collection, their texts follow."""
    if shelf.made is None:
        for record in those(shelf, ids, filter_):
            shelf.collection.set_payload(changed(record.payload), [record.id], replace=True)
        return
    records = []
    for record in those(shelf, ids, filter_, with_vectors=True):
        said = _text_in(record.payload)
        payload = changed(dict(record.payload))
        text = record.text if said != record.text else _text_in(payload)
        records.append(Record(record.id, text, _title_in(payload), payload, record.vectors))
    put(shelf, records)


def those(
    shelf: Shelf, ids: list[Key] | None, filter_: Mapping[str, Any] | None, *, with_vectors: bool = False
) -> list[Record]:
    if ids is not None:
        return shelf.collection.get(ids, with_vectors=with_vectors)
    return list(everything(shelf, filter_, with_vectors=with_vectors))


def locked(shelf: Shelf, work: Callable[[], T]) -> T:
    with shelf.changing:
        return work()


def points_of(body: Upsert) -> list[Point]:
    if (body.points is None) == (body.batch is None):
        raise Refused(400, "expected either points or batch")
    if body.points is not None:
        return body.points
    batch = body.batch
    if batch is None:  # told by the lines above; said again for the type checker
        return []
    n = len(batch.ids)
    payloads = batch.payloads or [None] * n
    if isinstance(batch.vectors, dict) and not is_text(batch.vectors):
        columns = {name: _column(rows, n, f"batch.vectors.{name[:80]}") for name, rows in batch.vectors.items()}
        vectors: list[Any] = [{name: rows[i] for name, rows in columns.items()} for i in range(n)]
    else:
        vectors = _column(batch.vectors, n, "batch.vectors")
    if len(payloads) != n:
        raise Refused(400, f"batch.payloads: {len(payloads):,} for {n:,} ids")
    return [Point(id_, vector, payload) for id_, vector, payload in zip(batch.ids, vectors, payloads, strict=True)]


def record_of(shelf: Shelf, id_: int | str, vector: Any, payload: dict[str, Any] | None) -> Record:
    text, vectors = named(vector)
    spoken = {name for name, value in vector.items() if isinstance(value, Words)} if isinstance(vector, dict) else set()
    unknown = sorted(spoken - set((shelf.made or {}).get("sparse_vectors") or ()))
    if unknown and shelf.made is not None:
        raise Refused(400, f"Wrong input: Not existing vector name error: {unknown[0][:200]}")
    payload = payload or {}
    said = _text_in(payload) if text is None else text
    return Record(point_id(id_), said, _title_in(payload) if text is None else "", payload, vectors)


def named(vector: Any) -> tuple[str | None, dict[str, Any]]:
    """The text of a point, if one was given in place of a vector, and its vectors by name."""
    named = vector if isinstance(vector, dict) else {"": vector}
    texts = {value.text for value in named.values() if isinstance(value, Spoken | Words)}
    if len(texts) > 1:
        raise Refused(400, "a point has one text; its vectors were given different ones")
    vectors = {}
    for name, value in named.items():
        if isinstance(value, Spoken):
            vectors[name] = value.vector
        elif isinstance(value, dict):
            raise Refused(
                400,
                f"not supported: sparse vector {name[:80]!r} of indices and values; send the text with model bm25: "
                "the collection's word index ranks",
            )
        elif isinstance(value, list) and value and isinstance(value[0], list):
            raise Refused(400, f"not supported: multivector {name[:80]!r}")
        elif not isinstance(value, Words):
            vectors[name] = value
    return (texts.pop() if texts else None), vectors


def _column(rows: Any, n: int, at: str) -> list[Any]:
    if not isinstance(rows, list) or len(rows) != n:
        raise Refused(400, f"{at}: expected as many as there are ids, {n:,}")
    return rows


def _stacked(rows: list[Any], name: str) -> Vectors:
    """Rows that came as lists, (n, d)."""
    try:
        if len({len(row) for row in rows}) > 1 or not all(type(x) in NUMBERS for row in rows for x in row[:1]):
            raise TypeError
        with np.errstate(over="ignore"):  # what does not fit float32 is infinite, and refused as such
            stacked = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        what = "expected a list of as many numbers for every point"
        raise Refused(400, f"Wrong input: vector {name[:80]!r}: {what}") from error
    return as_vectors(stacked, name=f"vector {name[:80]!r}")


def _text_in(payload: Mapping[str, Any]) -> str:
    return next((payload[name] for name in TEXTS if isinstance(payload.get(name), str)), "")


def _title_in(payload: Mapping[str, Any]) -> str:
    title = payload.get("title")
    return title if isinstance(title, str) else ""


def _order_value(value: Any) -> float | None:
    if isinstance(value, str):
        return time_of(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
