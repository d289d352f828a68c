"""Pre-train BERT on raw text: documents -> vocabulary -> packed sequences -> masked words and next sentences.

Source: Devlin et al. 2018, arXiv:1810.04805. Where we differ: sequences and hidden positions are drawn anew each epoch;
an epoch is as many tokens as the text has; batches are counted in tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from firth.contextual.masking import Vocabulary, hide
from firth.contextual.pretraining import BertPretraining
from firth.contextual.sequences import Span, TokenCorpus, rows_of_epoch
from firth.contextual.settings import PretrainSettings
from firth.errors import DataError, SettingsError
from firth.fit import Fitted, Measures, Task, fit
from firth.progress import Progress, silent
from firth.text.tokenizer import Tokenizer

DEV_TOKENS = 65_536  # most that the held-out part is scored on; ten thousand hidden words give accuracy to 0.005


@dataclass(frozen=True)
class Batch:
    """Packed sequences with hidden words.

    Attributes:
        ids: (t,) int64 with the hidden tokens replaced; types: (t,) segment of each.
        lengths: (n,) tokens of each sequence.
        places: (m,) hidden places; truth: (m,) what stood there.
        strange: (n,) 1 where B is from another document; None without next-sentence prediction.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    lengths: NDArray[np.int64]
    places: NDArray[np.int64]
    truth: NDArray[np.int64]
    strange: NDArray[np.int64] | None


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training gave; the model that came in holds the weights.

    Attributes:
        fitted: the learning curve, its measures as those below.
        held_out: masked_loss (nats), masked_accuracy, next_accuracy on documents that were not trained on; None
            where there are none.
        filled: share of the packed positions that are real tokens.
        tokens: seen in training; documents: trained on.
    """

    fitted: Fitted
    held_out: dict[str, float] | None
    filled: float
    tokens: int
    documents: int


def pretrain_bert(
    model: BertPretraining,
    tokenizer: Tokenizer,
    documents: Sequence[Sequence[str]],
    *,
    settings: PretrainSettings | None = None,
    folder: Path | str | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> Pretrained:
    """Train a model in place, from drawn or from published weights.

    Args:
        model: its weights are changed.
        tokenizer: its own.
        documents: of each its sentences; see `firth.text.sentences.read_documents`.
        settings: how.
        folder: where checkpoints are kept; an interrupted training goes on from there to the bit.
        device: as torch names it; None = a GPU where there is one. The model stays there.
        progress: told tokens done and in all, loss, perplexity and accuracies.

    Raises:
        DataError: the text is shorter than a batch, or has no neighbouring sentences where they are asked for.
        ModelError: the vocabulary misses [MASK], [CLS] or [SEP], or is larger than the model's.
        SettingsError: a setting out of range, or a checkpoint of another training or size.
        TrainingError: the loss is not a number; says at which step, and where the last sound checkpoint is.
    """
    settings = settings or PretrainSettings()
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    course = _Course(model, tokenizer, documents, settings, progress)
    old = model.bert.settings
    _set_dropout(model, settings.dropout, settings.dropout)
    try:
        task = Task(
            module=model,
            loss=course.loss,
            batches=course.batches,
            steps=course.steps,
            rows=lambda batch: len(batch.ids),
            identity=course.identity,
            measures=course.measures,
        )
        fitted = fit(task, settings.fit, folder=folder, progress=progress)
    finally:
        _set_dropout(model, old.dropout, old.attention_dropout)
        model.eval()
    filled = fitted.rows / (settings.epochs * course.steps * settings.tokens)
    return Pretrained(fitted, course.score(), filled, fitted.rows, len(course.corpus))


class _Course:
    """What is learnt: the corpus, its batches, the loss of one, for as long as the training lasts."""

    def __init__(
        self,
        model: BertPretraining,
        tokenizer: Tokenizer,
        documents: Sequence[Sequence[str]],
        settings: PretrainSettings,
        progress: Progress,
    ) -> None:
        shape = model.bert.settings
        if settings.next_sentence and model.next_sentence is None:
            raise SettingsError(
                "next_sentence=True: this model has no head for it; BertPretraining(next_sentence=True)"
            )
        if settings.longest > shape.longest:
            raise SettingsError(f"longest={settings.longest}: this model has {shape.longest} positions")
        if tokenizer.size > shape.vocab:
            raise SettingsError(
                f"the tokenizer has {tokenizer.size:,} entries, the model {shape.vocab:,} words; are both of one model?"
            )
        self.model, self.settings = model, settings
        self.vocabulary = Vocabulary.of(tokenizer)
        whole = TokenCorpus.of(documents, tokenizer, progress=progress)
        self.corpus, self.dev = _split(whole, settings)
        self.measures = Measures(told)
        self.steps = settings.steps or -(-len(self.corpus.ids) // settings.tokens)
        if len(self.corpus.ids) < settings.tokens:
            raise DataError(
                f"the text has {len(self.corpus.ids):,} tokens to train on, fewer than one batch of "
                f"{settings.tokens:,}; give more text, or a smaller batch (tokens=, --tokens)"
            )
        next(self.batches(0))  # a text that gives no sequences is refused before any work
        without = replace(settings, checkpoint_seconds=0.0)
        self.identity = f"bert {self.corpus.identity} {tokenizer.fingerprint} {asdict(without)}"

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Those of an epoch, the same whenever asked."""
        return self._batches(self.corpus, f"{self.settings.seed} {epoch}", self.steps, epoch)

    def _batches(self, corpus: TokenCorpus, seed: str, steps: int, epoch: int) -> Iterator[Batch]:
        settings = self.settings
        rows = rows_of_epoch(
            corpus,
            longest=settings.longest,
            tokens=settings.tokens,
            next_sentence=settings.next_sentence,
            seed=seed,
            steps=steps,
        )
        for number, row in enumerate(rows):
            random = np.random.default_rng([settings.seed, epoch, number])
            yield assembled(row, corpus, self.vocabulary, settings, random)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over hidden words, plus mean over pairs; what they tell beside it goes into the measures."""
        device = self.model.bias.device
        scores = self.model(
            torch.from_numpy(batch.ids).to(device),
            torch.from_numpy(batch.lengths),
            torch.from_numpy(batch.types).to(device) if batch.strange is not None else None,
            torch.from_numpy(batch.places).to(device),
        )
        truth = torch.from_numpy(batch.truth).to(device)
        loss = F.cross_entropy(scores.words.float(), truth)
        hidden = len(truth)
        self.measures.add("masked_loss", float(loss.detach()) * hidden, hidden)
        self.measures.add("masked_accuracy", float((scores.words.detach().argmax(1) == truth).sum()), hidden)
        if batch.strange is not None and scores.strange is not None:
            strange = torch.from_numpy(batch.strange).to(device)
            loss = loss + F.cross_entropy(scores.strange.float(), strange)
            right = float((scores.strange.detach().argmax(1) == strange).sum())
            self.measures.add("next_accuracy", right, len(strange))
        return loss

    def score(self) -> dict[str, float] | None:
        """The measures on the held-out part, the same hidden words whenever asked."""
        if self.dev is None:
            return None
        settings = self.settings
        self.measures.sums = {}
        steps = max(1, min(len(self.dev.ids), DEV_TOKENS) // settings.tokens)
        with torch.no_grad():
            for batch in self._batches(self.dev, f"{settings.seed} held out", steps, settings.epochs + 1):
                self.loss(batch)
        found = self.measures.means()
        self.measures.sums = {}
        return found


def assembled(
    row: Sequence[Span],
    corpus: TokenCorpus,
    vocabulary: Vocabulary,
    settings: PretrainSettings,
    random: np.random.Generator,
) -> Batch:
    """The sequences of a packed row with special tokens, segments and hidden words; the longest come first, so that
    those of equal length are neighbours, which share a step of the attention."""
    two = settings.next_sentence
    order = sorted(row, key=lambda span: span[0] - span[1] + span[2] - span[3])
    cls, sep = np.array([vocabulary.cls]), np.array([vocabulary.sep])
    parts: list[NDArray[np.integer]] = []
    for a, a_end, b, b_end, _ in order:
        parts += [cls, corpus.ids[a:a_end], sep]
        if two:
            parts += [corpus.ids[b:b_end], sep]
    first = np.array([a_end - a + 2 for a, a_end, *_ in order])
    second = np.array([b_end - b + 1 if two else 0 for _, _, b, b_end, _ in order])
    types = np.repeat(np.tile([0, 1], len(order)), np.stack([first, second], 1).ravel())
    ids = np.concatenate(parts).astype(np.int64)
    lengths = first + second
    hidden, places = hide(ids, lengths, vocabulary, random, share=settings.masked, whole_words=settings.whole_words)
    strange = np.array([span[4] for span in order], np.int64) if two else None
    return Batch(hidden, types, lengths, places, ids[places], strange)


def told(means: Mapping[str, float]) -> str:
    """The measures as a line of progress shows them."""
    if "masked_loss" not in means:
        return ""
    line = f"perplexity {math.exp(min(means['masked_loss'], 50)):,.1f}, masked words {means['masked_accuracy']:.3f}"
    return line + (f", next sentence {means['next_accuracy']:.3f}" if "next_accuracy" in means else "")


def _split(whole: TokenCorpus, settings: PretrainSettings) -> tuple[TokenCorpus, TokenCorpus | None]:
    """Training and held-out documents: the last ones are held out, which keeps the text's own order."""
    count = round(settings.held_out * len(whole))
    if count < (2 if settings.next_sentence else 1):
        return whole, None
    dev = whole.part(len(whole) - count, len(whole))
    if settings.next_sentence and np.diff(dev.documents).max() < 2:
        return whole, None
    return whole.part(0, len(whole) - count), dev


def _set_dropout(model: BertPretraining, dropout: float, attention: float) -> None:
    parts: list[Any] = [model.bert, *model.bert.layers]
    for part in parts:
        part.settings = replace(part.settings, dropout=dropout, attention_dropout=attention)
