"""The encoder kernel is its NumPy twin at every CPU level, and a text's bits do not depend on its company."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import fields, replace
from itertools import pairwise
from threading import Timer
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth import kernels
from firth.arrays import Ids
from firth.errors import SettingsError, ShapeError
from firth.kernels.transformer import ACTIVATIONS, Floats, Layer, Tokens, Transformer, Weights, hidden_twin

LONGEST = 70
VOCABULARY = 50
# Dimensions, heads, inner width: whole panels; heads of 20 and 7; odd inner width; fewer dimensions than a register.
SHAPES = [(64, 2, 128), (40, 2, 96), (49, 7, 101), (6, 3, 5)]


@pytest.fixture(params=SHAPES, ids=lambda s: "x".join(map(str, s)))
def weights(request: pytest.FixtureRequest) -> Weights:
    return random_weights(*request.param)


@pytest.fixture
def texts(rng: np.random.Generator) -> tuple[Tokens, Ids]:
    """Eight texts, among them an empty one, one token, and the longest that the model reads."""
    return ragged([5, 0, 1, LONGEST, 33, 12, 2, 64], rng)


def test_float32_states_equal_the_twin(level: Any, weights: Weights, texts: tuple[Tokens, Ids]) -> None:
    found = Transformer(weights, precision="float32", module=level).hidden(*texts)
    np.testing.assert_allclose(found, twin(weights, *texts), atol=2e-5)


def test_bfloat16_states_point_where_the_twin_s_do(level: Any, weights: Weights, texts: tuple[Tokens, Ids]) -> None:
    encoder = Transformer(weights, precision="bfloat16", module=level)
    assert encoder.precision == ("bfloat16" if level.level == "v4" else "float32")
    assert cosines(encoder.hidden(*texts), twin(weights, *texts)).min() > 0.9995


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_relative_position_bias_is_added_to_the_scores(
    level: Any, texts: tuple[Tokens, Ids], rng: np.random.Generator, precision: str
) -> None:
    plain = random_weights(64, 4, 64)
    biased = replace(plain, relative=rng.normal(size=(4, 2 * LONGEST - 1)).astype(np.float32))
    found = Transformer(biased, precision=precision, module=level).hidden(*texts)
    assert cosines(found, twin(biased, *texts)).min() > 0.9995
    assert cosines(found, twin(plain, *texts)).min() < 0.99


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_activation_is_its_formula(
    level: Any, texts: tuple[Tokens, Ids], rng: np.random.Generator, activation: str
) -> None:
    """Inputs of the activation spread over ±20, beyond where its polynomial ends."""
    plain = random_weights(64, 4, 96)
    wide = [replace(one, up=one.up * 8) for one in plain.layers]
    weights = replace(plain, layers=wide, activation=activation)
    found = Transformer(weights, precision="float32", module=level).hidden(*texts)
    np.testing.assert_allclose(found, twin(weights, *texts), atol=3e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pooled_rows_are_the_mean_and_the_first_of_the_states(
    level: Any, weights: Weights, texts: tuple[Tokens, Ids], precision: str
) -> None:
    ids, offsets = texts
    encoder = Transformer(weights, precision=precision, module=level)
    states = encoder.hidden(ids, offsets)
    mean, first = (encoder.pooled(ids, offsets, pool=pool) for pool in ("mean", "first"))
    for i, (begin, end) in enumerate(pairwise(offsets)):
        if begin == end:
            assert not mean[i].any()
            assert not first[i].any()
        else:
            np.testing.assert_allclose(mean[i], states[begin:end].mean(0), atol=1e-6)
            np.testing.assert_array_equal(first[i], states[begin])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_text_s_bits_do_not_depend_on_its_company(precision: str, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, LONGEST), min_size=1, max_size=40))
    order = data.draw(st.permutations(range(len(lengths))))
    threads = data.draw(st.integers(1, 4))
    ids, offsets = ragged(lengths, np.random.default_rng(sum(lengths)))
    for name in kernels.levels():
        encoder = _encoder(precision, name)
        alone = [encoder.pooled(ids[a:b], np.array([0, b - a])) for a, b in pairwise(offsets)]
        shuffled = np.concatenate([ids[offsets[i] : offsets[i + 1]] for i in order])
        edges = np.concatenate([[0], np.cumsum([lengths[i] for i in order])])
        together = encoder.pooled(shuffled, edges, threads=threads)
        np.testing.assert_array_equal(together, np.concatenate([alone[i] for i in order]))


def test_one_thread_and_many_give_the_same_bits_when_there_are_many_blocks(level: Any) -> None:
    ids, offsets = ragged([LONGEST] * 40, np.random.default_rng(3))
    encoder = Transformer(random_weights(64, 2, 64), module=level)
    np.testing.assert_array_equal(encoder.hidden(ids, offsets), encoder.hidden(ids, offsets, threads=3))


def test_very_large_and_very_small_activations_stay_finite(level: Any, texts: tuple[Tokens, Ids]) -> None:
    weights = random_weights(64, 2, 128)
    loud = replace(
        weights,
        layers=[replace(one, qkv=one.qkv * 1e3, up=one.up * 1e3, down=one.down * 1e-6) for one in weights.layers],
    )
    for precision in ("float32", "bfloat16"):
        assert np.isfinite(Transformer(loud, precision=precision, module=level).hidden(*texts)).all()


def test_the_embedding_table_is_read_in_place_and_kept_alive(texts: tuple[Tokens, Ids]) -> None:
    weights = random_weights(64, 2, 64)
    expected = Transformer(weights).hidden(*texts)
    encoder = Transformer(random_weights(64, 2, 64))
    np.testing.assert_array_equal(encoder.hidden(*texts), expected)
    weights.tokens[:] = 0
    assert not np.array_equal(Transformer(weights).hidden(*texts), expected)


def test_ctrl_c_ends_a_long_run_within_a_second() -> None:
    encoder = Transformer(random_weights(256, 4, 1024, layers=8), precision="float32")
    ids, offsets = ragged([LONGEST] * 3000, np.random.default_rng(0))
    struck: list[float] = []

    def strike() -> None:
        struck.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    Timer(0.1, strike).start()
    with pytest.raises(KeyboardInterrupt):
        encoder.pooled(ids, offsets)
    assert time.monotonic() - struck[0] < 1.0


def test_no_texts_give_no_rows() -> None:
    assert Transformer(random_weights(64, 2, 64)).pooled(np.empty(0, np.int32), np.zeros(1, np.int64)).shape == (0, 64)


@pytest.mark.parametrize(
    ("ids", "offsets", "said"),
    [
        ([1, 2], [0, 1], "number of tokens, 2"),
        ([1, 2], [1, 2], "number of tokens, 2"),
        ([1, 2], [0, 2, 1, 2], "number of tokens, 2"),
        ([1, VOCABULARY], [0, 2], "expected 0 to 49, got 1 to 50"),
        ([-1, 3], [0, 2], "got -1 to 3"),
        ([1] * (LONGEST + 1), [0, LONGEST + 1], "text 0 has 71 tokens; this model reads 70"),
    ],
)
def test_ids_and_offsets_out_of_range_are_refused(ids: list[int], offsets: list[int], said: str) -> None:
    encoder = Transformer(random_weights(64, 2, 64))
    with pytest.raises(ShapeError, match=said):
        encoder.hidden(np.array(ids, np.int32), np.array(offsets, np.int64))


def test_weights_that_do_not_fit_each_other_are_refused_by_name() -> None:
    good = random_weights(64, 2, 96)
    for field in fields(Layer):
        bad = replace(good.layers[1], **{field.name: getattr(good.layers[1], field.name)[:-1]})
        with pytest.raises(ShapeError, match=rf"layers\[1\]\.{field.name}: expected shape"):
            Transformer(replace(good, layers=[good.layers[0], bad]))
    with pytest.raises(ShapeError, match="5 heads do not divide 64"):
        Transformer(replace(good, heads=5))
    with pytest.raises(ShapeError, match=r"relative: expected shape \(2, 139\)"):
        Transformer(replace(good, relative=np.zeros((2, 140), np.float32)))
    with pytest.raises(ShapeError, match="at least one"):
        Transformer(replace(good, layers=[]))


def test_unknown_precisions_activations_and_pools_are_refused() -> None:
    with pytest.raises(SettingsError, match="float16"):
        Transformer(random_weights(64, 2, 64), precision="float16")
    with pytest.raises(SettingsError, match="swish"):
        Transformer(replace(random_weights(64, 2, 64), activation="swish"))
    with pytest.raises(SettingsError, match="max"):
        Transformer(random_weights(64, 2, 64)).pooled(np.ones(1, np.int32), np.array([0, 1]), pool="max")  # type: ignore[arg-type]


def twin(weights: Weights, ids: Tokens, offsets: Ids) -> Floats:
    return np.concatenate([hidden_twin(weights, ids[begin:end]) for begin, end in pairwise(offsets)])


def cosines(a: Floats, b: Floats) -> Floats:
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def ragged(lengths: list[int], rng: np.random.Generator) -> tuple[Tokens, Ids]:
    return (
        rng.integers(0, VOCABULARY, sum(lengths)).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def random_weights(d: int, heads: int, inner: int, layers: int = 2) -> Weights:
    rng = np.random.default_rng(d + heads + inner)

    def near(mean: float, *shape: int) -> Floats:
        spread = 1.0 / np.sqrt(shape[-1]) if len(shape) > 1 else 0.2
        return (mean + spread * rng.normal(size=shape)).astype(np.float32)

    def layer() -> Layer:
        norms = (near(1, d), near(0, d))
        attention = (near(0, 3 * d, d), near(0, 3 * d), near(0, d, d), near(0, d), *norms)
        return Layer(*attention, near(0, inner, d), near(0, inner), near(0, d, inner), near(0, d), *norms)

    return Weights(
        near(0, VOCABULARY, d),
        near(0, LONGEST, d),
        near(1, d),
        near(0, d),
        [layer() for _ in range(layers)],
        heads,
        1e-12,
    )


_ENCODERS: dict[tuple[str, str], Transformer] = {}


def _encoder(precision: str, name: str) -> Transformer:
    if (precision, name) not in _ENCODERS:
        weights = random_weights(40, 2, 72)
        _ENCODERS[precision, name] = Transformer(weights, precision=precision, module=kernels.load(name))
    return _ENCODERS[precision, name]
