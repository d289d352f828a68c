"""How fast does the server answer over HTTP, against chroma, Milvus Lite and qdrant-client's local mode?

Search p50 and p99 at 1, 8 and 32 clients that keep their connections, with and without a filter; documents filled a
second; opening; memory and size on disk; embeddings over HTTP against the same model in a process of its own. Peers are
asked as their users ask them: `chroma run` over its REST interface where it is installed, the others in this process,
which spares them the HTTP. Vectors are clustered noise: they cost what real ones cost, and say nothing about quality.

Run:   make bench Q=serve             (100,000 documents; --small 20,000)
Last:  2026-11-23, --small, 2 cores Zen 5 that other work kept busy (load 8): only the ratios mean something; chroma
       was not installed; never run in full so far
       what                         firth   qdrant local  milvus lite
       fill, documents/s            8,094   12,590        7,276
       disk, bytes/document         3,688                 1,587
       open and first answer, s     0.61                  0.41
       search, 1 client, p50 ms     1.27    14.9          48.3
       search, 1 client, p99 ms     12.3    26.2          212
       search, 8 clients, p50 ms    10.4    135           240
       search, 32 clients, p50 ms   43.2    988           1,077
       search, 32 clients, p99 ms   112     3,863         1,679
       filtered, 1 client, p50 ms   2.92    389           113
       filtered, 8 clients, p50 ms  19.5    1,387         529
       embeddings over HTTP 265 texts/s, in a process of its own 334: 0.80
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson

from firth.arrays import Vectors, unit
from measure import CACHE, environment, save, table

DIMS = 384
PART = 500  # documents a request
CLIENTS = (1, 8, 32)
SECONDS = 6.0  # of each measurement
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = 512  # embedded over HTTP, 32 a request, 4 requests at once


def main() -> None:
    """Fill, open and ask each in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="20,000 documents")
    small = parser.parse_args().small
    n, seconds = (20_000, SECONDS / 2) if small else (100_000, SECONDS)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(500, DIMS)).astype(np.float32)
    rows = unit(centres[rng.integers(0, 500, n)] + rng.normal(size=(n, DIMS)).astype(np.float32))
    queries = unit(rows[rng.integers(0, n, 500)] + 0.02 * rng.normal(size=(500, DIMS)).astype(np.float32))
    found: dict[str, dict[str, Any]] = {}
    for name, peer in PEERS.items():
        if not _there(peer):
            print(f"{name}: not installed, left out")
            continue
        folder = CACHE / "serve" / name.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found[name] = _measured(peer, folder, rows, queries, seconds)
        shutil.rmtree(folder)
    labels = list(dict.fromkeys(label for values in found.values() for label in values))
    lines = [{"what": label, **{name: found[name].get(label, "") for name in found}} for label in labels]
    table(lines)
    embeddings = _embeddings()
    table([embeddings])
    result = {
        "environment": environment("uvicorn", "starlette"),
        "documents": n,
        "rows": lines,
        "embeddings": embeddings,
    }
    save("serve_small" if small else "serve", result)


