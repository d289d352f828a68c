"""firth's encoders and collections as models of mteb, so that its benchmarks grade them unchanged.

    mteb.evaluate(MtebEncoder(encoder), mteb.get_tasks(tasks=["Banking77Classification"]))
    mteb.evaluate(MtebSearch(build), tasks)     # build(ids, texts) -> a collection: codec, index and all

mteb is imported only when its own objects are asked for; nothing of it is needed to make these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import Encoder, Vectors, unit
from firth.errors import MissingExtraError
from firth.evaluate.judge import Searcher

Batches = Iterable[Mapping[str, Sequence[str]]]


class MtebEncoder:
    """An encoder that fulfils mteb's EncoderProtocol.

    Prompts are the encoder's own: mteb's "query" and "document" become `kind`, and tasks without one get none.
    """

    def __init__(self, encoder: Encoder, name: str = "firth/encoder", revision: str | None = None) -> None:
        self.encoder = encoder
        self.mteb_model_meta = _meta(name, revision or encoder.fingerprint, encoder.dims)

    def encode(self, inputs: Batches, *, prompt_type: Any = None, **_: Any) -> Vectors:
        """(n, d) float32 unit rows of the texts of all batches, in order.

        The settings that mteb passes for its own models (task, split, batch size) change nothing here.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        kind = None if prompt_type is None else str(getattr(prompt_type, "value", prompt_type))
        return self.encoder.encode(texts, kind=kind)

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[np.float32]:
        """(n, m) cosine of every row of the first with every row of the second; one number for two vectors (d,)."""
        found = np.asarray(_rows(embeddings1) @ _rows(embeddings2).T, np.float32)
        return found.reshape(()) if np.ndim(embeddings1) == np.ndim(embeddings2) == 1 else found

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[np.float32]:
        """(n,) cosine of row i of both."""
        return np.asarray((_rows(embeddings1) * _rows(embeddings2)).sum(axis=1), np.float32)


class MtebSearch:
    """A whole collection, compressed and indexed, that fulfils mteb's SearchProtocol."""

    def __init__(
        self, build: Callable[[list[str], list[str]], Searcher], name: str = "firth/collection", revision: str = "1"
    ) -> None:
        self.build = build
        self.mteb_model_meta = _meta(name, revision, None)
        self._built: tuple[Searcher, int] | None = None

    def index(self, corpus: Iterable[Mapping[str, str]], **_: Any) -> None:
        """Build the collection over a corpus; a title stands before its text, as mteb joins them."""
        rows = [(row["id"], f"{row.get('title') or ''} {row['text']}".strip()) for row in corpus]
        self._built = self.build([id_ for id_, _ in rows], [text for _, text in rows]), len(rows)

    def search(
        self, queries: Iterable[Mapping[str, str]], *, top_k: int, top_ranked: Any = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """Query id -> document id -> score.

        Raises:
            ValueError: `index` was not called; or a re-ranking task, which asks for given documents and not for search.
        """
        if self._built is None:
            raise ValueError("search before index: mteb indexes a corpus first")
        if top_ranked is not None:
            raise ValueError("a collection searches all of its documents; grade re-ranking with MtebEncoder")
        searcher, size = self._built
        return {
            query["id"]: {str(hit.id): float(hit.score) for hit in searcher.search(query["text"], k=min(top_k, size))}
            for query in queries
        }


def _rows(embeddings: ArrayLike) -> Vectors:
    rows = np.asarray(embeddings, np.float32)
    return unit(rows[None, :] if rows.ndim == 1 else rows)


def _meta(name: str, revision: str, dims: int | None) -> Any:
    try:
        from mteb.models.model_meta import ModelMeta
    except ImportError as error:
        raise MissingExtraError("mteb", "mteb", "grading a model with mteb") from error
    return ModelMeta.create_empty({"name": name, "revision": revision, "embed_dim": dims})
