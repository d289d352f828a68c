"""Qdrant's routes about collections: make, describe, change, remove, payload indexes, aliases."""

from __future__ import annotations

from typing import Any

import msgspec

from firth.serve.embed import checked_texts, encoded, model_of
from firth.serve.qdrant.config import KINDS, Change, Create, Index, described, schema_of, vector_settings
from firth.serve.qdrant.shapes import answered, failure, shelf_of, updated
from firth.serve.wire import DEEPEST, Call, Endpoint, Refused, Reply, checked_depth, reply, unsupported
from firth.store.where import compiled


class Aliases(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST collections/aliases."""

    actions: list[dict[str, dict[str, str]]]


class Inference(msgspec.Struct):
    """What a real Qdrant asks of the server at its `inference.address`."""

    inputs: list[dict[str, Any]]
    inference: str = "update"


async def listed(call: Call) -> Reply:
    """The names of all collections."""
    return answered(call, {"collections": [{"name": name} for name in call.server.library.names]})


async def made(call: Call) -> Reply:
    """A new collection."""
    body = call.read(Create)
    checked_depth(msgspec.to_builtins(body), DEEPEST, "the body")
    settings = vector_settings(body, call.server.limits)
    echoed = {name: value for name, value in msgspec.to_builtins(body).items() if value is not None}
    await call.write(call.server.library.create, call.path["collection"], settings, made=echoed)
    return answered(call, True)


async def told(call: Call) -> Reply:
    """A collection's state and settings."""
    return answered(call, await call.work(described, shelf_of(call)))


async def changed(call: Call) -> Reply:
    """What may be changed later: metadata, and what only says how Qdrant would go about it."""
    body, shelf = call.read(Change), shelf_of(call)
    checked_depth(msgspec.to_builtins(body), DEEPEST, "the body")
    unsupported(
        {
            "vectors": body.vectors,
            "hnsw_config": body.hnsw_config,
            "quantization_config": body.quantization_config,
            "sparse_vectors": body.sparse_vectors,
            "strict_mode_config": body.strict_mode_config,
        },
        "the index of a collection is settled when it is made",
    )
    if shelf.made is None:
        raise Refused(400, f"collection `{shelf.name}` was not made by a Qdrant client; it has no settings of its kind")
    given = {name: value for name, value in msgspec.to_builtins(body).items() if value is not None and name != "params"}
    shelf.made = {**shelf.made, **given}
    await call.write(call.server.library.remember)
    return answered(call, True)


async def removed(call: Call) -> Reply:
    """The end of a collection; false where there was none."""
    name = call.path["collection"]
    found = await call.write(call.server.library.remove, name)
    call.server.metrics.forget(name)
    return answered(call, found)


async def exists(call: Call) -> Reply:
    """Whether there is such a collection."""
    return answered(call, {"exists": call.server.library.has(call.path["collection"])})


async def indexed(call: Call) -> Reply:
    """A payload field's values in order, which makes filters on it fast and changes no answer."""
    body, shelf = call.read(Index), shelf_of(call)
    checked_depth(body.field_schema, DEEPEST, "field_schema")
    compiled({"must": [{"is_empty": {"key": body.field_name}}]})  # is it a path that filters can ask?
    about = schema_of(body)
    kind = KINDS.get(about["data_type"])
    if kind is not None:
        await call.write(shelf.collection.declare, body.field_name, kind)
    shelf.fields[body.field_name] = about
    await call.write(call.server.library.remember)
    return updated(call)


async def unindexed(call: Call) -> Reply:
    """The index of a payload field given up."""
    shelf, field = shelf_of(call), call.path["field"]
    await call.write(shelf.collection.undeclare, field)
    shelf.fields.pop(field, None)
    await call.write(call.server.library.remember)
    return updated(call)


async def aliases(call: Call) -> Reply:
    """All aliases, or those of one collection."""
    library, of = call.server.library, call.path.get("collection")
    wanted = None if of is None else library.get(of).name
    found = [
        {"alias_name": alias, "collection_name": to}
        for alias, to in sorted(library.aliases.items())
        if wanted in (None, to)
    ]
    return answered(call, {"aliases": found})


async def aliased(call: Call) -> Reply:
    """Aliases made, removed and renamed, all or none."""
    actions = [_action(action) for action in call.read(Aliases).actions]
    await call.write(call.server.library.change_aliases, actions)
    return answered(call, True)


async def inference(call: Call) -> Reply:
    """Vectors for a real Qdrant whose `inference.address` is this server's /inference."""
    body = call.read(Inference)
    if body.inference not in ("update", "search"):
        raise Refused(400, f"inference: {body.inference[:40]!r}: expected update or search")
    for i, item in enumerate(body.inputs):
        if item.get("data_type", "text") != "text":
            raise Refused(400, f"inputs[{i}].data_type: only text is supported")
        unsupported({f"inputs[{i}].options": item.get("options") or None})
    names = [item.get("model") for item in body.inputs]
    served, _ = model_of(call, names[0] if names and isinstance(names[0], str) else "default")
    for name in names:
        model_of(call, name if isinstance(name, str) else "default")
    texts = checked_texts(call, [item.get("data") for item in body.inputs], "inputs")
    vectors = await encoded(served, texts, "document" if body.inference == "update" else "query")
    usage = {"models": {served.name: {"tokens": int(vectors.tokens.sum())}}}
    return reply({"embeddings": vectors.vectors, "usage": usage})


def _action(action: dict[str, dict[str, str]]) -> tuple[str, str, str]:
    ((what, about),) = action.items() if len(action) == 1 else [("", {})]
    fields = {
        "create_alias": ("create", "alias_name", "collection_name"),
        "delete_alias": ("delete", "alias_name", ""),
        "rename_alias": ("rename", "old_alias_name", "new_alias_name"),
    }
    if what not in fields:
        raise Refused(400, f"actions: expected one of {', '.join(fields)}, got {sorted(action)!r:.100}")
    verb, first, second = fields[what]
    if set(about) != {name for name in (first, second) if name}:
        raise Refused(400, f"actions.{what}: expected {first}{f' and {second}' if second else ''}")
    return verb, about[first], about.get(second, "")


def _endpoint(method: str, path: str, scope: Any, handler: Any, body: Any, summary: str) -> Endpoint:
    return Endpoint(method, path, scope, handler, failure, body, summary)


ONE = "/collections/{collection}"
ENDPOINTS = [
    _endpoint("GET", "/collections", "read", listed, None, "Names of the collections"),
    _endpoint("POST", "/collections/aliases", "admin", aliased, Aliases, "Make, remove, rename aliases"),
    _endpoint("GET", "/aliases", "read", aliases, None, "All aliases"),
    _endpoint("PUT", ONE, "admin", made, Create, "Make a collection"),
    _endpoint("GET", ONE, "read", told, None, "State and settings of a collection"),
    _endpoint("PATCH", ONE, "admin", changed, Change, "Change metadata"),
    _endpoint("DELETE", ONE, "admin", removed, None, "Remove a collection"),
    _endpoint("GET", ONE + "/exists", "read", exists, None, "Is there such a collection?"),
    _endpoint("GET", ONE + "/aliases", "read", aliases, None, "Aliases of a collection"),
    _endpoint("PUT", ONE + "/index", "admin", indexed, Index, "Index a payload field"),
    _endpoint("DELETE", ONE + "/index/{field:path}", "admin", unindexed, None, "Give up a payload field's index"),
    _endpoint("POST", "/inference", "read", inference, Inference, "Vectors for a real Qdrant"),
]
