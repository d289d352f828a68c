"""The open collection as its parts see it: the folder, the database, the spaces, one committed moment at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from firth.errors import FormatError, SettingsError
from firth.store.database import Database, fact, set_fact
from firth.store.hybrid import CommonWords
from firth.store.lock import WriterLock
from firth.store.space import Space, read_spaces
from firth.store.vectors import MovedError

T = TypeVar("T")

TRIES = 5  # moments a reader takes before it believes that a file is missing and not just moved


@dataclass(frozen=True, slots=True)
class Moment:
    """One committed state: a connection that sees it, its version, its spaces in every state; and its common words."""

    db: sqlite3.Connection
    version: int
    spaces: tuple[Space, ...]
    common: CommonWords

    @property
    def live(self) -> dict[str, Space]:
        """The spaces that are searched, by name."""
        return {space.facts.name: space for space in self.spaces if space.facts.state == "live"}

    def space(self, name: str) -> Space:
        """The live space of this name.

        Raises:
            SettingsError: there is none.
        """
        live = self.live
        if name not in live:
            raise SettingsError(f"no vectors called {name!r}; this collection has {sorted(live)}")
        return live[name]


class Ground:
    """What all parts of an open collection stand on.

    Args:
        folder: of the collection.
        lock: held by the writer; None = this process only reads.
        durable: wait for the disk at each write.
    """

    def __init__(self, folder: Path, *, lock: WriterLock | None, durable: bool) -> None:
        self.folder = folder
        self.durable = durable
        self.lock = lock
        self.database = Database(folder, writer=lock is not None, durable=durable)
        self._spaces: tuple[int, tuple[Space, ...]] = (0, ())
        self._common = CommonWords()
        self._changing = threading.Lock()

    def read(self, work: Callable[[Moment], T]) -> T:
        """What `work` makes of one committed moment; it may be called again at a later one."""
        for tried in range(TRIES):
            try:
                with self.database.reading() as db:
                    return work(self._moment(db))
            except MovedError as error:
                if tried == TRIES - 1:
                    raise FormatError(str(error)) from error
        raise AssertionError("unreachable: the last try returns or raises")

    @contextmanager
    def write(self) -> Iterator[Moment]:
        """The present moment, to be changed: everything in the block happens, or nothing does."""
        with self.database.writing() as db:
            yield self._moment(db)

    def close(self) -> None:
        """Let go of everything; harmless when called twice."""
        self.database.close()
        if self.lock is not None:
            self.lock.release()

    def _moment(self, db: sqlite3.Connection) -> Moment:
        known = dict(db.execute("SELECT name, value FROM facts WHERE name IN ('version', 'spaces')").fetchall())
        if len(known) < 2:
            raise FormatError("damaged: its version is missing; restore a snapshot", path=self.database.path)
        with self._changing:
            seen, spaces = self._spaces
            if seen != known["spaces"]:
                old = {space.number: space for space in spaces}
                spaces = tuple(
                    old[facts.space].renewed(facts)
                    if facts.space in old
                    else Space(self.folder, facts, writer=self.lock is not None)
                    for facts in read_spaces(db)
                )
                if known["spaces"] > seen:
                    self._spaces = (known["spaces"], spaces)
        return Moment(db, known["version"], spaces, self._common)


def spaces_changed(db: sqlite3.Connection) -> None:
    """Tell every reader that a line of the table `spaces` says something new (more slots in use is nothing new)."""
    set_fact(db, "spaces", int(fact(db, "spaces")) + 1)
