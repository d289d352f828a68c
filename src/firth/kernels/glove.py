"""GloVe's native pieces and their twins: rows of co-occurrence counts, and AdaGrad steps on their cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors
from firth.kernels import native
from firth.kernels.word2vec import aligned

Sizes = NDArray[np.int64]
Columns = NDArray[np.int32]
Values = NDArray[np.float32]
Rows = tuple[Sizes, Columns, Values]

CLIP = 100.0  # the largest step times rate, as in Stanford's program


def counter(
    ids: NDArray[np.int32], words: int, window: int, symmetric: bool, *, threads: int, module: Any = native
) -> Any:
    """A native `CooccurrenceCounter`: `rows(begin, end, threads)` gives sizes, columns and values of those rows."""
    return module.CooccurrenceCounter(ids, words, window, symmetric, threads)


def cooccurrence_twin(ids: NDArray[np.int32], words: int, window: int, symmetric: bool) -> NDArray[np.float64]:
    """(v, v) float64 dense counts, each pair weighted by 1 / distance; symmetric ones below the diagonal only."""
    counts = np.zeros((words, words))
    for distance in range(1, window + 1):
        left, right = ids[:-distance], ids[distance:]
        apart = [(ids[k : len(ids) - distance + k] < 0) for k in range(distance + 1)]
        here = ~np.any(apart, axis=0)
        np.add.at(counts, (right[here], left[here]), 1 / distance)
    return np.tril(counts + counts.T) if symmetric else counts


def merge_runs(runs: Sequence[Rows], words: int, *, module: Any = native) -> Rows:
    """The sums of the same rows of several runs; their first arrays are starts, (rows + 1,), not sizes."""
    merged: Rows = module.merge_runs(list(runs), words)
    return merged


def parameters(words: int, dims: int, rng: np.random.Generator) -> Vectors:
    """(v, 4 · pitch): each word's vector, context vector, and the sums of their squared steps; see native/glove.hpp."""
    pitch = aligned(1, dims + 2).shape[1]
    rows = aligned(words, 4 * pitch)
    for side in (0, 1):
        drawn = rng.random((words, dims + 1), np.float32) - 0.5
        rows[:, side * pitch : side * pitch + dims] = drawn[:, :dims] / dims
        rows[:, side * pitch + dims + side] = drawn[:, dims] / dims  # the bias
        rows[:, side * pitch + dims + 1 - side] = 1
    rows[:, 2 * pitch :] = 1
    return rows


def sort_into_bands(cells: Rows, bands: int, *, threads: int, module: Any = native) -> None:
    """Order each row's cells by column % bands, at random inside a band, in place; the first array are starts."""
    module.sort_into_bands(*cells, bands, threads)


def train(
    rows: Vectors,
    dims: int,
    cells: Rows,
    order: NDArray[np.int32],
    *,
    rate: float,
    alpha: float,
    x_max: float,
    symmetric: bool,
    bands: int,
    band: int,
    threads: int,
    module: Any = native,
) -> tuple[float, int]:
    """One step for each cell of one band of the rows in `order`, in place.

    Args:
        cells: starts (v + 1,), columns and values, sorted into bands.

    Returns:
        The sum of weight · difference² / 2 before each step, and how many cells were seen; symmetric ones count twice.
    """
    found: tuple[float, int] = module.train_glove(
        rows, dims, *cells, order, rate, alpha, x_max, symmetric, bands, band, threads
    )
    return found


def step_twin(
    w: Vectors,
    c: Vectors,
    w_sum: Vectors,
    c_sum: Vectors,
    dims: int,
    value: float,
    rate: float,
    alpha: float,
    x_max: float,
) -> float:
    """Twin of one cell seen from one side, in place, float64: the padded word and context vector and their sums."""
    difference = float(w @ c) - np.log(value)
    weight = min(1.0, (value / x_max) ** alpha)
    free_w, free_c = np.arange(len(w)) != dims + 1, np.arange(len(c)) != dims
    of_w, of_c = (np.clip(rate * weight * difference * other, -CLIP, CLIP) for other in (c.copy(), w.copy()))
    of_w[dims], of_c[dims + 1] = weight * difference, weight * difference  # biases move at the rate of 1
    w -= free_w * of_w / np.sqrt(w_sum)
    c -= free_c * of_c / np.sqrt(c_sum)
    w_sum += of_w**2
    c_sum += of_c**2
    return float(weight * difference**2 / 2)
