"""Prefix: the first dimensions of a Matryoshka vector, brought back to unit length, in float32.

384 -> 128 dimensions is 3x smaller. What is lost depends on the model: one trained with Matryoshka losses puts most
into the first dimensions, any other does not; `firth compress` measures it.
Source: Kusupati et al. 2022, "Matryoshka Representation Learning", arXiv:2205.13147.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import Codes, Vectors, as_vectors, unit
from firth.compress.codec import Saved, State
from firth.errors import SettingsError


@dataclass(frozen=True)
class Prefix(Saved):
    """Keeps `keep` of `dims` dimensions; `decode` fills the rest with zeros."""

    name: ClassVar[str] = "prefix"
    dims: int
    keep: int

    @classmethod
    def train(cls, vectors: ArrayLike, *, keep: int) -> Self:
        """A codec for vectors of this width; nothing is learnt.

        Raises:
            SettingsError: keep is not in 1 … d.
        """
        dims = as_vectors(vectors).shape[1]
        if not 1 <= keep <= dims:
            raise SettingsError(f"Prefix: keep={keep} is not in 1 … {dims}")
        return cls(dims, keep)

    @property
    def bytes_per_vector(self) -> int:
        """Four bytes a kept dimension."""
        return 4 * self.keep

    def shorten(self, vectors: ArrayLike) -> Vectors:
        """(n, d) -> (n, keep) float32 unit rows: what another codec can go on from."""
        return unit(np.ascontiguousarray(as_vectors(vectors, dims=self.dims)[:, : self.keep]))

    def encode(self, vectors: ArrayLike, *, threads: int = 1) -> Codes:  # noqa: ARG002  one thread saturates memory
        """(n, d) -> (n, 4·keep) uint8, the bytes of `shorten`."""
        return self.shorten(vectors).view(np.uint8)

    def decode(self, codes: Codes) -> Vectors:
        """(n, 4·keep) uint8 -> (n, d) float32, zeros after the prefix."""
        rows = np.zeros((len(codes), self.dims), np.float32)
        rows[:, : self.keep] = np.ascontiguousarray(codes).view(np.float32)
        return rows

    def state(self) -> State:
        """Settings only."""
        return {"codec": self.name, "dims": self.dims, "keep": self.keep}, {}

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:  # noqa: ARG003
        """The codec that `state` described."""
        dims, keep = int(meta["dims"]), int(meta["keep"])
        if not 1 <= keep <= dims:
            raise ValueError(f"keep {keep} of {dims} dimensions")
        return cls(dims, keep)
