"""Texts alone teach: by repairing what was left out of them, and by telling twins from strangers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.errors import DataError
from firth.sentence.denoise import Decoder, Denoising, deleted
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.tune import TuneSettings, tune
from firth.text.records import Ragged

FAST = TuneSettings(loss="tsdae", batch=8, epochs=12, rate=3e-3, precision="float32", seed=3)
TEXTS = [f"the {a} {b} on a {c}" for a in ("big", "small") for b in ("cat", "dog", "tree") for c in ("mat", "tree")]


def surprise(loss: torch.Tensor) -> float:
    return float(loss.detach())


@settings(deadline=None)  # a shared machine's speed is no property
@given(lengths=st.lists(st.integers(2, 30), min_size=1, max_size=20), seed=st.integers(0, 99))
def test_deletion_keeps_the_edges_the_order_and_at_least_one_token(lengths: list[int], seed: int) -> None:
    texts = Ragged.of([list(range(100 * i, 100 * i + length)) for i, length in enumerate(lengths)])
    noisy = deleted(texts, (1, 1), np.random.default_rng(seed))
    for i, length in enumerate(lengths):
        row, whole = noisy.row(i).tolist(), texts.row(i).tolist()
        assert (row[0], row[-1]) == (whole[0], whole[-1])
        assert row == [token for token in whole if token in row]
        assert len(row) >= min(length, 3)


def test_the_share_that_is_deleted_is_the_share_that_was_asked_for() -> None:
    texts = Ragged.of([list(range(10_002))])
    assert len(deleted(texts, (1, 1), np.random.default_rng(0)).ids) == pytest.approx(4_000, rel=0.05)


def test_texts_are_repaired_better_with_training(tiny: SentenceEncoder) -> None:
    tuned = tune(tiny, [], texts=TEXTS, settings=FAST)
    losses = [point.loss for point in tuned.curve if point.loss is not None]
    assert losses[-1] < losses[0] / 2
    assert (tuned.pairs, tuned.rows) == (12, 12 * 12)


def test_the_decoder_knows_of_a_text_only_its_vector_and_what_stands_before(tiny: SentenceEncoder) -> None:
    words = tiny.module.bert.words
    decoder = Decoder(words, 32, 0.0, torch.Generator().manual_seed(0)).eval()
    vectors = torch.randn(1, 32)
    seen = [surprise(decoder(vectors, Ragged.of([[2, 5, 6, 7, last]]))) for last in (3, 4)]
    part = surprise(decoder(vectors, Ragged.of([[2, 5, 6, 7]])))
    # The last token is only ever told, never given: the mean over the first three is the same in both.
    logits = [value * 4 - part * 3 for value in seen]
    assert logits[0] != pytest.approx(logits[1])
    assert surprise(decoder(-vectors, Ragged.of([[2, 5, 6, 7]]))) != pytest.approx(part)


def test_a_text_among_others_is_repaired_as_it_is_alone(tiny: SentenceEncoder) -> None:
    decoder = Decoder(tiny.module.bert.words, 32, 0.0, torch.Generator().manual_seed(0)).double().eval()
    tiny.module.double()
    vectors, rows = torch.randn(3, 32).double(), [[2, 5, 6, 3], [2, 9, 3], [2, 7, 8, 9, 10, 3]]
    alone = sum(surprise(decoder(vectors[i : i + 1], Ragged.of([row]))) * (len(row) - 1) for i, row in enumerate(rows))
    assert surprise(decoder(vectors, Ragged.of(rows))) * 10 == pytest.approx(alone, rel=1e-9)


def test_the_surprise_of_a_vocabulary_in_slices_is_that_of_the_whole(
    tiny: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(tiny.module.bert.words, 32, 0.0, torch.Generator().manual_seed(0)).eval()
    vectors, rows = torch.randn(2, 32), Ragged.of([[2, 5, 6, 3], [2, 7, 8, 9, 10, 3]])
    whole = surprise(decoder(vectors, rows))
    monkeypatch.setattr("firth.sentence.denoise.LOGITS", 3)
    assert surprise(decoder(vectors, rows)) == pytest.approx(whole, rel=1e-6)


def test_the_decoder_is_thrown_away_and_the_encoder_is_what_it_was(tiny: SentenceEncoder) -> None:
    names = set(tiny.module.state_dict())
    tune(tiny, [], texts=TEXTS, settings=replace(FAST, epochs=1))
    assert set(tiny.module.state_dict()) == names


def test_simcse_pulls_a_texts_two_vectors_together_against_other_texts(make: Callable[..., SentenceEncoder]) -> None:
    encoder = make()
    tuned = tune(encoder, [], texts=TEXTS, settings=replace(FAST, loss="simcse"))
    losses = [point.loss for point in tuned.curve if point.loss is not None]
    assert losses[-1] < losses[0]
    assert tuned.pairs == 12
    near = encoder.encode(TEXTS) @ make().encode(TEXTS).T
    assert not np.allclose(np.diag(near), 1)


def test_dropout_makes_the_twins_even_where_none_was_asked_for() -> None:
    assert replace(FAST, loss="simcse").falling == 0.1
    assert replace(FAST, loss="simcse", dropout=0.2).falling == 0.2
    assert FAST.falling == 0.0


def test_no_texts_and_an_empty_text_are_named(tiny: SentenceEncoder) -> None:
    with pytest.raises(DataError, match="there are no texts to learn from"):
        tune(tiny, [], settings=FAST)
    with pytest.raises(DataError, match="text 2 is empty"):
        tune(tiny, [], texts=["a cat", " "], settings=FAST)


def test_what_is_deleted_depends_on_the_epoch(tiny: SentenceEncoder) -> None:
    course = Denoising(tiny, TEXTS, FAST)
    assert course.batches(1)[0].seed != course.batches(2)[0].seed
    assert course.batches(1)[0].rows.tolist() == course.batches(1)[0].rows.tolist()
