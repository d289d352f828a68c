"""GloVe: counts are what a double loop finds, steps are AdaGrad's, and vectors come to tell log counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.errors import SettingsError, TrainingError
from firth.kernels import glove as kernel
from firth.static import Corpus, Counting, GloVe, count, count_texts
from firth.static import cooccurrence as counting
from firth.static.cooccurrence import Cooccurrences, cooccurrences

SMALL = GloVe(dims=16, window=5, epochs=60, x_max=20, min_count=1, threads=1)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """2,000 sentences over 60 words; words 0 … 29 stand with even neighbours, the others with odd ones."""
    rng = np.random.default_rng(3)
    lists = []
    for i in range(2000):
        words = (rng.zipf(1.5, 20) * 2 + i) % 60
        lists.append([f"w{word:02d}" for word in words])
    return count(lists, Counting(min_count=1))


def dense(cells: Cooccurrences) -> Any:
    v = len(cells.starts) - 1
    matrix = np.zeros((v, v))
    matrix[np.repeat(np.arange(v), np.diff(cells.starts)), cells.columns] = cells.values
    return matrix


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_counts_are_the_twins(level: Any, rng: np.random.Generator, symmetric: bool, threads: int) -> None:
    ids = rng.integers(-1, 30, 3000).astype(np.int32)
    sizes, columns, values = kernel.counter(ids, 30, 7, symmetric, threads=threads, module=level).rows(0, 30, threads)
    found = np.zeros((30, 30))
    found[np.repeat(np.arange(30), sizes), columns] = values
    np.testing.assert_allclose(found, kernel.cooccurrence_twin(ids, 30, 7, symmetric), rtol=1e-6)
    assert all((np.diff(row) > 0).all() for row in np.split(columns, np.cumsum(sizes)[:-1]))


@pytest.mark.parametrize("symmetric", [True, False])
def test_memory_and_threads_change_no_count(corpus: Corpus, symmetric: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cooccurrences(corpus, symmetric=symmetric)
    monkeypatch.setattr(counting, "CELLS_AT_ONCE", 500)
    for memory, threads in ((0, 1), (30_000, 2), (100_000, 4), (1 << 30, 3)):
        again = cooccurrences(corpus, symmetric=symmetric, memory=memory, threads=threads)
        np.testing.assert_array_equal(again.starts, whole.starts)
        np.testing.assert_array_equal(again.columns, whole.columns)
        np.testing.assert_allclose(again.values, whole.values, rtol=1e-6)
    assert len(whole) == np.count_nonzero(dense(whole)) * (2 if symmetric else 1) - (
        np.count_nonzero(np.diag(dense(whole))) if symmetric else 0
    )


def test_counts_beyond_the_memory_lie_in_a_file(corpus: Corpus) -> None:
    assert isinstance(cooccurrences(corpus, memory=0).values, np.memmap)
    assert not isinstance(cooccurrences(corpus).values, np.memmap)


def test_windows_end_with_their_sentence_and_count_one_over_distance() -> None:
    corpus = count_texts(["a b c", "c a"], Counting(min_count=1))
    cells = dense(cooccurrences(corpus, window=2))
    place = corpus.vocabulary.ids
    both = cells + cells.T - np.diag(np.diag(cells))
    assert both[place["a"], place["b"]] == 1
    assert both[place["a"], place["c"]] == 1.5
    assert both[place["b"], place["c"]] == 1
    assert both.trace() == 0


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dims", [1, 14, 15, 40])
def test_steps_are_the_twins(level: Any, rng: np.random.Generator, symmetric: bool, dims: int) -> None:
    v, bands = 7, 3
    rows = kernel.parameters(v, dims, rng)
    expected = rows.astype(np.float64)
    pitch = rows.shape[1] // 4
    counts = np.tril(rng.gamma(1, 8, (v, v))).astype(np.float32)
    starts = np.cumsum([0, *(range(1, v + 1))]).astype(np.int64)
    columns = np.concatenate([np.arange(i + 1) for i in range(v)]).astype(np.int32)
    cells = starts, columns, counts[np.tril_indices(v)]
    kernel.sort_into_bands(cells, bands, threads=2, module=level)
    order, loss = rng.permutation(v).astype(np.int32), 0.0
    for row in order:
        own = cells[1][starts[row] : starts[row + 1]]
        for column in own[own % bands == 1]:
            sides = [(row, column), (column, row)] if symmetric and row != column else [(row, column)]
            for a, b in sides:
                one, other = expected[a].reshape(4, pitch), expected[b].reshape(4, pitch)
                value = float(counts[row, column])
                loss += kernel.step_twin(one[0], other[1], one[2], other[3], dims, value, 0.05, 0.75, 10)
    settings = {"rate": 0.05, "alpha": 0.75, "x_max": 10, "symmetric": symmetric, "bands": bands, "band": 1}
    found, _ = kernel.train(rows, dims, cells, order, threads=1, module=level, **settings)
    np.testing.assert_allclose(rows, expected, rtol=1e-6, atol=2e-6)
    assert found == pytest.approx(loss, rel=1e-5)


def test_a_step_is_clipped_where_stanfords_program_clips_it(level: Any) -> None:
    rows = kernel.parameters(1, 4, np.random.default_rng(0))
    rows[0, :4] = 1e4
    rows[0, 16:20] = 1e4
    expected = rows.astype(np.float64).reshape(4, 16).copy()
    kernel.step_twin(*expected, 4, 5.0, 0.05, 0.75, 10)
    cells = np.array([0, 1]), np.zeros(1, np.int32), np.full(1, 5, np.float32)
    settings = {"rate": 0.05, "alpha": 0.75, "x_max": 10, "symmetric": True, "bands": 1, "band": 0}
    kernel.train(rows, 4, cells, np.zeros(1, np.int32), threads=1, module=level, **settings)
    np.testing.assert_allclose(rows.reshape(4, 16), expected, rtol=1e-5)


def test_inner_products_and_biases_come_near_the_log_counts(corpus: Corpus) -> None:
    training = replace(SMALL, dims=40, epochs=300).fit(corpus)
    counts = dense(cooccurrences(corpus, window=5))
    counts = counts + counts.T - np.diag(np.diag(counts))
    word, context = training.biases
    told = training.word @ training.context.T + word[:, None] + context[None, :]
    often = counts >= SMALL.x_max
    assert often.sum() > 200
    error = told[often] - np.log(counts[often])
    assert np.sqrt(np.mean(error**2)) < 0.1 * np.log(counts[often]).std()


def test_differences_of_vectors_encode_log_ratios_of_counts(corpus: Corpus) -> None:
    training = replace(SMALL, dims=40, epochs=300).fit(corpus)
    counts = dense(cooccurrences(corpus, window=5))
    counts = counts + counts.T - np.diag(np.diag(counts))
    a, b = 0, 1  # words of the two sides
    other = np.flatnonzero((counts[a] >= 5) & (counts[b] >= 5))
    told = (
        (training.word[a] - training.word[b]) @ training.context[other].T
        + training.biases[0][a]
        - training.biases[0][b]
    )
    ratio = np.log(counts[a, other] / counts[b, other])
    assert len(other) > 20
    assert np.corrcoef(told, ratio)[0, 1] > 0.98


def test_the_loss_of_each_epoch_falls_and_is_told(corpus: Corpus) -> None:
    seen: list[str] = []

    def watch(done: int, total: int, what: str = "") -> None:
        seen.append(what)

    trained = replace(SMALL, epochs=5).train(corpus, progress=watch)
    losses = trained.about["losses"]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert seen[-1] == f"epoch 5 loss {losses[-1]:.4f}"


def test_one_thread_repeats_itself_and_many_learn_as_well(corpus: Corpus) -> None:
    first, again, many = (replace(SMALL, epochs=8, threads=n).train(corpus) for n in (1, 1, 4))
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert many.about["losses"][-1] == pytest.approx(first.about["losses"][-1], rel=0.1)


def test_an_interrupted_training_goes_on_to_the_same_vectors(corpus: Corpus, tmp_path: Path) -> None:
    settings = replace(SMALL, epochs=4)
    whole = settings.train(corpus)

    def interrupt(done: int, total: int, what: str = "") -> None:
        if what.startswith("epoch 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        settings.train(corpus, state=tmp_path / "state", progress=interrupt)
    resumed = settings.train(corpus, state=tmp_path / "state")
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    assert resumed.about["losses"] == whole.about["losses"]
    with pytest.raises(SettingsError, match="was trained with x_max=20, not 5"):
        replace(settings, x_max=5).train(corpus, state=tmp_path / "state")
    with pytest.raises(SettingsError, match="another corpus"):
        settings.train(count([["x", "y"]], Counting(min_count=1)), state=tmp_path / "state")


def test_counts_of_one_side_train_too(corpus: Corpus) -> None:
    losses = replace(SMALL, symmetric=False, epochs=10).train(corpus).about["losses"]
    assert losses[-1] < losses[0] / 2


def test_sentences_of_one_word_hold_nothing_to_learn() -> None:
    with pytest.raises(TrainingError, match="no two words stand together"):
        SMALL.train(count([["alone"], ["single"]], Counting(min_count=1)))


def test_a_loss_that_is_no_number_is_reported(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "train", lambda *_, **__: (float("nan"), 1))
    with pytest.raises(TrainingError, match=r"epoch 1: the loss is nan; try a rate below 0\.05"):
        SMALL.train(corpus)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="x_max=0"):
        GloVe(x_max=0)
    with pytest.raises(SettingsError, match="window must be at least 1"):
        GloVe(window=0)
