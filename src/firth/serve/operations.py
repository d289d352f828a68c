"""For whoever runs the server: is it alive, is it ready, what does it measure."""

from __future__ import annotations

from typing import Any

from firth.serve.metrics import KIND
from firth.serve.wire import Call, Endpoint, Refused, Reply

PLAIN = "text/plain; charset=utf-8"


def failure(status: int, message: str, param: str | None) -> Any:
    """A plain error object."""
    return {"error": message}


async def alive(_: Call) -> Reply:
    """The process answers."""
    return Reply(b"healthz check passed", kind=PLAIN)


async def ready(call: Call) -> Reply:
    """Requests are taken; not while the server stops."""
    if not call.server.ready:
        raise Refused(503, "the server is stopping", after=1.0)
    return Reply(b"all shards are ready", kind=PLAIN)  # the words that clients of Qdrant look for


async def metrics(call: Call) -> Reply:
    """Prometheus text."""
    return Reply(await call.work(call.server.metrics.text), kind=KIND)


ENDPOINTS = [
    Endpoint("GET", "/healthz", "open", alive, failure, None, "Is the process alive?"),
    Endpoint("GET", "/livez", "open", alive, failure, None, "The same"),
    Endpoint("GET", "/health", "open", alive, failure, None, "The same (TEI)"),
    Endpoint("GET", "/readyz", "open", ready, failure, None, "Are requests taken?"),
    Endpoint("GET", "/metrics", "read", metrics, failure, None, "Prometheus metrics"),
]
