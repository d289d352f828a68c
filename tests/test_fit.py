"""The training loop: it resumes to the bit, keeps the best, and stops where a number is not one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402  (torch is an extra: the file is skipped without it)

from firth.errors import FormatError, SettingsError, TrainingError  # noqa: E402
from firth.fit import FitSettings, Measures, Task, adamw, fit, rate_at  # noqa: E402

Batch = tuple[Tensor, Tensor]
SETTINGS = FitSettings(epochs=3, rate=0.05, precision="float32", seed=5)


class Small(nn.Module):
    """A regression with dropout, so that the generator's state matters, and two tied matrices."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = dropout
        generator = torch.Generator().manual_seed(1)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(torch.randn(value.shape, generator=generator))
        self.second.weight = self.first.weight
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = nn.functional.dropout(torch.tanh(self.first(x)), self.dropout, self.training)
        return self.second(hidden).sum(1)


def batches(epoch: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(100 + epoch)
    for _ in range(7):
        x = torch.randn(8, 4, generator=generator)
        yield x, x.sum(1)


def task_of(module: nn.Module, **changes: object) -> Task[Batch]:
    task = Task(
        module=module,
        loss=lambda batch: nn.functional.mse_loss(module(batch[0]), batch[1]),
        batches=batches,
        steps=7,
        rows=lambda batch: len(batch[0]),
    )
    return replace(task, **changes)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in module.parameters()])


def interrupted_at(step: int) -> Callable[[int, int, str], None]:
    calls = 0

    def progress(done: int, total: int, what: str = "") -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            raise KeyboardInterrupt

    return progress


def watched() -> tuple[list[tuple[int, int]], Callable[[int, int, str], None]]:
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int, what: str = "") -> None:
        seen.append((done, total))

    return seen, progress


def test_training_lowers_the_loss_and_reports_every_row() -> None:
    module = Small()
    seen, watch = watched()
    fitted = fit(task_of(module), SETTINGS, progress=watch)
    losses = [point.loss for point in fitted.curve if point.loss is not None]
    assert losses[-1] < losses[0] / 2
    assert (fitted.steps, fitted.rows) == (21, 168)
    assert seen[-1] == (168, 168)


@pytest.mark.parametrize("step", [1, 6, 7, 8, 15])
def test_a_training_interrupted_anywhere_goes_on_to_the_same_bits(tmp_path: Path, step: int) -> None:
    whole = Small()
    fit(task_of(whole), SETTINGS)
    settings = replace(SETTINGS, checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(task_of(Small()), settings, folder=tmp_path, progress=interrupted_at(step))
    again = Small()
    fitted = fit(task_of(again), settings, folder=tmp_path)
    assert torch.equal(flat(again), flat(whole))
    assert fitted.steps == 21


def test_the_curve_of_a_resumed_training_is_that_of_a_whole_one(tmp_path: Path) -> None:
    settings = replace(SETTINGS, checkpoint_seconds=0.0)
    expected = fit(task_of(Small()), settings).curve
    with pytest.raises(KeyboardInterrupt):
        fit(task_of(Small()), settings, folder=tmp_path, progress=interrupted_at(10))
    found = fit(task_of(Small()), settings, folder=tmp_path).curve
    assert [replace(point, seconds=0) for point in found] == [replace(point, seconds=0) for point in expected]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = Small()
    fit(task_of(first), SETTINGS, folder=tmp_path)
    again = Small()
    seen, watch = watched()
    fitted = fit(task_of(again), SETTINGS, folder=tmp_path, progress=watch)
    assert not seen
    assert fitted.steps == 21
    assert torch.equal(flat(again), flat(first))


def test_a_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    fit(task_of(Small()), SETTINGS, folder=tmp_path)
    assert sorted(file.name for file in (tmp_path / "checkpoint").iterdir()) == ["state.json", "state.safetensors"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint"]


def test_a_checkpoint_of_other_settings_is_refused_and_says_which(tmp_path: Path) -> None:
    fit(task_of(Small()), SETTINGS, folder=tmp_path)
    with pytest.raises(SettingsError, match=r"settings\.rate is 0\.05 there and 0\.01 here"):
        fit(task_of(Small()), replace(SETTINGS, rate=0.01), folder=tmp_path)


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    fit(task_of(Small(), identity="pairs 1"), SETTINGS, folder=tmp_path)
    with pytest.raises(SettingsError, match="identity is 'pairs 1' there and 'pairs 2' here"):
        fit(task_of(Small(), identity="pairs 2"), SETTINGS, folder=tmp_path)


def test_a_truncated_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    fit(task_of(Small()), SETTINGS, folder=tmp_path)
    file = tmp_path / "checkpoint" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(FormatError, match=r"state\.safetensors: damaged or truncated"):
        fit(task_of(Small()), SETTINGS, folder=tmp_path)


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    fit(task_of(Small()), SETTINGS, folder=tmp_path)
    file = tmp_path / "checkpoint" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 99}))
    with pytest.raises(FormatError, match="version 99"):
        fit(task_of(Small()), SETTINGS, folder=tmp_path)


