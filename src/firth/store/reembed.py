"""A new model for a collection that goes on working: its vectors grow beside the old ones, then all change at once.

growing    filled in id order, 256 rows a transaction; a killed writer's successor goes on where it stopped
live       what is searched; the cut-over makes the growing ones live and the live ones retired, in one transaction
retired    kept, and on demand brought up to date and made live again: the roll back is a cut-over, too
"""

from __future__ import annotations

import atexit
import threading
from dataclasses import replace

from firth.arrays import Encoder
from firth.errors import ModelError, SettingsError
from firth.progress import Progress, silent
from firth.store.database import fact, set_fact
from firth.store.intake import Models, embedded_texts
from firth.store.moment import Ground, Moment, spaces_changed
from firth.store.space import Space, add_space

BATCH = 256  # rows encoded and committed at a time


class Reembedding:
    """The growth of new vectors, in a thread of its own.

    Attributes:
        done, total: rows embedded, and rows there are.
        error: what ended it before its time.
    """

    def __init__(self, ground: Ground, encoder: Encoder, numbers: list[int], progress: Progress) -> None:
        self.done = 0
        self.total = 0
        self.error: BaseException | None = None
        self._ground, self._encoder, self._numbers, self._progress = ground, encoder, numbers, progress
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="firth-reembed", daemon=True)
        self._thread.start()
        atexit.register(self.stop)  # a thread in a model must not outlive the interpreter

    @property
    def running(self) -> bool:
        """Whether rows are still being embedded."""
        return self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the rows that are there have their new vectors, at most `timeout` seconds; whether they have.

        Raises:
            what ended it: the encoder's own errors, StorageError.
        """
        self._thread.join(timeout)
        if self.error is not None:
            raise self.error
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End it after the batch at hand; what was embedded stays, and `Collection.reembed` goes on from there."""
        self._stop.set()
        atexit.unregister(self.stop)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._batch():
                self.done, self.total = self._ground.read(self._counted)
                self._progress(self.done, self.total, "rows embedded")
            self.done, self.total = self._ground.read(self._counted)
        except BaseException as error:  # handed to whoever waits
            self.error = error

    def _batch(self) -> bool:
        grown = [grow(self._ground, number, self._encoder) for number in self._numbers]  # each of them, not the first
        return any(grown)

    def _counted(self, moment: Moment) -> tuple[int, int]:
        (total,) = moment.db.execute("SELECT count(*) FROM rows").fetchone()
        upto = min(_grown(moment, number) for number in self._numbers)
        (left,) = moment.db.execute("SELECT count(*) FROM rows WHERE id > ?", (upto,)).fetchone()
        return total - left, total


def begin(ground: Ground, encoder: Encoder, dims: int | None = None, progress: Progress = silent) -> Reembedding:
    """Start, or go on with, vectors of this model for every space that embeds its texts.

    Raises:
        SettingsError: nothing is embedded here, or dims beyond the encoder's.
        ModelError: the model is the one in use, or another one's growth was not finished.
    """
    if dims is not None and not 1 <= dims <= encoder.dims:
        raise SettingsError(f"reembed: dims={dims}: expected 1 to the encoder's {encoder.dims}")
    with ground.write() as moment:
        embedding = [space for space in moment.live.values() if space.settings.embeds is not None]
        if not embedding:
            raise SettingsError("reembed: no vectors of this collection are made of its texts")
        if any(space.facts.fingerprint == encoder.fingerprint for space in embedding):
            raise ModelError(f"reembed: the vectors are this model's already ({encoder.fingerprint[:12]})")
        growing = {space.facts.name: space for space in moment.spaces if space.facts.state == "growing"}
        for name, space in growing.items():
            if space.facts.fingerprint != encoder.fingerprint or (dims or encoder.dims) != space.settings.dims:
                raise ModelError(
                    f"reembed: vectors {name!r} of another model ({str(space.facts.fingerprint)[:12]}, "
                    f"{space.settings.dims} dimensions) are growing; finish that, or take it back with drop"
                )
        numbers = [space.number for space in growing.values()]
        for space in embedding:
            if space.facts.name not in growing:
                wider = replace(space.settings, dims=dims or encoder.dims)
                numbers.append(add_space(moment.db, space.facts.name, wider, encoder.fingerprint, "growing"))
        spaces_changed(moment.db)
    return Reembedding(ground, encoder, numbers, progress)


