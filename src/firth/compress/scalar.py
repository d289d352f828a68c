"""Scalar: one byte or half a byte a dimension, each dimension's range learnt from a sample.

8 bits are 4x smaller than float32, 4 bits 8x. A value inside of the learnt range is decoded to within half a step:
1/508 of that dimension's range at 8 bits, 1/30 at 4. A value outside of it is cut off at its end; at 4 bits the range
ends three standard deviations from the mean.
Source: the ScalarQuantizer of Douze et al. 2024, "The Faiss library", arXiv:2401.08281.
Where we differ: the codes of 8 bits are signed about the centre, so that integer kernels can multiply them as they
are; and `uniform=True` shares one step between all dimensions, which makes the distance between two codes the
distance between their vectors in steps. The graph index walks over such codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import Codes, Vectors, as_vectors
from firth.compress.codec import Saved, State, row
from firth.errors import SettingsError
from firth.kernels import codes as kernels
from firth.kernels.scan import Sections

_ZERO = {8: float(kernels.ZERO), 4: 7.5}  # the code of the centre
_STEPS = {8: 254, 4: 15}  # steps from one end of the range to the other
# Uniform codes cut off one value in ten thousand: a finer step for all the others is worth more.
UNIFORM_QUANTILE = 0.9999
# Codes of 4 bits leave out what lies beyond so many standard deviations, for the same reason: recall@10 by codes alone
# is then 0.930 and not 0.916 on 20,000 MiniLM vectors; 2.5 gives 0.928, 3.5 gives 0.924.
CUT = 3.0
SAMPLE = 50_000  # rows that ranges are learnt from; more change them by less than a step
SMALLEST_STEP = 1e-12  # a dimension that never varies still needs a step above zero
LARGEST = 1e15  # of a step or a centre in a file; far beyond, squares of what codes stand for overflow float32


@dataclass(frozen=True, eq=False)
class Scalar(Saved):
    """A value is centre + step · (code - zero), zero = 128 at 8 bits and 7.5 at 4.

    Attributes:
        centre: (d,) float32.
        step: (d,) float32, above 0.
        bits: 8, or 4: two dimensions share a byte, the first of them in its low half.
    """

    name: ClassVar[str] = "scalar"
    centre: NDArray[np.float32]
    step: NDArray[np.float32]
    bits: int

    @classmethod
    def train(cls, vectors: ArrayLike, *, bits: int = 8, uniform: bool = False, seed: int = 0) -> Self:
        """Learn each dimension's range, or with `uniform` its mean and one range about it for all.

        Args:
            vectors: (n, d) float32; of more than 50,000 rows a sample is used, drawn by `seed`.
            bits: 8 or 4.
            uniform: one step for all dimensions.

        Raises:
            SettingsError: bits is neither 8 nor 4, or there are no rows.
        """
        if bits not in _STEPS:
            raise SettingsError(f"Scalar: bits={bits!r}: expected 8 or 4")
        rows = as_vectors(vectors)
        if not len(rows):
            raise SettingsError("Scalar: no rows to learn the ranges from")
        if len(rows) > SAMPLE:
            rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), SAMPLE, replace=False))]
        if uniform:
            centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
            reach = np.quantile(np.abs(rows - centre), UNIFORM_QUANTILE)
            step = np.full(rows.shape[1], 2 * reach / _STEPS[bits], np.float32)
        else:
            low, high = rows.min(axis=0), rows.max(axis=0)
            if bits == 4:
                mean, reach = rows.mean(axis=0, dtype=np.float64), CUT * rows.std(axis=0, dtype=np.float64)
                low, high = np.maximum(low, mean - reach), np.minimum(high, mean + reach)
            centre = ((low.astype(np.float64) + high) / 2).astype(np.float32)
            step = ((high.astype(np.float64) - low) / _STEPS[bits]).astype(np.float32)
        return cls(centre, np.maximum(step, np.float32(SMALLEST_STEP)), bits)

    @property
    def dims(self) -> int:
        """d, the width of the vectors."""
        return len(self.centre)

    @property
    def bytes_per_vector(self) -> int:
        """d at 8 bits, half of it, rounded up, at 4."""
        return -(-self.dims * self.bits // 8)

    @property
    def inverse(self) -> NDArray[np.float32]:
        """(d,) 1 / step, which encoders multiply by."""
        return np.reciprocal(self.step)

    @property
    def error_bound(self) -> NDArray[np.float32]:
        """(d,) largest distance of a decoded value inside of the range; half a step and its rounding in float32."""
        reach = np.abs(self.centre) + self.step * np.float32(_STEPS[self.bits] / 2)
        bound: NDArray[np.float32] = self.step * np.float32(0.5) + reach * np.float32(2e-6)
        return bound

    def encode(self, vectors: ArrayLike, *, threads: int = 1) -> Codes:
        """(n, d) float32 -> (n, bytes_per_vector) uint8."""
        rows = as_vectors(vectors, dims=self.dims)
        if self.bits == 8:
            return kernels.scalar_encode(rows, self.centre, self.inverse, threads=threads)
        steps = np.floor((rows - self.centre) / self.step + np.float32(8))
        codes = np.clip(steps, 0, 15).astype(np.uint8)
        if self.dims % 2:
            codes = np.pad(codes, ((0, 0), (0, 1)))
        packed: Codes = codes[:, ::2] | codes[:, 1::2] << 4
        return packed

    def decode(self, codes: Codes) -> Vectors:
        """(n, bytes_per_vector) uint8 -> (n, d) float32."""
        if self.bits == 4:
            both = np.stack([codes & 15, codes >> 4], axis=2)
            codes = both.reshape(len(codes), 2 * codes.shape[1])[:, : self.dims]
        rows: Vectors = self.centre + self.step * (codes.astype(np.float32) - np.float32(_ZERO[self.bits]))
        return rows

    def tables(self, queries: Vectors, *, euclid: bool = False) -> Vectors | None:
        """(q, d, 16) of codes of 4 bits: each value of the query against each of its dimension's sixteen."""
        if self.bits == 8:
            return None
        values = self.centre[:, None] + self.step[:, None] * (np.arange(16, dtype=np.float32) - np.float32(_ZERO[4]))
        found: Vectors = -((queries[:, :, None] - values) ** 2) if euclid else queries[:, :, None] * values
        return found

    def layout(self) -> Sections:
        """All bytes hold one value, or all hold two."""
        return (self.bytes_per_vector, 0, 0) if self.bits == 8 else (0, self.bytes_per_vector, 0)

    def weights(self, queries: Vectors) -> tuple[Vectors, NDArray[np.float64]]:
        """(q, m) of the values, and (q,) of what all rows share."""
        found: Vectors = queries * self.step
        if self.bits == 4 and self.dims % 2:
            found = np.pad(found, ((0, 0), (0, 1)))
        return found, queries.astype(np.float64) @ self._lowest

    @cached_property
    def _lowest(self) -> NDArray[np.float64]:
        """(d,) what a code of zeros stands for."""
        return self.centre.astype(np.float64) - self.step.astype(np.float64) * _ZERO[self.bits]

    def state(self) -> State:
        """Bits, and the rows `centre` and `step`."""
        return {"codec": self.name, "bits": self.bits}, {"centre": self.centre, "step": self.step}

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The codec that `state` described."""
        centre, step, bits = row(arrays, "centre"), row(arrays, "step"), int(meta["bits"])
        if bits not in _STEPS or len(centre) != len(step):
            raise ValueError(f"{bits} bits, {len(centre)} centres, {len(step)} steps")
        if (step < np.float32(SMALLEST_STEP)).any() or (np.maximum(np.abs(centre), step) > LARGEST).any():
            raise ValueError(f"steps of {step.min()} … {step.max()}, centres up to {np.abs(centre).max()}")
        return cls(centre, step, bits)
