"""A small encoder that needs no model, and collections made with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from firth.arrays import Vectors, unit
from firth.store import Collection

DIMS = 32


@lru_cache(maxsize=10_000)
def direction(word: str, dims: int) -> Vectors:
    """(dims,), always the same one for a word."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=dims)


class HashedWords:
    """An Encoder: each word is a random direction of its own, a text is their sum; queries and documents alike."""

    def __init__(self, seed: str = "", dims: int = DIMS) -> None:
        self.dims = dims
        self.fingerprint = hashlib.sha256(f"hashed words {seed} {dims}".encode()).hexdigest()
        self.seed = seed
        self.kinds: list[str | None] = []  # what it was asked for, in order

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        self.kinds.append(kind)
        rows = np.zeros((len(texts), self.dims), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split() or ["nothing"]:
                row += direction(self.seed + word, self.dims)
        return unit(np.ascontiguousarray(rows[:, : dims or self.dims]))


@pytest.fixture
def encoder() -> HashedWords:
    return HashedWords()


@pytest.fixture
def collection(tmp_path: Path, encoder: HashedWords) -> Iterator[Collection]:
    with Collection.create(tmp_path / "notes.firth", encoder=encoder) as made:
        yield made
