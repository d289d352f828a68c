"""Axes: vectors turned onto their principal axes; the leading axes have 8 bits, the next 4, then 2, the last none.

`size` bytes a vector are shared out so that the error of an inner product is small: what is lost of an axis counts the
more, the further queries reach along it. Axes of one width are turned once more, at random, which makes them alike; one
step suits them then. A code is scored by integer products; at equal bytes it finds more of float32's own neighbours
than any other codec here. Of judged documents it finds as many as `Product` from 96 bytes on, at 48
fewer (SQuAD: 95.3 % of float32's nDCG@10, pq96x4 96.8). What the sample does not show is lost:
train again when the documents change.
Source: transform coding by principal components, Huang and Schultheiss 1963, "Block quantization of correlated
Gaussian random variables"; the steps: Max 1960, "Quantizing for minimum distortion"; that an error along the vector
itself costs more than one across: Guo et al. 2020, ScaNN, arXiv:1908.10396.
Where we differ: bits are shared out for errors of inner products, not of values; only widths that a register unpacks
for nothing; and a code is chosen value after value, each making good along the vector what those before it did there.
Tried on 20,000 MiniLM vectors, recall@10 by the codes alone in 48, 96 and 192 bytes: shares of 8, 4 and 2 bits 0.711,
0.865, 0.960; turned at random 0.720, 0.876, 0.959; chosen value after value 0.739, 0.885, 0.964. Levels that are not
evenly spaced gain up to 0.006, 1 bit nothing, 3 bits alone in 96 bytes give 0.866, 4 bits alone in 192 0.941. A factor
a vector gains as much as choosing value after value, and takes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import Codes, Vectors, as_vectors, principal_axes
from firth.compress.codec import Saved, State, row
from firth.errors import SettingsError
from firth.kernels import codes as kernels
from firth.kernels.scan import Sections, sub_codes_of

SAMPLE = 32_768  # rows that axes and steps are learnt from: 85 a dimension at 384
# Bits -> the step, in standard deviations, that loses least of a Gaussian, and the share of its variance that is lost.
BEST = {8: (0.0308, 8.77e-5), 4: (0.335, 0.01154), 2: (0.995, 0.1188)}
# What is beyond the kept axes counts twice: neighbours share it, so it does not average out as rounding does.
BEYOND = 2
# Of the shares whose error, as a part of the scores' own deviation, is within so much of the least, the one of the
# fewest values is taken: less to scan, where the error is small by far.
WORTH = 0.025
TRIED = 192  # counts of axes of 8 bits, and of 4, that are tried at most; all of them up to 192 bytes
SMALLEST_STEP = 1e-12  # an axis along which nothing varies still needs a step above zero
LARGEST = 1e15  # of a number in a file; far beyond, what codes stand for overflows float32


@dataclass(frozen=True, eq=False)
class Axes(Saved):
    """A value is step · (code - zero), zero = 127.5, 7.5 or 1.5; the vector is mean + axes · values.

    Attributes:
        mean: (d,) float32.
        axes: (m, d) float32, orthonormal.
        step: (m,) float32, above 0.
        sections: bytes of a code that hold one value of 8 bits, two of 4 and four of 2, in this order.
    """

    name: ClassVar[str] = "axes"
    mean: NDArray[np.float32]
    axes: Vectors
    step: NDArray[np.float32]
    sections: Sections

    @classmethod
    def train(cls, vectors: ArrayLike, *, size: int, seed: int = 0) -> Self:
        """Learn the axes, share the bits out among them, and learn the steps.

        Args:
            vectors: (n, d) float32; of more than 32,768 rows a sample is used, drawn by `seed`.
            size: bytes a vector, at most d; a few less where d is small.
            seed: of the sample and of the rotations.

        Raises:
            SettingsError: size is not in 1 … d, or there are no rows.
        """
        rows, rng = as_vectors(vectors), np.random.default_rng(seed)
        d = rows.shape[1]
        if not 1 <= size <= d:
            raise SettingsError(f"Axes: size={size} bytes are not in 1 … {d}, one a dimension")
        if not len(rows):
            raise SettingsError("Axes: no rows to learn the axes from")
        if len(rows) > SAMPLE:
            rows = rows[np.sort(rng.choice(len(rows), SAMPLE, replace=False))]
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        axes = principal_axes(rows)
        sections = _share((rows - mean) @ axes, size)
        bits = _bits(sections)
        axes = np.ascontiguousarray(axes.T[: len(bits)])
        for width in BEST:
            (group,) = np.nonzero(bits == width)
            turn = np.linalg.qr(rng.normal(size=(len(group), len(group))))[0].astype(np.float32)
            axes[group] = turn @ axes[group]
        spread = ((rows - mean) @ axes.T).std(axis=0, dtype=np.float64)
        step = np.maximum(spread * _steps(bits), np.float32(SMALLEST_STEP)).astype(np.float32)
        return cls(mean, axes, step, sections)

    @property
    def dims(self) -> int:
        """d, the width of the vectors."""
        return len(self.mean)

    @property
    def bytes_per_vector(self) -> int:
        """`size`, or a few less."""
        return sum(self.sections)

    def encode(self, vectors: ArrayLike, *, threads: int = 1) -> Codes:
        """(n, d) float32 -> (n, bytes_per_vector) uint8."""
        rows = as_vectors(vectors, dims=self.dims)
        bits = _bits(self.sections)
        variance = (self.step / _steps(bits)) ** 2  # what queries ask of an axis
        weight = (variance / variance.mean()).astype(np.float32)
        top = ((1 << bits) - 1).astype(np.uint8)
        values = kernels.axes_encode(rows, self.mean, self.axes, self.step, top, weight, threads=threads)
        return _joined(values, self.sections)

    def decode(self, codes: Codes) -> Vectors:
        """(n, bytes_per_vector) uint8 -> (n, d) float32."""
        values = self.step * (sub_codes_of(codes, self.sections).astype(np.float32) - self._zero)
        rows: Vectors = self.mean + np.matmul(values, self.axes)
        return rows

    def layout(self) -> Sections:
        """`sections`."""
        return self.sections

    def weights(self, queries: Vectors) -> tuple[Vectors, NDArray[np.float64]]:
        """(q, m) of the values, and (q,) of what all rows share."""
        found: Vectors = np.matmul(queries, self.axes.T)
        found *= self.step
        return found, queries.astype(np.float64) @ self._lowest

    def state(self) -> State:
        """Sections, and the arrays `mean`, `axes` and `step`."""
        arrays = {"mean": self.mean, "axes": self.axes, "step": self.step}
        return {"codec": self.name, "sections": list(self.sections)}, arrays

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The codec that `state` described."""
        mean, step, axes = row(arrays, "mean"), row(arrays, "step"), np.array(arrays["axes"], np.float32)
        whole, halves, quarters = (int(size) for size in meta["sections"])
        if min(whole, halves, quarters) < 0 or whole + 2 * halves + 4 * quarters != len(step):
            raise ValueError(f"sections of {whole}, {halves} and {quarters} bytes for {len(step)} steps")
        if axes.shape != (len(step), len(mean)) or not (np.abs(axes) <= LARGEST).all():
            raise ValueError(f"axes of shape {axes.shape} for {len(mean)} dimensions and {len(step)} steps")
        if (step < np.float32(SMALLEST_STEP)).any() or max(step.max(), np.abs(mean).max()) > LARGEST:
            raise ValueError(f"steps of {step.min()} … {step.max()}, means up to {np.abs(mean).max()}")
        return cls(mean, axes, step, (whole, halves, quarters))

    @cached_property
    def _zero(self) -> NDArray[np.float32]:
        """(m,) the code of no distance from the mean."""
        zero: NDArray[np.float32] = (((1 << _bits(self.sections)) - 1) / 2).astype(np.float32)
        return zero

    @cached_property
    def _lowest(self) -> NDArray[np.float64]:
        """(d,) what a code of zeros stands for."""
        lowest: NDArray[np.float64] = self.mean - np.matmul((self.step * self._zero).astype(np.float64), self.axes)
        return lowest


