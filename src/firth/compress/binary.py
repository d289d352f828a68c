"""Binary: one bit a dimension, the side of the mean on which it lies.

384 dimensions are 48 bytes, 32x smaller than float32, compared by counting bits that differ. Much is lost; a shortlist
of some times k, scored again exactly (`rescore`), brings most of it back. With `rotate` a random rotation makes the
dimensions alike first, which helps models whose dimensions differ much.
Source: Shakir et al. 2024, "Binary and scalar embedding quantization"; the rotation: Gong et al. 2013, "Iterative
quantization", of which we take the random start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import Codes, Vectors, as_vectors
from firth.compress.codec import Saved, State, row
from firth.errors import SettingsError
from firth.kernels import codes as kernels


@dataclass(frozen=True, eq=False)
class Binary(Saved):
    """Bit i of a code, the lowest of a byte first, is whether (rotated) value i lies above its mean.

    Attributes:
        mean: (d,) float32, of the rotated rows.
        spread: (d,) float32, mean distance from the mean: what a bit is decoded to, up or down.
        rotation: (d, d) float32 orthogonal, or None.
    """

    name: ClassVar[str] = "binary"
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    rotation: Vectors | None

    @classmethod
    def train(cls, vectors: ArrayLike, *, rotate: bool = False, seed: int = 0) -> Self:
        """Learn the means.

        Args:
            vectors: (n, d) float32.
            rotate: rotate by a random orthogonal matrix first.
            seed: of the rotation.

        Raises:
            SettingsError: there are no rows.
        """
        rows = as_vectors(vectors)
        if not len(rows):
            raise SettingsError("Binary: no rows to learn the means from")
        d, rotation = rows.shape[1], None
        if rotate:
            rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0].astype(np.float32)
            rows = rows @ rotation
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(mean, np.abs(rows - mean).mean(axis=0, dtype=np.float64).astype(np.float32), rotation)

    @property
    def dims(self) -> int:
        """d, the width of the vectors."""
        return len(self.mean)

    @property
    def bytes_per_vector(self) -> int:
        """An eighth of d, rounded up."""
        return -(-self.dims // 8)

    def encode(self, vectors: ArrayLike, *, threads: int = 1) -> Codes:  # noqa: ARG002  memory is the limit
        """(n, d) float32 -> (n, bytes_per_vector) uint8."""
        rows = as_vectors(vectors, dims=self.dims)
        if self.rotation is not None:
            rows = rows @ self.rotation
        return np.packbits(rows > self.mean, axis=1, bitorder="little")

    def decode(self, codes: Codes) -> Vectors:
        """(n, bytes_per_vector) uint8 -> (n, d) float32: the mean, and the spread up or down of it."""
        bits = np.unpackbits(codes, axis=1, count=self.dims, bitorder="little")
        rows: Vectors = self.mean + self.spread * (2 * bits.astype(np.float32) - 1)
        return rows if self.rotation is None else np.ascontiguousarray(rows @ self.rotation.T)

    def tables(self, queries: Vectors, *, euclid: bool = False) -> Vectors:
        """(q, 2 · bytes, 16): four dimensions of the query against each of the sixteen ways their bits can stand."""
        turned = queries if self.rotation is None else queries @ self.rotation
        ends = np.stack([self.mean - self.spread, self.mean + self.spread])  # a bit of 0, a bit of 1
        either = turned[:, :, None] * ends.T
        if euclid:
            either = 2 * either - turned[:, :, None] ** 2 - ends.T**2
        parts = 2 * self.bytes_per_vector
        either = np.pad(either, ((0, 0), (0, 4 * parts - self.dims), (0, 0))).reshape(len(queries), parts, 4, 2)
        bits = np.arange(16)[:, None] >> np.arange(4) & 1
        found: Vectors = either[:, :, np.arange(4), bits].sum(axis=3, dtype=np.float32)
        return found

    def differences(self, queries: ArrayLike, codes: Codes, *, threads: int = 1) -> NDArray[np.int32]:
        """(q, n) bits in which the queries' codes differ from `codes`: the Hamming distance."""
        return kernels.hamming(self.encode(queries), codes, threads=threads)

    def state(self) -> State:
        """The rows `mean` and `spread`, and the rotation if there is one."""
        arrays = {"mean": self.mean, "spread": self.spread}
        return {"codec": self.name}, arrays | ({} if self.rotation is None else {"rotation": self.rotation})

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:  # noqa: ARG003
        """The codec that `state` described."""
        mean, spread = row(arrays, "mean"), row(arrays, "spread")
        rotation = np.array(arrays["rotation"], np.float32) if "rotation" in arrays else None
        if len(mean) != len(spread):
            raise ValueError(f"{len(mean)} means, {len(spread)} spreads")
        if rotation is not None and (rotation.shape != (len(mean), len(mean)) or not np.isfinite(rotation).all()):
            raise ValueError(f"a rotation of shape {rotation.shape} for {len(mean)} dimensions")
        return cls(mean, spread, rotation)
