"""Texts in place of vectors: {"text": "…", "model": "…"} wherever Qdrant's clients may send a vector.

The server embeds them in the role that it knows: documents where points are written, queries where they are searched.
With the model "bm25" the text is searched by its words, in the collection's own word index.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from firth.serve.embed import checked_texts, encoded, model_of
from firth.serve.library import Shelf
from firth.serve.wire import Call, Refused

OBJECT = {"text", "model", "options"}
WORDS = ("bm25", "qdrant/bm25")


@dataclass(frozen=True, slots=True)
class Words:
    """A text that is searched by its words."""

    text: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text and the vector that was made of it."""

    text: str
    vector: Any


Place = tuple[Any, Any]  # a list or dict, and the key under which a text object lies in it


def is_text(value: Any) -> bool:
    """Whether this stands for a vector of a text."""
    return isinstance(value, dict) and isinstance(value.get("text"), str) and set(value) <= OBJECT


def places(value: Any, holder: Any, key: Any, *, query: bool = False) -> Iterable[Place]:
    """Every text object in a vector, in named vectors, or in a query (not in its filters); without recursion."""
    left = [(value, holder, key)]
    while left:
        found, holder, key = left.pop()
        if is_text(found):
            yield holder, key
        elif isinstance(found, dict):
            left.extend(
                (inner, found, name)
                for name, inner in found.items()
                if isinstance(inner, dict | list) and not (query and name == "filter")  # {"match": {"text": …}}
            )
        elif isinstance(found, list) and found and isinstance(found[0], dict | list):
            left.extend((inner, found, i) for i, inner in enumerate(found) if isinstance(inner, dict | list))


async def spoken(call: Call, shelf: Shelf, found: list[Place], kind: str, *, keeps: bool) -> dict[str, Any] | None:
    """Put `Spoken` or `Words` in the place of every text object; what Qdrant calls usage, None if nothing was embedded.

    Args:
        keeps: the vectors will be stored, so the collection remembers whose they are.

    Raises:
        Refused: 404 another model than the server's, 409 another one than made the collection's vectors, 400.
    """
    wanted: list[Place] = []
    for holder, key in found:
        text, model = holder[key]["text"], holder[key].get("model")
        if holder[key].get("options"):
            raise Refused(400, "not supported: options of a text (the server's model has none)", param="options")
        if isinstance(model, str) and model.lower() in WORDS:
            holder[key] = Words(text)
        else:
            model_of(call, model if isinstance(model, str) else "default")
            wanted.append((holder, key))
    if not wanted:
        return None
    served = call.server.library.model_of(shelf)
    texts = checked_texts(call, [holder[key]["text"] for holder, key in wanted], "text", most=call.server.limits.points)
    made = await encoded(served, texts, kind)
    for (holder, key), text, vector in zip(wanted, texts, made.vectors, strict=True):
        holder[key] = Spoken(text, vector)
    if keeps and shelf.embedded_by is None:
        shelf.embedded_by = served.fingerprint
        await call.write(call.server.library.remember)
    return {"inference": {"models": {served.name: {"tokens": int(made.tokens.sum())}}}}
