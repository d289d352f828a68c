"""LSTM layers with projection and clipping, both directions side by side, fast enough to train on a CPU.

Source: Sak et al. 2014, arXiv:1402.1128 (projection); Peters et al. 2018, arXiv:1802.05365 (cell and projection
clipped, two layers, the second with a residual). The gradient of a clipped value is that of `clamp`.
Where we differ: one pass computes both directions, each in its own reading order; the gradient is written out, so that
no step leaves a graph behind and the gradient of each weight is one product after the loop. On a CPU the native kernel
(firth.kernels.lstm) runs the steps; `_run` and `_back` are the same for other devices and for float64.

    letters: 2 directions, s steps, b rows, i inputs, p projection, c cells
    gates in the order input, forget, output, new
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from firth.contextual.threads import threads_for
from firth.errors import TrainingError
from firth.kernels.lstm import Lstm, Weights

FORGET = 1.0  # added to the forget gate's bias at the start, as in bilm-tf


class Layer(nn.Module):
    """One layer of both directions: (2, s, b, i) -> (2, s, b, p).

    Args:
        inputs, cells, projection: i, c, p.
        cell_clip, projection_clip: largest size of a cell's and an output's value.
    """

    def __init__(self, inputs: int, cells: int, projection: int, cell_clip: float, projection_clip: float) -> None:
        super().__init__()
        self.clips = cell_clip, projection_clip
        self.cells, self.projection = cells, projection
        self.inner = nn.Parameter(torch.empty(2, inputs, 4 * cells))
        self.again = nn.Parameter(torch.empty(2, projection, 4 * cells))
        self.bias = nn.Parameter(torch.zeros(2, 4 * cells))
        self.out = nn.Parameter(torch.empty(2, cells, projection))
        for weight, size in ((self.inner, inputs), (self.again, projection), (self.out, cells)):
            nn.init.uniform_(weight, -(size**-0.5), size**-0.5)
        with torch.no_grad():
            self.bias[:, cells : 2 * cells] = FORGET
        self.spaces = Workspaces()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs (2, s, b, p), and the state (2, b, p), (2, b, c) behind the last step, without gradient."""
        weights = self.inner, self.again, self.bias, self.out
        y, h, c = _Steps.apply(x, *state, *weights, self.clips, self.spaces)  # type: ignore[no-untyped-call]
        return y, (h.detach(), c.detach())

    def start(self, rows: int) -> tuple[Tensor, Tensor]:
        """The state before the first step: zeros."""
        zeros = self.out.new_zeros
        return zeros(2, rows, self.projection), zeros(2, rows, self.cells)


