"""Qdrant, by its own client: a server's URL, or the folder of the client's local mode; firth's server speaks it too.

Qdrant's ids are integers from 0 and UUIDs. Any other key becomes a UUID of its own (version 5) and stays in the payload
as `_key`; text and title are there as `text` and `title`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Vectors
from firth.errors import DataError, MissingExtraError, SettingsError, StorageError
from firth.store.exchange.plan import Plan
from firth.store.records import Key, Record
from firth.store.schema import IndexSettings, Metric, VectorSettings

PAGE = 1_000
KEY, TEXT, TITLE = "_key", "text", "title"
TEXTS = (TEXT, "page_content", "document", "content")  # where other programs keep the text
SPACE = uuid.UUID("6c9d6d2e-6d55-5d1b-9a0c-8f1f3f2b8a57")  # of the UUIDs made of keys
LARGEST_ID = 2**64 - 1
EF_SEARCH = 200  # of the comparison
METRICS: Mapping[Metric, str] = {"cosine": "Cosine", "dot": "Dot", "euclid": "Euclid"}
KINDS = {"keyword": "keyword", "number": "float", "time": "datetime"}


class _Qdrant:
    """A connection, and the collection that is meant."""

    def __init__(self, address: str, collection: str, *, api_key: str | None = None) -> None:
        if find_spec("qdrant_client") is None:
            raise MissingExtraError("qdrant-client", "export", "Qdrant")
        from qdrant_client import QdrantClient

        try:
            if "://" in address:
                self.client = QdrantClient(url=address, api_key=api_key, timeout=60, check_compatibility=False)
            else:
                self.client = QdrantClient(path=str(Path(address).expanduser()))
        except (OSError, ValueError, RuntimeError) as error:
            raise StorageError(f"{address}: {error}") from error
        self.name = collection
        self.where = f"qdrant:{address}#{collection}"

    def count(self) -> int:
        """Points of the collection; 0 where there is none."""
        return int(self.ask("count", self.name, exact=True).count) if self.ask("collection_exists", self.name) else 0

    def ask(self, what: str, *arguments: Any, **named: Any) -> Any:
        """A call of the client, whose failures are ours."""
        from qdrant_client.http.exceptions import ApiException

        try:
            return getattr(self.client, what)(*arguments, **named)
        except (ApiException, OSError) as error:
            raise StorageError(f"{self.where}: {error}; the next run goes on from here") from error

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """Vectors by id."""
        wanted = {str(point_id(key)): key for key in keys}
        found = self.ask("retrieve", self.name, ids=[point_id(key) for key in keys], with_vectors=True)
        return {
            wanted[str(point.id)]: np.asarray(vectors[name], np.float32)
            for point in found
            if name in (vectors := _named(point.vector))
        }

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """By the engine's own index."""
        from qdrant_client import models

        served = "://" in self.where  # the local mode scans, and warns of settings for a graph
        asked = [
            models.QueryRequest(
                query=query.tolist(),
                using=self._using(name),
                limit=k,
                params=models.SearchParams(hnsw_ef=max(EF_SEARCH, k)) if served else None,
                with_payload=[KEY],
            )
            for query in queries
        ]
        found = self.ask("query_batch_points", self.name, requests=asked)
        return [[_key(point) for point in answer.points] for answer in found]

    def close(self) -> None:
        """Let go of the connection."""
        self.client.close()

    def _using(self, name: str) -> str | None:
        return name or None


class QdrantTarget(_Qdrant):
    """A collection that is made, or goes on being filled."""

    def __init__(self, address: str, collection: str, *, api_key: str | None = None) -> None:
        super().__init__(address, collection, api_key=api_key)
        self._plan = Plan({})

    def prepare(self, plan: Plan, *, fresh: bool) -> None:
        """The collection with its vectors, m and ef_construction, and the declared fields."""
        from qdrant_client import models

        self._plan = plan
        if fresh and self.ask("collection_exists", self.name):
            self.ask("delete_collection", self.name)
        described = {
            name: models.VectorParams(
                size=settings.dims,
                distance=models.Distance(METRICS[settings.metric]),
                hnsw_config=models.HnswConfigDiff(m=settings.index.m, ef_construct=settings.index.ef_construction),
            )
            for name, settings in plan.vectors.items()
        }
        if self.ask("collection_exists", self.name):
            there = _described(self.ask("get_collection", self.name).config.params.vectors)
            wanted = {name: (p.size, p.distance) for name, p in described.items()}
            if {name: (p.size, p.distance) for name, p in there.items()} != wanted:
                raise SettingsError(f"{self.where}: is there with other vectors; --fresh replaces it")
            return
        only = described[""] if set(described) == {""} else described
        self.ask("create_collection", self.name, vectors_config=only)
        if "://" in self.where:  # the local mode has no payload indexes, and warns
            for path, kind in plan.fields.items():
                schema = models.PayloadSchemaType(KINDS.get(kind, "keyword"))
                self.ask("create_payload_index", self.name, field_name=path, field_schema=schema)

    def write(self, records: Sequence[Record]) -> None:
        """Upsert a page, and wait until it is there."""
        from qdrant_client import models

        points = []
        for r in records:
            taken = [name for name in (KEY, TEXT, TITLE) if name in r.payload]
            if taken:
                raise DataError(f"payload of {r.id!r} has a field {taken[0]!r}, which Qdrant needs for it; rename it")
            payload: dict[str, Any] = {**r.payload, TEXT: r.text, **({TITLE: r.title} if r.title else {})}
            id_ = point_id(r.id)
            if id_ != r.id:
                payload[KEY] = r.id
            vectors = {name: r.vectors[name].tolist() for name in self._plan.vectors}
            whole = vectors[""] if set(vectors) == {""} else vectors
            points.append(models.PointStruct(id=id_, vector=whole, payload=payload))
        if points:
            self.ask("upsert", self.name, points=points, wait=True)

    def finish(self) -> None:
        """Qdrant indexes by itself."""


