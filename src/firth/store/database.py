"""The collection's SQLite file: one writing connection, as many reading ones as there are threads, each in a snapshot.

Inside `reading()` everything is seen as it was at one committed moment, whatever the writer does meanwhile; inside
`writing()` everything happens or nothing does. `version` grows by one with every write: what was worked out at a
version stays right as long as the version is the same.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firth.errors import FormatError, StorageError
from firth.store.schema import FORMAT, ROWS, TABLES, connect, storage_errors

READERS_KEPT = 8  # idle reading connections


class Database:
    """The open database of the collection in `folder`.

    Raises:
        FormatError: not a collection, damaged, or of another format.
        StorageError: cannot be opened.
    """

    def __init__(self, folder: Path, *, writer: bool, durable: bool = True) -> None:
        self.path = folder / ROWS
        self._process = os.getpid()
        self._closed = False
        self._idle: deque[sqlite3.Connection] = deque()
        self._lock = threading.RLock()
        if not self.path.is_file():
            raise FormatError(f"no collection here: {ROWS} is missing; make one with Collection.create", path=folder)
        self._writer = connect(self.path, writer=True, durable=durable) if writer else None
        try:
            with self.reading() as db:
                format_ = fact(db, "format")
            if format_ != FORMAT:
                raise FormatError(
                    f"a collection of format {format_}, this firth reads {FORMAT}; open it with the firth that made it",
                    path=self.path,
                )
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, *, tokenize: str) -> None:
        """The empty tables in `folder`, which must exist."""
        path = folder / ROWS
        path.touch(exist_ok=False)
        db = connect(path, writer=True)
        try:
            with storage_errors(path):
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
                db.executescript("BEGIN;" + TABLES.replace("{tokenize}", tokenize.replace("'", "''")))
                for name, value in (
                    ("format", FORMAT),
                    ("version", 1),
                    ("spaces", 1),
                    ("next_id", 1),
                    ("graves_from", 0),
                ):
                    set_fact(db, name, value)
                db.execute("COMMIT")
        finally:
            db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one committed moment until the block ends."""
        self.check_open()
        try:
            db = self._idle.pop()
        except IndexError:
            db = connect(self.path, writer=False)
        with storage_errors(self.path):
            try:
                db.execute("BEGIN")
                yield db
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if self._closed or len(self._idle) >= READERS_KEPT:
                    db.close()
                else:
                    self._idle.append(db)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The writing connection in a transaction of its own; one thread at a time, others wait.

        Raises:
            StorageError: opened with readonly=True; or the disk is full, then nothing was changed.
        """
        self.check_open()
        with self._lock, storage_errors(self.path):
            db = self._writer
            if db is None:
                raise StorageError(f"{self.path.parent}: was opened with readonly=True; open it without to write")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("UPDATE facts SET value = value + 1 WHERE name = 'version'")
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other thread writes until the block ends; transactions inside of it are the caller's."""
        with self._lock:
            yield

    def give_back(self, pages: int | None) -> None:
        """Return free pages to the file system, at most `pages`; None = all, and empty the write-ahead log."""
        self.check_open()
        with self._lock, storage_errors(self.path):
            if self._writer is not None:
                self._writer.execute(f"PRAGMA incremental_vacuum({pages or 0})").fetchall()
                if pages is None:
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Let go of the file; harmless when called twice."""
        with self._lock:
            self._closed = True
            if self._process != os.getpid():
                return  # after a fork the connections are the parent's; SQLite forbids to touch them here
            while self._idle:
                self._idle.pop().close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def check_open(self) -> None:
        """StorageError if it was closed, or belongs to the process that this one was forked from."""
        if self._closed:
            raise StorageError(f"{self.path.parent}: this collection was closed; open it again")
        if self._process != os.getpid():
            raise StorageError(
                f"{self.path.parent}: was opened by process {self._process} and is used in its fork {os.getpid()}; "
                "open it in each process"
            )


def fact(db: sqlite3.Connection, name: str) -> Any:
    """The value kept under `name`, or None."""
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def set_fact(db: sqlite3.Connection, name: str, value: Any) -> None:
    """Keep `value` (None, int, float, str) under `name`."""
    db.execute("INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))
