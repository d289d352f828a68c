"""Does everything in a collection agree: the database with itself, vectors with checksums, the graph with the rows?"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator

import numpy as np

from firth.errors import FormatError
from firth.store.fields import declared, entries_of
from firth.store.moment import Ground, Moment
from firth.store.rows import column
from firth.store.space import Space
from firth.store.vectors import MovedError

BLOCK = 8_192  # vectors whose checksums are computed at a time


def problems(ground: Ground) -> list[str]:
    """What does not agree, one sentence each; an empty list is good news."""
    found = ground.read(lambda moment: [*_database(moment.db), *(p for s in moment.spaces for p in _space(moment, s))])
    if ground.lock is not None:
        with ground.write() as moment:
            try:
                moment.db.execute("INSERT INTO words(words, rank) VALUES ('integrity-check', 1)")
            except sqlite3.DatabaseError as error:
                found.append(f"the word index does not agree with the rows: {error}")
    return found


def _database(db: sqlite3.Connection) -> Iterator[str]:
    for (line,) in db.execute("PRAGMA integrity_check(10)"):
        if line != "ok":
            yield f"rows.db: {line}"
    (high,) = db.execute("SELECT coalesce(max(id), 0) FROM rows").fetchone()
    (following,) = db.execute("SELECT value FROM facts WHERE name = 'next_id'").fetchone()
    if high >= following:
        yield f"the next id is {following}, but {high} is given out already"
    for (path, kind), field in declared(db).items():
        select = entries_of(field, path, kind)
        kept = "SELECT field, value, id FROM entries WHERE field = ?"
        for one, other, what in ((select, kept, "lacks"), (kept, select, "holds besides")):
            values = (field,) if one is kept else ()
            rest = (field,) if other is kept else ()
            (count,) = db.execute(f"SELECT count(*) FROM ({one} EXCEPT {other})", (*values, *rest)).fetchone()
            if count:
                yield f"declared field {path!r}: {what} {count:,} values"


def _space(moment: Moment, space: Space) -> Iterator[str]:
    db, name = moment.db, f"vectors {space.facts.name!r} ({space.facts.state})"
    slots = column(db, "id, slot FROM slots WHERE space = ?", (space.number,))
    checksums = dict(db.execute("SELECT slot, crc FROM slots WHERE space = ?", (space.number,)))
    rows = column(db, "id FROM rows")
    used, high, grave = db.execute(
        "SELECT used, index_high, index_grave FROM spaces WHERE space = ?", (space.number,)
    ).fetchone()
    if len(np.unique(slots[:, 1])) < len(slots):
        yield f"{name}: two ids share a slot"
    if len(slots) and slots[:, 1].max() >= used:
        yield f"{name}: slot {slots[:, 1].max():,} is named, {used:,} were given out"
    strays = np.setdiff1d(slots[:, 0], rows)
    if len(strays):
        yield f"{name}: {len(strays):,} ids have a vector and no row"
    if space.facts.state == "live" and space.settings.embeds == "full":
        bare = np.setdiff1d(rows, slots[:, 0])
        if len(bare):
            yield f"{name}: {len(bare):,} rows have no vector"
    order = np.sort(slots[:, 1])
    for begin in range(0, len(order), BLOCK):
        part = order[begin : begin + BLOCK]
        try:
            vectors = space.files.take(part)
        except (FormatError, MovedError) as error:
            yield f"{name}: {error}"
            break
        wrong = [s for s, v in zip(part.tolist(), vectors, strict=True) if zlib.crc32(v.view(np.uint8)) != checksums[s]]
        if wrong:
            yield f"{name}: the checksums of {len(wrong):,} vectors do not match, the first is slot {wrong[0]:,}"
    mark = space.shelf.mark(space.facts.index_file, high, grave)
    if mark is not None:
        wanted = slots[slots[:, 0] <= mark.high, 0]
        missing = int(len(wanted) - mark.index.holds(wanted).sum())
        if missing:
            yield f"{name}: the graph lacks {missing:,} of {len(wanted):,} rows"
        if mark.index.unreachable:
            yield f"{name}: the graph has {mark.index.unreachable:,} rows that no walk comes to"
