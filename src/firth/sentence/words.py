"""Word vectors that are tuned like any encoder: a text is the sum of its words' rows, and a step touches only those.

    encoder = WordsEncoder.of(firth.load("words.safetensors"))       word vectors as a start
    encoder = WordsEncoder.of(token_table(minilm, texts))             a published model's token table as a start
    tune(encoder, pairs, settings=TuneSettings(rate=RATE, epochs=5))
    encoder.vectors().save("tuned.safetensors")                       to use it: no torch

The direction that all texts share is taken out of the rows before training; how much a word counts stays as it was.
Gradients are row-sparse, so that a step costs by the words of its batch, not by the vocabulary.
Source: static sentence embeddings by contrastive learning: Wieting et al. 2016, arXiv:1511.08198.
Where we differ: Adagrad (Duchi et al. 2011), whose rate of a row falls with how often it was touched: a word that
stands everywhere moves little, one that stands twice moves at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from firth.arrays import Vectors
from firth.errors import SettingsError
from firth.fit import FitSettings
from firth.kernels import words as kernel
from firth.sentence.encoder import SentenceEncoder
from firth.static import WordVectors
from firth.static.average import TextVectors, sif
from firth.static.corpus import TOKENIZERS, Counting, count_texts
from firth.text.records import Ragged

RATE = 0.02  # of Adagrad, in units of a row's mean entry; see `of`
SMALLEST = 1e-10  # beside the root of the squares, as in Duchi et al.
EPOCHS = 5  # passes over the pairs; each costs seconds
TRAINED = "trained_dims"  # in the about of saved word vectors
SAMPLE = 100_000  # texts that the weights and the common direction of a token table are learnt from


class WordsEncoder:
    """Word vectors with gradients.

    Attributes:
        module: holds the table.
        words: the words of its rows.
    """

    def __init__(
        self, words: Sequence[str], rows: Vectors, weights: Vectors, tokenizer: str, about: dict[str, Any]
    ) -> None:
        self.words, self.tokenizer, self.about = list(words), tokenizer, dict(about)
        self.module = _Table(rows, weights)
        self._lookup = kernel.lookup(self.words, TOKENIZERS[tokenizer])

    @classmethod
    def of(cls, encoder: TextVectors) -> WordsEncoder:
        """The same encoder, trainable: rows without the common directions, of length 1 in the mean square."""
        rows = np.array(encoder.words.vectors, np.float32)
        rows -= (rows @ encoder.common.T) @ encoder.common
        size = float(np.sqrt(np.mean(np.square(rows)) * encoder.dims))
        rows /= max(size, 1e-12)
        return cls(encoder.words.words, rows, encoder.weights, encoder.tokenizer, encoder.words.about)

    @property
    def dims(self) -> int:
        """Width of the vectors."""
        return int(self.module.width)

    @property
    def prompts(self) -> dict[str, str]:
        """None: word vectors see no difference."""
        return {}

    @property
    def fingerprint(self) -> str:
        """Of the vectors as they are."""
        return self.vectors().fingerprint

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Prefixes whose quality was trained, ascending; the full width is always among them."""
        return tuple(sorted({*self.about.get(TRAINED, ()), self.dims}))

    @trained_dims.setter
    def trained_dims(self, dims: Sequence[int]) -> None:
        if wrong := [size for size in dims if not 1 <= size <= self.dims]:
            raise SettingsError(f"trained_dims: {wrong} are not between 1 and {self.dims}")
        self.about[TRAINED] = sorted(set(dims))

    def tokenize(self, texts: Sequence[str], kind: str | None = None) -> Ragged:  # noqa: ARG002 - as every encoder
        """Word ids of the texts; words that have no row are counted as cut."""
        ids, starts = kernel.text_ids(self._lookup, texts)
        known = ids >= 0
        offsets = np.concatenate([[0], np.cumsum(known)])[starts]
        return Ragged(ids[known], offsets, np.diff(starts) - np.diff(offsets))

    def embed(self, ragged: Ragged, kind: str | None = None) -> Tensor:  # noqa: ARG002 - as every encoder
        """(n, d) unit rows with gradient; a text without a known word is a row of zeros."""
        return functional.normalize(self.module(torch.from_numpy(ragged.ids), torch.from_numpy(ragged.offsets)), dim=1)

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """(n, dims) float32 unit rows."""
        return self.vectors().encode(texts, kind=kind, dims=dims, progress=progress)

    def vectors(self) -> TextVectors:
        """The encoder to use and to save."""
        rows = self.module.rows.weight.detach().float().cpu().numpy().copy()
        weights = self.module.weights.float().cpu().numpy().copy()
        return TextVectors(WordVectors(self.words, rows, about=self.about), weights, tokenizer=self.tokenizer)


