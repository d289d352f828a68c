"""The unmodified clients of OpenAI, Cohere and Voyage, and TEI's routes, against a server on this machine."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from asking import ask
from firth.serve import Running

TEXTS = ["the cat sat", "dogs bark at night", "stocks fell"]
LONG = " ".join(f"word{i}" for i in range(30))


@pytest.fixture
def openai_client(running: Running) -> Iterator[Any]:
    from openai import OpenAI

    with OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_openai_vectors_are_the_models_own_in_the_order_of_the_texts(openai_client: Any, encoder: Any) -> None:
    answer = openai_client.embeddings.create(model="hashed-words", input=TEXTS)  # base64 unless asked otherwise
    assert [item.index for item in answer.data] == [0, 1, 2]
    got = np.array([item.embedding for item in answer.data], np.float32)
    np.testing.assert_allclose(got, encoder.encode(TEXTS), atol=1e-6)
    floats = openai_client.embeddings.create(model="hashed-words", input=TEXTS, encoding_format="float")
    np.testing.assert_allclose(got, [item.embedding for item in floats.data], atol=1e-6)


def test_openai_usage_counts_the_tokens_that_were_read(openai_client: Any) -> None:
    answer = openai_client.embeddings.create(model="hashed-words", input=["one two", LONG])
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 4 + 12
    assert answer.usage.truncated_inputs == [1]


def test_openai_dimensions_cut_and_bring_back_to_length_one(openai_client: Any, encoder: Any) -> None:
    answer = openai_client.embeddings.create(model="hashed-words", input="the cat", dimensions=16)
    got = np.array(answer.data[0].embedding)
    whole = encoder.encode(["the cat"])[0, :16]
    np.testing.assert_allclose(got, whole / np.linalg.norm(whole), atol=1e-6)


def test_openai_learns_the_role_from_the_model_name_or_the_input_type(openai_client: Any, encoder: Any) -> None:
    by_name = openai_client.embeddings.create(model="hashed-words:query", input="cat").data[0].embedding
    by_type = openai_client.embeddings.create(model="hashed-words", input="cat", extra_body={"input_type": "query"})
    plain = openai_client.embeddings.create(model="hashed-words", input="cat").data[0].embedding
    assert by_name == by_type.data[0].embedding != plain
    assert encoder.kinds == ["query", "query", None]


def test_openai_errors_name_the_parameter(openai_client: Any) -> None:
    import openai

    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False") as told:
        openai_client.embeddings.create(model="hashed-words", input=[[1, 2, 3]])
    assert told.value.param == "input"
    assert told.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError, match="this server has 'hashed-words'"):
        openai_client.embeddings.create(model="text-embedding-3-small", input="a")
    with pytest.raises(openai.BadRequestError, match="this model's vectors have 32"):
        openai_client.embeddings.create(model="hashed-words", input="a", dimensions=64)
    with pytest.raises(openai.BadRequestError, match=r"input\[1\]: an empty text"):
        openai_client.embeddings.create(model="hashed-words", input=["a", ""])
    with pytest.raises(openai.BadRequestError, match="at most 2,048"):
        openai_client.embeddings.create(model="hashed-words", input=["a"] * 2049)


def test_openai_models_tell_what_a_client_has_to_know(openai_client: Any) -> None:
    (model,) = openai_client.models.list().data
    assert (model.id, model.max_model_len, model.dimensions, model.matryoshka_dims) == (
        "hashed-words",
        12,
        32,
        [16, 32],
    )
    assert openai_client.models.retrieve("hashed-words").id == "hashed-words"


def test_unknown_fields_are_ignored_on_openai_routes(openai_client: Any) -> None:
    body = {"truncate_prompt_tokens": 5, "nonsense": {"a": [1]}}
    assert openai_client.embeddings.create(model="hashed-words", input="a", extra_body=body).data


def test_a_text_that_was_cut_is_told_in_a_header_and_refused_where_that_is_asked_for(running: Running) -> None:
    body = {"model": "hashed-words", "input": ["a", LONG]}
    status, headers, _ = ask(running.url, "POST", "/v1/embeddings", body)
    assert (status, headers["x-embedding-truncated"]) == (200, "1")
    assert "x-embedding-truncated" not in ask(running.url, "POST", "/v1/embeddings", {**body, "input": "a"})[1]
    for refusal in ({"truncate": "NONE"}, {"truncation": False}, {"truncate": False}):
        status, _, answer = ask(running.url, "POST", "/v1/embeddings", {**body, **refusal})
        assert status == 400
        assert "input[1]: 32 tokens; the model reads 12" in answer["error"]["message"]
    metrics = ask(running.url, "GET", "/metrics")[2].decode()
    assert "firth_truncated_texts_total 1.0" in metrics


@pytest.fixture
def cohere_client(running: Running) -> Iterator[Any]:
    import cohere
    import httpx

    with httpx.Client() as http:  # the client's own is never closed
        yield cohere.ClientV2(api_key="none", base_url=running.url, httpx_client=http)


def test_cohere_embeds_in_every_type(cohere_client: Any, encoder: Any) -> None:
    types = ["float", "int8", "uint8", "binary", "ubinary"]
    answer = cohere_client.embed(model="hashed-words", texts=TEXTS, input_type="search_document", embedding_types=types)
    exact = encoder.encode(TEXTS, kind="document")
    np.testing.assert_allclose(answer.embeddings.float_, exact, atol=1e-6)
    whole = np.array(answer.embeddings.int8)
    assert np.abs(whole).max() == 127
    cosines = (whole * exact).sum(axis=1) / np.linalg.norm(whole, axis=1)
    assert cosines.min() > 0.9995
    np.testing.assert_array_equal(np.array(answer.embeddings.uint8), whole + 128)
    bits = np.array(answer.embeddings.ubinary, np.uint8)
    np.testing.assert_array_equal(np.unpackbits(bits, axis=1), exact > 0)
    np.testing.assert_array_equal(np.array(answer.embeddings.binary), bits.astype(int) - 128)


def test_cohere_roles_and_truncation(cohere_client: Any, encoder: Any) -> None:
    import cohere

    cohere_client.embed(model="hashed-words", texts=["a"], input_type="search_query")
    assert encoder.kinds[-1] == "query"
    told = cohere_client.embed(model="hashed-words", texts=[LONG], input_type="search_document")
    assert told.meta.warnings == ["1 of 1 texts were cut: [0]"]
    with pytest.raises(cohere.BadRequestError, match="the model reads 12"):
        cohere_client.embed(model="hashed-words", texts=[LONG], input_type="search_document", truncate="NONE")
    with pytest.raises(cohere.BadRequestError, match="images are not supported"):
        cohere_client.embed(model="hashed-words", input_type="image", images=["data:image/png;base64,AA=="])


def test_cohere_reranks_the_same_text_first(cohere_client: Any) -> None:
    answer = cohere_client.rerank(model="hashed-words", query="stocks fell", documents=TEXTS, top_n=2)
    assert answer.results[0].index == 2
    assert len(answer.results) == 2
    assert answer.results[0].relevance_score > 0.99 > answer.results[1].relevance_score >= 0


@pytest.fixture
def voyage_client(running: Running) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        voyageai = pytest.importorskip("voyageai")
        import requests

        with requests.Session() as session:  # the client's own is never closed
            voyageai.requestssession = session
            yield voyageai.Client(api_key="none", base_url=f"{running.url}/v1", max_retries=0)
            voyageai.requestssession = None


@pytest.mark.filterwarnings("ignore")
def test_voyage_decodes_every_type(voyage_client: Any, encoder: Any) -> None:
    exact = encoder.encode(TEXTS, kind="document")
    answer = voyage_client.embed(TEXTS, model="hashed-words", input_type="document")
    np.testing.assert_allclose(answer.embeddings, exact, atol=1e-6)
    assert answer.total_tokens == 5 + 6 + 4
    bits = voyage_client.embed(TEXTS, model="hashed-words", input_type="document", output_dtype="ubinary")
    np.testing.assert_array_equal(np.unpackbits(np.array(bits.embeddings, np.uint8), axis=1), exact > 0)
    whole = voyage_client.embed(TEXTS, model="hashed-words", input_type="document", output_dtype="int8")
    assert np.abs(np.array(whole.embeddings)).max() == 127
    short = voyage_client.embed(TEXTS, model="hashed-words", input_type="query", output_dimension=16)
    assert np.array(short.embeddings).shape == (3, 16)


@pytest.mark.filterwarnings("ignore")
def test_voyage_is_told_of_a_text_that_is_too_long(voyage_client: Any) -> None:
    import voyageai

    with pytest.raises(voyageai.error.InvalidRequestError, match="the model reads 12"):
        voyage_client.embed([LONG], model="hashed-words", input_type="document", truncation=False)


def test_base64_is_little_endian_float32(running: Running, encoder: Any) -> None:
    body = {"model": "hashed-words", "input": "cat", "encoding_format": "base64"}
    answer = ask(running.url, "POST", "/v1/embeddings", body)[2]
    row = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(row, encoder.encode(["cat"])[0], atol=1e-6)


def test_tei_routes_answer_in_its_shapes(running: Running, encoder: Any) -> None:
    url = running.url
    np.testing.assert_allclose(ask(url, "POST", "/embed", {"inputs": TEXTS})[2], encoder.encode(TEXTS), atol=1e-6)
    assert len(ask(url, "POST", "/embed", {"inputs": "one text"})[2]) == 1
    ranked = ask(url, "POST", "/rerank", {"query": "stocks fell", "texts": TEXTS, "return_text": True})[2]
    assert ranked[0] == {"index": 2, "score": pytest.approx(1, abs=1e-3), "text": "stocks fell"}
    alike = ask(url, "POST", "/similarity", {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS}})[2]
    assert alike[0] == pytest.approx(1, abs=1e-6)
    info = ask(url, "GET", "/info")[2]
    assert (info["model_id"], info["max_input_length"]) == ("hashed-words", 12)
    assert ask(url, "GET", "/health")[0] == 200
    assert ask(url, "POST", "/embed", {"inputs": LONG, "truncate": False})[2]["error_type"] == "Validation"
    jina = ask(url, "POST", "/rerank", {"query": "stocks fell", "documents": TEXTS, "return_documents": True})[2]
    assert jina["results"][0]["document"] == {"text": "stocks fell"}


def test_tokens_of_a_published_model(minilm: Any, serving: Callable[..., Running]) -> None:
    from firth.recipes.load import load

    url = serving(load(minilm)).url
    (tokens,) = ask(url, "POST", "/tokenize", {"inputs": "unbelievable cats"})[2]
    assert [token["text"] for token in tokens] == ["[CLS]", "unbelievable", "cats", "[SEP]"]
    assert (tokens[2]["start"], tokens[2]["stop"], tokens[0]["special"]) == (13, 17, True)
