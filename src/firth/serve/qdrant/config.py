"""How a Qdrant client says a collection shall be made, and how one is described to it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from firth.serve.library import Shelf
from firth.serve.settings import Limits
from firth.serve.wire import Refused, unsupported
from firth.store import IndexSettings, VectorSettings
from firth.store.schema import Metric

DISTANCES: dict[str, Metric] = {"Cosine": "cosine", "Dot": "dot", "Euclid": "euclid"}
KINDS = {"keyword": "keyword", "uuid": "keyword", "integer": "number", "float": "number", "datetime": "time"}
SCHEMAS = (*KINDS, "bool", "geo", "text")  # filters on the last three need no index here
DECLARED = {"keyword": "keyword", "number": "float", "time": "datetime"}
LONGEST_NAME = 200  # characters
MOST_VECTORS = 64  # sets of vectors of one collection
HNSW = {"m": 16, "ef_construct": 200, "full_scan_threshold": 10_000}


class Create(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT collections/{name}; what only says where things lie changes no result and is echoed."""

    vectors: dict[str, Any] | None = None
    sparse_vectors: dict[str, Any] | None = None
    hnsw_config: dict[str, Any] | None = None
    quantization_config: dict[str, Any] | None = None
    optimizers_config: dict[str, Any] | None = None
    wal_config: dict[str, Any] | None = None
    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None
    on_disk_payload: bool | None = None
    metadata: dict[str, Any] | None = None
    sharding_method: str | None = None
    strict_mode_config: dict[str, Any] | None = None
    payload: Any = None
    id_tracker: Any = None
    init_from: Any = None


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PATCH collections/{name}."""

    optimizers_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    vectors: Any = None
    hnsw_config: Any = None
    quantization_config: Any = None
    sparse_vectors: Any = None
    strict_mode_config: Any = None


class Index(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT collections/{name}/index."""

    field_name: str
    field_schema: Any = None


def vector_settings(body: Create, limits: Limits) -> dict[str, VectorSettings]:
    """The sets of vectors that a client asks for.

    Raises:
        Refused: 400, not supported; names it.
    """
    unsupported({"sharding_method": body.sharding_method, "init_from": body.init_from})
    if (body.strict_mode_config or {}).get("enabled"):
        raise Refused(400, "not supported: strict_mode_config (the server has limits of its own)")
    for name, about in (body.sparse_vectors or {}).items():
        if not isinstance(about, dict) or about.get("modifier") != "idf":
            raise Refused(
                400,
                f"not supported: sparse_vectors.{name[:80]} without modifier idf; a sparse vector is the collection's "
                "word index here (BM25), asked with texts and the model bm25",
            )
    vectors = body.vectors or {}
    named = {"": vectors} if "size" in vectors or "distance" in vectors else vectors
    wrong = [name for name in named if len(name) > LONGEST_NAME or (name and not name.isprintable())]
    if wrong or len(named) > MOST_VECTORS:
        raise Refused(400, f"vectors: expected at most {MOST_VECTORS} with printable names, got {len(named)}")
    if not named:
        raise Refused(400, "vectors: expected size and distance; a collection without vectors is not supported")
    return {
        name: _settings(about, body, f"vectors.{name}" if name else "vectors", limits) for name, about in named.items()
    }


def described(shelf: Shelf) -> dict[str, Any]:
    """The collection as GET collections/{name} tells it."""
    made, collection = shelf.made or {}, shelf.collection
    spaces, indexed = shelf.spaces, collection.indexed()
    params: dict[str, Any] = {
        "vectors": made.get("vectors") or _as_params(spaces),
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": True,
    }
    if made.get("sparse_vectors"):
        params["sparse_vectors"] = made["sparse_vectors"]
    first = next(iter(spaces.values())).index
    hnsw = {**HNSW, "m": first.m, "ef_construct": first.ef_construction, **_given(made.get("hnsw_config"))}
    optimizer = {"default_segment_number": 1, "flush_interval_sec": 1, **_given(made.get("optimizers_config"))}
    config = {
        "params": params,
        "hnsw_config": hnsw,
        "optimizer_config": optimizer,
        "wal_config": {"wal_capacity_mb": 64, "wal_segments_ahead": 0},
        "quantization_config": made.get("quantization_config"),
        "metadata": made.get("metadata"),
    }
    return {
        "status": "green",
        "optimizer_status": "ok",
        "points_count": len(collection),
        "indexed_vectors_count": sum(indexed.values()),
        "segments_count": 1,
        "config": config,
        "payload_schema": payload_schema(shelf),
    }


