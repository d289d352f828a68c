"""One writer at a time: an advisory lock on a file, which the system lets go when its process dies."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import IO

from firth.errors import LockedError, StorageError


class WriterLock:
    """Held from construction to `release`; the file says who holds it.

    Raises:
        LockedError: another process (or another Collection of this one) is the writer; names it.
        StorageError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: IO[bytes] | None = path.open("a+b")
        except OSError as error:
            raise StorageError(
                error.errno, f"{path}: cannot be opened for the writer's lock: {error.strerror}"
            ) from error
        if not _take(self._file):
            holder = _holder(self._file)
            self._file.close()
            raise LockedError(
                f"{path.parent}: is being written by {holder}; open it with readonly=True, or end that process first"
            )
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
        self._file.flush()

    def release(self) -> None:
        """Let the next writer in; harmless when called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _holder(file: IO[bytes]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['process']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


if sys.platform == "win32":
    import msvcrt

    def _take(file: IO[bytes]) -> bool:
        file.seek(1 << 20)  # a byte far behind the text, so that the text stays readable
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
