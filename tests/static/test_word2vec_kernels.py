"""word2vec's native pieces do at every CPU level what their twins say."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from firth.arrays import Vectors
from firth.kernels import word2vec as kernel


def rows(rng: np.random.Generator, n: int, d: int) -> Vectors:
    matrix = kernel.aligned(n, d)
    matrix[:, :d] = rng.normal(size=(n, d)) / 4
    return matrix


@pytest.mark.parametrize(("inputs", "outputs", "d"), [(1, 1, 1), (18, 16, 100), (5, 30, 300), (7, 13, 48), (64, 9, 33)])
def test_a_step_moves_both_sides_as_the_twin_does(
    level: Any, rng: np.random.Generator, inputs: int, outputs: int, d: int
) -> None:
    x, u = rows(rng, inputs, d), rows(rng, outputs, d)
    weight = rng.integers(0, 4, (inputs, outputs)).astype(np.float32)
    label = np.minimum(weight, rng.integers(0, 2, (inputs, outputs))).astype(np.float32)
    new_x, new_u, loss = kernel.logistic_tile_twin(x, u, weight, label, 0.05)
    found = kernel.logistic_tile(x, u, weight, label, 0.05, module=level)
    np.testing.assert_allclose(x, new_x, atol=1e-6)
    np.testing.assert_allclose(u, new_u, atol=1e-6)
    assert found == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("score", [-200.0, -88.0, -20.0, -1e-3, 0.0, 1e-3, 5.0, 20.0, 88.0, 200.0])
def test_the_loss_is_right_however_sure_the_model_is(level: Any, score: float) -> None:
    for label in (0.0, 1.0):
        x, u = kernel.aligned(1, 1), kernel.aligned(1, 1)
        x[0, 0], u[0, 0] = score, 1
        loss = kernel.logistic_tile(x, u, np.ones((1, 1), "f"), np.full((1, 1), label, "f"), 0, module=level)
        assert loss == pytest.approx(np.logaddexp(0, score) - label * score, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("inputs", "v", "d"), [(1, 1, 1), (3, 5, 20), (12, 200, 33)])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_softmax_step_moves_both_sides_as_the_twin_does(
    level: Any, rng: np.random.Generator, inputs: int, v: int, d: int, threads: int
) -> None:
    x, u = rows(rng, inputs, d), rows(rng, v, d) * 8
    wanted = rng.poisson(0.2, (inputs, v)).astype(np.float32)
    new_x, new_u, loss = kernel.softmax_step_twin(x, u, wanted, 0.05)
    found = kernel.softmax_step(x, u, wanted, 0.05, threads=threads, module=level)
    np.testing.assert_allclose(x, new_x, atol=1e-5)
    np.testing.assert_allclose(u, new_u, atol=1e-5)
    assert found == pytest.approx(loss, rel=1e-6)


def test_padding_stays_zero(level: Any, rng: np.random.Generator) -> None:
    x, u = rows(rng, 3, 20), rows(rng, 5, 20)
    kernel.logistic_tile(x, u, np.ones((3, 5), "f"), np.zeros((3, 5), "f"), 0.1, module=level)
    assert not x[:, 20:].any()
    assert not u[:, 20:].any()


@pytest.mark.parametrize("shrink", [True, False])
def test_subsampling_and_windows_draw_as_the_twin_does(level: Any, rng: np.random.Generator, shrink: bool) -> None:
    ids = rng.integers(-1, 20, 500).astype(np.int32)
    keep = rng.integers(0, 2**32, 20).astype(np.uint32)
    keep[3] = kernel.KEEP_ALWAYS
    found = kernel.sample_piece(ids, keep, 5, shrink, 9, module=level)
    np.testing.assert_array_equal(found, kernel.sample_piece_twin(ids, keep, 5, shrink, 9))


def test_windows_end_with_their_sentence() -> None:
    keep = np.full(9, kernel.KEEP_ALWAYS, np.uint32)
    words, left, right = kernel.sample_piece(np.array([0, 1, 2, -1, 5, 6], np.int32), keep, 2, False, 0)
    assert words.tolist() == [0, 1, 2, 5, 6]
    assert left.tolist() == [0, 1, 2, 0, 1]
    assert right.tolist() == [2, 1, 0, 1, 0]


@pytest.mark.parametrize("v", [1, 2, 3, 200, 10_000])
def test_the_noise_table_holds_the_distribution_it_was_made_of(level: Any, rng: np.random.Generator, v: int) -> None:
    weights = rng.zipf(1.3, v) ** 0.75
    shares = kernel.alias_shares(*kernel.alias_table(weights, module=level))
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=2e-9)


def test_noise_words_are_drawn_by_their_weights(level: Any) -> None:
    weights = np.array([8.0, 4.0, 2.0, 1.0, 1.0, 0.0])
    table = kernel.alias_table(weights, module=level)
    found = np.bincount(kernel.noise_words(*table, 160_000, 3, module=level), minlength=6) / 10_000
    np.testing.assert_allclose(found, weights, atol=0.1)
    assert found[5] == 0


@pytest.mark.parametrize("v", [1, 2, 3, 50, 1000])
def test_huffman_codes_are_as_short_as_codes_can_be(level: Any, rng: np.random.Generator, v: int) -> None:
    counts = np.sort(rng.zipf(1.3, v)).astype(np.int64)[::-1].copy()
    starts, _ = kernel.huffman(counts, module=level)
    best = counts @ np.array(kernel.huffman_lengths_twin(counts))
    assert counts @ np.diff(starts) == best


def test_every_way_down_the_huffman_tree_is_another_and_none_begins_another(level: Any) -> None:
    starts, path = kernel.huffman(np.arange(40, 0, -1), module=level)
    ways = [tuple(path[a:b]) for a, b in pairwise(starts)]
    assert all(way[0] >> 1 == 38 for way in ways)
    assert len({way[:n] for way in ways for n in range(1, len(way) + 1)}) == 2 * 39
    assert not any(long[: len(short)] == short for long in ways for short in ways if long != short)