def payload_schema(shelf: Shelf) -> dict[str, Any]:
    """The indexed payload fields, and how many points have each."""
    fields = {path: {"data_type": DECLARED[kind]} for path, kind in shelf.collection.declared} | shelf.fields
    return {
        path: {**about, "points": shelf.collection.count({"must_not": [{"is_empty": {"key": path}}]})}
        for path, about in fields.items()
    }


def schema_of(body: Index) -> dict[str, Any]:
    """The index that is asked for, as it will be told.

    Raises:
        Refused: 400, of no known type.
    """
    wanted = body.field_schema if body.field_schema is not None else "keyword"
    type_ = wanted.get("type") if isinstance(wanted, dict) else wanted
    if type_ not in SCHEMAS:
        raise Refused(400, f"field_schema: {type_!r:.80}: expected one of {', '.join(SCHEMAS)}", param="field_schema")
    return {"data_type": type_, **({"params": wanted} if isinstance(wanted, dict) else {})}


def _settings(about: Any, body: Create, at: str, limits: Limits) -> VectorSettings:
    if not isinstance(about, dict):
        raise Refused(400, f"{at[:100]}: expected size and distance", param=at)
    size, distance = about.get("size"), about.get("distance")
    known = {
        "size",
        "distance",
        "hnsw_config",
        "quantization_config",
        "on_disk",
        "memory",
        "datatype",
        "multivector_config",
    }
    for name in sorted(set(about) - known):
        raise Refused(400, f"{at[:100]}.{name[:80]}: not known here", param=at)
    unsupported({f"{at}.multivector_config": about.get("multivector_config")})
    if about.get("datatype") not in (None, "float32"):
        raise Refused(400, f"not supported: {at}.datatype other than float32 (it would change the scores)")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= limits.dims:
        raise Refused(400, f"{at[:100]}.size: {size!r:.40}: expected 1 to {limits.dims:,}", param=at)
    if not isinstance(distance, str) or distance not in DISTANCES:
        raise Refused(400, f"{at[:100]}.distance: {distance!r:.40} is not supported; expected {', '.join(DISTANCES)}")
    for quantization in (body.quantization_config, about.get("quantization_config")):
        if quantization and (not isinstance(quantization, dict) or set(quantization) != {"scalar"}):
            raise Refused(400, "not supported: quantization_config other than scalar (it would change the result)")
    hnsw = {**_given(body.hnsw_config), **_given(about.get("hnsw_config"))}
    m, ef = hnsw.get("m", 16), hnsw.get("ef_construct", 200)
    if (
        not all(isinstance(value, int) and not isinstance(value, bool) for value in (m, ef))
        or m < 0
        or ef < 1
        or m > 512
    ):
        raise Refused(400, f"hnsw_config: m={m!r:.40}, ef_construct={ef!r:.40}: expected whole numbers")
    # m = 0 is how Qdrant's clients ask for no graph at all.
    index = IndexSettings(m=max(m, 2), ef_construction=min(ef, 4096), exact_below=sys.maxsize if m == 0 else 5_000)
    return VectorSettings(size, DISTANCES[distance], index=index)


def _as_params(spaces: Mapping[str, VectorSettings]) -> dict[str, Any]:
    names = {metric: name for name, metric in DISTANCES.items()}
    told = {name: {"size": space.dims, "distance": names[space.metric]} for name, space in spaces.items()}
    return told[""] if set(told) == {""} else told


def _given(values: Any) -> dict[str, Any]:
    if values is not None and not isinstance(values, dict):
        raise Refused(400, f"expected an object of settings, got {values!r:.80}")
    return {name: value for name, value in (values or {}).items() if value is not None}
