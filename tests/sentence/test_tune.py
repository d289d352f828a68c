"""Tuning makes an encoder better on its pairs, or gives it back as it was; and an interruption changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from firth.errors import DataError, SettingsError, ShapeError, TrainingError
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.objectives import NAMES, NEED_TEACHER
from firth.sentence.tune import TuneSettings, tune
from firth.text.records import Pair

LETTERS = "abcdefghijklmnopqrstuvwxyz"
FAST = TuneSettings(batch=8, epochs=4, rate=3e-3, precision="float32", seed=3)


def pairs(count: int = 24, negatives: int = 2) -> list[Pair]:
    """Which word answers which is arbitrary, so that it can only be learnt."""
    rows = []
    for i in range(count):
        wrong = tuple(f"the {LETTERS[(i * 7 + 11 + j) % 24]} sat" for j in range(negatives))
        rows.append(Pair(f"query {LETTERS[i]}", f"the {LETTERS[(i * 5 + 3) % 24]} ran", wrong))
    return rows


def found_first(encoder: SentenceEncoder) -> float:
    """Share of queries whose own answer is nearest."""
    rows = pairs()
    queries = encoder.encode([pair.query for pair in rows], precision="float32")
    answers = encoder.encode([pair.positive for pair in rows], precision="float32")
    return float((np.argmax(queries @ answers.T, axis=1) == np.arange(len(rows))).mean())


def weights(encoder: SentenceEncoder) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in encoder.module.parameters()])


def test_tuning_teaches_the_pairs(tiny: SentenceEncoder) -> None:
    before = found_first(tiny)
    tuned = tune(tiny, pairs(), settings=replace(FAST, epochs=20))
    assert found_first(tiny) > before + 0.5
    assert (tuned.pairs, tuned.rows) == (24, 24 * 20)
    losses = [point.loss for point in tuned.curve if point.loss is not None]
    assert losses[-1] < losses[0] / 2


def test_the_encoder_is_left_ready_for_use_with_its_own_settings(tiny: SentenceEncoder) -> None:
    dropout, longest = tiny.module.bert.layers[0].settings.dropout, tiny.max_tokens
    tune(tiny, pairs(), settings=replace(FAST, epochs=1, dropout=0.3, max_tokens=4))
    assert not tiny.module.training
    assert tiny.module.bert.layers[0].settings.dropout == dropout == 0.1
    assert tiny.max_tokens == longest


def test_the_same_seed_gives_the_same_weights(make: Callable[..., SentenceEncoder]) -> None:
    one, again, other = make(), make(), make()
    for encoder, seed in ((one, 3), (again, 3), (other, 4)):
        tune(encoder, pairs(), settings=replace(FAST, epochs=1, seed=seed, dropout=0.1))
    assert torch.equal(weights(one), weights(again))
    assert not torch.equal(weights(one), weights(other))


def test_an_interrupted_tuning_goes_on_to_the_same_bits(make: Callable[..., SentenceEncoder], tmp_path: Path) -> None:
    settings = replace(FAST, checkpoint_seconds=0.0, dropout=0.1)
    whole, stopped, resumed = make(), make(), make()
    tune(whole, pairs(), settings=settings, dev=found_first)

    def progress(done: int, total: int, what: str = "") -> None:
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(stopped, pairs(), settings=settings, dev=found_first, folder=tmp_path, progress=progress)
    tuned = tune(resumed, pairs(), settings=settings, dev=found_first, folder=tmp_path)
    assert torch.equal(weights(resumed), weights(whole))
    assert tuned.rows == 96


def test_a_checkpoint_of_other_pairs_is_refused(make: Callable[..., SentenceEncoder], tmp_path: Path) -> None:
    tune(make(), pairs(), settings=FAST, folder=tmp_path)
    with pytest.raises(SettingsError, match="belongs to another training: identity"):
        tune(make(), pairs(negatives=1), settings=FAST, folder=tmp_path)


def test_an_encoder_that_only_gets_worse_is_given_back_as_it_was(tiny: SentenceEncoder) -> None:
    before = weights(tiny)
    scores = iter([0.9, *[0.1] * 20])
    tuned = tune(tiny, pairs(), settings=replace(FAST, mixes=(0.5,)), dev=lambda _: next(scores))
    assert (tuned.epoch, tuned.base, tuned.best) == (0, 0.9, 0.9)
    assert torch.equal(weights(tiny), before)


def test_the_best_mix_of_old_and_tuned_weights_is_kept(tiny: SentenceEncoder) -> None:
    before = weights(tiny)
    seen: list[torch.Tensor] = []
    scores = iter([0.1, 0.5, 0.8, 0.6])  # base, epoch 1, mix 0.25, mix 0.75

    def dev(encoder: SentenceEncoder) -> float:
        seen.append(weights(encoder))
        return next(scores)

    tuned = tune(tiny, pairs(), settings=replace(FAST, epochs=1, mixes=(0.25, 0.75)), dev=dev)
    assert (tuned.mix, tuned.best) == (0.25, 0.8)
    torch.testing.assert_close(weights(tiny), torch.lerp(before, seen[1], 0.25))


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_trains(name: str, make: Callable[..., SentenceEncoder]) -> None:
    encoder, teacher = make(), make()
    rows = pairs()
    if name in ("cosent", "cosine_regression"):
        rows = [replace(pair, score=i / len(rows)) for i, pair in enumerate(rows)]
    if name == "softmax":
        rows = [replace(pair, score=float(i % 3)) for i, pair in enumerate(rows)]
    with torch.no_grad():
        for value in teacher.module.parameters():
            value.add_(torch.randn_like(value), alpha=0.1)
    settings = replace(FAST, loss=name, epochs=5, matryoshka=(8, 16))
    tuned = tune(encoder, rows, settings=settings, teacher=teacher if name in NEED_TEACHER else None)
    losses = [point.loss for point in tuned.curve if point.loss is not None]
    assert losses[-1] < losses[0]
    assert encoder.trained_dims == (8, 16, 32)


def test_a_batch_in_pieces_trains_like_the_whole(
    make: Callable[..., SentenceEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firth.sentence.course.PIECE", 40)
    whole, pieces = make(), make()
    for encoder in (whole, pieces):
        encoder.module.double()
    settings = replace(FAST, epochs=1, rate=1e-4)
    tune(whole, pairs(), settings=settings)
    tune(pieces, pairs(), settings=replace(settings, whole=1))
    torch.testing.assert_close(weights(pieces), weights(whole), atol=1e-7, rtol=0)


def test_a_prompt_that_is_left_out_of_pooling_is_left_out_in_training_too(
    make: Callable[..., SentenceEncoder],
) -> None:
    seen: list[str | None] = []
    encoder = make(prompts={"query": "query: "}, pooling=replace(make().settings.pooling, include_prompt=False))
    embed = encoder.embed

    def watched(ragged: object, kind: str | None = None) -> torch.Tensor:
        seen.append(kind)
        return embed(ragged, kind)  # type: ignore[arg-type]

    encoder.embed = watched  # type: ignore[method-assign]
    tune(encoder, pairs(), settings=replace(FAST, epochs=1))
    assert seen[:2] == ["query", "document"]


def test_documents_are_cut_for_training_alone(tiny: SentenceEncoder) -> None:
    lengths: list[int] = []

    def dev(encoder: SentenceEncoder) -> float:
        lengths.append(encoder.max_tokens)
        return 1.0

    tune(tiny, pairs(), settings=replace(FAST, epochs=1, max_tokens=4), dev=dev)
    assert lengths == [64, 64]


def test_a_tuned_encoder_is_saved_with_its_trained_sizes(tiny: SentenceEncoder, tmp_path: Path) -> None:
    tune(tiny, pairs(), settings=replace(FAST, epochs=1, matryoshka=(8, 16)))
    tiny.save(tmp_path / "model")
    assert SentenceEncoder.load(tmp_path / "model").trained_dims == (8, 16, 32)


@pytest.mark.parametrize(
    ("changes", "rows", "error", "message"),
    [
        ({}, [], DataError, "there are no pairs"),
        ({"loss": "best"}, None, SettingsError, "loss 'best': expected one of info_nce"),
        ({"loss": "triplet"}, [Pair("a", "b"), Pair("c", "d")], DataError, "needs pairs with negatives"),
        ({"loss": "cosent"}, None, DataError, "needs a score with each pair; 24 of 24 have none"),
        ({"loss": "softmax"}, [Pair("a", "b", score=0.5)], DataError, "expected the classes 0, 1"),
        ({"loss": "listwise_kl"}, None, SettingsError, "learns from a teacher, and none was given"),
        ({}, [Pair("a", "b")], DataError, "all pairs have the same two texts: there is nothing to learn from"),
        ({}, [Pair("a", "b"), Pair("c", "b")], DataError, "all 2 pairs have one and the same"),
        ({}, [Pair("a", "b"), Pair("a", "c")], TrainingError, "nothing to learn from"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    tiny: SentenceEncoder,
    changes: dict[str, object],
    rows: list[Pair] | None,
    error: type[Exception],
    message: str,
) -> None:
    before = weights(tiny)
    with pytest.raises(error, match=message):
        tune(tiny, pairs() if rows is None else rows, settings=replace(FAST, **changes))
    assert torch.equal(weights(tiny), before)


def test_a_teacher_of_another_size_is_refused(tiny: SentenceEncoder) -> None:
    class Wide:
        dims, fingerprint = 48, "wide"

        def encode(self, texts: list[str], **_: object) -> np.ndarray:
            return np.ones((len(texts), 48), np.float32)

    with pytest.raises(ShapeError, match="the teacher's vectors have 48 dimensions, ours 32; learn from its scores"):
        tune(tiny, pairs(), settings=replace(FAST, loss="vector_mse"), teacher=Wide())
    tune(tiny, pairs(), settings=replace(FAST, epochs=1, loss="listwise_kl"), teacher=Wide())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 1}, "batch: info_nce needs"),
        ({"negatives": -1}, "batch and negatives"),
        ({"temperature": 0.0}, "temperature: expected a positive number"),
        ({"dropout": 1.0}, "dropout: expected a probability"),
        ({"mixes": (1.0,)}, "mixes: expected shares between"),
        ({"rate": -1.0}, "rate: expected a positive number"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(FAST, **changes)


def test_a_loss_that_is_not_a_number_stops_and_says_where(tiny: SentenceEncoder) -> None:
    with torch.no_grad():
        tiny.module.bert.words.weight[7] = torch.nan
    with pytest.raises(
        TrainingError, match=r"epoch 1, batch 1 \(step 1, learning rate .*\): the loss is nan; try a lower"
    ):
        tune(tiny, [Pair("the cat", "cat sat"), Pair("a cat", "big cat")], settings=FAST)


def test_identical_texts_everywhere_leave_the_weights_finite(tiny: SentenceEncoder) -> None:
    same = [Pair("the cat sat", "the cat sat", ("the cat sat",)), Pair("the cat sat", "the cat ran")]
    tune(tiny, [*same, Pair("a dog", "the cat sat")], settings=FAST)
    assert torch.isfinite(weights(tiny)).all()


def test_the_checkpoint_names_every_setting_that_decides_the_weights(tiny: SentenceEncoder, tmp_path: Path) -> None:
    tune(tiny, pairs(), settings=FAST, folder=tmp_path)
    identity = json.loads((tmp_path / "checkpoint" / "state.json").read_text())["described"]["identity"]
    assert "temperature=0.05" in identity
    assert "seed=3" in identity
