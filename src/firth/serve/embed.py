"""Embedding for the protocols: which model, which role, how wide, in which type; what was cut is told."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firth.arrays import Vectors
from firth.errors import SettingsError
from firth.serve.batcher import Made, Served, narrowed
from firth.serve.wire import Call, Refused

ROLES = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
}
TASKS = {"classification", "clustering"}  # a prompt of the model if it has one, else none
TYPES = ("float", "int8", "uint8", "binary", "ubinary")
HEADER = "x-embedding-truncated"


@dataclass(frozen=True, slots=True)
class Embedded:
    """n vectors as a client asked for them, with what they cost."""

    vectors: Vectors
    tokens: int
    cut: list[int]

    @property
    def headers(self) -> dict[str, str]:
        """Tells of texts whose end was not read."""
        return {HEADER: str(len(self.cut))} if self.cut else {}


def model_of(call: Call, name: str) -> tuple[Served, str | None]:
    """The model that a client names, and the role in "name:query" or "name:document".

    Raises:
        Refused: 404, there is none, or it is called otherwise.
    """
    served = call.server.library.served
    if served is None:
        raise Refused(404, "this server has no model; start it with --model", param="model")
    plain, _, role = name.rpartition(":")
    if plain in (served.name, "default") and role in ROLES:
        return served, ROLES[role]
    if name not in (served.name, "default"):
        raise Refused(404, f"the model {name[:100]!r} is not here; this server has {served.name!r}", param="model")
    return served, None


def role_of(served: Served, wanted: Any, field: str) -> str | None:
    """The kind that the encoder knows for a client's word for it.

    Raises:
        Refused: 400.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        raise Refused(400, f"{field}: expected a string", param=field)
    if wanted in ROLES:
        return ROLES[wanted]
    if wanted in served.prompts:
        return wanted
    if wanted in TASKS:
        return None
    known = sorted({*ROLES, *TASKS, *served.prompts})
    raise Refused(400, f"{field}: {wanted[:100]!r} is not known; expected one of {', '.join(known)}", param=field)


def checked_texts(call: Call, texts: Any, field: str, *, most: int | None = None) -> list[str]:
    """A text or a list of them, within the limits.

    Raises:
        Refused: 400.
    """
    limits, texts = call.server.limits, [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(400, f"{field}: expected a text or a list of texts", param=field)
    most = min(most or limits.batch, limits.batch)
    if len(texts) > most:
        raise Refused(400, f"{field}: {len(texts):,} texts; at most {most:,} are taken in one request", param=field)
    for i, text in enumerate(texts):
        if not text:
            raise Refused(400, f"{field}[{i}]: an empty text has no meaning", param=field)
        if len(text) > limits.characters:
            raise Refused(
                400, f"{field}[{i}]: {len(text):,} characters; at most {limits.characters:,} are taken", param=field
            )
    return texts


async def embedded(
    call: Call,
    served: Served,
    texts: Sequence[str],
    kind: str | None,
    *,
    dims: int | None = None,
    whole: bool = False,
    field: str = "input",
) -> Embedded:
    """Vectors of the texts.

    Args:
        dims: only so many leading values, brought back to length one.
        whole: refuse texts that the model cannot read to the end.

    Raises:
        Refused: 400 too wide or too long, 429 too much waits.
    """
    if dims is not None and not 1 <= dims <= served.dims:
        raise Refused(400, f"dimensions: {dims}: this model's vectors have {served.dims}", param="dimensions")
    if whole and served.max_tokens is not None:
        counted = await call.work(served.tokens, texts, kind)
        for i in np.flatnonzero(counted > served.max_tokens)[:1].tolist():
            raise Refused(
                400, f"{field}[{i}]: {counted[i]:,} tokens; the model reads {served.max_tokens:,}", param=field
            )
    made = await encoded(served, texts, kind)
    call.rows += len(texts)
    return Embedded(
        narrowed(made.vectors, dims or served.dims), int(made.tokens.sum()), np.flatnonzero(made.cut).tolist()
    )


async def encoded(served: Served, texts: Sequence[str], kind: str | None) -> Made:
    """The texts' vectors, when it is their turn."""
    return await asyncio.wrap_future(served.submit(texts, kind))


def typed(vectors: Vectors, type_: str) -> Any:
    """The rows in another type, (n, d) or for the binary ones (n, d / 8).

    int8 is scaled by each row's largest value, which keeps cosines; uint8 is int8 + 128; ubinary packs the signs, the
    first dimension in the highest bit; binary is ubinary - 128.

    Raises:
        SettingsError: binary of a width that is no multiple of 8.
    """
    if type_ == "float":
        return vectors
    if type_ in ("int8", "uint8"):
        scale = np.abs(vectors).max(axis=1, keepdims=True)
        whole = np.rint(vectors / np.where(scale == 0, 1, scale) * 127).astype(np.int16)
        return whole.astype(np.int8) if type_ == "int8" else (whole + 128).astype(np.uint8)
    if type_ not in TYPES:
        raise SettingsError(f"embedding type {type_!r}: expected one of {', '.join(TYPES)}")
    if vectors.shape[1] % 8:
        raise SettingsError(f"binary vectors need a multiple of 8 dimensions, these have {vectors.shape[1]}")
    bits = np.packbits(vectors > 0, axis=1)
    return bits if type_ == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)


def as_base64(row: Any) -> str:
    """The row's bytes; little-endian float32 for floats."""
    return base64.b64encode(np.ascontiguousarray(row).data).decode()
