"""LlamaIndex's `BaseEmbedding` and vector store over a firth encoder and a firth collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Encoder, Vectors
from firth.errors import MissingExtraError, SettingsError
from firth.recipes.load import load
from firth.store import Collection, Hit, Hybrid, Record

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.schema import BaseNode, MetadataMode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
except ImportError as error:
    raise MissingExtraError("llama-index-core", "llama-index", "LlamaIndex's interfaces") from error

PARENT = "ref_doc_id"  # where LlamaIndex keeps which document a node is of
PAGE = 1_000
OPERATORS = {
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
}
MODES = (
    VectorStoreQueryMode.DEFAULT,
    VectorStoreQueryMode.HYBRID,
    VectorStoreQueryMode.SEMANTIC_HYBRID,
    VectorStoreQueryMode.MMR,
)


class FirthEmbedding(BaseEmbedding):  # type: ignore[misc]  # Any where llama-index is not installed
    """LlamaIndex's embedding by a firth encoder; queries and documents get their own prompts."""

    _encoder: Encoder = PrivateAttr()

    def __init__(self, model: str | Path | Encoder, **settings: Any) -> None:
        encoder: Encoder = load(model) if isinstance(model, str | Path) else model
        super().__init__(
            model_name=str(model) if isinstance(model, str | Path) else encoder.fingerprint[:12], **settings
        )
        self._encoder = encoder

    @classmethod
    def class_name(cls) -> str:
        """For LlamaIndex's own books."""
        return "FirthEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        row: list[float] = self._encoder.encode([query], kind="query")[0].tolist()
        return row

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._encoder.encode(texts, kind="document").tolist()
        return rows


