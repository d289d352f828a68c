"""What do filters cost and keep: recall and latency for 50 to 0.01 % allowed, at random and clustered?

"random": each vector is allowed with the same odds. "clustered": those nearest to one vector, as all documents of one
subject would be; most queries lie elsewhere. Default settings (recall 0.99 asked for, no ef), k = 10, one query at a
time on one thread. The columns beside it force one way of the planner each: scan (every allowed vector by its codes),
wider (the usual walk, its beam widened by n / allowed), through (only allowed vectors are scored). hnswlib calls a
Python function for each vector it looks at, so it is left out; faiss takes a bitmap.

Run:   make bench Q=filters            (100,000 vectors, 2 min on 2 cores; --small 20,000 vectors, 1 min)
Last:  2026-11-23, 100,000 vectors, 200 queries, 2 cores Zen 5 that other work kept busy
       allowed        recall: random  clustered  faiss ef=100   µs: firth     scan         wider        through    faiss
       50 %                   0.996   0.996      0.98, 0.97     451, 509      3,500        460-490      480-500    280
       10 %                   0.999   0.997      0.92, 0.83     619, 563      640, 620     1,200        530-570    280
       1 %                    1.000   1.000      0.59, 0.40     362, 370      350, 360     12,600       440-470    280
       0.1 %, 0.01 %          1.000   1.000      0.18 - 0.01    240-260       as firth's   -            240-280    280
       Most of the time of the smallest sets is turning keys into a bitmap, which costs O(n) a call. A scan that is
       short runs in the caller's thread; a thread of its own had cost 3 ms a query on these cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

import measure
from firth.arrays import Ids, Vectors
from firth.index import HNSW, hnsw
from vectors import vectors

SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
K, M, EF_CONSTRUCTION = 10, 16, 200
EF_PEER = 100
WIDEST = 0.01  # share allowed below which the beam widened by n / allowed, most of the graph, is not measured
# way: (SCAN_BALANCE, THROUGH_BELOW) of the planner
WAYS = {"scan": (1e18, 0.0), "wider": (0.0, 0.0), "through": (0.0, 1.0)}


def main() -> None:
    """Build, ask each cell, print, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--small", action="store_true")
    flags.add_argument("--repeats", type=int, default=3)
    flags.add_argument("--rows", default="wiki100k")
    settings = flags.parse_args()
    name = "wiki20k" if settings.small else settings.rows
    rows, queries = vectors(name), vectors("wiki_queries")[:200]
    index = HNSW.build(rows, m=M, ef_construction=EF_CONSTRUCTION)
    peer = _faiss(rows)
    lines = [_cell(index, peer, rows, queries, *cell, settings.repeats) for cell in _cells(rows)]
    print(f"\n{name}, microseconds a query on one thread, k={K}")
    measure.table(lines)
    result = {"rows": name, "n": len(rows), "k": K, "table": lines, "environment": measure.environment("faiss-cpu")}
    measure.save("filters_small" if settings.small else "filters", result)


def _cells(rows: Vectors) -> Iterator[tuple[float, str, NDArray[np.bool_]]]:
    rng, near = np.random.default_rng(0), rows @ rows[11]
    for share in SHARES:
        count = max(1, round(share * len(rows)))
        for kind in ("random", "clustered"):
            mask = np.zeros(len(rows), bool)
            mask[rng.choice(len(rows), count, replace=False) if kind == "random" else np.argsort(-near)[:count]] = True
            yield share, kind, mask


def _cell(
    index: HNSW, peer: Callable[[Vectors, Any], Any], rows: Vectors, queries: Vectors, share: float, kind: str,
    mask: NDArray[np.bool_], repeats: int,
) -> dict[str, Any]:  # fmt: skip
    places = np.flatnonzero(mask)
    scores = queries.astype(np.float64) @ rows[places].T.astype(np.float64)
    order = np.argsort(-scores, axis=1)[:, :K]
    ids = places[order]
    line: dict[str, Any] = {"allowed": f"{share:.2%}", "kind": kind, "n": len(places)}
    work: dict[str, Callable[[], object]] = {"firth": lambda: _one_by_one(index, queries, mask)}
    line["recall"] = _recall(index.search(queries, K, allow=mask).ids, ids)
    for way, constants in WAYS.items():
        if way == "wider" and share < WIDEST:
            line |= {"wider: recall": ""}
            continue
        with planned(*constants):
            line[f"{way}: recall"] = _recall(index.search(queries, K, allow=mask).ids, ids)
        work[way] = lambda constants=constants: _forced(index, queries, mask, constants)
    selector = _selector(mask)
    line["faiss: recall"] = _recall(peer(queries, selector), ids)
    work["faiss"] = lambda: [peer(queries[i : i + 1], selector) for i in range(len(queries))]
    times = {}
    for name, seconds in measure.interleaved(work, repeats=repeats).items():
        times[name] = 1e6 * float(np.median(seconds)) / len(queries)
    line |= {f"{name}: µs": times.get(name, "") for name in ("firth", *WAYS, "faiss")}
    print(line["allowed"], kind, f"recall {line['recall']:.4f}", flush=True)
    return line


def _recall(found: Ids, exact: Ids) -> float:
    hits = [len({*a} & {*b}) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    return float(np.mean(hits)) / exact.shape[1]


def _one_by_one(index: HNSW, queries: Vectors, mask: NDArray[np.bool_]) -> None:
    for query in queries:
        index.search(query, K, allow=mask)


def _forced(index: HNSW, queries: Vectors, mask: NDArray[np.bool_], constants: tuple[float, float]) -> None:
    with planned(*constants):
        _one_by_one(index, queries, mask)


@contextmanager
def planned(scan_balance: float, through_below: float) -> Iterator[None]:
    """The planner with other constants, so that it takes one way only."""
    before = hnsw.SCAN_BALANCE, hnsw.THROUGH_BELOW, hnsw.EXACT_BELOW
    hnsw.SCAN_BALANCE, hnsw.THROUGH_BELOW, hnsw.EXACT_BELOW = scan_balance, through_below, 0
    try:
        yield
    finally:
        hnsw.SCAN_BALANCE, hnsw.THROUGH_BELOW, hnsw.EXACT_BELOW = before


def _faiss(rows: Vectors) -> Callable[[Vectors, Any], Any]:
    import faiss

    start = time.perf_counter()
    index = faiss.IndexHNSWFlat(rows.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    index.add(rows)
    print(f"built faiss in {time.perf_counter() - start:.1f} s", flush=True)
    faiss.omp_set_num_threads(1)

    def search(queries: Vectors, selector: Any) -> Any:
        return index.search(queries, K, params=faiss.SearchParametersHNSW(sel=selector, efSearch=EF_PEER))[1]

    return search


def _selector(mask: NDArray[np.bool_]) -> Any:
    import faiss

    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


if __name__ == "__main__":
    main()
