"""Milvus, or a file of Milvus Lite: one collection of fields id, title, text, payload (JSON) and the vectors.

Milvus holds at most 65,535 bytes in a string and 65,536 in a JSON field; a longer text is refused by its key, and wants
to be cut into chunks first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from firth.arrays import Vectors
from firth.errors import DataError, MissingExtraError, SettingsError, StorageError
from firth.store.exchange.plan import Plan
from firth.store.records import Key, Record
from firth.store.schema import IndexSettings, Metric, VectorSettings

LONGEST_TEXT = 65_535  # bytes of a VARCHAR
LONGEST_JSON = 65_536
LONGEST_KEY = 4_096  # bytes: 1,024 characters of a collection's key in UTF-8
EF_SEARCH = 200  # of the comparison
METRICS: Mapping[Metric, str] = {"cosine": "COSINE", "dot": "IP", "euclid": "L2"}


class _Milvus:
    """A connection, and the collection that is meant."""

    def __init__(self, address: str, collection: str) -> None:
        for package in ("pymilvus", *(() if "://" in address else ("milvus_lite",))):
            if find_spec(package) is None:
                raise MissingExtraError(package.replace("_", "-"), "export", "Milvus")
        from pymilvus import MilvusClient, MilvusException

        try:
            self.client = MilvusClient(address)
        except (MilvusException, OSError) as error:
            raise StorageError(f"{address}: {error}") from error
        self.name = collection
        self.where = f"milvus:{address}#{collection}"

    def count(self) -> int:
        """Documents of the collection; 0 where there is none."""
        if not self.client.has_collection(self.name):
            return 0
        found = self.client.query(self.name, filter="", output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def close(self) -> None:
        """Let go of the connection."""
        self.client.close()

    def _search(self, queries: Vectors, k: int, name: str, settings: VectorSettings) -> list[list[Key]]:
        params = {"metric_type": METRICS[settings.metric], "params": {"ef": max(EF_SEARCH, k)}}
        found = self.client.search(
            self.name, data=list(queries), anns_field=_field(name), limit=k, search_params=params
        )
        return [[hit["id"] for hit in hits] for hits in found]


class MilvusTarget(_Milvus):
    """A collection that is made, or goes on being filled."""

    def __init__(self, address: str, collection: str) -> None:
        super().__init__(address, collection)
        self._plan = Plan({})

    def prepare(self, plan: Plan, *, fresh: bool) -> None:
        """The schema and the indexes."""
        from pymilvus import DataType

        self._plan = plan
        if fresh and self.client.has_collection(self.name):
            self.client.drop_collection(self.name)
        if self.client.has_collection(self.name):
            there = {f["name"] for f in self.client.describe_collection(self.name)["fields"]}
            wanted = {"id", "title", "text", "payload", *(_field(name) for name in plan.vectors)}
            if there != wanted:
                raise SettingsError(f"{self.where}: is there with the fields {sorted(there)}; --fresh replaces it")
        else:
            schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
            if plan.numbered:
                schema.add_field("id", DataType.INT64, is_primary=True)
            else:
                schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=LONGEST_KEY)
            schema.add_field("title", DataType.VARCHAR, max_length=LONGEST_TEXT)
            schema.add_field("text", DataType.VARCHAR, max_length=LONGEST_TEXT)
            schema.add_field("payload", DataType.JSON)
            index = self.client.prepare_index_params()
            for name, settings in plan.vectors.items():
                schema.add_field(_field(name), DataType.FLOAT_VECTOR, dim=settings.dims)
                index.add_index(
                    _field(name),
                    index_type="HNSW",
                    metric_type=METRICS[settings.metric],
                    params={"M": settings.index.m, "efConstruction": settings.index.ef_construction},
                )
            self.client.create_collection(self.name, schema=schema, index_params=index)
        self.client.load_collection(self.name)

    def write(self, records: Sequence[Record]) -> None:
        """Upsert a page."""
        from pymilvus import MilvusException

        rows = []
        for r in records:
            _check_length(r)
            vectors = {_field(name): r.vectors[name].tolist() for name in self._plan.vectors}
            key = r.id if self._plan.numbered else str(r.id)
            rows.append({"id": key, "title": r.title, "text": r.text, "payload": r.payload, **vectors})
        if not rows:
            return
        try:
            self.client.upsert(self.name, rows)
        except (MilvusException, OSError) as error:
            raise StorageError(f"{self.where}: {error}; the next run goes on from here") from error

    def finish(self) -> None:
        """What was written, to the disk."""
        self.client.flush(self.name)

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """Vectors by primary key."""
        wanted = {key if self._plan.numbered else str(key): key for key in keys}
        found = self.client.get(self.name, ids=list(wanted), output_fields=[_field(name)])
        return {wanted[row["id"]]: np.asarray(row[_field(name)], np.float32) for row in found}

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """By the engine's HNSW at ef = 200."""
        return self._search(queries, k, name, self._plan.vectors[name])


