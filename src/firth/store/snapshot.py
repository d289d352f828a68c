"""A copy of a collection as of one committed moment, and back: a folder that opens by itself, with its checksums.

    snapshot.json   for each file its size and SHA-256

The writer writes on meanwhile: the moment is held open, and what it names is never changed (schema.py, vectors.py).
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO

from firth.errors import FormatError, StorageError
from firth.files import read_json, write_folder, write_json
from firth.progress import Progress, silent
from firth.store.moment import Moment
from firth.store.rows import column
from firth.store.schema import ROWS
from firth.store.vectors import HEADER, SEGMENT, MovedError

MANIFEST = "snapshot.json"
BLOCK = 1 << 20  # bytes copied at a time


def take(moment: Moment, source: Path, target: Path, progress: Progress = silent) -> None:
    """Copy the collection in `source`, as `moment` sees it, to the new folder `target`.

    Raises:
        StorageError: `target` exists, or the disk is full; then nothing is left there.
        MovedError: a file was given back before it could be opened; try again at a later moment.
    """
    if target.exists():
        raise StorageError(f"{target}: exists already; choose another path for the snapshot")
    with ExitStack() as opened, write_folder(target) as folder:
        (folder / "vectors").mkdir()
        (folder / "index").mkdir()
        parts = _opened(moment, opened)  # an open file can be read even when its name is gone
        with closing(sqlite3.connect(folder / ROWS)) as copy:
            moment.db.backup(copy)
        kept: dict[str, dict[str, int | str]] = {ROWS: _digest(folder / ROWS)}
        for done, (name, (file, size)) in enumerate(parts.items()):
            with (folder / name).open("xb") as to:
                kept[name] = _copied(file, to, size, source / name)
            progress(done + 1, len(parts), name)
        write_json(folder / MANIFEST, {"files": kept})


def restore(snapshot: Path, target: Path) -> None:
    """Copy the snapshot to the new folder `target`, checking every byte.

    Raises:
        FormatError: not a snapshot, or a file in it is not as it was written; names it.
        StorageError: `target` exists, or the disk is full; then nothing is left there.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StorageError(f"{target}: exists already; choose another path, or remove it")
    if not (snapshot / MANIFEST).is_file():
        raise FormatError(
            f"not a snapshot: {MANIFEST} is missing; snapshots are made by Collection.snapshot", path=snapshot
        )
    manifest = read_json(snapshot / MANIFEST)
    try:
        wanted = {str(name): (int(file["size"]), str(file["sha256"])) for name, file in manifest["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"not understood: {error!r}", path=snapshot / MANIFEST) from error
    with write_folder(target) as folder:
        (folder / "vectors").mkdir()
        (folder / "index").mkdir()
        for name, (size, digest) in wanted.items():
            path = snapshot / name
            if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
                raise FormatError(f"names the file {name!r}, which is not there", path=snapshot / MANIFEST)
            with path.open("rb") as file, (folder / name).open("xb") as to:
                if path.stat().st_size != size or _copied(file, to, size, path)["sha256"] != digest:
                    raise FormatError("is not as the snapshot was written; take another snapshot", path=path)


def _opened(moment: Moment, opened: ExitStack) -> dict[str, tuple[IO[bytes], int]]:
    """All files beside the database that the moment names: opened, and how many bytes of them count."""
    parts: dict[str, tuple[IO[bytes], int]] = {}
    for space in moment.spaces:
        slots = column(moment.db, "slot FROM slots WHERE space = ?", (space.number,))
        for segment in sorted({slot // SEGMENT for slot in slots.tolist()}):
            path = space.files.path(segment)
            highest = int(slots[slots // SEGMENT == segment].max()) % SEGMENT
            try:
                file = opened.enter_context(path.open("rb"))
            except FileNotFoundError as error:
                raise MovedError(f"{path}: is gone") from error
            parts[f"vectors/{path.name}"] = (file, HEADER + 4 * space.settings.dims * (highest + 1))
        index = space.shelf.folder / (space.facts.index_file or "")
        if space.facts.index_file is not None and index.is_file():
            parts[f"index/{index.name}"] = (opened.enter_context(index.open("rb")), index.stat().st_size)
    return parts


def _copied(file: IO[bytes], to: IO[bytes], size: int, path: Path) -> dict[str, int | str]:
    digest, left = hashlib.sha256(), size
    while left:
        block = file.read(min(BLOCK, left))
        if not block:
            raise FormatError(f"truncated: {size:,} bytes are named, {size - left:,} are there", path=path)
        to.write(block)
        digest.update(block)
        left -= len(block)
    return {"size": size, "sha256": digest.hexdigest()}


def _digest(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
