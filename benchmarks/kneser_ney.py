"""An interpolated Kneser-Ney n-gram model with three discounts an order: what ELMo's perplexity is held to.

Source: Chen and Goodman 1998, "An empirical study of smoothing techniques for language modeling" (modified Kneser-Ney);
n-grams that begin with <S> keep their plain counts, as in KenLM (Heafield et al. 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
BEGIN, END = 0, 1  # ids of <S> and </S>


@dataclass(frozen=True)
class Order:
    """The n-grams of one length.

    Attributes:
        keys: (g,) ascending: the number of the n-gram without its last word, times v, plus the last word.
        gain: (g,) discounted count over the context's count.
        left: (contexts,) weight of the next shorter order behind each context.
    """

    keys: Integers
    gain: NDArray[np.float64]
    left: NDArray[np.float64]


def perplexity(train: Sequence[Sequence[int]], test: Sequence[Sequence[int]], words: int, order: int = 5) -> float:
    """Perplexity of the test sentences' words and </S>, each sentence from its own beginning.

    Args:
        train, test: sentences as ids; 0 is <S> and 1 </S>, which are put around them here.
        words: v; <S> is never predicted.
    """
    flow, predicted = _flow(train, order)
    asked, at = _flow(test, order)
    chance = np.full(len(asked), 1.0 / (words - 1))
    numbers, queried = flow, asked  # of the n-gram that ends at each place, n = 1 first
    kept: list[tuple[Integers, Integers, Integers]] = []
    for n in range(1, order + 1):
        context = np.zeros_like(flow) if n == 1 else _before(numbers)
        behind = np.zeros_like(asked) if n == 1 else _before(queried)
        keys = np.where(context < 0, -1, context * words + flow)
        all_keys = np.unique(keys[keys >= 0])  # contexts that begin with pads must have numbers too
        numbers = np.where(keys < 0, -1, np.searchsorted(all_keys, keys))
        wanted = np.where(behind < 0, -1, behind * words + asked)
        place = np.minimum(np.searchsorted(all_keys, wanted), len(all_keys) - 1)
        queried = np.where(all_keys[place] == wanted, place, -1)
        kept.append((all_keys, numbers, queried))
    counts = _counts(kept, flow, predicted, order)
    for n, (keys, _, queried) in enumerate(kept):
        model = _discounted(keys, counts[n], words)
        behind = np.zeros_like(asked) if n == 0 else _before(kept[n - 1][2])
        known = (behind >= 0) & (behind < len(model.left))
        known[known] = model.left[behind[known]] < 1.0
        gain = np.where(queried >= 0, model.gain[np.maximum(queried, 0)], 0.0)
        chance = np.where(known, gain + model.left[np.where(known, behind, 0)] * chance, chance)
    return float(np.exp(-np.log(chance[at]).mean()))


def _flow(sentences: Sequence[Sequence[int]], order: int) -> tuple[Integers, NDArray[np.bool_]]:
    """All sentences with order - 1 times <S> before and </S> behind each, and which places are predicted."""
    begins = [BEGIN] * (order - 1)
    flow = np.array([word for sentence in sentences for word in (*begins, *sentence, END)], np.int64)
    return flow, flow != BEGIN


def _before(numbers: Integers) -> Integers:
    return np.concatenate([[-1], numbers[:-1]])


def _counts(
    kept: list[tuple[Integers, Integers, Integers]], flow: Integers, predicted: NDArray[np.bool_], order: int
) -> list[NDArray[np.float64]]:
    """Of each order: plain counts of the longest n-grams, of the others how many different words stand before them."""
    found = []
    for n, (keys, numbers, _) in enumerate(kept):
        good = predicted & (numbers >= 0)
        plain = np.bincount(numbers[good], minlength=len(keys)).astype(np.float64)
        if n + 1 < order:
            longer = kept[n + 1][1]
            there = np.flatnonzero(good & (longer >= 0))
            _, first = np.unique(longer[there], return_index=True)  # one place of each longer n-gram
            places = there[first]
            different = np.bincount(numbers[places], minlength=len(keys)).astype(np.float64)
            starts = np.flatnonzero(good)
            starts = starts[flow[np.maximum(starts - n, 0)] == BEGIN] if n else starts[:0]
            different[numbers[starts]] = plain[numbers[starts]]
            plain = different
        found.append(plain)
    return found


def _discounted(keys: Integers, counts: NDArray[np.float64], words: int) -> Order:
    """Gains and what is left, by the three discounts of Chen and Goodman."""
    of = [max(float((counts == c).sum()), 1.0) for c in range(1, 5)]
    y = of[0] / (of[0] + 2 * of[1])
    discounts = np.clip([0.0, *(c - (c + 1) * y * of[c] / of[c - 1] for c in (1, 2, 3))], 0.0, None)
    taken = np.minimum(discounts[np.minimum(counts, 3).astype(np.int64)], counts)
    context = keys // words
    total = np.bincount(context, weights=counts)
    lost = np.bincount(context, weights=taken)
    gain = (counts - taken) / np.maximum(total[context], 1e-12)
    return Order(keys, gain, np.where(total > 0, lost / np.maximum(total, 1e-12), 1.0))
