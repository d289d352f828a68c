"""LangChain's own tests of a vector store, all of them; and what they do not ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firth.errors import SettingsError
from store.conftest import HashedWords

pytest.importorskip("langchain_core")
standard = pytest.importorskip("langchain_tests.integration_tests.vectorstores")

from langchain_core.documents import Document  # noqa: E402  # after the skip
from langchain_core.embeddings import DeterministicFakeEmbedding  # noqa: E402

from firth.adapters.langchain import FirthEmbeddings, FirthVectorStore  # noqa: E402


class TestStandard(standard.VectorStoreIntegrationTests):  # type: ignore[misc, name-defined]
    """The standard suite; its asynchronous half runs where pytest-asyncio is installed."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[FirthVectorStore]:
        store = FirthVectorStore.create(tmp_path / "notes.firth", self.get_embeddings())
        yield store
        store.collection.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FirthVectorStore]:
    made = FirthVectorStore.create(tmp_path / "notes.firth", FirthEmbeddings(HashedWords()))
    texts = ["the cat sat", "a cat slept", "dogs bark", "stocks fell"]
    made.add_texts(texts, [{"n": i} for i in range(4)], ids=list("abcd"))
    yield made
    made.collection.close()


def test_a_filter_acts_inside_the_search(store: FirthVectorStore) -> None:
    found = store.similarity_search("cat", k=2, filter={"n": {"$gte": 2}})
    assert {document.id for document in found} == {"c", "d"}


def test_scores_are_cosines_and_relevance_lies_between_0_and_1(store: FirthVectorStore) -> None:
    (best, score), *_ = store.similarity_search_with_score("the cat sat", k=2)
    assert (best.id, best.metadata) == ("a", {"n": 0})
    assert score == pytest.approx(1.0, abs=1e-5)
    relevance = store.similarity_search_with_relevance_scores("dogs bark", k=4)
    assert all(0 <= value <= 1.00001 for _, value in relevance)


def test_diversity_takes_what_is_unlike_the_first(store: FirthVectorStore) -> None:
    near = [d.id for d in store.max_marginal_relevance_search("cat", k=2, lambda_mult=1.0)]
    far = [d.id for d in store.max_marginal_relevance_search("cat", k=2, lambda_mult=0.0)]
    assert set(near) == {"a", "b"}
    assert far[0] == near[0]
    assert far[1] in {"c", "d"}


def test_a_retriever_joins_words_to_vectors(store: FirthVectorStore) -> None:
    retriever = store.as_retriever(search_kwargs={"k": 1, "hybrid": True})
    assert retriever.invoke("stocks")[0].page_content == "stocks fell"


def test_a_store_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    fake = DeterministicFakeEmbedding(size=8)
    first = FirthVectorStore.from_documents([Document(id="x", page_content="hello")], fake, path=tmp_path / "s")
    first.collection.close()
    again = FirthVectorStore.create(tmp_path / "s", fake)
    assert again.similarity_search("hello", k=1)[0].id == "x"
    again.collection.close()


def test_settings_that_are_not_known_are_refused(store: FirthVectorStore, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="score_threshhold"):
        store.similarity_search("x", score_threshhold=0.5)
    with pytest.raises(SettingsError, match="path="):
        FirthVectorStore.from_texts(["x"], DeterministicFakeEmbedding(size=8))