def test_the_best_epoch_is_kept_and_not_the_last() -> None:
    module, scores = Small(), iter([0.1, 0.5, 0.9, 0.2])
    kept: list[Tensor] = []

    def evaluate() -> float:
        kept.append(flat(module))
        return next(scores)

    fitted = fit(task_of(module, evaluate=evaluate), SETTINGS)
    assert (fitted.best_epoch, fitted.best_score) == (2, 0.9)
    assert torch.equal(flat(module), kept[2])


def test_a_training_that_only_harms_gives_the_old_weights_back() -> None:
    module, scores = Small(), iter([0.9, 0.5, 0.4, 0.2])
    before = flat(module)
    fitted = fit(task_of(module, evaluate=lambda: next(scores)), SETTINGS)
    assert fitted.best_epoch == 0
    assert torch.equal(flat(module), before)


def test_the_best_weights_survive_an_interruption(tmp_path: Path) -> None:
    settings = replace(SETTINGS, checkpoint_seconds=0.0)
    whole, scores = Small(), iter([0.1, 0.9, 0.5, 0.2])
    fit(task_of(whole, evaluate=lambda: next(scores)), settings)
    scores = iter([0.1, 0.9, 0.5, 0.2])
    with pytest.raises(KeyboardInterrupt):
        task = task_of(Small(), evaluate=lambda: next(scores))
        fit(task, settings, folder=tmp_path, progress=interrupted_at(12))
    again = Small()
    fit(task_of(again, evaluate=lambda: next(scores)), settings, folder=tmp_path)
    assert torch.equal(flat(again), flat(whole))


def test_patience_ends_a_training_that_no_longer_gets_better() -> None:
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.1])
    settings = replace(SETTINGS, epochs=5, patience=2)
    fitted = fit(task_of(Small(), evaluate=lambda: next(scores)), settings)
    assert fitted.steps == 3 * 7


