"""`firth.tune` and `firth tune DATA -o MODEL`: mine hard negatives with the encoder's own vectors, then train on them.

encode the corpus -> nearest documents of each query -> mine -> tune -> the best weights by the dev part
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from firth import kernels
from firth.arrays import NO_ID, Encoder, Ids, Neighbours, Vectors
from firth.errors import DataError, SettingsError
from firth.evaluate.exact import nearest
from firth.evaluate.judge import Report, evaluate
from firth.evaluate.ranking import Ranking
from firth.evaluate.retrieval import measure
from firth.index import Flat
from firth.progress import Progress, bar, silent
from firth.recipes.domain import read_domain
from firth.recipes.load import load
from firth.sentence.mine import Mined, MineSettings, mine
from firth.text.records import Document, Judgements, Pair
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from rich.console import Console

    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.tune import Dev, Tuned, TuneSettings

MAIN = "ndcg@10"  # what a dev part is scored by
CANDIDATES = 100  # nearest documents of a query that negatives are chosen from
RANDOM_SCORES = 2_000  # pairs of a query and any document, for the account of the scores
SPREAD = 0.15  # standard deviation of one query's change in nDCG@10 by tuning, measured on SciFact's test queries
DEV_POOL = 30  # nearest documents of each dev query that are ranked anew each epoch, beside all dev answers
SOURCES = ("mined", "refreshed", "random", "given")


@dataclass(frozen=True)
class Settings:
    """What `firth tune` learns from, and how; `TuneSettings` says more of each."""

    data: Annotated[Path, "Domain with judged training queries, or a table of pairs."]
    out: Annotated[Path, "-o", "Folder for the tuned model."]
    model: Annotated[str, "Model to start from."] = "sentence-transformers/all-MiniLM-L6-v2"
    epochs: Annotated[int, "Passes over the pairs."] = 1
    loss: Annotated[str, "Objective by name; docs/tuning.md says which for which data."] = "info_nce"
    negatives: Annotated[str, "mined, refreshed (anew each epoch), random, or given (those in the data)."] = "mined"
    matryoshka: Annotated[str, "Prefixes that shall be good vectors too, for instance 64,128,256."] = ""
    teacher: Annotated[str, "Model to distil from, for the losses that have one."] = ""
    batch: Annotated[int, "Pairs a step."] = 32
    rate: Annotated[float, "Highest learning rate."] = 3e-5
    seed: Annotated[int, "Of the order, the drawn parts and the negatives."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False


@dataclass(frozen=True)
class Learnt:
    """The tuned model's folder, how it was trained, and the test scores before and after where there are any."""

    out: Path
    tuned: Tuned
    before: Report | None
    after: Report | None

    def as_json(self) -> dict[str, Any]:
        told = {
            "out": str(self.out),
            "pairs": self.tuned.pairs,
            "epoch": self.tuned.epoch,
            "dev": {"base": self.tuned.base, "best": self.tuned.best},
            "rows_per_second": self.tuned.rows / max(self.tuned.seconds, 1e-9),
            "curve": [asdict(point) for point in self.tuned.curve],
        }
        if self.before and self.after:
            told["base"] = {name: asdict(value) for name, value in self.before.intervals.items()}
            told["tuned"] = {name: asdict(value) for name, value in self.after.intervals.items()}
            told["paired"] = {name: asdict(value) for name, value in self.after.against(self.before).items()}
        return told