def grow(ground: Ground, number: int, encoder: Encoder) -> bool:
    """One batch of rows embedded into space `number`; whether there was one."""

    def next_rows(moment: Moment) -> tuple[Space, list[tuple[int, str, str]]]:
        line = (_grown(moment, number), BATCH)
        rows = moment.db.execute("SELECT id, text, title FROM rows WHERE id > ? ORDER BY id LIMIT ?", line).fetchall()
        return _numbered(moment, number), rows

    space, rows = ground.read(next_rows)
    if not rows:
        return False
    texts = embedded_texts(space, [text for _, text, _ in rows], [title for _, _, title in rows])
    wanted = [i for i, text in enumerate(texts) if text or space.settings.embeds != "title"]
    vectors = None
    if wanted:
        encoded = encoder.encode([texts[i] for i in wanted], kind="document", dims=space.settings.dims)
        vectors = space.prepared(encoded, "encoded texts")
    with ground.write() as moment:
        # Some rows may have been deleted while they were being encoded.
        here = {
            id_
            for (id_,) in moment.db.execute("SELECT id FROM rows WHERE id BETWEEN ? AND ?", (rows[0][0], rows[-1][0]))
        }
        kept = [(j, rows[i][0]) for j, i in enumerate(wanted) if rows[i][0] in here]
        if vectors is not None and kept:
            space.append(moment.db, [id_ for _, id_ in kept], vectors[[j for j, _ in kept]], sync=ground.durable)
        set_fact(moment.db, f"grown {number}", rows[-1][0])
    return True


def cut_over(ground: Ground, models: Models, state: str) -> str:
    """Make the spaces in `state` ("growing" or "retired") live and the live ones of their names retired.

    Returns:
        The fingerprint of the model that is live now.

    Raises:
        SettingsError: there are none.
        ModelError: the model that makes their vectors is not at hand, and rows have come since.
    """
    numbers = ground.read(lambda moment: [s.number for s in moment.spaces if s.facts.state == state])
    if not numbers:
        raise SettingsError(f"no vectors are {state}; begin with reembed")
    for number in numbers:  # most of it while others may write …
        while grow(ground, number, _model(ground, number, models)):
            pass
    with ground.database.alone():  # … and the last few rows while nobody can
        for number in numbers:
            while grow(ground, number, _model(ground, number, models)):
                pass
        with ground.write() as moment:
            chosen = [_numbered(moment, number) for number in numbers]
            names = {space.facts.name for space in chosen}
            for space in moment.spaces:
                if space.facts.name not in names or space in chosen:
                    continue
                if space.facts.state == "live":
                    _set_state(moment, space, "retired")
                    set_fact(moment.db, f"grown {space.number}", int(fact(moment.db, "next_id")) - 1)
                elif space.facts.state == "retired":
                    _remove(moment, space)
            for space in chosen:
                _set_state(moment, space, "live")
            spaces_changed(moment.db)
    return str(chosen[0].facts.fingerprint)


def drop(ground: Ground) -> int:
    """Remove the vectors that are not live, growing or retired; how many sets there were."""
    with ground.write() as moment:
        others = [space for space in moment.spaces if space.facts.state != "live"]
        for space in others:
            _remove(moment, space)
        spaces_changed(moment.db)
    return len(others)


def _grown(moment: Moment, number: int) -> int:
    return int(fact(moment.db, f"grown {number}") or 0)


def _numbered(moment: Moment, number: int) -> Space:
    for space in moment.spaces:
        if space.number == number:
            return space
    raise SettingsError("reembed: the growing vectors were dropped meanwhile")


def _model(ground: Ground, number: int, models: Models) -> Encoder:
    space = ground.read(lambda moment: _numbered(moment, number))
    if not models.know(space):
        made_by = str(space.facts.fingerprint)[:12]
        raise ModelError(f"the model {made_by} has to embed the rows that came since; pass it as encoder=")
    return models.of(space)


def _set_state(moment: Moment, space: Space, state: str) -> None:
    moment.db.execute("UPDATE spaces SET state = ? WHERE space = ?", (state, space.number))


def _remove(moment: Moment, space: Space) -> None:
    moment.db.execute("DELETE FROM slots WHERE space = ?", (space.number,))
    moment.db.execute("DELETE FROM spaces WHERE space = ?", (space.number,))
    moment.db.execute("DELETE FROM facts WHERE name = ?", (f"grown {space.number}",))
