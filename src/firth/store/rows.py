"""Statements over the rows: put, remove, fetch, page; each inside a transaction that the caller holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from firth.arrays import Ids
from firth.store.database import fact, set_fact
from firth.store.fields import keep_entries
from firth.store.records import Key, Payload, checked_payload

AT_ONCE = 10_000  # ids in one statement's parameter


class Row(NamedTuple):
    """One line of the table."""

    id: int
    key: Key
    text: str
    title: str
    payload: Payload


def put(
    db: sqlite3.Connection, keys: Sequence[Key], texts: Sequence[str], titles: Sequence[str], payloads: Sequence[str]
) -> int:
    """Insert rows under fresh ids, in order, burying the rows that had these keys; the first id given out."""
    where, values = with_keys(keys)
    db.execute(f"DELETE FROM rows WHERE {where}", values)
    first = int(fact(db, "next_id"))
    db.executemany(
        "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
        zip(range(first, first + len(keys)), keys, texts, titles, payloads, strict=True),
    )
    set_fact(db, "next_id", first + len(keys))
    keep_entries(db, "rows.id BETWEEN ? AND ?", (first, first + len(keys) - 1))
    return first


def set_payload(db: sqlite3.Connection, payload: Payload, where: str, values: Sequence[Any], *, replace: bool) -> int:
    """Set the fields of `payload` in the payloads of the rows that satisfy `where`; how many there were.

    Raises:
        DataError: it is not JSON.
    """
    found = db.execute(f"SELECT id, key, payload FROM rows WHERE {where}", values).fetchall()
    changed = [
        (checked_payload(payload if replace else {**json.loads(old), **payload}, key), id_) for id_, key, old in found
    ]
    db.executemany("UPDATE rows SET payload = ? WHERE id = ?", changed)
    ids = json.dumps([id_ for _, id_ in changed])
    db.execute("DELETE FROM entries WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    keep_entries(db, "rows.id IN (SELECT value FROM json_each(?))", (ids,))
    return len(changed)


def by_ids(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, Row]:
    """The rows with these ids, by id; ids that are gone are absent."""
    return {row.id: row for row in _rows(db, "id IN (SELECT value FROM json_each(?))", [int(i) for i in ids])}


def by_keys(db: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, Row]:
    """The rows with these keys, by key; unknown keys are absent."""
    return {row.key: row for row in _rows(db, "key IN (SELECT value FROM json_each(?))", list(keys))}


def page(
    db: sqlite3.Connection, where: str, values: Sequence[Any], *, start: Key | None, limit: int
) -> tuple[list[Row], Key | None]:
    """`limit` rows in the order of their keys, integers before strings, from `start` on; and where to go on."""
    if start is not None:
        where, values = f"({where}) AND key >= ?", [*values, start]
    found = db.execute(
        f"SELECT id, key, text, title, payload FROM rows WHERE {where} ORDER BY key LIMIT ?", [*values, limit + 1]
    ).fetchall()
    rows = [_row(line) for line in found]
    return rows[:limit], rows[limit].key if len(rows) > limit else None


def count(db: sqlite3.Connection, where: str = "true", values: Sequence[Any] = ()) -> int:
    """How many rows satisfy `where`."""
    return int(db.execute(f"SELECT count(*) FROM rows WHERE {where}", values).fetchone()[0])


def column(db: sqlite3.Connection, statement: str, values: Sequence[Any] = ()) -> Ids:
    """(n,) int64, or (n, 2) for two columns, of "a FROM …" or "a, b FROM …"; in no certain order."""
    names, rest = statement.split(" FROM ", 1)
    width = names.count(",") + 1
    # Cast, so that a damaged database gives numbers, however wrong, and no text that does not parse.
    joined = " || ',' || ".join(f"CAST({name} AS INTEGER)" for name in names.split(","))
    # One long string parsed by NumPy is 4x faster than a million tuples.
    (text,) = db.execute(f"SELECT group_concat({joined}) FROM {rest}", values).fetchone()
    numbers = np.empty(0, np.int64) if text is None else np.fromstring(text, np.int64, sep=",")
    return numbers.reshape(-1, width) if width > 1 else numbers


def with_keys(keys: Sequence[Key]) -> tuple[str, list[Any]]:
    """The condition that a row's key is one of `keys`, and its value; 1 and "1" stay two keys."""
    return "rows.key IN (SELECT value FROM json_each(?))", [json.dumps(list(keys))]


def with_ids(ids: Iterable[int]) -> tuple[str, list[Any]]:
    """The condition that a row's id is one of `ids`, and its value."""
    return "rows.id IN (SELECT value FROM json_each(?))", [json.dumps([int(id_) for id_ in ids])]


def _rows(db: sqlite3.Connection, where: str, wanted: list[Any]) -> Iterator[Row]:
    for begin in range(0, len(wanted), AT_ONCE):
        part = json.dumps(wanted[begin : begin + AT_ONCE])
        for line in db.execute(f"SELECT id, key, text, title, payload FROM rows WHERE {where}", (part,)):
            yield _row(line)


def _row(line: tuple[Any, ...]) -> Row:
    return Row(line[0], line[1], line[2], line[3], json.loads(line[4]))
