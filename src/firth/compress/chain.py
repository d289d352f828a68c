"""Chain: a prefix first, then another codec: 384 dimensions -> 128 -> one byte each is 12x smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import Codes, Vectors, as_vectors
from firth.compress.codec import Codec, Saved, State, restore
from firth.compress.prefix import Prefix
from firth.errors import ShapeError
from firth.kernels.scan import Sections


@dataclass(frozen=True)
class Chain(Saved):
    """`first` shortens, `then` encodes what is left; `decode` fills the dimensions that were cut with zeros."""

    name: ClassVar[str] = "chain"
    first: Prefix
    then: Codec

    def __post_init__(self) -> None:
        if self.then.dims != self.first.keep:
            raise ShapeError(
                f"Chain: the prefix keeps {self.first.keep} dimensions, the codec was trained on {self.then.dims}; "
                "train it on prefix.shorten(vectors)"
            )

    @property
    def dims(self) -> int:
        """d, the width of the vectors."""
        return self.first.dims

    @property
    def bytes_per_vector(self) -> int:
        """Those of the second codec."""
        return self.then.bytes_per_vector

    def encode(self, vectors: ArrayLike, *, threads: int = 1) -> Codes:
        """(n, d) float32 -> (n, bytes_per_vector) uint8."""
        return self.then.encode(self.first.shorten(as_vectors(vectors, dims=self.dims)), threads=threads)

    def decode(self, codes: Codes) -> Vectors:
        """(n, bytes_per_vector) uint8 -> (n, d) float32, zeros after the prefix."""
        rows = np.zeros((len(codes), self.dims), np.float32)
        rows[:, : self.first.keep] = self.then.decode(codes)
        return rows

    def tables(self, queries: Vectors, *, euclid: bool = False) -> Vectors | None:
        """Those of the second codec for the queries' prefix."""
        found = self.then.tables(queries[:, : self.first.keep], euclid=euclid) if isinstance(self.then, Saved) else None
        if found is not None and euclid:  # the decoded row is zero beyond the prefix
            found[:, :1] -= (queries[:, self.first.keep :] ** 2).sum(axis=1)[:, None, None]
        return found

    def layout(self) -> Sections | None:
        """Those of the second codec."""
        return self.then.layout() if isinstance(self.then, Saved) else None

    def weights(self, queries: Vectors) -> tuple[Vectors, NDArray[np.float64]]:
        """Those of the second codec for the queries' prefix."""
        assert isinstance(self.then, Saved)  # or there is no layout
        return self.then.weights(np.ascontiguousarray(queries[:, : self.first.keep]))

    def state(self) -> State:
        """The settings of both, and the arrays of the second."""
        meta, arrays = self.then.state()
        return {"codec": self.name, "first": self.first.state()[0], "then": meta}, arrays

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The codec that `state` described."""
        return cls(Prefix.from_state(meta["first"], {}), restore(meta["then"], arrays))
