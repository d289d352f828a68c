"""How BERT and ELMo are trained from raw text: every setting of both, once, for the library and the command line.

Without torch, so that `firth pretrain --help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

from firth.errors import SettingsError

if TYPE_CHECKING:
    from firth.fit import FitSettings


class _Training:
    @property
    def fit(self) -> FitSettings:
        """The part that the training loop reads."""
        from firth.fit import FitSettings

        shared = {field.name for field in fields(FitSettings)} & set(vars(self))
        return FitSettings(**{name: getattr(self, name) for name in shared})


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(_Training):
    """How BERT is pre-trained; the defaults suit bert_tiny to bert_small on a few million words."""

    longest: Annotated[int, "Tokens of a sequence; 128 learns words fastest, 512 long texts."] = 128
    tokens: Annotated[int, "Tokens of a batch."] = 8192
    next_sentence: Annotated[bool, "Also learn whether the second segment comes next."] = True
    whole_words: Annotated[bool, "Hide all pieces of a word together."] = False
    masked: Annotated[float, "Share of the tokens that are hidden."] = 0.15
    epochs: Annotated[int, "Passes; each sees as many tokens as the text has."] = 1
    steps: Annotated[int, "Batches of an epoch; 0 = as many as the text has."] = 0
    held_out: Annotated[float, "Share of the documents that are scored and not trained on."] = 0.01
    rate: Annotated[float, "Highest learning rate; 1e-3 for tiny and mini, 1e-4 for base and with --base."] = 5e-4
    warmup: Annotated[float, "Share of the steps over which the rate rises."] = 0.05
    weight_decay: Annotated[float, "On matrices."] = 0.01
    clip: Annotated[float, "Longest gradient."] = 1.0
    dropout: Annotated[float, "0.1 as published, for many passes; one pass has nothing to overfit."] = 0.0
    accumulate: Annotated[int, "Batches a step; divided among the processes of torchrun."] = 1
    precision: Annotated[str, "auto (bfloat16 where the processor has it), float32 or bfloat16."] = "auto"
    checkpoint_seconds: Annotated[float, "Between checkpoints."] = 60.0
    seed: Annotated[int, "Of weights, held-out documents, sequences, hidden words, dropout."] = 0

    def __post_init__(self) -> None:
        if self.longest < 8 or self.tokens < self.longest:
            raise SettingsError(
                f"longest={self.longest}, tokens={self.tokens}: a sequence has at least 8 tokens, a batch one sequence"
            )
        if not 0 < self.masked < 1 or not 0 <= self.held_out < 1 or not 0 <= self.dropout < 1:
            raise SettingsError(
                f"masked={self.masked}, held_out={self.held_out}, dropout={self.dropout}: expected shares below 1, "
                "masked above 0"
            )
        if self.steps < 0:
            raise SettingsError(f"steps={self.steps}: expected at least 1, or 0 for the text's own number")
        self.fit  # noqa: B018  (its own checks)


@dataclass(frozen=True, kw_only=True)
class ElmoTraining(_Training):
    """How ELMo is trained; the defaults suit elmo_small on a few million words."""

    streams: Annotated[int, "Texts read side by side; a batch is streams · unroll words."] = 32
    unroll: Annotated[int, "Words that a gradient goes back."] = 20
    vocabulary: Annotated[int, "Most words that are predicted; rarer ones are <UNK>."] = 30_000
    min_count: Annotated[int, "Of a word that is predicted."] = 3
    candidates: Annotated[int, "Words of the sampled softmax beside the true one; 0 = the whole vocabulary."] = 2048
    epochs: Annotated[int, "Passes over the text."] = 1
    steps: Annotated[int, "Batches of an epoch; 0 = as many as the text has."] = 0
    held_out: Annotated[float, "Share of the documents that are scored and not trained on."] = 0.01
    rate: Annotated[float, "Highest learning rate; of adagrad 0.2."] = 2e-3
    optimizer: Annotated[str, "adamw, or adagrad as published."] = "adamw"
    warmup: Annotated[float, "Share of the steps over which the rate rises."] = 0.02
    weight_decay: Annotated[float, "On matrices."] = 0.0
    decay: Annotated[str, "How the rate falls: linear, cosine or constant."] = "linear"
    clip: Annotated[float, "Longest gradient."] = 10.0
    dropout: Annotated[float, "0.1 as published, for many passes; one pass has nothing to overfit."] = 0.0
    precision: Annotated[str, "auto (bfloat16 where the processor has it), float32 or bfloat16."] = "auto"
    checkpoint_seconds: Annotated[float, "Between checkpoints."] = 60.0
    seed: Annotated[int, "Of weights, order, candidates, dropout."] = 0

    def __post_init__(self) -> None:
        for name, least in (("streams", 1), ("unroll", 2), ("vocabulary", 1), ("min_count", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name}={getattr(self, name)}: expected at least {least}")
        if self.candidates < 0 or self.steps < 0:
            raise SettingsError(f"candidates={self.candidates}, steps={self.steps}: expected at least 0")
        if self.optimizer not in ("adamw", "adagrad"):
            raise SettingsError(f"optimizer={self.optimizer!r}: expected adamw or adagrad")
        if not 0 <= self.held_out < 1 or not 0 <= self.dropout < 1:
            raise SettingsError(f"held_out={self.held_out}, dropout={self.dropout}: expected shares below 1")
        self.fit  # noqa: B018  (its own checks)