class FirthVectorStore(BasePydanticVectorStore):  # type: ignore[misc]
    """A collection of nodes. LlamaIndex embeds; the collection keeps, filters, and joins words to vectors."""

    stores_text: bool = True
    flat_metadata: bool = False

    _collection: Collection = PrivateAttr()

    def __init__(self, collection: Collection) -> None:
        """Over a collection made with `dims=` of the embedding: Collection.create(path, dims=384)."""
        super().__init__(stores_text=True)
        self._collection = collection

    @classmethod
    def class_name(cls) -> str:
        """For LlamaIndex's own books."""
        return "FirthVectorStore"

    @property
    def client(self) -> Collection:
        """The collection."""
        return self._collection

    def add(self, nodes: Sequence[BaseNode], **wrong: Any) -> list[str]:
        """Store nodes with their embeddings."""
        _none(wrong)
        nodes = list(nodes)
        if nodes:
            self._collection.upsert(
                [node.node_id for node in nodes],
                [node.get_content(metadata_mode=MetadataMode.NONE) for node in nodes],
                [node_to_metadata_dict(node, remove_text=True, flat_metadata=False) for node in nodes],
                vectors=np.asarray([node.get_embedding() for node in nodes], np.float32),
            )
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **wrong: Any) -> None:
        """Remove all nodes of a document."""
        _none(wrong)
        self._collection.delete(filter={"must": [{"key": PARENT, "match": {"value": ref_doc_id}}]})

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **wrong: Any
    ) -> None:
        """Remove nodes by id, by filter, or by both."""
        _none(wrong)
        if node_ids is None and filters is None:
            return
        self._collection.delete(filter=_both(filters, node_ids))

    def clear(self) -> None:
        """Remove every node."""
        self._collection.delete(filter={})

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Nodes by id, by filter, or by both."""
        wanted, start, nodes = _both(filters, node_ids), None, []
        while True:
            page = self._collection.scroll(wanted, limit=PAGE, start=start, with_vectors=True)
            nodes += [_node(record, record.vectors.get("")) for record in page.records]
            if page.next is None:
                return nodes
            start = page.next

    def query(self, query: VectorStoreQuery, **wrong: Any) -> VectorStoreQueryResult:
        """By vector, by vector and words (hybrid; alpha = the share of the vectors), or with diversity (MMR).

        Raises:
            SettingsError: a mode that a collection does not have.
        """
        _none(wrong)
        if query.mode not in MODES:
            raise SettingsError(f"mode {query.mode.value!r}: expected {', '.join(mode.value for mode in MODES)}")
        wanted = _both(query.filters, query.node_ids or None)  # LlamaIndex says [] where it means all
        if query.doc_ids:
            wanted = {"must": [wanted or {}, {"key": PARENT, "match": {"any": list(query.doc_ids)}}]}
        hybrid = query.mode in (VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.SEMANTIC_HYBRID)
        if hybrid:
            hits = self._joined(query, wanted)
        else:
            threshold = 0.5 if query.mmr_threshold is None else query.mmr_threshold
            hits = self._collection.search(
                _embedding(query),
                query.similarity_top_k,
                filter=wanted,
                diversity=1 - threshold if query.mode == VectorStoreQueryMode.MMR else None,
            )
        return VectorStoreQueryResult([_node(hit) for hit in hits], [h.score for h in hits], [str(h.id) for h in hits])

    def _joined(self, query: VectorStoreQuery, wanted: Mapping[str, Any] | None) -> list[Hit]:
        """Reciprocal-rank fusion of the nearest by the given vector and the best by the words."""
        if query.query_str is None:
            raise SettingsError("hybrid: expected query_str, the query's words")
        k = query.hybrid_top_k or query.similarity_top_k
        how = Hybrid()
        wide, alpha = max(k, how.candidates), 0.5 if query.alpha is None else query.alpha
        found: dict[int | str, Hit] = {}
        scores: dict[int | str, float] = {}
        for share, hits in (
            (alpha, self._collection.search(_embedding(query), wide, filter=wanted)),
            (1 - alpha, self._collection.search_words(query.query_str, wide, filter=wanted)),
        ):
            for rank, hit in enumerate(hits, 1):
                found.setdefault(hit.id, hit)
                scores[hit.id] = scores.get(hit.id, 0.0) + 2 * share / (how.k + rank)
        best = sorted(found, key=lambda key: -scores[key])[:k]
        return [replace(found[key], score=scores[key]) for key in best]


def _embedding(query: VectorStoreQuery) -> list[float]:
    if query.query_embedding is None:
        raise SettingsError("query: expected query_embedding; give the index an embed_model")
    return list(query.query_embedding)


def _both(filters: MetadataFilters | None, node_ids: Sequence[str] | None) -> dict[str, Any] | None:
    must: list[Any] = []
    if filters is not None and filters.filters:
        must.append(_clause(filters))
    if node_ids is not None:
        must.append({"has_id": list(node_ids)})
    return {"must": must} if must else None


def _clause(filters: MetadataFilters) -> dict[str, Any]:
    parts = [_clause(one) if isinstance(one, MetadataFilters) else _condition(one) for one in filters.filters]
    name = {FilterCondition.OR: "should", FilterCondition.NOT: "must_not"}.get(filters.condition, "must")
    return {name: parts}


def _condition(one: MetadataFilter) -> dict[str, Any]:
    """One of LlamaIndex's conditions in the language of the collection."""
    key, value, operator = one.key, one.value, one.operator
    if operator in OPERATORS:
        return {"key": key, "range": {OPERATORS[operator]: value}}
    match operator:
        case FilterOperator.EQ | FilterOperator.CONTAINS:
            return {"key": key, "match": {"value": value}}
        case FilterOperator.NE:
            return {"must_not": [{"key": key, "match": {"value": value}}]}
        case FilterOperator.IN | FilterOperator.ANY:
            return {"key": key, "match": {"any": list(value)}}
        case FilterOperator.NIN:
            return {"must_not": [{"key": key, "match": {"any": list(value)}}]}
        case FilterOperator.ALL:
            return {"must": [{"key": key, "match": {"value": each}} for each in value]}
        case FilterOperator.TEXT_MATCH:
            return {"key": key, "match": {"substring": value}}
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return {"key": key, "match": {"text": value}}
        case FilterOperator.IS_EMPTY:
            return {"is_empty": {"key": key}}
        case _:
            raise SettingsError(f"filter of {key!r}: operator {operator!r} is not known to FirthVectorStore")


def _node(held: Hit | Record, vector: Vectors | None = None) -> BaseNode:
    node = metadata_dict_to_node(held.payload, text=held.text)
    node.embedding = None if vector is None else vector.tolist()
    return node


def _none(wrong: Mapping[str, Any]) -> None:
    if wrong:
        raise SettingsError(f"{', '.join(map(repr, sorted(wrong)))}: not known to FirthVectorStore")
