"""Does an index stay whole: 100,000 mutated files, 100,000 random operations, ten full turnovers?

Mutated files and operations are the tests of tests/index (test_hostile.py, test_model.py), run in rounds of other
seeds until the number or the time is reached. A turnover removes every vector and adds it again, a twentieth at a
time; recall@10 is of ef=100 on queries of the rows' own kind.

Run:   make bench Q=soundness          (up to 30 min: ten for each part, --minutes; --small 2 min)
Last:  2026-11-23, 2 cores Zen 5 that other work kept busy, 1.5 minutes a part: 6,000 mutated files and 6,000 operations
       without a failure, two turnovers of 20,000 vectors: recall@10 0.996, 0.994, 0.996, nothing unreachable, 5 % more
       room; 100,000 of each and ten turnovers were not reached in that time
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

import measure
from firth.index import HNSW
from vectors import vectors

TESTS = measure.ROOT / "tests" / "index"
# part: (file and test, variable, number a round and test, tests in the file)
PARTS = {
    "mutated files": ("test_hostile.py::test_mutated_bytes_give_an_error_or_an_answer", "FIRTH_MUTATIONS", 500, 4),
    "operations": ("test_model.py", "FIRTH_OPERATIONS", 500, 4),
}
WANTED = 100_000
TURNOVERS = 10
BATCHES = 20  # a turnover


def main() -> None:
    """Run the parts, print, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--small", action="store_true", help="2,000 mutations and operations, one turnover of 5,000")
    flags.add_argument("--minutes", type=float, default=10, help="of each part")
    flags.add_argument("--parts", nargs="*", default=[*PARTS, "turnovers"])
    settings = flags.parse_args()
    result: dict[str, Any] = {} if settings.small else measure.last_result("soundness") or {}
    for part in settings.parts:
        seconds = 60 * settings.minutes
        if part == "turnovers":
            result[part] = turnovers(1 if settings.small else TURNOVERS, 5_000 if settings.small else None, seconds)
        else:
            result[part] = repeated(part, 2_000 if settings.small else WANTED, seconds)
        if not settings.small:
            measure.save("soundness", result | {"environment": measure.environment("numpy")})
        print(part, {key: value for key, value in result[part].items() if key != "rows"}, flush=True)


def repeated(part: str, wanted: int, seconds: float) -> dict[str, Any]:
    """Rounds of one test with other seeds; a failing round ends it and is named."""
    test, variable, each, tests = PARTS[part]
    start, done, rounds = time.perf_counter(), 0, 0
    while done < wanted and time.perf_counter() - start < seconds:
        number = min(each, -(-(wanted - done) // tests))
        paths = os.pathsep.join([str(measure.ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        env = os.environ | {variable: str(number), "FIRTH_SEED": str(rounds), "PYTHONPATH": paths}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "--timeout=0", str(TESTS / test)]
        run = subprocess.run(command, env=env, cwd=measure.ROOT, capture_output=True, text=True, check=False)
        if run.returncode:
            said = run.stdout[-3000:] + run.stderr[-3000:]
            raise SystemExit(f"{part}, round {rounds} (FIRTH_SEED={rounds} {variable}={number}):\n{said}")
        rounds, done = rounds + 1, done + tests * number
    return {"done": done, "wanted": wanted, "rounds": rounds, "failures": 0, "seconds": time.perf_counter() - start}


def turnovers(times: int, most: int | None, seconds: float) -> dict[str, Any]:
    """Recall, ids that cannot be reached, and memory after each turnover."""
    rows, queries = vectors("wiki20k")[:most], vectors("wiki_queries")[:500]
    index = HNSW.build(rows, threads=1)
    rng = np.random.default_rng(0)
    lines = [_line(0, index, queries)]
    start = time.perf_counter()
    for turn in range(1, times + 1):
        for part in np.array_split(rng.permutation(len(rows)), BATCHES):
            index.remove(part)
            index.add(part, rows[part])
        index.repair()
        lines.append(_line(turn, index, queries))
        if time.perf_counter() - start > seconds:
            break
    measure.table(lines)
    drop = lines[0]["recall@10"] - min(line["recall@10"] for line in lines)
    return {"turnovers": len(lines) - 1, "n": len(rows), "largest drop": drop, "rows": lines}


def _line(turn: int, index: HNSW, queries: Any) -> dict[str, Any]:
    return {
        "turnover": turn,
        "recall@10": index.recall(queries, 10, ef=100),
        "unreachable": index.unreachable,
        "vectors": len(index),
        "slots": int(index._graph.count),
        "bytes/vector": index.bytes_per_vector,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
