"""How do search and build grow from 10,000 to a million vectors, and what does a million cost?

Vectors of 384 dimensions. Up to 100,000 they are the MiniLM sentences of wiki100k, with held-out sentences as queries;
the fits are over these. A million is made: unit(0.8 · one + 0.2 · another + 0.3 · noise of their covariance) of those
sentences, with 1,000 queries made the same way and held out. Up to 100,000 made vectors are a little harder than
sentences; a million have ten to a sentence, which is easier: it tells what a million costs in memory, to open and to
build, and its search is no point of the fits.

At each size the smallest ef with recall@10 >= 0.99 on all queries, by bisection; one thread, the index a
memory-mapped file opened with verify=False. Fits: y = a + b · log n, and y = c · n^p.

Two steps, since only the second is of seconds and wants a calm machine:

Run:   make bench Q="growth --build"     (indexes, exact answers and beams: 5 min on 2 cores, 3 GB of disk)
       make bench Q=growth               (times what is built: 1 min; --small with both: to 50,000, 1 min)
Last:  2026-11-23, 2 cores Zen 5 that other work kept busy, m=16, ef_construction=200
       vectors          ef    distances   p50 ms   p99 ms   exact ms   build s, 2 threads
       10,000           54    1,113       0.03     0.08     3.9        1.3
       20,000           57    1,214       0.04     0.10     7.8        2.3
       50,000           62    1,438       0.05     0.10     19         5.9
       100,000          70    1,636       0.06     0.11     46         10
       1,000,000 made   26    608         0.04     0.09     383        98
       Distances -1,028 + 230 · log n (R² 0.98), n^0.17; exact search n^1.05. The million: opened in 6 ms and the first
       answer 3 ms later, from a cold file 53 and 326; 534 bytes a vector beside the mapped rows, of which a thousand
       queries brought 338 into memory, and 740 of the mapped rows, which the system may drop.
       Not measured: a million that is as hard as a million sentences would be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import measure
from firth import files
from firth.arrays import Neighbours, Vectors, unit
from firth.evaluate.ink import altair_here, by_series, by_shape, drawn, legend
from firth.index import HNSW, calibrate
from firth.kernels.flat import flat
from vectors import vectors

FOLDER = measure.CACHE / "growth"
SIZES = (10_000, 100_000, 1_000_000)  # of made vectors
SMALL = (10_000,)
REAL = (10_000, 20_000, 50_000, 100_000)  # of sentences
QUERIES, K, WANTED = 1_000, 10, 0.99
MIX, NOISE = 0.8, 0.3
BLOCK = 50_000  # rows made at a time
M, EF_CONSTRUCTION = 16, 200
EXACT_QUERIES = 20  # one by one; a scan of a million takes a tenth of a second
WIDTH = 760  # pixels of a drawing
PASSES = 3  # over the queries, one by one; the median pass counts
CHILD = """
import sys, time, numpy as np
from firth.index import HNSW
query = np.load(sys.argv[2])
start = time.perf_counter()
index = HNSW.load(sys.argv[1], verify=False)
opened = time.perf_counter()
index.search(query, 10, ef=int(sys.argv[3]))
print(opened - start, time.perf_counter() - opened)
"""


def main() -> None:
    """Build, or time, print, draw, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--small", action="store_true")
    flags.add_argument("--build", action="store_true", help="make the indexes and find the beams; times only builds")
    flags.add_argument("--again", action="store_true", help="with --build: those that are there too")
    flags.add_argument("--sizes", type=int, nargs="*")
    flags.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of the builds")
    settings = flags.parse_args()
    sizes = tuple(settings.sizes or (SMALL if settings.small else SIZES))
    chosen = [("real", n) for n in (REAL[:3] if settings.small else REAL)] + [("made", n) for n in sizes]
    if settings.build or settings.small:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for kind, n in chosen:
            if settings.again or not _described(kind, n).exists():
                build(kind, n, settings.threads)
    if settings.build:
        return
    lines = [timed(kind, n) for kind, n in chosen if _described(kind, n).exists()]
    fits = {
        what: _fit([line for line in lines if line["kind"] == "real"], what)
        for what in ("distances", "search ms", "exact ms")
    }
    measure.table(lines)
    for what, fit in fits.items():
        print(what, {key: round(value, 3) for key, value in fit.items()})
    largest = opened(lines[-1]["kind"], lines[-1]["n"])
    print(largest)
    question = "growth_small" if settings.small else "growth"
    result = {"k": K, "recall": WANTED, "m": M, "ef_construction": EF_CONSTRUCTION, "rows": lines, "fits": fits}
    measure.save(question, result | {"largest": largest, "environment": measure.environment("numpy")})
    if not settings.small:
        for name, drawing in pictures(lines).items():
            files.write_text(measure.RESULTS / f"{name}.svg", drawing)