def _measured(peer: Any, folder: Path, rows: Vectors, queries: Vectors, seconds: float) -> dict[str, Any]:
    told: dict[str, Any] = {}
    one = peer(folder).__enter__()
    begun = time.perf_counter()
    one.create()
    for begin in range(0, len(rows), PART):
        one.upsert(begin, rows[begin : begin + PART])
    told["fill, documents/s"] = len(rows) / (time.perf_counter() - begun)
    one.settle()
    if peer.reopens:
        one.__exit__()
        told["disk, bytes/document"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / len(rows)
        begun = time.perf_counter()
        one = peer(folder).__enter__()
        one.search(queries[0], None)
        told["open and first answer, s"] = time.perf_counter() - begun
    for label, third in (("search", None), ("filtered", 1)):
        for clients in CLIENTS if third is None else CLIENTS[:2]:
            times, rate = _asked(one, queries, third, clients, seconds)
            told[f"{label}, {clients} clients, p50 ms"] = 1e3 * float(np.quantile(times, 0.5))
            told[f"{label}, {clients} clients, p99 ms"] = 1e3 * float(np.quantile(times, 0.99))
            told[f"{label}, {clients} clients, /s"] = rate
    told["memory, MB"] = one.memory() or ""
    one.__exit__()
    return told


def _asked(one: Any, queries: Vectors, third: int | None, clients: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of each search by so many clients at once, and searches a second."""
    times: list[list[float]] = [[] for _ in range(clients)]
    stop = threading.Event()

    def client(number: int) -> None:
        ask = one.client()
        turn = number
        while not stop.is_set():
            turn = (turn + 7) % len(queries)
            begun = time.perf_counter()
            ask(queries[turn], third)
            times[number].append(time.perf_counter() - begun)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    every = [value for part in times for value in part]
    return every, len(every) / seconds


class Firth:
    """`firth serve` as its users start it, asked through the routes of Qdrant's REST interface."""

    package = "firth"
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
        _sent(_line(self.url), "PUT", "/collections/c", {"vectors": {"size": DIMS, "distance": "Cosine"}})
        self.line = _line(self.url)

    def upsert(self, begin: int, rows: Vectors) -> None:
        points = [{"id": begin + i, "vector": row, "payload": _payload(begin + i)} for i, row in enumerate(rows)]
        _sent(self.line, "PUT", "/collections/c/points", {"points": points})

    def settle(self) -> None:
        job = _sent(_line(self.url), "POST", "/api/v1/jobs", {"kind": "compact", "collection": "c"})
        while job["state"] in ("waiting", "running"):
            time.sleep(0.2)
            job = _sent(_line(self.url), "GET", f"/api/v1/jobs/{job['id']}", None)

    def client(self) -> Callable[[Vectors, int | None], Any]:
        line = _line(self.url)

        def ask(row: Vectors, third: int | None) -> Any:
            filter_ = None if third is None else {"must": [{"key": "third", "match": {"value": third}}]}
            return _sent(line, "POST", "/collections/c/points/query", {"query": row, "limit": 10, "filter": filter_})

        return ask

    def memory(self) -> float:
        return _memory(self.process.pid)


class Qdrant:
    """qdrant-client's local mode, in this process and in memory: on disk it takes 44 documents a second."""

    package = "qdrant_client"
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
            "c", [point(id=begin + i, vector=r.tolist(), payload=_payload(begin + i)) for i, r in enumerate(rows)]
        )

    def settle(self) -> None:
        return None

    def client(self) -> Callable[[Vectors, int | None], Any]:
        def ask(row: Vectors, third: int | None) -> Any:
            match = None if third is None else self.models.FieldCondition(key="third", match={"value": third})
            filter_ = None if match is None else self.models.Filter(must=[match])
            with self.lock:
                return self.made.query_points("c", query=row, query_filter=filter_, limit=10)

        return ask

    def memory(self) -> None:
        return None  # it shares this process with the benchmark and the other peers


class Milvus:
    """Milvus Lite, in this process."""

    package = "milvus_lite"
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
            "c", [{"id": begin + i, "vector": row.tolist(), **_payload(begin + i)} for i, row in enumerate(rows)]
        )

    def settle(self) -> None:
        self.made.flush("c")

    def client(self) -> Callable[[Vectors, int | None], Any]:
        def ask(row: Vectors, third: int | None) -> Any:
            return self.made.search("c", [row.tolist()], limit=10, filter="" if third is None else f"third == {third}")

        return ask

    def memory(self) -> None:
        return None  # it shares this process with the benchmark and the other peers


