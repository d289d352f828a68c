"""What a training is told and what it tells: the task, the settings with their defaults, the learning curve.

AdamW is Loshchilov and Hutter 2019, arXiv:1711.05101; warm-up with linear decay is how BERT was trained (Devlin et
al. 2018, arXiv:1810.04805).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from firth.errors import SettingsError

B = TypeVar("B")


@dataclass(frozen=True)
class FitSettings:
    """How to train; the defaults fine-tune a pre-trained encoder."""

    epochs: int = 1
    rate: float = 3e-5  # highest learning rate; 1e-5 to 1e-4 for tuning, 1e-4 to 1e-3 from random weights
    warmup: float = 0.1  # share of all steps over which the rate rises from 0
    decay: Literal["linear", "cosine", "constant"] = "linear"  # how it falls after that, to 0 at the last step
    weight_decay: float = 0.01  # on matrices only; biases and norms are left alone
    clip: float = 1.0  # longest gradient, Euclidean; 0 = as it comes
    accumulate: int = 1  # batches a step
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the products; weights stay float32
    patience: int = 0  # epochs without a better score after which to stop; 0 = all epochs
    doubt: float = 0.0  # the weights that came in come back only if an epoch scores lower by more than this
    checkpoint_seconds: float = 60.0  # between checkpoints inside an epoch; each epoch ends with one anyway
    seed: int = 0  # of dropout

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 < self.rate < math.inf:
            raise SettingsError(f"rate: expected a positive number, got {self.rate}")
        if not 0 <= self.warmup < 1:
            raise SettingsError(f"warmup: expected a share of the steps, 0 <= warmup < 1, got {self.warmup}")
        if self.decay not in ("linear", "cosine", "constant"):
            raise SettingsError(f"decay: expected linear, cosine or constant, got {self.decay!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingsError(f"precision: expected auto, float32 or bfloat16, got {self.precision!r}")


def adamw(module: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW over what may be trained; vectors (biases, norms) are not decayed."""
    trained = [value for value in module.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in trained if value.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [value for value in trained if value.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups or [{"params": []}], lr=settings.rate, fused=True)


@dataclass(frozen=True)
class Task(Generic[B]):
    """What is trained.

    Attributes:
        module: holds every parameter that is trained or must be kept.
        loss: one batch -> a scalar tensor with gradient, the mean over the batch.
        batches: number of an epoch (0, 1, …) -> its batches; the same whenever asked, since resuming counts on it.
        steps: batches in an epoch; the schedule is made for epochs · steps of them.
        rows: how many examples a batch holds, for the progress line.
        evaluate: score of the module on the dev part, larger is better; asked before the first epoch and after each.
        optimizer: makes the optimizer; its rates are set by the schedule, relative to what each group started with.
        identity: digest of the data and of whatever else must be equal for a checkpoint to be continued.
        measures: what `loss` fills beside the loss itself; of several processes each fills its own share.
        together: several processes work on each batch together instead of taking whole batches in turn: `loss` is
            that of the whole batch in each of them, its gradient that of a share (`sentence.shared`).
    """

    module: nn.Module
    loss: Callable[[B], Tensor]
    batches: Callable[[int], Iterable[B]]
    steps: int
    rows: Callable[[B], int]
    evaluate: Callable[[], float] | None = None
    optimizer: Callable[[nn.Module, FitSettings], torch.optim.Optimizer] = adamw
    identity: str = ""
    measures: Measures | None = None
    together: bool = False


class Measures:
    """What a loss tells beside itself: means since the last point of the curve, for instance an accuracy.

    Args:
        told: the means by name -> what stands in the line of progress.
    """

    def __init__(self, told: Callable[[Mapping[str, float]], str]) -> None:
        self.told = told
        self.sums: dict[str, tuple[float, float]] = {}  # name -> sum, count

    def add(self, name: str, total: float, count: float) -> None:
        """`total` is the sum over `count` cases."""
        before, seen = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = before + total, seen + count

    def means(self) -> dict[str, float]:
        """Name -> mean; a measure without a case is left out."""
        return {name: total / count for name, (total, count) in self.sums.items() if count}

    def line(self) -> str:
        """As the line of progress shows them."""
        return self.told(self.means())


@dataclass(frozen=True)
class Point:
    """One point of the learning curve."""

    epoch: int  # finished epochs
    step: int  # optimizer steps so far
    rows: int  # examples seen
    rate: float
    loss: float | None  # mean since the point before; None before the first step
    score: float | None  # on the dev part, at the ends of epochs
    seconds: float  # of training so far, evaluation included
    measures: dict[str, float] = field(default_factory=dict)  # means since the point before


@dataclass(frozen=True)
class Fitted:
    """What a training gave; the module now holds the best epoch's weights, or the last one's without a dev part."""

    curve: tuple[Point, ...]
    best_epoch: int | None  # 0 = no epoch was better than the weights that came in
    best_score: float | None
    steps: int
    rows: int
    seconds: float


def rate_at(step: int, steps: int, settings: FitSettings) -> float:
    """Learning rate of optimizer step `step` (0, 1, …) of `steps`: a pure function, so that resuming needs no state."""
    rising = settings.warmup * steps
    if step < rising:
        return settings.rate * (step + 1) / (rising + 1)
    done = min(1.0, (step - rising) / max(1.0, steps - rising))
    if settings.decay == "linear":
        return settings.rate * (1 - done)
    if settings.decay == "cosine":
        return settings.rate * 0.5 * (1 + math.cos(math.pi * done))
    return settings.rate


def native_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
