"""One gradient, however it is computed: plain, cached, and by two processes that gather each other's vectors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from firth.sentence import shared
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.objectives import NAMES
from firth.sentence.words import WordsEncoder
from firth.static import WordVectors
from firth.static.average import mean
from sentence import several

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["the", "query", "ran", "sat", "on", "big", "far", *several.LETTERS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model lies that every process loads."""
    return tmp_path_factory.mktemp("several")


def words(folder: Path) -> WordsEncoder:
    """Word vectors drawn by seed."""
    path = folder / "words.safetensors"
    rows = np.random.default_rng(0).normal(size=(len(WORDS), 32)).astype(np.float32)
    encoder = mean(WordVectors(WORDS, rows), tokenizer="unicode")
    encoder.save(path)
    return WordsEncoder.of(encoder)


@pytest.fixture
def found(folder: Path, make: Callable[..., SentenceEncoder]) -> dict[str, Tensor]:
    """What two processes found, which is asked of them once."""
    result = folder / "found.safetensors"
    if result.exists():
        return load_file(result)
    make().save(folder / "model")
    words(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    common |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    script = [sys.executable, str(Path(several.__file__)), str(folder)]
    running = [
        subprocess.Popen(script, env={**common, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    told = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(told)
    return load_file(result)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Equal keys, equal values to 1e-6."""
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], atol=1e-9, rtol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


def of(found: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name} "): value for key, value in found.items() if key.startswith(f"{name} ")}


@pytest.mark.parametrize("name", [*NAMES, "tsdae"])
def test_two_processes_have_the_gradient_of_one(
    name: str, found: dict[str, Tensor], make: Callable[..., SentenceEncoder]
) -> None:
    same(several.gradients(make(), name), of(found, name))


@pytest.mark.parametrize("name", NAMES)
def test_a_cached_batch_has_the_gradient_of_the_plain_one(
    name: str, make: Callable[..., SentenceEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firth.sentence.course.PIECE", 40)
    same(several.gradients(make(), name, whole=1), several.gradients(make(), name))


def test_word_vectors_have_one_gradient_plain_cached_and_by_two_processes(
    found: dict[str, Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firth.sentence.course.PIECE", 20)
    plain = several.gradients(words(folder), "info_nce")
    same(several.gradients(words(folder), "info_nce", whole=1), plain)
    same(plain, of(found, "words"))


def test_two_processes_train_the_weights_of_one(found: dict[str, Tensor], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(folder / "model")
    same(several.trained(tmp_path), of(found, "trained"))


def test_texts_are_encoded_by_all_processes_in_their_order(found: dict[str, Tensor], folder: Path) -> None:
    encoder = SentenceEncoder.load(folder / "model", device="cpu")
    wanted = encoder.encode([f"{letter} cat" for letter in several.LETTERS], precision="float32")
    assert torch.equal(found["encoded"], torch.from_numpy(wanted))


def test_fewer_texts_than_processes_are_embedded_by_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "place", lambda: (0, 3))
    rows: list[list[int]] = []

    def embed(some: shared.Rows) -> Tensor:
        rows.append(some.tolist())
        return torch.ones(len(some), 2)

    assert len(shared.embed_shared(embed, np.array([3, 4]))) == 2
    assert rows == [[0, 1]]
