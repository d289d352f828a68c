"""tune: an encoder learns one domain's pairs, and is given back better or as it was.

Source: the recipe of Karpukhin et al. 2020 (DPR, arXiv:2004.04906) and NV-Retriever (arXiv:2407.15831): InfoNCE with
the batch's other answers and a few mined hard negatives of each query. The mix of tuned and old weights is LM-Cocktail
(Xiao et al. 2023, arXiv:2311.13534).
Where we differ: texts are packed without padding and a batch is one ragged pass; dropout is off unless asked for; the
weights that came in are a candidate too, so that a training which only harms is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from firth.arrays import Encoder
from firth.errors import SettingsError
from firth.fit import FitSettings, Fitted, Point, Task, fit
from firth.progress import Progress, silent
from firth.sentence.axes import domain_axes, prefix_axes
from firth.sentence.course import Course, Refresh, Trainable, dropout
from firth.sentence.denoise import Denoising
from firth.sentence.objectives import IN_BATCH, TEMPERATURE
from firth.sentence.shared import agree
from firth.sentence.words import RowAdagrad, WordsEncoder
from firth.text.records import Pair

E = TypeVar("E", bound=Trainable)
Dev = Callable[[Any], float]
UNSUPERVISED = ("simcse", "tsdae")  # learn from texts alone
TWIN_DROPOUT = 0.1  # of SimCSE, where it is all that tells a text's two vectors apart


@dataclass(frozen=True)
class TuneSettings:
    """How an encoder is tuned; docs/tuning.md says what each costs and how to choose it."""

    loss: str = "info_nce"  # see objectives, or simcse and tsdae; "which loss for which data" in docs/tuning.md
    batch: int = 32  # pairs; more give more negatives and take proportionally longer
    negatives: int = 2  # mined ones a pair and step, at most; drawn anew each epoch from those the pair has
    epochs: int = 1
    rate: float = 3e-5  # highest learning rate
    temperature: float = TEMPERATURE  # what cosines are divided by
    margin: float | None = None  # of triplet and contrastive; None = the loss's own
    symmetric: bool = False  # info_nce also from answer to query
    matryoshka: tuple[int, ...] = ()  # prefixes that shall be good vectors too, for instance 64, 128, 256
    rotate: bool = True  # with prefixes: turn the vectors before and after onto axes that suit them, see axes.py
    max_tokens: int | None = None  # cut training documents; None = what the encoder reads
    dropout: float = 0.0
    mixes: tuple[float, ...] = ()  # shares of tuned weights tried on dev beside 1, the rest being the old weights
    whole: int = 32_768  # tokens; a batch of more is embedded in pieces, in little memory and with one more pass
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    clip: float = 1.0  # longest gradient
    precision: str = "auto"  # bfloat16 where the processor has it, else float32
    doubt: float = 0.0  # keep what was learnt unless dev is lower by more than this, which so few queries can show
    patience: int = 0  # epochs without a better dev score after which to stop; 0 = all epochs
    checkpoint_seconds: float = 60.0
    seed: int = 0  # of order, negatives drawn, dropout

    def __post_init__(self) -> None:
        if self.batch < 2 and self.objective in IN_BATCH:
            raise SettingsError(
                f"batch: {self.loss} needs the answers of other pairs, at least 2 a batch, got {self.batch}"
            )
        if self.batch < 1 or self.negatives < 0:
            raise SettingsError(
                f"batch and negatives: expected at least 1 and 0, got {self.batch} and {self.negatives}"
            )
        if self.temperature <= 0:
            raise SettingsError(f"temperature: expected a positive number, got {self.temperature}")
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"dropout: expected a probability below 1, got {self.dropout}")
        if any(not 0 < mix < 1 for mix in self.mixes):
            raise SettingsError(f"mixes: expected shares between 0 and 1, got {list(self.mixes)}")
        if self.matryoshka and self.loss == "tsdae":
            raise SettingsError(f"matryoshka: tsdae repairs texts by whole vectors, not by {list(self.matryoshka)}")
        self.fit  # noqa: B018  (its own checks)

    @property
    def objective(self) -> str:
        """The loss over vectors: SimCSE is InfoNCE over pairs of a text and itself."""
        return "info_nce" if self.loss == "simcse" else self.loss

    @property
    def fit(self) -> FitSettings:
        """The part that the training loop reads."""
        return FitSettings(
            **{field.name: getattr(self, field.name) for field in fields(FitSettings) if hasattr(self, field.name)}
        )

    @property
    def rotated(self) -> bool:
        """Whether vectors are turned; those that shall become a teacher's have the teacher's axes."""
        return self.rotate and bool(self.matryoshka) and self.loss != "vector_mse"

    @property
    def falling(self) -> float:
        """The dropout that is used: SimCSE cannot do without."""
        return self.dropout or (TWIN_DROPOUT if self.loss == "simcse" else 0.0)


@dataclass(frozen=True)
class Tuned(Generic[E]):
    """What tuning gave.

    Attributes:
        encoder: the one that came in, with its new weights.
        curve: the learning curve.
        best: dev score of the weights that are in the encoder now; None without a dev part.
        base: dev score of the weights that came in; None without a dev part.
        epoch: the epoch that was kept; 0 = the encoder is as it was.
        mix: share of tuned weights in it.
        mixes: dev score of each share that was tried.
        pairs: different pairs learnt from, or texts.
        rows, seconds: pairs seen in all epochs, and how long it took.
    """

    encoder: E
    curve: tuple[Point, ...]
    best: float | None
    base: float | None
    epoch: int | None
    mix: float
    mixes: dict[float, float]
    pairs: int
    rows: int
    seconds: float


def tune(
    encoder: E,
    pairs: Iterable[Pair],
    *,
    texts: Iterable[str] = (),
    settings: TuneSettings | None = None,
    dev: Dev | None = None,
    teacher: Encoder | None = None,
    refresh: Refresh | None = None,
    folder: Path | str | None = None,
    spill: Path | None = None,
    progress: Progress = silent,
) -> Tuned[E]:
    """Train an encoder in place.

    Args:
        encoder: its weights are changed. Under torchrun each process gives its own copy of the same one.
        pairs: what is learnt from; read once, a piece at a time.
        texts: what simcse and tsdae learn from, in place of pairs.
        settings: how.
        dev: score of an encoder on a dev part that shares nothing with the pairs, larger is better. With it the best
            epoch is kept, or the old weights if none was better.
        teacher: of the losses that learn from one.
        refresh: asked before each later epoch, with the encoder as it is and the epoch's number, for the same pairs
            with other negatives. An epoch that is resumed in the middle is asked again, so that it is no longer the
            same to the bit.
        folder: where checkpoints are kept; an interrupted tuning goes on from there.
        spill: a folder for the pairs' token ids, for pairs that do not fit into memory.
        progress: told pairs done, pairs in all, loss and score.

    Returns:
        The encoder and how it came about.

    Raises:
        DataError: no pairs, an empty text, or pairs that lack what the loss needs.
        SettingsError: a setting out of range, a loss without its teacher, or a checkpoint of another training.
        ShapeError: the teacher has another width than a loss can use.
        TrainingError: the loss is not a number.
    """
    settings = settings or TuneSettings()
    if isinstance(encoder, WordsEncoder) and settings.falling:
        raise SettingsError(
            f"{settings.loss} with dropout {settings.falling}: word vectors have none; it needs a transformer"
        )
    with dropout(encoder.module, settings.falling):
        course = _course(encoder, pairs, texts, settings, teacher, refresh, spill)
        take_back = _turned(encoder, course, settings)
        agree(encoder.module)
        task: Task[Any] = Task(
            module=course.module,
            loss=course.loss_of,
            batches=course.batches,
            steps=len(course.first),
            rows=len,
            evaluate=None if dev is None else lambda: dev(encoder),
            identity=f"{course.identity} {_described(settings)} teacher={getattr(teacher, 'fingerprint', None)}",
            together=True,
        )
        if isinstance(encoder, WordsEncoder):
            task = replace(task, optimizer=RowAdagrad)
        before = {name: value.detach().clone() for name, value in encoder.module.state_dict().items()}
        fitted = fit(task, settings.fit, folder=folder, progress=progress)
    mix, best, tried = _mixed(encoder, before, dev, settings, fitted)
    if fitted.best_epoch == 0:
        take_back()
    elif settings.matryoshka:
        if settings.rotated and isinstance(course, Course):
            encoder.module.rotate(prefix_axes(encoder, course.found, settings.matryoshka, settings.seed, progress))
            agree(encoder.module)
        encoder.trained_dims = settings.matryoshka
    return Tuned(
        encoder,
        fitted.curve,
        best,
        base=next((point.score for point in fitted.curve if point.score is not None), None),
        epoch=fitted.best_epoch,
        mix=mix,
        mixes=tried,
        pairs=course.size,
        rows=fitted.rows,
        seconds=fitted.seconds,
    )


def _course(
    encoder: Trainable,
    pairs: Iterable[Pair],
    texts: Iterable[str],
    settings: TuneSettings,
    teacher: Encoder | None,
    refresh: Refresh | None,
    spill: Path | None,
) -> Course | Denoising:
    if settings.loss == "tsdae":
        return Denoising(encoder, texts, settings)
    if settings.loss == "simcse":
        pairs = (Pair(text, text) for text in texts)
    return Course(encoder, pairs, settings, teacher, refresh, spill)


def _turned(encoder: Trainable, course: Course | Denoising, settings: TuneSettings) -> Callable[[], None]:
    """Turn the vectors onto the domain's axes where that is asked for; returns what takes it back."""
    if not settings.rotated or not isinstance(course, Course):
        return lambda: None
    take_back: Callable[[], None] = encoder.module.rotate(domain_axes(encoder, course.found, settings.seed))
    return take_back


def _mixed(
    encoder: Trainable,
    before: dict[str, Tensor],
    dev: Dev | None,
    settings: TuneSettings,
    fitted: Fitted,
) -> tuple[float, float | None, dict[float, float]]:
    """Try the mixes on dev and leave the best weights in the encoder; its share of tuned weights, score, all scores."""
    best, share = fitted.best_score, 1.0
    tried = {} if best is None else {share: best}
    if dev is None or fitted.best_epoch == 0:
        return share, best, tried
    tuned = {name: value.detach().clone() for name, value in encoder.module.state_dict().items()}

    def put(mix: float) -> None:
        mixed = {
            name: torch.lerp(before[name], tuned[name], mix) if tuned[name].is_floating_point() else tuned[name]
            for name in tuned
        }
        encoder.module.load_state_dict(mixed)

    for mix in settings.mixes:
        put(mix)
        score = tried[mix] = dev(encoder)
        if best is None or score > best:
            share, best = mix, score
    put(share)
    return share, best, tried


def _described(settings: TuneSettings) -> str:
    """What decides the weights that come out, besides what `fit` compares itself."""
    told = asdict(replace(settings, checkpoint_seconds=0.0, mixes=()))
    return " ".join(f"{name}={value}" for name, value in sorted(told.items()))