def test_a_loss_that_is_not_a_number_names_its_step_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    module = Small()
    calls = 0

    def loss(batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        return nn.functional.mse_loss(module(batch[0]), batch[1]) * (float("nan") if calls == 10 else 1.0)

    settings = replace(SETTINGS, checkpoint_seconds=0.0)
    with pytest.raises(TrainingError, match=r"epoch 2, batch 3 \(step 10, .*the loss is nan; the last sound state"):
        fit(task_of(module, loss=loss), settings, folder=tmp_path)
    assert torch.isfinite(flat(module)).all()
    resumed, whole = Small(), Small()
    fit(task_of(resumed), settings, folder=tmp_path)
    fit(task_of(whole), settings)
    assert torch.equal(flat(resumed), flat(whole))


def test_a_gradient_that_is_not_a_number_stops_before_it_reaches_the_weights() -> None:
    module = Small()

    def loss(batch: Batch) -> Tensor:
        return (module(batch[0]).sum() * 0).sqrt()  # 0, with an infinite slope

    with pytest.raises(TrainingError, match="the gradient's length is nan"):
        fit(task_of(module, loss=loss), SETTINGS)
    assert torch.equal(flat(module), flat(Small()))


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(TrainingError, match="no batches"):
        fit(task_of(Small(), steps=0), SETTINGS)
    with pytest.raises(TrainingError, match="every parameter of the module is frozen"):
        fit(task_of(Small().requires_grad_(False)), SETTINGS)


def test_two_accumulated_batches_step_like_one_of_both() -> None:
    def joined(epoch: int) -> Iterator[Batch]:
        rows = list(batches(epoch))[:6]
        yield from (
            (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in zip(rows[::2], rows[1::2], strict=True)
        )

    one, two = Small(dropout=0).double(), Small(dropout=0).double()

    def task(module: nn.Module, of: Callable[[int], Iterator[Batch]], steps: int) -> Task[Batch]:
        def loss(batch: Batch) -> Tensor:
            return nn.functional.mse_loss(module(batch[0].double()), batch[1].double())

        return task_of(module, loss=loss, batches=of, steps=steps)

    fit(task(one, joined, 3), SETTINGS)
    fit(task(two, lambda epoch: iter(list(batches(epoch))[:6]), 6), replace(SETTINGS, accumulate=2))
    assert torch.allclose(flat(one), flat(two), atol=1e-12)


def test_the_rate_rises_then_falls_to_zero() -> None:
    settings = FitSettings(rate=1.0, warmup=0.2)
    rates = [rate_at(step, 100, settings) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 21)
    assert rates.index(max(rates)) == 20
    assert max(rates) == 1.0
    assert rates[100] == 0
    assert rates[60] == pytest.approx(0.5)
    cosine = replace(settings, decay="cosine")
    assert rate_at(40, 100, cosine) == pytest.approx(0.5 * (1 + 2**-0.5))


def test_biases_and_norms_are_not_decayed() -> None:
    groups = adamw(Small(), SETTINGS).param_groups
    assert {(group["weight_decay"], value.ndim > 1) for group in groups for value in group["params"]} == {
        (0.01, True),
        (0.0, False),
    }


def test_training_leaves_the_callers_generator_alone() -> None:
    module = Small()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fit(task_of(module), SETTINGS)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: expected at least 1"),
        ({"rate": 0.0}, "rate: expected a positive number"),
        ({"warmup": 1.0}, "warmup: expected a share"),
        ({"decay": "fast"}, "decay: expected linear"),
        ({"precision": "float8"}, "precision: expected auto"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(SETTINGS, **changes)


@pytest.mark.parametrize(("after", "kept"), [(0.49, 1), (0.47, 0)])
def test_a_loss_on_dev_within_the_doubt_does_not_cost_what_was_learnt(after: float, kept: int) -> None:
    scores = iter([0.50, after])
    settings = replace(SETTINGS, epochs=1, doubt=0.02)
    assert fit(task_of(Small(), evaluate=lambda: next(scores)), settings).best_epoch == kept


def test_measures_are_means_in_the_line_and_in_the_curve_and_begin_anew_at_each_point() -> None:
    small, told = Small(), []
    measures = Measures(lambda means: f"right {means['right']:.2f}")

    def loss(batch: Batch) -> Tensor:
        measures.add("right", 3.0, 4.0)
        measures.add("never", 0.0, 0.0)
        return (small(batch[0]) - batch[1]).square().mean()

    batches = [(torch.randn(4, 4), torch.randn(4)) for _ in range(3)]
    task = Task(small, loss, lambda _: batches, 3, len, measures=measures)
    found = fit(task, replace(SETTINGS, epochs=1), progress=lambda *seen: told.append(seen[2]))
    assert all("right 0.75" in line for line in told)
    assert [point.measures for point in found.curve] == [{"right": 0.75}] * 3
    assert measures.sums == {}


def test_a_step_of_fewer_batches_than_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firth.fit.processes.place", lambda: (0, 2))
    task = Task(Small(), lambda batch: batch[0].sum(), lambda _: [], 3, len)
    with pytest.raises(SettingsError, match="accumulate=1: a step's batches are divided among 2 processes"):
        fit(task, SETTINGS)
