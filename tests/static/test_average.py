"""Text vectors: averages of words, the same for every batch, thread and saved file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import Encoder
from firth.errors import FormatError, SettingsError
from firth.kernels import words as kernel
from firth.static import WordVectors, average, tensors

WORDS = ["the", "cat", "dog", "sat", "ran", "don't", "東", "été"]
TEXTS = ["The cat sat.", "the DOG ran", "Don't!", "unknown words only", "", "東京", "été, the été"]


@pytest.fixture
def wv(rng: np.random.Generator) -> WordVectors:
    counts = np.array([500, 40, 30, 20, 10, 5, 2, 1])
    return WordVectors(WORDS, rng.normal(size=(8, 12)).astype(np.float32), counts)


def test_a_mean_is_the_unit_mean_of_its_words(wv: WordVectors) -> None:
    row = average.mean(wv).encode(["The cat sat."])[0]
    expected = wv[["the", "cat", "sat"]].mean(axis=0)
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


def test_sif_weighs_by_frequency_and_removes_the_common_direction(wv: WordVectors) -> None:
    encoder = average.sif(wv, TEXTS, smoothing=0.01)
    share = np.array(wv.counts) / 608
    np.testing.assert_allclose(encoder.weights, 0.01 / (0.01 + share), rtol=1e-5)
    rows = encoder.encode(TEXTS)
    np.testing.assert_allclose(rows @ encoder.common.T, 0, atol=1e-6)
    means = np.stack(
        [
            sum(
                (encoder.weights[WORDS.index(w)] * wv[w] for w in kernel.split_twin(t, kernel.UNICODE) if w in wv),
                np.zeros(12),
            )
            / max(len(kernel.split_twin(t, kernel.UNICODE)), 1)
            for t in TEXTS
        ]
    )
    leading = np.linalg.svd(means)[2][0]
    assert abs(leading @ encoder.common[0]) == pytest.approx(1, abs=1e-5)


def test_text_vectors_are_an_encoder(wv: WordVectors) -> None:
    encoder = average.sif(wv, TEXTS)
    assert isinstance(encoder, Encoder)
    assert encoder.dims == 12
    rows = encoder.encode(TEXTS, kind="query")
    assert rows.dtype == np.float32
    lengths = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(lengths[[0, 1, 2, 5, 6]], 1, atol=1e-6)
    assert not rows[[3, 4]].any()


def test_a_texts_vector_does_not_depend_on_its_batch(wv: WordVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = average.sif(wv, TEXTS)
    together = encoder.encode(TEXTS * 700)
    np.testing.assert_array_equal(together[: len(TEXTS)], np.concatenate([encoder.encode([text]) for text in TEXTS]))
    monkeypatch.setattr(average, "TEXTS_AT_ONCE", 3)
    np.testing.assert_array_equal(encoder.encode(TEXTS * 700), together)


def test_leading_dimensions_are_brought_back_to_unit_length(wv: WordVectors) -> None:
    encoder = average.mean(wv)
    rows = encoder.encode(TEXTS, dims=5)
    assert rows.shape == (len(TEXTS), 5)
    whole = encoder.encode(TEXTS)[:, :5]
    np.testing.assert_allclose(rows[0], whole[0] / np.linalg.norm(whole[0]), atol=1e-6)


def test_a_saved_encoder_gives_the_same_bits_and_its_words_are_word_vectors(wv: WordVectors, tmp_path: Path) -> None:
    encoder = average.sif(wv, TEXTS, components=2)
    encoder.save(tmp_path / "w.safetensors")
    back = average.load(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(back.encode(TEXTS), encoder.encode(TEXTS))
    assert back.fingerprint == encoder.fingerprint
    assert WordVectors.load(tmp_path / "w.safetensors").words == WORDS
    with pytest.raises(SettingsError, match=r"saved as \.safetensors"):
        encoder.save(tmp_path / "w.bin")


def test_plain_word_vectors_load_as_means_of_the_case_their_words_have(wv: WordVectors, tmp_path: Path) -> None:
    wv.save(tmp_path / "w.txt")
    encoder = average.load(tmp_path / "w.txt")
    np.testing.assert_array_equal(encoder.encode(TEXTS), average.mean(wv).encode(TEXTS))
    assert encoder.tokenizer == "unicode"
    cased = WordVectors(["The", "cat"], wv.vectors[:2])
    assert average.mean(cased).tokenizer == "cased"
    assert average.mean(cased).encode(["The cat!"]).any()
    assert not average.mean(cased).encode(["the CAT!"]).any()


def test_a_fingerprint_changes_with_all_that_the_vectors_depend_on(wv: WordVectors) -> None:
    encoders = [average.mean(wv), average.sif(wv, TEXTS), average.mean(wv, tokenizer="spaces")]
    other = WordVectors(WORDS, wv.vectors + 1, wv.counts)
    assert len({encoder.fingerprint for encoder in (*encoders, average.mean(other))}) == 4


def test_known_and_unknown_words_are_counted(wv: WordVectors) -> None:
    found, there = average.mean(wv).coverage(TEXTS)
    assert found.tolist() == [3, 3, 1, 0, 0, 1, 3]
    assert there.tolist() == [3, 3, 1, 3, 0, 2, 3]


@pytest.mark.parametrize("kind", [kernel.SPACES, kernel.UNICODE, kernel.CASED])
def test_sums_are_the_twins(level: Any, wv: WordVectors, rng: np.random.Generator, kind: int) -> None:
    weights = rng.random(8).astype(np.float32)
    table = kernel.lookup(WORDS, kind, module=level)
    sums, _, _ = kernel.text_sums(table, TEXTS, wv.vectors, weights, threads=2)
    np.testing.assert_allclose(sums, kernel.text_sums_twin(WORDS, TEXTS, wv.vectors, weights, kind), atol=1e-6)


def test_wrong_use_is_refused(wv: WordVectors) -> None:
    with pytest.raises(SettingsError, match="expected a list of texts"):
        average.mean(wv).encode("one text")
    with pytest.raises(SettingsError, match="dims=13: expected 1 to 12"):
        average.mean(wv).encode(TEXTS, dims=13)
    with pytest.raises(SettingsError, match="sif needs the words' counts"):
        average.sif(WordVectors(WORDS, wv.vectors), TEXTS)
    with pytest.raises(SettingsError, match="smoothing > 0"):
        average.sif(wv, TEXTS, smoothing=0)


def test_damaged_weights_are_refused(wv: WordVectors, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    average.sif(wv, TEXTS).save(path)
    arrays, about = tensors.read(path)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    tensors.write(path, arrays | {"weights": arrays["weights"][:3]}, about)
    with pytest.raises(FormatError, match="damaged: text vectors"):
        average.load(path)
    tensors.write(path, arrays | {"common": np.full((1, 12), np.nan, np.float32)}, about)
    with pytest.raises(FormatError, match="common is missing or not finite"):
        average.load(path)
