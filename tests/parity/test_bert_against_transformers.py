"""Hidden states equal transformers' to 1e-5 in float32, and what we save loads there with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from firth.contextual.weights import load_bert, save_bert

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 170,
}
SMALLER = {"vocab_size": 120, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 170}
NAMES = ["Bert", "MPNet", "Roberta", "XLMRoberta", "Camembert", "DistilBert"]
LENGTHS = [5, 5, 1, 160, 9]  # beyond MPNet's farthest distance of 128


def theirs(name: str, **changes: Any) -> Any:
    torch.manual_seed(7)
    sizes = SMALLER if name == "DistilBert" else SIZES
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes | changes)).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value), alpha=0.2)
    return model


@torch.no_grad()
def assert_equal_states(model: Any, folder: Path) -> None:
    ours = load_bert(folder)
    ids = torch.randint(5, 120, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    found = ours(ids, torch.tensor(LENGTHS))
    expected = torch.cat([model(text[None]).last_hidden_state[0] for text in ids.split(LENGTHS)])
    assert expected.std() > 0.5
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = theirs(name)
    model.save_pretrained(tmp_path)
    assert_equal_states(model, tmp_path)


@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_other_activations_are_those_of_transformers(activation: str, tmp_path: Path) -> None:
    model = theirs("Bert", hidden_act=activation)
    model.save_pretrained(tmp_path)
    assert_equal_states(model, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_what_we_save_loads_in_transformers_unchanged(name: str, tmp_path: Path) -> None:
    model = theirs(name)
    model.save_pretrained(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    save_bert(load_bert(tmp_path / "theirs"), tmp_path / "ours")
    back, info = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values())
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


def test_a_pretraining_checkpoint_with_its_prefix_is_read(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = transformers.BertForPreTraining(transformers.BertConfig(**SIZES)).eval()
    whole.save_pretrained(tmp_path)
    assert_equal_states(whole.bert, tmp_path)
