"""One batch over several processes: each embeds its share of the texts, and every one has the vectors of all.

So a loss sees the whole batch wherever it is computed, with the negatives of all processes, and two processes have the
gradient of one: each takes 1/processes of the loss, the gradient of the vectors that are its own counts fully, and the
gradients of the parameters are summed (`fit.processes`). That holds for every loss, as none has to know of it.
Source: gathering negatives across devices is in OpenCLIP and CPC; that the gradient must flow back to where a vector
came from is the fault most often made with it (torch's own all_gather lets none through).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from firth.arrays import Vectors
from firth.fit.processes import place

Rows = NDArray[np.int64]


def embed_shared(embed: Callable[[Rows], Tensor], lengths: NDArray[np.int64]) -> Tensor:
    """(n, d) vectors of all rows, of which this process embeds its share.

    Args:
        embed: some rows -> their (m, d) vectors, with gradient.
        lengths: (n,) tokens of each row; the shares have rows of like length.
    """
    rank, processes = place()
    n = len(lengths)
    # Too few to divide: each embeds all, and as each takes 1/processes of the loss, their gradients still sum to it.
    if processes == 1 or n < processes:
        return embed(np.arange(n))
    order = np.argsort(-lengths, kind="stable")
    vectors: Tensor = _Gathered.apply(embed(order[rank::processes]), n)  # type: ignore[no-untyped-call]
    came = np.concatenate([order[other::processes] for other in range(processes)])
    return vectors[torch.from_numpy(np.argsort(came)).to(vectors.device)]


def encode_shared(encode: Callable[[list[str]], Vectors], texts: list[str]) -> Vectors:
    """(n, d) vectors of all texts, of which this process encodes its share; no gradient."""
    if place()[1] == 1:
        return encode(texts)
    lengths = np.array([len(text) for text in texts])
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"  # where messages are sent from
    with torch.no_grad():
        found = embed_shared(lambda rows: torch.from_numpy(encode([texts[i] for i in rows])).to(device), lengths)
    vectors: Vectors = found.cpu().numpy()
    return vectors


def agree(module: nn.Module) -> None:
    """Every process starts from the first one's weights, whatever it loaded or drew itself."""
    if place()[1] > 1:
        for value in (*module.parameters(), *module.buffers()):
            dist.broadcast(value.data, 0)


class _Gathered(torch.autograd.Function):
    """(m, d) rows of each process -> (n, d) rows of all, those of process 0 first."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, n: int) -> Tensor:
        rank, processes = place()
        counts = [len(range(other, n, processes)) for other in range(processes)]
        padded = own.new_zeros(counts[0], own.shape[1])
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        ctx.start, ctx.count, ctx.processes = sum(counts[:rank]), counts[rank], processes
        return torch.cat([rows[:count] for rows, count in zip(found, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Each process has 1/processes of the same loss, and nobody else embeds these rows.
        return gradient[ctx.start : ctx.start + ctx.count] * ctx.processes, None
