"""Hosted embedding models as encoders: OpenAI, Cohere and Voyage over HTTPS, by their public contracts.

    firth eval openai:text-embedding-3-small TESTSET --compare my-tuned-model

    openai:MODEL   POST /v1/embeddings  key OPENAI_API_KEY   2,048 texts and 300,000 tokens a request, 8,192 a text
    cohere:MODEL   POST /v2/embed       key COHERE_API_KEY   96 texts a request
    voyage:MODEL   POST /v1/embeddings  key VOYAGE_API_KEY   1,000 texts and 120,000 tokens a request, 32,000 a text

Another place that speaks one of these contracts is named by OPENAI_BASE_URL, COHERE_BASE_URL or VOYAGE_BASE_URL. The
texts leave this machine: that is what a hosted model is. Vectors are remembered (remember.py), so that a text is paid
for once. Sources: the three services' API references (OpenAI's embeddings, Cohere's v2 embed, Voyage's embeddings), and
the openai-python, cohere 5 and voyageai clients.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firth.arrays import Vectors, unit
from firth.errors import ModelError, ServiceError, SettingsError
from firth.progress import bar
from firth.recipes.wire import RefusedError, post

BYTES_A_TOKEN = 3  # of UTF-8, on the safe side: English has more than four, Chinese three a letter
SHORTER = 0.75  # of a text that was too long for the service, until it is taken
# Of the services' public price pages (openai.com/api/pricing, cohere.com/pricing, docs.voyageai.com/docs/pricing), by
# copies of them that others had published until this day. Prices change: `Usage.at` takes the one on your bill.
PRICED = "2026-11-23"
_TOO_LONG = ("maximum context length", "too long", "too many tokens", "max allowed tokens", "token limit", "exceeds")


@dataclass(frozen=True)
class Contract:
    """What one service wants and gives.

    Attributes:
        base: the service's own address.
        path: below the base address.
        keys: environment variables that may hold the key, the first is the usual one.
        most_texts, most_tokens: of one request; where models differ, of the one that takes least.
        prices: model -> US dollars a million tokens, see PRICED.
        body: model, texts, kind, dims -> the request.
        rows: the answer -> its vectors in the order of the texts, as they came.
        tokens: the answer -> tokens that are paid for.
    """

    base: str
    path: str
    keys: tuple[str, ...]
    most_texts: int
    most_tokens: int
    prices: Mapping[str, float]
    body: Callable[[str, Sequence[str], str | None, int | None], dict[str, Any]]
    rows: Callable[[Any], list[Any]]
    tokens: Callable[[Any], int]


@dataclass
class Usage:
    """What was asked for so far, and what it cost.

    Attributes:
        cut: texts that were refused because they are longer than the model reads, and cut.
        price: US dollars a million tokens; None where it is not known.
        whose: where the price comes from.
    """

    requests: int = 0
    texts: int = 0
    tokens: int = 0
    cut: int = 0
    price: float | None = None
    whose: str = f"list price, read {PRICED}"

    def at(self, price: float) -> None:
        """Count with this price, in US dollars a million tokens, and not with the list's."""
        if not 0 <= price < float("inf"):
            raise SettingsError(f"price={price}: expected US dollars a million tokens, 0 or more")
        self.price, self.whose = price, "the price given"

    @property
    def cost(self) -> float | None:
        """US dollars: tokens times the price of a million."""
        return None if self.price is None else self.tokens * self.price / 1e6

    def __str__(self) -> str:
        told = f"{self.texts:,} texts, {self.tokens:,} tokens in {self.requests:,} requests"
        if self.price is None:
            return f"{told}; its price is not known here, --price MODEL=DOLLARS gives it"
        return f"{told}: ${self.cost:,.4f} at ${self.price:g} a million ({self.whose})"


