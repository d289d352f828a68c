"""The native kernel and torch compute the same vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from firth.arrays import unit
from firth.contextual.bert import ACTIVATIONS, Bert, BertSettings
from firth.contextual.native import runs_natively
from firth.errors import ShapeError
from firth.sentence.dense import Dense
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.network import Inference, Network
from firth.sentence.pool import Pooling
from firth.text.tokenizer import Tokenizer

Make = Callable[..., SentenceEncoder]


@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta", "distilbert"])
@pytest.mark.parametrize("modes", [("mean",), ("cls",), ("max", "lasttoken")])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-6), ("bfloat16", 2e-2)])
def test_the_kernel_gives_the_vectors_of_torch(
    family: str, modes: tuple[str, ...], precision: str, tolerance: float, make: Make, texts: list[str]
) -> None:
    encoder = make(family, pooling=Pooling(modes))
    inference = Inference(encoder.module)
    ragged = encoder.tokenize(texts)
    for skip in (0, 2):
        by_kernel = unit(inference.by_kernel(precision, skip)(ragged))
        by_torch = unit(inference.by_torch("float32", skip)(ragged))
        np.testing.assert_allclose(by_kernel, by_torch, atol=tolerance)


def test_a_dense_layer_lies_behind_the_kernel_too(tokenizer: Tokenizer, make: Make, texts: list[str]) -> None:
    torch.manual_seed(1)
    encoder = SentenceEncoder(make().module.bert, tokenizer, dense=[Dense(torch.nn.Linear(32, 5))])
    assert encoder.dims == 5
    found = encoder.encode(texts, precision="float32")
    expected = encoder.embed(encoder.tokenize(texts)).detach()
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_dense_layer_of_another_width_is_refused(make: Make) -> None:
    with pytest.raises(ShapeError, match="takes 31 values, the step before 32"):
        Network(make().module.bert, ("mean",), [Dense(torch.nn.Linear(31, 5))])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_kernel_knows_every_activation(tokenizer: Tokenizer, texts: list[str], activation: str) -> None:
    torch.manual_seed(0)
    bert = Bert(BertSettings("bert", tokenizer.size, 32, 2, 4, 64, 64, activation=activation))
    with torch.no_grad():
        for layer in bert.layers:
            layer.get_submodule("up").get_parameter("weight").mul_(40)  # well into both ends of the curve
    encoder = SentenceEncoder(bert, tokenizer)
    assert runs_natively(bert)
    found = encoder.encode(texts, precision="float32")
    np.testing.assert_allclose(found, encoder.embed(encoder.tokenize(texts)).detach(), atol=2e-6)


def test_torch_encodes_in_evaluation_and_leaves_training_on(make: Make, texts: list[str]) -> None:
    encoder = make()
    ragged, inference = encoder.tokenize(texts), Inference(encoder.module)
    still = inference.by_torch("float32", 0)(ragged)
    encoder.module.train()
    np.testing.assert_array_equal(inference.by_torch("float32", 0)(ragged), still)
    assert encoder.module.training
