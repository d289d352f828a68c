"""Fingerprints of public benchmarks, shipped with firth: does a text set share questions with one, without its texts?

A fingerprint keeps, for each text, a 64-bit hash of its normalised words and the 16 smallest of the hashes of its
word 3-grams (bottom-k sketches, Broder 1997). Two texts of at most 16 3-grams are compared exactly, longer ones by an
estimate of their Jaccard similarity that is off by about a tenth. Nobody can read a text back out of it.

    known()              name -> Prints of the benchmarks that are shipped
    fingerprint(texts)   Prints of any texts
    shared_with(texts, prints)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firth import files
from firth.errors import FormatError
from firth.evaluate.overlap import Near, Shared, grams, normalised

KIND, VERSION = "fingerprints", 1
SHIPPED = Path(__file__).with_name("benchmarks.fingerprints")
SKETCH = 16  # smallest hashes kept of a text; a question of 18 words has 16 3-grams
WORDS = 3


@dataclass(frozen=True)
class Prints:
    """Fingerprints of n texts.

    Attributes:
        name: of the benchmark, with its part: "SciFact test queries".
        exact: (n,) uint64, hash of each normalised text; 0 for a text without words.
        sketch: (t,) uint32, the smallest hashes of all texts, one text after another, ascending within each.
        offsets: (n + 1,) int64; text i has sketch[offsets[i]:offsets[i + 1]].
    """

    name: str
    exact: NDArray[np.uint64]
    sketch: NDArray[np.uint32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.exact) + 1 or self.offsets[-1] != len(self.sketch):
            raise FormatError(f"{self.name}: {len(self.exact)} texts, {len(self.offsets)} offsets do not fit")

    def __len__(self) -> int:
        return len(self.exact)

    @cached_property
    def _row_of(self) -> dict[int, int]:
        return {value: row for row, value in reversed(list(enumerate(self.exact.tolist()))) if value}

    @cached_property
    def _rows_with(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        for value, row in zip(self.sketch.tolist(), rows.tolist(), strict=True):
            found[value].append(row)
        return found


def fingerprint(name: str, texts: Iterable[str]) -> Prints:
    """Fingerprints of texts, in their order."""
    exact, sketches = [], []
    for text in texts:
        exact.append(_exact(text))
        sketches.append(_sketch(text))
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in sketches], dtype=np.int64)]).astype(np.int64)
    joined = np.concatenate(sketches) if sketches else np.empty(0, np.uint32)
    return Prints(name, np.array(exact, np.uint64), joined.astype(np.uint32), offsets)


def shared_with(texts: Mapping[str, str], prints: Prints, *, least: float = Near.least) -> tuple[Shared, ...]:
    """Texts that the fingerprinted set has too, most alike first; `second` of each pair is "name, text <row>".

    Args:
        texts: id -> text.
        least: Jaccard similarity of the word 3-grams from which two texts are near.
    """
    found = []
    for id_, text in texts.items():
        row = prints._row_of.get(_exact(text))
        if row is not None:
            found.append(Shared(id_, f"{prints.name}, text {row}", "normalised", 1.0))
            continue
        sketch = _sketch(text)
        rows = {row for value in sketch.tolist() for row in prints._rows_with.get(value, ())}
        best = max(((_alike(sketch, _of(prints, row)), -row) for row in rows), default=(0.0, 0))
        if best[0] >= least:
            found.append(Shared(id_, f"{prints.name}, text {-best[1]}", "near", best[0]))
    return tuple(sorted(found, key=lambda pair: -pair.similarity))


def save(prints: Sequence[Prints], path: Path | str) -> None:
    """All of them in one container (see firth.files)."""
    arrays = {
        f"{i} {part}": getattr(each, part) for i, each in enumerate(prints) for part in ("exact", "sketch", "offsets")
    }
    files.write_arrays(path, kind=KIND, version=VERSION, meta={"names": [each.name for each in prints]}, arrays=arrays)


def load(path: Path | str) -> dict[str, Prints]:
    """Name -> what `save` wrote.

    Raises:
        FormatError: damaged, or of a newer version.
    """
    read = files.read_arrays(path, kind=KIND, version=VERSION)
    return {
        name: Prints(name, *(np.asarray(read.arrays[f"{i} {part}"]) for part in ("exact", "sketch", "offsets")))
        for i, name in enumerate(read.meta["names"])
    }


@cache
def known() -> dict[str, Prints]:
    """The benchmarks that are shipped: those whose licence lets anybody copy them."""
    return load(SHIPPED)


def _exact(text: str) -> int:
    """64 bits of the normalised text; 0 where it has no words."""
    words = normalised(text)
    if not words:
        return 0
    return int(grams(text, len(words.split()))[0]) or 1


def _sketch(text: str) -> NDArray[np.uint32]:
    hashes = (grams(text, WORDS) >> np.uint64(32)).astype(np.uint32)
    return np.unique(hashes)[:SKETCH]


def _of(prints: Prints, row: int) -> NDArray[np.uint32]:
    return prints.sketch[prints.offsets[row] : prints.offsets[row + 1]]


def _alike(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> float:
    """Jaccard similarity: of the smallest hashes of both together, the share that both have."""
    both = np.union1d(first, second)
    # A full sketch knows nothing of hashes above its largest one.
    limit = min((int(each[-1]) for each in (first, second) if len(each) == SKETCH), default=2**32)
    both = both[both <= limit]
    shared = np.intersect1d(first, second)
    return float((shared <= limit).sum() / max(1, len(both)))
