"""`firth serve PATH`: a built folder, a collection, a folder of collections or a model, over HTTP."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

MB = 1 << 20
PACKAGES = ("starlette", "uvicorn", "msgspec", "orjson", "prometheus_client")


@dataclass(frozen=True)
class Settings:
    """What is served, to whom, and how much of it."""

    path: Annotated[Path, "Folder of firth build, a collection, a model, or a folder for collections."]
    model: Annotated[str, "Name or folder of the model, where the path holds none."] = ""
    base: Annotated[str, "Model that the served one was tuned from, to compare the two on the page."] = ""
    host: Annotated[str, "Address to listen on; beyond this machine only with --keys."] = "127.0.0.1"
    port: Annotated[int, "Port to listen on; 0 takes a free one."] = 8411
    readonly: Annotated[bool, "Only read, so that another process may write."] = False
    keys: Annotated[str, "File of hashed keys, made by firth key."] = ""
    insecure: Annotated[bool, "Listen beyond this machine without keys."] = False
    hosts: Annotated[str, "Further names of this server, with commas between, where there are no keys."] = ""
    certificate: Annotated[str, "TLS certificate file."] = ""
    certificate_key: Annotated[str, "TLS key file."] = ""
    threads: Annotated[int, "Searches at once."] = 8
    rate: Annotated[float, "Requests a second for each key or address; 0 has no bound."] = 0.0
    body: Annotated[int, "Megabytes of one request."] = 64
    memory: Annotated[int, "Megabytes of all requests that are being worked on."] = 512
    queue: Annotated[int, "Texts that may wait for the model."] = 16_384
    sampled: Annotated[float, "Share of the searches that are repeated exactly, to measure recall."] = 0.01


@dataclass(frozen=True)
class Stopped:
    """The server has finished what it had accepted."""

    url: str

    def as_json(self) -> dict[str, Any]:
        return {"url": self.url, "state": "stopped"}


def run(settings: Settings) -> Stopped:
    """Serve until told to stop.

    Raises:
        MissingExtraError: firth[serve] is not installed.
        SettingsError: beyond this machine without keys, or a limit out of range.
        FormatError, ModelError, LockedError: what lies there cannot be served.
    """
    check_installed()
    from firth import serve as door
    from firth.serve.opening import open_library

    if min(settings.body, settings.memory) < 1:
        raise SettingsError(f"serve: body={settings.body}, memory={settings.memory}: expected at least 1 megabyte")
    limits = door.Limits(body=settings.body * MB, bodies=settings.memory * MB, rate=settings.rate, queue=settings.queue)
    wanted = door.Settings(
        host=settings.host,
        port=settings.port,
        keys=_path(settings.keys),
        insecure=settings.insecure,
        hosts=tuple(name.strip() for name in settings.hosts.split(",") if name.strip()),
        certificate=_path(settings.certificate),
        certificate_key=_path(settings.certificate_key),
        threads=settings.threads,
        sampled=settings.sampled,
        limits=limits,
    )
    told: list[str] = []

    def announce(url: str) -> None:
        told.append(url)
        names = ", ".join(library.names) or "no collections yet"
        model = f"model {library.served.name}" if library.served else "no model"
        print(f"firth serves {settings.path} ({model}; {names}) at {url}", file=sys.stderr, flush=True)

    library = open_library(
        settings.path, model=settings.model, base=settings.base, readonly=settings.readonly, queue=settings.queue
    )
    try:
        server = door.Server(library, wanted)
    except BaseException:
        library.close()
        raise
    door.serve(server, announce=announce)
    return Stopped(told[0] if told else "")


def show(stopped: Stopped, console: Console) -> None:
    """Nothing is left to be told but that it is over."""
    console.print(f"stopped serving at {stopped.url}")


def check_installed() -> None:
    """MissingExtraError where firth[serve] is not installed."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve", "the server")


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None
