"""One set of vectors of a collection: the file of rows, and the search over it that keeps up with the database.

A search sees a `View`: the ids that exist at one version of the database and the slots that hold their vectors. It is
brought forward from the version before by the new ids and the graves, so following a writer costs what was written.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import NO_ID, NO_SCORE, Ids, Neighbours, Vectors, as_vectors, unit
from firth.errors import DataError, FormatError
from firth.store.schema import IndexSettings, VectorSettings
from firth.store.vectors import VectorFile

SCAN_BLOCK = 65_536  # rows scored at once: bounds the score matrix to 256 KB a query


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """One line of the table `spaces`."""

    space: int
    name: str
    state: str
    settings: VectorSettings
    fingerprint: str | None
    file: str
    used: int
    index_file: str | None
    index_high: int
    index_grave: int


@dataclass(frozen=True, slots=True)
class View:
    """What one version of the database holds.

    Attributes:
        grave: the last grave that was taken into account.
        ids: (n,) int64 ascending.
        slots: (n,) int64, where each id's vector is.
    """

    version: int
    grave: int
    ids: Ids
    slots: Ids


class Space:
    """The vectors called `facts.name`, in the collection's `folder`."""

    def __init__(self, folder: Path, facts: SpaceFacts) -> None:
        self.facts = facts
        self.settings = facts.settings
        self.file = VectorFile(folder / facts.file, facts.settings.dims)
        self._view = View(-1, 0, np.empty(0, np.int64), np.empty(0, np.int64))
        self._lock = threading.Lock()

    def append(self, db: sqlite3.Connection, first: int, present: Sequence[int], rows: Vectors, *, sync: bool) -> None:
        """Store `rows` (n, d) for the ids `first + present[i]`, within the caller's write transaction."""
        (used,) = db.execute("SELECT used FROM spaces WHERE space = ?", (self.facts.space,)).fetchone()
        self.file.append(rows, used, sync=sync)
        db.executemany(
            "INSERT INTO slots VALUES (?, ?, ?, ?)",
            (
                (self.facts.space, first + i, used + j, zlib.crc32(row.view(np.uint8)))
                for j, (i, row) in enumerate(zip(present, rows, strict=True))
            ),
        )
        db.execute("UPDATE spaces SET used = ? WHERE space = ?", (used + len(rows), self.facts.space))

    def fetch(self, db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Vectors]:
        """The stored vectors (d,) of these ids; an id without one is absent."""
        found = db.execute(
            "SELECT id, slot FROM slots WHERE space = ? AND id IN (SELECT value FROM json_each(?))",
            (self.facts.space, json.dumps(list(ids))),
        ).fetchall()
        rows = self.file.take(np.array([slot for _, slot in found], np.int64))
        return {id_: row for (id_, _), row in zip(found, rows, strict=True)}

    def search(
        self, db: sqlite3.Connection, version: int, queries: Vectors, k: int, *, allow: Ids | None = None
    ) -> Neighbours:
        """The k nearest of each query (q, d) at this version; ids are rows' ids, `allow` (ascending) those wanted."""
        view = self.at(db, version)
        ids, slots = view.ids, view.slots
        if allow is not None:
            kept = np.isin(ids, allow, assume_unique=True)
            ids, slots = ids[kept], slots[kept]
        return self._scan(queries, ids, slots, k)

    def at(self, db: sqlite3.Connection, version: int) -> View:
        """The view of the version that the caller's read transaction sees."""
        with self._lock:
            view = self._view
            if view.version == version:
                return view
            if view.version > version:  # another thread, whose transaction began later, was first
                return self._forward(db, View(-1, 0, np.empty(0, np.int64), np.empty(0, np.int64)), version)
            self._view = self._forward(db, view, version)
            return self._view

    def prepared(self, vectors: Any, name: str) -> Vectors:
        """Rows as this space stores them: checked, float32, of length one under the cosine.

        Raises:
            ShapeError: wrong width or not numbers.
            DataError: a row of zeros, which has no direction.
        """
        rows = as_vectors(vectors, dims=self.settings.dims, name=name)
        if self.settings.metric != "cosine":
            return rows
        zero = np.flatnonzero(~rows.any(axis=1))
        if len(zero):
            raise DataError(f"{name}: row {zero[0]} is all zeros, which has no direction; {len(zero)} such rows")
        return unit(rows)

    def _forward(self, db: sqlite3.Connection, view: View, version: int) -> View:
        high = int(view.ids[-1]) if len(view.ids) else 0
        ids, slots, grave = view.ids, view.slots, view.grave
        (last,) = db.execute("SELECT coalesce(max(grave), 0) FROM graves").fetchone()
        if last > grave:
            gone = _column(db, "SELECT group_concat(id) FROM graves WHERE grave > ?", (grave,))
            kept = np.isin(ids, gone, invert=True)
            ids, slots = ids[kept], slots[kept]
        new = (self.facts.space, high)
        new_ids = _column(db, "SELECT group_concat(id) FROM slots WHERE space = ? AND id > ?", new)
        if len(new_ids):
            new_slots = _column(db, "SELECT group_concat(slot) FROM slots WHERE space = ? AND id > ?", new)
            ids, slots = np.concatenate([ids, new_ids]), np.concatenate([slots, new_slots])
        return View(version, last, ids, slots)

    def _scan(self, queries: Vectors, ids: Ids, slots: Ids, k: int) -> Neighbours:
        best = Neighbours(np.full((len(queries), k), NO_ID), np.full((len(queries), k), NO_SCORE))
        for begin in range(0, len(ids), SCAN_BLOCK):
            part = slots[begin : begin + SCAN_BLOCK]
            low, high = int(part.min()), int(part.max()) + 1
            dense = high - low <= 2 * len(part)  # few holes: score them too instead of copying the rows
            rows = self.file.mapped(high)[low:high] if dense else self.file.take(part)
            scores = similarity(queries, rows, self.settings.metric)
            best = best_of(best, ids[begin : begin + SCAN_BLOCK], scores[:, part - low] if dense else scores)
        return best


