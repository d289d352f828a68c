"""Dense: a linear layer and an activation behind the pooling, as some published encoders have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from firth.contextual.weights import write_tensors
from firth.errors import FormatError, ModelError
from firth.files import write_json
from firth.sentence.folder import object_in

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "Tanh": nn.Tanh,
    "Identity": nn.Identity,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "Sigmoid": nn.Sigmoid,
}


class Dense(nn.Module):
    """activation(x W' + b), (n, in) -> (n, out)."""

    def __init__(self, linear: nn.Linear, activation: str = "Tanh") -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise ModelError(f"activation {activation!r} is not known; firth reads {', '.join(_ACTIVATIONS)}")
        self.linear = linear
        self.name = activation
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """(n, out)."""
        y: Tensor = self.activation(self.linear(x))
        return y

    @staticmethod
    def load(folder: Path) -> Dense:
        """The layer of a Dense sub-folder.

        Raises:
            ModelError: weights other than safetensors, or a variant that is not known; FormatError: damaged weights.
        """
        config, path = object_in(folder / "config.json"), folder / "model.safetensors"
        if not path.is_file():
            raise ModelError(f"{folder}: no model.safetensors; firth reads safetensors only")
        if config.get("use_residual") or config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
            raise ModelError(f"{folder}: a Dense layer with a residual or on token vectors is not known to firth")
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise FormatError(f"not a whole safetensors file ({error}); download it again", path=path) from error
        shape = (config.get("out_features"), config.get("in_features"))
        weight = _checked(tensors, "linear.weight", shape, path)
        bias = _checked(tensors, "linear.bias", shape[:1], path) if config.get("bias", True) else None
        with torch.device("meta"):
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        linear.weight = nn.Parameter(weight)
        if bias is not None:
            linear.bias = nn.Parameter(bias)
        return Dense(linear, str(config.get("activation_function", "Tanh")).rpartition(".")[2])

    def save(self, folder: Path) -> None:
        """Write the sub-folder that sentence-transformers reads."""
        home = "torch.nn.modules.linear" if self.name == "Identity" else "torch.nn.modules.activation"
        config = {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": f"{home}.{self.name}",
        }
        write_json(folder / "config.json", config)
        tensors = {f"linear.{name}": value.detach().cpu() for name, value in self.linear.named_parameters()}
        write_tensors(folder / "model.safetensors", tensors)


def _checked(tensors: dict[str, Tensor], name: str, shape: tuple[Any, ...], path: Path) -> Tensor:
    if name not in tensors:
        raise FormatError(f"tensor {name!r} is missing", path=path)
    tensor = tensors[name].float()
    if tuple(tensor.shape) != shape:
        raise FormatError(f"tensor {name!r} has shape {tuple(tensor.shape)}, config.json asks for {shape}", path=path)
    if not torch.isfinite(tensor).all():
        raise FormatError(f"tensor {name!r} holds NaN or infinity; download or train it again", path=path)
    return tensor
