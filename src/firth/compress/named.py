"""Codecs by name, as the command line and reports write them: "sq8", "pq48x4", "prefix128+binary".

| name | codec |
|---|---|
| sq8, sq4 | `Scalar` of 8 or 4 bits a dimension |
| axes48 | `Axes` of 48 bytes a vector |
| pq48, pq96x4 | `Product` of 48 parts of 8 bits, of 96 parts of 4 |
| opq48, opq96x4 | the same behind a learnt rotation |
| binary, rbinary | `Binary`, as it is or behind a random rotation |
| prefix128 | `Prefix` of 128 dimensions |
| prefix128+sq8 | `Chain`: that prefix, then any of the codecs above |
"""

from __future__ import annotations

import re
from typing import Any

from numpy.typing import ArrayLike

from firth.arrays import Vectors, as_vectors
from firth.compress.axes import Axes
from firth.compress.binary import Binary
from firth.compress.chain import Chain
from firth.compress.codec import Codec
from firth.compress.prefix import Prefix
from firth.compress.product import Product
from firth.compress.scalar import Scalar
from firth.errors import SettingsError

_PRODUCT = re.compile(r"(o?)pq(\d{1,6})(?:x([48]))?")
_AXES = re.compile(r"axes(\d{1,6})")
_PREFIX = re.compile(r"prefix(\d{1,6})(?:\+(.+))?")


def train(name: str, vectors: ArrayLike, *, seed: int = 0, threads: int | None = None) -> Codec:
    """The codec of that name, trained on these vectors.

    Args:
        name: see the table at the head of this file.
        vectors: (n, d) float32.
        seed: of samples, rotations and the starts of k-means.
        threads: of the training; all cores if None.

    Raises:
        SettingsError: no such codec, or one that these vectors cannot train.
    """
    rows = as_vectors(vectors)
    prefix = _PREFIX.fullmatch(name)
    if prefix is None:
        return _single(name, rows, seed, threads)
    first = Prefix.train(rows, keep=int(prefix[1]))
    return first if prefix[2] is None else Chain(first, _single(prefix[2], first.shorten(rows), seed, threads))


def standard(d: int) -> list[str]:
    """The names that are worth a measurement at d dimensions: every codec, and two prefixes before the smaller ones."""
    parts = dict.fromkeys(_parts(d, per) for per in (4, 8, 16))
    sizes = dict.fromkeys(max(1, d // per) for per in (2, 4, 8, 16))
    names = [
        "sq8",
        "sq4",
        *(f"axes{size}" for size in sizes),
        *(f"pq{m}" for m in parts),
        f"pq{_parts(d, 4)}x4",
        f"opq{_parts(d, 8)}",
        "binary",
        "rbinary",
    ]
    for share in (2, 3):
        keep = d // share // 8 * 8
        if keep:
            then = ["sq8", "sq4", f"pq{_parts(keep, 8)}", "binary"]
            names += [f"prefix{keep}", *(f"prefix{keep}+{name}" for name in then)]
    return list(dict.fromkeys(names))


def _single(name: str, rows: Vectors, seed: int, threads: int | None) -> Codec:
    if name in ("sq8", "sq4"):
        return Scalar.train(rows, bits=int(name[2:]), seed=seed)
    if name in ("binary", "rbinary"):
        return Binary.train(rows, rotate=name == "rbinary", seed=seed)
    axes = _AXES.fullmatch(name)
    if axes is not None:
        return Axes.train(rows, size=int(axes[1]), seed=seed)
    product = _PRODUCT.fullmatch(name)
    if product is None:
        raise SettingsError(
            f"codec {name!r}: expected sq8, sq4, axes<bytes>, pq<parts>, pq<parts>x4, opq<parts>, binary, rbinary, "
            "prefix<dims>, or a prefix and one of them: prefix128+sq8"
        )
    settings: dict[str, Any] = {"m": int(product[2]), "bits": int(product[3] or 8), "rotate": bool(product[1])}
    return Product.train(rows, **settings, seed=seed, threads=threads)


def _parts(d: int, per: int) -> int:
    """The number of parts nearest to d / per that divides d."""
    return min((m for m in range(1, d + 1) if d % m == 0), key=lambda m: (abs(m - d / per), m))
