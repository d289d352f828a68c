"""Word vectors: a word in, its vector out, and what is nearest to it.

The names stand close to those of gensim's KeyedVectors, so that moving over is a changed import. Files are read and
written by `static/formats.py`: word2vec text and binary, GloVe, fastText .vec, and safetensors, which is memory-mapped.
Measures: Mikolov et al. 2013, arXiv:1301.3781 (3CosAdd); Levy and Goldberg 2014, "Linguistic regularities in sparse and
explicit word representations" (3CosMul).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Neighbours, Vectors, unit
from firth.errors import SettingsError, ShapeError

_SMALL = 1e-6  # keeps the quotient of 3CosMul finite; gensim divides by the same


class Searchable(Protocol):
    """An index over `WordVectors.unit`, in the order of its words; firth.index.HNSW is one."""

    def search(self, queries: Vectors, k: int = 10) -> Neighbours:
        """The k rows nearest to each query."""


class UnknownWordError(SettingsError, KeyError):
    """A word is not in the vocabulary."""

    def __str__(self) -> str:
        return str(self.args[0])


class WordVectors:
    """Words and their vectors; row i belongs to word i.

    Args:
        words: v distinct words.
        vectors: (v, d) float32; may be a memory map.
        counts: (v,) int64 how often each word was seen in training, where known.
        about: what is known of their making: settings, losses, tokenizer; saved with safetensors.
    """

    def __init__(
        self,
        words: Sequence[str],
        vectors: Vectors,
        counts: NDArray[np.int64] | None = None,
        *,
        about: dict[str, Any] | None = None,
    ) -> None:
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise ShapeError(
                f"word vectors: {len(words):,} words need (v, d) vectors with as many rows, got {vectors.shape}"
            )
        if counts is not None and len(counts) != len(words):
            raise ShapeError(f"word vectors: {len(words):,} words but {len(counts):,} counts")
        self.words = list(words)
        self.vectors = vectors
        self.counts = counts
        self.about = about or {}

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.ids

    def __getitem__(self, word: str | Sequence[str]) -> Vectors:
        """(d,) the vector of a word, or (n, d) those of several.

        Raises:
            UnknownWordError: a word is not in the vocabulary; also a KeyError.
        """
        if isinstance(word, str):
            row: Vectors = self.vectors[self.id_of(word)]
            return row
        rows: Vectors = self.vectors[[self.id_of(one) for one in word]]
        return rows

    def __repr__(self) -> str:
        return f"WordVectors({len(self):,} words, {self.dims} dimensions)"

    @property
    def dims(self) -> int:
        """Width of the vectors."""
        return int(self.vectors.shape[1])

    @cached_property
    def ids(self) -> dict[str, int]:
        """The row of each word."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> Vectors:
        """(v, d) the vectors brought to length one."""
        return unit(np.asarray(self.vectors))

    def id_of(self, word: str) -> int:
        """The row of a word."""
        try:
            return self.ids[word]
        except KeyError:
            hint = f'; "{word.lower()}" is' if word.lower() in self.ids else ""
            raise UnknownWordError(f'"{word}" is not among the {len(self):,} words{hint}') from None

    def similarity(self, a: str, b: str) -> float:
        """Cosine of two words' vectors."""
        return float(self.unit[self.id_of(a)] @ self.unit[self.id_of(b)])

    def distance(self, a: str, b: str) -> float:
        """1 - similarity."""
        return 1.0 - self.similarity(a, b)

    def n_similarity(self, a: Sequence[str], b: Sequence[str]) -> float:
        """Cosine of the means of two sets of words."""
        means = unit(np.stack([self[a].mean(axis=0), self[b].mean(axis=0)]))
        return float(means[0] @ means[1])

    def most_similar(
        self,
        positive: str | Vectors | Sequence[str | Vectors] = (),
        negative: str | Vectors | Sequence[str | Vectors] = (),
        k: int = 10,
        *,
        method: str = "add",
        restrict: int | None = None,
        index: Searchable | None = None,
        topn: int | None = None,
    ) -> list[tuple[str, float]]:
        """The words nearest to the positive and farthest from the negative ones, themselves left out.

        Args:
            positive, negative: words, taken as unit vectors, or (d,) vectors, taken as they are.
            k: how many; `topn` is gensim's name for it.
            method: "add", the cosine with the mean of the unit vectors (3CosAdd), or "mul", the product of the shifted
                cosines over that of the negatives' (3CosMul), which lets no single word dominate.
            restrict: look among the first so many words only.
            index: an index over `unit`; for large vocabularies. Only with "add".

        Returns:
            (word, score) pairs, best first.
        """
        k = k if topn is None else topn
        wanted, unwanted = self._rows(positive), self._rows(negative)
        if not len(wanted[0]) and not len(unwanted[0]):
            raise SettingsError("most_similar: expected at least one positive or negative word")
        left_out = set(wanted[1] + unwanted[1])
        if method == "add":
            query = unit((wanted[0].sum(axis=0) - unwanted[0].sum(axis=0))[None, :])
            if index is not None:
                return self._named(index.search(query, k + len(left_out)), left_out, k)
            scores = (self.unit[:restrict] @ query[0]).astype(np.float32)
        elif method == "mul" and index is None:
            near, far = ((self.unit[:restrict] @ rows.T + 1) / 2 for rows in (wanted[0], unwanted[0]))
            scores = (near.prod(axis=1) / (far.prod(axis=1) + _SMALL)).astype(np.float32)
        else:
            raise SettingsError(f'method {method!r}: expected "add", or "mul" without an index')
        scores[[i for i in left_out if i < len(scores)]] = -np.inf
        k = min(k, len(scores) - sum(i < len(scores) for i in left_out))
        best = np.argpartition(-scores, k - 1)[:k] if 0 < k < len(scores) else np.arange(len(scores))
        best = best[np.lexsort((best, -scores[best]))][: max(k, 0)]
        return [(self.words[i], float(scores[i])) for i in best]

    def doesnt_match(self, words: Iterable[str]) -> str:
        """The word that is farthest from the mean of all; words outside the vocabulary are passed over."""
        known = [word for word in words if word in self]
        if not known:
            raise SettingsError("doesnt_match: none of the words is in the vocabulary")
        rows = self.unit[[self.id_of(word) for word in known]]
        return known[int(np.argmin(rows @ unit(rows.mean(axis=0, keepdims=True))[0]))]

    def rank(self, a: str, b: str) -> int:
        """How many words are at least as near to `a` as `b` is, `b` included and `a` not."""
        scores = self.unit @ self.unit[self.id_of(a)]
        scores[self.id_of(a)] = -np.inf
        return int((scores >= scores[self.id_of(b)]).sum())

    def analogies(
        self, path: Path | str, *, restrict: int | None = 300_000, method: str = "add"
    ) -> dict[str, tuple[int, int, int]]:
        """Each section of a file of analogies: questions answered right, with known words, and in all.

        `firth.evaluate.words.analogies` adds intervals and totals; see `static/questions.py` for the file.
        """
        from firth.static.questions import answered

        found = answered(self, path, restrict=restrict, method=method)
        return {
            name: (int((found.right & here).sum()), int((found.known & here).sum()), int(here.sum()))
            for name, here in ((name, found.section == i) for i, name in enumerate(found.sections))
        }

    def save(self, path: Path | str, layout: str | None = None) -> None:
        """Write a file, whole or not at all; see `static/formats.py` for the formats and what they cannot hold."""
        from firth.static import formats

        formats.save(self, path, layout)

    @classmethod
    def load(cls, path: Path | str, *, spaces: bool = False) -> WordVectors:
        """Read a file of any of the formats; see `static/formats.py`."""
        from firth.static import formats

        return formats.load(path, spaces=spaces)

    # gensim's names for the same things

    @property
    def vector_size(self) -> int:
        return self.dims

    @property
    def key_to_index(self) -> dict[str, int]:
        return self.ids

    @property
    def index_to_key(self) -> list[str]:
        return self.words

    def get_vector(self, word: str, norm: bool = False) -> Vectors:
        row: Vectors = self.unit[self.id_of(word)] if norm else self[word]
        return row

    def get_vecattr(self, word: str, attr: str) -> int:
        if attr != "count" or self.counts is None:
            raise UnknownWordError(
                f"{attr!r}: these vectors keep {'only counts' if self.counts is not None else 'no counts'}"
            )
        return int(self.counts[self.id_of(word)])

    def similar_by_word(self, word: str, topn: int = 10) -> list[tuple[str, float]]:
        return self.most_similar(word, k=topn)

    def similar_by_vector(self, vector: Vectors, topn: int = 10) -> list[tuple[str, float]]:
        return self.most_similar([vector], k=topn)

    def most_similar_cosmul(
        self, positive: str | Sequence[str] = (), negative: str | Sequence[str] = (), topn: int = 10
    ) -> list[tuple[str, float]]:
        return self.most_similar(positive, negative, topn, method="mul")

    def save_word2vec_format(self, fname: Path | str, binary: bool = False) -> None:
        self.save(fname, "word2vec-binary" if binary else "word2vec-text")

    @classmethod
    def load_word2vec_format(cls, fname: Path | str, binary: bool = False) -> WordVectors:
        from firth.static import formats

        return formats.load(fname, layout="word2vec-binary" if binary else "word2vec-text")

    def _rows(self, items: str | Vectors | Sequence[str | Vectors]) -> tuple[Vectors, list[int]]:
        """(n, d) unit rows of words and rows of vectors; the ids of those that are words."""
        if isinstance(items, str | np.ndarray) and np.ndim(items) < 2:
            items = [items]
        rows, ids = [], []
        for item in items:
            if isinstance(item, str):
                ids.append(self.id_of(item))
                rows.append(self.unit[ids[-1]])
            else:
                rows.append(np.asarray(item, np.float32))
        return np.array(rows, np.float32).reshape(len(rows), self.dims), ids

    def _named(self, near: Neighbours, left_out: set[int], k: int) -> list[tuple[str, float]]:
        pairs = zip(near.ids[0].tolist(), near.scores[0].tolist(), strict=True)
        return [(self.words[i], score) for i, score in pairs if i >= 0 and i not in left_out][:k]
