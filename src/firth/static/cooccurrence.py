"""Co-occurrence counts: how often two words stand within a window, each meeting weighted by 1 / distance.

The corpus is counted segment by segment; a segment's places take 8 bytes a word, so `memory` sets its length. Finished
rows of a segment are a run; several runs are merged row by row. What does not fit into `memory` lies in unnamed
temporary files. There is no shuffle stage: training draws the order of its rows (static/glove.py).

Source: Pennington, Socher and Manning 2014, "GloVe: global vectors for word representation", section 4.2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from firth.kernels import glove as kernel
from firth.progress import Progress, silent
from firth.static.corpus import Corpus

BYTES_A_TOKEN = 12  # of a segment: its ids, their places, and the counting sort
CELLS_AT_ONCE = 4 << 20  # merged in one piece
BLOCKS = 32  # of rows, between two reports of progress


@dataclass(frozen=True)
class Cooccurrences:
    """A sparse (v, v) matrix, row by row.

    Attributes:
        starts: (v + 1,) int64, where each row begins in columns and values.
        columns: int32, ascending in each row.
        values: float32.
        symmetric: whether only columns up to the row are kept, for both.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    symmetric: bool

    def __len__(self) -> int:
        """Cells, both halves of a symmetric matrix counted."""
        if not self.symmetric:
            return len(self.columns)
        filled = np.diff(self.starts) > 0
        diagonal = self.columns[self.starts[1:][filled] - 1] == np.flatnonzero(filled)
        return 2 * len(self.columns) - int(diagonal.sum())


def cooccurrences(
    corpus: Corpus,
    *,
    window: int = 10,
    symmetric: bool = True,
    memory: int = 2 << 30,
    threads: int = 1,
    progress: Progress = silent,
) -> Cooccurrences:
    """Count a corpus.

    Args:
        window: words to each side.
        symmetric: False counts for each word only those to its left.
        memory: bytes; a corpus or a result beyond it goes through the disk.

    Returns:
        The same counts for any number of threads; for any memory, up to the rounding of float32 sums.
    """
    words = len(corpus.vocabulary)
    bounds = _segments(corpus.ids, max(1024, memory // BYTES_A_TOKEN))
    runs = []
    for i, (begin, end) in enumerate(pairwise(bounds)):
        counter = kernel.counter(corpus.ids[begin:end], words, window, symmetric, threads=threads)
        cells = _Cells(memory if len(bounds) == 2 else 0)
        for first, last in _row_blocks(counter, words):
            cells.add(*counter.rows(first, last, threads))
            progress(begin + (end - begin) * last // words, len(corpus.ids), f"segment {i + 1} of {len(bounds) - 1}")
        runs.append(cells.finish())
    if len(runs) == 1:
        return Cooccurrences(*runs[0], symmetric)
    merged = _Cells(memory)
    for first, last in _merge_blocks(runs, words):
        merged.add(*kernel.merge_runs([_rows(run, first, last) for run in runs], words))
        progress(last, words, "merging")
    return Cooccurrences(*merged.finish(), symmetric)


class _Cells:
    """Cells as they come, in memory up to a budget, then in two unnamed files."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.sizes: list[NDArray[np.int64]] = []
        self.columns: list[NDArray[np.int32]] = []
        self.values: list[NDArray[np.float32]] = []
        self.files: tuple[IO[bytes], IO[bytes]] | None = None
        self.held = 0

    def add(self, sizes: NDArray[np.int64], columns: NDArray[np.int32], values: NDArray[np.float32]) -> None:
        self.sizes.append(sizes)
        self.columns.append(columns)
        self.values.append(values)
        self.held += columns.nbytes + values.nbytes
        if self.held > self.memory:
            self._spill()

    def _spill(self) -> None:
        if self.files is None:
            # Kept open until the last cell has come; without a name, they vanish with this object.
            self.files = tempfile.TemporaryFile(prefix="firth-"), tempfile.TemporaryFile(prefix="firth-")  # noqa: SIM115
        for column, value in zip(self.columns, self.values, strict=True):
            self.files[0].write(memoryview(column).cast("B"))
            self.files[1].write(memoryview(value).cast("B"))
        self.columns, self.values, self.held = [], [], 0

    def finish(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        starts = np.concatenate([[0], np.cumsum(np.concatenate(self.sizes))]).astype(np.int64)
        if self.files is None:
            return starts, _joined(self.columns, np.int32), _joined(self.values, np.float32)
        self._spill()
        n = int(starts[-1])
        return starts, _mapped(self.files[0], n, np.int32), _mapped(self.files[1], n, np.float32)


def _mapped(file: IO[bytes], n: int, kind: type) -> NDArray[Any]:
    file.flush()
    with file:  # the map keeps the file alive
        return np.memmap(file, kind, "r+", shape=(n,)) if n else np.empty(0, kind)


def _joined(arrays: list[NDArray[Any]], kind: type) -> NDArray[Any]:
    """Arrays one behind the other; each is let go as soon as it is copied."""
    out: NDArray[Any] = np.empty(sum(len(array) for array in arrays), kind)
    at = 0
    arrays.reverse()
    while arrays:
        array = arrays.pop()
        out[at : at + len(array)] = array
        at += len(array)
    return out


def _segments(ids: NDArray[np.int32], longest: int) -> list[int]:
    """Where segments begin, at sentence ends where there is one; 0 first, the length last."""
    bounds = [0]
    while len(ids) - bounds[-1] > longest:
        end = bounds[-1] + longest
        back = np.flatnonzero(ids[max(bounds[-1], end - 100_000) : end] < 0)
        bounds.append(max(bounds[-1], end - 100_000) + int(back[-1]) + 1 if len(back) else end)
    return [*bounds, len(ids)]


def _row_blocks(counter: Any, words: int) -> Iterator[tuple[int, int]]:
    """Blocks of rows with about as many places each."""
    total, first = counter.places_before(words), 0
    for block in range(1, BLOCKS + 1):
        low, high = first, words
        while low < high:  # the first row that reaches the block's share
            middle = (low + high) // 2
            low, high = (middle + 1, high) if counter.places_before(middle) * BLOCKS < total * block else (low, middle)
        last = words if block == BLOCKS else low
        if last > first:
            yield first, last
        first = max(first, last)


def _merge_blocks(runs: list[Any], words: int) -> Iterator[tuple[int, int]]:
    before = np.sum([run[0] for run in runs], axis=0)  # cells of all runs before each row
    first = 0
    while first < words:
        last = int(np.searchsorted(before, before[first] + CELLS_AT_ONCE, "right")) - 1
        last = min(words, max(first + 1, last))
        yield first, last
        first = last


def _rows(run: Any, first: int, last: int) -> Any:
    starts, columns, values = run
    begin, end = starts[first], starts[last]
    return starts[first : last + 1] - begin, columns[begin:end], values[begin:end]
