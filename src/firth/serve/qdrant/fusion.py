"""Several ranked lists made into one, with Qdrant's constants.

Source: reciprocal-rank fusion, Cormack, Clarke and Büttcher 2009, SIGIR; ranks count from 0 and k is 2, as in Qdrant's
documentation of hybrid queries. Distribution-based score fusion: scores are brought to 0 … 1 between three standard
deviations below and above their mean, then added.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from firth.store import Key

Ranked = Sequence[tuple[Key, float]]  # best first


def by_rank(lists: Sequence[Ranked], *, k: int = 2, weights: Sequence[float] | None = None) -> list[tuple[Key, float]]:
    """Each list gives its i-th id (from 0) 1 / ((i + 1) / weight + k - 1).

    >>> by_rank([[("a", 9.0), ("b", 8.0)], [("b", 1.0)]])[0]
    ('b', 0.8333333333333333)
    """
    total: dict[Key, float] = {}
    for ranked, weight in zip(lists, weights or [1.0] * len(lists), strict=True):
        for place, (id_, _) in enumerate(ranked):
            share = 0.0 if weight <= 0 else 1 / ((place + 1) / weight + k - 1)
            total[id_] = total.get(id_, 0.0) + share
    return sorted(total.items(), key=lambda line: -line[1])


def by_distribution(lists: Sequence[Ranked]) -> list[tuple[Key, float]]:
    """Each list gives its ids their scores, brought to 0 … 1; where all are alike, 0.5."""
    total: dict[Key, float] = {}
    for ranked in lists:
        scores = [score for _, score in ranked]
        deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
        low = statistics.fmean(scores) - 3 * deviation if scores else 0.0
        for id_, score in ranked:
            share = 0.5 if deviation == 0 else (score - low) / (6 * deviation)
            total[id_] = total.get(id_, 0.0) + share
    return sorted(total.items(), key=lambda line: -line[1])
