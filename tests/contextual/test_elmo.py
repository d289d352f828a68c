"""ELMo: the fast layers are the plain ones, no company changes a vector, training learns and goes on to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from firth.contextual.characters import PAD, CharacterEncoder, characters
from firth.contextual.elmo import Elmo, ElmoSettings, Mix, elmo_paper, split
from firth.contextual.lstm import Layer, plain_steps
from firth.contextual.settings import ElmoTraining
from firth.contextual.train_elmo import (
    Course,
    Stream,
    log_uniform,
    ordered,
    perplexities,
    train_elmo,
    vocabulary,
)
from firth.errors import DataError, FormatError, ModelError, SettingsError, TrainingError

SHAPE = ElmoSettings(size=4, filters=((1, 4), (3, 8)), projection=16, cells=24)
QUICK = ElmoTraining(
    streams=8, unroll=5, candidates=0, held_out=0.1, rate=1e-2, precision="float32", checkpoint_seconds=0.0
)
TEXTS = ["the cat purred near the river", "a dog", "", "antidisestablishmentarianism barked ! naïve 東京"]


def model(seed: int = 0) -> Elmo:
    torch.manual_seed(seed)
    found = Elmo(SHAPE, ["<S>", "</S>", "<UNK>", "the", "cat", "purred"]).eval()
    with torch.no_grad():
        for value in found.layers.parameters():
            value.mul_(2.0)
    return found


def test_the_layer_and_its_gradient_are_those_of_plain_steps() -> None:
    torch.manual_seed(0)
    layer = Layer(6, 7, 5, 0.4, 0.12).double()  # both clips bite
    x = torch.randn(2, 9, 3, 6, dtype=torch.float64)
    state = 0.2 * torch.randn(2, 3, 5, dtype=torch.float64), 0.2 * torch.randn(2, 3, 7, dtype=torch.float64)
    found = []
    for run in (layer, lambda x, state: plain_steps(layer, x, state)):
        layer.zero_grad()
        inner = x.clone().requires_grad_()
        y, behind = run(inner, state)
        (y * torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)).sum().backward()
        found.append([y, *behind, inner.grad, *(value.grad.clone() for value in layer.parameters())])
    fast, plain = found
    assert (fast[2].abs() == 0.4).any()
    assert (fast[0].abs() == 0.12).any()
    for one, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


def test_two_halves_with_the_state_between_are_the_whole() -> None:
    torch.manual_seed(0)
    layer, x = Layer(6, 7, 5, 3.0, 3.0), torch.randn(2, 8, 3, 6)
    whole, _ = layer(x, layer.start(3))
    first, state = layer(x[:, :4], layer.start(3))
    second, _ = layer(x[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    assert not state[0].requires_grad


def test_words_become_bytes_between_marks() -> None:
    assert characters(["cat"], 7).tolist() == [[258, 99, 97, 116, 259, PAD, PAD]]
    assert characters(["<S>", "</S>"], 4)[:, 1].tolist() == [256, 257]
    assert characters(["x" * 99], 8)[0].tolist() == [258, *[120] * 6, 259]


def test_padding_is_computed_once_and_changes_nothing() -> None:
    torch.manual_seed(0)
    encoder = CharacterEncoder(4, ((1, 8), (3, 8), (7, 8)), 2, 10)
    words = ["a", "some", "longer-words", "antidisestablishmentarianism", "x" * 60]
    symbols = torch.from_numpy(characters(words, 50))
    torch.testing.assert_close(encoder(symbols), encoder._group(symbols), atol=1e-6, rtol=0)
    assert encoder(symbols[:0]).shape == (0, 10)


def test_neither_batch_nor_order_nor_padding_changes_a_words_vector() -> None:
    elmo = model()
    words = [split(text) for text in TEXTS]
    together = elmo.layers_of(words)
    backwards = elmo.layers_of(words[::-1])[::-1]
    for text, row, other in zip(words, together, backwards, strict=True):
        alone = elmo.layers_of([text])[0]
        assert row.shape == (3, len(text), 32)
        torch.testing.assert_close(row, alone, atol=1e-6, rtol=0)
        torch.testing.assert_close(row, other, atol=1e-6, rtol=0)


def test_the_remembered_path_is_the_character_path() -> None:
    elmo = model()
    words = [split(text) for text in TEXTS]
    fresh = elmo.layers_of(words)
    elmo.remember(["cat", "barked", "the"])
    for one, other in zip(elmo.layers_of(words), fresh, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    with torch.no_grad():
        elmo.characters.projection.weight.add_(1.0)
    elmo.forget()
    assert (elmo.layers_of(words)[0] - fresh[0]).abs().max() > 0.01


def test_a_word_sees_what_stands_before_and_behind_it() -> None:
    elmo = model()
    first, second = elmo.layers_of([split("the cat purred"), split("the cat barked")])
    half = SHAPE.projection
    assert torch.equal(first[0, 1], second[0, 1])
    torch.testing.assert_close(first[1:, 1, :half], second[1:, 1, :half])  # forward has not seen the difference
    assert (first[1:, 1, half:] - second[1:, 1, half:]).abs().amax(1).min() > 1e-4


def test_the_mix_weighs_layers_by_softmax_and_gamma_and_can_be_learnt() -> None:
    mix, layers = Mix(3), torch.randn(3, 5, 4)
    torch.testing.assert_close(mix(layers), layers.mean(0))
    optimizer = torch.optim.Adam(mix.parameters(), 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (mix(layers) - 2 * layers[1]).square().mean().backward()
        optimizer.step()
    assert mix.weights.softmax(0)[1] > 0.9
    assert mix.gamma > 1.8


def test_a_text_is_the_mean_of_its_words_and_nothing_is_zeros() -> None:
    elmo = model()
    rows = elmo.encode(TEXTS)
    expected = elmo.mix(elmo.layers_of([split(TEXTS[0])])[0]).mean(0).detach().numpy()
    np.testing.assert_allclose(rows[0], expected / np.linalg.norm(expected), atol=1e-6)
    assert (rows[2] == 0).all()
    assert elmo.encode(TEXTS, dims=8).shape == (4, 8)
    with pytest.raises(SettingsError, match="expected a list of texts"):
        elmo.encode("one text")
    with pytest.raises(SettingsError, match="dims=99: expected 1 to 32"):
        elmo.encode(TEXTS, dims=99)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    from firth.recipes.load import load

    elmo = model()
    elmo.save(tmp_path / "out")
    back = load(tmp_path / "out")
    assert back.fingerprint == elmo.fingerprint
    assert np.array_equal(back.encode(TEXTS), elmo.encode(TEXTS))


def test_a_damaged_folder_is_refused_by_tensor(tmp_path: Path) -> None:
    model().save(tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    save_file(tensors | {"softmax": torch.zeros(3, 16)}, tmp_path / "out" / "model.safetensors")
    with pytest.raises(FormatError, match=r"tensor 'softmax' is \(3, 16\), .* ask for \(6, 16\)"):
        Elmo.load(tmp_path / "out")
    described = json.loads((tmp_path / "out" / "elmo.json").read_text())
    (tmp_path / "out" / "elmo.json").write_text(json.dumps(described | {"cells": -3}))
    with pytest.raises(ModelError, match="ELMo's cells is -3"):
        Elmo.load(tmp_path / "out")
    with pytest.raises(ModelError, match=r"no elmo\.json; expected a folder that firth pretrain elmo made"):
        Elmo.load(tmp_path)


def test_the_papers_size_is_the_papers() -> None:
    paper = elmo_paper()
    assert sum(count for _, count in paper.filters) == 2048
    assert (paper.cells, paper.projection, paper.highways, paper.size) == (4096, 512, 2, 16)
    assert (paper.cell_clip, paper.projection_clip, paper.width) == (3.0, 3.0, 50)


def test_a_batch_flows_on_from_the_one_before_in_both_directions(documents: list[list[str]]) -> None:
    words = vocabulary(documents, QUICK)
    stream = Stream.of(documents, words, SHAPE.width)
    course = Course(Elmo(SHAPE, words), stream, QUICK)
    windows = list(course.batches(0))
    assert len(windows) == course.steps
    assert [window.first for window in windows[:3]] == [True, False, False]
    for before, after in pairwise(windows):
        assert np.array_equal(before.places[:, -1], after.places[:, 0])
    flow = ordered(stream, np.random.default_rng([QUICK.seed, 0]))
    length = len(flow) // QUICK.streams
    assert np.array_equal(windows[0].places[0, :, 1], flow[length : length + 6])
    assert np.array_equal(windows[0].places[1, :, 1], flow[2 * length - 6 : 2 * length][::-1])
    assert np.array_equal(np.sort(flow), np.sort(stream.places))


def test_the_sampled_softmax_tends_to_the_whole_one(documents: list[list[str]]) -> None:
    torch.manual_seed(0)
    many = replace(QUICK, min_count=1, candidates=20)
    words = vocabulary(documents, many)
    course = Course(Elmo(SHAPE, words), Stream.of(documents, words, SHAPE.width), many)
    y, targets = torch.randn(2, 50, 16), torch.randint(0, len(words), (2, 50))
    whole = course.cross_entropies(y, targets, torch.zeros(0, dtype=torch.int64))
    drawn = [course.drawn(np.random.default_rng(seed)) for seed in range(200)]
    assert all(len(set(one.tolist())) == 20 for one in drawn)
    sampled = torch.stack([course.cross_entropies(y, targets, torch.from_numpy(one)) for one in drawn]).mean(0)
    torch.testing.assert_close(sampled, whole, atol=0.3, rtol=0)  # its logarithm is a little low in the mean
    assert log_uniform(100).sum() == pytest.approx(1.0)


def test_training_learns_both_directions(documents: list[list[str]]) -> None:
    elmo, found = train_elmo(documents, SHAPE, settings=replace(QUICK, epochs=3))
    assert found.held_out is not None
    assert found.held_out["forward_perplexity"] < 6.0  # the vocabulary has 25 words; place and letter are free
    assert found.held_out["backward_perplexity"] < 6.0
    assert found.fitted.curve[-1].measures["forward_loss"] < found.fitted.curve[0].measures["forward_loss"] / 1.5
    assert perplexities(elmo, [["purred cat the"]])["forward_perplexity"] > 50


def test_an_interrupted_training_goes_on_to_the_bit(documents: list[list[str]], tmp_path: Path) -> None:
    settings = replace(QUICK, steps=12, epochs=2, candidates=8)
    straight, _ = train_elmo(documents, SHAPE, settings=settings)

    def stopped(done: int, total: int, what: str = "") -> None:
        if done > 0.4 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_elmo(documents, SHAPE, settings=settings, folder=tmp_path, progress=stopped)
    resumed, _ = train_elmo(documents, SHAPE, settings=settings, folder=tmp_path)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_size_is_refused(documents: list[list[str]], tmp_path: Path) -> None:
    train_elmo(documents, SHAPE, settings=replace(QUICK, steps=2), folder=tmp_path)
    with pytest.raises(SettingsError, match="belongs to another training"):
        train_elmo(documents, replace(SHAPE, cells=32), settings=replace(QUICK, steps=2), folder=tmp_path)


def test_a_loss_that_is_not_a_number_stops_with_its_step(documents: list[list[str]], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step \d+.*; try a lower rate than 1e\+25"):
        train_elmo(documents, SHAPE, settings=replace(QUICK, steps=20, rate=1e25), folder=tmp_path)


def test_a_text_shorter_than_a_batch_is_refused_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"the text has 20 words to train on, fewer than one batch of 8 streams of 6"):
        train_elmo([["the cat purred"] * 4], SHAPE, settings=replace(QUICK, held_out=0.0))


def test_a_text_without_a_frequent_word_is_refused() -> None:
    with pytest.raises(DataError, match="no word stands 3 times"):
        train_elmo([["the cat purred"]], SHAPE, settings=replace(QUICK, held_out=0.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"unroll": 1}, "unroll=1"), ({"optimizer": "sgd"}, "expected adamw or adagrad"), ({"dropout": 1.0}, "dropout")],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(QUICK, **change)  # type: ignore[arg-type]
