"""How many queries a second at recall 0.95 and 0.99, against hnswlib and faiss, and how long is the build?

Run:   make bench Q=search                      (100 k vectors and SciFact's 5,183, 10 min on 2 cores; --small 3 min)
       make bench Q="search --rows wiki200k"
       make bench Q="search --small --peers"    (every peer of search_peers.py that is installed, 10 min)
Last:  2026-11-23, 100,000 rows, 1,000 queries, 2 cores Zen 5
       queries of the rows' own kind, one thread, x hnswlib (range of 3 repeats beside other work)
       system            k=10 at 0.95        k=10 at 0.99        k=100 at 0.95       k=100 at 0.99
       firth             3.2 (3.1-3.6)       4.6 (4.5-5.4)       3.8 (3.0-4.3)       3.4 (3.2-3.8)
       faiss HNSW        1.2 (1.1-1.3)       1.2 (1.1-1.3)       0.98 (0.98-1.2)     1.2 (1.1-1.2)
       faiss HNSW SQ8    1.1 (1.1-1.2)       0.8 (0.7-0.8)       1.0 (0.9-1.3)       0.95 (0.9-1.0)
       Squad questions over the same rows: k=10 3.4 and 4.0, k=100 3.6 and 4.2.
       SciFact claims over its 5,183 abstracts: k=10 1.8 (1.7-2.0) and 2.1 (1.9-2.1), k=100 1.7 and 1.6.
       Build on 2 threads: 12.3 s (9.0 s on calmer cores), hnswlib 26.8 s, faiss 29.0 s, faiss SQ8 25.0 s; of SciFact
       0.7 s, most of it the curve of recall, hnswlib 0.4 s. Built by walks, 19.8 s beside hnswlib's 22.4 s, firth had
       4.4 and, at k=100, 3.9 (3.3-4.1) at 0.99.
       --small --peers, the same day, before the build without walks, busy cores: x hnswlib at 0.99 (range of 3 repeats)
       system            k=10                k=10, Squad         k=100               build, s
       firth             2.6 (2.2-2.9)       3.2 (3.0-3.8)       3.6 (3.5-5.3)       2.8
       SymphonyQG        2.7 (1.3-3.2)       3.0 (2.6-3.1)       1.4 (1.3-2.1)       4.7
       faiss IVF-PQfs    1.7 (1.6-2.9)       3.5 (3.4-3.7)       not reached         1.6
       ScaNN             1.3 (1.2-1.4)       2.8 (2.4-3.0)       not reached         2.9
       others            vsag 0.9, usearch f32 0.42, voyager 0.34; at k=100 1.06, 0.46, 0.42; usearch i8 not reached
       At 0.95, k=100, firth 1.8, faiss IVF-PQfs 4.1 and ScaNN 4.0: partitions win where one in twenty may be missed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import measure
import search_peers
from firth.arrays import Ids, Vectors
from firth.index import HNSW, Flat
from vectors import vectors

EF = (16, 24, 32, 48, 64, 80, 100, 120, 150, 200, 300, 450, 700)
LEVELS = (0.95, 0.99)
ENOUGH = 0.995  # recall at which a contender's wider beams are no longer measured
EMPTY = (("x hnswlib", ""), ("range", ""), ("build s", ""))  # of a contender that does not come to a recall
M, EF_CONSTRUCTION = 16, 200


@dataclass
class Contender:
    """A built index: `search(queries, k, ef)` on one thread, and what its build took."""

    name: str
    build_seconds: float
    search: Callable[[Vectors, int, int], Ids]
    points: dict[int, tuple[float, list[float]]] = field(default_factory=dict)

    def rate(self, recall: float, repeat: int | None = None) -> float:
        """Queries a second at a recall, between the two beams around it; the median repeat unless one is named."""
        known = [
            (found, float(np.median(rates)) if repeat is None else rates[repeat])
            for _, (found, rates) in sorted(self.points.items())
        ]
        for (low, fast), (high, slow) in pairwise(known):
            if low < recall <= high:
                share = (recall - low) / (high - low)
                return 1 / ((1 - share) / fast + share / slow)  # seconds a query grow evenly, not queries a second
        return known[0][1] if known and known[0][0] >= recall else float("nan")


def built(rows: Vectors, threads: int, *, peers: bool = False) -> list[Contender]:
    """The contenders, each over the same rows with the same m and ef_construction."""
    import faiss
    import hnswlib

    faiss.omp_set_num_threads(threads)
    contenders = []

    def add(name: str, make: Callable[[], Any], search: Callable[[Any], Callable[[Vectors, int, int], Ids]]) -> None:
        start = time.perf_counter()
        index = make()
        contenders.append(Contender(name, time.perf_counter() - start, search(index)))
        print(f"built {name} in {contenders[-1].build_seconds:.1f} s", flush=True)

    def peer() -> Any:
        index = hnswlib.Index("ip", rows.shape[1])
        index.init_index(len(rows), M=M, ef_construction=EF_CONSTRUCTION)
        index.add_items(rows, num_threads=threads)
        return index

    def faiss_index(index: Any) -> Any:
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.train(rows)
        index.add(rows)
        return index

    add(
        "firth",
        lambda: HNSW.build(rows, m=M, ef_construction=EF_CONSTRUCTION, threads=threads),
        lambda index: lambda q, k, ef: index.search(q, k, ef=ef, threads=1).ids,
    )
    add("hnswlib", peer, lambda index: lambda q, k, ef: _hnswlib(index, q, k, ef))
    ip = faiss.METRIC_INNER_PRODUCT
    add(
        "faiss HNSW",
        lambda: faiss_index(faiss.IndexHNSWFlat(rows.shape[1], M, ip)),
        lambda index: lambda q, k, ef: _faiss(index, q, k, ef),
    )
    add(
        "faiss HNSW SQ8",
        lambda: faiss_index(faiss.IndexHNSWSQ(rows.shape[1], faiss.ScalarQuantizer.QT_8bit, M, ip)),
        lambda index: lambda q, k, ef: _faiss(index, q, k, ef),
    )
    faiss.omp_set_num_threads(1)
    for name in search_peers.PEERS if peers else ():
        start = time.perf_counter()
        made = search_peers.built(name, rows, threads)
        seconds = time.perf_counter() - start
        if isinstance(made, str):
            print(f"left out: {name}: {made}", flush=True)
        else:
            contenders.append(Contender(name, seconds, made))
            print(f"built {name} in {seconds:.1f} s", flush=True)
    return contenders


def run(contenders: list[Contender], queries: Vectors, truth: Ids, k: int, repeats: int) -> list[dict[str, Any]]:
    """Recall and queries a second of each beam; contenders take turns at each."""
    for contender in contenders:
        contender.points.clear()
    left = list(contenders)
    for ef in (ef for ef in EF if ef >= k):
        found = {c.name: _recall(c.search(queries, k, ef), truth[:, :k]) for c in left}
        seconds = measure.interleaved({c.name: partial(c.search, queries, k, ef) for c in left}, repeats=repeats)
        for c in left:
            c.points[ef] = (found[c.name], [len(queries) / s for s in seconds[c.name]])
        left = [c for c in left if found[c.name] < ENOUGH]
    rows = []
    for level in LEVELS:
        base = next(c for c in contenders if c.name == "hnswlib")
        for c in contenders:
            ratios = [c.rate(level, i) / base.rate(level, i) for i in range(repeats)]
            if any(np.isnan(ratios)):
                rows.append({"k": k, "recall": level, "system": c.name, "queries/s": "not reached"} | dict(EMPTY))
                continue
            rows.append(
                {
                    "k": k,
                    "recall": level,
                    "system": c.name,
                    "queries/s": c.rate(level),
                    "x hnswlib": float(np.median(ratios)),
                    "range": f"{min(ratios):.2f}-{max(ratios):.2f}",
                    "build s": c.build_seconds,
                }
            )
    return rows


def main() -> None:
    """Build, search, print, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--rows", default="wiki100k")
    flags.add_argument("--small", action="store_true")
    flags.add_argument("--peers", action="store_true", help="also those of search_peers.py that are installed")
    flags.add_argument("--repeats", type=int, default=5)
    flags.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of the builds")
    settings = flags.parse_args()
    name = "wiki20k" if settings.small else settings.rows
    sets = {name: ("wiki_queries", "squad_queries"), "scifact_docs": ("scifact_queries",)}
    if settings.peers:
        del sets["scifact_docs"]
    result: dict[str, Any] = {"m": M, "ef_construction": EF_CONSTRUCTION, "answers": []}
    result["environment"] = measure.environment("hnswlib", "faiss-cpu", "numpy")
    question = "search"
    if settings.peers:
        result["environment"]["versions"] |= search_peers.versions()
        question = "search_peers"
    for over, kinds in sets.items():
        rows = vectors(over)
        contenders = built(rows, settings.threads, peers=settings.peers)
        exact = Flat.build(rows)
        for asked in kinds:
            queries = vectors(asked)[: 500 if settings.small else 1000]
            truth = exact.search(queries, 100, threads=settings.threads).ids
            for k in (10, 100):
                table = run(contenders, queries, truth, k, 3 if settings.small else settings.repeats)
                print(f"\n{asked} over {over} ({len(rows):,} rows), one query thread, k={k}")
                measure.table(table)
                points = {c.name: [[ef, r, float(np.median(s))] for ef, (r, s) in c.points.items()] for c in contenders}
                result["answers"].append(
                    {"rows": over, "n": len(rows), "queries": asked, "k": k, "table": table, "points": points}
                )
                measure.save(f"{question}_small" if settings.small else question, result)


def _hnswlib(index: Any, queries: Vectors, k: int, ef: int) -> Ids:
    index.set_ef(ef)
    return index.knn_query(queries, k, num_threads=1)[0].astype(np.int64)


def _faiss(index: Any, queries: Vectors, k: int, ef: int) -> Ids:
    index.hnsw.efSearch = ef
    return index.search(queries, k)[1]


def _recall(found: Ids, truth: Ids) -> float:
    return (
        float(np.mean([len({*a} & {*b}) for a, b in zip(found.tolist(), truth.tolist(), strict=True)])) / truth.shape[1]
    )


if __name__ == "__main__":
    main()
