"""Frameworks that speak to a Qdrant or to OpenAI speak to the server as they are: LangChain, LlamaIndex, mteb.

Each is the published package, unmodified, over HTTP; what they find is held against their own local mode where they
have one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firth.serve import Running
from serve.conftest import DIMS, HashedWords

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own
TEXTS = ["a cat sat on the mat", "a kitten sleeps on a rug", "dogs bark at night", "stocks fell on monday"]
IDS = ["cat", "kitten", "00000000-0000-0000-0000-000000000007", "stocks"]


def as_langchain() -> Any:
    """The small model as LangChain's `Embeddings`."""
    embeddings = pytest.importorskip("langchain_core.embeddings")

    class Local(embeddings.Embeddings):  # type: ignore[misc, name-defined]
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return HashedWords().encode(texts, kind="document").tolist()  # type: ignore[no-any-return]

        def embed_query(self, text: str) -> list[float]:
            return HashedWords().encode([text], kind="query")[0].tolist()  # type: ignore[no-any-return]

    return Local()


@pytest.fixture
def langchain_stores(running: Running) -> tuple[Any, Any]:
    """langchain-qdrant over the server, and over qdrant-client's local mode."""
    qdrant = pytest.importorskip("langchain_qdrant")
    client = pytest.importorskip("qdrant_client")
    stores = []
    for made in (client.QdrantClient(url=running.url), client.QdrantClient(":memory:")):
        params = client.models.VectorParams(size=DIMS, distance="Cosine")
        made.create_collection("notes", vectors_config=params)
        stores.append(qdrant.QdrantVectorStore(made, "notes", as_langchain()))
    return stores[0], stores[1]


def test_langchain_qdrant_finds_what_its_local_mode_finds(langchain_stores: tuple[Any, Any]) -> None:
    import uuid

    from qdrant_client import models

    ids = [str(uuid.UUID(int=i)) for i in range(len(TEXTS))]  # the local mode takes no other strings
    found = []
    for store in langchain_stores:
        store.add_texts(TEXTS, [{"n": i, "kind": "pet" if i < 3 else "money"} for i in range(4)], ids=ids)
        only = models.Filter(must=[models.FieldCondition(key="metadata.n", range=models.Range(gte=1))])
        scored = store.similarity_search_with_score("a cat sleeps", k=3, filter=only)
        spread = store.max_marginal_relevance_search("a cat", k=3, lambda_mult=0.3)
        store.delete([ids[0]])
        left = store.similarity_search("a cat sat on the mat", k=4)
        found.append(
            (
                [(d.page_content, d.metadata["n"], round(score, 5)) for d, score in scored],
                [d.page_content for d in spread],
                [d.page_content for d in left],
                [d.page_content for d in store.get_by_ids(ids)],
            )
        )
    assert found[0] == found[1]


def test_langchain_qdrant_makes_a_collection_and_keeps_any_string_as_an_id(running: Running) -> None:
    qdrant = pytest.importorskip("langchain_qdrant")
    store = qdrant.QdrantVectorStore.from_texts(
        TEXTS, as_langchain(), ids=IDS, url=running.url, collection_name="made", prefer_grpc=False
    )
    assert [d.page_content for d in store.get_by_ids(["kitten"])] == [TEXTS[1]]
    assert store.similarity_search("stocks fell", k=1)[0].metadata["_id"] == "stocks"
    again = qdrant.QdrantVectorStore.from_existing_collection("made", as_langchain(), url=running.url)
    assert again.similarity_search("dogs bark at night", k=1)[0].page_content == TEXTS[2]
    retriever = again.as_retriever(search_type="mmr", search_kwargs={"k": 2})
    assert len(retriever.invoke("a cat")) == 2


def test_llama_index_fills_asks_filters_and_deletes_through_its_qdrant_store(running: Running) -> None:
    store_of = pytest.importorskip("llama_index.vector_stores.qdrant")
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores.types import (
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
        VectorStoreQuery,
    )
    from qdrant_client import QdrantClient

    answers = []
    for client in (QdrantClient(url=running.url), QdrantClient(":memory:")):
        store = store_of.QdrantVectorStore("nodes", client=client)
        rows = HashedWords().encode(TEXTS, kind="document").tolist()
        ids = [f"00000000-0000-0000-0000-00000000000{i}" for i in range(4)]
        store.add(
            [
                TextNode(id_=ids[i], text=text, metadata={"year": 2019 + i, "kind": "ab"[i % 2]}, embedding=rows[i])
                for i, text in enumerate(TEXTS)
            ]
        )
        query = HashedWords().encode(["a cat sleeps"], kind="query")[0].tolist()
        since = MetadataFilters(filters=[MetadataFilter(key="year", value=2020, operator=FilterOperator.GTE)])
        found = store.query(VectorStoreQuery(query_embedding=query, similarity_top_k=3))
        later = store.query(VectorStoreQuery(query_embedding=query, similarity_top_k=4, filters=since))
        store.delete_nodes([ids[0]])
        left = store.get_nodes(node_ids=ids)
        answers.append(
            (found.ids, np.round(found.similarities, 5).tolist(), later.ids, sorted(node.node_id for node in left))
        )
    assert answers[0] == answers[1]
    assert len(answers[0][2]) == 3


def test_mteb_grades_the_server_through_its_openai_wrapper(running: Running, encoder: HashedWords) -> None:
    wrappers = pytest.importorskip("mteb.models.openai_wrappers")
    import mteb
    from mteb.mocks import mock_tasks

    model = wrappers.OpenAIAPIEncodeWrapper(running.url, "hashed-words", modalities=["text"], use_chat_template=False)
    assert model.max_length == encoder.max_tokens
    made = np.asarray(model._get_embeddings(TEXTS))
    np.testing.assert_allclose(made, encoder.encode(TEXTS), atol=1e-6)
    task = mock_tasks.MockSTSTask()
    task.load_data()
    (result,) = mteb.evaluate(model, [task], cache=None, show_progress_bar=False).task_results
    assert -1 <= result.scores["test"][0]["main_score"] <= 1