class Hosted:
    """A hosted model; see the head of this file.

    Attributes:
        usage: requests, texts and tokens so far, and what they cost.
    """

    def __init__(self, name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """`name` is "service:model", for instance "openai:text-embedding-3-small".

        Raises:
            ModelError: no such service, or no key in the environment.
        """
        service, _, model = name.partition(":")
        if service not in CONTRACTS or not model:
            raise ModelError(f"{name!r}: expected one of {', '.join(f'{each}:MODEL' for each in CONTRACTS)}")
        self.name, self.model, self._contract, self._sleep = name, model, CONTRACTS[service], sleep
        keys = self._contract.keys
        self._key = next((os.environ[key].strip() for key in keys if os.environ.get(key, "").strip()), "")
        if not self._key:
            raise ModelError(f"{name}: no key; put it into the environment: export {keys[0]}=…")
        base = os.environ.get(f"{service.upper()}_BASE_URL", "").strip() or self._contract.base
        self._url = base.rstrip("/") + self._contract.path
        self.usage = Usage(price=self._contract.prices.get(model))
        self._dims = 0

    @property
    def dims(self) -> int:
        """Width of the vectors; the first question finds it out by encoding one word."""
        if not self._dims:
            self.encode(["firth"])
        return self._dims

    @property
    def fingerprint(self) -> str:
        """Of service, address and model; what the service changes behind a name cannot be seen from here."""
        return hashlib.sha256(f"{self._url} {self.model}".encode()).hexdigest()

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """(n, d) float32 unit rows. An empty text is not sent, services refuse it: its row is zeros.

        A text that is longer than the model reads is cut until the service takes it, and `usage.cut` counts those; only
        OpenAI refuses such a text: Cohere and Voyage cut it themselves and do not say so.

        Args:
            dims: asked of the service; models that cannot shorten say so.

        Raises:
            ServiceError: no answer, a refusal in the service's own words, or an answer that does not fit.
        """
        if dims is not None and dims < 1:
            raise SettingsError(f"dims={dims}: expected at least 1")
        asked = [i for i, text in enumerate(texts) if text.strip()]
        found: dict[int, Vectors] = {}
        with bar(self.name, shown=progress) as told:
            for batch in self._batches([texts[i] for i in asked]):
                rows = self._ask(batch, kind, dims)
                found |= {asked[len(found) + i]: row for i, row in enumerate(rows)}
                told(len(found), len(asked), "texts")
        width = len(next(iter(found.values()))) if found else dims or self._dims or self.dims
        if dims is None:
            self._dims = width
        vectors = np.zeros((len(texts), width), np.float32)
        for i, row in found.items():
            vectors[i] = row
        return unit(vectors)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """As many texts at once as the service takes, by an estimate of their tokens."""
        batch: list[str] = []
        held = 0
        for text in texts:
            tokens = 1 + len(text.encode(errors="replace")) // BYTES_A_TOKEN
            full = len(batch) == self._contract.most_texts or held + tokens > self._contract.most_tokens
            if batch and full:
                yield batch
                batch, held = [], 0
            batch.append(text)
            held += tokens
        if batch:
            yield batch

    def _ask(self, texts: list[str], kind: str | None, dims: int | None) -> list[Vectors]:
        """One request; one that is too long is halved, and a single text that is too long is cut."""
        try:
            answer = post(
                self._url,
                self._contract.body(self.model, texts, kind, dims),
                {"Authorization": f"Bearer {self._key}"},
                secret=self._key,
                sleep=self._sleep,
            )
        except RefusedError as error:
            if error.status in (401, 403):
                raise ModelError(f"{self.name}: the key in {self._contract.keys[0]} is refused: {error.told}") from None
            too_long = error.status in (400, 413, 422) and any(told in error.told.casefold() for told in _TOO_LONG)
            if not too_long or (len(texts) == 1 and len(texts[0]) < 2):
                raise
            if len(texts) > 1:
                middle = len(texts) // 2
                return [*self._ask(texts[:middle], kind, dims), *self._ask(texts[middle:], kind, dims)]
            return self._ask_shorter(texts[0], kind, dims)
        self.usage.requests += 1
        self.usage.texts += len(texts)
        return self._checked(answer, len(texts), dims)

    def _ask_shorter(self, text: str, kind: str | None, dims: int | None) -> list[Vectors]:
        before = self.usage.cut
        rows = self._ask([text[: max(1, int(SHORTER * len(text)))]], kind, dims)
        if self.usage.cut == before:  # the innermost cut is the one that was taken; it counts once
            self.usage.cut += 1
            warnings.warn(f"{self.name}: a text is longer than the model reads and was cut", stacklevel=2)
        return rows

    def _checked(self, answer: Any, n: int, dims: int | None) -> list[Vectors]:
        try:
            rows = [_row(value) for value in self._contract.rows(answer)]
            self.usage.tokens += self._contract.tokens(answer)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, binascii.Error) as error:
            raise ServiceError(f"{self.name}: the answer is not one of this contract: {error!r}") from error
        widths = {len(row) for row in rows}
        if len(rows) != n or len(widths) != 1 or 0 in widths:
            raise ServiceError(f"{self.name}: {len(rows)} vectors of {sorted(widths)} dimensions for {n} texts")
        if dims is not None and widths != {dims}:
            raise ServiceError(f"{self.name}: {widths.pop()} dimensions where {dims} were asked for")
        if not all(np.isfinite(row).all() for row in rows):
            raise ServiceError(f"{self.name}: a vector holds NaN or infinity")
        return rows


