"""word2vec learns what it should, says its true loss, repeats itself, and goes on where it was stopped."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.errors import SettingsError, TrainingError
from firth.kernels import word2vec as kernel
from firth.static import Corpus, Counting, State, Word2Vec, WordVectors, count

TOPICS = [[f"{topic}{i}" for i in range(12)] for topic in ("sea", "law", "sky", "wine")]
OBJECTIVES = [(a, o) for a in ("skipgram", "cbow") for o in ("negative", "hierarchical", "softmax")]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """3,000 sentences; each draws its words from one of four topics and from ten that stand everywhere."""
    rng = np.random.default_rng(1)
    everywhere = [f"the{i}" for i in range(10)]
    return count([rng.choice(TOPICS[i % 4] + everywhere, 12).tolist() for i in range(3000)], Counting(min_count=1))


SMALL = Word2Vec(dims=20, window=3, epochs=8, subsample=0, rate=0.05, threads=1)


def gap(vectors: WordVectors) -> float:
    """Mean similarity inside topics minus that between them."""
    rows = vectors.unit[[vectors.id_of(word) for topic in TOPICS for word in topic]]
    scores = rows @ rows.T
    inside = np.kron(np.eye(4), np.ones((12, 12))).astype(bool)
    return float(scores[inside & ~np.eye(48, dtype=bool)].mean() - scores[~inside].mean())


@pytest.mark.parametrize(("architecture", "objective"), OBJECTIVES)
def test_words_of_one_topic_come_to_lie_together(corpus: Corpus, architecture: str, objective: str) -> None:
    trained = replace(SMALL, architecture=architecture, objective=objective).train(corpus)
    assert gap(trained) > 0.5
    losses = trained.about["losses"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("architecture", "objective"), OBJECTIVES)
def test_deterministic_training_gives_the_same_bits_for_any_number_of_threads(
    corpus: Corpus, architecture: str, objective: str
) -> None:
    settings = replace(SMALL, architecture=architecture, objective=objective, epochs=2, deterministic=True)
    part = replace(corpus, ids=corpus.ids[: 13 * 300])
    first, *others = (replace(settings, threads=n).train(part) for n in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(first.vectors, other.vectors)
        assert first.about["losses"] == other.about["losses"]


@pytest.mark.parametrize(("architecture", "objective"), OBJECTIVES)
def test_deterministic_training_learns(corpus: Corpus, architecture: str, objective: str) -> None:
    settings = replace(SMALL, architecture=architecture, objective=objective, deterministic=True)
    assert gap(settings.train(corpus)) > 0.5


def test_one_thread_repeats_itself_and_another_seed_does_not(corpus: Corpus) -> None:
    settings = replace(SMALL, epochs=1)
    first, again, other = (s.train(corpus).vectors for s in (settings, settings, replace(settings, seed=1)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_several_threads_learn_as_well_as_one(corpus: Corpus) -> None:
    one, four = (replace(SMALL, threads=n).train(corpus) for n in (1, 4))
    assert four.about["losses"][-1] == pytest.approx(one.about["losses"][-1], rel=0.02)


@pytest.mark.parametrize(("architecture", "objective"), OBJECTIVES)
@pytest.mark.parametrize("subsample", [0.0, 0.01])
def test_the_reported_loss_is_the_mean_that_a_plain_loop_finds(
    corpus: Corpus, level: Any, monkeypatch: pytest.MonkeyPatch, architecture: str, objective: str, subsample: float
) -> None:
    """At a rate of almost nothing the rows stand still, so that the loss can be computed again from the same draws."""
    monkeypatch.setattr(kernel.trainer, "__kwdefaults__", {**(kernel.trainer.__kwdefaults__ or {}), "module": level})
    settings = replace(SMALL, architecture=architecture, objective=objective, epochs=1, subsample=subsample)
    part = replace(corpus, ids=corpus.ids[: 13 * 400])  # 400 sentences, three pieces
    start = begun(part, settings)
    reported = replace(settings, rate=1e-30, last_rate=0).train(part, start=start).about["losses"][0]
    assert reported == pytest.approx(plain_loss(part, start, settings), rel=1e-6)


def begun(corpus: Corpus, settings: Word2Vec) -> State:
    """A state whose rows are far from zero, with counts of zero so that a warm start keeps the corpus's own."""
    rng = np.random.default_rng(7)
    v, d = len(corpus.vocabulary), settings.dims
    x, u = kernel.aligned(v, d), kernel.aligned(v, d)
    x[:, :d], u[:, :d] = rng.normal(size=(2, v, d)) / 3
    tree = settings.objective == "hierarchical"
    paths = kernel.huffman(corpus.vocabulary.counts) if tree else (np.zeros(v + 1, np.int64), np.empty(0, np.int32))
    words = replace(corpus.vocabulary, counts=np.zeros(v, np.int64))
    return State(words, x, u, paths, 0, [], {"dims": d, "objective": settings.objective}, 0)


