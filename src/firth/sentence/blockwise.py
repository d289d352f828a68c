"""InfoNCE a tile of rows at a time: the (b, b + r) scores of a large batch are never held whole.

Going forward, each tile leaves its log-sum-exp, one number a row (and, in both directions, one a column). Going back,
the tile is computed again and becomes a softmax with them. That is one more product of the vectors, small beside the
encoder's work, for memory that grows with b instead of b².
Source: the online softmax of Milakov and Gimelshein 2018, arXiv:1805.02867; for contrastive losses Cheng et al. 2024
("Inf-CL"), arXiv:2410.17243.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CELLS = 1 << 22  # scores held at once: 16 MB, which leaves a batch of 1,024 with 3,072 documents whole


class BlockwiseInfoNCE(torch.autograd.Function):
    """`losses.info_nce`, which says what the arguments are; `ignore` holds no answer here."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, documents: Tensor, temperature: float, symmetric: bool, ignore: Tensor
    ) -> Tensor:
        b = len(queries)
        rows = queries.new_empty(b)
        columns = queries.new_full((b if symmetric else 0,), -torch.inf)
        for tile, scores in _tiles(queries, documents, temperature, ignore):
            rows[tile] = scores.logsumexp(1)
            if symmetric:
                columns = torch.logaddexp(columns, scores[:, :b].logsumexp(0))
        ctx.save_for_backward(queries, documents, ignore, rows, columns)
        ctx.temperature, ctx.symmetric = temperature, symmetric
        answers = (queries * documents[:b]).sum(1) / temperature
        forward = (rows - answers).mean()
        return (forward + (columns - answers).mean()) / 2 if symmetric else forward

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        queries, documents, ignore, rows, columns = ctx.saved_tensors
        b, size = len(queries), float(gradient) / (len(queries) * ctx.temperature)
        to_queries, to_documents = torch.empty_like(queries), torch.zeros_like(documents)
        for tile, scores in _tiles(queries, documents, ctx.temperature, ignore):
            shares = (scores - rows[tile, None]).exp()
            if ctx.symmetric:
                shares[:, :b] += (scores[:, :b] - columns).exp()
                shares /= 2
            shares.diagonal(tile.start)[:] -= 1  # the answers of the tile's rows
            to_queries[tile] = _product(shares, documents)
            to_documents += _product(shares.T, queries[tile])
        return to_queries * size, to_documents * size, None, None, None


def tiles(b: int, n: int) -> Iterator[slice]:
    """Runs of rows of a (b, n) table whose cells fit into CELLS, at least one row each."""
    step = max(1, CELLS // max(1, n))
    for start in range(0, b, step):
        yield slice(start, min(b, start + step))


def _tiles(queries: Tensor, documents: Tensor, temperature: float, ignore: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of scores, -inf where a document is to be ignored; `ignore` ascends by row."""
    rows = ignore[:, 0].contiguous()
    for tile in tiles(len(queries), len(documents)):
        scores = _product(queries[tile], documents.T) / temperature
        first, last = torch.searchsorted(rows, rows.new_tensor([tile.start, tile.stop])).tolist()
        out = ignore[first:last]
        scores[out[:, 0] - tile.start, out[:, 1]] = -torch.inf
        yield tile, scores


def _product(left: Tensor, right: Tensor) -> Tensor:
    """At the precision of its factors, there and back, whatever autocast says at either time."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right
