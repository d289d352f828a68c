"""`firth.tune`: mine hard negatives for pairs with the encoder's own vectors, then train it on them.

encode the corpus -> nearest documents of each query -> mine -> tune -> the best weights by the dev part
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from firth import kernels
from firth.arrays import NO_ID, Encoder, Ids, Neighbours, Vectors
from firth.errors import DataError, SettingsError
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Ranking
from firth.evaluate.retrieval import measure
from firth.index import Flat
from firth.progress import Progress, silent
from firth.sentence.mine import Mined, MineSettings, mine
from firth.text.records import Document, Pair
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.tune import Dev, Tuned, TuneSettings

MAIN = "ndcg@10"  # what a dev part is scored by
CANDIDATES = 100  # nearest documents of a query that negatives are chosen from
RANDOM_SCORES = 2_000  # pairs of a query and any document, for the account of the scores
DEV_POOL = 30  # nearest documents of each dev query that are ranked anew each epoch, beside all dev answers
SOURCES = ("mined", "refreshed", "random", "given")


@dataclass(frozen=True)
class Corpus:
    """Different texts and their vectors: what negatives are mined from."""

    texts: tuple[str, ...]
    vectors: Vectors


def tune(
    encoder: SentenceEncoder,
    pairs: Sequence[Pair],
    *,
    documents: Sequence[str] = (),
    negatives: str = "mined",
    settings: TuneSettings | None = None,
    mining: MineSettings | None = None,
    dev: TestSet | Dev | None = None,
    teacher: Encoder | None = None,
    folder: Path | str | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Fine-tune an encoder on a domain's pairs, in place.

    Args:
        encoder: its weights are changed.
        pairs: queries and what answers them.
        documents: more texts of the domain, in which negatives are looked for beside the pairs' answers.
        negatives: "mined" once by the encoder as it comes in; "refreshed" mined anew by the encoder as it is before
            each later epoch; "random" documents; "given", those that the pairs carry and no others.
        settings: how to train.
        mining: which candidates are hard negatives.
        dev: a test set that shares nothing with the pairs, or any score of an encoder; the best epoch by it is kept,
            or the old weights if none was better. A large test set is cut to the documents that matter.
        teacher: of the losses that learn from one.
        folder: where checkpoints are kept; an interrupted tuning goes on from there.
        progress: told rows done, of encoding and of training.
        say: told, a line at a time, what was mined and what was left out.

    Returns:
        The encoder, its learning curve, and the dev scores before and after.

    Raises:
        DataError: no pairs, an empty text, or a dev part that overlaps the pairs; says how many.
        SettingsError: a setting out of range.
        TrainingError: the loss is not a number.

    Example:
        >>> tuned = firth.tune(enc, pairs, documents=texts, dev=firth.TestSet.load("mine/", "dev"))  # doctest: +SKIP
        >>> f"{tuned.base:.3f} -> {tuned.best:.3f}"  # doctest: +SKIP
        '0.650 -> 0.694'
    """
    from firth.sentence.tune import TuneSettings
    from firth.sentence.tune import tune as train

    settings = settings or TuneSettings()
    mining = mining or MineSettings(seed=settings.seed)
    if negatives not in SOURCES:
        raise SettingsError(f"negatives: expected one of {', '.join(SOURCES)}, got {negatives!r}")
    if isinstance(dev, TestSet):
        apart(pairs, dev)
    texts = tuple(dict.fromkeys([pair.positive for pair in pairs] + list(documents)))

    def mined(now: Encoder, epoch: int) -> list[Pair]:
        corpus = Corpus(texts, now.encode(list(texts), kind="document"))
        found, account = with_mined(pairs, corpus, now, replace(mining, seed=mining.seed + epoch))
        for line in account.lines():
            say(line)
        return found

    start: Sequence[Pair] = pairs
    if negatives == "random":
        start = with_random(pairs, texts, mining.negatives, mining.seed)
    elif negatives != "given" and settings.negatives:
        start = mined(encoder, 0)
    return train(
        encoder,
        start,
        settings=settings,
        dev=dev_score(dev, encoder) if isinstance(dev, TestSet) else dev,
        teacher=teacher,
        refresh=mined if negatives == "refreshed" else None,
        folder=folder,
        progress=progress,
    )


def with_mined(
    pairs: Sequence[Pair], corpus: Corpus, encoder: Encoder, rules: MineSettings
) -> tuple[list[Pair], Mined]:
    """The pairs with hard negatives in place of those that they had, and the account of the mining.

    Args:
        pairs: every positive is one of the corpus's texts.
        corpus: different texts with vectors of `encoder`.
        encoder: encodes the queries.
        rules: which candidates are hard negatives.
    """
    row = {text: i for i, text in enumerate(corpus.texts)}
    answers: dict[str, list[int]] = {}
    for pair in pairs:
        rows = answers.setdefault(pair.query, [])
        if row[pair.positive] not in rows:
            rows.append(row[pair.positive])
    queries = encoder.encode(list(answers), kind="query")
    ids = np.full((len(answers), max(map(len, answers.values()))), NO_ID, np.int64)
    for i, rows in enumerate(answers.values()):
        ids[i, : len(rows)] = rows
    positives = Neighbours(ids, kernels.scores(queries, corpus.vectors, ids))
    near = Flat.build(corpus.vectors).search(queries, k=min(CANDIDATES, len(corpus.texts)))
    random = np.random.default_rng(rules.seed)
    drawn: Ids = random.integers(0, len(corpus.texts), (RANDOM_SCORES, 1))
    any_scores = kernels.scores(queries[random.integers(0, len(queries), RANDOM_SCORES)], corpus.vectors, drawn)
    account = mine(near, positives, rules, vectors=corpus.vectors, random_scores=any_scores)
    hard = {
        query: tuple(corpus.texts[j] for j in found if j != NO_ID)
        for query, found in zip(answers, account.negatives.ids.tolist(), strict=True)
    }
    return [replace(pair, negatives=hard[pair.query]) for pair in pairs], account


def with_random(pairs: Sequence[Pair], texts: Sequence[str], count: int, seed: int) -> list[Pair]:
    """The pairs with `count` documents drawn from all, answers of the same query left out."""
    random = np.random.default_rng(seed)
    answers: dict[str, set[str]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).add(pair.positive)
    drawn = random.integers(0, len(texts), (len(pairs), count))
    return [
        replace(pair, negatives=tuple(t for t in (texts[j] for j in row) if t not in answers[pair.query]))
        for pair, row in zip(pairs, drawn.tolist(), strict=True)
    ]


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
    return _score(queries, asked, documents, judged)


def _score(
    queries: list[str], asked: list[str], documents: list[Document], judged: dict[str, dict[str, float]]
) -> Callable[[Encoder], float]:
    ids, texts = [document.id for document in documents], [document.full for document in documents]

    def score(encoder: Encoder) -> float:
        vectors = encoder.encode(texts, kind="document")
        found = nearest(encoder.encode(asked, kind="query"), [vectors], min(10, len(ids)))
        return measure(Ranking(queries, ids, found), judged, [MAIN]).mean[MAIN]

    return score


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
