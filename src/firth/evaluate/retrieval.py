"""How well a ranking answers judged queries: nDCG, recall, precision, MRR, MAP and hit rate, as trec_eval counts them.

    ndcg@k       Σ grade / log2(rank + 1) over the first k, over the same sum of the best possible order
    recall@k     relevant documents in the first k / relevant documents
    precision@k  relevant documents in the first k / k, also where fewer than k were returned
    mrr@k        1 / rank of the first relevant document, 0 beyond k
    map@k        Σ over relevant documents in the first k of the precision at their rank / relevant documents
    hit@k        1 where a relevant document is in the first k, else 0

Without "@k" the whole ranking counts (not for precision and hit). A document is relevant when its grade is above 0.
Ties: documents of one query are ordered by score in float32, equal scores by document id, descending; the rule of
trec_eval, whose order the tests compare with. A judged query that is not in the ranking scores 0 and is named; a
query without a relevant document has no score and is named too.

Source: Järvelin & Kekäläinen 2002 (nDCG); trec_eval 9 for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError, SettingsError
from firth.evaluate.ranking import Floats, Hits, Integers, Judgements, Ranking, Run, hits, place_within
from firth.evaluate.runfile import queries_of
from firth.evaluate.statistics import Interval, Paired, bootstrap, holm, paired_permutation

MEASURES = ("ndcg@10", "recall@10", "recall@100", "mrr@10", "map@100", "precision@10", "hit@10")
WHOLE = 1_000  # documents ranked for a measure without a depth, the custom of TREC
_NEED_K = ("precision", "hit")


@dataclass(frozen=True)
class Scores:
    """What `measure` found.

    Attributes:
        queries: ids of the q scored queries, in the order of the judgements.
        per_query: measure -> (q,) float64.
        absent: judged queries that the ranking lacks; they are scored, with 0.
        without_relevant: judged queries with no grade above 0; they are not scored.
    """

    queries: tuple[str, ...]
    per_query: dict[str, Floats]
    absent: tuple[str, ...] = ()
    without_relevant: tuple[str, ...] = ()

    @property
    def mean(self) -> dict[str, float]:
        """Measure -> mean over the queries."""
        return {name: float(values.mean()) for name, values in self.per_query.items()}

    def intervals(self, seed: int = 0) -> dict[str, Interval]:
        """Measure -> mean with its 95 % bootstrap interval."""
        return {name: bootstrap(values, seed) for name, values in self.per_query.items()}

    def against(self, base: Scores, seed: int = 0) -> dict[str, Paired]:
        """Measure -> paired comparison with `base`, positive where this one is better.

        Raises:
            DataError: other queries, or other measures, than the base has.
        """
        if self.queries != base.queries or self.per_query.keys() != base.per_query.keys():
            raise DataError(
                f"two systems are compared on the same queries and measures: {len(self.queries):,} queries with "
                f"{', '.join(self.per_query)} against {len(base.queries):,} with {', '.join(base.per_query)}"
            )
        return {name: paired_permutation(base.per_query[name], self.per_query[name], seed) for name in self.per_query}


def adjusted(paired: Mapping[str, Paired]) -> dict[str, float]:
    """Measure -> p-value after Holm's correction for the number of measures compared."""
    return holm({name: comparison.p for name, comparison in paired.items()})


