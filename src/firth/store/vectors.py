"""A file of vectors that only grows: rows are appended, synced, and then named by a committed row of the database.

    64 bytes   magic "firthvec", version and dimensions (little-endian uint32), zeros
    slots      float32 little-endian, `dims` a slot, slot i at byte 64 + 4 · dims · i

A slot is never written again once a committed row names it, so readers in other processes map the file and need no
lock. What a killed writer appended and never committed lies beyond the last named slot and is overwritten.
Why not blobs in SQLite: one copy on disk instead of two in the write-ahead log and the table, an exact search that
runs on the page cache which all readers share, and no reading through at opening.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from firth.arrays import Ids, Vectors
from firth.errors import FormatError, StorageError
from firth.files import write_whole

HEADER = 64  # bytes; keeps slot 0 on a cache line
MAGIC = b"firthvec"
VERSION = 1
_HEAD = struct.Struct("<8sII")


class VectorFile:
    """Rows of one width in a memory-mapped file.

    Raises (on opening):
        FormatError: missing, not a vector file, or of another width.
    """

    def __init__(self, path: Path, dims: int) -> None:
        self.path = path
        self.dims = dims
        self._mapped: Vectors = np.empty((0, dims), np.float32)
        with path.open("rb") as file:
            head = file.read(HEADER)
        if len(head) < HEADER or _HEAD.unpack_from(head) != (MAGIC, VERSION, dims):
            raise FormatError(f"not a vector file of {dims} dimensions; restore the collection", path=path)

    @classmethod
    def create(cls, path: Path, dims: int) -> VectorFile:
        """An empty file under `path`."""
        with write_whole(path) as file:
            file.write(_HEAD.pack(MAGIC, VERSION, dims).ljust(HEADER, b"\0"))
        return cls(path, dims)

    def append(self, rows: Vectors, slot: int, *, sync: bool = True) -> None:
        """Write `rows` (n, d) at `slot` and the ones after it; on the disk when this returns, if `sync`.

        Raises:
            StorageError: the disk is full; slots below `slot` are untouched.
        """
        data = memoryview(np.ascontiguousarray(rows, np.float32).reshape(-1).view(np.uint8))
        position = HEADER + 4 * self.dims * slot
        try:
            with self.path.open("r+b", buffering=0) as file:
                file.seek(position)
                while len(data):
                    data = data[file.write(data) :]
                if sync:
                    os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                error.errno, f"{self.path}: cannot be written: {error.strerror}; nothing was changed, free some room"
            ) from error

    def mapped(self, slots: int) -> Vectors:
        """(slots or more, d) float32, read-only, as far as the file goes now.

        Raises:
            FormatError: the file is shorter than the rows that the database names.
        """
        mapped = self._mapped
        if len(mapped) < slots:
            rows = (self.path.stat().st_size - HEADER) // (4 * self.dims)
            if rows < slots:
                raise FormatError(
                    f"truncated: {slots:,} vectors are named, the file holds {rows:,}; restore a snapshot",
                    path=self.path,
                )
            mapped = np.memmap(self.path, np.float32, "r", HEADER, (rows, self.dims))
            self._mapped = mapped
        return mapped

    def take(self, slots: Ids) -> Vectors:
        """(n, d) float32, the rows in `slots`, copied."""
        if len(slots) == 0:
            return np.empty((0, self.dims), np.float32)
        rows: Vectors = np.asarray(self.mapped(int(slots.max()) + 1)[slots])
        return rows
