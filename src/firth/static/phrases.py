"""Phrases: pairs of words that stand together more often than chance, joined to one word, like new_york.

    score(a, b) = (count(a b) - discount) · words in the corpus / (count(a) · count(b))

Pairs above a threshold are joined from left to right; a second pass joins phrases to longer ones (new_york_times).
Source: Mikolov et al. 2013, arXiv:1310.4546, section 4, and word2phrase.c, which has these defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firth.errors import SettingsError
from firth.static.corpus import Corpus, Vocabulary


@dataclass(frozen=True)
class Phrases:
    """Settings of `join_phrases`.

    Attributes:
        passes: 1 joins pairs, 2 up to four words.
        threshold: smallest score of a phrase; higher joins fewer.
        discount: taken off every pair's count, so that rare pairs do not score by chance.
        min_count: rarer pairs are no phrase, and words that joining leaves rarer are dropped.
        delimiter: between the words of a phrase.
    """

    passes: int = 1
    threshold: float = 100.0
    discount: int = 5
    min_count: int = 5
    delimiter: str = "_"

    def __post_init__(self) -> None:
        if self.passes < 1 or self.threshold <= 0 or self.discount < 0 or self.min_count < 1:
            raise SettingsError(f"phrases: passes and min_count from 1, threshold above 0, discount from 0; got {self}")


def join_phrases(corpus: Corpus, settings: Phrases | None = None) -> Corpus:
    """The corpus with its phrases as words, and their vocabulary; the corpus that is passed is left as it is.

    Words outside the vocabulary are gone from it already, so the words to their left and right count as neighbours.
    """
    settings = settings or Phrases()
    for _ in range(settings.passes):
        corpus = _joined(corpus, settings)
    return corpus


def _joined(corpus: Corpus, settings: Phrases) -> Corpus:
    ids, words, counts = corpus.ids, corpus.vocabulary.words, corpus.vocabulary.counts
    first, second = ids[:-1].astype(np.int64), ids[1:].astype(np.int64)
    pairs = np.where((first >= 0) & (second >= 0), first * len(words) + second, -1)
    keys, place, times = np.unique(pairs, return_inverse=True, return_counts=True)
    a, b = keys // len(words), keys % len(words)
    score = (times - settings.discount) * float(counts.sum()) / (counts[a].astype(np.float64) * counts[b])
    good = (keys >= 0) & (times >= settings.min_count) & (score > settings.threshold)
    begins = _every_second(good[place])
    phrase = np.cumsum(good) - 1  # the number of each good key
    joined = ids.copy()
    joined[:-1][begins] = len(words) + phrase[place[begins]]
    keep = np.ones(len(ids), bool)
    keep[1:][begins] = False
    names = [f"{words[i]}{settings.delimiter}{words[j]}" for i, j in zip(a[good], b[good], strict=True)]
    return _renamed(corpus, joined[keep], [*words, *names], settings.min_count)


def _every_second(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first, third, fifth … of each run of True: pairs joined from left to right cannot share a word."""
    places = np.arange(len(flags))
    before = np.maximum.accumulate(np.where(flags, -1, places)) if len(flags) else places
    return np.asarray(flags & ((places - before) % 2 == 1), bool)


def _renamed(corpus: Corpus, ids: NDArray[np.int32], words: list[str], min_count: int) -> Corpus:
    """Ids of a vocabulary in the order of its new counts, without words that became rare."""
    merged: dict[str, int] = {}
    same = np.array([merged.setdefault(word, len(merged)) for word in words], np.int32)  # "new_york" may be a word too
    ids = np.where(ids >= 0, same[ids], -1).astype(np.int32)
    names = list(merged)
    counts = np.bincount(ids[ids >= 0], minlength=len(names))
    order = sorted(np.flatnonzero(counts >= min_count).tolist(), key=lambda i: (-counts[i], names[i].encode()))
    place = np.full(len(names), -2, np.int32)
    place[order] = np.arange(len(order))
    ids = np.where(ids >= 0, place[ids], -1).astype(np.int32)
    ids = ids[ids != -2]
    ends = ids < 0
    ids = ids[~(ends & np.concatenate([[True], ends[:-1]]))]  # sentences that became empty
    vocabulary = Vocabulary([names[i] for i in order], counts[order].astype(np.int64))
    return replace(corpus, ids=np.ascontiguousarray(ids), vocabulary=vocabulary)
