"""One set of vectors of a collection, and the search over it that keeps up with the database.

The older rows are in a graph (shelf.py), the newer ones, the tail, are scanned. A search sees a `View`: the tail and
the ids that the graph still holds but that are gone, both at one version of the database. It is brought forward from
the version before by the new ids and the graves, so following a writer costs what was written.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import NO_ID, NO_SCORE, Ids, Neighbours, Vectors, as_vectors, unit
from firth.errors import DataError, FormatError
from firth.kernels.flat import flat
from firth.store.database import fact
from firth.store.rows import column
from firth.store.schema import IndexSettings, VectorSettings
from firth.store.shelf import Mark, Shelf
from firth.store.vectors import MovedError, VectorFiles, parted

VIEWS_KEPT = 3  # moments that searches in other threads may still be at
FEW = 4_096  # allowed ids that are looked up and scored one by one instead of through the graph
UNIT = 1.00001  # length that no unit row in float32 exceeds
MANY = 8  # queries from which on the threads of the index are used


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """One line of the table `spaces`."""

    space: int
    name: str
    state: str
    settings: VectorSettings
    fingerprint: str | None
    index_file: str | None
    index_high: int
    index_grave: int


@dataclass(frozen=True, slots=True)
class View:
    """What one version of the database holds in one space.

    Attributes:
        grave: the last grave that was taken into account.
        moves: how often slots had been moved.
        mark: the graph over the older rows; None = all rows are the tail.
        high: the largest id.
        dead: (g,) ids that the graph may hold and that are gone.
        ids: (n,) int64, the tail in the order of its slots.
        slots: (n,) int64 ascending, where each id's vector is.
    """

    version: int
    grave: int
    moves: int
    mark: Mark | None
    high: int
    dead: Ids
    ids: Ids
    slots: Ids


class Space:
    """The vectors that `facts` tells of, in the collection's `folder`; `writer` keeps the graph up to date."""

    def __init__(self, folder: Path, facts: SpaceFacts, *, writer: bool) -> None:
        self.facts = facts
        self.number = facts.space
        self.settings = facts.settings
        self.files = VectorFiles(folder / "vectors", facts.space, facts.settings.dims)
        self.shelf = Shelf(folder / "index", facts.settings, writer=writer)
        self._views: list[View] = []
        self._lock = threading.Lock()

    def append(self, db: sqlite3.Connection, ids: Sequence[int], rows: Vectors, *, sync: bool) -> None:
        """Store `rows` (n, d) for these ids, within the caller's write transaction."""
        (used,) = db.execute("SELECT used FROM spaces WHERE space = ?", (self.number,)).fetchone()
        self.files.append(rows, used, sync=sync)
        db.executemany(
            "INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?)",
            (
                (self.number, id_, used + i, zlib.crc32(row.view(np.uint8)))
                for i, (id_, row) in enumerate(zip(ids, rows, strict=True))
            ),
        )
        db.execute("UPDATE spaces SET used = ? WHERE space = ?", (used + len(rows), self.number))

    def fetch(self, db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Vectors]:
        """The stored vectors (d,) of these ids; an id without one is absent."""
        found = self._slots(db, np.array(ids, np.int64))
        return dict(zip(found[0].tolist(), self.files.take(found[1]), strict=True))

    def search(
        self,
        db: sqlite3.Connection,
        version: int,
        queries: Vectors,
        k: int,
        *,
        ef: int | None = None,
        recall: float | None = None,
        allow: Ids | None = None,
    ) -> Neighbours:
        """The k nearest of each query (q, d) at this version.

        Args:
            ef, recall: what the graph is asked for; recall=1 scans all rows.
            allow: (a,) the ids that may be found; None = all.

        Returns:
            Neighbours (q, k) whose ids are the rows'.

        Raises:
            MovedError: the graph has forgotten what this version still holds.
        """
        exact = recall is not None and recall >= 1
        if allow is not None and (exact or len(allow) <= FEW):
            return self._scan(queries, *self._slots(db, allow), k)
        if exact:
            everything = column(db, "id, slot FROM slots WHERE space = ?", (self.number,))
            return self._scan(queries, *_by_slot(everything), k)
        view = self.at(db, version)
        ids, slots = view.ids, view.slots
        if allow is not None:
            kept = np.isin(ids, allow)
            ids, slots = ids[kept], slots[kept]
        near = self._scan(queries, ids, slots, k)
        if view.mark is None:
            return near
        older = self.shelf.search(
            view.mark, queries, k, ef=ef, recall=recall, allow=allow, dead=view.dead, threads=self._threads(queries)
        )
        if self.shelf.forgotten > view.grave:
            raise MovedError(f"the graph of {self.facts.name!r} has moved on")
        return merged(near, older)

    def at(self, db: sqlite3.Connection, version: int) -> View:
        """The view of the version that the caller's transaction sees."""
        with self._lock:
            mark = self.shelf.mark(self.facts.index_file, self.facts.index_high, self.facts.index_grave)
            self._views[:] = [view for view in self._views if view.mark is mark]
            for view in self._views:
                if view.version == version:
                    return view
            older = [view for view in self._views if view.version < version]
            view = self._forward(db, older[-1] if older else None, mark, version)
            self._views[:] = sorted([*self._views, view], key=lambda view: view.version)[-VIEWS_KEPT:]
            return view

    def renewed(self, facts: SpaceFacts) -> Space:
        """The same space under newer facts, sharing what it has learnt."""
        twin = copy(self)
        twin.facts = facts
        return twin

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

    def _forward(self, db: sqlite3.Connection, view: View | None, mark: Mark | None, version: int) -> View:
        (moves,) = db.execute("SELECT moves FROM spaces WHERE space = ?", (self.number,)).fetchone()
        forgotten, next_id = fact(db, "graves_from"), fact(db, "next_id")
        (grave,) = db.execute("SELECT coalesce(max(grave), ?) FROM graves", (forgotten,)).fetchone()
        if mark is not None and (mark.grave > grave or mark.high >= next_id):
            raise MovedError(f"the graph of {self.facts.name!r} has moved on")
        if mark is not None and mark.grave < forgotten:
            mark = None  # the file was saved so long ago that it cannot be told who has died since
        if view is None or view.moves != moves or view.grave < forgotten or view.mark is not mark:
            nothing = np.empty(0, np.int64)
            view = View(-1, 0 if mark is None else mark.grave, moves, mark, mark.high if mark else 0, *[nothing] * 3)
        dead, ids, slots = view.dead, view.ids, view.slots
        if grave > view.grave and (len(ids) or mark is not None):
            gone = column(db, "id FROM graves WHERE grave > ?", (view.grave,))
            dead = dead if mark is None else np.concatenate([dead, gone[gone <= mark.high]])
            kept = np.isin(ids, gone, invert=True)
            ids, slots = ids[kept], slots[kept]
        new = column(db, "id, slot FROM slots WHERE space = ? AND id > ?", (self.number, view.high))
        if len(new):
            # They are in the order of their slots already, unless slots were moved.
            ids, slots = _by_slot(np.concatenate([np.column_stack([ids, slots]), new]))
        high = max(view.high, int(new[:, 0].max()) if len(new) else 0)
        return View(version, grave, moves, mark, high, dead, ids, slots)

    def _slots(self, db: sqlite3.Connection, ids: Ids) -> tuple[Ids, Ids]:
        """Which of `ids` have a vector here, and their slots, ascending."""
        found = column(
            db,
            "id, slot FROM slots WHERE space = ? AND id IN (SELECT value FROM json_each(?))",
            (self.number, json.dumps(ids.tolist())),
        )
        return _by_slot(found)

    def _scan(self, queries: Vectors, ids: Ids, slots: Ids, k: int) -> Neighbours:
        best = Neighbours(np.full((len(queries), k), NO_ID), np.full((len(queries), k), NO_SCORE))
        euclid, threads = self.settings.metric == "euclid", self._threads(queries)
        for part, places, segment in parted(slots):
            rows = self.files.segment(segment, int(places[-1]) + 1)
            longest = self.files.longest(segment, len(rows)) if self.settings.metric != "cosine" else UNIT
            near = flat(queries, rows, k, only=places, euclid=euclid, longest=longest, threads=threads)
            owners = ids[part][np.searchsorted(places, near.ids).clip(0, len(places) - 1)]
            best = merged(best, Neighbours(np.where(near.ids == NO_ID, NO_ID, owners), near.scores))
        return best

    def _threads(self, queries: Vectors) -> int:
        return self.settings.index.threads if len(queries) >= MANY else 1


