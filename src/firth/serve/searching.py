"""One search as the native routes and the page ask it: by text, vector or document; by vectors, words or both."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from firth.arrays import Vectors
from firth.serve.batcher import narrowed
from firth.serve.embed import checked_texts, encoded
from firth.serve.library import Shelf
from firth.serve.wire import Call, Refused, checked_depth
from firth.store import Hit, Hybrid, Key

if TYPE_CHECKING:
    from firth.serve.app import Server

Mode = Literal["dense", "words", "hybrid"]


class Weights(msgspec.Struct, forbid_unknown_fields=True):
    """How words and vectors are joined, see firth.store.Hybrid."""

    dense: float = 1.0
    words: float = 1.0
    k: int = 60
    title: float = 1.0


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/v1/search; one of `query`, `vector` and `id`."""

    collection: str
    query: str | None = None
    vector: list[float] | None = None
    id: int | str | None = None
    k: int = 10
    mode: Mode = "dense"
    weights: Weights | None = None
    filter: dict[str, Any] | None = None
    ef: int | None = None
    recall: float | None = None
    exact: bool = False
    space: str = ""
    explain: bool = False
    diversity: float | None = None
    least: float | None = None
    characters: int | None = None


async def asked(call: Call, question: Question) -> tuple[Shelf, list[Hit], dict[str, float]]:
    """The hits, and the seconds that encoding and searching took.

    Raises:
        Refused: 400 or 404; firth's own errors where a setting is out of range.
    """
    shelf = call.server.library.get(question.collection)
    limits = call.server.limits
    if sum(value is not None for value in (question.query, question.vector, question.id)) != 1:
        raise Refused(400, "expected one of query, vector and id")
    if not 1 <= question.k <= limits.points:
        raise Refused(400, f"k: {question.k}: expected 1 to {limits.points:,}", param="k")
    if question.ef is not None and not 1 <= question.ef <= limits.points:
        raise Refused(400, f"ef: {question.ef}: expected 1 to {limits.points:,}", param="ef")
    if question.filter is not None:
        checked_depth(question.filter, 2 * limits.depth + 2, "filter")
    begun = time.perf_counter()
    row = await _row(call, shelf, question)
    ready = time.perf_counter()
    hits = await call.work(_hits, shelf, question, row)
    done = time.perf_counter()
    call.server.metrics.searching.labels(shelf.name).observe(done - ready)
    plain = question.least is None and question.diversity is None and question.id is None and not question.exact
    if row is not None and question.mode == "dense" and plain:
        sample(call.server, shelf, row, [hit.id for hit in hits], question.k, question.filter, question.space)
    call.rows += len(hits)
    return shelf, hits, {"encode": ready - begun, "search": done - ready}


def sample(
    server: Server,
    shelf: Shelf,
    row: Vectors,
    found: Sequence[Key],
    k: int,
    filter_: Mapping[str, Any] | None,
    space: str,
) -> None:
    """Now and then, repeat a search exactly and note how much of it had been found."""
    if random.random() >= server.settings.sampled:  # chance is what is wanted here; nothing has to be repeated
        return

    def compare() -> None:
        exact = {hit.id for hit in shelf.collection.search(row, k, filter=filter_, vector=space, recall=1.0)}
        if exact:
            server.metrics.sampled(shelf.name, len(exact & set(found)) / len(exact))

    server.aside(compare)


async def _row(call: Call, shelf: Shelf, question: Question) -> Vectors | None:
    """The query's vector; None where words alone are searched."""
    if question.mode == "words":
        return None
    if question.vector is not None:
        with np.errstate(over="ignore"):  # what does not fit float32 is infinite, and refused as such
            return np.array(question.vector, np.float32)
    if question.id is not None:
        records = await call.work(shelf.collection.get, [question.id], with_vectors=True)
        if not records or question.space not in records[0].vectors:
            raise Refused(404, f"no document {str(question.id)[:200]!r} with such a vector", param="id")
        return records[0].vectors[question.space]
    served, settings = call.server.library.model_of(shelf), shelf.spaces.get(question.space)
    if settings is None:
        raise Refused(400, f"space: no vectors called {question.space[:80]!r}; there are {sorted(shelf.spaces)}")
    if settings.embeds is None and shelf.embedded_by is None:
        raise Refused(
            400, f"the vectors of {shelf.name!r} are not known to be this model's; send a vector, or mode words"
        )
    (text,) = checked_texts(call, question.query, "query")
    made = await encoded(served, [text], "query")
    row: Vectors = narrowed(made.vectors, settings.dims)[0]
    return row


def _hits(shelf: Shelf, question: Question, row: Vectors | None) -> list[Hit]:
    collection, k = shelf.collection, question.k
    weights = question.weights or Weights()
    if question.mode != "dense" and question.query is None:
        raise Refused(400, "mode words and hybrid need a query in words", param="mode")
    if row is None:
        return collection.search_words(
            str(question.query), k, filter=question.filter, title=weights.title, least=question.least
        )
    about: dict[str, Any] = {
        "filter": question.filter,
        "ef": question.ef,
        "recall": 1.0 if question.exact else question.recall or (None if question.ef else shelf.recall),
        "vector": question.space,
        "explain": question.explain,
        "diversity": question.diversity,
        "least": question.least,
    }
    if question.mode == "dense":
        extra = 0 if question.id is None else 1
        hits = collection.search(row, k + extra, **about)
        return [hit for hit in hits if hit.id != question.id][:k] if extra else hits
    joined = Hybrid(dense=weights.dense, words=weights.words, k=weights.k, title=weights.title)
    return collection.search_both(str(question.query), row, k, hybrid=joined, **about)
