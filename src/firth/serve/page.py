"""The page at /: plain files beside this one, which fetch nothing from elsewhere; programs get the version instead."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from firth.serve.native import failure
from firth.serve.wire import Call, Endpoint, Refused, Reply, reply

LEVEL = "1.20.0"  # of Qdrant's interface, which its clients compare with their own version
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def root(call: Call) -> Reply:
    """The page for browsers, the version for programs."""
    if "text/html" in call.headers.get("accept", ""):
        return _file("index.html")
    from firth import __version__

    about: dict[str, Any] = {"title": "firth, Qdrant-REST-compatible", "version": LEVEL, "firth": __version__}
    return reply(about)


async def file(call: Call) -> Reply:
    """One of the page's own files."""
    name = call.path["file"]
    if name not in _names():
        raise Refused(404, "no such file")
    return _file(name)


def _file(name: str) -> Reply:
    path = _folder() / name
    return Reply(path.read_bytes(), kind=KINDS[path.suffix], headers={"content-security-policy": POLICY})


@cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in _folder().iterdir() if path.suffix in KINDS)


def _folder() -> Path:
    return Path(__file__).with_name("web")


ENDPOINTS = [
    Endpoint("GET", "/", "open", root, failure, None, "The page, or the version"),
    Endpoint("GET", "/web/{file}", "open", file, failure, None, "Files of the page"),
]
