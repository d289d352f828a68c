"""tune: an encoder learns one domain's pairs, and is given back better or as it was.

Source: the recipe of Karpukhin et al. 2020 (DPR, arXiv:2004.04906) and NV-Retriever (arXiv:2407.15831): InfoNCE with
the batch's other answers and a few mined hard negatives of each query. The mix of tuned and old weights is LM-Cocktail
(Xiao et al. 2023, arXiv:2311.13534).
Where we differ: texts are packed without padding and a batch is one ragged pass; dropout is off unless asked for; the
weights that came in are a candidate too, so that a training which only harms is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firth.arrays import Encoder
from firth.contextual.bert import BertSettings
from firth.errors import SettingsError
from firth.fit import FitSettings, Fitted, Point, Task, fit
from firth.progress import Progress, silent
from firth.sentence.batches import Batch, Examples, epoch_batches, examples, joined
from firth.sentence.encoder import SentenceEncoder, batches
from firth.sentence.large_batch import embed_in_pieces
from firth.sentence.objectives import TEMPERATURE, Objective, classes, objective, teach
from firth.text.records import Pair, Ragged

Dev = Callable[[SentenceEncoder], float]
Refresh = Callable[[SentenceEncoder, int], Sequence[Pair]]
PIECE = 8192  # tokens embedded at once where a batch holds more than `whole` of them


@dataclass(frozen=True)
class TuneSettings:
    """How an encoder is tuned; docs/tuning.md says what each costs and how to choose it."""

    loss: str = "info_nce"  # see objectives; the page "which loss for which data" in docs/tuning.md
    batch: int = 32  # pairs; more give more negatives and take proportionally longer
    negatives: int = 2  # mined ones a pair and step, at most; drawn anew each epoch from those the pair has
    epochs: int = 1
    rate: float = 3e-5  # highest learning rate
    temperature: float = TEMPERATURE  # what cosines are divided by
    margin: float | None = None  # of triplet and contrastive; None = the loss's own
    symmetric: bool = False  # info_nce also from answer to query
    matryoshka: tuple[int, ...] = ()  # prefixes that shall be good vectors too, for instance 64, 128, 256
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
        if self.batch < 2 and self.loss == "info_nce":
            raise SettingsError(
                f"batch: info_nce needs the answers of other pairs, at least 2 a batch, got {self.batch}"
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
        self.fit  # noqa: B018  (its own checks)

    @property
    def fit(self) -> FitSettings:
        """The part that the training loop reads."""
        return FitSettings(
            **{field.name: getattr(self, field.name) for field in fields(FitSettings) if hasattr(self, field.name)}
        )


@dataclass(frozen=True)
class Tuned:
    """What tuning gave.

    Attributes:
        encoder: the one that came in, with its new weights.
        curve: the learning curve.
        best: dev score of the weights that are in the encoder now; None without a dev part.
        base: dev score of the weights that came in; None without a dev part.
        epoch: the epoch that was kept; 0 = the encoder is as it was.
        mix: share of tuned weights in it.
        pairs: different pairs learnt from.
        rows, seconds: pairs seen in all epochs, and how long it took.
    """

    encoder: SentenceEncoder
    curve: tuple[Point, ...]
    best: float | None
    base: float | None
    epoch: int | None
    mix: float
    pairs: int
    rows: int
    seconds: float


def tune(
    encoder: SentenceEncoder,
    pairs: Sequence[Pair],
    *,
    settings: TuneSettings | None = None,
    dev: Dev | None = None,
    teacher: Encoder | None = None,
    refresh: Refresh | None = None,
    folder: Path | str | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Train an encoder in place.

    Args:
        encoder: its weights are changed.
        pairs: what is learnt from.
        settings: how.
        dev: score of an encoder on a dev part that shares nothing with the pairs, larger is better. With it the best
            epoch is kept, or the old weights if none was better.
        teacher: of the losses that learn from one.
        refresh: asked before each later epoch, with the encoder as it is and the epoch's number, for the same pairs
            with other negatives. An epoch that is resumed in the middle is asked again, so that it is no longer the
            same to the bit.
        folder: where checkpoints are kept; an interrupted tuning goes on from there.
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
    with _dropout(encoder.module, settings.dropout):
        course = _Course(encoder, pairs, settings, teacher, refresh)
        task = Task(
            module=course.module,
            loss=course.loss_of,
            batches=course.batches,
            steps=len(course.first),
            rows=len,
            evaluate=None if dev is None else lambda: dev(encoder),
            identity=f"{course.found.identity} {_described(settings)} teacher={getattr(teacher, 'fingerprint', None)}",
        )
        before = {name: value.detach().clone() for name, value in encoder.module.state_dict().items()}
        fitted = fit(task, settings.fit, folder=folder, progress=progress)
    mix, best = _mixed(encoder, before, dev, settings, fitted)
    if settings.matryoshka and fitted.best_epoch != 0:
        encoder.trained_dims = settings.matryoshka
    base = next((point.score for point in fitted.curve if point.score is not None), None)
    return Tuned(
        encoder, fitted.curve, best, base, fitted.best_epoch, mix, len(course.found), fitted.rows, fitted.seconds
    )


class _Course:
    """What is learnt: the examples, their batches and the loss of one, for as long as the tuning lasts."""

    def __init__(
        self,
        encoder: SentenceEncoder,
        pairs: Sequence[Pair],
        settings: TuneSettings,
        teacher: Encoder | None,
        refresh: Refresh | None,
    ) -> None:
        self.encoder, self.settings, self.teacher, self.refresh = encoder, settings, teacher, refresh
        self.module = nn.ModuleDict({"encoder": encoder.module})
        self.classifier: nn.Parameter | None = None
        self.found, self.objective = self.learn(pairs)
        self.first = self.drawn(0)

    def learn(self, pairs: Sequence[Pair]) -> tuple[Examples, Objective]:
        """The pairs as token ids, and the loss over them."""
        settings, width = self.settings, self.encoder.module.width
        with _longest(self.encoder, settings.max_tokens):
            found = examples(pairs, self.encoder.tokenize)
        if settings.loss == "softmax" and self.classifier is None:
            random = torch.Generator().manual_seed(settings.seed)
            self.classifier = nn.Parameter(0.02 * torch.randn(classes(found), 3, width, generator=random))
            self.module.register_parameter("classifier", self.classifier)
        return found, objective(
            settings.loss,
            found,
            temperature=settings.temperature,
            margin=settings.margin,
            symmetric=settings.symmetric,
            dims=tuple(sorted({*settings.matryoshka, width})) if settings.matryoshka else (),
            teacher=None if self.teacher is None else teach(self.teacher, pairs, width, settings.loss),
            classifier=self.classifier,
        )

    def batches(self, epoch: int) -> list[Batch]:
        """Those of an epoch; with other negatives where they are refreshed."""
        if epoch and self.refresh is not None:
            self.found, self.objective = self.learn(self.refresh(self.encoder, epoch))
        return self.drawn(epoch) if epoch else self.first

    def drawn(self, epoch: int) -> list[Batch]:
        settings = self.settings
        made = epoch_batches(
            self.found, batch=settings.batch, negatives=settings.negatives, seed=settings.seed, epoch=epoch
        )
        # A batch of one pair without negatives has nothing to tell its answer from.
        alone = settings.loss == "info_nce"
        return [batch for batch in made if not (alone and len(batch.documents) < 2)]

    def loss_of(self, batch: Batch) -> Tensor:
        queries, documents = self.found.queries.take(batch.queries), self.found.documents.take(batch.documents)
        vectors = _embed(self.encoder, queries, documents, self.settings.whole)
        # bfloat16 keeps 8 bits: too few for differences of cosines divided by 0.05.
        with torch.autocast(vectors.device.type, enabled=False):
            left, right = torch.split(vectors.to(_at_least_float32(vectors)), [len(queries), len(documents)])
            return self.objective(batch, left, right)


def _embed(encoder: SentenceEncoder, queries: Ragged, documents: Ragged, whole: int) -> Tensor:
    """(queries + documents, d) in one pass where that fits; in pieces of like length where it does not."""
    apart = bool(encoder.prompts) and not encoder.settings.pooling.include_prompt
    groups = [(queries, "query"), (documents, "document")] if apart else [(joined(queries, documents), "document")]
    found = []
    for ragged, kind in groups:
        if len(ragged.ids) <= whole:
            found.append(encoder.embed(ragged, kind))
            continue
        rows = list(batches(ragged.lengths, PIECE))
        vectors = embed_in_pieces(
            lambda piece, kind=kind: encoder.embed(piece, kind),  # type: ignore[misc]
            [ragged.take(part) for part in rows],
            list(encoder.module.parameters()),
        )
        found.append(vectors[torch.from_numpy(np.argsort(np.concatenate(rows)))])
    return torch.cat(found)


def _mixed(
    encoder: SentenceEncoder,
    before: dict[str, Tensor],
    dev: Dev | None,
    settings: TuneSettings,
    fitted: Fitted,
) -> tuple[float, float | None]:
    """Try the mixes on dev and leave the best weights in the encoder; returns its share of tuned weights and score."""
    best, share = fitted.best_score, 1.0
    if dev is None or fitted.best_epoch == 0:
        return share, best
    tuned = {name: value.detach().clone() for name, value in encoder.module.state_dict().items()}

    def put(mix: float) -> None:
        mixed = {
            name: torch.lerp(before[name], tuned[name], mix) if tuned[name].is_floating_point() else tuned[name]
            for name in tuned
        }
        encoder.module.load_state_dict(mixed)

    for mix in settings.mixes:
        put(mix)
        score = dev(encoder)
        if best is None or score > best:
            share, best = mix, score
    put(share)
    return share, best


def _at_least_float32(vectors: Tensor) -> torch.dtype:
    return torch.promote_types(vectors.dtype, torch.float32)


def _described(settings: TuneSettings) -> str:
    """What decides the weights that come out, besides what `fit` compares itself."""
    told = asdict(replace(settings, checkpoint_seconds=0.0, mixes=()))
    return " ".join(f"{name}={value}" for name, value in sorted(told.items()))


@contextmanager
def _dropout(module: nn.Module, probability: float) -> Iterator[None]:
    """The dropout that is asked for instead of the published one, inside only."""
    parts: list[Any] = [part for part in module.modules() if isinstance(getattr(part, "settings", None), BertSettings)]
    kept = [part.settings for part in parts]
    try:
        for part, old in zip(parts, kept, strict=True):
            part.settings = replace(old, dropout=probability, attention_dropout=probability)
        yield
    finally:
        for part, old in zip(parts, kept, strict=True):
            part.settings = old
        module.eval()


@contextmanager
def _longest(encoder: SentenceEncoder, tokens: int | None) -> Iterator[None]:
    """The encoder reads at most so many tokens, inside only."""
    kept = encoder.settings.max_tokens
    try:
        if tokens is not None:
            encoder.settings = replace(encoder.settings, max_tokens=min(tokens, encoder.max_tokens))
        yield
    finally:
        encoder.settings = replace(encoder.settings, max_tokens=kept)
