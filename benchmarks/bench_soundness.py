"""Does an index stay whole: 100,000 damaged files, 100,000 random operations, ten full turnovers?

Damaged files: of five kinds of index, with bytes, numbers, settings or lengths changed, mostly under checksums made
right again; each is opened and, where it opens, searched, changed, repaired and saved. Operations: lives of 2,500 steps
over codecs, metrics and kinds of keys, checked after each against a dictionary and `Flat`, with saves and reloads
between; six searches in ten walk the graph whatever its size. Both are those of tests/index (damaged.py, lives.py), in
rounds of other seeds, in a process of their own whose end would be noticed. A turnover removes every vector and adds it
again, a twentieth at a time; recall@10 is of ef=100 on queries of the rows' own kind.

A run goes on where the last one of the same commit stopped.

Run:   make bench Q=soundness          (half an hour of one core; --small 1 min)
Last:  2026-11-23, 2 cores Zen 5 that other work kept busy: 100,000 damaged files gave errors or answers (69 s of the
       processor) and 100,000 operations agreed (317 s), no failure. Found by earlier runs and mended: infinite settings
       of a flat index, false widths and lengths, scalar codecs that overflow.
       Ten turnovers of 20,000 vectors: recall@10 0.998 before, 0.997 to 0.998 after each (0.06 points at most), nothing
       unreachable, 5 % more room from the first on, resident 169 MB before and 171 MB after the tenth
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import measure
from firth.arrays import Vectors, unit
from firth.index import HNSW
from vectors import vectors

sys.path.insert(0, str(measure.ROOT / "tests"))
from index.damaged import storm
from index.lives import KINDS, Life

WANTED = 100_000
FILES, STEPS = 5_000, 2_500  # a round
ROUND_SECONDS = 20  # of the processor, for one file or one step; more is a hang
MEMORY = 8 << 30  # bytes of addresses; a file that asks for more fails here, not on the machine
LEAST_RECALL = 0.96  # of all searches of one life, with a beam of 60 and m=6
TURNOVERS = 10
BATCHES = 20  # a turnover


def main() -> None:
    """Run the parts, print, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--small", action="store_true", help="5,000 files and operations, one turnover of 5,000")
    flags.add_argument("--parts", nargs="*", default=[*ROUNDS, "turnovers"])
    flags.add_argument("--wanted", type=int, default=WANTED, help="files and operations")
    flags.add_argument("--turnovers", type=int, default=TURNOVERS)
    settings = flags.parse_args()
    question = "soundness_small" if settings.small else "soundness"
    result: dict[str, Any] = {} if settings.small else measure.last_result(question) or {}
    for part in settings.parts:
        if part == "turnovers":
            for after in turnovers(1 if settings.small else settings.turnovers, 5_000 if settings.small else None):
                result[part] = after
                measure.save(question, result | {"environment": measure.environment("numpy")})
            measure.table(result[part]["rows"])
        else:
            commit = measure.environment()["commit"]
            before = result.get(part, {})
            if before.get("commit") != commit or before["done"] >= settings.wanted:
                before = {"done": 0, "rounds": 0, "processor seconds": 0.0, "seen": {}, "commit": commit}
            for after in rounds(part, min(settings.wanted, 5_000) if settings.small else settings.wanted, before):
                result[part] = after
                measure.save(question, result | {"environment": measure.environment("numpy")})
        print(part, {key: value for key, value in result[part].items() if key != "rows"}, flush=True)