def run(settings: Settings) -> Learnt:
    """Tune on the domain's training part, choose the epoch on its dev part, measure on its test part.

    Raises:
        DataError: no training pairs, or a fault in the data; ModelError: a model cannot be loaded.
        SettingsError: a setting out of range; TrainingError: the loss is not a number.
    """
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.tune import TuneSettings

    shown = not settings.quiet
    with bar("reading", shown=shown) as report:
        work = read_domain(settings.data, seed=settings.seed, progress=report)
    how = TuneSettings(
        loss=settings.loss,
        epochs=settings.epochs,
        batch=settings.batch,
        rate=settings.rate,
        seed=settings.seed,
        matryoshka=_numbers(settings.matryoshka),
        doubt=doubt(len(work.sets.dev)),
    )
    documents = {document.id: document for document in work.documents}
    pairs = [
        Pair(work.queries[query], documents[id_].full)
        for query, found in work.sets.train.items()
        for id_, grade in found.items()
        if grade > 0
    ]
    if not pairs:
        raise DataError("has no training pairs: qrels/train.tsv, or a table of question and answer", path=settings.data)
    encoder = load(settings.model, progress=shown)
    if not isinstance(encoder, SentenceEncoder):
        raise SettingsError(
            f"model {settings.model}: word vectors and ELMo are trained on raw text, not tuned on pairs"
        )
    dev, test = (TestSet(documents, work.queries, part) if part else None for part in (work.sets.dev, work.sets.test))
    before = evaluate(encoder, test, seed=settings.seed) if test else None
    with bar("tuning", shown=shown) as report:
        tuned = tune(
            encoder,
            pairs,
            documents=[document.full for document in documents.values()],
            negatives=settings.negatives,
            settings=how,
            dev=dev,
            teacher=load(settings.teacher, progress=shown) if settings.teacher else None,
            progress=report,
            say=lambda line: print(line, file=sys.stderr) if shown else None,
        )
    encoder.save(settings.out)
    return Learnt(settings.out, tuned, before, evaluate(encoder, test, seed=settings.seed) if test else None)


def show(learnt: Learnt, console: Console) -> None:
    """Dev and test scores before and after."""
    tuned = learnt.tuned
    if tuned.base is not None and tuned.best is not None:
        console.print(f"dev {MAIN} {tuned.base:.3f} -> {tuned.best:.3f} (epoch {tuned.epoch})")
    if learnt.before and learnt.after:
        for name, paired in learnt.after.against(learnt.before).items():
            before, after = learnt.before.intervals[name], learnt.after.intervals[name]
            console.print(f"{name:<14}{before} -> {after}  {paired.delta:+.3f}  p {paired.p:.4f}")
    console.print(f"{tuned.pairs:,} pairs, {tuned.rows / max(tuned.seconds, 1e-9):,.0f} rows/s; model in {learnt.out}")


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
    account = hard_negatives(queries, corpus.vectors, list(answers.values()), rules)
    hard = {
        query: tuple(corpus.texts[j] for j in found if j != NO_ID)
        for query, found in zip(answers, account.negatives.ids.tolist(), strict=True)
    }
    return [replace(pair, negatives=hard[pair.query]) for pair in pairs], account


def hard_negatives(
    queries: Vectors, vectors: Vectors, answers: Sequence[Sequence[int]], rules: MineSettings, *, threads: int = 1
) -> Mined:
    """Mine a model's own mistakes among its exact neighbours.

    Args:
        queries: (q, d) float32 unit rows.
        vectors: (n, d) float32 unit rows of the documents.
        answers: rows of the documents that answer each query; at least one each.
        rules: which candidates are hard negatives.
    """
    ids = np.full((len(answers), max(map(len, answers))), NO_ID, np.int64)
    for i, rows in enumerate(answers):
        ids[i, : len(rows)] = rows
    positives = Neighbours(ids, kernels.scores(queries, vectors, ids))
    near = Flat.build(vectors).search(queries, k=min(CANDIDATES, len(vectors)), threads=threads)
    random = np.random.default_rng(rules.seed)
    drawn: Ids = random.integers(0, len(vectors), (RANDOM_SCORES, 1))
    any_scores = kernels.scores(queries[random.integers(0, len(queries), RANDOM_SCORES)], vectors, drawn)
    return mine(near, positives, rules, vectors=vectors, random_scores=any_scores)


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


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(f"matryoshka: expected numbers divided by commas, got {text!r}") from error


def doubt(queries: int) -> float:
    """One standard error of the dev score's change: a smaller loss on so many queries may well be chance."""
    return SPREAD / math.sqrt(max(1, queries))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
