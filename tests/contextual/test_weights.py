"""Published weights in all their spellings give the same model, and what is written is what was read."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from firth.contextual.bert import Bert, BertSettings
from firth.contextual.weights import load_bert, save_bert

SETTINGS = BertSettings("bert", 40, 16, 2, 4, 32, 24, pooler=True)


@pytest.fixture
def model() -> Bert:
    torch.manual_seed(0)
    return Bert(SETTINGS).eval()


@pytest.fixture
def folder(model: Bert, tmp_path: Path) -> Path:
    save_bert(model, tmp_path)
    return tmp_path


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")


def assert_same(found: Bert, expected: Bert) -> None:
    assert found.settings == expected.settings
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def test_what_is_saved_is_what_is_loaded(model: Bert, folder: Path) -> None:
    assert_same(load_bert(folder), model)


def test_a_saved_file_may_be_read_by_whoever_may_read_the_folder(folder: Path) -> None:
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) & 0o044


def test_a_loaded_model_can_be_trained(folder: Path) -> None:
    loaded = load_bert(folder)
    assert all(value.requires_grad for value in loaded.parameters())
    assert not loaded.training


def test_names_with_the_familys_prefix_are_read(model: Bert, folder: Path) -> None:
    rewrite(folder, lambda tensors: {f"bert.{name}": value for name, value in tensors.items()})
    assert_same(load_bert(folder), model)


def test_the_legacy_names_of_norms_are_read(model: Bert, folder: Path) -> None:
    def legacy(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    rewrite(folder, lambda tensors: {legacy(name): value for name, value in tensors.items()})
    assert_same(load_bert(folder), model)


def test_heads_and_counters_that_we_do_not_have_are_left_out(model: Bert, folder: Path) -> None:
    rewrite(
        folder, lambda t: t | {"cls.predictions.bias": torch.zeros(40), "embeddings.position_ids": torch.arange(24)}
    )
    assert_same(load_bert(folder), model)


def test_a_missing_pooler_is_no_fault(folder: Path) -> None:
    rewrite(folder, lambda tensors: {name: value for name, value in tensors.items() if "pooler" not in name})
    assert load_bert(folder).pooler is None


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(kind: torch.dtype, model: Bert, folder: Path) -> None:
    rewrite(folder, lambda tensors: {name: value.to(kind) for name, value in tensors.items()})
    loaded = load_bert(folder)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.to(kind).float()), name


def test_shards_of_an_index_are_one_model(model: Bert, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert_same(load_bert(folder), model)
