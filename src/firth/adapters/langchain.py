"""LangChain's `Embeddings` and `VectorStore` over a firth encoder and a firth collection.

Metadata is the payload, `page_content` the text, and any string an id. A `filter` is written as everywhere in firth:
Qdrant's language or the Mongo-like one, {"year": {"$gte": 2020}}; it acts inside the search, so that k hits come back.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Encoder, Vectors, unit
from firth.errors import MissingExtraError, SettingsError
from firth.recipes.load import load
from firth.store import Collection, Hit, Hybrid, Record

try:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance
except ImportError as error:
    raise MissingExtraError("langchain-core", "langchain", "LangChain's interfaces") from error


class FirthEmbeddings(Embeddings):  # type: ignore[misc]  # Any where langchain is not installed
    """LangChain's `Embeddings` by a firth encoder; queries and documents get their own prompts.

    >>> FirthEmbeddings("sentence-transformers/all-MiniLM-L6-v2").embed_query("a question")  # doctest: +SKIP
    """

    def __init__(self, model: str | Path | Encoder, *, dims: int | None = None) -> None:
        """Load a model, or take an encoder.

        Args:
            model: as `firth.load` takes it, or an encoder.
            dims: leading dimensions to keep; all if None.
        """
        self.encoder: Encoder = load(model) if isinstance(model, str | Path) else model
        self.dims = dims

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One unit vector a text."""
        rows: list[list[float]] = self.encoder.encode(texts, kind="document", dims=self.dims).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """The query's unit vector."""
        row: list[float] = self.encoder.encode([text], kind="query", dims=self.dims)[0].tolist()
        return row


class FirthVectorStore(VectorStore):  # type: ignore[misc]
    """A collection as LangChain's `VectorStore`."""

    def __init__(self, collection: Collection, embedding: Embeddings | None = None) -> None:
        """Over an open collection.

        Args:
            collection: with an encoder of its own, or made with `create` here.
            embedding: shown as `embeddings`; vectors are made by the collection's encoder.
        """
        self.collection = collection
        self._embedding = embedding

    @classmethod
    def create(cls, path: Path | str, embedding: Embeddings | str) -> FirthVectorStore:
        """Open the collection at `path`, or make it; LangChain's embedding, or the name of a model, fills it."""
        if isinstance(embedding, str):
            embedding = FirthEmbeddings(embedding)
        encoder = embedding.encoder if isinstance(embedding, FirthEmbeddings) else _Foreign(embedding)
        dims = embedding.dims if isinstance(embedding, FirthEmbeddings) else None
        there = Path(path).is_dir() and any(Path(path).iterdir())
        made = Collection.open(path, encoder=encoder) if there else Collection.create(path, encoder=encoder, dims=dims)
        return cls(made, embedding)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: Path | str | None = None,
        **wrong: Any,
    ) -> FirthVectorStore:
        """A store of these texts in the folder `path`, which has to be named: firth keeps what it is given."""
        _none(wrong)
        if path is None:
            raise SettingsError("from_texts: expected path=, the folder in which the collection is kept")
        store = cls.create(path, embedding)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> Embeddings | None:
        """LangChain's name of the embedding."""
        if self._embedding is None and self.collection.encoder is not None:
            return FirthEmbeddings(self.collection.encoder)
        return self._embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **wrong: Any,
    ) -> list[str]:
        """Embed and store; an id that is known is replaced, one that is missing is made up."""
        _none(wrong)
        listed = list(texts)
        keys = [key or str(uuid.uuid4()) for key in ids or [None] * len(listed)]
        self.collection.upsert(keys, listed, metadatas)
        return keys

    def delete(self, ids: list[str] | None = None, **wrong: Any) -> bool | None:
        """Remove by id; without ids, everything. Ids that are not there do no harm."""
        _none(wrong)
        self.collection.delete(filter={}) if ids is None else self.collection.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id, in this order; those that do not exist are left out."""
        return [_document(record) for record in self.collection.get(ids)]

    def similarity_search(
        self, query: str, k: int = 4, *, filter: Mapping[str, Any] | None = None, **settings: Any
    ) -> list[Document]:
        """The k nearest; `hybrid=True` joins what the words find."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter=filter, **settings)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
        **wrong: Any,
    ) -> list[tuple[Document, float]]:
        """With cosine similarity, larger is nearer; of a hybrid search the fused score."""
        _none(wrong)
        hits = self.collection.search(query, k, filter=filter, hybrid=hybrid)
        return [(_document(hit), hit.score) for hit in hits]

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, *, filter: Mapping[str, Any] | None = None, **wrong: Any
    ) -> list[Document]:
        """The k nearest to a vector."""
        _none(wrong)
        return [_document(hit) for hit in self.collection.search(embedding, k, filter=filter)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **settings: Any
    ) -> list[Document]:
        """k of the `fetch_k` nearest that are near to the query and unlike each other."""
        encoder = self.collection.encoder
        if encoder is None:
            raise SettingsError("the collection has no encoder: open it with one, or search by vector")
        row = encoder.encode([query], kind="query", dims=self._dims)[0]
        return self.max_marginal_relevance_search_by_vector(row.tolist(), k, fetch_k, lambda_mult, **settings)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Mapping[str, Any] | None = None,
        **wrong: Any,
    ) -> list[Document]:
        """The same of a vector; `lambda_mult` 1 = nearness only, 0 = difference only."""
        _none(wrong)
        hits = self.collection.search(embedding, fetch_k, filter=filter)
        rows = [r.vectors[""] for r in self.collection.get([hit.id for hit in hits], with_vectors=True)]
        if not rows:
            return []
        query = np.asarray(embedding, np.float32)
        chosen = maximal_marginal_relevance(query, [row.tolist() for row in rows], lambda_mult, k)
        return [_document(hits[i]) for i in chosen]

    @property
    def _dims(self) -> int:
        return self.collection.vector_settings()[""].dims

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Cosine, -1 … 1, as LangChain's relevance, 0 … 1."""
        return lambda score: (score + 1) / 2


class _Foreign:
    """A LangChain embedding as a firth encoder: unit rows, and a fingerprint of its type, model and one vector."""

    def __init__(self, embedding: Embeddings) -> None:
        self._embedding = embedding
        probe = np.asarray(embedding.embed_query("firth"), np.float32)
        self.dims = len(probe)
        model = getattr(embedding, "model", None) or getattr(embedding, "model_name", None) or ""
        told = f"{type(embedding).__module__}.{type(embedding).__qualname__} {model} {self.dims}"
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """(n, dims) unit rows."""
        rows = list(self._rows(texts, kind))
        return unit(np.asarray(rows, np.float32).reshape(len(rows), self.dims)[:, : dims or self.dims])

    def _rows(self, texts: Sequence[str], kind: str | None) -> Iterator[list[float]]:
        if kind == "query":
            yield from map(self._embedding.embed_query, texts)
        else:
            yield from self._embedding.embed_documents(list(texts))


def _document(held: Hit | Record) -> Document:
    return Document(id=str(held.id), page_content=held.text, metadata=held.payload)


def _none(wrong: Mapping[str, Any]) -> None:
    if wrong:
        raise SettingsError(f"{', '.join(map(repr, sorted(wrong)))}: not known to FirthVectorStore")
