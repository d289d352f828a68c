"""Declared payload fields: their values lie in a sorted table, so that a filter need not read every payload.

A declaration never changes what a filter finds, only how fast: a field keeps all values of its kind, and a condition
on another kind of value is answered from the payloads as before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Literal

from firth.errors import SettingsError
from firth.store.paths import each_value, parsed

Kind = Literal["keyword", "number", "time"]

# SQL over one JSON value v: is it of the kind, and what is kept of it.
_KINDS = {
    "keyword": ("{v.type} = 'text'", "{v.value}"),
    "number": ("{v.type} IN ('integer', 'real')", "{v.value}"),
    "time": ("{v.type} = 'text' AND firth_time({v.value}) IS NOT NULL", "firth_time({v.value})"),
}


def declared(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """The numbers of all declared fields by (path, kind)."""
    return {(path, kind): field for field, path, kind in db.execute("SELECT field, path, kind FROM fields")}


def counted(
    db: sqlite3.Connection, path: str, where: str, values: Sequence[Any], limit: int
) -> list[tuple[str | int | bool, int]]:
    """The most frequent values (strings, whole numbers, booleans) of a payload field, and how many rows hold each.

    Raises:
        FilterError: not a path.
    """
    tables, guards, v = each_value("rows.payload", parsed(path))
    found = db.execute(
        f"SELECT {v.type}, {v.value}, count(DISTINCT rows.id) AS held FROM rows, {', '.join(tables)} "
        f"WHERE {' AND '.join(guards)} AND {v.type} IN ('text', 'integer', 'true', 'false') AND ({where}) "
        "GROUP BY 1, 2 ORDER BY held DESC, 2 LIMIT ?",
        [*values, limit],
    )
    return [(bool(value) if kind in ("true", "false") else value, held) for kind, value, held in found]


def declare(db: sqlite3.Connection, path: str, kind: str) -> None:
    """Keep the values of this field from now on, and those of all rows that are there; harmless when repeated.

    Raises:
        SettingsError: an unknown kind.
        FilterError: not a path.
    """
    if kind not in _KINDS:
        raise SettingsError(f"field {path!r}: kind={kind!r}: expected {', '.join(_KINDS)}")
    parsed(path)
    done = db.execute("INSERT OR IGNORE INTO fields(path, kind) VALUES (?, ?)", (path, kind))
    if done.rowcount:
        db.execute(f"INSERT OR IGNORE INTO entries {entries_of(int(done.lastrowid or 0), path, kind)}")


def undeclare(db: sqlite3.Connection, path: str) -> bool:
    """Forget the values of this field; whether it was declared."""
    numbers = db.execute("DELETE FROM fields WHERE path = ? RETURNING field", (path,)).fetchall()
    for (number,) in numbers:
        db.execute("DELETE FROM entries WHERE field = ?", (number,))
    return bool(numbers)


def keep_entries(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> None:
    """Note the declared fields' values of the rows that satisfy `where`, which have none noted yet."""
    for (path, kind), field in declared(db).items():
        db.execute(f"INSERT OR IGNORE INTO entries {entries_of(field, path, kind, where)}", values)


def entries_of(field: int, path: str, kind: str, where: str = "true") -> str:
    """SQL for the lines (field, value, id) of the rows that satisfy `where`."""
    tables, guards, v = each_value("rows.payload", parsed(path))
    of_kind, kept = (text.format(v=v) for text in _KINDS[kind])
    return (
        f"SELECT {field}, {kept}, rows.id FROM rows, {', '.join(tables)} "
        f"WHERE {' AND '.join(guards)} AND {of_kind} AND {where}"
    )
