"""A damaged or hostile model folder is refused by name and value; nothing in it can run code."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Library
from tokenizers import models

from firth.contextual.bert import Bert, BertSettings
from firth.errors import FirthError, FormatError, ModelError, ShapeError
from firth.sentence.encoder import SentenceEncoder
from firth.text.tokenizer import Tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound folder: 8 words, 8 dimensions, one layer."""
    torch.manual_seed(0)
    bert = Bert(BertSettings("bert", 8, 8, 1, 2, 16, 16))
    tokenizer = Tokenizer(Library(models.WordLevel({"[UNK]": 0, "cat": 1, "dog": 2}, unk_token="[UNK]")))
    SentenceEncoder(bert, tokenizer).save(tmp_path / "model")
    return tmp_path / "model"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_folder_is_sound_before_it_is_damaged(folder: Path) -> None:
    assert SentenceEncoder.load(folder).encode(["cat dog"]).shape == (1, 8)


@pytest.mark.parametrize("name", ["config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2", b"\xff\xfe", b"[]", b"3", b'"x"', b"[" * 100_000])
def test_broken_json_is_refused_with_the_name_of_its_file(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises((FormatError, ModelError), match=Path(name).name):
        SentenceEncoder.load(folder)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, -1])
def test_truncated_weights_are_refused(keep: float, folder: Path) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep) if 0 < keep < 1 else int(keep)])
    with pytest.raises(FormatError, match=r"model\.safetensors: not a whole safetensors file"):
        SentenceEncoder.load(folder)


def test_a_header_longer_than_the_file_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(FormatError, match="not a whole safetensors file"):
        SentenceEncoder.load(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 5000), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_weights_gives_a_model_or_an_error(place: int, bit: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    sound = path.read_bytes()
    raw = bytearray(sound)
    raw[place % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    said = "a model"
    try:
        SentenceEncoder.load(folder)
    except FirthError as error:
        said = str(error)
    finally:
        path.write_bytes(sound)
    assert said == "a model" or "model.safetensors: " in said


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    change(folder / "config.json", intermediate_size=32)
    with pytest.raises(
        FormatError, match=r"'encoder\.layer\.0\.intermediate\.dense\.weight' has shape \(16, 8\), .*\(32, 8\)"
    ):
        SentenceEncoder.load(folder)


def damage(folder: Path, name: str, value: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors if value is None else tensors | {name: value}, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_named(value: float, folder: Path) -> None:
    damage(folder, "encoder.layer.0.output.dense.bias", torch.tensor([0.0] * 7 + [value]))
    with pytest.raises(FormatError, match=r"'encoder\.layer\.0\.output\.dense\.bias' holds NaN or infinity"):
        SentenceEncoder.load(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    damage(folder, "encoder.layer.0.output.dense.bias", None)
    with pytest.raises(FormatError, match=r"'encoder\.layer\.0\.output\.dense\.bias' is missing"):
        SentenceEncoder.load(folder)


def test_weights_of_another_type_are_named(folder: Path) -> None:
    damage(folder, "encoder.layer.0.output.dense.bias", torch.zeros(8, dtype=torch.int32))
    with pytest.raises(FormatError, match=r"output\.dense\.bias' has type I32; expected F32"):
        SentenceEncoder.load(folder)


@pytest.mark.parametrize(
    "values",
    [{"hidden_size": 10**12}, {"num_hidden_layers": 10**12}, {"vocab_size": -1}, {"num_attention_heads": 3.5}],
)
def test_absurd_sizes_are_refused_at_once(values: dict[str, Any], folder: Path) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(ModelError, match=r"config\.json"):
        SentenceEncoder.load(folder)


class Harmful:
    """Unpickling it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_is_never_loaded(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Harmful(tmp_path / "ran")))
    with pytest.raises((ModelError, FormatError), match="safetensors"):
        SentenceEncoder.load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_called_by_its_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle, which can run code .* safetensors only"):
        SentenceEncoder.load(folder)


@pytest.mark.parametrize("shard", ["../../secret.safetensors", "/etc/passwd", "absent.safetensors", ""])
def test_a_shard_outside_the_folder_is_refused(shard: str, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(FormatError, match="is not a file of this folder"):
        SentenceEncoder.load(folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": {"a": 3}}, {"weight_map": [1]}, []])
def test_an_index_without_a_map_is_refused(index: Any, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FormatError, match="expected an object 'weight_map'"):
        SentenceEncoder.load(folder)


@pytest.mark.parametrize(
    "kind",
    [
        "my_code.evil.Transformer",
        "os.system",
        "sentence_transformers.models.CLIPModel",
        "sentence_transformers.x.Router",
    ],
)
def test_a_step_that_is_not_known_is_refused_not_imported(kind: str, folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="is not known; firth reads Transformer, Pooling, Dense, Normalize"):
        SentenceEncoder.load(folder)


@pytest.mark.parametrize("path", ["../other", "/etc", 3, None])
def test_a_step_outside_the_folder_is_refused(path: Any, folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(FormatError, match="expected a folder inside this one"):
        SentenceEncoder.load(folder)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "median.* firth reads cls, max, mean"),
        ("1_Pooling/config.json", {"pooling_mode": 3}, "expected a name or a list of names"),
        ("sentence_bert_config.json", {"max_seq_length": -3}, "longest text is -3; expected a positive whole number"),
        ("sentence_bert_config.json", {"max_seq_length": "256"}, "longest text is '256'"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}, "expected an object of names and texts"),
        ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "expected an object of names and texts"),
        ("config_sentence_transformers.json", {"default_prompt_name": "absent"}, "not among"),
        ("config_sentence_transformers.json", {"truncate_dim": 0}, "truncate_dim is 0"),
        ("config_sentence_transformers.json", {"truncate_dim": 9}, "cut to 9 dimensions, the model has 8"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(name: str, values: dict[str, Any], message: str, folder: Path) -> None:
    change(folder / name, **values)
    with pytest.raises((FormatError, ModelError, ShapeError), match=message):
        SentenceEncoder.load(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    entries = {"[UNK]": 0} | {f"w{i}": i for i in range(1, 20)}
    Library(models.WordLevel(entries, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    with pytest.raises(ShapeError, match="the tokenizer has 20 entries, the model 8 words"):
        SentenceEncoder.load(folder)


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json; expected the folder of a published model"):
        SentenceEncoder.load(tmp_path)
