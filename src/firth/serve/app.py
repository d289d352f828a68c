"""One server: every protocol's routes over one library, and what every request goes through.

    Guard   outermost: request id, foreign pages turned away, how many at once, the log line, the metrics
    Door    one for each route: key, scope, rate, body within its limits, the handler, the shape of its errors

The body is read after the key was checked, and counted against what all bodies together may hold, so neither strangers
nor many callers at once can fill the memory.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from firth.errors import FirthError, StorageError
from firth.serve import keys as keyring
from firth.serve.jobs import Jobs
from firth.serve.library import Library
from firth.serve.metrics import Metrics
from firth.serve.protocols import endpoints
from firth.serve.rate import Buckets
from firth.serve.settings import Settings
from firth.serve.wire import Call, Endpoint, Refused, Reply, as_json, status_of

T = TypeVar("T")
WRITERS = 4  # threads that write; one collection is written by one at a time
REQUEST_ID = re.compile(r"[\w.:-]{1,128}")
LOG = logging.getLogger("firth.serve")
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
GONE = 499  # the caller hung up before there was an answer; nginx's number for it
STORAGE = "the disk is full or cannot be written; nothing was changed"
GENERIC = "something went wrong here; the log has it under this request's id"


class Server:
    """What handlers reach through `call.server`.

    Attributes:
        library, settings, keys, metrics: as given, or read from the settings.
        ready: accepting work; false while it starts and stops.
    """

    def __init__(self, library: Library, settings: Settings | None = None) -> None:
        self.library = library
        self.settings = settings or Settings()
        self.limits = self.settings.limits
        self.keys = keyring.Keys() if self.settings.keys is None else keyring.Keys.load(self.settings.keys)
        self.metrics = Metrics()
        self.buckets = Buckets(self.limits.rate, self.limits.burst)
        self.ready = False
        self.busy = 0  # requests being worked on
        self.held = 0  # bytes of bodies in memory
        self.began = time.time()
        self._readers = ThreadPoolExecutor(self.settings.threads, "firth-read")
        self._writers = ThreadPoolExecutor(WRITERS, "firth-write")
        self._operations = itertools.count(1)
        served = library.served
        if served is not None:
            served.told = self.metrics.encoded
            self.metrics.watch("firth_queue_texts", "Texts that wait for the model.", lambda: served.waiting)
        self.metrics.watch("firth_busy_requests", "Requests being worked on.", lambda: self.busy)
        self.metrics.watch("firth_held_bytes", "Bytes of requests' bodies in memory.", lambda: self.held)
        self.metrics.watch_each("firth_documents", "Documents of a collection.", "collection", self._documents)
        self.jobs = Jobs()
        self.maps: dict[Any, Any] = {}  # what native.py has laid out, by what it was asked
        self.endpoints = endpoints()
        self.app: ASGIApp = Guard(self, self._routed())

    async def reading(self, task: Callable[..., T], *args: Any, **settings: Any) -> T:
        """`task` in one of the threads that search."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, lambda: task(*args, **settings))

    async def writing(self, task: Callable[..., T], *args: Any, **settings: Any) -> T:
        """`task` in one of the threads that write; done to the end even if the caller has gone."""
        work = asyncio.get_running_loop().run_in_executor(self._writers, lambda: task(*args, **settings))
        return await asyncio.shield(work)

    def operation(self) -> int:
        """A number for a write, larger than all before it."""
        return next(self._operations)

    def aside(self, task: Callable[[], object]) -> None:
        """Some work that nobody waits for; left out when there is enough to do."""
        if self.busy <= self.settings.threads:
            self._readers.submit(task)

    def close(self) -> None:
        """Finish what was begun and let go of everything; harmless when called twice."""
        self.ready = False
        self.jobs.close()
        self._readers.shutdown(wait=True)
        self._writers.shutdown(wait=True)
        self.library.close()
        for model in (self.library.served, self.library.base):
            if model is not None:
                model.close()

    def _documents(self) -> dict[str, float]:
        found = {}
        for name in self.library.names:
            try:
                found[name] = float(len(self.library.get(name).collection))
            except FirthError:  # removed a moment ago
                continue
        return found

    def _routed(self) -> Starlette:
        @asynccontextmanager
        async def life(_: Starlette) -> AsyncIterator[None]:
            self.ready = True
            yield
            await asyncio.to_thread(self.close)  # here, because uvicorn ends the process by the signal that it caught

        routes = [
            Route(e.path, Door(self, e).answer, methods=[e.method], name=f"{e.method} {e.path}") for e in self.endpoints
        ]
        app = Starlette(routes=routes, lifespan=life, exception_handlers={HTTPException: _nowhere})
        app.router.redirect_slashes = False  # a redirect would repeat the caller's own Host header
        return app


