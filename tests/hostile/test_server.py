"""Requests that nobody should send: whatever comes, the server answers with a refusal, stays up and keeps its data.

FIRTH_HOSTILE_REQUESTS sets how many mutated requests are sent (3,000 unless told otherwise).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from firth.serve import Limits, Server, Settings, started
from firth.serve.batcher import Served
from firth.serve.library import Library
from hostile.mutated import Hashed, asked, fill, storm

REQUESTS = int(os.environ.get("FIRTH_HOSTILE_REQUESTS", "3000"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    limits = Limits(body=1 << 20, points=500, batch=100, characters=10_000)
    library = Library(tmp_path / "root", Served(Hashed(), "m"), grows=True)
    made = Server(library, Settings(sampled=0.2, limits=limits, insecure=True))
    yield made
    made.close()


def test_no_request_however_mutated_breaks_the_server(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    seen = asyncio.run(storm(server, REQUESTS, 20_261_123))
    assert seen[200] > REQUESTS / 50
    assert seen[400] > REQUESTS / 4
    assert server.held == server.busy == 0
    assert server.library.get("c").collection.check() == []
    assert "Traceback" not in caplog.text


TRAVERSALS = [
    "/collections/..%2F..%2Fetc",
    "/collections/%2e%2e",
    "/collections/..%5c..",
    "/collections/c/snapshots/..%2f..%2fserver.json",
    "/web/..%2f..%2fapp.py",
    "/web/%2e%2e/app.py",
    "/web/....//app.py",
    "/web/app.js%00.html",
    "/collections/%00",
    "//etc/passwd",
    "/web/%c0%ae%c0%ae/app.py",
    "/collections/c/points/..%2f..%2f",
    "/collections/" + "a" * 5000,
]


def test_no_path_leads_out_of_the_folder(server: Server, tmp_path: Path) -> None:
    async def walk() -> None:
        await fill(server)
        before = sorted(tmp_path.rglob("*"))
        for path in TRAVERSALS:
            for method in ("GET", "PUT", "DELETE", "POST"):
                body = {"vectors": {"size": 2, "distance": "Dot"}}
                status, answer = await asked(server, method, path, json.dumps(body).encode())
                assert 400 <= status < 500 or (status == 200 and b"false" in answer), (method, path, answer)
                assert b"import " not in answer
        assert sorted(tmp_path.rglob("*")) == before

    asyncio.run(walk())


def test_memory_does_not_grow_with_refused_requests(server: Server) -> None:
    async def refused(n: int) -> None:
        for i in range(n):
            await asked(server, "GET", f"/no/such/{i}", b"", {"x-request-id": f"id-{i}", "user-agent": f"agent {i}"})
            await asked(server, "POST", "/v1/embeddings", b'{"model": "m%d", "input": "a"}' % i)
            await asked(server, "POST", f"/collections/none{i}/points/query", b'{"query": [1]}')

    async def grown() -> int:
        await refused(200)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await refused(600)
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return after - before

    assert asyncio.run(grown()) < 300_000  # bytes; 1,800 requests


RAW = [
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"x-%d: y\r\n" % i for i in range(5000)) + b"\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
    b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nx-request-id: a\r\n b\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 70_000,
]


def test_bytes_that_are_no_request_leave_the_server_well(tmp_path: Path) -> None:
    server = Server(Library(tmp_path / "root", Served(Hashed(), "m"), grows=True), Settings(port=0))
    with started(server) as running:
        place = urlsplit(running.url)
        for raw in RAW:
            with socket.create_connection((place.hostname, place.port), timeout=10) as line:
                line.settimeout(2)
                try:
                    line.sendall(raw)
                    answer = line.recv(200)
                except (ConnectionError, TimeoutError):
                    answer = b""  # hung up on, or still listened to: both are well
            assert not answer.startswith(b"HTTP/1.1 5"), (raw[:80], answer)
        with socket.create_connection((place.hostname, place.port), timeout=10) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 200")
        assert server.held == 0
