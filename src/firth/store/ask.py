"""One search: nearest vectors, the words, the filter, their fusion, diversity; from a question to hits.

A filter is applied in the cheapest way that loses nothing. First the nearest few, whatever their payload, are tried
against it: where enough of them pass, they are the true best. Only where too few do are all allowed ids worked out
and handed to the index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firth.arrays import NO_ID, Ids, Vectors
from firth.errors import SettingsError
from firth.store import rows as table
from firth.store.fields import declared
from firth.store.hybrid import Hybrid, Ranking, by_words, fused, spread
from firth.store.moment import Moment
from firth.store.paths import parsed, values_at
from firth.store.records import Group, Hit, Source
from firth.store.space import Space, similarity
from firth.store.where import compiled

TRIED = 64  # nearest rows tried against a filter first, or four times the k
MOST_TRIED = 1_024  # beyond it, working out the allowed ids is cheaper than trying
MOST_GROUPED = 10_000  # hits looked at for groups


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a search beside the query; see `Collection.search`."""

    k: int = 10
    filter: Mapping[str, Any] | None = None
    hybrid: bool | Hybrid = False
    ef: int | None = None
    recall: float | None = None
    explain: bool = False
    diversity: float | None = None
    least: float | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise SettingsError(f"search: k={self.k}: expected at least 1")
        if self.ef is not None and (self.ef < 1 or self.recall is not None):
            raise SettingsError(f"search: ef={self.ef}, recall={self.recall}: expected one of them, ef at least 1")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise SettingsError(f"search: recall={self.recall}: expected more than 0 and at most 1")
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise SettingsError(f"search: diversity={self.diversity}: expected 0 (none) to 1 (nothing else)")

    @property
    def joined(self) -> Hybrid | None:
        """How words take part; None = they do not."""
        return self.hybrid if isinstance(self.hybrid, Hybrid) else Hybrid() if self.hybrid else None

    @property
    def wide(self) -> int:
        """Candidates taken from each source."""
        few = self.k if self.joined is None else max(self.k, self.joined.candidates)
        return few if self.diversity is None else max(few, 4 * self.k, 50)


Answer = list[tuple[int, float, dict[str, Source]]]  # (row id, score, what each source said), best first


def answered(
    moment: Moment, space: Space, texts: Sequence[str] | None, queries: Vectors, question: Question
) -> list[list[Hit]]:
    """The hits of each query (q, d); `texts` are the same queries as words, where they are known.

    Raises:
        FilterError: the filter is not understood.
        SettingsError: hybrid, and no words.
    """
    joined = question.joined
    if joined is not None and texts is None:
        raise SettingsError("search: hybrid needs the query as a text; a vector has no words")
    allow = _Allowed(moment, question.filter) if question.filter else None
    answers = []
    for i, dense in enumerate(_dense(moment, space, queries, question, allow)):
        if joined is None or texts is None:
            lines = zip(dense.ids.tolist(), dense.scores.tolist(), strict=True)
            answer: Answer = [
                (id_, score, {"dense": Source(rank, score, score)}) for rank, (id_, score) in enumerate(lines, 1)
            ]
        else:
            words = _words(moment, texts[i], joined, question.wide, allow)
            answer = fused({"dense": dense, "bm25": words}, {"dense": joined.dense, "bm25": joined.words}, k=joined.k)
        if question.least is not None:
            answer = [line for line in answer if line[1] >= question.least]
        if question.diversity is not None:
            answer = _diverse(moment, space, answer, queries[i], question)
        answer = answer[: question.k]
        if question.explain and joined is not None and texts is not None:
            answer = _explained(moment, space, queries[i], texts[i], answer, joined)
        answers.append(answer)
    found = table.by_ids(moment.db, sorted({id_ for answer in answers for id_, _, _ in answer}))
    shown = question.explain or joined is not None
    return [
        [
            Hit(row.key, score, row.text, row.title, row.payload, said if shown else {})
            for row, score, said in ((found[id_], score, said) for id_, score, said in answer)
        ]
        for answer in answers
    ]


def grouped(
    moment: Moment, space: Space, texts: Sequence[str] | None, query: Vectors, question: Question, *, by: str, size: int
) -> list[Group]:
    """The best `question.k` values of the payload field `by`, each with its best `size` hits, best first."""
    path = parsed(by)
    wide = max(100, 4 * question.k * size)
    while True:
        hits = answered(moment, space, texts, query, replace(question, k=wide))[0]
        groups: dict[str, Group] = {}
        for hit in hits:
            for value in values_at(hit.payload, path):
                group = groups.setdefault(json.dumps(value), Group(value, []))
                if len(group.hits) < size:
                    group.hits.append(hit)
        best = list(groups.values())[: question.k]
        full = len(best) == question.k and all(len(group.hits) == size for group in best)
        if full or len(hits) < wide or wide >= MOST_GROUPED:
            return best
        wide = min(MOST_GROUPED, wide * 4)


