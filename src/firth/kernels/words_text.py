"""Word vectors as text and as word2vec's binary rows: the native readers and writers, and their twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors
from firth.kernels import native
from firth.kernels.words import joined

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]

FAULTS = ("", "few", "many", "no word", "no number", "not finite")


def line_starts(text: Bytes, *, module: Any = native) -> Offsets:
    """(lines + 1,) where each line begins, and the length of the text at the end."""
    starts = np.empty(module.count_lines(text) + 1, np.int64)
    module.line_starts(text, starts)
    return starts


def text_rows(
    text: Bytes, starts: Offsets, dims: int, *, spaces: bool, threads: int, module: Any = native
) -> tuple[Vectors, Offsets, int, str]:
    """Lines of a word and `dims` numbers.

    Returns:
        The (n, d) numbers, the length in bytes of each line's word, the first bad line or n, and one of `FAULTS`.
    """
    rows = len(starts) - 1
    vectors, word_bytes = np.empty((rows, dims), np.float32), np.empty(rows, np.int64)
    row, fault = module.text_rows(text, starts, spaces, vectors, word_bytes, threads)
    return vectors, word_bytes, row, FAULTS[fault]


def text_row_twin(line: str, dims: int) -> tuple[str, Vectors]:
    """The word and the numbers of a sound line."""
    word, *numbers = line.split()
    assert len(numbers) == dims
    return word, np.array([float(number) for number in numbers], np.float32)


def binary_rows(
    data: Bytes, start: int, rows: int, dims: int, *, module: Any = native
) -> tuple[Vectors, Offsets, Offsets, int, int]:
    """Rows of a word, a space and `dims` float32.

    Returns:
        The (n, d) vectors, where each word begins and its length, how many rows were whole, and the byte behind them.
    """
    vectors = np.empty((rows, dims), np.float32)
    starts, lengths = np.empty(rows, np.int64), np.empty(rows, np.int64)
    whole, at = module.binary_rows(data, start, vectors, starts, lengths)
    return vectors, starts, lengths, whole, at


def write_rows(words: Sequence[str], vectors: Vectors, *, module: Any = native) -> bytes:
    """Lines of a word and its numbers, each the shortest decimal that gives the same float32 back."""
    text: bytes = module.write_rows(*joined(words), np.ascontiguousarray(vectors, np.float32))
    return text


def write_rows_twin(words: Sequence[str], vectors: Vectors) -> bytes:
    """Twin of `write_rows` up to the spelling of a number."""
    rows = zip(words, vectors, strict=True)
    return "".join(f"{word} {' '.join(str(value) for value in row)}\n" for word, row in rows).encode()