class Door:
    """What stands before the handler of one route."""

    def __init__(self, server: Server, endpoint: Endpoint) -> None:
        self.server = server
        self.endpoint = endpoint

    async def answer(self, request: Request) -> Response:
        """The handler's reply, or why there is none."""
        started, told = time.perf_counter(), request.scope["firth"]
        told["route"] = self.endpoint.path
        held = 0
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
            who = self._let_in(headers, request)
            told["key"] = who
            body, held = await self._body(request, headers)
            told["bytes_in"] = len(body)
            query = dict(
                parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100)
            )
            call = Call(self.server, request.path_params, query, headers, body, who, started)
            found = await self.endpoint.handler(call)
            told["rows"] = call.rows
        except FirthError as error:
            found = self._failed(error, told, request.path_params.get("collection"))
        except ClientDisconnect:
            found = Reply(b"", GONE)
        except asyncio.CancelledError:
            raise
        except ValueError as error:
            if "max number of fields" not in str(error).lower():
                found = self._broken(error, told)
            else:
                found = self._failed(Refused(400, "too many parameters in the address"), told, None)
        except Exception as error:  # a bug of ours: the caller learns its id, the log the rest
            found = self._broken(error, told)
        finally:
            self.server.held -= held
        return Response(found.body, found.status, headers=dict(found.headers), media_type=found.kind)

    def _let_in(self, headers: dict[str, str], request: Request) -> str:
        server, scope = self.server, self.endpoint.scope
        key = None
        if server.keys and scope != "open":
            shown = keyring.presented(headers)
            key = None if shown is None else server.keys.find(shown)
            if key is None:
                server.metrics.refused.labels("key").inc()
                what = (
                    "the key is not known here" if shown else "a key is needed: Authorization: Bearer … or api-key: …"
                )
                raise Refused(401, what)
            if not key.allows(scope):
                server.metrics.refused.labels("scope").inc()
                raise Refused(403, f"key {key.name!r} allows {key.scope}; this needs {scope}")
        if scope in ("write", "admin") and server.library.readonly and self.endpoint.method != "GET":
            raise Refused(403, "this server only reads")
        client = request.client.host if request.client else ""
        if scope != "open":
            wait = server.buckets.take(key.name if key else client, time.monotonic())
            if wait > 0:
                server.metrics.refused.labels("rate").inc()
                raise Refused(429, f"too many requests: {server.limits.rate:g} a second are allowed", after=wait)
        return key.name if key else ""

    async def _body(self, request: Request, headers: dict[str, str]) -> tuple[bytes, int]:
        """The body, and how many bytes are held for it until the answer is made."""
        limits, server = self.server.limits, self.server
        if self.endpoint.method in ("GET", "HEAD"):
            return b"", 0
        told = headers.get("content-length", "")
        if told.isdigit() and int(told) > limits.body:
            raise Refused(413, f"the body has {int(told):,} bytes; at most {limits.body:,} are taken")
        held, parts = 0, []
        try:
            async with asyncio.timeout(limits.patience):
                async for part in request.stream():
                    held += len(part)
                    server.held += len(part)
                    parts.append(part)
                    if held > limits.body:
                        raise Refused(413, f"the body is larger than {limits.body:,} bytes")
                    if server.held > limits.bodies:
                        server.metrics.refused.labels("memory").inc()
                        raise Refused(429, "too much is being worked on; try again", after=1.0)
        except TimeoutError as error:
            server.held -= held
            raise Refused(408, f"the body did not come within {limits.patience:g} seconds") from error
        except BaseException:
            server.held -= held
            raise
        return b"".join(parts), held

    def _failed(self, error: FirthError, told: MutableMapping[str, Any], collection: str | None) -> Reply:
        if isinstance(error, StorageError) and collection is not None and not self.server.library.has(collection):
            error = Refused(404, f"Not found: Collection `{collection[:200]}` is gone")  # while this was at work
        status = status_of(error)
        param = error.param if isinstance(error, Refused) else None
        message = str(error)
        if status >= 500 and not isinstance(error, Refused):
            LOG.error("%s", as_json({"level": "error", "request_id": told["id"], "error": message}).decode())
            message = GENERIC if status == 500 else STORAGE
        headers = {}
        if isinstance(error, Refused) and error.after is not None:
            headers["retry-after"] = str(max(1, round(error.after)))
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        return Reply(as_json(self.endpoint.failure(status, message, param)), status, headers=headers)

    def _broken(self, error: Exception, told: MutableMapping[str, Any]) -> Reply:
        about = {"level": "error", "request_id": told["id"], "error": f"{type(error).__name__}: {error}"}
        LOG.error("%s", json.dumps(about), exc_info=error)
        return Reply(as_json(self.endpoint.failure(500, GENERIC, None)), 500)


