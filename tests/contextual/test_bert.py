"""The ragged encoder: a token's vector depends on its own text alone, and on all of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import firth.contextual.bert
from firth.contextual.bert import FAMILIES, Bert, BertSettings, _Grouped, _Padded
from firth.errors import ModelError, ShapeError

LENGTHS = [5, 5, 1, 30, 7, 7, 7]


def model(family: str = "bert", *, seed: int = 0) -> Bert:
    torch.manual_seed(seed)
    first = 2 if family in ("roberta", "mpnet") else 0
    types = 0 if family in ("mpnet", "distilbert") else 2
    found = Bert(BertSettings(family, 50, 16, 2, 4, 32, 64, first, types)).eval()
    with torch.no_grad():
        for value in found.parameters():
            value.add_(torch.randn_like(value), alpha=0.3)
    return found


def packed(lengths: list[int], *, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, 50, (sum(lengths),), generator=generator), torch.tensor(lengths)


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet", "distilbert"])
def test_neither_batch_nor_order_changes_a_tokens_vector(family: str) -> None:
    bert, (ids, lengths) = model(family), packed(LENGTHS)
    together = bert(ids, lengths).split(LENGTHS)
    for text, row in zip(ids.split(LENGTHS), together, strict=True):
        torch.testing.assert_close(bert(text, torch.tensor([len(text)])), row, atol=1e-5, rtol=0)
    backwards = bert(torch.cat(ids.split(LENGTHS)[::-1]), lengths.flip(0)).split(LENGTHS[::-1])
    torch.testing.assert_close(torch.cat(backwards[::-1]), torch.cat(together), atol=1e-5, rtol=0)


@pytest.mark.parametrize("place", [0, 3, 29])
def test_every_token_of_a_text_moves_all_its_vectors_and_no_others(place: int) -> None:
    bert, (ids, lengths) = model(), packed([4, 30])
    other = ids.clone()
    other[4 + place] = (other[4 + place] + 1) % 50
    moved = (bert(ids, lengths) - bert(other, lengths)).abs().amax(1)
    assert (moved[:4] == 0).all()
    assert (moved[4:] > 0).all()


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_attention_padded_for_a_gpu_equals_attention_by_groups(family: str) -> None:
    bert = model(family)
    qkv = torch.randn(sum(LENGTHS), 3, 4, 4, generator=torch.Generator().manual_seed(2))
    bias = bert._bias(max(LENGTHS), torch.device("cpu"))
    padded = _Padded(LENGTHS, bias, torch.device("cpu"))(qkv, 0.0)
    torch.testing.assert_close(padded, _Grouped(LENGTHS, bias)(qkv, 0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_training_by_plain_products_has_the_gradient_of_the_fused_attention(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, lengths = packed(LENGTHS)
    found = []
    for longest in (512, 0):
        monkeypatch.setattr(firth.contextual.bert, "_SHORT", longest)
        bert = model(family).double()
        hidden = bert(ids, lengths)
        hidden.square().sum().backward()
        found.append([hidden, *(value.grad for value in bert.parameters() if value.grad is not None)])
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(plain, fused, atol=1e-9, rtol=1e-7)


def test_attention_dropout_leaves_the_mean_as_it_is() -> None:
    qkv = torch.randn(9, 3, 4, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    attention = _Grouped([4, 5], None)
    torch.manual_seed(0)
    mean = torch.stack([attention(qkv, 0.2) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, attention(qkv, 0.0), atol=0.05, rtol=0)


def test_segments_matter() -> None:
    bert, (ids, lengths) = model(), packed([6])
    second = torch.tensor([0, 0, 0, 1, 1, 1])
    assert (bert(ids, lengths) - bert(ids, lengths, second)).abs().max() > 0.01
    torch.testing.assert_close(bert(ids, lengths, torch.zeros_like(second)), bert(ids, lengths))


def test_dropout_acts_in_training_only_and_every_weight_gets_a_gradient() -> None:
    bert, (ids, lengths) = model(), packed(LENGTHS)
    torch.testing.assert_close(bert(ids, lengths), bert(ids, lengths), atol=0, rtol=0)
    bert.train()
    first = bert(ids, lengths)
    assert (first - bert(ids, lengths)).abs().max() > 0.01
    first.pow(3).sum().backward()
    assert [name for name, value in bert.named_parameters() if value.grad is None] == []


def test_the_gradient_is_that_of_finite_differences() -> None:
    bert, (ids, lengths) = model("mpnet").double(), packed([3, 2])
    words = bert.words.weight.detach().clone()

    def loss(layer: Tensor) -> Tensor:
        state = {"layers.0.qkv.weight": layer, "words.weight": words}
        found: Tensor = torch.func.functional_call(bert, state, (ids, lengths))
        return found

    weight = bert.layers[0].qkv.weight.detach().clone().requires_grad_()  # type: ignore[union-attr]
    assert torch.autograd.gradcheck(loss, (weight,))


@pytest.mark.parametrize("lengths", [[3, 3], [5, 0], [6, -1], []])
def test_lengths_that_do_not_fit_the_ids_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ShapeError, match="add up to 5 tokens"):
        model()(torch.zeros(5, dtype=torch.int64), torch.tensor(lengths, dtype=torch.int64))


def test_a_text_beyond_the_positions_is_refused() -> None:
    with pytest.raises(ShapeError, match="a text of 63 tokens; this model has 62 positions"):
        model("mpnet")(torch.zeros(63, dtype=torch.int64), torch.tensor([63]))


def test_no_texts_give_no_rows() -> None:
    assert model("mpnet")(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)).shape == (0, 16)


@pytest.mark.parametrize("family", FAMILIES)
def test_settings_survive_the_way_through_config_json(family: str) -> None:
    first = 0 if family in ("bert", "distilbert") else 2
    types = 0 if family in ("mpnet", "distilbert") else 1
    settings = BertSettings(family, 50, 16, 2, 4, 32, 64, first, types, "gelu_new" if types else "gelu")
    assert BertSettings.from_config(settings.to_config()) == settings


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "modernbert"}, "'modernbert' is not known; firth reads bert, roberta, xlm-roberta"),
        ({}, "'None' is not known"),
        ({"model_type": "bert", "hidden_size": "768"}, "hidden_size is '768'; expected a whole number"),
        ({"model_type": "bert", "hidden_size": True}, "hidden_size is True"),
        ({"model_type": "bert", "num_hidden_layers": 10**9}, "layers is 1000000000; expected 1 to 512"),
        ({"model_type": "bert", "num_attention_heads": 0}, "heads is 0"),
        ({"model_type": "bert", "num_attention_heads": 7}, "768 dimensions do not divide into 7 heads"),
        ({"model_type": "bert", "hidden_dropout_prob": 2}, "hidden_dropout_prob is 2; expected a number from 0"),
        ({"model_type": "bert", "hidden_act": "swiglu"}, "'swiglu' is not known"),
        ({"model_type": "bert", "position_embedding_type": "relative_key"}, "firth reads 'absolute'"),
        ({"model_type": "roberta", "pad_token_id": 600}, "first position 601 lies outside the 512"),
    ],
)
def test_a_config_out_of_range_is_refused_by_name_and_value(config: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        BertSettings.from_config(config)
