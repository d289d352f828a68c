"""How fast is a flat scan of codes, against faiss's PQ fast-scan and turbovec, at equal bytes and recall?

One thread; "batch" asks 200 queries at once, "single" one after the other. recall@10 is of the codes alone, against
exact search of float32. turbovec is left out where it is not installed (pip install turbovec).

Run:   make bench Q=scan                (100,000 vectors, 5 min on 2 cores; --small 20,000 vectors, 1 min)
Last:  2026-11-23, 100,000 vectors, 7 repeats, 2 cores Zen 5 that other work kept busy
       system           bytes  recall@10  batch, queries/s  single, queries/s
       firth axes48     48     0.718      13,410            11,000
       faiss PQ96x4fs   48     0.674      13,140            11,470
       firth pq96x4     48     0.665      11,550            10,120
       firth binary     48     0.645      13,510            7,738
       firth axes96     96     0.875      11,200            7,008
       faiss PQ192x4fs  96     0.808      7,005             6,019
       turbovec 2 bits  100    0.827      7,891             6,003
       firth pq192x4    96     0.811      8,152             6,421
       firth axes192    192    0.961      11,150            3,075
       turbovec 4 bits  196    0.951      9,621             6,727
       firth sq4        192    0.936      8,526             3,507
       firth sq8        384    0.997      9,910             1,336
       In a batch axes are ahead of the peers at each size in speed and recall; one by one ahead at 96 bytes, behind
       faiss at 48, and behind turbovec at 192, where ours reads 19 MB of codes a query.
       --small (20,000 vectors; recall, batch / single):
         axes48 0.721, 48,340 / 24,140; faiss 0.664, 54,170 / 45,380
         axes96 0.879, 25,460 / 17,890; faiss 0.819, 31,010 / 27,500
         axes192 0.957, 34,620 / 13,920; turbovec 0.948, 30,230 / 7,300
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import numpy as np

import measure
from firth.arrays import Ids, Vectors
from firth.compress import train
from firth.index import Flat
from vectors import vectors

K = 10
QUERIES = 200
PARTS = (96, 192)  # of 4 bits: 48 and 96 bytes
OURS = ("axes48", "axes96", "axes192", "pq96x4", "pq192x4", "binary", "sq4", "pq48", "pq96", "sq8")

Search = Callable[[Vectors], Ids]


def main() -> None:
    """Build, search in turns, print, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--small", action="store_true")
    flags.add_argument("--repeats", type=int, default=5)
    settings = flags.parse_args()
    name = "wiki20k" if settings.small else "wiki100k"
    rows, queries = vectors(name), vectors("wiki_queries")[:QUERIES]
    exact = Flat.build(rows).search(queries, K).ids
    systems = _systems(rows)
    batch = {label: lambda search=search: search(queries) for label, (_, search) in systems.items()}
    single = {
        label: lambda search=search: [search(queries[i : i + 1]) for i in range(QUERIES)]
        for label, (_, search) in systems.items()
    }
    together = measure.interleaved(batch, repeats=settings.repeats)
    alone = measure.interleaved(single, repeats=settings.repeats)
    lines = []
    for label, (size, search) in systems.items():
        found = search(queries)
        hits = [len({*a} & {*b}) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
        rates = [QUERIES / measure.spread(seconds[label])["median"] for seconds in (together, alone)]
        line = {"system": label, "bytes": size, "recall@10": float(np.mean(hits)) / K}
        lines.append(line | {"batch, queries/s": rates[0], "single, queries/s": rates[1]})
    print(f"\n{name}, one thread")
    measure.table(lines)
    result = {"rows": name, "n": len(rows), "table": lines, "environment": measure.environment("faiss-cpu", "numpy")}
    measure.save("scan_small" if settings.small else "scan", result)


def _systems(rows: Vectors) -> dict[str, tuple[int, Search]]:
    """Label -> bytes a vector, search."""
    import faiss

    faiss.omp_set_num_threads(1)
    systems: dict[str, tuple[int, Search]] = {}
    for name in OURS:
        codec = train(name, rows)
        index = Flat.build(rows, codec=codec)
        systems[f"firth {name}"] = (
            codec.bytes_per_vector,
            lambda q, index=index: index.search(q, K, threads=1).ids,
        )
    for m in PARTS:
        peer = faiss.IndexPQFastScan(rows.shape[1], m, 4, faiss.METRIC_INNER_PRODUCT)
        peer.train(rows)
        peer.add(rows)
        systems[f"faiss PQ{m}x4fs"] = (m // 2, lambda q, peer=peer: peer.search(q, K)[1])
    try:
        systems |= _turbovec(rows)
    except ImportError:
        print("left out: turbovec is not installed")
    return systems


def _turbovec(rows: Vectors) -> dict[str, tuple[int, Search]]:
    os.environ["RAYON_NUM_THREADS"] = "1"  # read when its threads start
    from turbovec import TurboQuantIndex

    systems: dict[str, tuple[int, Search]] = {}
    for bits in (2, 4):
        index: Any = TurboQuantIndex(dim=rows.shape[1], bit_width=bits)
        index.add(rows)
        systems[f"turbovec {bits} bits"] = (
            rows.shape[1] * bits // 8 + 4,
            lambda q, index=index: np.asarray(index.search(q, k=K)[1]).astype(np.int64),
        )
    return systems


if __name__ == "__main__":
    main()
