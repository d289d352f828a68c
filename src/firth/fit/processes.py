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
from torch import Tensor, nn


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
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield place()[0] == 0
        if several:
            dist.barrier()  # nobody leaves while another still speaks: gloo's threads end the process where that fails
    finally:
        if several:
            dist.destroy_process_group()


def sum_gradients(parameters: Sequence[Tensor], loss: float) -> float:
    """Sum gradients over all processes in place, in one message; returns the summed loss.

    A parameter without a gradient here counts as zero. Row-sparse gradients follow in a message each.
    """
    grads = [torch.zeros_like(value) if value.grad is None else value.grad for value in parameters]
    whole = torch.cat([grad.flatten() for grad in grads if not grad.is_sparse] + [parameters[0].new_tensor([loss])])
    dist.all_reduce(whole)
    start = 0
    for value, grad in zip(parameters, grads, strict=True):
        if grad.is_sparse:
            value.grad = _sum_rows(grad.coalesce())
            continue
        value.grad = whole[start : start + grad.numel()].view_as(grad).clone()
        start += grad.numel()
    return float(whole[-1])


def clip_gradients(parameters: Sequence[Tensor], longest: float) -> float:
    """Shorten all gradients together to a Euclidean length of at most `longest`; returns the length that they had.

    As torch.nn.utils.clip_grad_norm_, which does not know row-sparse gradients.
    """
    values = []
    for parameter in parameters:
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
    norm = nn.utils.get_total_norm(values)
    share = (longest / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(values, share)
    return float(norm)


def _sum_rows(grad: Tensor) -> Tensor:
    """The sum of row-sparse gradients of all processes: their rows one after another, each process padded alike."""
    own = torch.tensor([grad._nnz()], device=grad.device)
    counts = [torch.empty_like(own) for _ in range(place()[1])]
    dist.all_gather(counts, own)
    most = max(int(count) for count in counts)
    rows = grad.indices().new_zeros(1, most)
    rows[:, : grad._nnz()] = grad.indices()
    values = grad.values().new_zeros(most, *grad.shape[1:])
    values[: grad._nnz()] = grad.values()
    all_rows, all_values = [torch.empty_like(rows) for _ in counts], [torch.empty_like(values) for _ in counts]
    dist.all_gather(all_rows, rows)
    dist.all_gather(all_values, values)
    both = torch.sparse_coo_tensor(torch.cat(all_rows, 1), torch.cat(all_values), grad.shape, check_invariants=False)
    return both.coalesce()
