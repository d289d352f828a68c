"""What the Qdrant routes share: ids, filters, selectors of payload and vectors, replies."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from firth.arrays import Vectors
from firth.serve.library import Shelf
from firth.serve.wire import Call, Refused, Reply, checked_depth, reply, unsupported
from firth.store import Key, Record
from firth.store.paths import EVERY, Step, parsed

CLAUSES = {"must", "should", "must_not", "min_should"}
_UUID = re.compile(r"(?:urn:uuid:)?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_WHOLE = re.compile(r"\d{1,20}")


def failure(status: int, message: str, param: str | None) -> Any:
    """Qdrant's error object."""
    return {"status": {"error": message}, "time": 0.0}


def answered(call: Call, result: Any, *, usage: Any = None) -> Reply:
    """Qdrant's answer object."""
    body = {"result": result, "status": "ok", "time": time.perf_counter() - call.started}
    return reply(body if usage is None else {**body, "usage": usage})


def updated(call: Call, *, usage: Any = None) -> Reply:
    """The answer of every write: it is on the disk."""
    return answered(call, {"operation_id": call.server.operation(), "status": "completed"}, usage=usage)


def shelf_of(call: Call) -> Shelf:
    """The collection that the address names."""
    return call.server.library.get(call.path["collection"])


def point_id(value: int | str) -> Key:
    """An id as it is stored: a UUID in any spelling becomes its dashed one, other strings stay as they are."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return str(uuid.UUID(value))
    return value


def id_in_path(text: str) -> Key:
    """The id that an address spells."""
    return int(text) if _WHOLE.fullmatch(text) else point_id(text)


def checked_filter(call: Call, value: dict[str, Any] | None) -> dict[str, Any] | None:
    """A filter in Qdrant's language, its ids as they are stored; None where everything passes.

    Raises:
        Refused: 400, unknown clauses or too deep.
    """
    if not value:
        return None
    checked_depth(value, 2 * call.server.limits.depth + 2, "filter")  # a list and an object at each level
    unknown = sorted(set(value) - CLAUSES)
    if unknown:
        raise Refused(400, f"filter: {unknown[0][:80]!r} is not known here; expected {', '.join(sorted(CLAUSES))}")
    found: dict[str, Any] = _with_ids(value)
    return found


def both(one: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any] | None:
    """The filter that both pass."""
    return other if one is None else one if other is None else {"must": [one, other]}


def among(filter_: dict[str, Any] | None, ids: list[Key]) -> dict[str, Any]:
    """Only these ids, of those that pass."""
    return {"must": [*([] if filter_ is None else [filter_]), {"has_id": ids}]}


def without(filter_: dict[str, Any] | None, ids: list[Key]) -> dict[str, Any] | None:
    """Not these ids, of those that pass."""
    if not ids:
        return filter_
    return {"must": [] if filter_ is None else [filter_], "must_not": [{"has_id": ids}]}


def checked_limit(call: Call, value: int | None, default: int, name: str = "limit") -> int:
    """How many, within what the server allows.

    Raises:
        Refused: 400 (422 in Qdrant's own words for 0).
    """
    limit, most = default if value is None else value, call.server.limits.points
    if not 1 <= limit <= most:
        raise Refused(422, f"Validation error in JSON body: [{name}: value {limit} invalid, must be from 1 to {most}]")
    return limit


def refuse_shards(shard_key: Any) -> None:
    """There are no shards here."""
    unsupported({"shard_key": shard_key}, "there are no shards")


def shown_payload(shelf: Shelf, record: Any, wanted: Any) -> dict[str, Any] | None:
    """The payload of a record or hit as `with_payload` asks for it.

    Collections that Qdrant clients did not make hold title and text beside the payload; they are shown in it.
    """
    if wanted is False or wanted is None:
        return None
    payload: dict[str, Any] = record.payload
    if shelf.made is None:
        more = {name: value for name, value in (("title", record.title), ("text", record.text)) if value}
        payload = {**more, **payload}
    if wanted is True:
        return dict(payload)
    if isinstance(wanted, dict) and set(wanted) == {"exclude"} and _paths(wanted["exclude"]):
        kept: dict[str, Any] = deepcopy(payload)
        for path in wanted["exclude"]:
            removed(kept, parsed(path))
        return kept
    paths: Any = wanted.get("include") if isinstance(wanted, dict) and set(wanted) == {"include"} else wanted
    if not _paths(paths):
        raise Refused(
            400, "with_payload: expected true, false, a list of fields, include or exclude", param="with_payload"
        )
    found: dict[str, Any] = {}
    for path in paths:
        _copied(payload, found, parsed(path))
    return found


def shown_vectors(vectors: Mapping[str, Vectors], wanted: Any) -> Any:
    """The vectors of a record as `with_vector` asks for them: the unnamed one alone, else by name."""
    if wanted is False or wanted is None:
        return None
    if wanted is not True and not _paths(wanted):
        raise Refused(400, "with_vector: expected true, false or a list of names", param="with_vector")
    names = list(vectors) if wanted is True else [name for name in wanted if name in vectors]
    found = {name: vectors[name] for name in names}
    return found[""] if set(found) == {""} else found


def shown(shelf: Shelf, record: Record, with_payload: Any, with_vector: Any) -> dict[str, Any]:
    """A point as Qdrant spells it."""
    point = {"id": record.id, "payload": shown_payload(shelf, record, with_payload)}
    vectors = shown_vectors(record.vectors, with_vector)
    return point if vectors is None else {**point, "vector": vectors}


def removed(value: Any, steps: list[Step]) -> None:
    """Take what lies at the path out of a payload, in place."""
    *way, last = steps
    for place in _at(value, way):
        if isinstance(last, str) and isinstance(place, dict):
            place.pop(last, None)
        elif last is EVERY and isinstance(place, list):
            place.clear()
        elif isinstance(last, int) and isinstance(place, list) and last < len(place):
            place.pop(last)


def _at(value: Any, steps: list[Step]) -> list[Any]:
    found = [value]
    for step in steps:
        if step is EVERY:
            found = [inner for outer in found if isinstance(outer, list) for inner in outer]
        elif isinstance(step, int):
            found = [outer[step] for outer in found if isinstance(outer, list) and step < len(outer)]
        else:
            found = [outer[step] for outer in found if isinstance(outer, dict) and step in outer]
    return found


def _copied(source: Any, target: Any, steps: list[Step]) -> None:
    """Copy what lies at the path, with the objects and lists around it."""
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if not isinstance(source, dict) or step not in source:
            return
        value = source[step]
        if not rest:
            target[step] = value
        elif isinstance(value, dict):
            _copied(value, target.setdefault(step, {}), rest)
        elif isinstance(value, list) and rest[0] is EVERY:
            if len(rest) == 1:
                target[step] = value
            else:
                kept = target.setdefault(step, [{} for _ in value])
                for inner, place in zip(value, kept, strict=True):
                    if isinstance(inner, dict):
                        _copied(inner, place, rest[1:])


def _paths(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(path, str) for path in value)


def _with_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_ids(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        name: [point_id(id_) if isinstance(id_, str) else id_ for id_ in inner]
        if name == "has_id" and isinstance(inner, list)
        else _with_ids(inner)
        for name, inner in value.items()
    }
