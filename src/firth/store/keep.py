"""The writer's upkeep: rows go into the graph, the graph to the disk, room is given back; a bounded piece at a time.

| what | when | one piece |
|---|---|---|
| fold | the tail is longer than `exact_below`, or than a fiftieth of the graph | 4,096 rows linked |
| save | a seventh of the graph is newer than its file, a thirtieth at closing | one file written |
| clean | more than half of a segment of vectors is dead | at most 16,384 rows moved |
| sweep | graves that no graph needs, free pages of the database | 100,000 lines, 4,096 pages |

None of it changes what a search finds, and each piece is committed or absent: a killed writer's successor goes on from
there. A thread does it behind the writer's back; with `background=False` it is done at the end of each write.
"""

from __future__ import annotations

import atexit
import threading

import numpy as np

from firth.arrays import Ids, Vectors
from firth.store.database import fact, set_fact
from firth.store.moment import Ground, Moment, spaces_changed
from firth.store.rows import column
from firth.store.shelf import FORGET, SLICE
from firth.store.space import Space, View
from firth.store.vectors import SEGMENT

LEAST = 1_000  # rows from which a graph is built; of fewer its codec would learn too little
FIRST = 50_000  # rows that the first graph is built of; the rest is added in slices
TAIL_SHARE = 0.02  # of the graph's rows: a longer tail costs more to scan than the walk
TAIL_LEAST = 2_000  # rows; below it a scan takes a quarter of a millisecond
STALE_SHARE = 0.15  # of the graph's rows: added or removed since it was saved
STALE_LEAST = 10_000  # rows
DEAD_SHARE = 0.5  # of a segment's slots
THOROUGH_SHARE = 0.05  # the same, for `Collection.compact`
GRAVES_KEPT = 100_000  # for readers that are behind; one that is further behind reads all ids anew
PAGES = 4_096  # of the database given back at once: 16 MB