def _row(value: Any) -> Vectors:
    """(d,) float32 from a list of numbers, or from base64 of little-endian float32."""
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), np.dtype("<f4")).astype(np.float32)
    row = np.asarray(value)
    if row.ndim != 1 or row.dtype.kind not in "fiu":
        raise ValueError(f"a vector is {str(value)[:40]}")
    return row.astype(np.float32)


def _in_order(answer: Any) -> list[Any]:
    """OpenAI's and Voyage's rows, each at its own index."""
    data = answer["data"]
    rows: list[Any] = [None] * len(data)
    for item in data:
        if rows[item["index"]] is not None or item["index"] < 0:
            raise ValueError(f"index {item['index']} comes twice")
        rows[item["index"]] = item["embedding"]
    return rows


def _openai(model: str, texts: Sequence[str], _kind: str | None, dims: int | None) -> dict[str, Any]:
    """These models know no difference between queries and documents."""
    body = {"model": model, "input": list(texts), "encoding_format": "base64"}
    return body if dims is None else {**body, "dimensions": dims}


def _cohere(model: str, texts: Sequence[str], kind: str | None, dims: int | None) -> dict[str, Any]:
    purpose = {"query": "search_query", "document": "search_document"}.get(kind or "", "clustering")
    body = {
        "model": model,
        "texts": list(texts),
        "input_type": purpose,
        "embedding_types": ["float"],
        "truncate": "END",
    }
    return body if dims is None else {**body, "output_dimension": dims}


def _voyage(model: str, texts: Sequence[str], kind: str | None, dims: int | None) -> dict[str, Any]:
    body = {"model": model, "input": list(texts), "input_type": kind, "truncation": True, "encoding_format": "base64"}
    return body if dims is None else {**body, "output_dimension": dims}


CONTRACTS = {
    "openai": Contract(
        base="https://api.openai.com/v1",
        path="/embeddings",
        keys=("OPENAI_API_KEY",),
        most_texts=2_048,
        most_tokens=300_000,
        prices={"text-embedding-3-small": 0.02, "text-embedding-3-large": 0.13, "text-embedding-ada-002": 0.10},
        body=_openai,
        rows=_in_order,
        tokens=lambda answer: int(answer["usage"]["total_tokens"]),
    ),
    "cohere": Contract(
        base="https://api.cohere.com/v2",
        path="/embed",
        keys=("COHERE_API_KEY", "CO_API_KEY"),
        most_texts=96,
        most_tokens=1_000_000,
        prices={"embed-v4.0": 0.12, "embed-english-v3.0": 0.10, "embed-multilingual-v3.0": 0.10},
        body=_cohere,
        rows=lambda answer: list(answer["embeddings"]["float"]),
        tokens=lambda answer: int(answer["meta"]["billed_units"]["input_tokens"]),
    ),
    "voyage": Contract(
        base="https://api.voyageai.com/v1",
        path="/embeddings",
        keys=("VOYAGE_API_KEY",),
        most_texts=1_000,
        most_tokens=120_000,
        prices={
            "voyage-4-large": 0.12,
            "voyage-4": 0.06,
            "voyage-4-lite": 0.02,
            "voyage-3.5": 0.06,
            "voyage-3.5-lite": 0.02,
            "voyage-3-large": 0.18,
            "voyage-code-3": 0.18,
        },
        body=_voyage,
        rows=_in_order,
        tokens=lambda answer: int(answer["usage"]["total_tokens"]),
    ),
}
