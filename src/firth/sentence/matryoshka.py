"""Matryoshka: vectors whose every prefix is a good vector, so that they can be shortened after training.

Source: Kusupati et al. 2022, "Matryoshka Representation Learning", arXiv:2205.13147: the loss is summed over nested
prefixes. Where we differ: the sum is divided by the weights, so that the learning rate need not change with the number
of prefixes, and each prefix is brought back to unit length, as `encode(dims=)` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from firth.errors import SettingsError, ShapeError

Loss = Callable[..., Tensor]
SMALLEST = 8  # dimensions; below that nothing of use was kept in the paper


def default_dims(d: int) -> tuple[int, ...]:
    """8, 16, 32, … and d itself: the nesting of the paper.

    >>> default_dims(384)
    (8, 16, 32, 64, 128, 256, 384)
    """
    dims = [m for m in (SMALLEST << power for power in range(d.bit_length())) if m < d]
    return (*dims, d)


def matryoshka(loss: Loss, dims: Sequence[int], weights: Sequence[float] | None = None) -> Loss:
    """The same loss averaged over nested prefixes of the vectors, each brought back to unit length.

    Args:
        loss: any of `losses`: vectors by position, the rest by name.
        dims: prefix lengths, for instance `default_dims(384)`; the full length belongs in it.
        weights: one for each prefix; equal ones by default.

    Raises:
        SettingsError: no prefixes, one below 1, or another number of weights.
    """
    if not dims or min(dims) < 1:
        raise SettingsError(f"matryoshka: expected prefix lengths of at least 1, got {list(dims)}")
    shares = [1.0] * len(dims) if weights is None else list(weights)
    if len(shares) != len(dims) or min(shares) < 0 or sum(shares) <= 0:
        raise SettingsError(
            f"matryoshka: expected {len(dims)} weights >= 0, one for each of {list(dims)}, got {shares}"
        )

    def over_prefixes(*vectors: Tensor, **settings: Any) -> Tensor:
        d = vectors[0].shape[-1]
        if max(dims) > d:
            raise ShapeError(f"matryoshka: prefix of {max(dims)} dimensions, but the vectors have {d}")
        losses = [
            share * loss(*(functional.normalize(rows[..., :m], dim=-1) for rows in vectors), **settings)
            for m, share in zip(dims, shares, strict=True)
        ]
        total: Tensor = sum(losses[1:], losses[0])
        return total / sum(shares)

    return over_prefixes
