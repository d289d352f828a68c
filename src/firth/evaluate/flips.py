"""Queries that a change turned: those that gained and those that lost most, with both rankings to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from firth.errors import DataError
from firth.evaluate.ranking import Judgements, Ranking
from firth.evaluate.records import Flip, Shown
from firth.evaluate.retrieval import measure

SNIPPET = 220  # characters of a document shown, about three lines


class Titled(Protocol):
    """A document with a title and a text."""

    @property
    def title(self) -> str:
        """May be empty."""

    @property
    def text(self) -> str:
        """What is below the title."""


class TitledSet(Protocol):
    """A test set whose documents can be shown; `firth.text.testset.TestSet` is one."""

    @property
    def documents(self) -> Mapping[str, Titled]:
        """Document id -> document."""

    @property
    def queries(self) -> Mapping[str, str]:
        """Query id -> text."""

    @property
    def judgements(self) -> Judgements:
        """Query id -> document id -> grade."""


def flips(
    base: Ranking, tuned: Ranking, testset: TitledSet, *, name: str = "ndcg@10", most: int = 6, shown: int = 5
) -> tuple[Flip, ...]:
    """The `most` queries that gained most and the `most` that lost most, gains first, each by size of the change.

    Args:
        base, tuned: two systems' rankings of the same judged queries.
        name: the measure that decides.
        shown: documents of each ranking; relevant ones further down follow them with their rank.

    Raises:
        DataError: the two do not rank the same judged queries.
    """
    before, after = (measure(ranked, testset.judgements, [name]) for ranked in (base, tuned))
    if before.absent != after.absent:
        raise DataError(f"the two rankings lack different queries: {len(before.absent):,} and {len(after.absent):,}")
    change = after.per_query[name] - before.per_query[name]
    order = np.argsort(-change, kind="stable")
    gained = [i for i in order[:most] if change[i] > 0]
    lost = [i for i in order[::-1][:most] if change[i] < 0]
    return tuple(
        Flip(
            query_id=before.queries[i],
            query=testset.queries[before.queries[i]],
            before=float(before.per_query[name][i]),
            after=float(after.per_query[name][i]),
            base=_shown(base, before.queries[i], testset, shown),
            tuned=_shown(tuned, before.queries[i], testset, shown),
        )
        for i in (*gained, *lost)
        if before.queries[i] not in before.absent
    )


def snippet(text: str, most: int = SNIPPET) -> str:
    """The beginning of a text in one line, cut between words."""
    line = " ".join(text[: 4 * most].split())
    if len(line) <= most:
        return line
    end = line.rfind(" ", most // 2, most)
    return line[: most if end < 0 else end].rstrip(" ,;:.") + " …"


def _shown(ranking: Ranking, query: str, testset: TitledSet, shown: int) -> tuple[Shown, ...]:
    judged = testset.judgements[query]
    ranked = ranking.best(query, ranking.neighbours.k)
    listed = [
        (rank, id_, score) for rank, (id_, score) in enumerate(ranked, 1) if rank <= shown or judged.get(id_, 0) > 0
    ]
    named = {id_ for _, id_, _ in listed}
    missed = [(None, id_, None) for id_, grade in judged.items() if grade > 0 and id_ not in named]
    return tuple(
        Shown(
            rank=rank,
            id=id_,
            title=testset.documents[id_].title if id_ in testset.documents else "",
            snippet=snippet(testset.documents[id_].text) if id_ in testset.documents else "",
            score=score,
            grade=judged.get(id_),
        )
        for rank, id_, score in (*listed, *missed)
    )
