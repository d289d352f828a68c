"""The graph over the older rows of a space: derived, kept in one file, replaced whole, rebuilt where it is missing.

The writer's graph changes in memory while others search it; what a search must not see is masked by the view it
searches for. Readers map the file that the writer saved last, and never change it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firth.arrays import NO_ID, NO_SCORE, Ids, Neighbours, Vectors
from firth.errors import FormatError
from firth.index import HNSW, calibrate
from firth.store.schema import VectorSettings

SLICE = 4_096  # rows added between two looks at whether to stop
CURVE_HOLDS = 2  # times as many vectors: until then the curve's own guess of a wider beam is taken, then it is measured
MEASURED = 200  # rows that it is measured on
FORGET = 1_024  # removals between two such looks


@dataclass(frozen=True, slots=True)
class Mark:
    """A graph and what it covers: the ids up to `high`, without those whose grave is at most `grave`."""

    index: HNSW
    high: int
    grave: int


class Shelf:
    """Where the graph of one space is found; `mark` is what of it can be relied on.

    Attributes:
        saved: whether what is searched, or something older, is in the file that the table names.
        forgotten: the last grave whose owner the graph may have forgotten; a view from before it must not be searched.
    """

    def __init__(self, folder: Path, settings: VectorSettings, *, writer: bool) -> None:
        self.folder = folder
        self.settings = settings
        self.writer = writer
        self.saved = False
        self.forgotten = 0
        self._mark: Mark | None = None
        self._measured = 0  # vectors in the graph when its curve was measured
        self._file: str | None = ""  # "" = nothing was loaded yet
        self._lock = threading.Lock()

    def mark(self, file: str | None, high: int, grave: int) -> Mark | None:
        """The graph to search at a moment whose line says: saved in `file`, covering `high` and `grave`.

        A writer loads the file once and keeps its graph from then on. A file that is missing or damaged is as none: it
        holds nothing that the rows do not.
        """
        with self._lock:
            if self._file != file and (self._file == "" or not self.writer):
                self._file = file
                self._mark = None if file is None else self._loaded(self.folder / file, high, grave)
                self.saved = self._mark is not None
            return self._mark

    def search(
        self,
        mark: Mark,
        queries: Vectors,
        k: int,
        *,
        ef: int | None,
        recall: float | None,
        allow: Ids | None,
        dead: Ids,
        threads: int,
    ) -> Neighbours:
        """The k nearest that `mark` covers, without the `dead`."""
        bitmap = None
        if allow is not None:
            bitmap = np.zeros(mark.high + 1, bool)
            bitmap[allow[allow <= mark.high]] = True
        wanted = recall if recall is not None or ef is not None else self.settings.index.recall
        more = 0
        while True:
            found = mark.index.search(queries, k + more, ef=ef, recall=wanted, threads=threads, allow=bitmap)
            known = (found.ids != NO_ID) & (found.ids <= mark.high)
            if len(dead):
                known &= np.isin(found.ids, dead, invert=True)
            full = (known.sum(axis=1) >= k) | (found.ids == NO_ID).any(axis=1)
            if full.all() or more >= len(dead) + SLICE:
                break
            more = min(max(2 * more, k, 16), len(dead) + SLICE)
        scores = np.where(known, found.scores, NO_SCORE)
        order = np.argsort(~known, axis=1, kind="stable")[:, :k]
        ids = np.where(known, found.ids, NO_ID)
        return Neighbours(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))

    def build(self, ids: Ids, rows: Vectors, grave: int) -> None:
        """The first graph: rows (n, d) of ascending `ids`, read at a moment whose last grave was `grave`."""
        index = self.settings.index
        graph = HNSW.build(
            rows,
            keys=ids,
            m=index.m,
            ef_construction=index.ef_construction,
            codec="sq8" if self.settings.codec == "sq8" else None,
            threads=index.threads,
            seed=index.seed,
            metric=self.settings.metric,
        )
        with self._lock:
            self._file, self.saved = None, False
            self._measured = len(graph)
            self._mark = Mark(graph, int(ids[-1]), grave)

    def add(self, ids: Ids, rows: Vectors) -> None:
        """Rows (n, d) of ascending `ids`, all above the mark's."""
        mark = self._marked()
        if len(mark.index) > CURVE_HOLDS * self._measured:
            self._measure(mark.index, rows)
        new = ~mark.index.holds(ids)  # all, unless an add was interrupted half-way
        mark.index.add(ids[new], rows[new], threads=self.settings.index.threads)
        self._move(Mark(mark.index, int(ids[-1]), mark.grave))

    def forget(self, dead: Ids, grave: int) -> None:
        """Take out the dead up to `grave`."""
        mark = self._marked()
        self.forgotten = max(self.forgotten, grave)  # first, so that no search misses that it may miss them
        held = dead[mark.index.holds(dead)]
        if len(held):
            mark.index.remove(held, threads=self.settings.index.threads)
        self._move(Mark(mark.index, mark.high, grave))

    def save(self, file: str) -> Mark:
        """Write the graph to `file`; what it covers."""
        mark = self._marked()
        mark.index.save(self.folder / file)
        self.saved = True
        return mark

    def _measure(self, index: HNSW, rows: Vectors) -> None:
        """The curve from recall to ef anew, on rows that the grown graph does not hold yet."""
        if index.curve is not None:
            index.curve = calibrate.measure(
                index, rows[:: -(-len(rows) // MEASURED)], threads=self.settings.index.threads
            )
        self._measured = len(index)

    def _marked(self) -> Mark:
        if self._mark is None:
            raise AssertionError("a graph is changed before it is built")
        return self._mark

    def _move(self, mark: Mark) -> None:
        with self._lock:
            self._mark = mark

    def _loaded(self, path: Path, high: int, grave: int) -> Mark | None:
        try:
            # Not verified, which would read it through: what a bad disk did to it finds less, but never crashes.
            index = HNSW.load(path, verify=False)
        except (FormatError, FileNotFoundError):
            return None
        fits = index.dims == self.settings.dims and index.metric == self.settings.metric
        self._measured = len(index)
        return Mark(index, high, grave) if fits else None