def plain_loss(corpus: Corpus, start: State, settings: Word2Vec) -> float:
    """The objective by its formula in float64, pair by pair, with the draws of the same seed."""
    x, u = start.input.astype(np.float64), start.output.astype(np.float64)
    keep = kept(corpus, settings.subsample)
    table = kernel.alias_table(corpus.vocabulary.counts.astype(np.float64) ** settings.noise_exponent)
    ends = np.flatnonzero(corpus.ids < 0)
    span = 2048  # ids a piece: native/sgns.cpp
    starts = [0, *(int(ends[ends >= p][0]) + 1 for p in range(span, len(corpus.ids), span)), len(corpus.ids)]
    total = pairs = 0.0
    for p, (begin, end) in enumerate(pairwise(starts)):
        random = kernel.draws(kernel.native.piece_seed(settings.seed, 0, p))
        words, left, right = sampled(corpus.ids[begin:end], keep, settings.window, random)
        for tile in range(0, len(words), settings.shared[0]):
            centres = range(tile, min(tile + settings.shared[0], len(words)))
            draws = settings.shared[1] if settings.objective == "negative" else 0
            noise = [drawn(next(random), *table) for _ in range(draws)]
            for i in centres:
                company = [words[j] for j in range(i - left[i], i + right[i] + 1) if j != i]
                inputs = [x[word] for word in company]
                if settings.architecture == "cbow":
                    inputs = [np.mean(inputs, axis=0)] if inputs else []
                for row in inputs:
                    total += pair_loss(row, words[i], u, noise, start, settings)
                    pairs += 1
    return total / pairs


def pair_loss(row: Any, word: int, u: Any, noise: list[int], start: State, settings: Word2Vec) -> float:
    if settings.objective == "hierarchical":
        turns = start.paths[1][start.paths[0][word] : start.paths[0][word + 1]]
        return float(sum(np.logaddexp(0, (-1 if turn % 2 == 0 else 1) * (row @ u[turn >> 1])) for turn in turns))
    if settings.objective == "softmax":
        scores = u @ row
        return float(np.logaddexp.reduce(scores) - scores[word])
    wrong = sum(np.logaddexp(0, row @ u[other]) for other in noise if other != word)
    return float(np.logaddexp(0, -(row @ u[word])) + settings.negatives / settings.shared[1] * wrong)


def kept(corpus: Corpus, subsample: float) -> Any:
    counts = corpus.vocabulary.counts
    if not subsample:
        return np.full(len(counts), kernel.KEEP_ALWAYS, np.uint32)
    ratio = subsample * counts.sum() / counts
    return np.floor(np.minimum(np.sqrt(ratio) + ratio, 1) * kernel.KEEP_ALWAYS).astype(np.uint32)


def sampled(ids: Any, keep: Any, window: int, random: Any) -> tuple[list[int], list[int], list[int]]:
    sentences: list[list[int]] = [[]]
    reaches: list[int] = []
    for i in [*ids.tolist(), -1]:
        if i < 0:
            reaches += [1 + ((next(random) >> 32) * window >> 32) for _ in sentences[-1]]
            sentences.append([])
        elif keep[i] == kernel.KEEP_ALWAYS or next(random) & 0xFFFFFFFF <= keep[i]:
            sentences[-1].append(i)
    places = [(i, len(s) - 1 - i) for s in sentences for i in range(len(s))]
    left = [min(reach, before) for reach, (before, _) in zip(reaches, places, strict=True)]
    right = [min(reach, after) for reach, (_, after) in zip(reaches, places, strict=True)]
    return [word for s in sentences for word in s], left, right