def worded(moment: Moment, text: str, question: Question) -> list[Hit]:
    """The best `question.k` rows by their words alone; their score is BM25's."""
    allow = _Allowed(moment, question.filter) if question.filter else None
    ranking = _words(moment, text, question.joined or Hybrid(), question.k, allow)
    found = table.by_ids(moment.db, ranking.ids.tolist())
    hits = []
    for rank, (id_, score) in enumerate(zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True), 1):
        row = found[id_]
        hits.append(Hit(row.key, score, row.text, row.title, row.payload, {"bm25": Source(rank, score, score)}))
    return hits if question.least is None else [hit for hit in hits if hit.score >= question.least]


class _Allowed:
    """The rows that satisfy a filter: asked of a few, or worked out for all when that is needed."""

    def __init__(self, moment: Moment, filter_: Mapping[str, Any] | None) -> None:
        self.moment = moment
        self.where = compiled(filter_)
        self._filter = filter_
        self._ids: Ids | None = None

    def among(self, ids: Ids) -> Ids:
        """Those of `ids` that satisfy it."""
        sql, values = self.where
        statement = f"id FROM rows WHERE ({sql}) AND id IN (SELECT value FROM json_each(?))"
        return table.column(self.moment.db, statement, [*values, json.dumps(ids.tolist())])

    def all(self) -> Ids:
        """All that satisfy it, by the declared payload fields where they help."""
        if self._ids is None:
            sql, values = compiled(self._filter, declared(self.moment.db))
            self._ids = table.column(self.moment.db, f"id FROM rows WHERE {sql}", values)
        return self._ids

    def first(self, k: int, ranked: Callable[[int], Ranking]) -> Ranking | None:
        """The k best rows that satisfy it, out of as many as `ranked(wide)` gives; None where too few of those do."""
        wide = max(TRIED, 4 * k)
        while wide <= max(MOST_TRIED, 4 * k):
            ranking = ranked(wide)
            passed = np.isin(ranking.ids, self.among(ranking.ids))
            found = int(passed.sum())
            if found >= k or len(ranking.ids) < wide:
                return Ranking(ranking.ids[passed][:k], ranking.scores[passed][:k])
            wide = max(2 * wide, int(1.5 * k * wide / max(found, 0.5)))
        return None


def _dense(moment: Moment, space: Space, queries: Vectors, question: Question, allow: _Allowed | None) -> list[Ranking]:
    """The `question.wide` nearest allowed rows of each query."""
    k = question.wide

    def near(rows: Vectors, wide: int, ids: Ids | None = None) -> list[Ranking]:
        found = space.search(moment.db, moment.version, rows, wide, ef=question.ef, recall=question.recall, allow=ids)
        return [Ranking(i[i != NO_ID], s[i != NO_ID]) for i, s in zip(found.ids, found.scores, strict=True)]

    if allow is None:
        return near(queries, k)
    tried = [allow.first(k, lambda wide, row=row: near(row[None], wide)[0]) for row in queries]  # type: ignore[misc]
    left = [i for i, ranking in enumerate(tried) if ranking is None]
    rest = iter(near(queries[left], k, allow.all()) if left else [])
    return [next(rest) if ranking is None else ranking for ranking in tried]


def _words(moment: Moment, text: str, joined: Hybrid, k: int, allow: _Allowed | None) -> Ranking:
    """The k best allowed rows by their words."""
    if allow is not None:
        tried = allow.first(k, lambda wide: by_words(moment.db, text, wide, moment.common, title=joined.title))
        if tried is not None:
            return tried
    return by_words(moment.db, text, k, moment.common, title=joined.title, where=None if allow is None else allow.where)


def _diverse(moment: Moment, space: Space, answer: Answer, query: Vectors, question: Question) -> Answer:
    vectors = space.fetch(moment.db, [id_ for id_, _, _ in answer])
    known = [line for line in answer if line[0] in vectors]
    if not known or question.diversity is None:
        return answer
    rows = np.stack([vectors[id_] for id_, _, _ in known])
    relevance = similarity(query[None], rows, space.settings.metric)[0]
    order = spread(relevance, similarity(rows, rows, space.settings.metric), question.k, question.diversity)
    return [known[i] for i in order] + [line for line in answer if line[0] not in vectors]


def _explained(moment: Moment, space: Space, query: Vectors, text: str, answer: Answer, joined: Hybrid) -> Answer:
    """Each hit with what both sources say of it, also where they had not found it."""
    ids = [id_ for id_, _, _ in answer]
    vectors = space.fetch(moment.db, ids)
    words = by_words(moment.db, text, len(ids), moment.common, title=joined.title, where=table.with_ids(ids))
    bm25 = dict(zip(words.ids.tolist(), words.scores.tolist(), strict=True))
    lines: Answer = []
    for id_, score, said in answer:
        told = dict(said)
        if "dense" not in told and id_ in vectors:
            near = similarity(query[None], vectors[id_][None], space.settings.metric)[0, 0]
            told["dense"] = Source(0, float(near), 0.0)
        if "bm25" not in told and id_ in bm25:
            told["bm25"] = Source(0, bm25[id_], 0.0)
        lines.append((id_, score, told))
    return lines