def read_spaces(db: sqlite3.Connection) -> list[SpaceFacts]:
    """All sets of vectors of the collection."""
    lines = db.execute(
        "SELECT space, name, state, settings, fingerprint, index_file, index_high, index_grave FROM spaces"
    )
    return [SpaceFacts(line[0], line[1], line[2], _settings(line[3]), *line[4:]) for line in lines]


def add_space(db: sqlite3.Connection, name: str, settings: VectorSettings, fingerprint: str | None, state: str) -> int:
    """A new, empty set of vectors; its number."""
    line = (name, state, json.dumps(asdict(settings)), fingerprint)
    done = db.execute("INSERT INTO spaces(name, state, settings, fingerprint) VALUES (?, ?, ?, ?)", line)
    return int(done.lastrowid or 0)


def similarity(queries: Vectors, rows: Vectors, metric: str) -> Vectors:
    """(q, n) float32, larger is nearer: the inner product, or minus the squared distance."""
    products: Vectors = queries @ rows.T
    if metric != "euclid":
        return products
    squares = np.einsum("nd,nd->n", rows, rows)[None, :] + np.einsum("qd,qd->q", queries, queries)[:, None]
    distances: Vectors = np.minimum(2 * products - squares, 0)
    return distances


def merged(a: Neighbours, b: Neighbours) -> Neighbours:
    """The best of both (q, k); equal scores go by the smaller id."""
    k = a.k
    ids, scores = np.concatenate([a.ids, b.ids], axis=1), np.concatenate([a.scores, b.scores], axis=1)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return Neighbours(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))


def _by_slot(ids_and_slots: Ids) -> tuple[Ids, Ids]:
    order = np.argsort(ids_and_slots[:, 1], kind="stable")
    return ids_and_slots[order, 0], ids_and_slots[order, 1]


def _settings(text: str) -> VectorSettings:
    try:
        values = json.loads(text)
        return VectorSettings(**{**values, "index": IndexSettings(**values["index"])})
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(
            f"settings of a set of vectors are not understood: {error}; made by a newer firth?"
        ) from error