def build(kind: str, n: int, threads: int) -> None:
    """The index in a file, the exact answers, and the beam that the wanted recall takes."""
    rows, queries = sets(kind, n)
    start, cpu = time.perf_counter(), time.process_time()
    index = HNSW.build(rows, m=M, ef_construction=EF_CONSTRUCTION, threads=threads)
    seconds, processor = time.perf_counter() - start, time.process_time() - cpu
    exact = index.exact(queries, K, threads=threads)
    ef, recall, work = _beam(index, queries, exact, threads)
    planned = index.beam(K, recall=WANTED)
    index.save(_file(kind, n))
    np.save(_file(kind, n).with_suffix(".queries.npy"), queries)
    line = {
        "kind": kind,
        "n": n,
        "build s": seconds,
        "build processor s": processor,
        "build threads": threads,
        "ef": ef,
        "recall": recall,
        "distances": work,
        "ef by the curve": planned,
        "recall by the curve": calibrate.recall(index.search(queries, K, ef=planned, threads=threads), exact),
        "bytes/vector": index.bytes_per_vector,
        "commit": measure.environment()["commit"],
    }
    files.write_json(_described(kind, n), line)
    print(line, flush=True)


def sets(kind: str, n: int) -> tuple[Vectors, Vectors]:
    """n rows and the queries that none of them is."""
    real = vectors("wiki100k")
    if kind == "real":
        return np.ascontiguousarray(real[:n]), vectors("wiki_queries")[:QUERIES]
    root = np.linalg.cholesky(np.cov(real[:20_000].T) + 1e-9 * np.eye(real.shape[1])).T.astype(np.float32)
    rows = np.empty((n, real.shape[1]), np.float32)
    for block in range(0, n, BLOCK):
        part = rows[block : block + BLOCK]
        part[:] = _mixed(real, root, len(part), block // BLOCK + 1)
    return rows, _mixed(real, root, QUERIES, 0)


def timed(kind: str, n: int) -> dict[str, Any]:
    """Milliseconds a query: in a batch, one by one, and exactly."""
    line = files.read_json(_described(kind, n))
    index, queries = HNSW.load(_file(kind, n), verify=False), np.load(_file(kind, n).with_suffix(".queries.npy"))
    index.search(queries, K, ef=line["ef"])  # brings the file's pages in
    batches, singles = [], []
    for _ in range(PASSES):
        start = time.perf_counter()
        index.search(queries, K, ef=line["ef"])
        batches.append(1e3 * (time.perf_counter() - start) / len(queries))
        singles.append(_one_by_one(index, queries, line["ef"]))
    rows = index._graph.rows
    flat(queries[:1], rows, K, threads=1)
    start = time.perf_counter()
    for query in queries[:EXACT_QUERIES]:
        flat(query[None], rows, K, threads=1)
    exact = 1e3 * (time.perf_counter() - start) / EXACT_QUERIES
    one = np.median(singles, axis=0)
    return line | {
        "search ms": float(np.median(batches)),
        "one by one p50 ms": float(np.percentile(one, 50)),
        "one by one p99 ms": float(np.median([np.percentile(some, 99) for some in singles])),
        "exact ms": exact,
    }


def opened(kind: str, n: int) -> dict[str, Any]:
    """Opening and the first answer in a new process, from a cold and a warm file; memory after a thousand queries."""
    path, line = _file(kind, n), files.read_json(_described(kind, n))
    queries = path.with_suffix(".queries.npy")
    np.save(path.with_suffix(".one.npy"), np.load(queries)[:1])
    found: dict[str, Any] = {"n": n}
    for state in ("cold", "warm", "warm", "warm"):
        if state == "cold":
            _forget(path)
        command = [sys.executable, "-c", CHILD, str(path), str(path.with_suffix(".one.npy")), str(line["ef"])]
        paths = os.pathsep.join([str(measure.ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        run = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": paths}
        )
        seconds = [1e3 * float(part) for part in run.stdout.split()]
        found[f"{state}: open ms"], found[f"{state}: first answer ms"] = seconds
    _forget(path)
    index = HNSW.load(path, verify=False)
    for query in np.load(queries):
        index.search(query, K, ef=line["ef"])
    resident = _resident(path)
    row_bytes = index._graph.rows.nbytes
    for name, chosen in (("rows", True), ("graph and codes", False)):
        found[f"resident bytes/vector: {name}"] = sum(r for size, r in resident if (size >= row_bytes) == chosen) / n
    found["bytes/vector without rows"] = index.bytes_per_vector - row_bytes / n
    return found


def pictures(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Milliseconds of both ways against n, and distances of a search beside their fit, as SVG by name."""
    real = [line for line in lines if line["kind"] == "real"]
    fit = _fit(real, "distances")
    kinds = {"sentences": real, "made vectors": [line for line in lines if line["kind"] == "made"]}
    counted = {name: [(line["n"], line["distances"]) for line in some] for name, some in kinds.items()}
    sizes = sorted({line["n"] for line in lines})
    counted["a + b · log n of sentences"] = [(n, fit["a"] + fit["b"] * float(np.log(n))) for n in sizes]
    times = {
        f"{way}, {name}": [(line["n"], line[what]) for line in some]
        for way, what in (("HNSW at recall@10 0.99", "search ms"), ("exact search", "exact ms"))
        for name, some in kinds.items()
    }
    return {
        "growth": _drawing(times, "milliseconds a query", log=True),
        "growth_distances": _drawing(counted, "distances a query", log=False),
    }


def _drawing(series: dict[str, list[tuple[int, float]]], y: str, *, log: bool) -> str:
    alt = altair_here()
    rows = [
        {"n": n, "y": value, "name": name, "tip": f"{name}, {n:,} vectors: {value:.3g} {y}"}
        for name, points in series.items()
        for n, value in points
    ]
    x = alt.X("n:Q", title="vectors (log)", scale=alt.Scale(type="log", nice=False, padding=20), axis=_axis(alt, rows))
    scale = alt.Scale(type="log") if log else alt.Scale(zero=True)
    chart = alt.Chart(alt.Data(values=rows)).encode(
        x=x,
        y=alt.Y("y:Q", title=f"{y} (log)" if log else y, scale=scale),
        color=alt.Color("name:N", scale=by_series(alt, list(series)), legend=legend(alt, WIDTH)),
    )
    dots = chart.mark_point(size=70, filled=True, opacity=1).encode(
        shape=alt.Shape("name:N", scale=by_shape(alt, list(series)), legend=legend(alt, WIDTH)), description="tip:N"
    )
    return drawn(alt.layer(chart.mark_line(strokeWidth=2), dots), WIDTH, height=300)


def _axis(alt: Any, rows: Sequence[dict[str, Any]]) -> Any:
    return alt.Axis(format=",", values=sorted({row["n"] for row in rows}))


def _mixed(real: Vectors, root: Vectors, n: int, block: int) -> Vectors:
    """n made vectors; the same for the same block."""
    rng = np.random.default_rng([2026, block])
    one, other = rng.integers(0, len(real), (2, n))
    noise = rng.standard_normal((n, real.shape[1]), np.float32) @ root
    return unit(MIX * real[one] + (1 - MIX) * real[other] + NOISE * noise)


def _beam(index: HNSW, queries: Vectors, exact: Neighbours, threads: int) -> tuple[int, float, float]:
    """The smallest ef that reaches the recall, that recall, and the mean distances of a query."""
    low, high, best = K - 1, 1024, None
    while high - low > 1 or best is None:
        ef = (low + high) // 2 if best is not None else high
        found, work = index._search(queries, K, ef=ef, threads=threads)
        recall = calibrate.recall(found, exact)
        if recall >= WANTED:
            high, best = ef, (ef, recall, float(work.mean()))
        elif best is None:
            raise SystemExit(f"{len(index):,} vectors: recall {recall:.4f} with a beam of {ef}")
        else:
            low = ef
    return best


def _fit(lines: Sequence[dict[str, Any]], what: str) -> dict[str, float]:
    """Least squares of y = a + b · log n with its R², and the power p of y = c · n^p."""
    logs, values = np.log([line["n"] for line in lines]), np.array([line[what] for line in lines])
    b, a = np.polyfit(logs, values, 1)
    rest = values - (a + b * logs)
    return {
        "a": float(a),
        "b": float(b),
        "r2": float(1 - rest.var() / values.var()),
        "power": float(np.polyfit(logs, np.log(values), 1)[0]),
    }


def _one_by_one(index: HNSW, queries: Vectors, ef: int) -> list[float]:
    seconds = []
    for query in queries:
        start = time.perf_counter()
        index.search(query, K, ef=ef)
        seconds.append(1e3 * (time.perf_counter() - start))
    return seconds


def _file(kind: str, n: int) -> Path:
    return FOLDER / f"{kind}-{n}.firth"


def _described(kind: str, n: int) -> Path:
    return FOLDER / f"{kind}-{n}.json"


def _forget(path: Path) -> None:
    """The system drops what it holds of a file in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _resident(path: Path) -> list[tuple[int, int]]:
    """(bytes, resident bytes) of each of this process's mappings of a file."""
    found, size = [], None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            begin, end = (int(number, 16) for number in words[0].split("-"))
            size = end - begin if line.endswith(str(path.resolve())) else None
        elif words[0] == "Rss:" and size is not None:
            found.append((size, 1024 * int(words[1])))
    return found


if __name__ == "__main__":
    main()
