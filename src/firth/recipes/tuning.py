"""The build's tuning: hard negatives from the base model's own vectors, a few epochs, the best by the dev part kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from firth import kernels
from firth.arrays import NO_ID, Encoder, Ids, Neighbours
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Ranking
from firth.evaluate.records import Epoch, Step, Training
from firth.evaluate.retrieval import measure
from firth.index import Flat
from firth.recipes.base import Base
from firth.recipes.domain import Work
from firth.recipes.judged import Judged
from firth.recipes.load import load
from firth.recipes.sets import FEWEST_TO_TUNE
from firth.recipes.stages import Stages
from firth.sentence.mine import Mined, MineSettings, mine
from firth.text.records import Document, Judgements, Pair

if TYPE_CHECKING:
    from firth.recipes.build import Settings

CANDIDATES = 100  # nearest documents of a query that negatives are chosen from
RANDOM_SCORES = 2_000  # pairs of a query and any document, for the account of the scores
DEV_POOL = 30  # nearest documents of each dev query that are ranked anew each epoch, beside all dev answers
MAIN = "ndcg@10"


@dataclass(frozen=True)
class Tuned:
    """What tuning gave.

    Attributes:
        model: folder of the tuned model; None where nothing was tuned or nothing got better.
        digest: of everything that the model depends on.
        training: learning curve and dev scores; None where nothing was tuned.
        mining: counts of the candidates and of what each rule removed.
        notes: what a person should know.
    """

    model: Path | None
    digest: str
    training: Training | None
    mining: Mapping[str, int | float]
    notes: tuple[str, ...]


def tune(stages: Stages, base: Base, judged: Judged, work: Work, settings: Settings) -> Tuned:
    """Mine and tune, or say why not."""
    reason = _why_not(base, work, settings)
    if reason:
        return Tuned(None, "", None, {}, (reason,) if reason != "epochs" else ())
    assert base.folder is not None
    model = stages.folder / "tune" / "model"
    mined = stages.run("mine", {"seed": settings.seed}, lambda folder: _mine(judged, work, settings, folder))

    def go(folder: Path) -> dict[str, Any]:
        return _tune(base, judged, work, settings, stages.folder / "mine", folder)

    done = stages.run("tune", {"epochs": settings.epochs, "seed": settings.seed}, go)
    training = Training(
        steps=[Step(**step) for step in done["steps"]],
        epochs=[Epoch(**epoch) for epoch in done["epochs"]],
        best=done["best"],
        measure=MAIN,
    )
    if done["best"] == 0:
        note = f"tuning did not help on {len(work.sets.dev):,} dev queries; the base model was kept"
        return Tuned(None, stages.digest, training, mined["counts"], (note,))
    return Tuned(model, stages.digest, training, mined["counts"], tuple(done["notes"]))


def positives(judged: Judged, part: Judgements) -> Neighbours:
    """(q, p) rows and scores of each query's relevant documents, in the order of `part`."""
    row = {id_: i for i, id_ in enumerate(judged.documents.ids)}
    answers = [[row[id_] for id_, grade in found.items() if grade > 0] for found in part.values()]
    ids = np.full((len(answers), max(map(len, answers))), NO_ID, np.int64)
    for i, rows in enumerate(answers):
        ids[i, : len(rows)] = rows
    return Neighbours(ids, kernels.scores(judged.vectors_of(part), judged.documents.vectors, ids))


def hard_negatives(
    judged: Judged, part: Judgements, *, seed: int, threads: int, rules: MineSettings | None = None
) -> Mined:
    """Mine the base model's own mistakes for the queries of `part`."""
    vectors, queries = judged.documents.vectors, judged.vectors_of(part)
    near = Flat.build(vectors).search(queries, k=min(CANDIDATES, len(vectors)), threads=threads)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(vectors), (RANDOM_SCORES, 1))
    random = kernels.scores(queries[rng.integers(0, len(queries), RANDOM_SCORES)], vectors, drawn)
    return mine(near, positives(judged, part), rules or MineSettings(seed=seed), vectors=vectors, random_scores=random)


