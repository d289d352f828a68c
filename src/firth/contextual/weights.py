"""Published weights: a folder's `config.json` and safetensors to and from our Bert.

Read: one file or the shards of `model.safetensors.index.json`; names with and without the family's prefix; the legacy
`LayerNorm.gamma/beta`; float32, float16 or bfloat16. Heads that we do not have are left out. Written: the names that
transformers reads. Every name, shape and value is checked before the model is handed out; pickles are never read.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from firth.contextual.bert import Bert, BertSettings
from firth.errors import FormatError, ModelError
from firth.files import read_json, write_json, write_whole

_FLOATS = ("F32", "F16", "BF16", "F64")
_PREFIXES = {"xlm-roberta": "roberta.", "camembert": "roberta."}  # otherwise the family's own name


def load_bert(folder: Path | str) -> Bert:
    """The model of a published folder, in float32, ready to use (`model.train()` to train it).

    Raises:
        ModelError: no config, no safetensors, or an architecture that is not known.
        FormatError: a truncated file, a tensor that is missing, of another shape, or holds NaN; names it.
    """
    folder = Path(folder)
    config = _config(folder)
    with ExitStack() as opened:
        tensors = _Tensors(folder, opened)
        prefix = _PREFIXES.get(str(config.get("model_type")), f"{config.get('model_type')}.")
        pooler = any(name in tensors.files for name in ("pooler.dense.weight", f"{prefix}pooler.dense.weight"))
        try:
            settings = BertSettings.from_config(config, pooler=pooler)
        except ModelError as error:
            raise ModelError(f"{folder / 'config.json'}: {error}") from error
        with torch.device("meta"):
            model = Bert(settings)
        ours = model.state_dict()
        loaded = {
            name: tensors.read(parts, tuple(ours[name].shape), prefix) for name, parts in published(settings).items()
        }
    model.load_state_dict(loaded, assign=True)
    return model.requires_grad_().eval()


def save_bert(model: Bert, folder: Path | str) -> None:
    """Write `config.json` and `model.safetensors` as transformers reads them, each whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    write_json(folder / "config.json", model.settings.to_config())
    write_tensors(folder / "model.safetensors", tensors_of(model))


def tensors_of(model: Bert) -> dict[str, Tensor]:
    """Copies of the weights in float32 by their published names, without the family's prefix."""
    state = model.state_dict()
    tensors: dict[str, Tensor] = {}
    for name, parts in published(model.settings).items():
        whole = state[name].detach().to("cpu", torch.float32)
        for part, piece in zip(parts, whole.chunk(len(parts)), strict=True):
            tensors[part] = piece.contiguous().clone()
    return tensors


def load_heads(folder: Path | str, names: Iterable[str]) -> dict[str, Tensor]:
    """Tensors of a folder that are no part of the encoder, by their published names; absent ones are left out.

    Raises:
        ModelError, FormatError: as `load_bert`.
    """
    with ExitStack() as opened:
        tensors = _Tensors(Path(folder), opened)
        return {name: tensors.read_whole(name) for name in names if tensors.has(name)}


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file that transformers takes for PyTorch's, whole or not at all."""
    with write_whole(path) as file:
        file.write(save(tensors, metadata={"format": "pt"}))


def published(settings: BertSettings) -> dict[str, tuple[str, ...]]:
    """Our parameter names -> the published names whose rows it joins, without the family's prefix."""
    names: dict[str, tuple[str, ...]] = {}

    def add(ours: str, *theirs: str) -> None:
        for kind in ("weight", "bias"):
            names[f"{ours}.{kind}"] = tuple(f"{name}.{kind}" for name in theirs)

    names["words.weight"] = ("embeddings.word_embeddings.weight",)
    names["positions.weight"] = ("embeddings.position_embeddings.weight",)
    if settings.types:
        names["types.weight"] = ("embeddings.token_type_embeddings.weight",)
    add("norm", "embeddings.LayerNorm")
    layer, inside = _LAYERS.get(settings.family, _LAYERS["bert"])
    for i in range(settings.layers):
        for ours, theirs in inside.items():
            add(f"layers.{i}.{ours}", *(f"{layer}.{i}.{name}" for name in theirs))
    if settings.family == "mpnet":
        names["relative.weight"] = ("encoder.relative_attention_bias.weight",)
    if settings.pooler:
        add("pooler", "pooler.dense")
    return names


