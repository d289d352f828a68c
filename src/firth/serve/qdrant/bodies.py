"""The bodies of requests, as Qdrant's clients send them; a field that is not here is refused by its name."""

from __future__ import annotations

from typing import Any

import msgspec


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """How a search is done; `quantization` costs nothing here, since scores are always the exact ones."""

    hnsw_ef: int | None = None
    exact: bool | None = None
    quantization: Any = None
    indexed_only: bool | None = None
    acorn: Any = None
    idf: Any = None


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """The body of points/query; a prefetch has the same fields but for payload, vector and offset."""

    query: Any = None
    prefetch: Any = None
    using: str | None = None
    filter: dict[str, Any] | None = None
    params: Params | None = None
    score_threshold: float | None = None
    limit: int | None = None
    offset: int | None = None
    with_payload: Any = None
    with_vector: Any = None
    lookup_from: dict[str, Any] | None = None
    shard_key: Any = None


class Groups(Query, forbid_unknown_fields=True):
    """The body of points/query/groups."""

    group_by: str = ""
    group_size: int | None = None
    with_lookup: Any = None


class Queries(msgspec.Struct, forbid_unknown_fields=True):
    """The body of points/query/batch."""

    searches: list[Query]


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """The body of the older points/search."""

    vector: Any
    limit: int
    filter: dict[str, Any] | None = None
    params: Params | None = None
    offset: int | None = None
    with_payload: Any = None
    with_vector: Any = None
    score_threshold: float | None = None
    shard_key: Any = None


class Searches(msgspec.Struct, forbid_unknown_fields=True):
    """The body of the older points/search/batch."""

    searches: list[Search]


class Matrix(msgspec.Struct, forbid_unknown_fields=True):
    """The body of points/search/matrix."""

    filter: dict[str, Any] | None = None
    sample: int | None = None
    limit: int | None = None
    using: str | None = None
    shard_key: Any = None


class Point(msgspec.Struct, forbid_unknown_fields=True):
    """One point to be stored."""

    id: int | str
    vector: Any
    payload: dict[str, Any] | None = None


class Columns(msgspec.Struct, forbid_unknown_fields=True):
    """Points by column."""

    ids: list[int | str]
    vectors: Any
    payloads: list[dict[str, Any] | None] | None = None


class Upsert(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT points: `points` or `batch`."""

    points: list[Point] | None = None
    batch: Columns | None = None
    shard_key: Any = None
    update_filter: Any = None
    update_mode: str | None = None


class Ids(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST points."""

    ids: list[int | str]
    with_payload: Any = None
    with_vector: Any = None
    shard_key: Any = None


class Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """Points by id or by filter."""

    points: list[int | str] | None = None
    filter: dict[str, Any] | None = None
    shard_key: Any = None


class SetPayload(Chosen, forbid_unknown_fields=True):
    """The body of POST and PUT points/payload."""

    payload: dict[str, Any] = {}
    key: str | None = None


class DeletePayload(Chosen, forbid_unknown_fields=True):
    """The body of points/payload/delete."""

    keys: list[str] = []


class DeleteVectors(Chosen, forbid_unknown_fields=True):
    """The body of points/vectors/delete."""

    vector: list[str] = []


class PointVectors(msgspec.Struct, forbid_unknown_fields=True):
    """New vectors of one point."""

    id: int | str
    vector: Any


class UpdateVectors(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT points/vectors."""

    points: list[PointVectors]
    shard_key: Any = None
    update_filter: Any = None


class Operations(msgspec.Struct, forbid_unknown_fields=True):
    """The body of points/batch."""

    operations: list[dict[str, Any]]


class Scroll(msgspec.Struct, forbid_unknown_fields=True):
    """The body of points/scroll."""

    filter: dict[str, Any] | None = None
    limit: int | None = None
    offset: int | str | None = None
    with_payload: Any = None
    with_vector: Any = None
    order_by: Any = None
    shard_key: Any = None


class Count(msgspec.Struct, forbid_unknown_fields=True):
    """The body of points/count; the count is always exact."""

    filter: dict[str, Any] | None = None
    exact: bool | None = None
    shard_key: Any = None


class Facet(msgspec.Struct, forbid_unknown_fields=True):
    """The body of facet; the counts are always exact."""

    key: str
    limit: int | None = None
    filter: dict[str, Any] | None = None
    exact: bool | None = None
    shard_key: Any = None
