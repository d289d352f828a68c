"""What does a collection cost and give, against qdrant-client's local mode on the same documents, in one process?

Filling (texts and payloads with ready vectors, durable), opening with the first answer, searches without and with a
filter, one upsert at a time, size on disk, memory. "bare index" is the graph alone, without a collection around it.
Vectors are clustered noise: they cost what real ones cost, and say nothing about quality.

Run:   make bench Q=collection       (10 min on 2 cores, 100,000 documents of 384 dimensions; --small 1 min, 5,000)
Last:  2026-11-23, --small, 2 cores Zen 5 that other work kept busy (load 8): only the ratios mean something. 5,000
       documents are still scanned, not walked through; never run in full so far
       what                       firth    qdrant local  bare index
       fill, documents/s          5,865    43.64
       disk, bytes/document       2,177    4,137
       open and first answer, s   0.02099  0.4873
       search, ms                 8.329    20.8          0.26
       search, a third pass, ms   6.781    116.5
       search, 1 in 100 pass, ms  13.47    117.5
       search, 10 pass, ms        11.84    72.36
       upsert of one, ms          9.044    19.55
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Vectors, unit
from firth.index import HNSW
from firth.store import Collection, IndexSettings
from measure import CACHE, environment, interleaved, save, spread, table

DIMS = 384
WORDS = 60  # a text
VOCABULARY = 20_000
PART = 1_000  # documents an upsert


def main() -> None:
    """Fill both, open both, ask both in turns."""
    small = _arguments().small
    n = 5_000 if small else 100_000
    rng = np.random.default_rng(0)
    rows, texts = _documents(rng, n)
    payloads = [{"n": i, "lang": "de" if i % 3 else "en"} for i in range(n)]
    queries = unit(rows[rng.integers(0, n, 200)] + 0.3 * rng.normal(size=(200, DIMS)).astype(np.float32) / DIMS**0.5)
    where = CACHE / "collection"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    found: dict[str, dict[str, Any]] = {"firth": {}, "qdrant local": {}, "bare index": {}}

    found["firth"] |= _timed("fill, documents/s", n, lambda: _fill(where / "firth", rows, texts, payloads))
    found["qdrant local"] |= _timed(
        "fill, documents/s", n, lambda: _fill_qdrant(where / "qdrant", rows, texts, payloads)
    )
    for name in ("firth", "qdrant local"):
        path = where / name.split()[0]
        found[name]["disk, bytes/document"] = sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / n

    start = time.perf_counter()
    collection = Collection.open(where / "firth", background=False)
    collection.search(queries[0])
    found["firth"]["open and first answer, s"] = time.perf_counter() - start
    start = time.perf_counter()
    peer = _Qdrant(where / "qdrant")
    peer.search(queries[0])
    found["qdrant local"]["open and first answer, s"] = time.perf_counter() - start
    collection.compact()
    bare = HNSW.build(rows, threads=2)

    filters = {"a third": {"lang": "en"}, "1 in 100": {"n": {"$lt": n // 100}}, "10": {"n": {"$lt": 10}}}
    collection.declare("n", "number")
    turn = {"next": 0}

    def query() -> Vectors:
        turn["next"] = (turn["next"] + 1) % len(queries)
        return queries[turn["next"]]

    asked: dict[str, dict[str, Callable[[], object]]] = {
        "search": {
            "firth": lambda: collection.search(query()),
            "qdrant local": lambda: peer.search(query()),
            "bare index": lambda: bare.search(query()),
        }
    }
    for label, filter_ in filters.items():
        asked[f"search, {label} pass"] = {
            "firth": lambda f=filter_: collection.search(query(), filter=f),
            "qdrant local": lambda f=filter_: peer.search(query(), f),
        }
    asked["upsert of one"] = {
        "firth": lambda: collection.upsert([7], ["new text"], [{"n": 7, "lang": "en"}], vectors=query()[None]),
        "qdrant local": lambda: peer.upsert(7, query(), {"n": 7, "lang": "en", "text": "new text"}),
    }
    for label, contenders in asked.items():
        for name, seconds in interleaved(contenders, repeats=20 if small else 50).items():
            found[name][f"{label}, ms"] = 1e3 * spread(seconds)["median"]
    labels = list(dict.fromkeys(label for values in found.values() for label in values))
    lines = [{"what": label, **{name: found[name].get(label, "") for name in found}} for label in labels]
    table(lines)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    collection.close()
    if not small:
        save("collection", {"environment": environment("qdrant-client"), "documents": n, "rows": lines})


def _fill(path: Path, rows: Vectors, texts: list[str], payloads: list[dict[str, Any]]) -> None:
    with Collection.create(path, dims=DIMS, index=IndexSettings(threads=2)) as collection:
        for begin in range(0, len(rows), PART):
            part = slice(begin, begin + PART)
            ids = range(begin, min(begin + PART, len(rows)))
            collection.upsert(ids, texts[part], payloads[part], vectors=rows[part])


def _fill_qdrant(path: Path, rows: Vectors, texts: list[str], payloads: list[dict[str, Any]]) -> None:
    peer = _Qdrant(path, create=True)
    for begin in range(0, len(rows), PART):
        ids = range(begin, min(begin + PART, len(rows)))
        peer.fill(ids, rows, texts, payloads)
    peer.client.close()


class _Qdrant:
    """qdrant-client over a local folder."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        warnings.simplefilter("ignore")  # it advises the server from 20,000 points on
        from qdrant_client import QdrantClient, models

        self.client, self.models = QdrantClient(path=str(path)), models
        if create:
            size = models.VectorParams(size=DIMS, distance=models.Distance.COSINE)
            self.client.create_collection("c", vectors_config=size)

    def fill(self, ids: range, rows: Vectors, texts: list[str], payloads: list[dict[str, Any]]) -> None:
        point = self.models.PointStruct
        points = [point(id=i, vector=rows[i].tolist(), payload={**payloads[i], "text": texts[i]}) for i in ids]
        self.client.upsert("c", points)

    def upsert(self, id_: int, row: Vectors, payload: dict[str, Any]) -> None:
        self.client.upsert("c", [self.models.PointStruct(id=id_, vector=row.tolist(), payload=payload)])

    def search(self, query: Vectors, filter_: dict[str, Any] | None = None) -> Any:
        wanted = None
        if filter_ is not None:
            ((key, value),) = filter_.items()
            test = {"range": {"lt": value["$lt"]}} if isinstance(value, dict) else {"match": {"value": value}}
            wanted = self.models.Filter.model_validate({"must": [{"key": key, **test}]})
        return self.client.query_points("c", query=query, query_filter=wanted, limit=10)


def _documents(rng: np.random.Generator, n: int) -> tuple[Vectors, list[str]]:
    centres = rng.normal(size=(500, DIMS)).astype(np.float32)
    rows = unit(centres[rng.integers(0, 500, n)] + rng.normal(size=(n, DIMS)).astype(np.float32))
    chosen = rng.zipf(1.3, size=(n, WORDS)) % VOCABULARY
    return rows, [" ".join(f"w{word}" for word in line) for line in chosen.tolist()]


def _timed(what: str, n: int, work: Callable[[], object]) -> dict[str, float]:
    start = time.perf_counter()
    work()
    return {what: n / (time.perf_counter() - start)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--small", action="store_true", help="5,000 documents, nothing saved")
    return parser.parse_args()


if __name__ == "__main__":
    main()
