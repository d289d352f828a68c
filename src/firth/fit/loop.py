"""fit: step after step until the schedule ends, the dev score stops rising, or something is not a number.

Where we differ from the usual loops: a loss or gradient that is not a number stops the training at once and names the
step; the weights that came in are scored too, so that a training which only harms gives them back; resuming gives the
same bits as never having stopped, because rates are a function of the step, batches one of the epoch, and the
generators' states are kept.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor

from firth.errors import SettingsError, TrainingError
from firth.fit import checkpoint, processes
from firth.fit.settings import B, FitSettings, Fitted, Measures, Point, Task, native_bfloat16, rate_at
from firth.progress import Progress, silent

CHECKPOINT = "checkpoint"  # the folder's name under the `folder` that `fit` is given
CURVE_POINTS = 100  # of a whole training; a plot shows no more


def fit(
    task: Task[B], settings: FitSettings, *, folder: Path | str | None = None, progress: Progress = silent
) -> Fitted:
    """Train `task.module` in place.

    Args:
        task: what is trained.
        settings: how.
        folder: where the checkpoint is kept; one that is there already is gone on from. None keeps none.
        progress: told rows done, rows in all, and the loss and score so far.

    Returns:
        The learning curve and what was best.

    Raises:
        TrainingError: there is nothing to learn from, or the loss, a gradient or the dev score is not a number.
        SettingsError: the checkpoint in `folder` belongs to another training, or fewer batches a step than processes.
        FormatError: the checkpoint is damaged.
    """
    run = _Run(task, settings, None if folder is None else Path(folder) / CHECKPOINT, progress)
    # What the caller draws from torch's generator afterwards does not depend on whether we trained.
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        run.resume()
        run.all_epochs()
    return run.fitted()


class _Run(Generic[B]):
    """One training under way: what `fit` would otherwise pass from function to function."""

    def __init__(self, task: Task[B], settings: FitSettings, folder: Path | None, progress: Progress) -> None:
        if task.steps < 1:
            raise TrainingError("there is nothing to learn from: an epoch has no batches")
        self.task, self.settings, self.folder, self.progress = task, settings, folder, progress
        self.measures = task.measures or Measures(lambda _: "")
        self.rank, self.processes = processes.place()
        if settings.accumulate < self.processes and not task.together:
            raise SettingsError(
                f"accumulate={settings.accumulate}: a step's batches are divided among {self.processes} processes; "
                "expected at least one for each"
            )
        self.optimizer = task.optimizer(task.module, settings)
        self.shares = [group["lr"] / settings.rate for group in self.optimizer.param_groups]
        self.trained: list[Tensor] = [value for group in self.optimizer.param_groups for value in group["params"]]
        if not self.trained:
            raise TrainingError("there is nothing to train: every parameter of the module is frozen")
        self.steps = settings.epochs * -(-task.steps // settings.accumulate)
        device = self.trained[0].device
        self.device = device.type
        self.half = settings.precision == "bfloat16" or (settings.precision == "auto" and native_bfloat16(device))
        self.best: dict[str, Tensor] = {}
        self.state = checkpoint.State()
        self.started = self.saved = time.monotonic()

    def all_epochs(self) -> None:
        """From where the state stands to the end; then the best weights go back into the module."""
        state, settings = self.state, self.settings
        if not state.evaluated:
            self.score_epoch()
            state.evaluated = True
        while not state.done:
            self.one_epoch()
            state.epoch, state.batch = state.epoch + 1, 0
            self.score_epoch()
            tired = settings.patience > 0 and state.epoch - (state.best_epoch or 0) >= settings.patience
            state.done = state.epoch == settings.epochs or (tired and self.task.evaluate is not None)
            self.save()
        if self.best:
            checkpoint.put(self.task.module, self.best)
        self.task.module.eval()

    def one_epoch(self) -> None:
        self.task.module.train()
        batches = iter(self.task.batches(self.state.epoch))
        for _ in islice(batches, self.state.batch):  # those that the checkpoint has behind it
            pass
        while group := list(islice(batches, self.settings.accumulate)):
            self.one_step(group)
            if time.monotonic() - self.saved > self.settings.checkpoint_seconds:
                self.save()

    def one_step(self, group: list[B]) -> None:
        """One step of the optimizer over the mean of a group of batches."""
        state = self.state
        rate = rate_at(state.step, self.steps, self.settings)
        for share, options in zip(self.shares, self.optimizer.param_groups, strict=True):
            options["lr"] = rate * share
        self.optimizer.zero_grad(set_to_none=True)
        losses = 0.0
        own = range(len(group)) if self.task.together else range(self.rank, len(group), self.processes)
        for number in own:
            losses += self.one_batch(group[number], number, len(group))
        if self.processes > 1:
            losses = processes.sum_gradients(self.trained, losses)
            self.check(losses)  # a loss that is not a number stops all of them together
        state.losses += losses
        state.counted += len(group)
        state.rows += sum(map(self.task.rows, group))
        norm = processes.clip_gradients(self.trained, self.settings.clip or math.inf)
        if not math.isfinite(norm):
            self.stop(f"the gradient's length is {norm}")
        self.optimizer.step()
        state.step += 1
        state.batch += len(group)
        self.tell(rate)

    def one_batch(self, batch: B, number: int, count: int) -> float:
        """Add the gradient of batch `number` of a step's `count`; its loss."""
        if self.processes > 1:  # the draws of dropout are a function of the batch, whoever computes it
            draw = number * self.processes + self.rank if self.task.together else number
            torch.manual_seed((self.settings.seed * 1_000_003 + self.state.step) * 1_009 + draw)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            loss = self.task.loss(batch)
        value = float(loss.detach())
        if self.processes == 1:
            self.check(value)
        share = 1 / self.processes if self.task.together else 1.0
        torch.autograd.backward(share * loss / count)
        return share * value

    def check(self, loss: float) -> None:
        if not math.isfinite(loss):
            self.stop(f"the loss is {loss}")

    def tell(self, rate: float) -> None:
        """After a step: the progress line, and now and then a point of the curve."""
        state = self.state
        seen = state.epoch * self.task.steps + state.batch
        total = max(state.rows, round(state.rows / seen * self.settings.epochs * self.task.steps))
        score = "" if state.best_score is None else f", best dev {state.best_score:.4f}"
        beside = f", {self.measures.line()}" if self.measures.sums else ""
        self.progress(state.rows, total, f"loss {state.losses / state.counted:.4f}{beside}{score}")
        if state.step % max(1, self.steps // CURVE_POINTS) == 0:
            self.mark(rate, None)

    def mark(self, rate: float, score: float | None) -> None:
        state = self.state
        loss = state.losses / state.counted if state.counted else None
        told = self.measures.means()
        state.curve.append(Point(state.epoch, state.step, state.rows, rate, loss, score, self.seconds(), told))
        state.losses, state.counted = 0.0, 0
        self.measures.sums = {}

    def score_epoch(self) -> None:
        """Score the weights as they are, and remember them if no others were better."""
        state, module = self.state, self.task.module
        if self.task.evaluate is None:
            return
        module.eval()
        with torch.no_grad():
            score = float(self.task.evaluate())
        if not math.isfinite(score):
            self.stop(f"the dev score is {score}")
        doubt = self.settings.doubt if state.best_epoch == 0 else 0.0
        if state.best_score is None or score > state.best_score - doubt:
            state.best_epoch, state.best_score = state.epoch, score
            self.best = {name: value.detach().clone() for name, value in checkpoint.tensors_of(module)}
        self.mark(rate_at(state.step, self.steps, self.settings), score)

    def stop(self, what: str) -> None:
        state, settings = self.state, self.settings
        kept = f"; the last sound state is in {self.folder}" if self.folder and self.folder.exists() else ""
        raise TrainingError(
            f"epoch {state.epoch + 1}, batch {state.batch + 1} (step {state.step + 1}, learning rate "
            f"{rate_at(state.step, self.steps, settings):.2g}): {what}{kept}; "
            f"try a lower rate than {settings.rate:g}, or precision float32"
        )

    def seconds(self) -> float:
        return self.state.seconds + time.monotonic() - self.started

    def save(self) -> None:
        self.saved = time.monotonic()
        if self.folder is not None and self.rank == 0:
            state = replace(self.state, seconds=self.seconds(), measures=self.measures.sums)
            checkpoint.save(
                self.folder,
                self.task.module,
                self.optimizer,
                best=self.best,
                state=state,
                described=self.described(),
            )

    def resume(self) -> None:
        if self.folder is None:
            return
        found = checkpoint.load(self.folder, self.task.module, self.optimizer, described=self.described())
        if found is not None:
            self.state, self.best = found
            self.measures.sums = {name: (total, count) for name, (total, count) in self.state.measures.items()}

    def described(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to be gone on from."""
        settings = asdict(replace(self.settings, checkpoint_seconds=0.0))
        shapes = {name: list(value.shape) for name, value in checkpoint.tensors_of(self.task.module)}
        return {"settings": settings, "batches": self.task.steps, "identity": self.task.identity, "shapes": shapes}

    def fitted(self) -> Fitted:
        state = self.state
        return Fitted(tuple(state.curve), state.best_epoch, state.best_score, state.step, state.rows, self.seconds())
