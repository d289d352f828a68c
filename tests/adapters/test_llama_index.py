"""LlamaIndex over a collection: add, query in each mode, filters by every operator, delete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firth.errors import SettingsError
from firth.store import Collection
from store.conftest import DIMS, HashedWords

pytest.importorskip("llama_index.core")

from llama_index.core import VectorStoreIndex  # after the skip
from llama_index.core.schema import TextNode
from llama_index.core.storage import StorageContext
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from firth.adapters.llama_index import FirthEmbedding, FirthVectorStore

TEXTS = {"a": "the cat sat", "b": "a cat slept", "c": "dogs bark", "d": "stocks fell"}
META = {
    "a": {"year": 2019, "tags": ["pet", "calm"], "name": "Tom Cat"},
    "b": {"year": 2020, "tags": ["pet"], "name": "tom"},
    "c": {"year": 2021, "tags": ["pet", "loud"]},
    "d": {"year": 2022, "tags": [], "name": "Dow"},
}


@pytest.fixture
def embedding() -> FirthEmbedding:
    return FirthEmbedding(HashedWords())


@pytest.fixture
def store(tmp_path: Path, embedding: FirthEmbedding) -> Iterator[FirthVectorStore]:
    with Collection.create(tmp_path / "c", dims=DIMS) as collection:
        made = FirthVectorStore(collection)
        nodes = [TextNode(id_=key, text=text, metadata=META[key]) for key, text in TEXTS.items()]
        for node in nodes:
            node.embedding = embedding.get_text_embedding(node.text)
        made.add(nodes)
        yield made


def asked(store: FirthVectorStore, embedding: FirthEmbedding, text: str, **settings: object) -> list[str]:
    query = VectorStoreQuery(
        query_embedding=embedding.get_query_embedding(text), query_str=text, similarity_top_k=4, **settings
    )
    return list(store.query(query).ids or [])


def test_an_index_is_filled_and_asked_through_llama_index(tmp_path: Path, embedding: FirthEmbedding) -> None:
    with Collection.create(tmp_path / "x", dims=DIMS) as collection:
        context = StorageContext.from_defaults(vector_store=FirthVectorStore(collection))
        nodes = [  # by default LlamaIndex embeds the metadata, too
            TextNode(id_=key, text=text, metadata=META[key], excluded_embed_metadata_keys=["year", "tags", "name"])
            for key, text in TEXTS.items()
        ]
        index = VectorStoreIndex(nodes, storage_context=context, embed_model=embedding)
        found = index.as_retriever(similarity_top_k=1).retrieve("dogs bark")
        assert found[0].node.get_content() == "dogs bark"
        assert found[0].node.metadata == META["c"]
        assert found[0].score == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("operator", "key", "value", "ids"),
    [
        (FilterOperator.EQ, "year", 2020, "b"),
        (FilterOperator.NE, "year", 2020, "acd"),
        (FilterOperator.GT, "year", 2020, "cd"),
        (FilterOperator.GTE, "year", 2020, "bcd"),
        (FilterOperator.LT, "year", 2020, "a"),
        (FilterOperator.LTE, "year", 2020, "ab"),
        (FilterOperator.IN, "year", [2019, 2022], "ad"),
        (FilterOperator.NIN, "year", [2019, 2022], "bc"),
        (FilterOperator.ANY, "tags", ["calm", "loud"], "ac"),
        (FilterOperator.ALL, "tags", ["pet", "loud"], "c"),
        (FilterOperator.CONTAINS, "tags", "pet", "abc"),
        (FilterOperator.TEXT_MATCH, "name", "Cat", "a"),
        (FilterOperator.TEXT_MATCH_INSENSITIVE, "name", "TOM", "ab"),
        (FilterOperator.IS_EMPTY, "name", None, "c"),
        (FilterOperator.IS_EMPTY, "tags", None, "d"),
    ],
)
def test_every_operator_means_what_llama_index_says(
    store: FirthVectorStore, embedding: FirthEmbedding, operator: FilterOperator, key: str, value: object, ids: str
) -> None:
    wanted = MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])
    assert set(asked(store, embedding, "cat", filters=wanted)) == set(ids)
    assert {node.node_id for node in store.get_nodes(filters=wanted)} == set(ids)


def test_conditions_nest(store: FirthVectorStore, embedding: FirthEmbedding) -> None:
    old = MetadataFilter(key="year", value=2019)
    loud = MetadataFilter(key="tags", value="loud", operator=FilterOperator.CONTAINS)
    either = MetadataFilters(filters=[old, loud], condition=FilterCondition.OR)
    neither = MetadataFilters(filters=[either], condition=FilterCondition.NOT)
    assert set(asked(store, embedding, "cat", filters=either)) == {"a", "c"}
    assert set(asked(store, embedding, "cat", filters=neither)) == {"b", "d"}


def test_words_and_vectors_are_joined_by_the_share_that_is_asked_for(
    store: FirthVectorStore, embedding: FirthEmbedding
) -> None:
    mode = VectorStoreQueryMode.HYBRID
    assert asked(store, embedding, "stocks", mode=mode, alpha=0.0)[0] == "d"
    query = VectorStoreQuery(
        query_embedding=embedding.get_query_embedding("dogs bark"), query_str="stocks", similarity_top_k=1, mode=mode
    )
    for alpha, best in ((1.0, "c"), (0.0, "d")):
        query.alpha = alpha
        assert store.query(query).ids == [best]


def test_diversity_takes_what_is_unlike_the_first(store: FirthVectorStore, embedding: FirthEmbedding) -> None:
    mode = VectorStoreQueryMode.MMR
    assert set(asked(store, embedding, "cat", mode=mode, mmr_threshold=1.0)[:2]) == {"a", "b"}
    assert asked(store, embedding, "cat", mode=mode, mmr_threshold=0.0)[1] in {"c", "d"}


def test_a_mode_that_a_collection_does_not_have_is_refused(store: FirthVectorStore, embedding: FirthEmbedding) -> None:
    with pytest.raises(SettingsError, match="mode 'svm'"):
        asked(store, embedding, "cat", mode=VectorStoreQueryMode.SVM)


def test_nodes_go_by_id_by_document_and_all(store: FirthVectorStore) -> None:
    store.delete_nodes(["a", "nobody"])
    assert len(store.client) == 3
    store.delete("a document that has no nodes")
    assert {node.node_id for node in store.get_nodes(["b", "c"])} == {"b", "c"}
    store.clear()
    assert store.get_nodes() == []
