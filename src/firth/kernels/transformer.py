"""The encoder kernel: a BERT-family model (post-LN, full attention, exact GELU) over ragged texts, without padding.

Devlin et al. 2019, arXiv:1810.04805; with relative position bias, MPNet (Song et al. 2020, arXiv:2004.09297).
Plain arrays in, plain arrays out: whoever reads a model's file hands its weights over as the two dataclasses below.
A text's result is the same bits whatever else is in the call, in whatever order, on however many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import erf
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Ids, Vectors
from firth.errors import SettingsError, ShapeError
from firth.kernels import native

Floats = NDArray[np.float32]
Tokens = NDArray[np.int32]
Pool = Literal["mean", "first"]
POOLS = ("none", "mean", "first")  # as native/transformer.hpp numbers them, and ACTIVATIONS too
ACTIVATIONS = ("gelu", "gelu_tanh", "relu")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Layer:
    """One layer's weights, as torch's `nn.Linear` has them: (outputs, inputs); d dimensions, f the inner width."""

    qkv: Floats  # (3d, d): queries, keys, values
    qkv_bias: Floats  # (3d,)
    out: Floats  # (d, d)
    out_bias: Floats  # (d,)
    out_scale: Floats  # (d,) of the normalisation after attention
    out_shift: Floats  # (d,)
    up: Floats  # (f, d)
    up_bias: Floats  # (f,)
    down: Floats  # (d, f)
    down_bias: Floats  # (d,)
    down_scale: Floats  # (d,) of the normalisation after the feed-forward layer
    down_shift: Floats  # (d,)


@dataclass(frozen=True)
class Weights:
    """A whole encoder.

    Attributes:
        tokens: (v, d) float32; kept as it is and read in place, so it may be a memory map.
        positions: (p, d) float32: row i is added to the i-th token of a text, so a model that starts counting at 2
            hands over its rows from 2 on; a row for "first sentence" is added to all of them. p: the longest text.
        scale, shift: (d,) of the normalisation of that sum.
        layers: at least one.
        heads: how many; divides d.
        eps: of every normalisation.
        relative: (h, 2p - 1): column p - 1 + j - i is added to the score that query i gives key j; None adds nothing.
        activation: of the feed-forward layers: "gelu" (exact), "gelu_tanh" (its approximation by tanh), "relu".
    """

    tokens: Floats
    positions: Floats
    scale: Floats
    shift: Floats
    layers: Sequence[Layer]
    heads: int
    eps: float
    relative: Floats | None = None
    activation: str = "gelu"


class Transformer:
    """An encoder packed for this machine; safe to call from several threads at once.

    Args:
        weights: arrays that are not contiguous float32 are copied.
        precision: "float32"; "bfloat16": weights and activations are rounded to 8 bits of mantissa, sums, residuals,
            softmax and normalisation stay float32 (cosine to float32 at least 0.9999 on published models);
            "auto": bfloat16 where the CPU level multiplies it natively (AVX512-BF16).

    Raises:
        ShapeError: the weights do not fit each other.
        SettingsError: no such precision.
    """

    def __init__(self, weights: Weights, *, precision: str = "auto", module: Any = native) -> None:
        if precision not in PRECISIONS:
            raise SettingsError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
        _check(weights)
        self._tokens, self._longest, self.dims = len(weights.tokens), len(weights.positions), weights.tokens.shape[1]
        tables = [_plain(a) for a in (weights.tokens, weights.positions, weights.scale, weights.shift)]
        relative = None if weights.relative is None else _plain(weights.relative)
        inner, activation = len(weights.layers[0].up), ACTIVATIONS.index(weights.activation)
        self._native = module.Transformer(
            *tables, relative, weights.heads, inner, weights.eps, activation, precision != "float32"
        )
        for layer in weights.layers:
            self._native.add_layer(*(_plain(getattr(layer, field.name)) for field in fields(Layer)))

    @property
    def precision(self) -> str:
        """What is computed in: "bfloat16", or "float32" where that was asked for or the level has nothing else."""
        return str(self._native.precision)

    def hidden(self, ids: Tokens, offsets: Ids, *, threads: int = 1) -> Vectors:
        """(t, d) float32 states of the last layer. Text i is ids[offsets[i]:offsets[i + 1]]."""
        return self._run(ids, offsets, len(ids), "none", threads)

    def pooled(self, ids: Tokens, offsets: Ids, *, pool: Pool = "mean", threads: int = 1) -> Vectors:
        """(n, d) float32: the mean of each text's states, or its first token's; zeros for a text without tokens."""
        return self._run(ids, offsets, len(offsets) - 1, pool, threads)

    def _run(self, ids: Tokens, offsets: Ids, rows: int, pool: str, threads: int) -> Vectors:
        if pool not in POOLS:
            raise SettingsError(f"pool {pool!r}: expected one of {', '.join(POOLS[1:])}")
        ids, offsets = np.ascontiguousarray(ids, np.int32), np.ascontiguousarray(offsets, np.int64)
        lengths = np.diff(offsets)
        if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(ids) or (lengths < 0).any():
            raise ShapeError(f"offsets: expected 0 rising to the number of tokens, {len(ids)}; got {offsets!r}")
        if len(lengths) and lengths.max() > self._longest:
            raise ShapeError(f"text {lengths.argmax()} has {lengths.max()} tokens; this model reads {self._longest}")
        if len(ids) and (ids.min() < 0 or ids.max() >= self._tokens):
            raise ShapeError(f"ids: expected 0 to {self._tokens - 1}, got {ids.min()} to {ids.max()}")
        out = np.empty((rows, self.dims), np.float32)
        self._native.run(ids, offsets, out, POOLS.index(pool), threads)
        return out


def hidden_twin(weights: Weights, ids: Tokens) -> NDArray[np.float64]:
    """NumPy twin of `Transformer.hidden` for one text, in float64."""
    n, d, h, p = len(ids), weights.tokens.shape[1], weights.heads, len(weights.positions)
    bias = np.zeros((h, 2 * p - 1)) if weights.relative is None else weights.relative
    apart = bias[:, p - 1 + np.arange(n) - np.arange(n)[:, None]]  # (h, n, n)
    x = _normal(weights.tokens[ids] + weights.positions[:n], weights.scale, weights.shift, weights.eps)
    for one in weights.layers:
        q, k, v = (x @ one.qkv.T + one.qkv_bias).reshape(n, 3, h, d // h).transpose(1, 2, 0, 3)
        scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(d // h) + apart)
        mixed = (scores / scores.sum(2, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, d)
        x = _normal(x + mixed @ one.out.T + one.out_bias, one.out_scale, one.out_shift, weights.eps)
        inner = x @ one.up.T + one.up_bias
        x = _normal(
            x + _ACTIVATE[weights.activation](inner) @ one.down.T + one.down_bias,
            one.down_scale,
            one.down_shift,
            weights.eps,
        )
    return x


def _normal(x: NDArray[Any], scale: Floats, shift: Floats, eps: float) -> NDArray[np.float64]:
    centred = x - x.mean(1, keepdims=True, dtype=np.float64)
    normal: NDArray[np.float64] = centred / np.sqrt((centred**2).mean(1, keepdims=True) + eps) * scale + shift
    return normal


_ACTIVATE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "gelu": lambda x: x * (1 + np.vectorize(erf, otypes=[float])(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
}


def _plain(array: Floats) -> Floats:
    return np.ascontiguousarray(array, np.float32)


def _check(weights: Weights) -> None:
    if not weights.layers:
        raise ShapeError("layers: expected at least one, got none")
    if weights.activation not in ACTIVATIONS:
        raise SettingsError(f"activation {weights.activation!r}: expected one of {', '.join(ACTIVATIONS)}")
    d: int = weights.tokens.shape[1]
    inner, p = len(weights.layers[0].up), len(weights.positions)
    if weights.heads < 1 or d % weights.heads:
        raise ShapeError(f"{weights.heads} heads do not divide {d} dimensions")
    wanted: dict[str, tuple[int, ...]] = {"positions": (p, d), "scale": (d,), "shift": (d,)}
    if weights.relative is not None:
        wanted["relative"] = (weights.heads, 2 * p - 1)
    for name, expected in wanted.items():
        _same(name, getattr(weights, name).shape, expected)
    widths = {"qkv": 3 * d, "up": inner}
    for i, layer in enumerate(weights.layers):
        for field in fields(Layer):
            matrix = field.name.removesuffix("_bias").removesuffix("_scale").removesuffix("_shift")
            n = widths.get(matrix, d)
            shape: tuple[int, ...] = (n, inner if matrix == "down" else d)
            if field.name != matrix:
                shape = (n,)
            _same(f"layers[{i}].{field.name}", getattr(layer, field.name).shape, shape)


def _same(name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise ShapeError(f"{name}: expected shape {expected}, got {got}")
