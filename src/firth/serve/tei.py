"""The routes of Hugging Face's text-embeddings-inference: /embed /rerank /similarity /tokenize /info.

/rerank also answers Cohere's and Jina's shape, which has `documents` where this one has `texts`.

Source: docs/openapi.json of text-embeddings-inference 1.9.
"""

from __future__ import annotations

from typing import Any

import msgspec

from firth.serve import cohere
from firth.serve.embed import checked_texts, embedded, role_of
from firth.serve.wire import Call, Endpoint, Refused, Reply, reply

KINDS = {413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy"}


class Embed(msgspec.Struct):
    """The body of POST /embed."""

    inputs: Any
    truncate: bool | None = None
    truncation_direction: str | None = None
    prompt_name: str | None = None
    normalize: bool = True
    dimensions: int | None = None


class Rerank(msgspec.Struct):
    """The body of POST /rerank."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None


class Pairs(msgspec.Struct):
    """One sentence and those it is compared with."""

    source_sentence: str
    sentences: list[str]


class Similarity(msgspec.Struct):
    """The body of POST /similarity."""

    inputs: Pairs
    parameters: dict[str, Any] | None = None


class Tokenize(msgspec.Struct):
    """The body of POST /tokenize."""

    inputs: Any
    add_special_tokens: bool = True
    prompt_name: str | None = None


def failure(status: int, message: str, param: str | None) -> Any:
    """TEI's error object."""
    return {"error": message, "error_type": KINDS.get(status, "Validation" if status < 500 else "Backend")}


async def embed(call: Call) -> Reply:
    """Vectors as lists of lists."""
    body = call.read(Embed)
    served = _served(call)
    if not body.normalize:
        raise Refused(400, "normalize=false is not supported: this model's vectors have length one")
    if body.truncation_direction not in (None, "Right", "right"):
        raise Refused(400, "truncation_direction: only Right is supported")
    texts = checked_texts(call, body.inputs, "inputs")
    kind = role_of(served, body.prompt_name, "prompt_name")
    made = await embedded(call, served, texts, kind, dims=body.dimensions, whole=body.truncate is False, field="inputs")
    return reply(made.vectors, headers=made.headers)


async def rerank(call: Call) -> Reply:
    """Texts by relevance; with `documents` in the body, Cohere's answer."""
    raw = call.read(dict[str, Any])
    if "documents" in raw:
        if "model" not in raw:
            call.body = msgspec.json.encode({"model": "default", **raw})
        return await cohere.rerank(call)
    body = call.read(Rerank)
    texts = checked_texts(call, body.texts, "texts")
    order, scores, _, cut = await cohere.ranked(call, _served(call), body.query, texts)
    found: list[dict[str, Any]] = [
        {"index": i, "score": scores[i] if body.raw_scores else (1 + scores[i]) / 2} for i in order
    ]
    if body.return_text:
        for line in found:
            line["text"] = texts[line["index"]]
    return reply(found, headers={"x-embedding-truncated": str(cut)} if cut else {})


async def similarity(call: Call) -> Reply:
    """Cosines of one sentence with others."""
    body = call.read(Similarity)
    served = _served(call)
    texts = checked_texts(call, [body.inputs.source_sentence, *body.inputs.sentences], "inputs")
    kind = role_of(served, (body.parameters or {}).get("prompt_name"), "prompt_name")
    made = await embedded(call, served, texts, kind, field="inputs")
    return reply(made.vectors[1:] @ made.vectors[0], headers=made.headers)


async def tokenize(call: Call) -> Reply:
    """The model's tokens of each text."""
    body = call.read(Tokenize)
    served = _served(call)
    tokenizer: Any = getattr(served.encoder, "tokenizer", None)
    if not hasattr(tokenizer, "spans"):
        raise Refused(400, "this model has no tokenizer: word vectors split at words")
    texts = checked_texts(call, body.inputs, "inputs")
    special = {*tokenizer.prefix, *tokenizer.suffix}

    def tokens() -> list[list[dict[str, Any]]]:
        ragged = tokenizer.encode(texts)
        found = []
        for i, text in enumerate(texts):
            ids, spans = ragged.row(i).tolist(), iter(tokenizer.spans(text).tolist())
            line = []
            for place, (id_, spelt) in enumerate(zip(ids, tokenizer.tokens(ids), strict=True)):
                ends = place < len(tokenizer.prefix) or place >= len(ids) - len(tokenizer.suffix)
                if ends and not body.add_special_tokens:
                    continue
                start, stop = (None, None) if ends else next(spans)
                line.append({"id": id_, "text": spelt, "special": ends or id_ in special, "start": start, "stop": stop})
            found.append(line)
        return found

    return reply(await call.work(tokens))


async def info(call: Call) -> Reply:
    """What is served, in TEI's words."""
    from firth import __version__

    served, limits = _served(call), call.server.limits
    return reply(
        {
            "model_id": served.name,
            "model_sha": served.fingerprint,
            "model_dtype": "float32",
            "model_type": {"embedding": {"pooling": "mean"}},
            "max_concurrent_requests": limits.requests,
            "max_input_length": served.max_tokens,
            "max_batch_tokens": None,
            "max_client_batch_size": limits.batch,
            "auto_truncate": True,
            "tokenization_workers": 1,
            "version": __version__,
        }
    )


def _served(call: Call) -> Any:
    served = call.server.library.served
    if served is None:
        raise Refused(404, "this server has no model; start it with --model")
    return served


ENDPOINTS = [
    Endpoint("POST", "/embed", "read", embed, failure, Embed, "Vectors (text-embeddings-inference)"),
    Endpoint("POST", "/rerank", "read", rerank, failure, Rerank, "Texts by relevance (TEI; Cohere's shape too)"),
    Endpoint(
        "POST", "/similarity", "read", similarity, failure, Similarity, "Cosines of one sentence with others (TEI)"
    ),
    Endpoint("POST", "/tokenize", "read", tokenize, failure, Tokenize, "Tokens of texts (TEI)"),
    Endpoint("GET", "/info", "read", info, failure, None, "The model and the limits (TEI)"),
]
