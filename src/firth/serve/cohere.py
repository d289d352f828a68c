"""Cohere's embed and rerank routes; rerank also in the shape of Jina and vLLM.

There is no cross-encoder here: documents are ranked by the served model's own vectors, and the relevance is their
cosine brought to 0 … 1.

Source: the request and response types of the cohere client (7.3), version 2.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import numpy as np

from firth.errors import SettingsError
from firth.serve.batcher import Served
from firth.serve.embed import TYPES, as_base64, checked_texts, embedded, model_of, role_of, typed
from firth.serve.wire import Call, Endpoint, Refused, Reply, reply

META = {"api_version": {"version": "2"}}


class Embed(msgspec.Struct):
    """The body of POST /v2/embed."""

    model: str
    input_type: str
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[dict[str, Any]] | None = None
    max_tokens: int | None = None
    output_dimension: int | None = None
    embedding_types: list[str] | None = None
    truncate: str = "END"
    priority: int | None = None


class Rerank(msgspec.Struct):
    """The body of POST /v2/rerank."""

    model: str
    query: str
    documents: list[str | dict[str, Any]]
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    return_documents: bool = False


def failure(status: int, message: str, param: str | None) -> Any:
    """Cohere's error object."""
    return {"message": message}


async def embed(call: Call) -> Reply:
    """Vectors by type."""
    body = call.read(Embed)
    served, _ = model_of(call, body.model)
    texts = checked_texts(call, _texts(body), "texts")
    types = body.embedding_types or ["float"]
    wrong = [type_ for type_ in types if type_ not in (*TYPES, "base64")]
    if wrong:
        raise Refused(400, f"embedding_types: {wrong[0][:20]!r} is not known; expected {', '.join(TYPES)} or base64")
    if body.truncate not in ("NONE", "END"):
        raise Refused(400, f"truncate: {body.truncate[:20]!r} is not supported; expected NONE or END")
    if body.max_tokens is not None and (served.max_tokens is None or body.max_tokens < served.max_tokens):
        raise Refused(400, "max_tokens is not supported; texts are cut where the model ends")
    kind = role_of(served, body.input_type, "input_type")
    whole = body.truncate == "NONE"
    made = await embedded(call, served, texts, kind, dims=body.output_dimension, whole=whole, field="texts")
    try:
        rows = {type_: _rows(made.vectors, type_) for type_ in types}
    except SettingsError as error:
        raise Refused(400, str(error)) from error
    meta: dict[str, Any] = {**META, "billed_units": {"input_tokens": made.tokens}}
    if made.cut:
        meta["warnings"] = [f"{len(made.cut)} of {len(texts)} texts were cut: {made.cut}"]
    answer = {
        "id": str(uuid.uuid4()),
        "texts": texts,
        "embeddings": rows,
        "response_type": "embeddings_by_type",
        "meta": meta,
    }
    return reply(answer, headers=made.headers)


async def rerank(call: Call) -> Reply:
    """The documents by their relevance to the query."""
    body = call.read(Rerank)
    served, _ = model_of(call, body.model)
    documents = [text if isinstance(text, str) else text.get("text") for text in body.documents]
    texts = checked_texts(call, documents, "documents")
    if body.top_n is not None and body.top_n < 1:
        raise Refused(400, f"top_n: {body.top_n}: expected at least 1")
    if body.max_tokens_per_doc is not None and body.max_tokens_per_doc < (served.max_tokens or 0) < 4096:
        raise Refused(400, "max_tokens_per_doc is not supported; documents are cut where the model ends")
    order, scores, tokens, cut = await ranked(call, served, body.query, texts)
    results: list[dict[str, Any]] = [
        {"index": i, "relevance_score": (1 + scores[i]) / 2} for i in order[: body.top_n or len(order)]
    ]
    if body.return_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    meta = {**META, "billed_units": {"search_units": 1, "input_tokens": tokens}}
    usage = {"total_tokens": tokens}
    headers = {"x-embedding-truncated": str(cut)} if cut else {}
    return reply(
        {"id": str(uuid.uuid4()), "results": results, "meta": meta, "model": served.name, "usage": usage},
        headers=headers,
    )


async def ranked(call: Call, served: Served, query: str, texts: list[str]) -> tuple[list[int], list[float], int, int]:
    """Places of the texts, nearest to the query first; each text's cosine; tokens read; texts cut."""
    asked = await embedded(call, served, checked_texts(call, query, "query"), "query")
    found = await embedded(call, served, texts, "document", field="documents")
    scores = np.clip(found.vectors @ asked.vectors[0], -1, 1)
    order = np.argsort(-scores, kind="stable").tolist()
    return order, scores.astype(float).tolist(), asked.tokens + found.tokens, len(asked.cut) + len(found.cut)


def _texts(body: Embed) -> list[str] | None:
    if body.images is not None:
        raise Refused(400, "images are not supported; this model reads texts")
    if body.inputs is None:
        return body.texts
    texts = []
    for i, item in enumerate(body.inputs):
        content = item.get("content")
        parts = content if isinstance(content, list) else []
        if not parts or not all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
            raise Refused(400, f"inputs[{i}]: expected content with parts of type text")
        texts.append("\n".join(str(part.get("text", "")) for part in parts))
    return texts


def _rows(vectors: Any, type_: str) -> Any:
    return [as_base64(row) for row in vectors] if type_ == "base64" else typed(vectors, type_)


ENDPOINTS = [
    Endpoint("POST", "/v2/embed", "read", embed, failure, Embed, "Vectors (Cohere)"),
    Endpoint("POST", "/v2/rerank", "read", rerank, failure, Rerank, "Documents by relevance (Cohere, Jina, vLLM)"),
    Endpoint("POST", "/v1/rerank", "read", rerank, failure, Rerank, "The same"),
]
