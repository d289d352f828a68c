"""How many queries a second at recall 0.95 and 0.99, against hnswlib and faiss, and how long is the build?

Each contender is built and its recall at every beam counted first; then the beams on both sides of each wanted recall
are timed, contenders taking turns, and rates interpolated between the two. "x hnswlib" is the median over the repeats.
A run keeps the rows of contenders that it was not asked for, so that a long table can be made in parts.

Run:   make bench Q=search                      (100 k vectors and SciFact's 5,183, 10 min on 2 cores; --small 3 min)
       make bench Q="search --rows wiki200k"
       make bench Q="search --small --peers"    (every peer of search_peers.py that is installed, 10 min)
       make bench Q="search --peers --only firth SymphonyQG --ask"   (builds, then waits for Enter before each timing)
Last:  2026-11-23, 100,000 rows, 1,000 queries, 2 cores Zen 5
       queries of the rows' own kind, one thread, x hnswlib (range of 3 repeats beside other work)
       system            k=10 at 0.95        k=10 at 0.99        k=100 at 0.95       k=100 at 0.99
       firth             5.5 (5.3-5.5)       8.2 (7.1-8.3)       3.4 (3.3-3.4)       4.8 (4.8-5.0)
       faiss HNSW        1.2 (1.1-1.3)       1.2 (1.1-1.3)       0.98 (0.98-1.2)     1.2 (1.1-1.2)     earlier that day
       faiss HNSW SQ8    1.1 (1.1-1.2)       0.8 (0.7-0.8)       1.0 (0.9-1.3)       0.95 (0.9-1.0)    earlier that day
       Squad questions over the same rows: k=10 5.1 and 5.9, k=100 3.4 and 4.9.
       SciFact claims over its 5,183 abstracts: k=10 2.0 (2.0-2.0) and 3.2 (3.2-3.3), k=100 2.0 and 2.0.
       Build on 2 threads: 9.3 s, hnswlib 21.5 s; of SciFact 0.5 s, most of it the curve of recall.
       --peers, the same day, 500 queries, x hnswlib (range of 3 repeats); build in seconds of the processor
       wiki100k, 384 wide     k=10                k=10, Squad         k=100               k=100, Squad        build
       firth at 0.99          8.1 (6.6-8.3)       4.8 (4.4-5.7)       4.6 (4.6-4.7)       4.9 (4.9-5.0)       14
       SymphonyQG             3.5 (3.4-3.5)       3.3 (3.2-3.3)       2.3 (2.2-2.3)       2.3 (2.2-2.3)       45
       hnswlib                1                   1                   1                   1                   41
       firth at 0.95          4.3 (4.1-5.6)       3.6 (3.5-3.8)       3.4 (3.3-3.5)       3.4 (3.4-3.7)
       SymphonyQG             3.2 (2.8-3.4)       3.4 (3.4-3.5)       1.7 (1.7-1.7)       1.7 (1.7-1.8)
       wiki50k@mpnet, 768     k=10                k=10, Squad         k=100               k=100, Squad        build
       firth at 0.99          6.8 (6.5-7.1)       5.7 (5.4-6.0)       4.6 (4.6-4.9)       4.4 (4.4-4.6)       10
       SymphonyQG             3.9 (3.9-4.0)       4.4 (4.4-4.6)       2.6 (2.6-2.8)       3.2 (3.1-3.2)       27
       hnswlib                1                   1                   1                   1                   26
       firth at 0.95          4.8 (4.8-5.0)       4.1 (3.9-4.3)       3.0 (2.9-3.0)       2.9 (2.6-3.0)
       SymphonyQG             3.9 (3.9-4.0)       3.9 (3.8-4.1)       1.9 (1.9-1.9)       2.1 (2.1-2.1)
       Against itself before it read half codes, in interleaved processes: k=10 1.2 to 1.8 times as fast at 0.95 and
       0.99, one query at a time 1.3 times, k=100 1.1 to 1.5 times at 0.99 and 0.93 to 1.02 times at 0.95.
       wiki200k, all peers     k=10, Squad at 0.99         k=100, Squad at 0.99        k=10, k=100 at 0.95    build
       firth                   7.3 (5.7-8.4), 6.5          3.9 (3.8-4.7), 5.7          6.2, 3.0               31
       SymphonyQG              3.5 (3.5-4.2), 3.2          2.6 (2.4-2.7), 2.6          4.3, 2.2               94
       hnswlib                 1                           1                           1                      100
       and of a run before half codes, when firth had 3.9, 3.9, 4.1, 3.6, 3.1, 3.7:
       faiss IVF-PQfs          2.0 (1.6-2.1), 2.0          3.8 (1.6-4.1), 3.6          2.1, 3.3               84
       SVS float32             1.6 (1.2-1.7), 1.5          1.3 (0.6-2.0), 1.8          1.1, 0.60              361
       ScaNN                   1.4 (1.3-1.8), 1.4          2.4 (1.1-2.9), 2.6          1.6, 2.1               27
       faiss HNSW              1.1 (0.9-1.2), 0.95         0.93, 0.98                  1.0, 0.92              119
       vsag                    1.0 (0.9-1.2), 1.1          0.58, 0.99                  0.66, 0.60             192
       faiss HNSW SQ8          0.65, 0.43                  0.76, 0.75                  0.93, 1.0              113
       voyager                 0.33, 0.38                  0.27, 0.25                  0.27, 0.26             295
       usearch f32             0.29, 0.34                  0.26, 0.32                  0.28, 0.28             373
       usearch i8, NGT and pynndescent do not come to 0.99 on any dial tried; 0.12 to 1.2 at 0.95 where they come to it.
       At k=100 and 0.95 faiss IVF-PQfs comes nearest: 3.3 beside firth's 3.7 in the same run.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
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

EF = (16, 24, 32, 48, 64, 80, 100, 120, 150, 200, 300, 450, 700, 1000, 1500)
LEVELS = (0.95, 0.99)
ENOUGH = 0.995  # recall at which a contender's wider beams are no longer measured
EMPTY = (("x hnswlib", ""), ("range", ""))  # of a contender that does not come to a recall
M, EF_CONSTRUCTION = 16, 200
Search = Callable[[Vectors, int, int], Ids]  # queries, k, ef -> ids


@dataclass
class Contender:
    """A built index: `search(queries, k, ef)` on one thread, and what its build took."""

    name: str
    build_seconds: float
    build_processor_seconds: float  # of all its threads; what other work takes from the cores does not count
    search: Search
    points: dict[int, tuple[float, list[float]]] = field(default_factory=dict)  # ef -> recall, rates of the repeats

    def beams(self) -> list[int]:
        """Those on both sides of each wanted recall."""
        known = [(ef, recall) for ef, (recall, _) in sorted(self.points.items())]
        wanted = {known[0][0]} if known[0][1] >= LEVELS[0] else set()
        for (low, less), (high, more) in pairwise(known):
            wanted |= {ef for level in LEVELS if less < level <= more for ef in (low, high)}
        return sorted(wanted)

    def rate(self, recall: float, repeat: int | None = None) -> float:
        """Queries a second at a recall, between the two beams around it; the median repeat unless one is named."""
        known = [
            (found, float(np.median(rates)) if repeat is None else rates[repeat])
            for _, (found, rates) in sorted(self.points.items())
            if rates
        ]
        for (low, fast), (high, slow) in pairwise(known):
            if low < recall <= high:
                share = (recall - low) / (high - low)
                return 1 / ((1 - share) / fast + share / slow)  # seconds a query grow evenly, not queries a second
        return known[0][1] if known and known[0][0] >= recall else float("nan")


def built(rows: Vectors, threads: int, *, peers: bool = False, only: Sequence[str] = ()) -> list[Contender]:
    """The contenders, each over the same rows with the same m and ef_construction; hnswlib is always one."""
    makes = {
        "firth": _firth,
        "hnswlib": _make_hnswlib,
        "faiss HNSW": partial(_make_faiss, False),
        "faiss HNSW SQ8": partial(_make_faiss, True),
    } | ({name: partial(search_peers.built, name) for name in search_peers.PEERS} if peers else {})
    contenders = []
    for name, make in makes.items():
        if only and name not in (*only, "hnswlib"):
            continue
        if peers:
            search_peers.prepare(name, rows, threads)
        start, processor = time.perf_counter(), time.process_time()
        made = make(rows, threads)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        if isinstance(made, str):
            print(f"left out: {name}: {made}", flush=True)
        else:
            contenders.append(Contender(name, seconds, processor, made))
            print(f"built {name} in {seconds:.1f} s, {processor:.1f} s of the processor", flush=True)
    return contenders


def count(contenders: list[Contender], queries: Vectors, truth: Ids, k: int) -> None:
    """The recall of each contender at each beam, until it is enough."""
    for contender in contenders:
        contender.points.clear()
        for ef in (ef for ef in EF if ef >= k):
            contender.points[ef] = (_recall(contender.search(queries, k, ef), truth[:, :k]), [])
            if contender.points[ef][0] >= ENOUGH:
                break


def run(contenders: list[Contender], queries: Vectors, k: int, repeats: int) -> list[dict[str, Any]]:
    """Queries a second at the beams that matter; contenders take turns."""
    work = {f"{c.name} {ef}": partial(c.search, queries, k, ef) for c in contenders for ef in c.beams()}
    seconds = measure.interleaved(work, repeats=repeats)
    for c in contenders:
        for ef in c.beams():
            c.points[ef] = (c.points[ef][0], [len(queries) / s for s in seconds[f"{c.name} {ef}"]])
    base = next(c for c in contenders if c.name == "hnswlib")
    rows = []
    for level in LEVELS:
        for c in contenders:
            row: dict[str, Any] = {"k": k, "recall": level, "system": c.name, "queries/s": "not reached"} | dict(EMPTY)
            ratios = [c.rate(level, i) / base.rate(level, i) for i in range(repeats)]
            if not any(np.isnan(ratios)):
                row |= {"queries/s": c.rate(level), "x hnswlib": float(np.median(ratios))}
                row["range"] = f"{min(ratios):.2f}-{max(ratios):.2f}"
            rows.append(row | {"build s": c.build_seconds, "build processor s": c.build_processor_seconds})
    return rows


def main() -> None:
    """Build, search, print, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--rows", default="wiki100k")
    flags.add_argument("--queries", nargs="*", help="sets of queries over the rows")
    flags.add_argument("--small", action="store_true")
    flags.add_argument("--peers", action="store_true", help="also those of search_peers.py that are installed")
    flags.add_argument("--only", nargs="*", default=[], help="contenders, by name; hnswlib is always one")
    flags.add_argument("--count", type=int, default=1000, help="queries of each set")
    flags.add_argument("--repeats", type=int, default=5)
    flags.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of the builds")
    flags.add_argument("--ask", action="store_true", help="wait for Enter before each timing")
    settings = flags.parse_args()
    name = "wiki20k" if settings.small else settings.rows
    sets = {name: tuple(settings.queries or ("wiki_queries", "squad_queries"))}
    if not settings.peers:
        sets["scifact_docs"] = ("scifact_queries",)
    result: dict[str, Any] = {"m": M, "ef_construction": EF_CONSTRUCTION, "answers": []}
    question = f"search{'_peers' * settings.peers}{'_small' * settings.small}"
    if settings.only and not settings.small:
        result = measure.last_result(question) or result
    result["environment"] = measure.environment("hnswlib", "faiss-cpu", "numpy")
    if settings.peers:
        result["environment"]["versions"] |= search_peers.versions()
    for over, kinds in sets.items():
        rows = vectors(over)
        contenders = built(rows, settings.threads, peers=settings.peers, only=settings.only)
        exact = Flat.build(rows)
        for asked in kinds:
            queries = vectors(asked)[: 500 if settings.small else settings.count]
            truth = exact.search(queries, 100, threads=settings.threads).ids
            for k in (10, 100):
                count(contenders, queries, truth, k)
                if settings.ask:
                    input(f"{asked} over {over}, k={k}: ready to be timed\n")
                table = run(contenders, queries, k, 3 if settings.small else settings.repeats)
                print(f"\n{asked} over {over} ({len(rows):,} rows), one query thread, k={k}")
                measure.table(table)
                points = {c.name: [[ef, r, _median(s)] for ef, (r, s) in c.points.items()] for c in contenders}
                answer = {"rows": over, "n": len(rows), "queries": asked, "k": k, "table": table, "points": points}
                result["answers"] = _with(result["answers"], answer)
                measure.save(question, result)


