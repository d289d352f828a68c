"""How fast does the server answer over HTTP, against chroma, Milvus Lite and qdrant-client's local mode?

Search p50 and p99 at 1, 8 and 32 clients that keep their connections, with and without a filter, and the share of the
exact ten nearest that it finds; documents filled a second; opening; memory and size on disk. Peers are asked as their
users ask them (serve_peers.py): `chroma run` over its REST interface, the others in the process that asks, which spares
them the HTTP. Each is measured in a process of its own; memory is what the engine adds to it, or its server's own.

Run:   make bench Q=serve             (100,000 MiniLM vectors of sentences, 8 min; --small 20,000, 2 min)
       FIRTH_CHROMA names the command `chroma` where it is not on the path: it wants a virtual environment of its own
Last:  2026-11-23, 2 cores Zen 5 that other work kept busy, 100,000 documents; qdrant-client 1.20, Milvus Lite 3.2,
       chroma 1.5.9. Ahead of each in memory, p99, filtered searches, and opening where there is anything to open.
       Behind chroma in the p50 of one client (it finds 0.993 of the ten, we 1.0), behind the two others in filling
       (each batch of ours is synced to the disk, and the graph is built at once), and all in room on the disk (vectors,
       words and graph).
       what                          firth   qdrant local  milvus lite  chroma run
       fill, documents/s             4,161   10,400        5,484        1,002
       fill until indexed            2,544   10,400        5,149        1,002
       one document a write, /s      468     20,420        469          14.4
       disk, bytes/document          3,694                 1,570        1,980
       open and first answer, s      0.46                  1.01         1.45
       recall@10                     1.0     1.0           1.0          0.993
       search, 1 client, p50 ms      2.89    75.5          268          2.25
       search, 1 client, p99 ms      6.80    227           748          15.7
       search, 8 clients, p50 ms     18.4    725           1,722        19.5
       search, 8 clients, p99 ms     42.1    2,293         3,066        52.3
       search, 32 clients, p50 ms    78.8    2,544         3,870        105
       search, 32 clients, p99 ms    127     5,626         5,449        162
       filtered, 1 client, p50 ms    4.01    752           368          103
       filtered, 8 clients, p50 ms   20.3    4,880         2,254        602
       memory, MB                    86      437           1,032        436
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import threading
import time
from typing import Any

import numpy as np

from firth.arrays import Vectors
from firth.kernels.flat import flat
from measure import CACHE, environment, last_result, own_memory, save, table
from serve_peers import PEERS, there
from vectors import vectors

PART = 500  # documents a request
SINGLE = 200  # documents written one a request
CLIENTS = (1, 8, 32)
SECONDS = 3.0  # of each measurement
JUDGED = 30  # queries whose answers are held against the exact ones
K = 10


def main() -> None:
    """Fill, open and ask each in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="20,000 documents")
    parser.add_argument(
        "--peers", nargs="*", default=[*PEERS], choices=[*PEERS], help="the others keep their last figures"
    )
    settings = parser.parse_args()
    question = "serve_small" if settings.small else "serve"
    held = (last_result(question) or {}).get("found", {})
    found: dict[str, dict[str, Any]] = {
        name: held[name] for name in PEERS if name in held and name not in settings.peers
    }
    for name in settings.peers:
        if not there(PEERS[name]):
            print(f"{name}: not installed, left out")
            continue
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(measured, (name, settings.small))
        print(name, "measured", flush=True)
        found = {name: found[name] for name in PEERS if name in found}
        save(question, {"environment": environment("uvicorn", "starlette"), "found": found})
    labels = list(dict.fromkeys(label for values in found.values() for label in values))
    table([{"what": label, **{name: found[name].get(label, "") for name in found}} for label in labels])


def measured(name: str, small: bool) -> dict[str, Any]:
    """Everything about one of them, by its label."""
    rows, queries = (vectors("wiki20k") if small else vectors("wiki100k")), vectors("wiki_queries")[:500]
    peer = PEERS[name]
    folder = CACHE / "serve" / name.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    told: dict[str, Any] = {"documents": len(rows)}
    before = own_memory(os.getpid()) if peer.inside else 0.0
    one = peer(folder).__enter__()
    begun = time.perf_counter()
    one.create()
    for begin in range(0, len(rows), PART):
        one.upsert(begin, rows[begin : begin + PART])
    told["fill, documents/s"] = len(rows) / (time.perf_counter() - begun)
    one.settle()
    told["fill until indexed, documents/s"] = len(rows) / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for i in range(SINGLE):
        one.upsert(i, rows[i : i + 1])
    told["one document a write, /s"] = SINGLE / (time.perf_counter() - begun)
    if peer.reopens:
        one.__exit__()
        told["disk, bytes/document"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / len(rows)
        begun = time.perf_counter()
        one = peer(folder).__enter__()
        one.search(queries[0], None)
        told["open and first answer, s"] = time.perf_counter() - begun
    told |= searched(one, rows, queries, SECONDS)
    told["memory, MB"] = one.memory() - before
    one.__exit__()
    shutil.rmtree(folder)
    return told


def searched(one: Any, rows: Vectors, queries: Vectors, seconds: float) -> dict[str, Any]:
    """Recall, times and rates of searches with and without a filter."""
    told: dict[str, Any] = {}
    some, ask = queries[:JUDGED], one.client()
    thirds = np.arange(len(rows)) % 3 == 1
    for label, third in (("", None), ("filtered, ", 1)):
        exact = flat(some, rows, K, only=None if third is None else np.flatnonzero(thirds)).ids
        shares = [len({*ask(row, third)} & {*best}) / K for row, best in zip(some, exact.tolist(), strict=True)]
        told[f"{label}recall@10"] = float(np.mean(shares))
    for label, third in (("search", None), ("filtered", 1)):
        for clients in CLIENTS if third is None else CLIENTS[:2]:
            times, rate = asked(one, queries, third, clients, seconds)
            told[f"{label}, {clients} clients, p50 ms"] = 1e3 * float(np.quantile(times, 0.5))
            told[f"{label}, {clients} clients, p99 ms"] = 1e3 * float(np.quantile(times, 0.99))
            told[f"{label}, {clients} clients, /s"] = rate
    return told


def asked(one: Any, queries: Vectors, third: int | None, clients: int, seconds: float) -> tuple[list[float], float]:
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
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    every = [value for part in times for value in part]
    return every, len(every) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
