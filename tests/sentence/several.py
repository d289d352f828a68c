"""One process of several, started by the tests with torchrun's variables: gradients and whole trainings, written whole.

Run: RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=… python several.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from firth.arrays import Vectors, unit
from firth.fit import joined
from firth.fit.processes import place, sum_gradients
from firth.sentence.course import Course, Trainable
from firth.sentence.denoise import Denoising
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.objectives import NAMES, NEED_TEACHER
from firth.sentence.shared import encode_shared
from firth.sentence.tune import TuneSettings, tune
from firth.sentence.words import WordsEncoder
from firth.static.average import load as load_words
from firth.text.records import Pair

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BASE = TuneSettings(batch=7, rate=1e-3, precision="float32", seed=3, matryoshka=(8, 16))
TRAINED = replace(BASE, epochs=2, negatives=1)


class Hashed:
    """A teacher whose vectors are drawn from each text."""

    dims, fingerprint = 32, "hashed"

    def encode(self, texts: Sequence[str], **_: object) -> Vectors:
        rows = [np.random.default_rng([len(text), *text.encode()]).normal(size=32) for text in texts]
        return unit(np.array(rows, np.float32))


def pairs(name: str) -> list[Pair]:
    """Fourteen pairs of texts of different lengths, with what the loss needs; two queries share an answer."""
    rows = []
    for i in range(14):
        wrong = tuple(f"the {LETTERS[(i * 7 + 11 + j) % 24]} sat on a big {LETTERS[j] * (i % 3)}" for j in range(2))
        score = (
            {"softmax": float(i % 3)}.get(name, i / 14) if name in ("cosent", "cosine_regression", "softmax") else None
        )
        rows.append(
            Pair(f"query {LETTERS[i]}", f"the {LETTERS[(i * 5 + 3) % 13]} ran {'far ' * (i % 4)}", wrong, score)
        )
    return rows


def gradients(encoder: Trainable, name: str, whole: int = 1 << 20) -> dict[str, Tensor]:
    """Of each parameter, summed over the first two batches and over the processes; and the losses."""
    settings = replace(BASE, loss=name, whole=whole, matryoshka=() if name == "tsdae" else BASE.matryoshka)
    if name == "tsdae":
        course: Course | Denoising = Denoising(encoder, [pair.positive for pair in pairs(name)], settings)
    else:
        course = Course(encoder, pairs(name), settings, Hashed() if name in NEED_TEACHER else None)
    course.module.double()
    trained = list(course.module.parameters())
    course.module.zero_grad(set_to_none=True)
    total = 0.0
    for batch in course.batches(0)[:2]:
        loss = course.loss_of(batch) / place()[1]  # type: ignore[arg-type]
        loss.backward()
        total += float(loss.detach())
    if place()[1] > 1:
        total = sum_gradients(trained, total)
    found = {
        key: value.grad.to_dense().clone() if value.grad.is_sparse else value.grad.clone()
        for key, value in course.module.named_parameters()
        if value.grad is not None
    }
    course.module.zero_grad(set_to_none=True)
    return {**found, "loss": torch.tensor([total], dtype=torch.float64)}


def trained(folder: Path) -> dict[str, Tensor]:
    """The weights after two epochs of `tune`."""
    encoder = SentenceEncoder.load(folder / "model", device="cpu")
    encoder.module.double()
    scores = iter(range(3))  # each epoch a better one, so that its weights are kept
    tuned = tune(
        encoder, pairs("info_nce"), settings=TRAINED, dev=lambda _: float(next(scores)), folder=folder / "several"
    )
    curve = torch.tensor([point.loss or 0.0 for point in tuned.curve])
    return {**encoder.module.state_dict(), "curve": curve}


def all_of(folder: Path) -> dict[str, Tensor]:
    """Everything that is compared."""
    found: dict[str, Tensor] = {}
    for name in (*NAMES, "tsdae"):
        encoder = SentenceEncoder.load(folder / "model", device="cpu")
        found |= {f"{name} {key}": value for key, value in gradients(encoder, name).items()}
    words = WordsEncoder.of(load_words(folder / "words.safetensors"))
    found |= {f"words {key}": value for key, value in gradients(words, "info_nce").items()}
    found |= {f"trained {key}": value for key, value in trained(folder).items()}
    texts = [f"{letter} cat" for letter in LETTERS]
    encoder = SentenceEncoder.load(folder / "model", device="cpu")
    vectors = encode_shared(lambda some: encoder.encode(some, precision="float32"), texts)
    return {**found, "encoded": torch.from_numpy(vectors)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as first:
        result = all_of(Path(sys.argv[1]))
        if first:
            save_file(
                {key: value.contiguous() for key, value in result.items()}, Path(sys.argv[1]) / "found.safetensors"
            )
