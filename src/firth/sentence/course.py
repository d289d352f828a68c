"""What an encoder is tuned on: the examples, their batches and the loss of one, for as long as the tuning lasts.

A `Course` learns from pairs; that of texts alone stands in denoise.py. Both are what the training loop is handed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from firth.arrays import Encoder, Vectors
from firth.contextual.bert import BertSettings
from firth.errors import SettingsError
from firth.sentence.batches import Batch, Epoch
from firth.sentence.encoder import SentenceEncoder, batches
from firth.sentence.examples import Examples, Rows, examples, joined
from firth.sentence.large_batch import embed_in_pieces
from firth.sentence.objectives import IN_BATCH, Objective, classes, objective, teach
from firth.sentence.shared import embed_shared
from firth.text.records import Pair, Ragged

if TYPE_CHECKING:
    from firth.sentence.tune import TuneSettings

PIECE = 2048  # tokens embedded at once where a batch holds more than `whole` of them; 350 kB of activations a token
Refresh = Callable[[Any, int], Iterable[Pair]]


class Trainable(Protocol):
    """An encoder whose weights can be trained: `SentenceEncoder`, and `WordsEncoder` of word vectors."""

    module: Any  # a nn.Module with `width` and `rotate`

    @property
    def dims(self) -> int:
        """Width of the vectors."""

    @property
    def fingerprint(self) -> str:
        """Changes with the weights."""

    @property
    def prompts(self) -> dict[str, str]:
        """Text put before every text of a kind."""

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Prefixes whose quality was trained."""

    @trained_dims.setter
    def trained_dims(self, dims: Sequence[int]) -> None: ...

    def tokenize(self, texts: Sequence[str], kind: str | None = None) -> Ragged:
        """Token ids."""

    def embed(self, ragged: Ragged, kind: str | None = None) -> Tensor:
        """(n, width) unit rows with gradient."""

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """(n, dims) float32 unit rows."""


class Course:
    """Pairs as an encoder is taught them."""

    def __init__(
        self,
        encoder: Trainable,
        pairs: Iterable[Pair],
        settings: TuneSettings,
        teacher: Encoder | None = None,
        refresh: Refresh | None = None,
        spill: Path | None = None,
    ) -> None:
        self.encoder, self.settings, self.teacher = encoder, settings, teacher
        self.refresh, self.spill = refresh, spill
        self.module = nn.ModuleDict({"encoder": encoder.module})
        self.classifier: nn.Parameter | None = None
        self.found, self.objective = self.learn(pairs)
        self.first = self.drawn(0)

    @property
    def size(self) -> int:
        """Different pairs."""
        return len(self.found)

    @property
    def identity(self) -> str:
        """Digest of the pairs."""
        return self.found.identity

    def learn(self, pairs: Iterable[Pair]) -> tuple[Examples, Objective]:
        """The pairs as token ids, and the loss over them."""
        settings, width = self.settings, self.encoder.module.width
        with longest(self.encoder, settings.max_tokens):
            found = examples(pairs, self.encoder.tokenize, folder=self.spill)
        if settings.loss == "softmax" and self.classifier is None:
            random = torch.Generator().manual_seed(settings.seed)
            self.classifier = nn.Parameter(0.02 * torch.randn(classes(found), 3, width, generator=random))
            self.module.register_parameter("classifier", self.classifier)
        return found, objective(
            settings.objective,
            found,
            temperature=settings.temperature,
            margin=settings.margin,
            symmetric=settings.symmetric,
            dims=tuple(sorted({*settings.matryoshka, width})) if settings.matryoshka else (),
            teacher=None if self.teacher is None else teach(self.teacher, found, width, settings.loss),
            classifier=self.classifier,
        )

    def batches(self, epoch: int) -> Epoch:
        """Those of an epoch; with other negatives where they are refreshed."""
        if epoch and self.refresh is not None:
            self.found, self.objective = self.learn(self.refresh(self.encoder, epoch))
        return self.drawn(epoch) if epoch else self.first

    def drawn(self, epoch: int) -> Epoch:
        settings = self.settings
        return Epoch(
            self.found,
            batch=settings.batch,
            negatives=settings.negatives,
            seed=settings.seed,
            epoch=epoch,
            least=2 if settings.objective in IN_BATCH else 1,
        )

    def loss_of(self, batch: Batch) -> Tensor:
        """Of the whole batch, wherever its texts were embedded."""
        queries, documents = self.found.queries.take(batch.queries), self.found.documents.take(batch.documents)
        vectors = embed(self.encoder, queries, documents, self.settings.whole)
        # bfloat16 keeps 8 bits: too few for differences of cosines divided by 0.05.
        with torch.autocast(vectors.device.type, enabled=False):
            left, right = torch.split(vectors.to(at_least_float32(vectors)), [len(queries), len(documents)])
            return self.objective(batch, left, right)


def embed(encoder: Trainable, queries: Ragged, documents: Ragged, whole: int) -> Tensor:
    """(queries + documents, d) in one pass where that fits; in pieces of like length where it does not."""
    apart = isinstance(encoder, SentenceEncoder) and encoder.prompts and not encoder.settings.pooling.include_prompt
    groups = [(queries, "query"), (documents, "document")] if apart else [(joined(queries, documents), "document")]
    return torch.cat([_embed_kind(encoder, ragged, kind, whole) for ragged, kind in groups])


def _embed_kind(encoder: Trainable, ragged: Ragged, kind: str, whole: int) -> Tensor:
    def share(rows: Rows) -> Tensor:
        own = ragged.take(rows)
        if len(own.ids) <= whole:
            return encoder.embed(own, kind)
        parts = list(batches(own.lengths, PIECE))
        vectors = embed_in_pieces(
            lambda piece: encoder.embed(piece, kind),
            [own.take(part) for part in parts],
            list(encoder.module.parameters()),
        )
        return vectors[torch.from_numpy(np.argsort(np.concatenate(parts))).to(vectors.device)]

    return embed_shared(share, ragged.lengths)


def at_least_float32(vectors: Tensor) -> torch.dtype:
    """The type that a loss is computed in."""
    return torch.promote_types(vectors.dtype, torch.float32)


@contextmanager
def dropout(module: nn.Module, probability: float) -> Iterator[None]:
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
def longest(encoder: Trainable, tokens: int | None) -> Iterator[None]:
    """The encoder reads at most so many tokens, inside only.

    Raises:
        SettingsError: word vectors read texts of any length.
    """
    if tokens is None:
        yield
        return
    if not isinstance(encoder, SentenceEncoder):
        raise SettingsError(f"max_tokens={tokens}: word vectors read texts of any length; leave it out")
    kept = encoder.settings.max_tokens
    try:
        encoder.settings = replace(encoder.settings, max_tokens=min(tokens, encoder.max_tokens))
        yield
    finally:
        encoder.settings = replace(encoder.settings, max_tokens=kept)
