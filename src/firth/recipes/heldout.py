"""The dev part of a training: that it shares nothing with what is learnt, and what an encoder scores on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from firth.arrays import NO_ID, Encoder
from firth.errors import DataError
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Ranking
from firth.evaluate.retrieval import measure
from firth.text.records import Document, Judgements, Pair
from firth.text.testset import TestSet

MAIN = "ndcg@10"  # what a dev part is scored by
SPREAD = 0.15  # standard deviation of one query's change in nDCG@10 by tuning, measured on SciFact's test queries
DEV_POOL = 30  # nearest documents of each dev query that are ranked anew each epoch, beside all dev answers


def apart(pairs: Sequence[Pair], dev: TestSet) -> None:
    """Refuse a dev part that repeats training queries or their answers: it would praise what was learnt by heart.

    Raises:
        DataError: says how many, and the first.
    """
    queries = {_plain(pair.query) for pair in pairs}
    answers = {_plain(pair.positive) for pair in pairs}
    asked = [query for query in dev.judgements if _plain(dev.queries[query]) in queries]
    if asked:
        raise DataError(
            f"{len(asked):,} of {len(dev.judgements):,} dev queries are training queries too, the first is "
            f"{asked[0]!r}; hold other queries out"
        )
    found = {
        document
        for judged in dev.judgements.values()
        for document, grade in judged.items()
        if grade > 0 and document in dev.documents and _plain(dev.documents[document].full) in answers
    }
    if found:
        raise DataError(
            f"{len(found):,} relevant documents of the dev part answer training pairs too, the first is "
            f"{min(found)!r}; split by document"
        )


def dev_score(dev: TestSet, base: Encoder) -> Callable[[Encoder], float]:
    """nDCG@10 of an encoder on a dev part, over the documents that an answer has to beat.

    The whole corpus each epoch would be too dear. The pool is the dev queries' answers and the documents that the base
    model puts nearest to each of them.
    """
    judged = {query: found for query, found in dev.judgements.items() if any(grade > 0 for grade in found.values())}
    queries = list(judged)
    if not queries:
        raise DataError(f"none of {len(dev.judgements):,} dev queries has a relevant document")
    documents = list(dev.documents.values())
    asked = [dev.queries[query] for query in queries]
    if len(documents) > DEV_POOL * len(queries):
        vectors = base.encode([document.full for document in documents], kind="document")
        near = nearest(base.encode(asked, kind="query"), [vectors], DEV_POOL)
        kept = {documents[j].id for j in near.ids.ravel().tolist() if j != NO_ID}
        kept |= {document for found in judged.values() for document, grade in found.items() if grade > 0}
        documents = [document for document in documents if document.id in kept]
    return score_among(documents, dict(zip(queries, asked, strict=True)), judged)


def score_among(
    documents: Sequence[Document], asked: Mapping[str, str], judged: Judgements
) -> Callable[[Encoder], float]:
    """nDCG@10 of an encoder that ranks just these documents for the queries in `asked`."""
    queries = list(asked)
    ids, texts = [document.id for document in documents], [document.full for document in documents]

    def score(encoder: Encoder) -> float:
        vectors = encoder.encode(texts, kind="document")
        found = nearest(encoder.encode(list(asked.values()), kind="query"), [vectors], min(10, len(ids)))
        return measure(Ranking(queries, ids, found), judged, [MAIN]).mean[MAIN]

    return score


def doubt(queries: int) -> float:
    """One standard error of the dev score's change: a smaller loss on so many queries may well be chance."""
    return SPREAD / math.sqrt(max(1, queries))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