def drawn(bits: int, below: Any, alias: Any) -> int:
    slot = (bits >> 32) * len(below) >> 32
    return slot if bits & 0xFFFFFFFF <= below[slot] else int(alias[slot])


def test_an_interrupted_training_goes_on_to_the_same_vectors(corpus: Corpus, tmp_path: Path) -> None:
    settings = replace(SMALL, epochs=4)
    whole = settings.train(corpus)

    def interrupt(done: int, total: int, what: str = "") -> None:
        if done > total * 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        settings.train(corpus, state=tmp_path / "state", progress=interrupt)
    assert State.load(tmp_path / "state").epoch == 2
    resumed = settings.train(corpus, state=tmp_path / "state")
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    assert resumed.about["losses"] == whole.about["losses"]


def test_a_state_of_other_settings_or_another_corpus_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    settings = replace(SMALL, epochs=1)
    settings.train(corpus, state=tmp_path / "state")
    with pytest.raises(SettingsError, match="was trained with window=3, not 4"):
        replace(settings, window=4).train(corpus, state=tmp_path / "state")
    with pytest.raises(SettingsError, match="another corpus"):
        settings.train(count([["other", "words"]], Counting(min_count=1)), state=tmp_path / "state")


@pytest.mark.parametrize("objective", ["negative", "hierarchical"])
def test_new_words_are_added_behind_the_known_ones_and_learn(corpus: Corpus, tmp_path: Path, objective: str) -> None:
    settings = replace(SMALL, objective=objective)
    settings.train(corpus, state=tmp_path / "state")
    start = State.load(tmp_path / "state")
    rng = np.random.default_rng(2)
    lists = [[*rng.choice(TOPICS[0], 6).tolist(), f"new{rng.integers(3)}"] for _ in range(1500)]
    more = count(lists, Counting(min_count=1), known=start.vocabulary.words)
    grown = settings.train(more, start=start)
    assert grown.words[: len(start.vocabulary)] == start.vocabulary.words
    assert set(grown.words[len(start.vocabulary) :]) == {"new0", "new1", "new2"}
    assert np.mean([grown.similarity("new0", word) for word in TOPICS[0]]) > 0.3
    assert gap(grown) > 0.3
    assert (grown.counts[: len(start.vocabulary)] >= start.vocabulary.counts).all()  # type: ignore[index]


def test_a_warm_start_needs_the_known_words_and_the_same_dimensions(corpus: Corpus, tmp_path: Path) -> None:
    replace(SMALL, epochs=1).train(corpus, state=tmp_path / "state")
    start = State.load(tmp_path / "state")
    with pytest.raises(SettingsError, match="known=start"):
        SMALL.train(count([["other", "words"]], Counting(min_count=1)), start=start)
    with pytest.raises(SettingsError, match="start holds 20 dimensions"):
        replace(SMALL, dims=30).train(corpus, start=start)


def test_a_corpus_of_one_word_trains_without_a_pair_of_different_words(tmp_path: Path) -> None:
    for architecture, objective in OBJECTIVES:
        settings = replace(SMALL, architecture=architecture, objective=objective)
        trained = settings.train(count([["alone"] * 50, ["alone"]], Counting(min_count=1)))
        assert trained.words == ["alone"]
        assert np.isfinite(trained.vectors).all()


def test_a_rate_that_blows_up_is_reported_and_not_returned(corpus: Corpus) -> None:
    with pytest.raises(TrainingError, match="try a rate below 1e\\+30"):
        replace(SMALL, rate=1e30).train(corpus)


def test_wide_windows_and_single_centres_are_as_good(corpus: Corpus) -> None:
    for settings in (replace(SMALL, window=40), replace(SMALL, centres=1, noise=5), replace(SMALL, centres=64)):
        assert gap(settings.train(corpus)) > 0.4


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dims": 0}, "dims must be at least 1, got 0"),
        ({"architecture": "glove"}, "expected one of skipgram, cbow"),
        ({"objective": "nce"}, "expected one of negative, hierarchical, softmax"),
        ({"noise": -1}, "seed, centres, noise >= 0; got .*noise=-1"),
        ({"rate": 0.001, "last_rate": 0.01}, "0 <= last_rate <= rate"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Word2Vec(**wrong)
