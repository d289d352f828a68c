"""Word vectors are tuned by the losses of every encoder; a step touches the rows of its own words alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from firth.errors import SettingsError
from firth.sentence.course import Course
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.objectives import NAMES, NEED_TEACHER
from firth.sentence.tune import TuneSettings, tune
from firth.sentence.words import WordsEncoder, token_table
from firth.static import WordVectors
from firth.static.average import TextVectors, load, mean
from firth.text.records import Pair
from sentence.several import LETTERS, Hashed, pairs

FAST = TuneSettings(batch=8, epochs=4, rate=0.05, precision="float32", seed=3)
WORDS = ["the", "query", "ran", "sat", "on", "big", "far", *LETTERS]


@pytest.fixture
def start(rng: np.random.Generator) -> TextVectors:
    rows = rng.normal(size=(len(WORDS), 32)).astype(np.float32)
    common = np.linalg.qr(rng.normal(size=(32, 2)))[0].T.astype(np.float32)
    weights = rng.uniform(0.1, 1, len(WORDS)).astype(np.float32)
    return TextVectors(WordVectors(WORDS, rows), weights, common, tokenizer="unicode")


def test_what_is_trained_starts_as_the_encoder_that_it_was_made_of(start: TextVectors) -> None:
    texts = ["the big a", "query b far zebra", "", "unknown"]
    encoder = WordsEncoder.of(start)
    np.testing.assert_allclose(encoder.encode(texts), start.encode(texts), atol=1e-6)
    ragged = encoder.tokenize(texts)
    np.testing.assert_allclose(encoder.embed(ragged).detach().numpy(), start.encode(texts), atol=1e-6)
    assert ragged.cut.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_tunes_word_vectors(name: str, start: TextVectors) -> None:
    settings = replace(FAST, loss=name, matryoshka=(8, 16))
    tuned = tune(
        WordsEncoder.of(start), pairs(name), settings=settings, teacher=Hashed() if name in NEED_TEACHER else None
    )
    losses = [point.loss for point in tuned.curve if point.loss is not None]
    assert losses[-1] < losses[0]
    assert tuned.encoder.trained_dims == (8, 16, 32)


def test_a_step_touches_the_rows_of_its_own_words_alone(start: TextVectors) -> None:
    encoder = WordsEncoder.of(start)
    before = encoder.module.rows.weight.detach().clone()
    course = Course(encoder, [Pair("a big", "b ran"), Pair("c", "d far")], FAST)
    course.loss_of(course.first[0]).backward()  # type: ignore[no-untyped-call]
    gradient = encoder.module.rows.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    touched = {WORDS[i] for i in gradient.coalesce().indices()[0].tolist()}
    assert touched == {"a", "big", "b", "ran", "c", "d", "far"}
    encoder.module.zero_grad(set_to_none=True)
    tune(encoder, [Pair("a big", "b ran"), Pair("c", "d far")], settings=FAST)
    moved = (encoder.module.rows.weight.detach() != before).any(1)
    assert {WORDS[i] for i in moved.nonzero()[:, 0].tolist()} == touched


def test_an_interrupted_tuning_of_words_goes_on_to_the_same_bits(start: TextVectors, tmp_path: Path) -> None:
    settings = replace(FAST, checkpoint_seconds=0.0)
    whole, resumed = WordsEncoder.of(start), WordsEncoder.of(start)
    tune(whole, pairs("info_nce"), settings=settings)

    def progress(done: int, total: int, what: str = "") -> None:
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(WordsEncoder.of(start), pairs("info_nce"), settings=settings, folder=tmp_path, progress=progress)
    tune(resumed, pairs("info_nce"), settings=settings, folder=tmp_path)
    assert torch.equal(resumed.module.rows.weight, whole.module.rows.weight)


def test_tuned_words_are_saved_as_word_vectors_that_need_no_torch(start: TextVectors, tmp_path: Path) -> None:
    tuned = tune(WordsEncoder.of(start), pairs("info_nce"), settings=replace(FAST, matryoshka=(8,)))
    tuned.encoder.vectors().save(tmp_path / "words.safetensors")
    again = load(tmp_path / "words.safetensors")
    np.testing.assert_array_equal(again.encode(["the big a"]), tuned.encoder.encode(["the big a"]))
    assert again.words.about["trained_dims"] == [8]


def test_a_token_table_gives_each_word_the_mean_of_its_pieces(make: Callable[..., SentenceEncoder]) -> None:
    encoder = make()
    texts = ["the cats sat on a mat", "dogs ran", "the dog", "a zoo cat"] * 3
    words = token_table(encoder, texts)
    plain = mean(words.words)
    table = encoder.module.bert.words.weight.detach().numpy()
    pieces = encoder.tokenizer.encode(["cats"], 64).row(0)[1:-1]
    assert len(pieces) == 2
    np.testing.assert_allclose(plain.words["cats"], table[pieces].mean(0), atol=1e-6)
    assert words.weights[words.words.words.index("the")] < words.weights[words.words.words.index("zoo")]
    np.testing.assert_allclose(WordsEncoder.of(words).encode(texts), words.encode(texts), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 8}, "max_tokens=8: word vectors read texts of any length"),
        ({"dropout": 0.1}, "word vectors have none; it needs a transformer"),
        ({"loss": "simcse"}, r"simcse with dropout 0\.1: word vectors have none"),
        ({"loss": "tsdae"}, "tsdae needs a transformer"),
    ],
)
def test_what_only_a_transformer_has_is_refused(start: TextVectors, changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        tune(WordsEncoder.of(start), pairs("info_nce"), texts=["the a"], settings=replace(FAST, **changes))