class _Steps(torch.autograd.Function):
    """All steps of a layer with a gradient written out; states that come in carry none (truncated)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        inner: Tensor,
        again: Tensor,
        bias: Tensor,
        out: Tensor,
        clips: tuple[float, float],
        spaces: Workspaces,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        with torch.autocast(x.device.type, enabled=False):
            if x.device.type == "cpu" and x.dtype == torch.float32 and kind in (torch.float32, torch.bfloat16):
                return _run_natively(ctx, kind, x, h, c, (inner, again, bias, out), clips, spaces)
            return _run(ctx, kind, x, h, c, inner, again, bias, out, *clips)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grads[0].device.type, enabled=False):
            back = _back_natively if ctx.give is not None else _back
            return (*back(ctx, grads[0]), None, None)


class Workspaces:
    """Workspaces of the kernel that no pass is using; a copy of the layer begins without any."""

    def __init__(self) -> None:
        self.free: list[tuple[object, Lstm]] = []

    def __deepcopy__(self, _: object) -> Workspaces:
        return Workspaces()

    def take(self, shape: tuple[int, int, int, int, int], clips: tuple[float, float], *, bfloat16: bool) -> Lstm:
        """One for this shape; those of other shapes are let go."""
        key = shape, clips, bfloat16
        found = [space for known, space in self.free if known == key]
        self.free = [(key, space) for space in found[1:]]
        return found[0] if found else Lstm(shape, clips=clips, bfloat16=bfloat16)

    def give(self, space: Lstm, clips: tuple[float, float], *, bfloat16: bool) -> None:
        """Nobody needs its steps any more."""
        self.free.append(((space.shape, clips, bfloat16), space))


def _run_natively(
    ctx: Any,
    kind: torch.dtype,
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    clips: tuple[float, float],
    spaces: Workspaces,
) -> tuple[Tensor, Tensor, Tensor]:
    half = kind == torch.bfloat16
    space = spaces.take((*x.shape[1:], c.shape[2], h.shape[2]), clips, bfloat16=half)
    given = [value.detach().contiguous().numpy() for value in (x, h, c)]
    y, cells = map(torch.from_numpy, space.forward(_arrays(weights), *given, threads=_threads(space)))
    if any(ctx.needs_input_grad):
        ctx.space, ctx.give = space, lambda: spaces.give(space, clips, bfloat16=half)
        ctx.save_for_backward(y, *weights)
    else:
        spaces.give(space, clips, bfloat16=half)
    return y, y[:, -1].clone(), cells


def _back_natively(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.space is None:
        raise TrainingError("the gradient of an LSTM layer's pass was taken already; run the layer again")
    y, *weights = ctx.saved_tensors
    dx, found = ctx.space.backward(_arrays(weights), y.numpy(), dy.contiguous().numpy(), threads=_threads(ctx.space))
    ctx.give()
    ctx.space = None
    return torch.from_numpy(dx), None, None, *map(torch.from_numpy, vars(found).values())


def _threads(space: Lstm) -> int:
    steps, rows, inputs, cells, width = space.shape
    return threads_for(2 * steps * rows * cells * (4 * (inputs + width) + width))


def _arrays(weights: Sequence[Tensor]) -> Weights:
    return Weights(*(value.detach().contiguous().numpy() for value in weights))


def _run(
    ctx: Any,
    kind: torch.dtype,
    x: Tensor,
    h: Tensor,
    c: Tensor,
    inner: Tensor,
    again: Tensor,
    bias: Tensor,
    out: Tensor,
    cell_clip: float,
    projection_clip: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The steps; products are of `kind`, everything else float32."""
    _, steps, rows, inputs = x.shape
    cells, width = c.shape[2], h.shape[2]
    flat = x.reshape(2, steps * rows, inputs)
    small_again, small_out = again.to(kind), out.to(kind)
    gates = torch.bmm(flat.to(kind), inner.to(kind)).to(x.dtype).add_(bias[:, None]).view(2, steps, rows, 4 * cells)
    kept_cells = x.new_empty(2, steps + 1, rows, cells)
    curved = x.new_empty(2, steps, rows, cells)  # tanh of the cells
    y = x.new_empty(2, steps, rows, width)
    free = torch.empty(2, steps, rows, width, dtype=torch.bool, device=x.device)  # outputs that were not clipped
    kept_cells[:, 0] = c
    before = h
    for step in range(steps):
        gate = gates[:, step]
        gate += torch.bmm(before.to(kind), small_again)
        gate[..., : 3 * cells].sigmoid_()
        gate[..., 3 * cells :].tanh_()
        take, keep, show, new = gate.chunk(4, 2)
        cell = kept_cells[:, step + 1]
        torch.mul(keep, kept_cells[:, step], out=cell)
        cell.addcmul_(take, new).clamp_(-cell_clip, cell_clip)
        torch.tanh(cell, out=curved[:, step])
        before = torch.bmm((show * curved[:, step]).to(kind), small_out).to(x.dtype)
        torch.lt(before.abs(), projection_clip, out=free[:, step])
        before = before.clamp_(-projection_clip, projection_clip)
        y[:, step] = before
    ctx.kind, ctx.cell_clip, ctx.give = kind, cell_clip, None
    ctx.save_for_backward(x, h, inner, again, out, gates, kept_cells, curved, y, free)
    return y, before.clone(), kept_cells[:, -1].clone()


