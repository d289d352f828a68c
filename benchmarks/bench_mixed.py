"""Does the server's memory stay flat in ten minutes of mixed load, an hour's worth of a busy small service?

Eight clients that keep their connections ask, filter, write, delete, scroll and count, as fast as they are answered,
over 20,000 MiniLM vectors of sentences of which a third come and go; the server's own memory (without mapped files) is
read every five seconds. Flat: the last minutes' median is at most a tenth above that of the third to fifth minute.

Run:   make bench Q=mixed             (ten minutes; --small one minute)
Last:  2026-11-23, 2 cores Zen 5 of which other work had most: the times are those of a crowded machine
       80,155 requests in ten minutes; memory 191 MB from the third to the fifth minute, 194 MB in the last two: flat
       what      requests  p50 ms  p99 ms
       search    48,264    25      450
       filtered  11,824    28      491
       upsert    9,643     65      689
       delete    3,196     32      501
       payload   2,410     48      556
       scroll    2,411     16      347
       count     2,407     50      754
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import threading
import time
from typing import Any

import numpy as np

import measure
from firth.arrays import Vectors
from serve_peers import Firth, connected, payload, sent
from vectors import vectors

CLIENTS = 8
MINUTES = 10.0
EVERY = 5.0  # seconds between two looks at the memory
# an hour of a busy small service: searches most of all
SHARES = {"search": 60, "filtered": 15, "upsert": 12, "delete": 4, "payload": 3, "scroll": 3, "count": 3}
OF = "/collections/c/points"


def main() -> None:
    """Fill, load, print, save."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--small", action="store_true", help="one minute")
    small = flags.parse_args().small
    rows, queries = vectors("wiki20k"), vectors("wiki_queries")
    folder = measure.CACHE / "mixed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Firth(folder) as server:
        server.create()
        for begin in range(0, len(rows), 500):
            server.upsert(begin, rows[begin : begin + 500])
        server.settle()
        times, memory = loaded(server, rows, queries, 60 * (1 if small else MINUTES))
    on_disk = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20
    shutil.rmtree(folder)
    lines = [
        {
            "what": kind,
            "requests": len(seconds),
            "p50 ms": 1e3 * float(np.quantile(seconds, 0.5)),
            "p99 ms": 1e3 * float(np.quantile(seconds, 0.99)),
        }
        for kind, seconds in times.items()
    ]
    measure.table(lines)
    n = len(memory)
    begin, end = statistics.median(memory[n * 2 // 10 : n // 2]), statistics.median(memory[-n // 5 :])
    told = {"memory at 2 to 5 tenths, MB": begin, "in the last fifth, MB": end, "disk at the end, MB": on_disk}
    print(told)
    result = {"environment": measure.environment("uvicorn"), "rows": lines, **told, "memory, MB": memory}
    measure.save("mixed_small" if small else "mixed", result)


def loaded(
    server: Firth, rows: Vectors, queries: Vectors, seconds: float
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of every request by its kind, and the memory as time goes on."""
    times: dict[str, list[float]] = {kind: [] for kind in SHARES}
    stop, faults = threading.Event(), list[BaseException]()

    def client(number: int) -> None:
        chance, line = random.Random(number), connected(server.url)
        try:
            while not stop.is_set():
                kind = chance.choices([*SHARES], [*SHARES.values()])[0]
                method, path, body = request(kind, chance, rows, queries)
                begun = time.perf_counter()
                sent(line, method, path, body)
                times[kind].append(time.perf_counter() - begun)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    memory, end = [], time.monotonic() + seconds
    while time.monotonic() < end and not faults:
        time.sleep(EVERY)
        memory.append(server.memory())
    stop.set()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return times, memory


def request(kind: str, chance: random.Random, rows: Vectors, queries: Vectors) -> tuple[str, str, Any]:
    """One random request of a kind."""
    if kind in ("search", "filtered"):
        filter_ = {"must": [{"key": "third", "match": {"value": 1}}]} if kind == "filtered" else None
        query = queries[chance.randrange(len(queries))]
        return "POST", f"{OF}/query", {"query": query, "limit": 10, "filter": filter_, "with_payload": True}
    some = [chance.randrange(len(rows) // 3) for _ in range(chance.randint(1, 20))]
    if kind == "upsert":
        points = [{"id": i, "vector": rows[i], "payload": payload(i)} for i in some]
        return "PUT", OF, {"points": points}
    if kind == "delete":
        return "POST", f"{OF}/delete", {"points": some[:5]}
    if kind == "payload":
        return "POST", f"{OF}/payload", {"payload": {"seen": chance.randrange(99)}, "points": some[:5]}
    if kind == "scroll":
        return "POST", f"{OF}/scroll", {"limit": 50, "offset": some[0], "with_payload": True}
    return "POST", f"{OF}/count", {"filter": {"must": [{"key": "n", "range": {"lt": some[0]}}]}}


if __name__ == "__main__":
    main()