class QdrantSupply(_Qdrant):
    """A collection of dense vectors; `text_field` says where its payload keeps the text."""

    def __init__(
        self, address: str, collection: str, *, api_key: str | None = None, text_field: str | None = None
    ) -> None:
        super().__init__(address, collection, api_key=api_key)
        self._texts = (text_field,) if text_field else TEXTS

    def plan(self) -> Plan:
        """By the collection's configuration.

        Raises:
            DataError: no such collection, or no dense vectors in it.
        """
        if not self.ask("collection_exists", self.name):
            names = [one.name for one in self.ask("get_collections").collections]
            raise DataError(f"{self.where}: no such collection; there are {names}")
        info = self.ask("get_collection", self.name)
        distances = {theirs: ours for ours, theirs in METRICS.items()}
        general = getattr(info.config, "hnsw_config", None)
        vectors = {}
        for name, params in _described(info.config.params.vectors).items():
            if params.distance.value not in distances:
                raise DataError(f"{self.where}: distance {params.distance.value} of {name!r} has no like in firth")
            graph = params.hnsw_config or general
            index = IndexSettings(
                m=max(2, getattr(graph, "m", None) or 16), ef_construction=getattr(graph, "ef_construct", None) or 200
            )
            vectors[name] = VectorSettings(params.size, distances[params.distance.value], index=index)
        if not vectors:
            raise DataError(f"{self.where}: no dense vectors")
        fields = {}
        for path, told in (info.payload_schema or {}).items():
            kinds = {
                "keyword": "keyword",
                "uuid": "keyword",
                "integer": "number",
                "float": "number",
                "datetime": "time",
            }
            if (kind := kinds.get(getattr(told.data_type, "value", ""))) is not None:
                fields[path] = kind
        return Plan(vectors, fields, self.count())

    def read(self, after: Any) -> Iterator[tuple[list[Record], Any]]:
        """Pages in the engine's order of ids; the mark is the id that the next one starts with."""
        while after is not False:
            points, offset = self.ask(
                "scroll", self.name, limit=PAGE, offset=after, with_payload=True, with_vectors=True
            )
            after = False if offset is None else offset
            yield [self._record(point) for point in points], after

    def _record(self, point: Any) -> Record:
        payload = dict(point.payload or {})
        text = next((payload.pop(name) for name in self._texts if isinstance(payload.get(name), str)), "")
        title = payload.pop(TITLE) if isinstance(payload.get(TITLE), str) else ""
        key = payload.pop(KEY, None)
        vectors = {name: np.asarray(vector, np.float32) for name, vector in _named(point.vector).items()}
        return Record(point.id if key is None else key, text, title, payload, vectors)


def point_id(key: Key) -> int | str:
    """The id under which Qdrant holds a key: integers from 0 and UUIDs are themselves."""
    if isinstance(key, int):
        return key if 0 <= key <= LARGEST_ID else str(uuid.uuid5(SPACE, f"int:{key}"))
    try:
        same = str(uuid.UUID(key)) == key
    except ValueError:
        same = False
    return key if same else str(uuid.uuid5(SPACE, f"str:{key}"))


def _key(point: Any) -> Key:
    held = (point.payload or {}).get(KEY)
    key: Key = point.id if held is None else held
    return key


def _described(vectors: Any) -> dict[str, Any]:
    return dict(vectors) if isinstance(vectors, dict) else {"": vectors}


def _named(vectors: Any) -> dict[str, Any]:
    if isinstance(vectors, dict):
        return {name: vector for name, vector in vectors.items() if isinstance(vector, list)}
    return {} if vectors is None else {"": vectors}
