"""Vector stores behind one face, asked as their users ask them: firth and chroma over HTTP, the others in process.

Each is a context manager over a folder with `create`, `upsert`, `settle`, `client` (a function of a query's row and of
the `third` that a filter asks for, which returns the ids it found) and `memory`.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from firth.arrays import Vectors
from measure import own_memory

DIMS = 384
Ask = Callable[[Vectors, int | None], list[int]]


class Firth:
    """`firth serve` as its users start it, asked through the routes of Qdrant's REST interface."""

    package = "firth"
    inside = False
    reopens = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Firth:
        command = [sys.executable, "-m", "firth.cli", "serve", str(self.folder), "--port", "0", "--sampled", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
        assert self.process.stderr is not None
        self.url = self.process.stderr.readline().rsplit(" ", 1)[1].strip()
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.search = self.client()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def create(self) -> None:
        sent(connected(self.url), "PUT", "/collections/c", {"vectors": {"size": DIMS, "distance": "Cosine"}})
        self.line = connected(self.url)

    def upsert(self, begin: int, rows: Vectors) -> None:
        points = [{"id": begin + i, "vector": row, "payload": payload(begin + i)} for i, row in enumerate(rows)]
        sent(self.line, "PUT", "/collections/c/points", {"points": points})

    def settle(self) -> None:
        job = sent(connected(self.url), "POST", "/api/v1/jobs", {"kind": "compact", "collection": "c"})
        while job["state"] in ("waiting", "running"):
            time.sleep(0.2)
            job = sent(connected(self.url), "GET", f"/api/v1/jobs/{job['id']}", None)
        self.line = connected(self.url)  # the old one was not used for long

    def client(self) -> Ask:
        line = connected(self.url)

        def ask(row: Vectors, third: int | None) -> list[int]:
            filter_ = None if third is None else {"must": [{"key": "third", "match": {"value": third}}]}
            found = sent(line, "POST", "/collections/c/points/query", {"query": row, "limit": 10, "filter": filter_})
            return [point["id"] for point in found["result"]["points"]]

        return ask

    def memory(self) -> float:
        return own_memory(self.process.pid)


class Qdrant:
    """qdrant-client's local mode, in this process and in memory: on disk it takes 44 documents a second."""

    package = "qdrant_client"
    inside = True  # this process
    reopens = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Qdrant:
        from qdrant_client import QdrantClient, models

        warnings.simplefilter("ignore")
        self.models, self.made = models, QdrantClient(":memory:")
        self.lock = threading.Lock()  # it is not made for several threads
        self.search = self.client()
        return self

    def __exit__(self, *_: object) -> None:
        self.made.close()

    def create(self) -> None:
        self.made.create_collection("c", vectors_config=self.models.VectorParams(size=DIMS, distance="Cosine"))

    def upsert(self, begin: int, rows: Vectors) -> None:
        point = self.models.PointStruct
        self.made.upsert(
            "c", [point(id=begin + i, vector=r.tolist(), payload=payload(begin + i)) for i, r in enumerate(rows)]
        )

    def settle(self) -> None:
        return None

    def client(self) -> Ask:
        def ask(row: Vectors, third: int | None) -> list[int]:
            match = None if third is None else self.models.FieldCondition(key="third", match={"value": third})
            filter_ = None if match is None else self.models.Filter(must=[match])
            with self.lock:
                found = self.made.query_points("c", query=row, query_filter=filter_, limit=10)
            return [point.id for point in found.points]

        return ask

    def memory(self) -> float:
        return own_memory(os.getpid())


class Milvus:
    """Milvus Lite, in this process."""

    package = "milvus_lite"
    inside = True  # this process
    reopens = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Milvus:
        from pymilvus import MilvusClient

        self.made = MilvusClient(str(self.folder / "milvus.db"))
        if self.made.has_collection("c"):
            self.made.load_collection("c")
        self.search = self.client()
        return self

    def __exit__(self, *_: object) -> None:
        self.made.close()

    def create(self) -> None:
        self.made.create_collection("c", dimension=DIMS, metric_type="COSINE")

    def upsert(self, begin: int, rows: Vectors) -> None:
        self.made.upsert(
            "c", [{"id": begin + i, "vector": row.tolist(), **payload(begin + i)} for i, row in enumerate(rows)]
        )

    def settle(self) -> None:
        self.made.flush("c")

    def client(self) -> Ask:
        def ask(row: Vectors, third: int | None) -> list[int]:
            asked = "" if third is None else f"third == {third}"
            return [hit["id"] for hit in self.made.search("c", [row.tolist()], limit=10, filter=asked)[0]]

        return ask

    def memory(self) -> float:
        return own_memory(os.getpid())


class Chroma:
    """`chroma run`, asked through its REST interface; FIRTH_CHROMA names the command where it is not on the path."""

    package = "chroma"
    inside = False
    reopens = True
    base = "/api/v2/tenants/default_tenant/databases/default_database/collections"
    port = 18_411

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Chroma:
        command = [_chroma() or "", "run", "--path", str(self.folder), "--port", str(self.port)]
        quiet = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quiet)
        self.url, deadline = f"http://127.0.0.1:{self.port}", time.monotonic() + 60
        body = {"name": "documents", "get_or_create": True, "configuration": {"hnsw": {"space": "cosine"}}}
        while True:
            try:
                self.id = sent(connected(self.url), "POST", self.base, body)["id"]
                break
            except OSError:  # not up yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self.line = connected(self.url)
        self.search = self.client()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def create(self) -> None:
        return None

    def upsert(self, begin: int, rows: Vectors) -> None:
        numbers = range(begin, begin + len(rows))
        body = {"ids": [str(i) for i in numbers], "embeddings": rows, "metadatas": [payload(i) for i in numbers]}
        sent(self.line, "POST", f"{self.base}/{self.id}/upsert", body)

    def settle(self) -> None:
        return None

    def client(self) -> Ask:
        line = connected(self.url)

        def ask(row: Vectors, third: int | None) -> list[int]:
            where = {} if third is None else {"where": {"third": third}}
            body = {"query_embeddings": [row], "n_results": 10, "include": ["metadatas", "distances"], **where}
            return [int(key) for key in sent(line, "POST", f"{self.base}/{self.id}/query", body)["ids"][0]]

        return ask

    def memory(self) -> float:
        return own_memory(self.process.pid)


PEERS: dict[str, Any] = {"firth": Firth, "qdrant local": Qdrant, "milvus lite": Milvus, "chroma run": Chroma}


def there(peer: Any) -> bool:
    """Whether it is installed."""
    return _chroma() is not None if peer is Chroma else find_spec(peer.package) is not None


def payload(i: int) -> dict[str, Any]:
    """Of document i."""
    return {"third": i % 3, "n": i}


def connected(url: str) -> http.client.HTTPConnection:
    """A connection that stays open."""
    place = urlsplit(url)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)


def sent(line: http.client.HTTPConnection, method: str, path: str, body: Any) -> Any:
    """The JSON of an answer.

    Raises:
        RuntimeError: it was none of success.
    """
    content = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    line.request(method, path, content, {"content-type": "application/json"})
    answer = line.getresponse()
    raw = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {raw[:300]!r}")
    return orjson.loads(raw)


def _chroma() -> str | None:
    return os.environ.get("FIRTH_CHROMA") or shutil.which("chroma")