class MilvusSupply(_Milvus):
    """A collection of any schema with float vectors; scalar fields become the payload."""

    def plan(self) -> Plan:
        """By the schema.

        Raises:
            DataError: no such collection, or no float vectors in it.
        """
        fields = self._fields()
        vectors = {_name(f["name"]): self._settings(f) for f in fields if "dim" in f.get("params", {})}
        if not vectors:
            raise DataError(f"{self.where}: no field of float vectors")
        if "" not in vectors and len(vectors) == 1:
            vectors = {"": next(iter(vectors.values()))}
        from pymilvus import DataType

        key = next(f for f in fields if f.get("is_primary"))
        return Plan(vectors, count=self.count(), numbered=key["type"] == DataType.INT64)

    def read(self, after: Any) -> Iterator[tuple[list[Record], Any]]:
        """Pages in the order of the primary key."""
        fields, plan = self._fields(), self.plan()
        key = next(f["name"] for f in fields if f.get("is_primary"))
        columns = {f["name"]: _name(f["name"]) for f in fields if "dim" in f.get("params", {})}
        if len(columns) == 1 and "" in plan.vectors:
            columns = dict.fromkeys(columns, "")
        self.client.load_collection(self.name)
        pages = self.client.query_iterator(
            self.name,
            batch_size=1_000,
            filter="" if after is None else f"{key} > {json.dumps(after)}",
            output_fields=[f["name"] for f in fields],
        )
        try:
            while rows := pages.next():
                yield [_record(dict(row), key, columns) for row in rows], rows[-1][key]
        finally:
            pages.close()

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """Vectors by primary key."""
        fields = self._fields()
        key = next(f["name"] for f in fields if f.get("is_primary"))
        columns = [f["name"] for f in fields if "dim" in f.get("params", {})]
        column = next((c for c in columns if _name(c) == name), columns[0])
        found = self.client.get(self.name, ids=list(keys), output_fields=[column])
        return {row[key]: np.asarray(row[column], np.float32) for row in found}

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """By the engine's own index."""
        plan = self.plan()
        return self._search(queries, k, name, plan.vectors[name])

    def _fields(self) -> list[dict[str, Any]]:
        if not self.client.has_collection(self.name):
            raise DataError(f"{self.where}: no such collection; there are {self.client.list_collections()}")
        fields: list[dict[str, Any]] = self.client.describe_collection(self.name)["fields"]
        return fields

    def _settings(self, field: dict[str, Any]) -> VectorSettings:
        dims = int(field["params"]["dim"])
        for index in self.client.list_indexes(self.name, field["name"]):
            told = self.client.describe_index(self.name, index)
            metric: Metric = next(
                (ours for ours, theirs in METRICS.items() if theirs == told.get("metric_type")), "cosine"
            )
            m, construction = int(told.get("M", 16)), int(told.get("efConstruction", 200))
            return VectorSettings(dims, metric, index=IndexSettings(m=m, ef_construction=construction))
        return VectorSettings(dims)


def _record(row: dict[str, Any], key: str, columns: Mapping[str, str]) -> Record:
    vectors = {name: np.asarray(row.pop(column), np.float32) for column, name in columns.items()}
    id_, text, title = row.pop(key), row.pop("text", "") or "", row.pop("title", "") or ""
    payload = row.pop("payload", None)
    if isinstance(payload, str | bytes):
        payload = json.loads(payload)
    return Record(id_, text, title, {**row, **(payload or {})}, vectors)


def _check_length(record: Record) -> None:
    for what, text in (("text", record.text), ("title", record.title)):
        if len(text.encode()) > LONGEST_TEXT:
            raise DataError(
                f"{what} of {record.id!r} has {len(text.encode()):,} bytes, Milvus holds {LONGEST_TEXT:,}; "
                "cut the documents into chunks"
            )
    if (size := len(json.dumps(record.payload).encode())) > LONGEST_JSON:
        raise DataError(f"payload of {record.id!r} has {size:,} bytes, Milvus holds {LONGEST_JSON:,}")


def _field(name: str) -> str:
    return f"vector_{name}" if name else "vector"


def _name(field: str) -> str:
    return "" if field == "vector" else field.removeprefix("vector_")