class Keeper:
    """Does the upkeep of an open collection; one for each writer."""

    def __init__(self, ground: Ground, *, background: bool) -> None:
        self._ground = ground
        self._background = background
        self._working = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._closing = False
        self._cleaned: dict[int, int] = {}  # space -> the last grave when its segments were looked at
        self._thread: threading.Thread | None = None
        self.failed: BaseException | None = None

    def poke(self) -> None:
        """Something was written: see whether there is anything to do."""
        if not self._background:
            self.work()
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="firth-keeper", daemon=True)
            self._thread.start()
            atexit.register(self.stop)  # a thread in native code must not outlive the interpreter
        self._wake.set()

    def work(self, *, thorough: bool = False) -> None:
        """Everything that is due, now; `thorough` takes all that can be done for due."""
        with self._working:
            for space in self._ground.read(lambda moment: moment.spaces):
                for step in (self._fold, self._forget, self._clean, self._save):
                    while not self._stop and step(space.number, thorough):
                        pass
            if not self._stop:
                self._sweep(thorough)

    def finish(self) -> None:
        """Before closing: end the thread, and do what is due; readers should not have to scan what was just written."""
        self.stop()
        self._stop, self._closing = False, True
        try:
            self.work()
        finally:
            self._stop = True

    def stop(self) -> None:
        """Finish the piece at hand, no more."""
        self._stop = True
        self._wake.set()
        atexit.unregister(self.stop)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stop:
                return
            try:
                self.work()
            except BaseException as error:  # kept for `Collection.check`; the rows are sound whatever upkeep meets
                self.failed = error

    def _seen(self, number: int) -> tuple[Space, View] | None:
        def seen(moment: Moment) -> tuple[Space, View] | None:
            space = next((space for space in moment.spaces if space.number == number), None)
            return None if space is None else (space, space.at(moment.db, moment.version))

        return self._ground.read(seen)

    def _fold(self, number: int, thorough: bool) -> bool:
        """One slice of the tail into the graph, or the first graph; whether there is more to do."""
        found = self._seen(number)
        if found is None:
            return False
        space, view = found
        settings, tail = space.settings.index, len(view.ids)
        if view.mark is None:
            if tail < max(settings.exact_below, 1 if thorough else LEAST):
                return False
            space.shelf.build(*_taken(space, view, FIRST), view.grave)
            return tail > FIRST
        if tail < (1 if thorough else max(TAIL_LEAST, TAIL_SHARE * len(view.mark.index))):
            return False
        space.shelf.add(*_taken(space, view, SLICE))
        return tail > SLICE

    def _forget(self, number: int, thorough: bool) -> bool:
        """One slice of the dead out of the graph; whether there is more to do."""
        found = self._seen(number)
        if found is None or found[1].mark is None:
            return False
        space, mark = found[0], found[1].mark
        due = 1 if thorough else max(FORGET, TAIL_SHARE * len(mark.index))
        if len(found[1].dead) < due:
            return False

        def slice_of(moment: Moment) -> tuple[Ids, int]:
            graves = column(
                moment.db,
                "grave, id FROM (SELECT grave, id FROM graves WHERE grave > ? ORDER BY grave LIMIT ?)",
                (mark.grave, FORGET),
            )
            return graves[:, 1], int(graves[:, 0].max(initial=0))

        dead, grave = self._ground.read(slice_of)
        if len(dead):
            space.shelf.forget(dead[dead <= mark.high], grave)
        return len(dead) == FORGET

    def _save(self, number: int, thorough: bool) -> bool:
        """The graph to the disk where it is much newer than its file; never more to do."""
        found = self._seen(number)
        if found is None or found[1].mark is None:
            return False
        space, mark = found[0], found[1].mark
        facts = space.facts
        newer = mark.high - facts.index_high + mark.grave - facts.index_grave
        due = 1 if thorough else max(STALE_LEAST, STALE_SHARE * len(mark.index)) / (4 if self._closing else 1)
        if space.shelf.saved and newer < due:
            return False
        serial = 1 + int((facts.index_file or f"{number}-0.").split("-")[1].split(".")[0])
        file = f"{number}-{serial}.hnsw"
        saved = space.shelf.save(file)
        with self._ground.write() as moment:
            moment.db.execute(
                "UPDATE spaces SET index_file = ?, index_high = ?, index_grave = ? WHERE space = ?",
                (file, saved.high, saved.grave, number),
            )
            spaces_changed(moment.db)
        self._tidy()
        return False

    def _clean(self, number: int, thorough: bool) -> bool:
        """The living rows of one mostly dead segment of vectors moved to the end; whether there is more to do."""
        found = self._seen(number)
        if found is None or (not thorough and found[1].grave < self._cleaned.get(number, 0) + SEGMENT // 4):
            return False
        space, view = found

        def living(moment: Moment) -> tuple[int, Ids]:
            (used,) = moment.db.execute("SELECT used FROM spaces WHERE space = ?", (number,)).fetchone()
            return used, column(moment.db, "slot FROM slots WHERE space = ?", (number,))

        used, slots = self._ground.read(living)
        alive = np.bincount(slots // SEGMENT, minlength=-(-used // SEGMENT))
        full = np.minimum(SEGMENT, used - SEGMENT * np.arange(len(alive)))
        candidates = np.flatnonzero((alive > 0) & (full - alive > (THOROUGH_SHARE if thorough else DEAD_SHARE) * full))
        if not thorough:
            candidates = candidates[full[candidates] == SEGMENT]
        for segment in np.flatnonzero((alive == 0) & (full == SEGMENT)).tolist():  # its rows died, or were moved
            space.files.drop(segment)
        if len(candidates) == 0:
            self._cleaned[number] = view.grave
            return False
        self._move(space, int(candidates[0]))
        return True

    def _move(self, space: Space, segment: int) -> None:
        with self._ground.write() as moment:
            begin, end = segment * SEGMENT, (segment + 1) * SEGMENT
            found = column(
                moment.db,
                "id, slot FROM slots WHERE space = ? AND slot BETWEEN ? AND ?",
                (space.number, begin, end - 1),
            )
            moment.db.execute("UPDATE spaces SET used = max(used, ?) WHERE space = ?", (end, space.number))
            found = found[np.argsort(found[:, 0])]
            space.append(moment.db, found[:, 0].tolist(), space.files.take(found[:, 1]), sync=self._ground.durable)
            moment.db.execute("UPDATE spaces SET moves = moves + 1 WHERE space = ?", (space.number,))
        space.files.drop(segment)

    def _sweep(self, thorough: bool) -> None:
        """Graves that nobody needs, and free pages of the database."""

        def needless(moment: Moment) -> tuple[int, int, int]:
            saved = [space.facts.index_grave for space in moment.spaces if space.facts.index_file is not None]
            last = moment.db.execute("SELECT coalesce(max(grave), 0) FROM graves").fetchone()[0]
            upto = min([last - (0 if thorough else GRAVES_KEPT), *saved])
            return upto, int(fact(moment.db, "graves_from")), moment.db.execute("PRAGMA freelist_count").fetchone()[0]

        upto, done, free = self._ground.read(needless)
        if upto > done and (thorough or upto - done >= GRAVES_KEPT):
            with self._ground.write() as moment:
                moment.db.execute("DELETE FROM graves WHERE grave <= ?", (upto,))
                set_fact(moment.db, "graves_from", upto)
        if thorough:
            with self._ground.write() as moment:
                moment.db.execute("INSERT INTO words(words) VALUES ('optimize')")
            self._ground.database.give_back(None)
            self._tidy()
        elif free > PAGES:
            self._ground.database.give_back(PAGES)

    def _tidy(self) -> None:
        """Remove the files that no line of the table `spaces` names: what a killed writer left, or an old graph."""
        with self._ground.database.alone():  # a segment that is being begun has no name yet
            spaces = self._ground.read(lambda moment: moment.spaces)
            named = {space.facts.index_file for space in spaces}
            numbers = {str(space.number) for space in spaces}
            for path in (self._ground.folder / "index").iterdir():
                if path.name not in named:
                    path.unlink(missing_ok=True)
            for path in (self._ground.folder / "vectors").iterdir():
                if path.name.split("-")[0] not in numbers:
                    path.unlink(missing_ok=True)


def _taken(space: Space, view: View, most: int) -> tuple[Ids, Vectors]:
    """The first `most` rows of the tail by their ids (n,), ascending, and their vectors (n, d)."""
    order = np.argsort(view.ids)[:most]
    return view.ids[order], space.files.take(view.slots[order])
