"""How much of the model's own speed is left over HTTP?

Texts of 40 words, 32 a request, so many clients at once, against the same model in a process of its own that is given
all of them at once; the two take turns. Seconds of processor time a thousand texts are told beside the rates: other
work on the machine changes them little. The client's own are part of what HTTP costs on the same machine.

Run:   make bench Q=http             (3 min; --small 1 min)
Last:  2026-11-23, --small, 2 cores Zen 5 that other work kept busy: rates swing with it, the work hardly does
       who         texts/s  share   processor s / 1,000 texts  share of work
       in process  223      1       4.96                       1
       1 client    209      0.93    5.07                       0.98
       4 clients   215      0.96    5.11                       0.97
       8 clients   338      1.5     4.99                       0.99
       Tried: the count of tokens from the encoder instead of a second pass over the texts: kept. Threads of Python that
       take turns every 0.5 ms instead of 5: 0.95 to 0.98 of the work, no gain. Waiting 3 ms for further requests before
       a small batch: 0.99 to 1.01, a gain of two hundredths that each lone query would pay for: not kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import measure
from firth.arrays import Encoder
from serve_peers import connected, sent

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = 512
A_REQUEST = 32  # texts
CLIENTS = (1, 4, 8)
_encoder: Encoder | None = None  # of the process that serves nobody


def main() -> None:
    """Both in turns, print, save."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--small", action="store_true", help="two turns")
    small = flags.parse_args().small
    rng = np.random.default_rng(1)
    texts = [" ".join(f"word{w}" for w in rng.zipf(1.4, 40) % 5000) for _ in range(TEXTS)]
    rates: dict[str, list[float]] = {}
    work: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(folder) as (url, server),
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        contenders: dict[str, Any] = {"in process": lambda: pool.apply(in_process, (texts,))}
        contenders |= {f"{n} clients": lambda n=n: over_http(url, server, texts, n) for n in CLIENTS}
        for turn in range(3 if small else 6):
            for name, rate in contenders.items():
                found, spent = rate()
                if turn:  # the first one warms up
                    rates.setdefault(name, []).append(found)
                    work.setdefault(name, []).append(1000 * spent / TEXTS)
    whole = statistics.median(rates["in process"])
    least = statistics.median(work["in process"])
    lines = [
        {
            "who": name,
            "texts/s": statistics.median(found),
            "share": statistics.median(found) / whole,
            "processor s / 1,000 texts": statistics.median(work[name]),
            "share of work": least / statistics.median(work[name]),
        }
        for name, found in rates.items()
    ]
    measure.table(lines)
    spreads = {name: measure.spread(found) for name, found in rates.items()}
    result = {"environment": measure.environment("torch", "uvicorn"), "texts/s": spreads, "rows": lines}
    measure.save("http_small" if small else "http", result)


def over_http(url: str, server: int, texts: list[str], clients: int) -> tuple[float, float]:
    """Texts a second of so many clients, and the seconds of processor time that the server took."""
    parts = [texts[i : i + A_REQUEST] for i in range(0, len(texts), A_REQUEST)]

    def client(mine: list[list[str]]) -> None:
        line = connected(url)
        for part in mine:
            sent(line, "POST", "/v1/embeddings", {"model": "default", "input": part, "encoding_format": "base64"})

    begun, before = time.perf_counter(), processor_time(server)
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, [parts[i::clients] for i in range(clients)]))
    return len(texts) / (time.perf_counter() - begun), processor_time(server) - before


def processor_time(process: int) -> float:
    """Seconds that a process has worked."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_process(texts: list[str]) -> tuple[float, float]:
    """The same of the model itself."""
    global _encoder
    import firth

    _encoder = _encoder or firth.load(MODEL)
    begun, before = time.perf_counter(), time.process_time()
    _encoder.encode(texts)
    return len(texts) / (time.perf_counter() - begun), time.process_time() - before


@contextmanager
def serving(folder: str) -> Iterator[tuple[str, int]]:
    """The address and the process of a server with the model."""
    command = [sys.executable, "-m", "firth.cli", "serve", folder, "--model", MODEL, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield line.rsplit(" ", 1)[1].strip(), process.pid
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
