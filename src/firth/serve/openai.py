"""OpenAI's embeddings and models routes, with the fields that Voyage, NVIDIA NIM and Jina add to them.

Unknown fields are ignored, as OpenAI's clients expect. Lists of token ids are refused: they are of a
tokenizer that this model does not have.

Source: the request and response types of the openai (3.54) and voyageai (0.5) clients.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from firth.errors import SettingsError
from firth.serve.batcher import Served
from firth.serve.embed import TYPES, Embedded, as_base64, checked_texts, embedded, model_of, role_of, typed
from firth.serve.wire import Call, Endpoint, Refused, Reply, reply

CREATED = 1_767_225_600  # 2026-01-01: a model's age is not known, and clients want a number
KINDS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
         429: "rate_limit_error"}  # fmt: skip


class Embeddings(msgspec.Struct):
    """The body of POST /v1/embeddings.

    `dimensions` is also called `output_dimension`, `input_type` also `task` or `prompt_name`, `output_dtype` also
    `embedding_type`; `truncation` and `truncate` say whether long texts may be cut.
    """

    input: Any
    model: str
    dimensions: int | None = None
    output_dimension: int | None = None
    encoding_format: str | None = None
    input_type: str | None = None
    task: str | None = None
    prompt_name: str | None = None
    output_dtype: str | None = None
    embedding_type: str | None = None
    truncation: bool | None = None
    truncate: bool | str | None = None
    normalize: bool | None = None
    normalized: bool | None = None
    late_chunking: bool | None = None
    user: str | None = None


def failure(status: int, message: str, param: str | None) -> Any:
    """OpenAI's error object, which its clients unpack; `detail` is where Voyage's client looks."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"message": message, "type": kind, "param": param, "code": None}
    return {"error": error, "detail": message}


async def embeddings(call: Call) -> Reply:
    """Vectors of one text or of many."""
    body = call.read(Embeddings)
    served, named_role = model_of(call, body.model)
    texts = _texts(call, body.input)
    wanted = (
        body.input_type or body.prompt_name or (body.task or "").removeprefix("retrieval.").replace("-", "_") or None
    )
    kind = role_of(served, wanted, "input_type") if wanted else named_role
    if body.late_chunking:
        raise Refused(400, "late_chunking is not supported; send the chunks", param="late_chunking")
    if body.normalize is False or body.normalized is False:
        raise Refused(400, "normalize=false is not supported: this model's vectors have length one", param="normalize")
    made = await embedded(
        call,
        served,
        texts,
        kind,
        dims=body.dimensions if body.dimensions is not None else body.output_dimension,
        whole=not _may_cut(body),
    )
    return reply(_answer(call, served, body, made), headers=_headers(call, made))


async def models(call: Call) -> Reply:
    """The one model, if there is one."""
    served = call.server.library.served
    return reply({"object": "list", "data": [] if served is None else [about(served)]})


async def model(call: Call) -> Reply:
    """The model by its name."""
    return reply(about(model_of(call, call.path["model"])[0]))


def about(served: Served) -> dict[str, Any]:
    """OpenAI's model object, with what a client should know of its vectors."""
    return {
        "id": served.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "firth",
        "max_model_len": served.max_tokens,
        "dimensions": served.dims,
        "matryoshka_dims": list(served.trained_dims),
        "prompts": served.prompts,
        "fingerprint": served.fingerprint,
    }


def _texts(call: Call, value: Any) -> list[str]:
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, int | float) or (isinstance(first, list) and first and isinstance(first[0], int)):
        raise Refused(
            400,
            "input: token ids are of another model's tokenizer; send texts (LangChain's OpenAIEmbeddings: "
            "check_embedding_ctx_length=False)",
            param="input",
        )
    if isinstance(value, list) and value and all(isinstance(item, dict) and set(item) == {"text"} for item in value):
        value = [item["text"] for item in value]
    return checked_texts(call, value, "input")


def _may_cut(body: Embeddings) -> bool:
    truncate = body.truncate
    if isinstance(truncate, str):
        if truncate.upper() not in ("NONE", "END"):
            raise Refused(400, f"truncate: {truncate[:20]!r}: expected NONE or END", param="truncate")
        return truncate.upper() == "END"
    return truncate is not False and body.truncation is not False


def _answer(call: Call, served: Served, body: Embeddings, made: Embedded) -> dict[str, Any]:
    encoding, kind = body.encoding_format or "float", body.output_dtype or "float"
    if body.embedding_type == "base64":
        encoding = "base64"
    elif body.embedding_type is not None:
        kind = body.embedding_type
    if encoding not in ("float", "base64") or kind not in TYPES:
        names = f"expected float or base64 as encoding, {', '.join(TYPES)} as type"
        raise Refused(
            400, f"encoding_format {encoding[:20]!r}, output_dtype {kind[:20]!r}: {names}", param="encoding_format"
        )
    try:
        rows = typed(made.vectors, kind)
    except SettingsError as error:
        raise Refused(400, str(error), param="output_dtype") from error
    data = [
        {"object": "embedding", "index": i, "embedding": as_base64(row) if encoding == "base64" else row}
        for i, row in enumerate(rows)
    ]
    usage: dict[str, Any] = {"prompt_tokens": made.tokens, "total_tokens": made.tokens}
    if made.cut:
        usage["truncated_inputs"] = made.cut
    return {"object": "list", "data": data, "model": served.name, "usage": usage}


def _headers(call: Call, made: Embedded) -> dict[str, str]:
    return {**made.headers, "openai-processing-ms": str(round(1e3 * (time.perf_counter() - call.started)))}


ENDPOINTS = [
    Endpoint("POST", "/v1/embeddings", "read", embeddings, failure, Embeddings, "Vectors (OpenAI, Voyage, NIM, Jina)"),
    Endpoint("POST", "/embeddings", "read", embeddings, failure, Embeddings, "The same without /v1"),
    Endpoint("GET", "/v1/models", "read", models, failure, None, "The model that is served"),
    Endpoint("GET", "/v1/models/{model:path}", "read", model, failure, None, "One model"),
]
