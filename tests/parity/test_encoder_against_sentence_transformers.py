"""MiniLM's vectors are sentence-transformers' own, and folders go both ways in both layouts."""

from __future__ import annotations

import gzip
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.contextual.weights import load_bert, save_bert
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.folder import read_layout

library = pytest.importorskip("sentence_transformers")
from sentence_transformers import SentenceTransformer  # noqa: E402
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data" / "scifact" / "corpus.jsonl.gz"


@pytest.fixture(scope="module")
def abstracts() -> list[str]:
    """Sixteen real texts of 3 to 400 tokens: whole abstracts and parts of them."""
    with gzip.open(EXAMPLE, "rt") as lines:
        texts = [json.loads(next(lines))["text"] for _ in range(16)]
    return [text if i % 4 == 0 else text[: 20 + 40 * i] for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def expected(minilm: Path, abstracts: list[str]) -> Any:
    return SentenceTransformer(str(minilm), device="cpu").encode(abstracts, normalize_embeddings=True)


def encoded(encoder: SentenceEncoder, texts: list[str], **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these texts are cut, as theirs are
        return encoder.encode(texts, **settings)


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.99999), ("bfloat16", 0.9999), ("auto", 0.9999)])
def test_vectors_are_those_of_sentence_transformers(
    precision: str, least: float, minilm: Path, abstracts: list[str], expected: Any
) -> None:
    found = encoded(SentenceEncoder.load(minilm), abstracts, precision=precision)
    assert (found * expected).sum(1).min() >= least


def test_a_folder_that_we_save_gives_the_same_vectors_there(
    minilm: Path, abstracts: list[str], expected: Any, tmp_path: Path
) -> None:
    encoder = SentenceEncoder.load(minilm)
    encoder.trained_dims = (64, 128)
    encoder.save(tmp_path / "ours")
    theirs = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert theirs.max_seq_length == 256
    np.testing.assert_allclose(theirs.encode(abstracts), expected, atol=1e-6)


def test_a_folder_that_version_6_saves_is_read(
    minilm: Path, abstracts: list[str], expected: Any, tmp_path: Path
) -> None:
    SentenceTransformer(str(minilm), device="cpu").save(str(tmp_path / "v6"))
    assert "pooling_mode_mean_tokens" not in (tmp_path / "v6" / "1_Pooling" / "config.json").read_text()
    encoder = SentenceEncoder.load(tmp_path / "v6")
    assert encoder.max_tokens == 256
    assert encoder.fingerprint != ""
    found = encoded(encoder, abstracts, precision="float32")
    assert (found * expected).sum(1).min() >= 0.99999


MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("max", "mean"), ("mean", "cls")]


@pytest.fixture(scope="module")
def transformer(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """MiniLM cut down to one layer: its tokenizer and words, a sixth of the work."""
    folder = tmp_path_factory.mktemp("one-layer")
    shutil.copytree(minilm, folder, dirs_exist_ok=True)
    bert = load_bert(minilm)
    bert.layers = bert.layers[:1]
    bert.settings = replace(bert.settings, layers=1)
    save_bert(bert, folder)
    return Transformer(str(folder))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_pooling_mode_is_theirs_with_the_prompt_left_out(
    mode: Any, transformer: Any, abstracts: list[str], tmp_path: Path
) -> None:
    prompts = {"query": "represent this: ", "document": ""}
    pooling = Pooling(384, mode, include_prompt=False)
    theirs = SentenceTransformer(modules=[transformer, pooling, Normalize()], prompts=prompts, device="cpu")
    theirs.save(str(tmp_path / "theirs"))
    ours = SentenceEncoder.load(tmp_path / "theirs")
    texts = abstracts[:6]
    found = encoded(ours, texts, kind="query", precision="float32")
    assert (found * theirs.encode(texts, prompt_name="query")).sum(1).min() >= 0.99999
    ours.save(tmp_path / "ours")
    again = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(again.encode(texts, prompt_name="query"), found, atol=1e-5)
    assert read_layout(tmp_path / "ours").settings.pooling == ours.settings.pooling


def test_a_dense_layer_behind_the_pooling_goes_both_ways(
    transformer: Any, abstracts: list[str], tmp_path: Path
) -> None:
    theirs = SentenceTransformer(modules=[transformer, Pooling(384), Dense(384, 100), Normalize()], device="cpu")
    theirs.save(str(tmp_path / "theirs"))
    ours = SentenceEncoder.load(tmp_path / "theirs")
    assert ours.dims == 100
    found = encoded(ours, abstracts[:6], precision="float32")
    assert (found * theirs.encode(abstracts[:6])).sum(1).min() >= 0.99999
    ours.save(tmp_path / "ours")
    again = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(again.encode(abstracts[:6]), found, atol=1e-5)
    assert SentenceEncoder.load(tmp_path / "ours").fingerprint == ours.fingerprint


def test_vectors_turned_onto_other_axes_are_turned_there_too(
    minilm: Path, abstracts: list[str], tmp_path: Path
) -> None:
    ours = SentenceEncoder.load(minilm)
    texts = abstracts[:6]
    before = encoded(ours, texts, precision="float32")
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(384, 384)))[0]
    ours.module.rotate(axes.astype(np.float32))
    ours.save(tmp_path / "turned")
    theirs = SentenceTransformer(str(tmp_path / "turned"), device="cpu").encode(texts)
    np.testing.assert_allclose(theirs, before @ axes, atol=1e-5)
    np.testing.assert_allclose(encoded(ours, texts, precision="float32"), theirs, atol=1e-5)
