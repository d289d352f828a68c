"""Vectors in files that only grow: rows are appended, synced, and then named by a committed row of the database.

    vectors/<space>-<segment>.f32, 32,768 slots each; the slot s is number s % 32,768 of segment s // 32,768
    64 bytes   magic "firthvec", version and dimensions (little-endian uint32), zeros
    slots      float32 little-endian, `dims` a slot

A slot is never written again once a committed row names it, so readers in other processes map the files and need no
lock. What a killed writer appended and never committed lies beyond the last named slot and is overwritten. Space is
given back a segment at a time: its living rows are appended anew, then the file is removed (keep.py).
Why not blobs in SQLite: one copy on disk instead of two in the write-ahead log and the table, an exact search that
runs on the page cache which all readers share, and no reading through at opening.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from firth.arrays import Ids, Vectors
from firth.errors import FirthError, FormatError, StorageError
from firth.files import write_whole
from firth.kernels.flat import longest_row

SEGMENT = 32_768  # slots a file: 50 MB at 384 dimensions, the most that one step of compaction rewrites
HEADER = 64  # bytes; keeps slot 0 on a cache line
MAGIC = b"firthvec"
VERSION = 1
_HEAD = struct.Struct("<8sII")


class MovedError(FirthError):
    """A segment was given back after the reader's moment began; the reader begins again at the present moment."""


class VectorFiles:
    """The slots of one space, (slots, dims) float32 over as many files as it takes.

    Args:
        folder: holds the files; `space` is the number in their names.
    """

    def __init__(self, folder: Path, space: int, dims: int) -> None:
        self.folder = folder
        self.space = space
        self.dims = dims
        self._maps: dict[int, Vectors] = {}
        self._longest: dict[int, tuple[int, float]] = {}  # rows looked at, and their bound
        self._lock = threading.Lock()

    def append(self, rows: Vectors, slot: int, *, sync: bool = True) -> None:
        """Write `rows` (n, d) at `slot` and the ones after it; on the disk when this returns, if `sync`.

        Raises:
            StorageError: the disk is full; slots below `slot` are untouched.
        """
        while len(rows):
            segment, place = divmod(slot, SEGMENT)
            part, rows = rows[: SEGMENT - place], rows[SEGMENT - place :]
            path = self.path(segment)
            try:
                if place == 0:
                    with write_whole(path) as file:
                        file.write(_HEAD.pack(MAGIC, VERSION, self.dims).ljust(HEADER, b"\0"))
                _write(path, np.ascontiguousarray(part, np.float32), HEADER + 4 * self.dims * place, sync)
            except StorageError:
                raise
            except OSError as error:
                raise StorageError(
                    error.errno, f"{path}: cannot be written: {error.strerror}; nothing was changed, free some room"
                ) from error
            slot += len(part)

    def take(self, slots: Ids) -> Vectors:
        """(n, d) float32, the rows in `slots` (n,) in this order, copied."""
        rows = np.empty((len(slots), self.dims), np.float32)
        order = np.argsort(slots, kind="stable")
        for part, places, segment in parted(slots[order]):
            rows[order[part]] = self.segment(segment, int(places[-1]) + 1)[places]
        return rows

    def segment(self, segment: int, slots: int) -> Vectors:
        """(slots or more, d) float32, read-only: the file of one segment as far as it goes now.

        Raises:
            FormatError: the file is damaged, or shorter than the rows that the database names.
            MovedError: the file is gone.
        """
        with self._lock:
            mapped = self._maps.get(segment)
            if mapped is None or len(mapped) < slots:
                mapped = self._maps[segment] = self._mapped(segment, slots)
            return mapped

    def longest(self, segment: int, slots: int) -> float:
        """An upper bound of the lengths of the first `slots` rows of a segment."""
        done, bound = self._longest.get(segment, (0, 0.0))
        if done < slots:
            bound = max(bound, longest_row(self.segment(segment, slots)[done:slots]))
            self._longest[segment] = (slots, bound)
        return bound

    def drop(self, segment: int) -> None:
        """Remove the file of a segment that no row is in any more; harmless when it is gone."""
        with self._lock:
            self._maps.pop(segment, None)
            self._longest.pop(segment, None)
        with suppress(PermissionError):  # Windows keeps a file that a reader maps; the next sweep finds it
            self.path(segment).unlink(missing_ok=True)

    def path(self, segment: int) -> Path:
        """The file of one segment."""
        return self.folder / f"{self.space}-{segment:06d}.f32"

    def _mapped(self, segment: int, slots: int) -> Vectors:
        path = self.path(segment)
        try:
            with path.open("rb") as file:
                head = file.read(HEADER)
                if len(head) < HEADER or _HEAD.unpack_from(head) != (MAGIC, VERSION, self.dims):
                    raise FormatError(f"not a file of {self.dims}-dimensional vectors; restore a snapshot", path=path)
                rows = (os.fstat(file.fileno()).st_size - HEADER) // (4 * self.dims)
                if rows < slots:
                    raise FormatError(
                        f"truncated: {slots:,} vectors are named, the file holds {rows:,}; restore a snapshot",
                        path=path,
                    )
                return np.memmap(file, np.float32, "r", HEADER, (min(rows, SEGMENT), self.dims))
        except FileNotFoundError as error:
            raise MovedError(f"{path}: is gone; restore a snapshot") from error


def parted(slots: Ids) -> Iterator[tuple[slice, Ids, int]]:
    """For ascending slots (n,): where each segment's lie, their places in it, and its number.

    Raises:
        FormatError: a slot below 0.
    """
    if len(slots) and slots[0] < 0:
        raise FormatError(f"damaged: a vector is said to be in slot {slots[0]}; restore a snapshot")
    segments = slots // SEGMENT
    borders = [0, *(np.flatnonzero(np.diff(segments)) + 1).tolist(), len(slots)]
    for begin, end in pairwise(borders):
        if end > begin:
            segment = int(segments[begin])
            yield slice(begin, end), slots[begin:end] - segment * SEGMENT, segment


def _write(path: Path, rows: Vectors, position: int, sync: bool) -> None:
    data = memoryview(rows.reshape(-1).view(np.uint8))
    with path.open("r+b", buffering=0) as file:
        file.seek(position)
        while len(data):
            data = data[file.write(data) :]
        if sync:
            os.fsync(file.fileno())
