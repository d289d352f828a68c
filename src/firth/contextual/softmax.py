"""The language model's losses over sampled candidates, one code for every device and a native one for the CPU.

Source: Jean et al. 2014, arXiv:1412.2007: each candidate's score has the logarithm of its chance to be drawn taken off;
the true word stands beside the candidates and is left out among them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from firth.contextual.threads import threads_for
from firth.kernels import sampled


def sampled_losses(y: Tensor, words: Tensor, bias: Tensor, candidates: Tensor, targets: Tensor) -> Tensor:
    """(m,) -log of the true word's chance among itself and the candidates.

    Args:
        y: (m, p) what the model gives.
        words, bias: (v, p), (v,) with the logarithm of each word's chance to be drawn taken off the bias.
        candidates: (k,) ids, ascending.
        targets: (m,) ids.
    """
    if y.device.type == "cpu" and y.dtype == torch.float32:
        found: Tensor = _Sampled.apply(y, words, bias, candidates, targets)  # type: ignore[no-untyped-call]
        return found
    return plain_losses(y, words, bias, candidates, targets)


def plain_losses(y: Tensor, words: Tensor, bias: Tensor, candidates: Tensor, targets: Tensor) -> Tensor:
    """`sampled_losses` in torch: the specification, and what other devices run."""
    scores = F.linear(y, words[candidates], bias[candidates]).float()
    scores = scores.masked_fill(targets[:, None] == candidates, -torch.inf)  # the true word stands alone
    true = (y * words[targets]).sum(-1).float() + bias[targets]
    return torch.logaddexp(scores.logsumexp(-1), true) - true


class _Sampled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, words: Tensor, bias: Tensor, candidates: Tensor, targets: Tensor) -> Tensor:
        ctx.half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        given = _scored(y, words, bias, candidates, targets)
        ctx.threads = threads_for(y.numel() * len(candidates))
        losses, totals = sampled.losses(given, bfloat16=ctx.half, threads=ctx.threads)
        ctx.save_for_backward(y, words, bias, candidates, targets, torch.from_numpy(totals))
        return torch.from_numpy(losses)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *given, totals = ctx.saved_tensors
        slopes = grads[0].contiguous().numpy()
        found = sampled.gradients(_scored(*given), totals.numpy(), slopes, bfloat16=ctx.half, threads=ctx.threads)
        return (*map(torch.from_numpy, found), None, None)


def _scored(*tensors: Tensor) -> sampled.Scored:
    return sampled.Scored(*(tensor.detach().contiguous().numpy() for tensor in tensors))
