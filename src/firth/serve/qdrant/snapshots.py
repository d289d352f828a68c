"""Qdrant's routes about snapshots: a copy of a collection as one file, taken while others write and search.

The file is a tar of `Collection.snapshot`'s folder, every byte checked by SHA-256 when it is put back. Only snapshots
that this server keeps are put back; a location elsewhere is refused.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from firth import files
from firth.serve.library import Library
from firth.serve.qdrant.shapes import answered, failure, shelf_of
from firth.serve.wire import Call, Endpoint, Refused, Reply
from firth.store import snapshot

SUFFIX = ".snapshot"
_NAME = re.compile(r"[\w][\w.+@-]{0,200}\.snapshot")


class Recover(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT snapshots/recover; `location` ends in the name of a snapshot of this collection."""

    location: str
    priority: str | None = None
    checksum: str | None = None
    api_key: str | None = None


async def listed(call: Call) -> Reply:
    """The snapshots of a collection."""
    folder = call.server.library.snapshots(call.path["collection"])
    return answered(call, await call.work(lambda: [_about(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]))


async def made(call: Call) -> Reply:
    """A snapshot as of now."""
    return answered(call, await call.write(_taken, call.server.library, shelf_of(call).name))


async def fetched(call: Call) -> Reply:
    """The file of a snapshot."""
    path = _path(call)
    if path.stat().st_size > call.server.limits.bodies:
        raise Refused(413, f"the snapshot is larger than {call.server.limits.bodies:,} bytes; copy it from the disk")
    headers = {"content-disposition": f'attachment; filename="{path.name}"'}
    return Reply(await call.work(path.read_bytes), kind="application/octet-stream", headers=headers)


async def removed(call: Call) -> Reply:
    """The end of a snapshot."""
    path = _path(call)
    await call.write(path.unlink, missing_ok=True)
    return answered(call, True)


async def recovered(call: Call) -> Reply:
    """The collection as it was when the snapshot was taken."""
    name = call.read(Recover).location.rpartition("/")[2]
    path = _path(call, name)
    await call.write(_put_back, call.server.library, call.path["collection"], path)
    return answered(call, True)


def _taken(library: Library, name: str) -> dict[str, Any]:
    folder = library.snapshots(name)
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H-%M-%S-%f")
    copy = folder / f".{stamp}"
    try:
        library.get(name).collection.snapshot(copy)
        target = folder / f"{name.replace(' ', '_')}-{stamp}{SUFFIX}"
        with files.write_whole(target) as file, tarfile.open(fileobj=file, mode="w") as tar:
            for path in sorted(copy.rglob("*")):
                tar.add(path, arcname=str(path.relative_to(copy)), recursive=False)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return _about(target)


def _put_back(library: Library, name: str, path: Path) -> None:
    unpacked = path.with_name(f".{path.name}")
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        with tarfile.open(path) as tar:
            tar.extractall(unpacked, filter="data")  # neither links nor paths that lead out of the folder
        with library.replacing(name) as folder:
            snapshot.restore(unpacked, folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _path(call: Call, name: str | None = None) -> Path:
    name = call.path["snapshot"] if name is None else name
    path = call.server.library.snapshots(call.path["collection"]) / name
    if not _NAME.fullmatch(name) or not path.is_file():
        raise Refused(404, f"Not found: Snapshot `{name[:200]}` doesn't exist!")
    return path


def _about(path: Path) -> dict[str, Any]:
    status = path.stat()
    created = datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {"name": path.name, "creation_time": created, "size": status.st_size, "checksum": files.sha256(path)}


OF = "/collections/{collection}/snapshots"
ENDPOINTS = [
    Endpoint("GET", OF, "admin", listed, failure, None, "Snapshots of a collection"),
    Endpoint("POST", OF, "admin", made, failure, None, "Take a snapshot"),
    Endpoint("PUT", OF + "/recover", "admin", recovered, failure, Recover, "Put a snapshot back"),
    Endpoint("GET", OF + "/{snapshot}", "admin", fetched, failure, None, "The file of a snapshot"),
    Endpoint("DELETE", OF + "/{snapshot}", "admin", removed, failure, None, "Remove a snapshot"),
]
