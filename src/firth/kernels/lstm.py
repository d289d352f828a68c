"""The LSTM kernel: a layer of both directions over a stretch of steps, with projection and clipping, and its gradient.

Sak et al. 2014, arXiv:1402.1128. Its twin, and what it is checked against in float64, is
`firth.contextual.lstm.plain_steps` with the gradient of autograd. A row's result is the same bits whatever other rows
are in the batch and on however many threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.errors import ShapeError
from firth.kernels import native

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """Of both directions; gates in the order input, forget, output, new; i inputs, c cells, p width of the output."""

    inner: Floats  # (2, i, 4c)
    again: Floats  # (2, p, 4c)
    bias: Floats  # (2, 4c)
    out: Floats  # (2, c, p)


class Lstm:
    """Workspace of one layer for one shape of batch; holds what the gradient needs from `forward` to `backward`.

    Args:
        shape: steps, rows, inputs, cells, width of the output.
        clips: largest size of a cell's and of an output's value.
        bfloat16: whether to round the products' factors, where the CPU level multiplies bfloat16; sums, curves and
            cells are float32.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int, int],
        *,
        clips: tuple[float, float],
        bfloat16: bool = False,
        module: Any = native,
    ) -> None:
        if min(shape) < 1:
            raise ShapeError(f"steps, rows, inputs, cells, width are {shape}; expected at least 1 of each")
        self.shape = shape
        self._native = module.Lstm(*shape, *clips, bfloat16)

    @property
    def precision(self) -> str:
        """What the products are computed in: "bfloat16" or "float32"."""
        return str(self._native.precision)

    def forward(self, weights: Weights, x: Floats, h: Floats, c: Floats, *, threads: int = 1) -> tuple[Floats, Floats]:
        """Outputs (2, s, b, p), and the cells (2, b, c) behind the last step.

        Args:
            x: (2, s, b, i), each direction in its own reading order.
            h, c: (2, b, p), (2, b, c) output and cells before the first step.
        """
        steps, rows, inputs, cells, width = self.shape
        self._check(weights)
        _shape("x", x, (2, steps, rows, inputs))
        _shape("h", h, (2, rows, width))
        _shape("c", c, (2, rows, cells))
        y, end = np.empty((2, steps, rows, width), np.float32), np.empty((2, rows, cells), np.float32)
        self._native.forward(weights.inner, weights.again, weights.bias, weights.out, x, h, c, y, end, threads)
        return y, end

    def backward(self, weights: Weights, y: Floats, dy: Floats, *, threads: int = 1) -> tuple[Floats, Weights]:
        """Gradients of x and of the weights, from `dy` of the `y` that the last forward gave; states carry none."""
        steps, rows, inputs, _, width = self.shape
        self._check(weights)
        _shape("y", y, (2, steps, rows, width))
        _shape("dy", dy, y.shape)
        dx = np.empty((2, steps, rows, inputs), np.float32)
        found = Weights(*(np.empty_like(value) for value in vars(weights).values()))
        self._native.backward(weights.inner, weights.again, weights.out, y, dy, dx, *vars(found).values(), threads)
        return dx, found

    def _check(self, weights: Weights) -> None:
        _, _, inputs, cells, width = self.shape
        for name, shape in {
            "inner": (2, inputs, 4 * cells),
            "again": (2, width, 4 * cells),
            "bias": (2, 4 * cells),
            "out": (2, cells, width),
        }.items():
            _shape(name, getattr(weights, name), shape)


def _shape(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ShapeError(f"{name}: expected shape {shape}, got {array.shape}")
