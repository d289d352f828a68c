"""Reading another program's file: every number in it is compared with the file's size before it is used."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError, FormatError


class Bytes:
    """A file as a memory map with a place to read on from; what does not fit into the file is a FormatError."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError("no such file", path=self.path)
        self.size = self.path.stat().st_size
        self._raw: NDArray[np.uint8] = np.memmap(self.path, np.uint8, "r") if self.size else np.empty(0, np.uint8)
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return self.size - self.at

    def take(self, count: int, what: str) -> NDArray[np.uint8]:
        """The next `count` bytes."""
        if not 0 <= count <= self.left:
            raise FormatError(
                f"truncated or damaged: {what} takes {count:,} bytes at byte {self.at:,}, the file has {self.size:,}",
                path=self.path,
            )
        self.at += count
        return self._raw[self.at - count : self.at]

    def values(self, layout: str, what: str) -> tuple[Any, ...]:
        """The next numbers, in the letters of `struct`, little-endian and without gaps."""
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout), what).tobytes())

    def array(self, dtype: str, count: int, what: str) -> NDArray[Any]:
        """The next `count` numbers of one type; a copy where they do not lie aligned."""
        kind = np.dtype(dtype)
        if count < 0 or count > self.left // kind.itemsize:
            raise FormatError(
                f"truncated or damaged: {count:,} {what} at byte {self.at:,} of {self.size:,}", path=self.path
            )
        return np.frombuffer(self.take(count * kind.itemsize, what).tobytes(), kind)

    def damaged(self, message: str) -> FormatError:
        """An error that names the file."""
        return FormatError(f"damaged: {message}", path=self.path)
