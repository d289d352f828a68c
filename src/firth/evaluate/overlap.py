"""Texts that two sets share: exactly, after normalising, or nearly (MinHash), and the scores on what is left.

A test query that was trained on, or a document that stands twice in a corpus, makes a score say something else than
it seems to. Near duplicates are found by MinHash over word n-grams (Broder 1997) in bands, so that only likely pairs
are compared; each pair that is told has been compared exactly.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firth.errors import SettingsError
from firth.evaluate.retrieval import Scores

_WORD = re.compile(r"\w+")
_MIX = np.uint64(0x9E3779B97F4A7C15)
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Near:
    """What counts as a near duplicate.

    Attributes:
        words: length of the n-grams compared; 3 tells short questions apart, 8 is usual for passages.
        least: Jaccard similarity of the two sets of n-grams from which texts are near.
        hashes: of a signature; the more, the fewer near pairs are missed.
        rows: hashes of one band; a pair of similarity s is compared with a chance of 1 - (1 - s^rows)^(hashes / rows):
            at the defaults 99.9 % for s = 0.7, 87 % for 0.5, 23 % for 0.3.
        seed: of the hash functions.
    """

    words: int = 3
    least: float = 0.7
    hashes: int = 128
    rows: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.words < 1 or not 0 < self.least <= 1 or self.rows < 1 or self.hashes % self.rows or self.hashes < 1:
            raise SettingsError(f"{self}: words and rows from 1, least in (0, 1], hashes a multiple of rows")


@dataclass(frozen=True)
class Shared:
    """Two texts that are the same or nearly: `how` is "exact", "normalised" or "near"."""

    first: str
    second: str
    how: str
    similarity: float


@dataclass(frozen=True)
class Overlap:
    """What the first set shares with the second.

    Attributes:
        pairs: each text of the first set with the nearest text of the second that it shares, most alike first.
        clean: ids of the first set that share nothing, in their order.
    """

    pairs: tuple[Shared, ...]
    clean: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How -> texts of the first set."""
        return {how: sum(pair.how == how for pair in self.pairs) for how in ("exact", "normalised", "near")}


def overlap(first: Mapping[str, str], second: Mapping[str, str], near: Near | None = None) -> Overlap:
    """Which texts of `first` (for instance test queries) stand in `second` (training queries) too.

    Args:
        first, second: id -> text.
        near: what counts as nearly the same; the default where None.
    """
    settings = near or Near()
    exact = {text: id_ for id_, text in reversed(list(second.items()))}
    plain = {normalised(text): id_ for id_, text in reversed(list(second.items()))}
    found: dict[str, Shared] = {}
    for id_, text in first.items():
        if text in exact:
            found[id_] = Shared(id_, exact[text], "exact", 1.0)
        elif (key := normalised(text)) and key in plain:
            found[id_] = Shared(id_, plain[key], "normalised", 1.0)
    rest = {id_: text for id_, text in first.items() if id_ not in found}
    for pair in _near_pairs(rest, second, settings):
        if pair.first not in found or found[pair.first].similarity < pair.similarity:
            found[pair.first] = pair
    order = sorted(found.values(), key=lambda pair: -pair.similarity)
    return Overlap(tuple(order), tuple(id_ for id_ in first if id_ not in found))


def duplicates(texts: Mapping[str, str], near: Near | None = None) -> tuple[Shared, ...]:
    """Pairs of one set that are the same or nearly, most alike first; of each group of equal texts the first stands
    with every other."""
    settings = near or Near()
    groups: dict[str, list[str]] = defaultdict(list)
    for id_, text in texts.items():
        groups[normalised(text)].append(id_)
    pairs = [
        Shared(group[0], other, "exact" if texts[group[0]] == texts[other] else "normalised", 1.0)
        for key, group in groups.items()
        if key
        for other in group[1:]
    ]
    single = {group[0]: texts[group[0]] for key, group in groups.items() if key}
    pairs += [pair for pair in _near_pairs(single, single, settings) if pair.first < pair.second]
    return tuple(sorted(pairs, key=lambda pair: -pair.similarity))


def on_clean(scores: Scores, clean: Iterable[str]) -> Scores:
    """The same scores over those queries only that share nothing with the training set."""
    kept = set(clean)
    rows = np.array([i for i, query in enumerate(scores.queries) if query in kept], np.int64)
    return Scores(
        queries=tuple(scores.queries[i] for i in rows.tolist()),
        per_query={name: values[rows] for name, values in scores.per_query.items()},
        absent=tuple(query for query in scores.absent if query in kept),
        without_relevant=scores.without_relevant,
    )


def normalised(text: str) -> str:
    """Words only, in compatibility form and one case, one blank between them."""
    return " ".join(_words(text))


def similarity(first: str, second: str, words: int = 3) -> float:
    """Jaccard similarity of the two texts' sets of word n-grams: shared / in either. Two empty texts have 0."""
    a, b = set(grams(first, words).tolist()), set(grams(second, words).tolist())
    return len(a & b) / len(a | b) if a or b else 0.0


def grams(text: str, words: int) -> Hashes:
    """(g,) uint64 hashes of the n-grams of a text's words; a text shorter than one n-gram is one n-gram."""
    each = np.array([zlib.crc32(word.encode()) for word in _words(text)], np.uint64)
    if len(each) == 0:
        return each
    n = min(words, len(each))
    mixed = np.zeros(len(each) - n + 1, np.uint64)
    for i in range(n):
        mixed = (mixed ^ each[i : len(each) - n + 1 + i]) * _MIX
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _near_pairs(first: Mapping[str, str], second: Mapping[str, str], settings: Near) -> Iterator[Shared]:
    """Pairs of different ids, or of different sets, that fall into one band and are near indeed."""
    buckets: dict[tuple[int, bytes], list[str]] = defaultdict(list)
    for id_, band in _bands(second, settings):
        buckets[band].append(id_)
    seen: set[tuple[str, str]] = set()
    for id_, band in _bands(first, settings):
        for other in buckets.get(band, ()):
            if (id_, other) in seen or (first is second and id_ == other):
                continue
            seen.add((id_, other))
            alike = similarity(first[id_], second[other], settings.words)
            if alike >= settings.least:
                yield Shared(id_, other, "near", alike)


def _bands(texts: Mapping[str, str], settings: Near) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """Each text's id with each band of its signature; a text without words has none."""
    rng = np.random.default_rng(settings.seed)
    factors = rng.integers(1, 2**63, settings.hashes, np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(0, 2**63, settings.hashes, np.uint64)
    for id_, text in texts.items():
        hashes = grams(text, settings.words)
        if len(hashes):
            mixed = hashes[:, None] * factors + shifts
            signature = (mixed ^ (mixed >> np.uint64(31))).min(axis=0)
            for band in range(settings.hashes // settings.rows):
                part = signature[band * settings.rows : (band + 1) * settings.rows]
                yield id_, (band, part.tobytes())


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