def _bits(sections: Sections) -> NDArray[np.int64]:
    """(m,) bits of each value."""
    return np.repeat([8, 4, 2], np.multiply(sections, [1, 2, 4]))


def _steps(bits: NDArray[np.int64]) -> NDArray[np.float32]:
    """(m,) steps for values of deviation 1."""
    return np.array([BEST[width][0] for width in bits.tolist()], np.float32)


def _joined(values: Codes, sections: Sections) -> Codes:
    """(n, m) values, one a byte -> (n, bytes of all sections)."""
    whole, halves, quarters = np.split(values, np.cumsum(np.multiply(sections, [1, 2, 4]))[:2], axis=1)
    fours = quarters.reshape(len(values), sections[2], 4) << np.arange(0, 8, 2, dtype=np.uint8)
    both = halves[:, ::2] | halves[:, 1::2] << 4
    return np.hstack([whole, both, np.bitwise_or.reduce(fours, axis=2)])


def _share(turned: Vectors, size: int) -> Sections:
    """The sections that lose least of an inner product, or nearly that with fewer values.

    A share e of an axis's variance v that is lost adds e · v · w to the squared error of an inner product with a query
    that varies by w along it. Queries like the vectors have w = v; of questions over documents w falls less: v^½ is a
    middle that costs the former nothing. Axes turned among each other all have their mean reach.
    """
    reach = turned.var(axis=0, dtype=np.float64) ** 0.75
    d, sums = len(reach), np.concatenate([[0], np.cumsum(reach)])
    beyond = np.concatenate([np.cumsum((reach**2)[::-1])[::-1], [0]])
    tried = np.arange(0, size + 1, max(1, size // TRIED))
    whole, halves = np.repeat(tried, len(tried)), np.tile(tried, len(tried))
    quarters = size - whole - halves
    fits = (quarters >= 0) & (whole + 2 * halves <= d)
    whole, halves, quarters = whole[fits], halves[fits], quarters[fits]
    quarters = np.minimum(quarters, (d - whole - 2 * halves) // 4)
    loss, at = np.zeros(len(whole)), np.zeros_like(whole)
    for counts, width in zip((whole, 2 * halves, 4 * quarters), BEST, strict=True):
        loss += BEST[width][1] * (sums[at + counts] - sums[at]) ** 2 / np.maximum(counts, 1)
        at += counts
    loss += BEYOND * beyond[at]
    loss[at == 0] = np.inf  # a code says something
    error = np.sqrt(loss)
    good = np.flatnonzero(error <= error.min() + WORTH * np.sqrt(beyond[0]))
    best = good[np.lexsort((loss[good], at[good]))[0]]
    return int(whole[best]), int(halves[best]), int(quarters[best])
