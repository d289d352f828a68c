"""ELMo's native kernels are their twins in float64 at every CPU level, and neither threads nor company change a bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from firth.contextual.characters import PAD, SYMBOLS, characters
from firth.contextual.lstm import Layer, plain_steps
from firth.contextual.softmax import plain_losses, sampled_losses
from firth.errors import ShapeError, TrainingError
from firth.kernels import sampled, spellings
from firth.kernels.lstm import Lstm, Weights

# Steps, rows, inputs, cells, width: odd everywhere; more cells than a panel; one row, one step.
SHAPES = [(9, 3, 6, 7, 5), (4, 13, 33, 70, 65), (1, 1, 16, 64, 16)]
CLIPS = 0.4, 0.12  # both bite


def layer_of(shape: tuple[int, ...]) -> tuple[Layer, dict[str, torch.Tensor]]:
    """A layer in float64, and its input, state and the gradient of its output."""
    torch.manual_seed(sum(shape))
    steps, rows, inputs, cells, width = shape
    layer = Layer(inputs, cells, width, *CLIPS).double()
    sizes = {"x": (2, steps, rows, inputs), "h": (2, rows, width), "c": (2, rows, cells), "dy": (2, steps, rows, width)}
    drawn = {name: torch.randn(size, dtype=torch.float64) for name, size in sizes.items()}
    return layer, drawn | {"h": 0.1 * drawn["h"].clamp(-1, 1), "c": 0.2 * drawn["c"]}


def floats(tensor: torch.Tensor) -> Any:
    return tensor.detach().float().contiguous().numpy()


def run(layer: Layer, drawn: dict[str, torch.Tensor], *, threads: int = 1, **settings: Any) -> list[Any]:
    """Outputs, cells behind, and the gradients of x and of the weights, of the kernel."""
    given = {name: floats(value) for name, value in drawn.items()}
    weights = Weights(*map(floats, (layer.inner, layer.again, layer.bias, layer.out)))
    shape = (*given["x"].shape[1:], layer.cells, layer.projection)
    space = Lstm(shape, clips=CLIPS, **settings)
    for _ in range(2):  # the second pass uses what the first left in the workspace
        y, cells = space.forward(weights, given["x"], given["h"], given["c"], threads=threads)
        dx, found = space.backward(weights, y, given["dy"], threads=threads)
    return [y, cells, dx, *vars(found).values()]


def plain(layer: Layer, drawn: dict[str, torch.Tensor]) -> list[Any]:
    x = drawn["x"].clone().requires_grad_()
    y, (_, cells) = plain_steps(layer, x, (drawn["h"], drawn["c"]))
    (y * drawn["dy"]).sum().backward()
    grads = [value.grad for value in (x, layer.inner, layer.again, layer.bias, layer.out)]
    return [value.detach().numpy() for value in (y, cells, *grads)]  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_the_layer_and_its_gradient_are_plain_steps_in_float64(level: Any, shape: tuple[int, ...]) -> None:
    layer, drawn = layer_of(shape)
    for one, other in zip(run(layer, drawn, module=level), plain(layer, drawn), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6 * max(1.0, np.abs(other).max()))


def test_bfloat16_products_give_nearly_the_same_layer(level: Any) -> None:
    layer, drawn = layer_of(SHAPES[1])
    for one, other in zip(run(layer, drawn, bfloat16=True, module=level), plain(layer, drawn), strict=True):
        assert np.linalg.norm(one - other) < 0.05 * np.linalg.norm(other)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_threads_change_no_bit_of_a_layer(bfloat16: bool) -> None:
    layer, drawn = layer_of(SHAPES[1])
    for one, six in zip(*(run(layer, drawn, bfloat16=bfloat16, threads=n) for n in (1, 6)), strict=True):
        np.testing.assert_array_equal(one, six)


def test_other_rows_change_no_bit_of_a_row() -> None:
    layer, drawn = layer_of(SHAPES[1])
    own = {"x": drawn["x"][:, :, 4:5], "dy": drawn["dy"][:, :, 4:5], "h": drawn["h"][:, 4:5], "c": drawn["c"][:, 4:5]}
    whole, alone = run(layer, drawn), run(layer, own)
    for place in (0, 2):  # outputs and the gradient of x
        np.testing.assert_array_equal(whole[place][:, :, 4], alone[place][:, :, 0])


def test_a_layer_refuses_arrays_of_another_shape() -> None:
    layer, drawn = layer_of(SHAPES[0])
    with pytest.raises(ShapeError, match=r"x: expected shape \(2, 9, 3, 6\), got \(2, 9, 3, 7\)"):
        weights = Weights(*map(floats, (layer.inner, layer.again, layer.bias, layer.out)))
        Lstm(SHAPES[0], clips=CLIPS).forward(
            weights, np.zeros((2, 9, 3, 7), np.float32), floats(drawn["h"]), floats(drawn["c"])
        )
    with pytest.raises(ShapeError, match="expected at least 1 of each"):
        Lstm((0, 3, 6, 7, 5), clips=CLIPS)


def test_a_gradient_is_taken_once_a_pass_and_passes_do_not_mix() -> None:
    layer = layer_of(SHAPES[0])[0].float()
    first, second = (torch.randn(2, 9, 3, 6) for _ in range(2))

    def gradient(*inputs: torch.Tensor) -> torch.Tensor:
        layer.zero_grad()
        sum(layer(x, layer.start(3))[0].sum() for x in inputs).backward()
        assert layer.inner.grad is not None
        return layer.inner.grad.clone()

    torch.testing.assert_close(gradient(first, second), gradient(first) + gradient(second))
    y, _ = layer(first, layer.start(3))
    y.sum().backward(retain_graph=True)
    with pytest.raises(TrainingError, match="was taken already"):
        y.sum().backward()


@pytest.mark.parametrize("filters", [1, 16, 37])
@pytest.mark.parametrize("window", [1, 3])
def test_maxima_of_table_sums_are_those_of_the_twin_and_of_a_convolution(level: Any, window: int, filters: int) -> None:
    torch.manual_seed(0)
    words = ["a", "haha", "<S>", "antidisestablishmentarianism", "x" * 60]
    symbols = characters(words, 20).astype(np.int16)
    vectors = torch.randn(SYMBOLS, 4, requires_grad=True)
    weight, bias = torch.randn(filters, 4, window, requires_grad=True), torch.randn(filters) - 1.0
    table = torch.einsum("vs,fsw->wvf", vectors, weight).contiguous()
    best, places = spellings.maxima(symbols, floats(table), floats(bias), PAD, module=level)
    np.testing.assert_allclose(best, spellings.maxima_twin(symbols, floats(table), floats(bias)), atol=1e-5)
    x = vectors[torch.from_numpy(symbols.astype(np.int64))].transpose(1, 2)
    expected = F.relu(F.conv1d(x, weight, bias).amax(2))
    np.testing.assert_allclose(best, expected.detach().numpy(), atol=1e-5)
    slopes = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * slopes).sum(), vectors)[0]
    inner = spellings.gradient(symbols, tuple(table.shape), places, floats(slopes), PAD, threads=3, module=level)
    found = torch.autograd.grad(table, vectors, torch.from_numpy(inner))[0]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_maxima_refuse_symbols_without_a_row_and_words_shorter_than_the_window() -> None:
    table, bias = np.zeros((3, 5, 2), np.float32), np.zeros(2, np.float32)
    with pytest.raises(ShapeError, match="expected 0 to 4, got 0 to 5"):
        spellings.maxima(np.array([[0, 1, 5]], np.int16), table, bias, 4)
    with pytest.raises(ShapeError, match="at least the window, 3, got 2"):
        spellings.maxima(np.zeros((1, 2), np.int16), table, bias, 4)


@pytest.mark.parametrize(("m", "p", "v", "k"), [(1, 1, 3, 1), (50, 16, 30, 11), (101, 33, 500, 130)])
def test_sampled_losses_and_their_gradient_are_the_plain_ones_in_float64(
    level: Any, m: int, p: int, v: int, k: int
) -> None:
    scored, slopes, wanted = softmax_case(m, p, v, k)
    losses, totals = sampled.losses(scored, module=level)
    found = sampled.gradients(scored, totals, slopes, threads=3, module=level)
    for one, other in zip((losses, *found), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6 * max(1.0, np.abs(other).max()))


def test_bfloat16_and_threads_give_the_softmax_that_one_thread_of_float32_gives() -> None:
    scored, slopes, wanted = softmax_case(101, 33, 500, 130)
    runs = []
    for threads in (1, 5):
        losses, totals = sampled.losses(scored, bfloat16=True, threads=threads)
        runs.append((losses, *sampled.gradients(scored, totals, slopes, bfloat16=True, threads=threads)))
    for one, five, other in zip(*runs, wanted, strict=True):
        np.testing.assert_array_equal(one, five)
        assert np.linalg.norm(one - other) < 0.02 * np.linalg.norm(other)


def test_the_softmax_refuses_ids_out_of_range_and_candidates_in_disorder() -> None:
    scored, _, _ = softmax_case(4, 3, 9, 5)
    with pytest.raises(ShapeError, match="targets: expected ids from 0 to 8, got 9 to 9"):
        sampled.losses(sampled.Scored(**{**vars(scored), "targets": np.full(4, 9)}))
    with pytest.raises(ShapeError, match="ascending ids, each once"):
        sampled.losses(sampled.Scored(**{**vars(scored), "candidates": np.array([3, 3])}))


def softmax_case(m: int, p: int, v: int, k: int) -> tuple[sampled.Scored, Any, list[Any]]:
    """Arrays, slopes of the losses, and the plain losses and gradients in float64; some true words are candidates."""
    torch.manual_seed(m)
    y, words, bias = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((m, p), (v, p), (v,)))
    candidates = torch.sort(torch.randperm(v)[:k])[0]
    targets = torch.cat([candidates[torch.randint(k, (m // 2,))], torch.randint(v, (m - m // 2,))])
    slopes = torch.randn(m, dtype=torch.float64)
    losses = plain_losses(y, words, bias, candidates, targets)
    assert torch.equal(losses, sampled_losses(y, words, bias, candidates, targets))  # float64 has no kernel
    (losses * slopes).sum().backward()
    scored = sampled.Scored(floats(y), floats(words), floats(bias), candidates.numpy(), targets.numpy())
    grads = [value.grad.numpy() for value in (y, words, bias)]  # type: ignore[union-attr]
    return scored, floats(slopes), [losses.detach().numpy(), *grads]