def token_table(encoder: SentenceEncoder, texts: Iterable[str]) -> TextVectors:
    """Word vectors of a domain's words, each the mean of a published model's embeddings of its pieces.

    The weights of the words and the direction that is removed are those of smooth inverse frequency.

    Args:
        encoder: whose token table it is; its transformer is not used.
        texts: of the domain, read once.
    """
    sample = list(texts)
    vocabulary = count_texts(sample, Counting(min_count=1, tokenizer="unicode")).vocabulary
    prefix, suffix = len(encoder.tokenizer.prefix), len(encoder.tokenizer.suffix)
    ragged = encoder.tokenizer.encode(vocabulary.words, encoder.max_tokens)
    inner = np.ones(len(ragged.ids), bool)
    for k in range(prefix):
        inner[ragged.offsets[:-1] + k] = False
    for k in range(1, suffix + 1):
        inner[ragged.offsets[1:] - k] = False
    offsets = np.concatenate([[0], np.cumsum(inner)])[ragged.offsets]
    table = encoder.module.bert.words.weight.detach().float().cpu()
    pieces = torch.from_numpy(ragged.ids[inner].astype(np.int64))
    rows = functional.embedding_bag(pieces, table, torch.from_numpy(offsets[:-1]), mode="mean").numpy()
    about = {"tokenizer": "unicode", "start": "token table", "model": encoder.fingerprint}
    return sif(WordVectors(vocabulary.words, rows, vocabulary.counts, about=about), sample[:SAMPLE])


class RowAdagrad(torch.optim.Optimizer):
    """Adagrad whose step costs by the rows that have a gradient; word vectors are not decayed."""

    def __init__(self, module: nn.Module, settings: FitSettings) -> None:
        super().__init__([value for value in module.parameters() if value.requires_grad], {"lr": settings.rate})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; row-sparse gradients touch their rows alone."""
        assert closure is None
        with torch.no_grad():
            for group in self.param_groups:
                for value in group["params"]:
                    if value.grad is not None:
                        self._move(value, value.grad, group["lr"])

    def _move(self, value: Tensor, grad: Tensor, rate: float) -> None:
        if not self.state[value]:
            self.state[value]["squares"] = torch.zeros_like(value)
        squares = self.state[value]["squares"]
        rows: Any = slice(None)
        if grad.is_sparse:
            whole = grad.coalesce()
            rows, grad = whole.indices()[0], whole.values()
        squares[rows] += grad.square()
        value[rows] -= rate * grad / (squares[rows].sqrt() + SMALLEST)


class _Table(nn.Module):
    """(v, width) rows with the (v,) weights of their words, and their sums over texts."""

    def __init__(self, rows: Vectors, weights: Vectors) -> None:
        super().__init__()
        self.rows = nn.Embedding.from_pretrained(torch.from_numpy(rows.copy()), freeze=False, sparse=True)  # type: ignore[no-untyped-call]
        self.weights: Tensor
        self.register_buffer("weights", torch.from_numpy(weights.copy()))
        self.width = rows.shape[1]

    def rotate(self, axes: NDArray[np.float32]) -> Callable[[], None]:
        """Multiply every row by a (width, width) orthogonal matrix; returns what takes it back."""
        kept = self.rows.weight.detach().clone()

        def put(rows: Tensor) -> None:
            with torch.no_grad():
                self.rows.weight.copy_(rows)

        put(kept @ torch.from_numpy(axes).to(kept))
        return lambda: put(kept)

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        """(n, width) weighted sums; ids (t,), offsets (n + 1,)."""
        found: Tensor = functional.embedding_bag(
            ids,
            self.rows.weight,
            offsets.to(ids.dtype),
            mode="sum",
            sparse=True,
            per_sample_weights=self.weights[ids.long()],
            include_last_offset=True,
        )
        return found
