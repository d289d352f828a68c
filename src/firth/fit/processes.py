"""Several processes as one training: each takes its share of a step's batches, and their gradients are summed.

    torchrun --nproc-per-node 2 -m firth.cli pretrain bert TEXT -o OUT --accumulate 4

A step has `accumulate` batches however many processes there are, so that two processes give what one gives, up to
rounding (and, with dropout, up to its draws). Only the first process writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


def place() -> tuple[int, int]:
    """(number of this process, how many there are): (0, 1) without torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def joined() -> Iterator[bool]:
    """Inside, the processes that torchrun started know each other; gives whether this is the first, which writes."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    if several:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield place()[0] == 0
    finally:
        if several:
            dist.destroy_process_group()


def sum_gradients(parameters: Sequence[Tensor], loss: float) -> float:
    """Sum gradients over all processes in place, in one message; returns the summed loss.

    A parameter without a gradient here counts as zero.
    """
    grads = [torch.zeros_like(value) if value.grad is None else value.grad for value in parameters]
    whole = torch.cat([grad.flatten() for grad in grads] + [grads[0].new_tensor([loss])])
    dist.all_reduce(whole)
    start = 0
    for value, grad in zip(parameters, grads, strict=True):
        value.grad = whole[start : start + grad.numel()].view_as(grad).clone()
        start += grad.numel()
    return float(whole[-1])
