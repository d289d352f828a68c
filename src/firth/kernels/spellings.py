"""Convolutions over symbols and their maxima: what a word's characters give, by sums of table rows.

A convolution over vectors of v symbols adds, at each place of its window, one row of a table of v rows: the product of
the symbol's vector with that place's weights. The table is made once a batch, whatever the number of words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import ShapeError
from firth.kernels import native

Floats = NDArray[np.float32]
Symbols = NDArray[np.int16]


def maxima(
    symbols: Symbols, table: Floats, bias: Floats, pad: int, *, threads: int = 1, module: Any = native
) -> tuple[Floats, Symbols]:
    """(n, f) largest sum over all windows of a word, at least 0, and (n, f) where it begins, -1 where it is 0.

    Args:
        symbols: (n, width) of each word, padding last.
        table: (window, v, f) what a symbol adds at each place of the window.
        bias: (f,).
        pad: the symbol behind a word's end; windows of padding alone are computed once.

    Raises:
        ShapeError: a symbol has no row, or the window is longer than a word.
    """
    _check(symbols, table)
    shape = len(symbols), table.shape[2]
    best, places = np.empty(shape, np.float32), np.empty(shape, np.int16)
    module.spelling_maxima(symbols, table, bias, pad, best, places, threads)
    return best, places


def maxima_twin(symbols: Symbols, table: Floats, bias: Floats) -> Floats:
    """NumPy twin of `maxima`, in float64."""
    window, _, _ = table.shape
    starts = np.arange(symbols.shape[1] - window + 1)
    sums = sum(table[j].astype(np.float64)[symbols[:, starts + j]] for j in range(window))
    found: Floats = np.maximum((sums + bias).max(1), 0.0)
    return found


def gradient(
    symbols: Symbols,
    shape: tuple[int, int, int],
    places: Symbols,
    slopes: Floats,
    pad: int,
    *,
    threads: int = 1,
    module: Any = native,
) -> Floats:
    """(window, v, f) gradient of the table, from that of the maxima (n, f) and their places."""
    table = np.zeros(shape, np.float32)
    _check(symbols, table)
    module.spelling_gradient(symbols, pad, places, slopes, table, threads)
    return table


def _check(symbols: Symbols, table: Floats) -> None:
    window, size, _ = table.shape
    if symbols.shape[1] < window:
        raise ShapeError(f"symbols: expected words of at least the window, {window}, got {symbols.shape[1]}")
    if len(symbols) and not 0 <= int(symbols.min()) <= int(symbols.max()) < size:
        raise ShapeError(f"symbols: expected 0 to {size - 1}, got {symbols.min()} to {symbols.max()}")
