"""Embedded in pieces, a batch has the gradient of the whole, for every loss, and dropout falls the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from firth.sentence import losses
from firth.sentence.large_batch import embed_in_pieces
from firth.sentence.matryoshka import matryoshka

B, D, VOCAB = 12, 8, 30


class Bags(nn.Module):
    """A static encoder: texts are bags of words, as `nn.EmbeddingBag` knows them, behind one layer with dropout."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(VOCAB, D, mode="mean")
        self.layer = nn.Linear(D, D)
        self.dropout = dropout
        self.double()

    def forward(self, ids: Tensor) -> Tensor:
        x = nn.functional.dropout(torch.tanh(self.layer(self.words(ids))), self.dropout, self.training)
        return nn.functional.normalize(x, dim=1)


def halves(vectors: Tensor) -> tuple[Tensor, Tensor]:
    return vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :]


def thirds(vectors: Tensor) -> tuple[Tensor, ...]:
    return vectors.split(len(vectors) // 3)


GRADES = torch.linspace(0, 1, B // 2, dtype=torch.float64)
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "info_nce": lambda v: losses.info_nce(*halves(v), symmetric=True),
    "info_nce with negatives": lambda v: losses.info_nce(v[:4], v[4:]),
    "triplet": lambda v: losses.triplet(*thirds(v)),
    "contrastive": lambda v: losses.contrastive(*halves(v), same=GRADES > 0.5),
    "cosine_regression": lambda v: losses.cosine_regression(*halves(v), scores=GRADES),
    "cosent": lambda v: losses.cosent(*halves(v), scores=GRADES),
    "margin_mse": lambda v: losses.margin_mse(*thirds(v), margins=GRADES[:4]),
    "listwise_kl": lambda v: losses.listwise_kl(v[:2], v[2:].view(2, 5, D), scores=GRADES[:5].expand(2, 5)),
    "vector_mse": lambda v: losses.vector_mse(v, torch.ones_like(v)),
    "softmax": lambda v: losses.siamese_softmax(
        *halves(v), labels=torch.arange(B // 2) % 3, weight=torch.ones(3, 3, D, dtype=torch.float64).tril()
    ),
    "matryoshka": lambda v: matryoshka(losses.info_nce, (2, 4, 8))(*halves(v)),
}


def gradients(module: nn.Module) -> list[Tensor]:
    found = [value.grad.clone() for value in module.parameters() if value.grad is not None]
    module.zero_grad()
    return found


@pytest.fixture
def texts() -> Tensor:
    return torch.randint(0, VOCAB, (B, 5), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1, 5, 12])
def test_the_gradient_of_pieces_is_that_of_the_whole(name: str, size: int, texts: Tensor) -> None:
    torch.manual_seed(0)
    module = Bags()
    LOSSES[name](module(texts)).backward()
    whole = gradients(module)
    vectors = embed_in_pieces(module, texts.split(size), list(module.parameters()))
    LOSSES[name](vectors).backward()
    for piece, expected in zip(gradients(module), whole, strict=True):
        torch.testing.assert_close(piece, expected, atol=1e-12, rtol=1e-9)


def test_dropout_falls_the_same_on_the_way_back(texts: Tensor) -> None:
    module = Bags(dropout=0.5)
    torch.manual_seed(7)
    vectors = embed_in_pieces(module, texts.split(4), list(module.parameters()))
    torch.manual_seed(7)
    expected = torch.cat([module(part) for part in texts.split(4)])
    assert torch.equal(vectors, expected)
    LOSSES["info_nce"](expected).backward()
    whole = gradients(module)
    torch.rand(3)  # the generator has moved on meanwhile
    LOSSES["info_nce"](vectors).backward()
    for piece, wanted in zip(gradients(module), whole, strict=True):
        torch.testing.assert_close(piece, wanted, atol=1e-12, rtol=1e-9)


def test_the_generator_goes_on_as_if_nothing_was_replayed(texts: Tensor) -> None:
    module = Bags(dropout=0.5)
    torch.manual_seed(7)
    vectors = embed_in_pieces(module, texts.split(4), list(module.parameters()))
    before = torch.get_rng_state()
    vectors.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_only_one_piece_has_a_graph_at_a_time(texts: Tensor) -> None:
    module = Bags()
    alive = most = 0

    class Watched(torch.autograd.Function):
        """Counts graphs that exist: one more when made, one less when walked back through."""

        @staticmethod
        def forward(_ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_ctx: Any, gradient: Tensor) -> Tensor:
            nonlocal alive
            alive -= 1
            return gradient

    def embed(part: Tensor) -> Tensor:
        nonlocal alive, most
        vectors: Tensor = Watched.apply(module(part))
        if vectors.requires_grad:
            alive += 1
            most = max(most, alive)
        return vectors

    embed_in_pieces(embed, texts.split(2), list(module.parameters())).sum().backward()
    assert (most, alive) == (1, 0)


def test_frozen_parameters_need_no_second_pass(texts: Tensor) -> None:
    module = Bags().requires_grad_(False)
    assert not embed_in_pieces(module, texts.split(4), list(module.parameters())).requires_grad


def test_autocast_is_on_for_the_way_back_too(texts: Tensor) -> None:
    module = Bags().float()
    with torch.autocast("cpu", torch.bfloat16):
        LOSSES["info_nce"](module(texts).float()).backward()
        whole = gradients(module)
    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES["info_nce"](embed_in_pieces(module, [texts], list(module.parameters())).float())
    loss.backward()
    for piece, expected in zip(gradients(module), whole, strict=True):
        torch.testing.assert_close(piece, expected, atol=0, rtol=0)
