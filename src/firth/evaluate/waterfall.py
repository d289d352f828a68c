"""Where the recall went: from the model's exact search, step by step, to what a collection returns.

A stage is a name and a ranking of the same queries: exact float32, fewer dimensions, a codec, re-scoring, the graph, a
filter. Each is compared with the first (how many of the true neighbours are left) and with the one before it (what
this step cost, with its interval), and scored on the test set. A filter lets fewer documents answer: its stage is
compared with the exact ranking of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError, SettingsError
from firth.evaluate.ranking import Judgements, Ranking
from firth.evaluate.records import Stage
from firth.evaluate.retrieval import measure
from firth.evaluate.statistics import bootstrap, paired_permutation


def waterfall(
    stages: Sequence[tuple[str, Ranking]],
    judgements: Judgements | None = None,
    *,
    exact_of: Mapping[str, Ranking] | None = None,
    k: int = 10,
    name: str = "ndcg@10",
    seed: int = 0,
) -> list[Stage]:
    """Measure every stage against the first and against the one before.

    Args:
        stages: name and ranking; the first is what all others approximate. All rank the same queries.
        judgements: query id -> document id -> grade, where there is a test set.
        exact_of: name of a stage -> the exact ranking that it approximates instead of the first, for a search that only
            some documents may answer. Such a stage has no score: the answers may be among the others.
        k: neighbours that recall is counted over.
        name: the measure on the test set.

    Raises:
        SettingsError: no stage, k below 1, or `exact_of` names a stage that is not there.
        DataError: the stages rank different queries.
    """
    if not stages or k < 1:
        raise SettingsError(f"a waterfall needs stages and k of at least 1, got {len(stages)} and k={k}")
    queries = list(stages[0][1].queries)
    own = exact_of or {}
    if unknown := [title for title in own if title not in dict(stages)]:
        raise SettingsError(f"exact_of: there is no stage {unknown[0]!r}, only {', '.join(dict(stages))}")
    found: list[Stage] = []
    recall_before = score_before = np.zeros(0)
    for title, ranking in stages:
        exact = own.get(title, stages[0][1])
        for ranked in (ranking, exact):
            if set(ranked.queries) != set(queries):
                raise DataError(
                    f"stage {title!r} ranks other queries ({len(ranked.queries):,}) than the first ({len(queries):,})"
                )
        recall = np.array([_share(_first(exact, query, k), _first(ranking, query, k)) for query in queries])
        scored = judgements if title not in own else None
        score = None if scored is None else measure(ranking, scored, [name]).per_query[name]
        found.append(
            Stage(
                name=title,
                recall=bootstrap(recall, seed),
                step=paired_permutation(recall_before, recall, seed) if found else None,
                score=None if score is None else bootstrap(score, seed),
                score_step=None
                if score is None or not len(score_before)
                else paired_permutation(score_before, score, seed),
            )
        )
        recall_before, score_before = recall, np.zeros(0) if score is None else score
    return found


def _first(ranking: Ranking, query: str, k: int) -> set[str]:
    ids: NDArray[np.int64] = ranking.neighbours.ids[ranking.row_of[query], :k]
    return {ranking.documents[row] for row in ids.tolist() if row >= 0}


def _share(wanted: set[str], got: set[str]) -> float:
    return len(wanted & got) / len(wanted) if wanted else 1.0