def _with(answers: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers with a new one, which keeps the rows of contenders that it does not have itself."""
    same = ("rows", "queries", "k")
    kept = []
    for old in answers:
        if any(old[key] != new[key] for key in same):
            kept.append(old)
            continue
        there = {line["system"] for line in new["table"]}
        new["table"] = new["table"] + [line for line in old["table"] if line["system"] not in there]
        new["points"] = old["points"] | new["points"]
    return [*kept, new]


def _median(rates: list[float]) -> float | None:
    return float(np.median(rates)) if rates else None


def _firth(rows: Vectors, threads: int) -> Search:
    index = HNSW.build(rows, m=M, ef_construction=EF_CONSTRUCTION, threads=threads)
    return lambda q, k, ef: index.search(q, k, ef=ef, threads=1).ids


def _make_hnswlib(rows: Vectors, threads: int) -> Search:
    import hnswlib

    index = hnswlib.Index("ip", rows.shape[1])
    index.init_index(len(rows), M=M, ef_construction=EF_CONSTRUCTION)
    index.add_items(rows, num_threads=threads)
    return lambda q, k, ef: _hnswlib(index, q, k, ef)


def _make_faiss(codes: bool, rows: Vectors, threads: int) -> Search:
    import faiss

    d, ip = rows.shape[1], faiss.METRIC_INNER_PRODUCT
    faiss.omp_set_num_threads(threads)
    eight = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexHNSWSQ(d, eight, M, ip) if codes else faiss.IndexHNSWFlat(d, M, ip)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    index.train(rows)
    index.add(rows)
    faiss.omp_set_num_threads(1)
    return lambda q, k, ef: _faiss(index, q, k, ef)


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
