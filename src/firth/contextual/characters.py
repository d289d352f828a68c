"""Words as characters: bytes in, one vector a word out, by convolutions, maxima, highways and a projection.

Source: Peters et al. 2018, "Deep contextualized word representations", arXiv:1802.05365, after Kim et al. 2015,
arXiv:1508.06615 (character convolutions) and Srivastava et al. 2015, arXiv:1505.00387 (highways). A word is its UTF-8
bytes between a begin and an end mark, padded to a fixed width, as in bilm-tf.
Where we differ: windows in the padding alone all give one value, so only one of them is computed; the result is that
of the whole width. On a CPU a convolution is a sum of table rows (firth.kernels.spellings), elsewhere a product, where
words are computed in groups of like length. Each different word of a batch is computed once.

    "cat" -> 258 99 97 116 259 260 260 …   (50,)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from firth.contextual.threads import threads_for
from firth.kernels import spellings

BEGIN_TEXT, END_TEXT, BEGIN_WORD, END_WORD, PAD = 256, 257, 258, 259, 260  # after the 256 bytes
SYMBOLS = 261
TEXT_BEGINS, TEXT_ENDS = "<S>", "</S>"  # words of their own
GROUPS = (6, 12)  # symbols: words are computed in three groups, up to so many and longer ones
_MARKS = {TEXT_BEGINS: BEGIN_TEXT, TEXT_ENDS: END_TEXT}


def characters(words: Sequence[str], width: int) -> NDArray[np.int64]:
    """(n, width) symbols of each word; a longer one is cut.

    Args:
        words: "<S>" and "</S>" are the ends of a text.
        width: most symbols of a word, its two marks included.
    """
    found = np.full((len(words), width), PAD, np.int64)
    for row, word in zip(found, words, strict=True):
        inner = [_MARKS[word]] if word in _MARKS else list(word.encode()[: width - 2])
        row[: len(inner) + 2] = [BEGIN_WORD, *inner, END_WORD]
    return found


class CharacterEncoder(nn.Module):
    """(n, width) symbols -> (n, projection).

    Args:
        size: of a character's vector.
        filters: (window, how many) of each convolution.
        highways: layers of t·relu(Wx) + (1 - t)·x.
        projection: width of a word's vector.
    """

    def __init__(self, size: int, filters: Sequence[tuple[int, int]], highways: int, projection: int) -> None:
        super().__init__()
        total = sum(count for _, count in filters)
        self.symbols = nn.Embedding(SYMBOLS, size)
        nn.init.uniform_(self.symbols.weight, -1.0, 1.0)
        self.convolutions = nn.ModuleList(nn.Conv1d(size, count, window) for window, count in filters)
        self.highways = nn.ModuleList(nn.Linear(total, 2 * total) for _ in range(highways))
        self.projection = nn.Linear(total, projection)
        self.widest = max(window for window, _ in filters)
        for layer in self.highways:
            nn.init.normal_(layer.weight, std=total**-0.5)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias[:total])  # type: ignore[index]
            nn.init.constant_(layer.bias[total:], 2.0)  # type: ignore[index]  # carries at first

    def forward(self, symbols: Tensor) -> Tensor:
        """(n, projection); n may be 0."""
        if not len(symbols):
            return self.projection.weight.new_zeros(0, self.projection.out_features)
        if symbols.device.type == "cpu" and self.symbols.weight.dtype == torch.float32:
            return self._above(torch.cat([self._maxima(symbols, one) for one in self.convolutions], 1))
        used = (symbols != PAD).sum(1)
        order = used.argsort(stable=True)
        parts, start = [], 0
        for most in (*GROUPS, symbols.shape[1]):
            end = int((used <= most).sum())
            if end > start:
                rows = order[start:end]
                # One window of padding alone behind the longest word stands for all of them.
                width = min(symbols.shape[1], int(used[rows[-1]]) + self.widest)
                parts.append(self._group(symbols[rows, :width]))
            start = max(start, end)
        return torch.cat(parts)[order.argsort()]

    def _group(self, symbols: Tensor) -> Tensor:
        x = self.symbols(symbols).transpose(1, 2)  # (n, size, width)
        return self._above(torch.cat([F.relu(convolution(x).amax(2)) for convolution in self.convolutions], 1))

    def _maxima(self, symbols: Tensor, convolution: nn.Module) -> Tensor:
        assert isinstance(convolution, nn.Conv1d)
        with torch.autocast("cpu", enabled=False):
            table = torch.einsum("vs,fsw->wvf", self.symbols.weight, convolution.weight).contiguous()
            found: Tensor = _Maxima.apply(symbols, table, convolution.bias)  # type: ignore[no-untyped-call]
        return found

    def _above(self, x: Tensor) -> Tensor:
        """Highways and projection over the maxima (n, f)."""
        for highway in self.highways:
            new, carry = highway(x).chunk(2, 1)
            carry = torch.sigmoid(carry)
            x = carry * x + (1 - carry) * F.relu(new)
        found: Tensor = self.projection(x)
        return found


class _Maxima(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, symbols: Tensor, table: Tensor, bias: Tensor) -> Tensor:
        known = symbols.numpy().astype(np.int16)
        ctx.threads = threads_for(known.size * table.shape[0] * table.shape[2])
        best, places = spellings.maxima(known, table.detach().numpy(), bias.detach().numpy(), PAD, threads=ctx.threads)
        ctx.known, ctx.places, ctx.shape = known, places, tuple(table.shape)
        return torch.from_numpy(best)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes = grads[0].contiguous().numpy()
        table = spellings.gradient(ctx.known, ctx.shape, ctx.places, slopes, PAD, threads=ctx.threads)
        return None, torch.from_numpy(table), torch.from_numpy((slopes * (ctx.places >= 0)).sum(0))
