"""Big batches in small memory: vectors of any number of texts, whose gradient is computed a piece at a time.

Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv:2101.06983.
The texts are embedded once without keeping anything, the loss gives the gradient of each vector, and then each piece is
embedded again and its gradient taken at once. Where we differ: it is one autograd function around `embed`, so that
every loss works unchanged, and the generator's state of each piece is replayed, so that dropout falls the same twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

P = TypeVar("P")


def embed_in_pieces(embed: Callable[[P], Tensor], pieces: Sequence[P], parameters: Sequence[Tensor]) -> Tensor:
    """The vectors of all pieces, one below the other, with a gradient that needs the memory of one piece.

    Args:
        embed: a piece -> (n, d) vectors with gradient.
        pieces: for instance Ragged rows of some thousand tokens each.
        parameters: what `embed` has gradients to; they receive theirs in `.grad` when the result is differentiated.

    Returns:
        (sum of n, d). It can be differentiated once, by `backward`.
    """
    # A graph is only kept for a function of something that needs a gradient.
    anchor = torch.zeros((), requires_grad=any(value.requires_grad for value in parameters))
    vectors: Tensor = _Pieces.apply(anchor, embed, tuple(pieces))  # type: ignore[no-untyped-call]
    return vectors


class _Pieces(torch.autograd.Function):
    """Forward without a graph; backward embeds each piece again and pushes its share of the gradient through."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, embed: Callable[[Any], Tensor], pieces: tuple[Any, ...]) -> Tensor:
        ctx.embed, ctx.pieces = embed, pieces
        ctx.autocast = _autocast()
        ctx.random, rows = [], []
        with torch.no_grad():
            for piece in pieces:
                ctx.random.append(_random_state())
                rows.append(embed(piece))
        ctx.sizes = [len(part) for part in rows]
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        after = _random_state()
        shares = torch.split(gradient, ctx.sizes)
        for piece, random, share in zip(ctx.pieces, ctx.random, shares, strict=True):
            _replay(random)
            with torch.enable_grad(), torch.autocast(**ctx.autocast):
                vectors = ctx.embed(piece)
            torch.autograd.backward(vectors, share.to(vectors.dtype))
        _replay(after)
        return None, None, None


def _random_state() -> list[Tensor]:
    """Of the CPU's generator and, where it is used, of each GPU's."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]


def _replay(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


def _autocast() -> dict[str, Any]:
    """The autocast that is on now, to be repeated on the way back."""
    kind = "cuda" if torch.is_autocast_enabled("cuda") else "cpu"
    return {
        "device_type": kind,
        "dtype": torch.get_autocast_dtype(kind),
        "enabled": torch.is_autocast_enabled(kind),
    }
