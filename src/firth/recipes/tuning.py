"""The build's tuning: hard negatives from the base model's own vectors, a few epochs, the best by the dev part kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from firth.arrays import NO_ID, Encoder, Ids
from firth.evaluate.records import Epoch, Step, Training
from firth.index import Flat
from firth.recipes.base import WORDS_FILE, Base
from firth.recipes.domain import Work
from firth.recipes.heldout import DEV_POOL, MAIN, doubt, score_among
from firth.recipes.judged import Judged
from firth.recipes.load import load
from firth.recipes.negatives import hard_negatives
from firth.recipes.sets import FEWEST_TO_TUNE
from firth.recipes.stages import Stages
from firth.recipes.trainable import save_tuned, trainable
from firth.sentence.mine import Mined, MineSettings
from firth.text.records import Judgements, Pair

if TYPE_CHECKING:
    from firth.recipes.build import Settings


SURE = 0.05  # probability of chance below which a loss on the test queries costs the tuned model its place


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
    if settings.epochs == 0:
        return Tuned(None, "", None, {}, ())
    if reason := _why_not(base, work):
        return Tuned(None, "", None, {}, (reason,))
    start = base.folder or stages.folder / "base" / WORDS_FILE
    mined = stages.run("mine", {"seed": settings.seed}, lambda folder: _mine(judged, work, settings, folder))

    def go(folder: Path) -> dict[str, Any]:
        return _tune(start, judged, work, settings, stages.folder / "mine", folder)

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
    model = stages.folder / "tune" / done["model"]
    return Tuned(model, stages.digest, training, mined["counts"], tuple(done["notes"]))


def kept(tuned: Tuned, before: Judged, after: Judged, work: Work, seed: int) -> Tuned:
    """What was tuned, or nothing where the test queries say that it came out worse.

    Of queries that people asked, a loss counts that chance does not explain; of drafted ones any, since pairs that
    nobody asked for are no reason to change a model.
    """
    if before.scores is None or after.scores is None:
        return tuned
    change = after.scores.against(before.scores, seed)[MAIN]
    if change.delta >= 0 or (change.p >= SURE and not work.answers):
        return tuned
    note = (
        f"the tuned model came out worse on {len(work.sets.test):,} test queries ({MAIN} {change.delta:+.3f}, "
        f"p {change.p:.3f}); the base model was kept"
    )
    return replace(tuned, model=None, notes=(*tuned.notes, note))


def mined_for(judged: Judged, part: Judgements, rules: MineSettings, *, threads: int) -> Mined:
    """Mine the model's own mistakes for the queries of `part`, in its order."""
    row = {id_: i for i, id_ in enumerate(judged.documents.ids)}
    answers = [[row[id_] for id_, grade in found.items() if grade > 0] for found in part.values()]
    return hard_negatives(judged.vectors_of(part), judged.documents.vectors, answers, rules, threads=threads)


def pairs_of(part: Judgements, negatives: Ids, judged: Judged, work: Work) -> list[Pair]:
    """Each query with each of its answers and the negatives that were mined for it."""
    names = judged.documents.ids
    rows = {query: [names[j] for j in row if j != NO_ID] for query, row in zip(part, negatives.tolist(), strict=True)}
    named = {id_ for found in part.values() for id_ in found} | {id_ for ids in rows.values() for id_ in ids}
    texts = work.texts(named)
    return [
        Pair(
            work.queries[query],
            work.answers.get(query, texts[id_].full),
            tuple(texts[other].full for other in rows[query]),
        )
        for query, found in part.items()
        for id_, grade in found.items()
        if grade > 0
    ]


def _why_not(base: Base, work: Work) -> str:
    words = base.folder is None or base.folder.is_file()
    if words and find_spec("torch") is None:
        return "word vectors are tuned with torch, which is not installed: pip install 'firth[torch]'"
    if len(work.sets.train) < FEWEST_TO_TUNE:
        return f"{len(work.sets.train):,} training queries are too few to tune on; {FEWEST_TO_TUNE} or more are needed"
    return ""


def _mine(judged: Judged, work: Work, settings: Settings, folder: Path) -> dict[str, Any]:
    mined = mined_for(judged, work.sets.train, MineSettings(seed=settings.seed), threads=settings.cores)
    np.save(folder / "negatives.npy", mined.negatives.ids)
    for line in mined.lines():
        settings.say(f"mine: {line}")
    counts = {"candidates": mined.candidates, "kept": int((mined.negatives.ids != NO_ID).sum()), **mined.removed}
    return {"counts": {**counts, "queries without any": len(mined.empty)}}


def _tune(start: Path, judged: Judged, work: Work, settings: Settings, mined: Path, folder: Path) -> dict[str, Any]:
    from firth.sentence.tune import TuneSettings
    from firth.sentence.tune import tune as train

    negatives = np.load(mined / "negatives.npy", allow_pickle=False)
    pairs = pairs_of(work.sets.train, negatives, judged, work)
    encoder, usual = trainable(load(start))
    # Made pairs have to earn their keep; judged ones are given the benefit of the doubt.
    allowed = 0.0 if work.answers else doubt(len(work.sets.dev))
    how = TuneSettings(epochs=settings.epochs * usual.epochs, rate=usual.rate, seed=settings.seed, doubt=allowed)
    with settings.bar("tuning") as progress:
        tuned = train(
            encoder,
            pairs,
            settings=how,
            dev=dev_score(judged, work) if work.sets.dev else None,
            folder=folder / "checkpoints",
            progress=progress,
        )
    return {
        "steps": [{"step": point.step, "loss": point.loss} for point in tuned.curve if point.loss is not None],
        "epochs": [
            {"epoch": point.epoch, "step": point.step, "score": point.score}
            for point in tuned.curve
            if point.score is not None
        ],
        "best": tuned.epoch,
        "model": "" if tuned.epoch == 0 else save_tuned(encoder, folder).name,
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
    return score_among(list(work.texts(pool).values()), {query: work.queries[query] for query in dev}, dev)