def measure(ranked: Run | Ranking | Path, judgements: Judgements, measures: Iterable[str] = MEASURES) -> Scores:
    """Score a ranking.

    Args:
        ranked: query id -> document id -> score; or a Ranking; or the path of a TREC run file. Queries without
            judgements are ignored.
        judgements: query id -> document id -> grade; unjudged documents count as not relevant.
        measures: names from the head of this file, for instance "ndcg@10".

    Raises:
        SettingsError: a measure that is not known.
        DataError: no judged query has a relevant document, none is in the ranking, a score or grade is NaN or
            infinite, or a document is ranked twice for one query.

    >>> measure({"q1": {"a": 0.9, "b": 0.5}}, {"q1": {"b": 1}}, ["mrr", "recall@1", "ndcg@10"]).mean
    {'mrr': 0.5, 'recall@1': 0.0, 'ndcg@10': 0.6309297535714575}
    """
    wanted = {name: _parsed(name) for name in measures}
    scored = {query: judged for query, judged in judgements.items() if not max(judged.values(), default=0) <= 0}
    if not scored:
        raise DataError(f"none of {len(judgements):,} judged queries has a document with a grade above 0")
    found = hits(ranked, scored)
    known = _known(ranked, scored, found)
    if not any(query in known for query in scored):
        raise DataError(
            f"no judged query is in the ranking: judged are {_some(scored)}, ranked are {_some(known) or 'none'}; "
            "do both use the same query ids?"
        )
    return Scores(
        queries=tuple(scored),
        per_query={name: _MEASURES[kind](found, k) for name, (kind, k) in wanted.items()},
        absent=tuple(query for query in scored if query not in known),
        without_relevant=tuple(query for query in judgements if query not in scored),
    )


def depth(measures: Iterable[str]) -> int:
    """How many documents a query must be asked for so that each measure is what its name says.

    The deepest k; a measure of the whole ranking is taken over the first 1,000, as TREC runs are.
    """
    return max(k or WHOLE for _, k in map(_parsed, measures))


def _ndcg(found: Hits, k: int | None) -> Floats:
    near, ideal_near = _within(found.rank, k), _within(found.ideal_rank, k)
    gain = found.summed(found.grade / np.log2(found.rank + 1), near)
    ideal = found.ideal_grade / np.log2(found.ideal_rank + 1)
    return gain / np.bincount(found.ideal_query[ideal_near], ideal[ideal_near], len(found.relevant))


def _recall(found: Hits, k: int | None) -> Floats:
    return _count(found, k) / found.relevant


def _precision(found: Hits, k: int | None) -> Floats:
    return _count(found, k) / (k or 1)


def _mrr(found: Hits, k: int | None) -> Floats:
    first = np.flatnonzero(np.diff(found.query, prepend=-1) > 0)
    best = np.zeros(len(found.relevant))
    best[found.query[first]] = np.where(_within(found.rank[first], k), 1 / found.rank[first], 0)
    return best


def _map(found: Hits, k: int | None) -> Floats:
    return found.summed(place_within(found.query) / found.rank, _within(found.rank, k)) / found.relevant


def _hit(found: Hits, k: int | None) -> Floats:
    return np.minimum(_count(found, k), 1.0)


_MEASURES = {"ndcg": _ndcg, "recall": _recall, "precision": _precision, "mrr": _mrr, "map": _map, "hit": _hit}


def _count(found: Hits, k: int | None) -> Floats:
    return found.summed(np.ones(len(found.rank)), _within(found.rank, k))


def _within(rank: Integers, k: int | None) -> NDArray[np.bool_]:
    return rank <= (np.iinfo(np.int64).max if k is None else k)


def _known(ranked: Run | Ranking | Path, scored: Judgements, found: Hits) -> Collection[str]:
    """Queries that the ranking names; of a run file those of the scored ones, else the first few that it has."""
    if isinstance(ranked, Path):
        named = [query for query, n in zip(scored, found.ranked.tolist(), strict=True) if n]
        return dict.fromkeys(named or queries_of(ranked))
    return ranked.row_of if isinstance(ranked, Ranking) else ranked


def _parsed(name: str) -> tuple[str, int | None]:
    match = re.fullmatch(rf"({'|'.join(_MEASURES)})(?:@([1-9][0-9]*))?", name)
    if match is None:
        raise SettingsError(
            f"measure {name!r} is not known; expected one of {', '.join(_MEASURES)}, with @k: 'ndcg@10'"
        )
    kind, k = match[1], match[2]
    if k is None and kind in _NEED_K:
        raise SettingsError(f"measure {name!r} needs a depth, for instance '{kind}@10'")
    return kind, int(k) if k else None


def _some(names: Iterable[str]) -> str:
    first = [repr(name) for name, _ in zip(names, range(4), strict=False)]
    return ", ".join(first[:3]) + (", …" if len(first) > 3 else "")
