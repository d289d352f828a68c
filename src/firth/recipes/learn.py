"""`firth.tune`: mine hard negatives with the encoder's own vectors, then train on them.

encode the corpus -> nearest documents of each query -> mine -> tune -> the best weights by the dev part
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firth.arrays import Encoder
from firth.errors import SettingsError
from firth.progress import Progress, silent
from firth.recipes.heldout import apart, dev_score
from firth.recipes.negatives import Corpus, Judge, with_mined, with_random
from firth.recipes.trainable import trainable, usable
from firth.sentence.mine import MineSettings
from firth.text.records import Pair
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from firth.sentence.tune import Dev, Tuned, TuneSettings

SOURCES = ("mined", "refreshed", "random", "given")


def tune(
    encoder: Any,
    pairs: Iterable[Pair] = (),
    *,
    documents: Sequence[str] = (),
    negatives: str = "mined",
    settings: TuneSettings | None = None,
    mining: MineSettings | None = None,
    rerank: Judge | None = None,
    dev: TestSet | Dev | None = None,
    teacher: Encoder | None = None,
    folder: Path | str | None = None,
    spill: Path | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda _: None,
) -> Tuned[Any]:
    """Fine-tune an encoder on a domain's pairs, or on its texts alone.

    Args:
        encoder: a sentence encoder, whose weights are changed in place, or word vectors, which are given back anew.
        pairs: queries and what answers them; none for simcse and tsdae.
        documents: more texts of the domain, in which negatives are looked for beside the pairs' answers; what simcse
            and tsdae learn from.
        negatives: "mined" once by the encoder as it comes in; "refreshed" mined anew by the encoder as it is before
            each later epoch; "random" documents; "given", those that the pairs carry and no others.
        settings: how to train; None = what suits the kind of encoder.
        mining: which candidates are hard negatives.
        rerank: a better judge of mined candidates, for instance a cross-encoder: queries and documents, as many of
            one as of the other -> a score of each pair.
        dev: a test set that shares nothing with the pairs, or any score of an encoder; the best epoch by it is kept,
            or the old weights if none was better. A large test set is cut to the documents that matter.
        teacher: of the losses that learn from one.
        folder: where checkpoints are kept; an interrupted tuning goes on from there.
        spill: a folder for token ids: pairs are then streamed and need not fit into memory. Their negatives are those
            given.
        progress: told rows done, of encoding and of training.
        say: told, a line at a time, what was mined and what was left out.

    Returns:
        The encoder, its learning curve, and the dev scores before and after.

    Raises:
        DataError: no pairs, an empty text, or a dev part that overlaps the pairs; says how many.
        SettingsError: a setting out of range, or an encoder that cannot be trained.
        TrainingError: the loss is not a number.

    Example:
        >>> tuned = firth.tune(enc, pairs, documents=texts, dev=firth.TestSet.load("mine/", "dev"))  # doctest: +SKIP
        >>> f"{tuned.base:.3f} -> {tuned.best:.3f}"  # doctest: +SKIP
        '0.650 -> 0.694'
    """
    from firth.sentence.objectives import NEED_SCORES
    from firth.sentence.tune import UNSUPERVISED, TuneSettings
    from firth.sentence.tune import tune as train

    student, usual = trainable(encoder)
    settings = settings or TuneSettings(rate=usual.rate, epochs=usual.epochs)
    mining = mining or MineSettings(seed=settings.seed)
    _check(negatives, settings, spill)
    start: Iterable[Pair] = pairs
    mined: Callable[[Any, int], list[Pair]] | None = None
    if spill is None and settings.loss not in UNSUPERVISED:
        start = held = list(pairs)
        if isinstance(dev, TestSet):
            apart(held, dev)
        texts = tuple(dict.fromkeys([pair.positive for pair in held] + list(documents)))
        mined = _miner(held, texts, mining, rerank, say)
        if negatives == "random":
            start = with_random(held, texts, mining.negatives, mining.seed)
        elif negatives != "given" and settings.negatives and settings.loss not in NEED_SCORES:
            start = mined(student, 0)
    score = dev_score(dev, encoder) if isinstance(dev, TestSet) else dev
    tuned: Tuned[Any] = train(
        student,
        start,
        texts=documents,
        settings=settings,
        dev=score,
        teacher=teacher,
        refresh=mined if negatives == "refreshed" else None,
        folder=folder,
        spill=spill,
        progress=progress,
    )
    return replace(tuned, encoder=usable(tuned.encoder))


def _miner(
    pairs: Sequence[Pair],
    texts: tuple[str, ...],
    mining: MineSettings,
    rerank: Judge | None,
    say: Callable[[str], None],
) -> Callable[[Any, int], list[Pair]]:
    """Mines the pairs' negatives with an encoder as it is; several processes share the encoding."""
    from firth.sentence.shared import encode_shared

    def mined(now: Encoder, epoch: int) -> list[Pair]:
        vectors = encode_shared(lambda some: now.encode(some, kind="document"), list(texts))
        rules = replace(mining, seed=mining.seed + epoch)
        found, account = with_mined(pairs, Corpus(texts, vectors), now, rules, rerank=rerank)
        for line in account.lines():
            say(line)
        return found

    return mined


def _check(negatives: str, settings: TuneSettings, spill: Path | None) -> None:
    if negatives not in SOURCES:
        raise SettingsError(f"negatives: expected one of {', '.join(SOURCES)}, got {negatives!r}")
    if spill is not None and negatives != "given":
        raise SettingsError(
            f"negatives={negatives}: streamed pairs are never held together, so that nothing can be mined among them; "
            'take "given", and firth mine before where hard negatives are wanted'
        )
    if spill is not None and settings.loss in ("simcse", "tsdae"):
        raise SettingsError(f"{settings.loss} learns from texts, which are held; only pairs can be streamed")
