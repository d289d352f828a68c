"""The tables of a collection and the settings that are kept in them.

    facts     name, value           format, counters, settings
    rows      id, key, text, title, payload
    spaces    one set of vectors a line: name, width, metric, whose model, which index
    slots     (space, id) -> slot in the space's vector file
    graves    ids that are gone, so that an index that still holds them can be told
    entries   (field, value, id) of the declared payload fields
    words     FTS5 over title and text, holding no copy of them

A row is never changed in its text or vectors: an upsert of a known key makes a new id and buries the old one. So an id
always means the same vector, and an index that knows the ids up to h is brought up to date by the ids above h and by
the graves. Only payloads are changed in place; no index holds them.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from firth.errors import FormatError, SettingsError, StorageError
from firth.store.words import add_functions

FORMAT = 1
ROWS = "rows.db"
BUSY = 60.0  # seconds to wait for SQLite's short exclusive moments (recovery, the end of a checkpoint)
CACHE = 32 << 10  # KiB of pages a connection may keep
WAL_LIMIT = 64 << 20  # bytes the write-ahead log is cut back to after a checkpoint
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables, which keep the key 1 apart from the key "1"

Metric = Literal["cosine", "dot", "euclid"]
Embeds = Literal["full", "title", "text"]


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How the derived index of one set of vectors is built and asked.

    Attributes:
        m: neighbours a node of the graph; more finds better, costs 8 bytes each and build time.
        ef_construction: candidates looked at while building.
        recall: what a search aims at when it says neither `ef` nor `recall`.
        threads: for building, and for searches of many queries at once.
        exact_below: rows; a smaller collection is scanned, which is exact and fast enough (5,000 x 384 in about 1 ms).
        seed: for the levels of the graph.
    """

    m: int = 16
    ef_construction: int = 200
    recall: float = 0.99
    threads: int = 2
    exact_below: int = 5_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.m <= 512:
            raise SettingsError(f"index: m={self.m}: expected 2 to 512")
        if self.ef_construction < 1 or self.threads < 1 or self.exact_below < 0:
            raise SettingsError(f"index: ef_construction, threads and exact_below must be positive, got {self}")
        if not 0 < self.recall <= 1:
            raise SettingsError(f"index: recall={self.recall}: expected more than 0 and at most 1")


@dataclass(frozen=True, slots=True)
class VectorSettings:
    """One set of vectors of a collection.

    Attributes:
        dims: width of the stored rows.
        metric: "cosine" (rows are brought to length one), "dot", or "euclid" (score = minus the squared distance).
        codec: what the walk through the graph compares: "sq8" = one byte a dimension, None = float32.
        embeds: which text the collection's encoder embeds for it; None = the caller brings the vectors.
        index: how the index is built.
    """

    dims: int
    metric: Metric = "cosine"
    codec: str | None = "sq8"
    embeds: Embeds | None = None
    index: IndexSettings = field(default_factory=IndexSettings)

    def __post_init__(self) -> None:
        if not 1 <= self.dims <= 65_536:
            raise SettingsError(f"dims={self.dims}: expected 1 to 65,536")
        if self.metric not in ("cosine", "dot", "euclid"):
            raise SettingsError(f"metric={self.metric!r}: expected cosine, dot or euclid")
        if self.codec not in ("sq8", None):
            raise SettingsError(f"codec={self.codec!r}: expected 'sq8' or None")
        if self.embeds not in (None, "full", "title", "text"):
            raise SettingsError(f"embeds={self.embeds!r}: expected full, title, text or None")


TABLES = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE rows(
    id INTEGER PRIMARY KEY, key ANY NOT NULL UNIQUE, text TEXT NOT NULL, title TEXT NOT NULL, payload TEXT NOT NULL
) STRICT;
CREATE TABLE spaces(
    space INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    state TEXT NOT NULL,        -- live, growing (being filled by a new model), retired (kept for a roll back)
    settings TEXT NOT NULL,     -- JSON of VectorSettings
    fingerprint TEXT,           -- of the encoder; NULL = brought by the caller, nobody said which
    used INTEGER NOT NULL DEFAULT 0,         -- slots ever given out
    moves INTEGER NOT NULL DEFAULT 0,        -- times that slots of living ids were moved
    index_file TEXT,            -- derived, in index/; NULL = none yet
    index_high INTEGER NOT NULL DEFAULT 0,   -- the index holds the ids up to this one
    index_grave INTEGER NOT NULL DEFAULT 0   -- and knows of the graves up to this one
) STRICT;
CREATE TABLE slots(
    space INTEGER NOT NULL, id INTEGER NOT NULL, slot INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (space, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE graves(grave INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL) STRICT;
CREATE TABLE fields(
    field INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, kind TEXT NOT NULL, UNIQUE (path, kind)
) STRICT;
CREATE TABLE entries(
    field INTEGER NOT NULL, value ANY NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (field, value, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_of_a_row ON entries(id);
CREATE VIRTUAL TABLE words USING fts5(title, text, content='rows', content_rowid='id', tokenize='{tokenize}');
CREATE TRIGGER a_row_came AFTER INSERT ON rows BEGIN
    INSERT INTO words(rowid, title, text) VALUES (new.id, new.title, new.text);
END;
CREATE TRIGGER a_row_went AFTER DELETE ON rows BEGIN
    INSERT INTO words(words, rowid, title, text) VALUES ('delete', old.id, old.title, old.text);
    INSERT INTO graves(id) VALUES (old.id);
    DELETE FROM slots WHERE id = old.id AND space IN (SELECT space FROM spaces);
    DELETE FROM entries WHERE id = old.id;
END;
"""


def connect(path: Path, *, writer: bool, durable: bool = True) -> sqlite3.Connection:
    """A connection to the database in `path`, without implicit transactions.

    A reader never writes, but shares a small file with the writer. In a folder where it may not, it reads the database
    as it lies there (SQLite's `immutable`), and nobody may write to it meanwhile.

    Raises:
        FormatError: not an SQLite database.
        StorageError: cannot be opened.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StorageError(
            f"SQLite {sqlite3.sqlite_version} is too old: firth.store needs 3.37 (a newer Python has it)"
        )
    mode = "rw"
    if not writer and not os.access(path.parent, os.W_OK):
        mode = "ro" if path.with_name(f"{path.name}-wal").exists() else "ro&immutable=1"
    with storage_errors(path):
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY,
        )
        add_functions(connection)
        connection.execute(f"PRAGMA cache_size = -{CACHE}")
        connection.execute("PRAGMA temp_store = MEMORY")
        if writer:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        else:
            connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: what happened, to which file, and what to do."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):
            raise StorageError(f"{path}: {error}; nothing was changed, free some room and try again") from error
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PERM")):
            raise StorageError(f"{path}: {error}") from error
        raise FormatError(f"damaged, or not a collection: {error}; restore a snapshot", path=path) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:  # in a stored value, or in SQLite's message about one
        raise FormatError(f"damaged: {error}; restore a snapshot", path=path) from error
