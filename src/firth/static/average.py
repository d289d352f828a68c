"""Texts as averages of their words' vectors: an encoder without torch, at hundreds of thousands of texts a second.

`mean` weighs every word alike. `sif` weighs a word by a / (a + its share of the corpus), so that frequent words count
little, and removes the direction that all texts have in common; both are learnt once and saved with the vectors.

Source: Arora, Liang and Ma 2017, "A simple but tough-to-beat baseline for sentence embeddings" (smooth inverse
frequency). Where we differ: the common direction is that of the texts it was trained on, not of each batch, so a text's
vector does not depend on its company.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors, unit
from firth.errors import FormatError, SettingsError
from firth.kernels import default_threads
from firth.kernels import words as kernel
from firth.progress import bar
from firth.static import formats, tensors
from firth.static.corpus import TOKENIZERS
from firth.static.vectors import WordVectors

SMOOTHING = 1e-3  # SIF's a; the paper finds 1e-4 … 1e-3 alike
SAMPLE = 100_000  # texts that the common direction is learnt from
TEXTS_AT_ONCE = 8192
KINDS = (None, "query", "document")  # word vectors see no difference
_ARRAYS = ("weights", "common")


class TextVectors:
    """An encoder: (n, d) float32 unit rows, each the weighted mean of a text's words without the common directions.

    Args:
        words: the word vectors.
        weights: (v,) float32, how much each word counts.
        common: (c, d) float32 orthonormal directions that are removed; c may be 0.
        tokenizer: how texts are split, as the vectors' corpus was; None = as `words.about` says, else told by the
            vocabulary: words in lower case mean "unicode", others "cased".
    """

    def __init__(
        self, words: WordVectors, weights: Vectors, common: Vectors | None = None, *, tokenizer: str | None = None
    ) -> None:
        self.words = words
        self.weights = np.asarray(weights, np.float32)
        self.common = np.zeros((0, words.dims), np.float32) if common is None else np.asarray(common, np.float32)
        self.tokenizer = tokenizer or words.about.get("tokenizer") or _told_by(words)
        if self.weights.shape != (len(words),) or self.common.shape[1:] != (words.dims,):
            raise SettingsError(
                f"text vectors: {len(words)} words of {words.dims} dimensions need weights ({len(words)},) and "
                f"common (c, {words.dims}), got {self.weights.shape} and {self.common.shape}"
            )
        if self.tokenizer == "tokens":
            self.tokenizer = "spaces"
        if self.tokenizer not in TOKENIZERS:
            raise SettingsError(f"tokenizer {self.tokenizer!r}: expected one of {', '.join(TOKENIZERS)}")

    def __repr__(self) -> str:
        return f"TextVectors({len(self.words):,} words, {self.dims} dimensions, {len(self.common)} removed)"

    @property
    def dims(self) -> int:
        """Width of the vectors."""
        return self.words.dims

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of all that the vectors depend on."""
        digest = hashlib.sha256(self.tokenizer.encode())
        for array in (*formats.arrays_of(self.words).values(), self.weights, self.common):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """(n, d) float32 unit rows in the order of the texts; a text without a known word is a row of zeros.

        Args:
            kind: "query", "document" or None; all the same to word vectors.
            dims: keep only so many leading dimensions, brought back to unit length.
            progress: show a bar on stderr.
        """
        if isinstance(texts, str) or kind not in KINDS:
            raise SettingsError(
                f"encode: expected a list of texts and a kind of {KINDS}, got {type(texts).__name__}, {kind!r}"
            )
        if dims is not None and not 1 <= dims <= self.dims:
            raise SettingsError(f"dims={dims}: expected 1 to {self.dims}")
        rows = np.empty((len(texts), dims or self.dims), np.float32)
        with bar("encoding", shown=progress) as report:
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                part = texts[start : start + TEXTS_AT_ONCE]
                rows[start : start + len(part)] = unit(self._means(part)[:, :dims])
                report(start + len(part), len(texts), "texts")
        return rows

    def coverage(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n,) words of each text that are in the vocabulary, and (n,) words in all."""
        narrow = np.zeros((len(self.words), 1), np.float32)
        _, found, there = kernel.text_sums(self._table, texts, narrow, self.weights)
        return found, there

    def save(self, path: Path | str) -> None:
        """One safetensors file: the word vectors (`WordVectors.load` reads them too), the weights and the directions.

        Raises:
            SettingsError: the name does not end in .safetensors; no other format holds weights.
        """
        if Path(path).suffix != ".safetensors":
            raise SettingsError(f"{path}: text vectors are saved as .safetensors; no other format holds their weights")
        arrays = formats.arrays_of(self.words) | {"weights": self.weights, "common": self.common}
        about = json.dumps(self.words.about | {"tokenizer": self.tokenizer})
        tensors.write(path, arrays, {"format": formats.LAYOUT, "about": about})

    @cached_property
    def _table(self) -> Any:
        return kernel.lookup(self.words.words, TOKENIZERS[self.tokenizer])

    @cached_property
    def _rows(self) -> Vectors:
        """The word vectors without the common directions: what is removed from each word is removed from every mean."""
        rows: Vectors = np.array(self.words.vectors, np.float32)
        if len(self.common):
            rows -= (rows @ self.common.T) @ self.common
        return rows

    def _means(self, texts: Sequence[str]) -> Vectors:
        sums, _, there = kernel.text_sums(self._table, texts, self._rows, self.weights, threads=default_threads())
        return sums / np.maximum(there, 1).astype(np.float32)[:, None]


def mean(words: WordVectors, *, tokenizer: str | None = None) -> TextVectors:
    """Every word counts alike."""
    return TextVectors(words, np.ones(len(words), np.float32), tokenizer=tokenizer)


def sif(
    words: WordVectors,
    texts: Iterable[str],
    *,
    smoothing: float = SMOOTHING,
    components: int = 1,
    tokenizer: str | None = None,
) -> TextVectors:
    """Smooth inverse frequency: frequent words count less, and what all texts share is removed.

    Args:
        words: with counts.
        texts: that the common directions are learnt from; the first `SAMPLE` are looked at.
        smoothing: a of a / (a + p); a smaller one weighs frequent words down further.
        components: how many directions are removed; 0 = none.

    Raises:
        SettingsError: the vectors have no counts, or smoothing is not positive.

    Source: Arora, Liang and Ma 2017; their 1 is the default of `components`.
    """
    if words.counts is None:
        raise SettingsError(
            "sif needs the words' counts: train the vectors here or keep them as .safetensors; or use mean"
        )
    if smoothing <= 0 or not 0 <= components < words.dims:
        raise SettingsError(
            f"sif: expected smoothing > 0 and 0 <= components < {words.dims}, got {smoothing}, {components}"
        )
    share = words.counts / max(int(words.counts.sum()), 1)
    plain = TextVectors(words, (smoothing / (smoothing + share)).astype(np.float32), tokenizer=tokenizer)
    if components == 0:
        return plain
    common = leading(outer(plain, texts), components)
    return TextVectors(words, plain.weights, common, tokenizer=plain.tokenizer)


def load(path: Path | str) -> TextVectors:
    """Text vectors from a file of word vectors in any format; with the weights and directions that were saved with it.

    A file without weights gives plain means.

    Raises:
        FormatError: not what it says; names the line or byte.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        return mean(formats.load(path))
    words = formats.load(path)
    arrays, _ = tensors.read(path)
    if not set(_ARRAYS) & set(arrays):
        return mean(words)
    wrong = [name for name in _ARRAYS if name not in arrays or not np.isfinite(arrays[name]).all()]
    if wrong:
        raise FormatError(f"damaged: {wrong[0]} is missing or not finite", path=path)
    try:
        return TextVectors(words, arrays["weights"], arrays["common"])
    except SettingsError as error:
        raise FormatError(f"damaged: {error}", path=path) from error


def outer(encoder: TextVectors, texts: Iterable[str]) -> NDArray[np.float64]:
    """(d, d) float64 sum of the outer products of the first `SAMPLE` texts' means."""
    total = np.zeros((encoder.dims, encoder.dims))
    for part in _in_parts(texts, SAMPLE):
        rows = encoder._means(part).astype(np.float64)
        total += rows.T @ rows
    return total


def leading(outer: NDArray[np.float64], n: int) -> Vectors:
    """(n, d) the eigenvectors of the largest eigenvalues: the singular vectors of the texts' means."""
    vectors = np.linalg.eigh(outer)[1][:, ::-1][:, :n].T
    signs = np.sign(vectors[np.arange(n), np.abs(vectors).argmax(axis=1)])
    return np.asarray(vectors * signs[:, None], np.float32)


def _in_parts(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """The first `most` texts, some thousand at a time."""
    walk = islice(iter(texts), most)
    while part := list(islice(walk, TEXTS_AT_ONCE)):
        yield part


def _told_by(words: WordVectors) -> str:
    some = words.words[:10_000]
    return "unicode" if sum(word != word.lower() for word in some) < len(some) / 100 else "cased"