class Guard:
    """What every request goes through before it has a route."""

    def __init__(self, server: Server, app: ASGIApp) -> None:
        self.server = server
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        told: dict[str, Any] = {"id": given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8), "route": "none"}
        scope["firth"] = told

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                taken = {name for name, _ in message["headers"]}
                more = {**HEADERS, "x-request-id": told["id"]}
                message["headers"] = [
                    *message["headers"],
                    *((n.encode(), v.encode("latin-1")) for n, v in more.items() if n.encode() not in taken),
                ]
            elif message["type"] == "http.response.body":
                told["bytes_out"] = told.get("bytes_out", 0) + len(message.get("body", b""))
            await send(message)

        self.server.busy += 1
        try:
            turned_away = self._foreign(headers) or self._crowded()
            await (self.app if turned_away is None else turned_away)(scope, receive, sending)
        finally:
            self.server.busy -= 1
            self._tell(scope, told, time.perf_counter() - started)

    def _foreign(self, headers: dict[bytes, bytes]) -> Response | None:
        """A page from elsewhere in somebody's browser must not reach a server that trusts its own machine."""
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if headers.get(b"sec-fetch-site") == b"cross-site" or (origin and origin.partition("://")[2] != host):
            return self._refusal("origin", 403, "pages from elsewhere may not ask this server")
        settings = self.server.settings
        if self.server.keys or settings.insecure:
            return None
        name = host.rpartition(":")[0] if re.search(r":\d*$", host) else host
        if name not in ("localhost", "127.0.0.1", "[::1]", settings.host, *settings.hosts):
            return self._refusal("host", 403, f"this server is not called {name[:100]!r}; --hosts adds a name")
        return None

    def _crowded(self) -> Response | None:
        if self.server.busy <= self.server.limits.requests:
            return None
        return self._refusal("busy", 429, "too many requests at once; try again", {"retry-after": "1"})

    def _refusal(self, reason: str, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
        self.server.metrics.refused.labels(reason).inc()
        return _plain(status, message, headers)

    def _tell(self, scope: Scope, told: dict[str, Any], seconds: float) -> None:
        status = told.get("status", GONE)
        self.server.metrics.requests.labels(told["route"], str(status)).inc()
        self.server.metrics.seconds.labels(told["route"]).observe(seconds)
        client = scope.get("client")
        about = {
            "request_id": told["id"],
            "method": scope["method"],
            "route": told["route"],
            "status": status,
            "ms": round(1e3 * seconds, 2),
            **{name: told[name] for name in ("bytes_in", "bytes_out", "rows", "key") if told.get(name)},
            "client": client[0] if client else "",
        }
        log("request", **about)


def log(what: str, **about: Any) -> None:
    """One JSON object a line; never a caller's text."""
    LOG.info("%s", as_json({"time": round(time.time(), 3), "level": "info", "what": what, **about}).decode())


async def _nowhere(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = {404: "no such route; /openapi.json lists them", 405: "this route has other methods"}
    return _plain(status, what.get(status, "refused"))


def _plain(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """A refusal before there is a protocol, in a shape that OpenAI's, Cohere's and Qdrant's clients can show."""
    shape = {
        "error": {"message": message, "type": "invalid_request_error"},
        "message": message,
        "status": {"error": message},
    }
    return Response(as_json(shape), status, headers=headers, media_type="application/json")