def read_spaces(db: sqlite3.Connection) -> list[SpaceFacts]:
    """All sets of vectors of the collection."""
    lines = db.execute(
        "SELECT space, name, state, settings, fingerprint, file, used, index_file, index_high, index_grave FROM spaces"
    ).fetchall()
    return [SpaceFacts(*line[:3], _settings(line[3]), *line[4:]) for line in lines]  # type: ignore[call-arg]


def add_space(
    db: sqlite3.Connection, folder: Path, name: str, settings: VectorSettings, fingerprint: str | None, state: str
) -> int:
    """A new, empty set of vectors; its number."""
    (space,) = db.execute("SELECT coalesce(max(space), 0) + 1 FROM spaces").fetchone()
    file = f"vectors/{space}-1.f32"
    VectorFile.create(folder / file, settings.dims)
    db.execute(
        "INSERT INTO spaces(space, name, state, settings, fingerprint, file, used) VALUES (?, ?, ?, ?, ?, ?, 0)",
        (space, name, state, json.dumps(asdict(settings)), fingerprint, file),
    )
    return int(space)


def similarity(queries: Vectors, rows: Vectors, metric: str) -> Vectors:
    """(q, n) float32, larger is nearer: the inner product, or minus the Euclidean distance."""
    products: Vectors = queries @ rows.T
    if metric != "euclidean":
        return products
    squares = np.einsum("nd,nd->n", rows, rows)[None, :] + np.einsum("qd,qd->q", queries, queries)[:, None]
    distances: Vectors = -np.sqrt(np.maximum(squares - 2 * products, 0))
    return distances


def best_of(best: Neighbours, ids: Ids, scores: Vectors) -> Neighbours:
    """The best k of `best` (q, k) and of `ids` (n,) with `scores` (q, n); equal scores go by the smaller id."""
    k = best.k
    out_ids, out_scores = best.ids.copy(), best.scores.copy()
    for i in range(len(best)):
        row = scores[i]
        if len(row) > k:
            row_kept = np.flatnonzero(row >= np.partition(row, len(row) - k)[len(row) - k])
        else:
            row_kept = np.arange(len(row))
        known = best.ids[i] != NO_ID
        all_ids = np.concatenate([best.ids[i][known], ids[row_kept]])
        all_scores = np.concatenate([best.scores[i][known], row[row_kept]])
        order = np.lexsort((all_ids, -all_scores))[:k]
        out_ids[i, : len(order)] = all_ids[order]
        out_scores[i, : len(order)] = all_scores[order]
    return Neighbours(out_ids, out_scores)


def _settings(text: str) -> VectorSettings:
    try:
        values = json.loads(text)
        return VectorSettings(**{**values, "index": IndexSettings(**values["index"])})
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(
            f"settings of a set of vectors are not understood: {error}; this firth may be older"
        ) from error


def _column(db: sqlite3.Connection, statement: str, values: Sequence[Any]) -> Ids:
    # One long string parsed by NumPy is 4x faster than a million one-element tuples.
    (text,) = db.execute(statement, values).fetchone()
    return np.empty(0, np.int64) if text is None else np.fromstring(text, np.int64, sep=",")
