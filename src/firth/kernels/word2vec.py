"""word2vec's native pieces and their twins: the step on a tile, the sampler, the noise table, the Huffman code.

A row is padded with zeros to whole cache lines (`aligned`); padding takes part in the arithmetic and stays zero.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors
from firth.kernels import native

ROW_FLOATS = 16
KEEP_ALWAYS = 0xFFFFFFFF
_MASK = (1 << 64) - 1

Ids = NDArray[np.int32]


def aligned(rows: int, dims: int) -> Vectors:
    """(rows, dims padded to 16) float32 zeros whose rows start at cache lines."""
    pitch = -(-dims // ROW_FLOATS) * ROW_FLOATS
    flat = np.zeros(rows * pitch + ROW_FLOATS, np.float32)
    start = -(flat.ctypes.data // 4) % ROW_FLOATS
    return flat[start : start + rows * pitch].reshape(rows, pitch)


def trainer(
    input_rows: Vectors,
    output_rows: Vectors,
    *,
    keep: NDArray[np.uint32],
    noise: tuple[NDArray[np.uint32], Ids],
    paths: tuple[NDArray[np.int64], Ids],
    settings: Mapping[str, Any],
    module: Any = native,
) -> Any:
    """A native `Trainer` over two matrices that it changes in place; `train(ids, epoch, part, parts, threads)`."""
    return module.Trainer(input_rows, output_rows, keep, *noise, *paths, dict(settings))


def logistic_tile(
    x: Vectors, u: Vectors, weight: Vectors, label: Vectors, rate: float, *, module: Any = native
) -> float:
    """One gradient step on (m, d) inputs against (o, d) outputs, in place; returns the loss before it."""
    return float(module.logistic_tile(x, u, weight, label, rate))


def logistic_tile_twin(
    x: Vectors, u: Vectors, weight: Vectors, label: Vectors, rate: float
) -> tuple[Vectors, Vectors, float]:
    """NumPy twin of `logistic_tile`: the new x, the new u, and the loss."""
    X, U, W, L = (array.astype(np.float64) for array in (x, u, weight, label))
    scores = X @ U.T
    loss = float((W * np.logaddexp(0, scores) - L * scores).sum())
    gradient = rate * (L - W / (1 + np.exp(-scores)))
    return (X + gradient @ U).astype(np.float32), (U + gradient.T @ X).astype(np.float32), loss


def softmax_step(
    x: Vectors, u: Vectors, wanted: Vectors, rate: float, *, threads: int = 1, module: Any = native
) -> float:
    """One step of (m, d) inputs against all (v, d) outputs, in place; wanted (m, v) counts the right answers."""
    return float(module.softmax_step(x, u, wanted, rate, threads))


def softmax_step_twin(x: Vectors, u: Vectors, wanted: Vectors, rate: float) -> tuple[Vectors, Vectors, float]:
    """NumPy twin of `softmax_step`: the new x, the new u, and the loss."""
    X, U, W = (array.astype(np.float64) for array in (x, u, wanted))
    scores = X @ U.T
    times, total = W.sum(axis=1), np.logaddexp.reduce(scores, axis=1)
    loss = float((times * total).sum() - (W * scores).sum())
    gradient = rate * (W - times[:, None] * np.exp(scores - total[:, None]))
    return (X + gradient @ U).astype(np.float32), (U + gradient.T @ X).astype(np.float32), loss


def sample_piece(
    ids: Ids, keep: NDArray[np.uint32], window: int, shrink: bool, seed: int, *, module: Any = native
) -> Ids:
    """(3, n) int32: the words that subsampling keeps, and each one's reach to the left and to the right."""
    out = np.empty((3, len(ids)), np.int32)
    return out[:, : module.sample_piece(ids, keep, window, shrink, seed, out)]


def sample_piece_twin(ids: Ids, keep: NDArray[np.uint32], window: int, shrink: bool, seed: int) -> Ids:
    """Twin of `sample_piece`; needs the same numbers in the same order: a draw a word, then a draw a window."""
    random = draws(seed)
    sentences: list[list[int]] = [[]]
    reaches: list[int] = []
    for i in [*ids.tolist(), -1]:
        if i < 0:
            reaches += [1 + ((next(random) >> 32) * window >> 32) if shrink else window for _ in sentences[-1]]
            sentences.append([])
        elif keep[i] == KEEP_ALWAYS or next(random) & 0xFFFFFFFF <= keep[i]:
            sentences[-1].append(i)
    words = [word for sentence in sentences for word in sentence]
    before = [i for sentence in sentences for i in range(len(sentence))]
    after = [i for sentence in sentences for i in reversed(range(len(sentence)))]
    return np.array([words, np.minimum(reaches, before), np.minimum(reaches, after)], np.int32).reshape(3, -1)


def alias_table(weights: NDArray[np.float64], *, module: Any = native) -> tuple[NDArray[np.uint32], Ids]:
    """Walker's table: slot i yields i if 32 random bits are at most below[i], else alias[i]."""
    below, alias = np.empty(len(weights), np.uint32), np.empty(len(weights), np.int32)
    module.alias_table(weights, below, alias)
    return below, alias


def alias_shares(below: NDArray[np.uint32], alias: Ids) -> NDArray[np.float64]:
    """The distribution that a table draws from; equal to the weights it was made of, scaled to sum 1."""
    stay = (below + 1.0) / 2**32
    shares = stay + np.bincount(alias, 1 - stay, len(below))
    return np.asarray(shares / len(below), np.float64)


def noise_words(below: NDArray[np.uint32], alias: Ids, n: int, seed: int, *, module: Any = native) -> Ids:
    """(n,) draws from an alias table."""
    out = np.empty(n, np.int32)
    module.noise_words(below, alias, seed, out)
    return out


def huffman(counts: NDArray[np.int64], *, module: Any = native) -> tuple[NDArray[np.int64], Ids]:
    """Each word's way down the Huffman tree: path[starts[i]:starts[i + 1]] holds inner node · 2 + bit, root first."""
    starts = np.empty(len(counts) + 1, np.int64)
    return starts, np.array(module.huffman(counts, starts), np.int32)


def huffman_lengths_twin(counts: NDArray[np.int64]) -> list[int]:
    """The length of each word's code in some Huffman tree; the sum of count · length is the same in all of them."""
    heap = [(int(count), i, [i]) for i, count in enumerate(counts)]
    heapq.heapify(heap)
    lengths = [0] * len(counts)
    while len(heap) > 1:
        (a, i, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for leaf in left + right:
            lengths[leaf] += 1
        heapq.heappush(heap, (a + b, i, left + right))
    return lengths


def draws(seed: int) -> Iterator[int]:
    """splitmix64 (Steele, Lea and Flood 2014), as in native/sgns.hpp: 64 bits a draw."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        yield z ^ (z >> 31)
