"""The softmax over sampled candidates and the true word: its losses and their gradient.

Jean et al. 2014, arXiv:1412.2007. The gradient computes the scores anew, block by block; none are kept. Its twin is
`firth.contextual.softmax.plain_losses` with the gradient of autograd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Ids
from firth.errors import ShapeError
from firth.kernels import native

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """What is scored against what.

    Attributes:
        y: (m, p) rows.
        words: (v, p); bias: (v,) with the logarithm of each word's chance to be a candidate taken off.
        candidates: (k,) ids, each once, ascending; a row's true word is left out among them.
        targets: (m,) ids of the true words.
    """

    y: Floats
    words: Floats
    bias: Floats
    candidates: Ids
    targets: Ids

    def arrays(self) -> tuple[Any, ...]:
        """As the native side takes them, with the place of each true word among the candidates."""
        (m, p), (v, width) = self.y.shape, self.words.shape
        if width != p or self.bias.shape != (v,) or self.targets.shape != (m,) or not len(self.candidates):
            raise ShapeError(
                f"expected y (m, p), words (v, p), bias (v,), targets (m,) and candidates, got {self.y.shape}, "
                f"{self.words.shape}, {self.bias.shape}, {self.targets.shape}, {self.candidates.shape}"
            )
        for name, ids in (("candidates", self.candidates), ("targets", self.targets)):
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < v:
                raise ShapeError(f"{name}: expected ids from 0 to {v - 1}, got {ids.min()} to {ids.max()}")
        if (np.diff(self.candidates) <= 0).any():
            raise ShapeError("candidates: expected ascending ids, each once")
        place = np.minimum(np.searchsorted(self.candidates, self.targets), len(self.candidates) - 1)
        hits = np.where(self.candidates[place] == self.targets, place, -1)
        return self.y, self.words, self.bias, self.candidates, self.targets, hits


def losses(scored: Scored, *, bfloat16: bool = False, threads: int = 1, module: Any = native) -> tuple[Floats, Floats]:
    """(m,) -log of the true word's chance, and (m,) log of the sum over all scores' exponentials.

    Args:
        bfloat16: round the products' factors, where the CPU level multiplies bfloat16.
    """
    found, totals = (np.empty(len(scored.y), np.float32) for _ in range(2))
    module.sampled_losses(*scored.arrays(), bfloat16, found, totals, threads)
    return found, totals


def gradients(
    scored: Scored, totals: Floats, slopes: Floats, *, bfloat16: bool = False, threads: int = 1, module: Any = native
) -> tuple[Floats, Floats, Floats]:
    """Of y, words and bias, from the gradient (m,) of each row's loss and what `losses` gave."""
    _check_rows(scored, totals, slopes)
    found = np.empty_like(scored.y), np.empty_like(scored.words), np.empty_like(scored.bias)
    module.sampled_gradients(*scored.arrays(), bfloat16, totals, slopes, *found, threads)
    return found


def _check_rows(scored: Scored, *arrays: Floats) -> None:
    for array in arrays:
        if array.shape != scored.targets.shape:
            raise ShapeError(f"expected one number a row, {scored.targets.shape}, got {array.shape}")
