"""What every codec can do, and how one is saved: beside its codes in an index file, or in a file of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from firth import files
from firth.arrays import Codes, Vectors
from firth.errors import FormatError, ShapeError
from firth.kernels.scan import Sections

KIND = "codec"
VERSION = 1
State = tuple[dict[str, Any], dict[str, NDArray[Any]]]


@runtime_checkable
class Codec(Protocol):
    """Turns (n, d) float32 into (n, w) uint8 and back, approximately."""

    @property
    def dims(self) -> int:
        """d, the width of the vectors it encodes."""

    @property
    def bytes_per_vector(self) -> int:
        """w, the width of a code."""

    def encode(self, vectors: Vectors, *, threads: int = 1) -> Codes:
        """(n, d) float32 -> (n, w) uint8."""

    def decode(self, codes: Codes) -> Vectors:
        """(n, w) uint8 -> (n, d) float32, the values that the codes stand for."""

    def state(self) -> State:
        """JSON-able settings, and arrays, from which `restore` makes the same codec."""


_RESTORE: dict[str, Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], Codec]] = {}


class Saved(ABC):
    """Gives a codec its file: `save`, `load`, and a name under which `restore` finds it."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        _RESTORE[cls.name] = cls.from_state

    @classmethod
    @abstractmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
        """The codec that `state` described."""

    @abstractmethod
    def state(self) -> State:
        """JSON-able settings, and arrays, from which `restore` makes the same codec."""

    def tables(self, queries: Vectors, *, euclid: bool = False) -> Vectors | None:  # noqa: ARG002
        """(q, m, 16 or 256) float32 whose sum over a code's m sub-codes is its score; None where codes have no parts.

        The score is that of the decoded row: its inner product with the query (q, d), with `euclid` minus its squared
        distance. Sub-codes of 4 bits lie two in a byte, the first in the low half.
        """
        return None

    def layout(self) -> Sections | None:
        """Bytes of a code that hold one value of 8 bits, two of 4, four of 2; None where codes are no such values."""
        return None

    def weights(self, queries: Vectors) -> tuple[Vectors, NDArray[np.float64]]:
        """(q, m) float32 and (q,): a query's inner product with a decoded row is the second + the sum of first · value.

        Raises:
            ShapeError: codes of this kind have no `layout`.
        """
        raise ShapeError(f"{type(self).__name__}: its codes are no weighted values, of {len(queries)} queries")

    def save(self, path: Path | str) -> None:
        """Write the codec to one checksummed file, whole or not at all."""
        meta, arrays = self.state()
        files.write_arrays(path, kind=KIND, version=VERSION, meta=meta, arrays=arrays)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a codec of this kind.

        Raises:
            FormatError: damaged, or a codec of another kind.
        """
        codec: Any = load(path)
        if not isinstance(codec, cls):
            raise FormatError(f"holds a {type(codec).__name__} codec, expected {cls.__name__}", path=path)
        return codec


def load(path: Path | str) -> Codec:
    """Read a codec of any kind.

    Raises:
        FormatError: truncated, damaged, or of a kind or version that this firth does not read.
    """
    held = files.read_arrays(path, kind=KIND, version=VERSION)
    return restore(held.meta, held.arrays, path=path)


def restore(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, path: Path | str | None = None) -> Codec:
    """The codec that a `state()` described.

    Raises:
        FormatError: an unknown kind of codec, or arrays that do not fit together.
    """
    name = meta.get("codec")
    if name not in _RESTORE:
        raise FormatError(f"codec {name!r} is not one of {', '.join(sorted(_RESTORE))}: upgrade firth", path=path)
    try:
        return _RESTORE[name](meta, arrays)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"damaged {name} codec: {error}", path=path) from error


def row(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """The finite float32 row `name` of a state; ValueError names what is wrong with it."""
    values = np.array(arrays[name], np.float32)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{name} is not a row of finite numbers (shape {values.shape})")
    return values
