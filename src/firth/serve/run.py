"""uvicorn around a server: until Ctrl-C or SIGTERM in the foreground, or in a thread that its block ends."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from firth.errors import SettingsError, StorageError
from firth.serve.app import LOG, Server

STARTING = 30.0  # seconds that the threaded server has to come up
KEEP_ALIVE = 75  # seconds that an unused connection stays open, so that pools of clients seldom write into a closed one


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers at `url`."""

    url: str
    server: Server


def serve(server: Server, *, announce: Callable[[str], None] = lambda _: None) -> None:
    """Answer until the process is told to stop; then finish what was accepted and close everything.

    Raises:
        SettingsError: beyond this machine without keys.
        StorageError: the port is taken.
    """
    log_lines()
    try:
        checked_exposure(server)
        listening = listen(server.settings.host, server.settings.port)
        announce(_url(server, listening))
        uvicorn.Server(_config(server)).run(sockets=[listening])
    finally:
        server.close()


@contextmanager
def started(server: Server) -> Iterator[Running]:
    """The server in a thread, on its port, stopped and closed when the block ends."""
    checked_exposure(server)
    listening = listen(server.settings.host, server.settings.port)
    engine = uvicorn.Server(_config(server))
    thread = threading.Thread(target=engine.run, kwargs={"sockets": [listening]}, name="firth-serve", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + STARTING
        while not engine.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise StorageError("the server did not start; its log says why")
            time.sleep(0.01)
        yield Running(_url(server, listening), server)
    finally:
        engine.should_exit = True
        thread.join()
        listening.close()
        server.close()


def checked_exposure(server: Server) -> None:
    """Nobody is let in from elsewhere by accident.

    Raises:
        SettingsError: beyond this machine without keys.
    """
    settings = server.settings
    if not settings.local and not server.keys and not settings.insecure:
        raise SettingsError(
            f"--host {settings.host} can be reached from elsewhere and there are no keys: firth key KEYS.json NAME "
            "makes one for --keys KEYS.json; --insecure lets everybody in"
        )


def log_lines() -> None:
    """Send the server's log to stderr, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.handlers = [handler]
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        StorageError: taken, or not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StorageError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    listening.listen(1024)
    return listening


def _url(server: Server, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    scheme = "http" if server.settings.certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _config(server: Server) -> uvicorn.Config:
    settings = server.settings
    return uvicorn.Config(
        server.app,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.grace) or 1,
        h11_max_incomplete_event_size=64 << 10,
        ssl_certfile=None if settings.certificate is None else str(settings.certificate),
        ssl_keyfile=None if settings.certificate_key is None else str(settings.certificate_key),
    )
