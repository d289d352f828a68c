"""A Bert's weights as the native kernel takes them: for encoding on a CPU, several times torch's speed.

The kernel (firth.kernels.transformer) knows every family and activation that `Bert` does; training and the GPU stay
with torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firth.contextual.bert import ACTIVATIONS, Bert, bucket
from firth.kernels.transformer import Floats, Layer, Transformer, Weights

_SPELLINGS = {"none": "gelu", "tanh": "gelu_tanh", "relu": "relu"}
_PRODUCTS = ("qkv", "out", "up", "down")


def runs_natively(bert: Bert) -> bool:
    """Whether the kernel gives this model's hidden states."""
    return bert.words.weight.device.type == "cpu"


@torch.no_grad()
def kernel(bert: Bert, precision: str) -> Transformer:
    """The model packed for the kernel; later changes of its weights need a new one.

    Args:
        precision: "float32"; "bfloat16" or "auto", which are float32 where the CPU has no native bfloat16.
    """
    first = bert.settings.first_position
    positions = bert.positions.weight[first:]
    if bert.types is not None:
        positions = positions + bert.types.weight[0]
    relative = None
    if bert.relative is not None:
        p = bert.settings.longest
        relative = _array(bert.relative(bucket(torch.arange(1 - p, p))).T)
    weights = Weights(
        tokens=_array(bert.words.weight),
        positions=_array(positions),
        scale=_array(bert.norm.weight),
        shift=_array(bert.norm.bias),
        layers=[_layer(layer.state_dict()) for layer in bert.layers],
        heads=bert.settings.heads,
        eps=bert.settings.eps,
        relative=relative,
        activation=_SPELLINGS[ACTIVATIONS[bert.settings.activation]],
    )
    return Transformer(weights, precision=precision)


def _layer(state: dict[str, Tensor]) -> Layer:
    norms = {"out": "norm", "down": "last_norm"}
    arrays = {name: _array(state[f"{name}.weight"]) for name in _PRODUCTS}
    arrays |= {f"{name}_bias": _array(state[f"{name}.bias"]) for name in _PRODUCTS}
    arrays |= {f"{ours}_scale": _array(state[f"{name}.weight"]) for ours, name in norms.items()}
    arrays |= {f"{ours}_shift": _array(state[f"{name}.bias"]) for ours, name in norms.items()}
    return Layer(**arrays)


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().float().contiguous().numpy()
    return array