def pairs_of(part: Judgements, negatives: Ids, judged: Judged, work: Work) -> list[Pair]:
    """Each query with each of its answers and the negatives that were mined for it."""
    names = judged.documents.ids
    rows = {query: [names[j] for j in row if j != NO_ID] for query, row in zip(part, negatives.tolist(), strict=True)}
    named = {id_ for found in part.values() for id_ in found} | {id_ for ids in rows.values() for id_ in ids}
    texts = work.texts(named)
    return [
        Pair(work.queries[query], texts[id_].full, tuple(texts[other].full for other in rows[query]))
        for query, found in part.items()
        for id_, grade in found.items()
        if grade > 0
    ]


def _why_not(base: Base, work: Work, settings: Settings) -> str:
    if settings.epochs == 0:
        return "epochs"
    if base.folder is None or base.folder.is_file():
        return "word vectors are not tuned on pairs; they were trained on the documents"
    if len(work.sets.train) < FEWEST_TO_TUNE:
        return f"{len(work.sets.train):,} training queries are too few to tune on; {FEWEST_TO_TUNE} or more are needed"
    return ""


def _mine(judged: Judged, work: Work, settings: Settings, folder: Path) -> dict[str, Any]:
    mined = hard_negatives(judged, work.sets.train, seed=settings.seed, threads=settings.cores)
    np.save(folder / "negatives.npy", mined.negatives.ids)
    for line in mined.lines():
        settings.say(f"mine: {line}")
    counts = {"candidates": mined.candidates, "kept": int((mined.negatives.ids != NO_ID).sum()), **mined.removed}
    return {"counts": {**counts, "queries without any": len(mined.empty)}}


def _tune(base: Base, judged: Judged, work: Work, settings: Settings, mined: Path, folder: Path) -> dict[str, Any]:
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.tune import TuneSettings
    from firth.sentence.tune import tune as train

    assert base.folder is not None
    negatives = np.load(mined / "negatives.npy", allow_pickle=False)
    pairs = pairs_of(work.sets.train, negatives, judged, work)
    encoder = load(base.folder)
    assert isinstance(encoder, SentenceEncoder)
    with settings.bar("tuning") as progress:
        tuned = train(
            encoder,
            pairs,
            settings=TuneSettings(epochs=settings.epochs, seed=settings.seed),
            dev=dev_score(judged, work) if work.sets.dev else None,
            folder=folder / "checkpoints",
            progress=progress,
        )
    if tuned.epoch != 0:
        tuned.encoder.save(folder / "model")
    return {
        "steps": [{"step": point.step, "loss": point.loss} for point in tuned.curve if point.loss is not None],
        "epochs": [
            {"epoch": point.epoch, "step": point.step, "score": point.score}
            for point in tuned.curve
            if point.score is not None
        ],
        "best": tuned.epoch,
        "notes": [f"{len(pairs):,} pairs, {tuned.rows / max(tuned.seconds, 1e-9):,.0f} rows a second in tuning"],
    }


def dev_score(judged: Judged, work: Work) -> Callable[[Encoder], float]:
    """Score of an encoder on the dev queries, larger is better.

    Each epoch would be too dear over the whole corpus, so that a pool is ranked: the dev queries' answers and the
    documents that the base model puts nearest to them, which are those that an answer has to beat.
    """
    dev = work.sets.dev
    near = Flat.build(judged.documents.vectors).search(judged.vectors_of(dev), k=min(DEV_POOL, len(judged.documents)))
    names = judged.documents.ids
    pool = {names[j] for row in near.ids.tolist() for j in row if j != NO_ID}
    pool |= {id_ for found in dev.values() for id_, grade in found.items() if grade > 0}
    texts: dict[str, Document] = work.texts(pool)
    ids, queries = list(texts), list(dev)

    def score(encoder: Encoder) -> float:
        documents = encoder.encode([document.full for document in texts.values()], kind="document")
        asked = encoder.encode([work.queries[query] for query in queries], kind="query")
        found = nearest(asked, [documents], min(10, len(ids)))
        return measure(Ranking(queries, ids, found), dev, [MAIN]).mean[MAIN]

    return score
