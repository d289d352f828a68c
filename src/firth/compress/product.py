"""Product: the vector cut into m parts, each replaced by the number of its nearest centre.

384 dimensions in m=48 parts of 8 bits are 48 bytes, 32x smaller than float32. Centres are found by k-means in each
part. With `rotate` an orthogonal matrix is learnt that spreads the variance evenly over the parts (OPQ).
Source: Jégou et al. 2011, "Product quantization for nearest neighbor search"; the rotation: Ge et al. 2013,
"Optimized product quantization".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import Codes, Vectors, as_vectors
from firth.compress.codec import Saved, State
from firth.errors import SettingsError
from firth.kernels import codes as kernels
from firth.kernels import default_threads

SAMPLE = 65_536  # rows that centres are learnt from: 256 a centre, after which more change little
ROUNDS = 12  # of k-means; the error falls by under 0.2 % in a later one
TURNS = 6  # of learning the rotation and the centres in alternation


@dataclass(frozen=True, eq=False)
class Product(Saved):
    """A code is one number a part; at 4 bits two parts share a byte, the first of them in its low half.

    Attributes:
        books: (m, 2^bits, d / m) float32 centres.
        rotation: (d, d) float32 orthogonal, vectors are multiplied by it first; None: they are not.
        bits: 8 or 4.
    """

    name: ClassVar[str] = "product"
    books: Vectors
    rotation: Vectors | None
    bits: int

    @classmethod
    def train(
        cls,
        vectors: ArrayLike,
        *,
        m: int,
        bits: int = 8,
        rotate: bool = False,
        seed: int = 0,
        threads: int | None = None,
    ) -> Self:
        """Find the centres of each part, and with `rotate` the rotation that makes parts easiest to encode.

        Args:
            vectors: (n, d) float32, n at least 2^bits; of more than 65,536 rows a sample is used.
            m: parts; divides d.
            bits: 8 (256 centres a part) or 4 (16).
            rotate: learn a rotation too; six times as slow.
            seed: of the sample and of the starts of k-means.
            threads: all cores if None; the codec is the same for any number.

        Raises:
            SettingsError: m does not divide d, bits is neither 8 nor 4, or there are fewer rows than centres.
        """
        rows, rng = as_vectors(vectors), np.random.default_rng(seed)
        d, team = rows.shape[1], threads or default_threads()
        if bits not in (4, 8):
            raise SettingsError(f"Product: bits={bits!r}: expected 8 or 4")
        if m < 1 or d % m:
            fits = ", ".join(str(i) for i in range(1, d + 1) if d % i == 0)
            raise SettingsError(f"Product: m={m} does not divide {d} dimensions; these do: {fits}")
        if len(rows) < 1 << bits:
            raise SettingsError(f"Product: {len(rows)} rows cannot give {1 << bits} centres a part; use fewer bits")
        if len(rows) > SAMPLE:
            rows = rows[np.sort(rng.choice(len(rows), SAMPLE, replace=False))]
        if not rotate:
            return cls(_books(rows, m, bits, rng, team), None, bits)
        rotation = np.linalg.qr(rng.normal(size=(d, d)))[0].astype(np.float32)
        for _ in range(TURNS):
            turned = rows @ rotation
            codec = cls(_books(turned, m, bits, rng, team), None, bits)
            # The orthogonal matrix that brings the rows nearest to what their codes stand for (Procrustes).
            left, _, right = np.linalg.svd(rows.T.astype(np.float64) @ codec.decode(codec.encode(turned)))
            rotation = (left @ right).astype(np.float32)
        return cls(_books(rows @ rotation, m, bits, rng, team), rotation, bits)

    @property
    def m(self) -> int:
        """Parts."""
        return len(self.books)

    @property
    def dims(self) -> int:
        """d, the width of the vectors."""
        return int(self.m * self.books.shape[2])

    @property
    def bytes_per_vector(self) -> int:
        """m at 8 bits, half of it, rounded up, at 4."""
        return -(-self.m * self.bits // 8)

    def encode(self, vectors: ArrayLike, *, threads: int = 1) -> Codes:
        """(n, d) float32 -> (n, bytes_per_vector) uint8."""
        rows = as_vectors(vectors, dims=self.dims)
        if self.rotation is not None:
            rows = rows @ self.rotation
        codes = kernels.product_encode(rows, self.books, threads=threads)
        if self.bits == 8:
            return codes
        if self.m % 2:
            codes = np.pad(codes, ((0, 0), (0, 1)))
        packed: Codes = codes[:, ::2] | np.left_shift(codes[:, 1::2], 4, dtype=np.uint8)
        return packed

    def decode(self, codes: Codes) -> Vectors:
        """(n, bytes_per_vector) uint8 -> (n, d) float32, the centres that the codes stand for."""
        if self.bits == 4:
            both = np.stack([codes & 15, codes >> 4], axis=2).astype(np.uint8)
            codes = both.reshape(len(codes), 2 * codes.shape[1])[:, : self.m]
        rows = self.books[np.arange(self.m), codes].reshape(len(codes), self.dims)
        return rows if self.rotation is None else np.ascontiguousarray(rows @ self.rotation.T)

    def tables(self, queries: Vectors, *, euclid: bool = False) -> Vectors:
        """(q, m, 2^bits): each part of the query against each centre of that part."""
        turned = queries if self.rotation is None else queries @ self.rotation
        parts = turned.reshape(len(queries), self.m, -1)
        products: Vectors = np.matmul(parts.swapaxes(0, 1), self.books.swapaxes(1, 2)).swapaxes(0, 1)
        if not euclid:
            return products
        squares = (parts**2).sum(2)[:, :, None] + (self.books**2).sum(2)[None]
        distances: Vectors = 2 * products - squares
        return distances

    def state(self) -> State:
        """Bits, the books, and the rotation if there is one."""
        arrays = {"books": self.books} | ({} if self.rotation is None else {"rotation": self.rotation})
        return {"codec": self.name, "bits": self.bits}, arrays

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The codec that `state` described."""
        books, bits = np.array(arrays["books"], np.float32), int(meta["bits"])
        rotation = np.array(arrays["rotation"], np.float32) if "rotation" in arrays else None
        if bits not in (4, 8) or books.ndim != 3 or books.shape[1] != 1 << bits or not np.isfinite(books).all():
            raise ValueError(f"books of shape {books.shape} for {bits} bits")
        d = books.shape[0] * books.shape[2]
        if rotation is not None and (rotation.shape != (d, d) or not np.isfinite(rotation).all()):
            raise ValueError(f"a rotation of shape {rotation.shape} for {d} dimensions")
        return cls(books, rotation, bits)


def _books(rows: Vectors, m: int, bits: int, rng: np.random.Generator, threads: int) -> Vectors:
    parts = np.ascontiguousarray(rows.reshape(len(rows), m, -1).swapaxes(0, 1))
    k = 1 << bits
    return np.stack([kernels.kmeans(part, k, rng.random(k), rounds=ROUNDS, threads=threads) for part in parts])
