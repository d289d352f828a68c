"""A training's state on disk, from which it goes on to the bit: `state.safetensors` and `state.json` in one folder.

The folder is replaced whole, so that an interruption leaves the one before. Tensors: `module.*` (parameters and
buffers), `best.*` (the best epoch's), `optimizer.{index}.*`, `random.*` (generator states). Nothing is ever pickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from firth.errors import FormatError, SettingsError
from firth.files import read_json, recover_folder, write_folder, write_json
from firth.fit.settings import Point

VERSION = 1


@dataclass
class State:
    """Where a training stands."""

    epoch: int = 0  # finished
    batch: int = 0  # done in the epoch that runs
    step: int = 0  # of the optimizer
    rows: int = 0
    seconds: float = 0.0
    losses: float = 0.0  # summed since the last point of the curve
    counted: int = 0  # how many they are
    measures: dict[str, tuple[float, float]] = field(default_factory=dict)  # as Measures.sums
    best_epoch: int | None = None
    best_score: float | None = None
    evaluated: bool = False  # the weights that came in
    done: bool = False
    curve: list[Point] = field(default_factory=list)


def tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer that is kept, once: tied weights have one name here, which safetensors asks for."""
    kept = set(module.state_dict())
    yield from ((name, value) for name, value in module.named_parameters() if name in kept)
    yield from ((name, value) for name, value in module.named_buffers() if name in kept)


def put(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy named values into the module."""
    with torch.no_grad():
        for name, value in tensors_of(module):
            value.copy_(values[name])


def save(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    best: Mapping[str, Tensor],
    state: State,
    described: Mapping[str, Any],
) -> None:
    """Replace the checkpoint in `folder`.

    Args:
        folder: of this checkpoint alone.
        module: as it is now.
        optimizer: as it is now.
        best: the best epoch's tensors, empty without a dev part.
        state: where the training stands.
        described: what must be equal when it is loaded again; JSON.

    Raises:
        StorageError: no space, or not writable; the checkpoint before is untouched.
    """
    tensors = {f"module.{name}": value.detach() for name, value in tensors_of(module)}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    tensors |= {f"random.{name}": value for name, value in _random_states().items()}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    text = {"version": VERSION, "described": dict(described), "optimizer": numbers, "state": asdict(state)}
    with write_folder(folder) as whole:
        save_file({name: value.contiguous() for name, value in tensors.items()}, whole / "state.safetensors")
        write_json(whole / "state.json", text)


def load(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, *, described: Mapping[str, Any]
) -> tuple[State, dict[str, Tensor]] | None:
    """Put the checkpoint in `folder` into module, optimizer and torch's generators; None where there is none.

    Returns:
        Where the training stands, and the best epoch's tensors.

    Raises:
        SettingsError: it belongs to another training; says what differs.
        FormatError: it is damaged, or of a newer firth.
    """
    recover_folder(folder)
    if not (folder / "state.json").exists():
        return None
    text, tensors = _read(folder)
    for name, here in described.items():
        if text["described"].get(name) != here:
            raise SettingsError(
                f"{folder}: this checkpoint belongs to another training: "
                f"{_difference(name, text['described'].get(name), here)}; "
                "train into another folder, or delete this one to start anew"
            )
    kinds: dict[str, dict[str, Tensor]] = {"module": {}, "best": {}, "random": {}, "optimizer": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        kinds[kind][rest] = value
    put(module, kinds["module"])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict(
        {"state": _optimizer_state(kinds["optimizer"], text["optimizer"]), "param_groups": groups}
    )
    _restore_random(kinds["random"])
    state = text["state"]
    return State(**{**state, "curve": [Point(**point) for point in state["curve"]]}), kinds["best"]


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    text = read_json(folder / "state.json")
    if not isinstance(text, dict) or "version" not in text:
        raise FormatError("not a checkpoint of firth; delete the folder to start anew", path=folder / "state.json")
    if text["version"] > VERSION:
        raise FormatError(f"checkpoint version {text['version']}; this firth reads up to {VERSION}", path=folder)
    try:
        return text, load_file(folder / "state.safetensors")
    except (SafetensorError, FileNotFoundError) as error:
        raise FormatError(
            f"damaged or truncated ({error}); delete the folder to start anew", path=folder / "state.safetensors"
        ) from error


def _optimizer_state(tensors: dict[str, Tensor], numbers: dict[str, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in numbers.items()}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return state


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _restore_random(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    for name, state in states.items():
        if name.startswith("cuda") and torch.cuda.is_available():
            torch.cuda.set_rng_state(state, int(name.removeprefix("cuda")))


def _difference(name: str, there: Any, here: Any) -> str:
    """The first thing that differs, in words."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in [*here, *there]:
            if here.get(key) != there.get(key):
                return f"{name}.{key} is {there.get(key)!r} there and {here.get(key)!r} here"
    return f"{name} is {there!r} there and {here!r} here"