class Chroma:
    """`chroma run`, asked through its REST interface; FIRTH_CHROMA names the command where it is not on the path."""

    package = "chroma"
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
                self.id = _sent(_line(self.url), "POST", self.base, body)["id"]
                break
            except OSError:  # not up yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self.line = _line(self.url)
        self.search = self.client()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def create(self) -> None:
        return None

    def upsert(self, begin: int, rows: Vectors) -> None:
        numbers = range(begin, begin + len(rows))
        body = {"ids": [str(i) for i in numbers], "embeddings": rows, "metadatas": [_payload(i) for i in numbers]}
        _sent(self.line, "POST", f"{self.base}/{self.id}/upsert", body)

    def settle(self) -> None:
        return None

    def client(self) -> Callable[[Vectors, int | None], Any]:
        line = _line(self.url)

        def ask(row: Vectors, third: int | None) -> Any:
            where = {} if third is None else {"where": {"third": third}}
            body = {"query_embeddings": [row], "n_results": 10, "include": ["metadatas", "distances"], **where}
            return _sent(line, "POST", f"{self.base}/{self.id}/query", body)

        return ask

    def memory(self) -> float:
        return _memory(self.process.pid)


PEERS: dict[str, Any] = {"firth": Firth, "qdrant local": Qdrant, "milvus lite": Milvus, "chroma run": Chroma}


def _embeddings() -> dict[str, Any]:
    """Texts a second over HTTP, many clients, against the same model in a process of its own."""
    rng = np.random.default_rng(1)
    texts = [" ".join(f"word{w}" for w in rng.zipf(1.4, 40) % 5000) for _ in range(TEXTS)]
    with tempfile.TemporaryDirectory() as folder, _serving(folder) as url:
        lines = [_line(url) for _ in range(4)]
        _sent(lines[0], "POST", "/v1/embeddings", {"model": "default", "input": texts[:32]})
        over = []
        for _ in range(3):
            parts = [texts[i : i + 32] for i in range(0, TEXTS, 32)]
            begun = time.perf_counter()
            threads = [threading.Thread(target=_embedded, args=(line, parts[i::4])) for i, line in enumerate(lines)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            over.append(TEXTS / (time.perf_counter() - begun))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        inside = pool.apply(_in_process, (texts,))
    http_rate, rate = float(np.median(over)), float(np.median(inside))
    return {"embeddings/s over HTTP": http_rate, "in process": rate, "share": http_rate / rate}


def _in_process(texts: list[str]) -> list[float]:
    import firth

    encoder = firth.load(MODEL)
    encoder.encode(texts[:32])
    rates = []
    for _ in range(3):
        begun = time.perf_counter()
        encoder.encode(texts)
        rates.append(len(texts) / (time.perf_counter() - begun))
    return rates


@contextmanager
def _serving(folder: str) -> Iterator[str]:
    command = [sys.executable, "-m", "firth.cli", "serve", folder, "--model", MODEL, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield line.rsplit(" ", 1)[1].strip()
        finally:
            process.terminate()


def _embedded(line: http.client.HTTPConnection, parts: list[list[str]]) -> None:
    for part in parts:
        body = {"model": "default", "input": part, "encoding_format": "base64"}
        _sent(line, "POST", "/v1/embeddings", body)


def _line(url: str) -> http.client.HTTPConnection:
    place = urlsplit(url)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)


def _sent(line: http.client.HTTPConnection, method: str, path: str, body: Any) -> Any:
    content = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    line.request(method, path, content, {"content-type": "application/json"})
    answer = line.getresponse()
    raw = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {raw[:300]!r}")
    return orjson.loads(raw)


def _there(peer: Any) -> bool:
    return _chroma() is not None if peer is Chroma else find_spec(peer.package) is not None


def _chroma() -> str | None:
    return os.environ.get("FIRTH_CHROMA") or shutil.which("chroma")


def _payload(i: int) -> dict[str, Any]:
    return {"third": i % 3, "n": i}


def _memory(process: int) -> float:
    """Megabytes that belong to the process alone: anonymous memory, without mapped files."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024


if __name__ == "__main__":
    main()