class _Tensors:
    """The tensors of one folder by name, over all its safetensors files."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.files: dict[str, tuple[Path, Any]] = {}
        for path in _weight_files(folder):
            try:
                file = opened.enter_context(safe_open(path, framework="pt"))
            except SafetensorError as error:
                raise FormatError(f"not a whole safetensors file ({error}); download it again", path=path) from error
            self.files |= dict.fromkeys(file.keys(), (path, file))

    def read(self, parts: tuple[str, ...], shape: tuple[int, ...], prefix: str) -> Tensor:
        """The named tensors joined by rows to `shape`, checked, in float32."""
        each = (shape[0] // len(parts), *shape[1:])
        found = [self._one(part, each, prefix) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found)

    def has(self, name: str) -> bool:
        """Whether there is such a tensor, under its published or its legacy name."""
        return self._key(name) is not None

    def read_whole(self, name: str) -> Tensor:
        """The named tensor in whatever shape it has, checked, in float32."""
        return self._one(name, None, "")

    def _key(self, name: str, prefix: str = "") -> str | None:
        legacy = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        spellings = dict.fromkeys((name, prefix + name, legacy, prefix + legacy))
        return next((spelling for spelling in spellings if spelling in self.files), None)

    def _one(self, name: str, shape: tuple[int, ...] | None, prefix: str) -> Tensor:
        key = self._key(name, prefix)
        if key is None:
            places = sorted({str(path) for path, _ in self.files.values()})
            raise FormatError(f"tensor {name!r} is missing; is it the weights of this config.json?", path=places[0])
        path, file = self.files[key]
        header = file.get_slice(key)
        if shape is not None and tuple(header.get_shape()) != shape:
            raise FormatError(
                f"tensor {key!r} has shape {tuple(header.get_shape())}, config.json asks for {shape}", path=path
            )
        if header.get_dtype() not in _FLOATS:
            raise FormatError(f"tensor {key!r} has type {header.get_dtype()}; expected {', '.join(_FLOATS)}", path=path)
        tensor: Tensor = file.get_tensor(key).to(torch.float32)
        if tensor.numel() and not all(map(torch.isfinite, tensor.aminmax())):  # no copy; NaN is the least and the most
            raise FormatError(f"tensor {key!r} holds NaN or infinity; download or train it again", path=path)
        return tensor


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder}: no config.json; expected the folder of a published model")
    config = read_json(path)
    if not isinstance(config, dict):
        raise FormatError(f"expected a JSON object, got {type(config).__name__}", path=path)
    return config


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        pickled = next((path.name for path in folder.glob("*.bin")), None)
        why = f"{pickled} is a pickle, which can run code when it is read; " if pickled else ""
        raise ModelError(f"{folder}: no model.safetensors; {why}firth reads safetensors only")
    parsed = read_json(index)
    places = parsed.get("weight_map") if isinstance(parsed, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise FormatError("expected an object 'weight_map' of tensor names to file names", path=index)
    paths = []
    for name in sorted(set(places.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise FormatError(f"shard {name!r} is not a file of this folder; download it again", path=index)
        paths.append(folder / name)
    return paths


_LAYERS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "bert": (
        "encoder.layer",
        {
            "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
            "out": ("attention.output.dense",),
            "norm": ("attention.output.LayerNorm",),
            "up": ("intermediate.dense",),
            "down": ("output.dense",),
            "last_norm": ("output.LayerNorm",),
        },
    ),
    "mpnet": (
        "encoder.layer",
        {
            "qkv": ("attention.attn.q", "attention.attn.k", "attention.attn.v"),
            "out": ("attention.attn.o",),
            "norm": ("attention.LayerNorm",),
            "up": ("intermediate.dense",),
            "down": ("output.dense",),
            "last_norm": ("output.LayerNorm",),
        },
    ),
    "distilbert": (
        "transformer.layer",
        {
            "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
            "out": ("attention.out_lin",),
            "norm": ("sa_layer_norm",),
            "up": ("ffn.lin1",),
            "down": ("ffn.lin2",),
            "last_norm": ("output_layer_norm",),
        },
    ),
}
