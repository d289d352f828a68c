"""A word's vectors in its contexts: one for each time that it stands in a text, and words that fit a gap.

The vector of a word in BERT is the mean of its pieces' hidden states (Peters et al. 2018, arXiv:1808.08949 compare
layers this way); in ELMo it is that of the word itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firth.arrays import Vectors
from firth.contextual.bert import Bert
from firth.contextual.elmo import Elmo, split
from firth.contextual.pretraining import BertPretraining
from firth.errors import DataError, SettingsError
from firth.text.tokenizer import Tokenizer

BUDGET = 4096  # tokens at once


@dataclass(frozen=True)
class Occurrence:
    """Where a word stands: in text number `text`, characters `start` to `end`."""

    text: int
    start: int
    end: int


class Guess(NamedTuple):
    """A word that fits a gap, and its probability there."""

    word: str
    probability: float


class Reader(Protocol):
    """A model that gives each token of a text its vectors."""

    def read(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], Tensor]]:
        """Of each text: (t, 2) where its tokens stand, in characters, and (layers, t, d)."""


@dataclass(frozen=True)
class BertReader:
    """Hidden states of the embeddings and of every layer of a BERT."""

    bert: Bert
    tokenizer: Tokenizer

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], Tensor]]:
        """As Reader; what does not fit the model's positions is cut."""
        front, back = len(self.tokenizer.prefix), len(self.tokenizer.suffix)
        longest = self.bert.settings.longest
        ragged = self.tokenizer.encode(texts, longest)
        spans = [self.tokenizer.spans(text)[: longest - front - back] for text in texts]
        found = []
        start = 0
        while start < len(texts):
            end = start + 1
            while end < len(texts) and ragged.offsets[end + 1] - ragged.offsets[start] <= BUDGET:
                end += 1
            part = ragged.take(np.arange(start, end))
            ids = torch.from_numpy(part.ids).to(self.bert.words.weight.device)
            hidden = torch.stack(list(self.bert.walk(ids, torch.from_numpy(part.lengths))))
            rows = torch.split(hidden, part.lengths.tolist(), 1)
            found += [
                (spans[start + i], row[:, front : row.shape[1] - back].float().cpu()) for i, row in enumerate(rows)
            ]
            start = end
        return found


@dataclass(frozen=True)
class ElmoReader:
    """The layers of an ELMo: characters, then each LSTM."""

    elmo: Elmo

    def read(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int64], Tensor]]:
        """As Reader."""
        words = [split(text) for text in texts]
        layers = self.elmo.layers_of(words)
        return [(_places(text, row), found.cpu()) for text, row, found in zip(texts, words, layers, strict=True)]


def find(word: str, texts: Sequence[str]) -> list[Occurrence]:
    """Every place where `word` stands as a whole word, whatever its case.

    Raises:
        SettingsError: no word was given; DataError: it stands nowhere.
    """
    if not word.strip():
        raise SettingsError("word: expected a word to look for, got an empty one")
    pattern = re.compile(rf"(?<!\w){re.escape(word.strip())}(?!\w)", re.IGNORECASE)
    found = [Occurrence(i, *match.span()) for i, text in enumerate(texts) for match in pattern.finditer(text)]
    if not found:
        raise DataError(f"{word!r} stands in none of {len(texts):,} sentences; is it spelt as in the text?")
    return found


def vectors_of(occurrences: Sequence[Occurrence], texts: Sequence[str], reader: Reader) -> Vectors:
    """(layers, n, d) float32: each occurrence's vector in every layer, the mean of its pieces; NaN where it was cut."""
    wanted = sorted({one.text for one in occurrences})
    read = dict(zip(wanted, reader.read([texts[i] for i in wanted]), strict=True))
    found = []
    for one in occurrences:
        spans, layers = read[one.text]
        inside = (spans[:, 0] < one.end) & (spans[:, 1] > one.start)
        found.append(layers[:, torch.from_numpy(inside)].mean(1).numpy())
    vectors: Vectors = np.stack(found, 1)
    return vectors


@torch.no_grad()
def fill(model: BertPretraining, tokenizer: Tokenizer, text: str, k: int = 5) -> list[list[Guess]]:
    """The k likeliest entries of the vocabulary for each [MASK] of a text.

    Raises:
        DataError: no [MASK] in the text, or it is longer than the model reads.
    """
    ragged = tokenizer.encode([text], model.bert.settings.longest)
    gaps = np.flatnonzero(ragged.ids == tokenizer.mask) if tokenizer.mask is not None else np.zeros(0, np.int64)
    if not len(gaps):
        raise DataError(f"no [MASK] in {text[:60]!r}; write it where the word is to be guessed")
    if ragged.cut[0]:
        raise DataError(
            f"the text is {ragged.cut[0]} tokens longer than the {model.bert.settings.longest} of this model"
        )
    scores = model.eval()(
        torch.from_numpy(ragged.ids), torch.from_numpy(ragged.lengths), None, torch.from_numpy(gaps)
    ).words[:, : tokenizer.size]
    best = scores.float().softmax(1).topk(min(k, tokenizer.size))
    return [
        [Guess(word, chance) for word, chance in zip(tokenizer.tokens(row), chances, strict=True)]
        for row, chances in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _places(text: str, words: Sequence[str]) -> NDArray[np.int64]:
    found, place = np.empty((len(words), 2), np.int64), 0
    for i, word in enumerate(words):
        place = text.index(word, place)
        found[i] = place, place + len(word)
        place += len(word)
    return found