def rounds(part: str, wanted: int, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What was found after each round; a failure ends the run and is named."""
    work, each = ROUNDS[part]
    found = before
    while found["done"] < wanted:
        number, seed = min(each, wanted - found["done"]), found["rounds"]
        folder = Path(tempfile.mkdtemp(prefix="soundness-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        try:
            with ProcessPoolExecutor(1, get_context("spawn"), _prepare) as child:
                seen, seconds = child.submit(work, str(folder), number, seed).result()
        except BrokenProcessPool as error:
            raise SystemExit(f"{part}, round {seed}: the process came down; what it used is in {folder}") from error
        except Exception as error:
            raise SystemExit(f"{part}, round {seed}: {error!r}; what it used is in {folder}") from error
        shutil.rmtree(folder)
        found = found | {
            "done": found["done"] + number,
            "wanted": wanted,
            "rounds": seed + 1,
            "failures": 0,
            "processor seconds": found["processor seconds"] + seconds,
            "seen": dict(sorted((Counter(found["seen"]) + seen).items())),
        }
        print(f"{part}: {found['done']:,}", flush=True)
        yield found


def _prepare() -> None:
    """Of the child: warnings are failures, a crash or a hang tells where, memory has an end."""
    warnings.simplefilter("error")
    faulthandler.enable()
    faulthandler.register(signal.SIGVTALRM, chain=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _watch() -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, ROUND_SECONDS)


def _files(folder: str, number: int, seed: int) -> tuple[Counter[str], float]:
    start = time.process_time()
    seen = storm(_clusters(200, 32), _clusters(4, 32, 1), Path(folder), number, seed, _watch)
    return seen, time.process_time() - start


def _operations(folder: str, number: int, seed: int) -> tuple[Counter[str], float]:
    start = time.process_time()
    life = Life(_clusters(6_000, 64), Path(folder), seed, **KINDS[seed % len(KINDS)])
    for step in range(number):
        _watch()
        try:
            life.step()
        except Exception as error:
            raise RuntimeError(f"step {step} of the life of seed {seed}: {error!r}") from error
    if life.recall < LEAST_RECALL:
        raise RuntimeError(f"the life of seed {seed} found {life.recall:.4f} of the neighbours")
    return life.done, time.process_time() - start


# part: (one round in the child, how many a round)
ROUNDS: dict[str, tuple[Callable[[str, int, int], tuple[Counter[str], float]], int]] = {
    "damaged files": (_files, FILES),
    "operations": (_operations, STEPS),
}


def _clusters(n: int, d: int, seed: int = 0) -> Vectors:
    """Unit rows that lie as embeddings do: in clusters of unequal size, off centre, in half as many dimensions."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    centres, spread = fixed.normal(size=(60, d)), fixed.normal(size=(d // 2, d)) / np.sqrt(d // 2)
    rows = centres[rng.zipf(1.5, n) % 60] + 1.5 * rng.normal(size=(n, d // 2)) @ spread
    return unit((rows + 0.3).astype(np.float32))


def turnovers(times: int, most: int | None) -> Iterator[dict[str, Any]]:
    """After each turnover: recall, ids that cannot be reached, and memory, of all so far."""
    rows, queries = vectors("wiki20k")[:most], vectors("wiki_queries")[:500]
    index = HNSW.build(rows, threads=1)
    rng = np.random.default_rng(0)
    lines = [_line(0, index, queries)]
    for turn in range(1, times + 1):
        for part in np.array_split(rng.permutation(len(rows)), BATCHES):
            index.remove(part, threads=1)
            index.add(part, rows[part], threads=1)
        index.repair(threads=1)
        lines.append(_line(turn, index, queries))
        drop = lines[0]["recall@10"] - min(line["recall@10"] for line in lines)
        yield {"turnovers": turn, "n": len(rows), "largest drop": drop, "rows": list(lines)}


def _line(turn: int, index: HNSW, queries: Any) -> dict[str, Any]:
    return {
        "turnover": turn,
        "recall@10": index.recall(queries, 10, ef=100),
        "unreachable": index.unreachable,
        "vectors": len(index),
        "slots": int(index._graph.count),
        "bytes/vector": index.bytes_per_vector,
        "resident MB": measure.own_memory(os.getpid()),
    }


if __name__ == "__main__":
    main()