def _back(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, h, inner, again, out, gates, kept_cells, curved, y, free = ctx.saved_tensors
    kind = ctx.kind
    _, steps, rows, cells = curved.shape
    small_again, small_out = again.to(kind).transpose(1, 2), out.to(kind).transpose(1, 2)
    dgates = torch.empty_like(gates)
    dprojected = torch.empty_like(y)
    dh = torch.zeros_like(h)
    dc = torch.zeros_like(kept_cells[:, 0])
    # Slopes of the curves for all steps at once: one long pass over memory instead of one a step.
    slopes = torch.empty_like(gates)
    torch.mul(gates[..., : 3 * cells], 1 - gates[..., : 3 * cells], out=slopes[..., : 3 * cells])
    torch.addcmul(
        slopes.new_ones(1), gates[..., 3 * cells :], gates[..., 3 * cells :], value=-1, out=slopes[..., 3 * cells :]
    )
    slope_curved = 1 - curved * curved
    inside = kept_cells[:, 1:].abs() < ctx.cell_clip
    for step in reversed(range(steps)):
        take, keep, show, new = gates[:, step].chunk(4, 2)
        dgate = dgates[:, step]
        dtake, dkeep, dshow, dnew = dgate.chunk(4, 2)
        torch.mul(dy[:, step] + dh, free[:, step], out=dprojected[:, step])
        dm = torch.bmm(dprojected[:, step].to(kind), small_out).to(x.dtype)
        torch.mul(dm, curved[:, step], out=dshow)
        dc.addcmul_(dm.mul_(show), slope_curved[:, step]).mul_(inside[:, step])
        torch.mul(dc, new, out=dtake)
        torch.mul(dc, kept_cells[:, step], out=dkeep)
        torch.mul(dc, take, out=dnew)
        dgate *= slopes[:, step]
        dc = dc * keep
        dh = torch.bmm(dgate.to(kind), small_again).to(x.dtype)
    whole = dgates.view(2, steps * rows, 4 * cells).to(kind)
    flat = x.reshape(2, steps * rows, -1)
    earlier = torch.cat([h[:, None], y[:, :-1]], 1).reshape(2, steps * rows, -1)
    shown = (gates[..., 2 * cells : 3 * cells] * curved).reshape(2, steps * rows, cells)

    def weight(inputs: Tensor, grads: Tensor) -> Tensor:
        return torch.bmm(inputs.to(kind).transpose(1, 2), grads).to(x.dtype)

    dx = torch.bmm(whole, inner.to(kind).transpose(1, 2)).to(x.dtype).view_as(x) if ctx.needs_input_grad[0] else None
    dbias = dgates.sum((1, 2))
    projected = dprojected.view(2, steps * rows, -1).to(kind)
    return dx, None, None, weight(flat, whole), weight(earlier, whole), dbias, weight(shown, projected)


def plain_steps(layer: Layer, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """`layer(x, state)` written step by step, one direction after the other: the specification of the layer."""
    h, c = state
    found, ends = [], []
    for side in range(2):
        outputs, hidden, cell = [], h[side], c[side]
        for step in x[side]:
            gate = step @ layer.inner[side] + hidden @ layer.again[side] + layer.bias[side]
            take, keep, show, new = gate.chunk(4, 1)
            cell = (torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(new)).clamp(
                -layer.clips[0], layer.clips[0]
            )
            hidden = ((torch.sigmoid(show) * torch.tanh(cell)) @ layer.out[side]).clamp(-layer.clips[1], layer.clips[1])
            outputs.append(hidden)
        found.append(torch.stack(outputs))
        ends.append((hidden, cell))
    y = torch.stack(found)
    return y, (torch.stack([end[0] for end in ends]), torch.stack([end[1] for end in ends]))
