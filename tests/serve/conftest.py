"""A server on a free port of 127.0.0.1 that stops by itself, and a small model with a tokenizer that needs no file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import Vectors, unit
from firth.errors import SettingsError
from firth.serve import Running, Server, Settings, started
from firth.serve.batcher import Served
from firth.serve.library import Library
from store.conftest import direction

DIMS = 32
LONGEST = 12  # tokens, special ones included


@dataclass(frozen=True)
class Cut:
    rows: Any


@dataclass(frozen=True)
class Encoded:
    vectors: Vectors
    cut: Cut
    tokens: Any


class Words:
    """A tokenizer whose tokens are words, between [CLS] and [SEP]."""

    prefix, suffix = (101,), (102,)

    def count(self, texts: Sequence[str]) -> Any:
        return np.array([len(text.split()) for text in texts], np.int64)


class HashedWords:
    """An Encoder: each word is a random direction of its own, a text is their sum; reads 10 words, two roles differ."""

    dims = DIMS
    max_tokens = LONGEST
    trained_dims = (16, 32)

    def __init__(self, seed: str = "") -> None:
        self.tokenizer = Words()
        self.prompts = {"query": "", "document": "", "topic": ""}
        self.seed = seed
        self.fingerprint = hashlib.sha256(f"hashed words {seed}".encode()).hexdigest()
        self.batches: list[int] = []  # texts of each batch
        self.kinds: list[str | None] = []

    def encode_counted(self, texts: Sequence[str], *, kind: str | None = None) -> Encoded:
        if any("poison" in text for text in texts):
            raise SettingsError("a text that the model does not take")
        self.batches.append(len(texts))
        self.kinds.append(kind)
        rows = np.zeros((len(texts), DIMS), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split()[: LONGEST - 2] or ["nothing"]:
                row += direction(self.seed + word, DIMS)
        if kind == "query":
            rows += 1e-3
        words = self.tokenizer.count(texts)
        return Encoded(unit(rows), Cut(np.flatnonzero(words > LONGEST - 2)), np.minimum(words + 2, LONGEST))

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        return unit(np.ascontiguousarray(self.encode_counted(texts, kind=kind).vectors[:, : dims or DIMS]))


@pytest.fixture
def encoder() -> HashedWords:
    return HashedWords()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers over a folder of collections; each stops when the test ends."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(
            encoder: HashedWords | None = None, *, root: Path | None = None, readonly: bool = False, **settings: Any
        ) -> Running:
            root = root or tmp_path / "served"
            root.mkdir(exist_ok=True)
            served = None if encoder is None else Served(encoder, "hashed-words")
            library = Library(root, served, grows=True, readonly=readonly)
            wanted = Settings(port=0, sampled=settings.pop("sampled", 0.0), **settings)
            return stack.enter_context(started(Server(library, wanted)))

        yield start


@pytest.fixture
def running(serving: Callable[..., Running], encoder: HashedWords) -> Running:
    """A server with the small model and no collections."""
    return serving(encoder)
