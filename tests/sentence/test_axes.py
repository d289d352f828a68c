"""Vectors turned onto principal axes search as before, say most in their first dimensions, and are kept by a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from firth.arrays import principal_axes, unit
from firth.errors import SettingsError
from firth.sentence import axes
from firth.sentence.axes import domain_axes, ranking_axes
from firth.sentence.dense import Dense
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.examples import examples
from firth.sentence.tune import TuneSettings, tune
from firth.sentence.words import WordsEncoder
from firth.static import WordVectors
from firth.static.average import TextVectors
from firth.text.records import Pair

FAST = TuneSettings(batch=8, epochs=2, rate=1e-3, precision="float32", seed=3, matryoshka=(8,))
LETTERS = "abcdefghijklmnopqrstuvwxyz"
QUERIES = [f"query {one} {other}" for one in LETTERS for other in LETTERS[:4]]


def pairs() -> list[Pair]:
    return [Pair(query, f"the {query[-1]} ran under {query[6]}", (f"a {query[-1]} sat",)) for query in QUERIES]


def words(width: int = 16) -> WordsEncoder:
    names = [*LETTERS, "query", "the", "ran", "under", "sat"]
    rows = np.random.default_rng(0).normal(size=(len(names), width)).astype(np.float32)
    table = WordVectors(names, rows, about={"tokenizer": "unicode"})
    return WordsEncoder.of(TextVectors(table, np.ones(len(names), np.float32), tokenizer="unicode"))


def cosines(encoder: SentenceEncoder | WordsEncoder) -> np.ndarray:
    found = encoder.encode(QUERIES)
    return np.asarray(found @ found.T)


def test_variance_falls_along_the_axes_and_they_are_orthogonal(rng: np.random.Generator) -> None:
    rows = (rng.normal(size=(400, 24)) @ rng.normal(size=(24, 24)) + 3).astype(np.float32)
    found = principal_axes(rows)
    np.testing.assert_allclose(found.T @ found, np.eye(24), atol=1e-6)
    variance = (rows.astype(np.float64) @ found).var(axis=0)
    assert (np.diff(variance) <= 0).all()
    assert variance[:4].sum() == pytest.approx(np.sort(np.linalg.eigvalsh(np.cov(rows.T, bias=True)))[-4:].sum())


def hidden(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Queries and documents that share five dimensions; five more only tell queries apart, and five only documents."""
    parts = []
    for own in (slice(5, 10), slice(10, 15)):
        part = 0.05 * rng.normal(size=(600, 24))
        part[:, own] = 1.5 * rng.normal(size=(600, 5))
        part[:, :5] = rng.normal(size=(600, 5))
        parts.append(part)
    mixed = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    return unit((parts[0] @ mixed).astype(np.float32)), unit((parts[1] @ mixed).astype(np.float32))


def scores(queries: np.ndarray, documents: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(unit(queries[:, :size]) @ unit(documents[:, :size]).T)


def test_prefixes_rank_as_whole_vectors_do_better_on_learnt_axes_than_on_principal_ones(
    rng: np.random.Generator,
) -> None:
    queries, documents = hidden(rng)
    whole = scores(queries[300:], documents, 24)
    told: list[int] = []
    learnt = ranking_axes(queries[:300], documents, (6, 24), seed=0, progress=lambda done, *_: told.append(done))
    np.testing.assert_allclose(learnt.T @ learnt, np.eye(24), atol=1e-5)
    agree = {}
    for name, turn in (("learnt", learnt), ("principal", principal_axes(np.concatenate([queries, documents])))):
        prefix = scores(queries[300:] @ turn, documents @ turn, 6)
        agree[name] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(prefix, whole, strict=True)])
    assert agree["learnt"] > agree["principal"] + 0.1, agree
    assert told == list(range(1, axes.STEPS + 1))


def test_learnt_axes_depend_on_the_seed_alone(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axes, "STEPS", 5)
    queries, documents = hidden(rng)
    one, same, other = (ranking_axes(queries, documents, (8,), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-4


@pytest.mark.parametrize("sizes", [(), (24,), (24, 30)])
def test_where_no_prefix_is_asked_for_axes_are_the_principal_ones(
    rng: np.random.Generator, sizes: tuple[int, ...]
) -> None:
    queries, documents = hidden(rng)
    wanted = principal_axes(np.concatenate([queries, documents]))
    np.testing.assert_array_equal(ranking_axes(queries, documents, sizes, seed=0), wanted)


@pytest.mark.parametrize("kind", ["transformer", "words", "a linear layer behind", "an activation behind"])
def test_turned_vectors_have_the_cosines_they_had_until_it_is_taken_back(tiny: SentenceEncoder, kind: str) -> None:
    torch.manual_seed(1)
    encoder: SentenceEncoder | WordsEncoder = tiny
    if kind == "words":
        encoder = words()
    elif "behind" in kind:
        layer = Dense(torch.nn.Linear(32, 20), "Identity" if "linear" in kind else "Tanh")
        encoder = SentenceEncoder(tiny.module.bert, tiny.tokenizer, dense=[layer])
    before, exact, name = cosines(encoder), encoder.encode(QUERIES), encoder.fingerprint
    random = np.random.default_rng(0).normal(size=(encoder.dims, encoder.dims))
    take_back = encoder.module.rotate(np.linalg.qr(random)[0].astype(np.float32))
    np.testing.assert_allclose(cosines(encoder), before, atol=1e-5)
    assert np.abs(encoder.encode(QUERIES) - exact).max() > 0.1
    assert encoder.fingerprint != name
    take_back()
    np.testing.assert_array_equal(encoder.encode(QUERIES), exact)
    assert encoder.fingerprint == name


def test_a_second_turn_joins_the_first_ones_layer(tiny: SentenceEncoder) -> None:
    before = cosines(tiny)
    for seed in (0, 1):
        random = np.random.default_rng(seed).normal(size=(32, 32))
        tiny.module.rotate(np.linalg.qr(random)[0].astype(np.float32))
    assert len(tiny.module.dense) == 1
    np.testing.assert_allclose(cosines(tiny), before, atol=1e-5)


def test_axes_are_the_queries_own_and_the_documents_where_queries_are_few(tiny: SentenceEncoder) -> None:
    found = examples(pairs(), tiny.tokenize)
    queries = tiny.encode(QUERIES, kind="query", precision="float32")
    spread = (queries @ domain_axes(tiny, found, seed=0)).var(axis=0)
    np.testing.assert_allclose(spread, np.sort(np.linalg.eigvalsh(np.cov(queries.T, bias=True)))[::-1], atol=1e-6)
    few = examples(pairs()[:31], tiny.tokenize)
    told = list(dict.fromkeys(text for pair in pairs()[:31] for text in (pair.positive, *pair.negatives)))
    documents = tiny.encode(told, kind="document", precision="float32")
    spread = (documents @ domain_axes(tiny, few, seed=0)).var(axis=0)
    np.testing.assert_allclose(spread, np.sort(np.linalg.eigvalsh(np.cov(documents.T, bias=True)))[::-1], atol=1e-6)


def test_no_more_texts_are_encoded_than_the_sample(tiny: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axes, "SAMPLE", 40)
    found, seen, embed = examples(pairs(), tiny.tokenize), [], tiny.embed
    monkeypatch.setattr(tiny, "embed", lambda ragged, kind=None: (seen.append(len(ragged)), embed(ragged, kind))[1])
    domain_axes(tiny, found, seed=0)
    assert sum(seen) == 40


@pytest.mark.parametrize("start", ["transformer", "words"])
def test_tuning_prefixes_starts_from_turned_vectors(tiny: SentenceEncoder, start: str) -> None:
    encoder: SentenceEncoder | WordsEncoder = tiny if start == "transformer" else words()
    exact, before, seen = encoder.encode(QUERIES), cosines(encoder), []

    def dev(now: SentenceEncoder | WordsEncoder) -> float:
        seen.append((now.encode(QUERIES), cosines(now)))
        return float(len(seen))

    tune(encoder, pairs(), settings=replace(FAST, epochs=1), dev=dev)
    first, kept = seen[0]
    assert np.abs(first - exact).max() > 0.1
    np.testing.assert_allclose(kept, before, atol=1e-5)
    spread = first.astype(np.float64).var(axis=0)
    assert (np.diff(spread) <= 1e-7).all()


@pytest.mark.parametrize(
    "changes", [{"rotate": False}, {"matryoshka": ()}, {"loss": "vector_mse"}], ids=lambda changes: next(iter(changes))
)
def test_vectors_are_not_turned_where_it_is_not_wanted_or_a_teacher_has_axes(
    tiny: SentenceEncoder, make: Callable[..., SentenceEncoder], changes: dict[str, object]
) -> None:
    tune(tiny, pairs(), settings=replace(FAST, **changes), teacher=make() if "loss" in changes else None)  # type: ignore[arg-type]
    assert len(tiny.module.dense) == 0


def test_tuned_prefixes_are_turned_once_more_and_whole_vectors_search_as_tuned(
    make: Callable[..., SentenceEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, turned = make(), make()
    with monkeypatch.context() as patch:
        patch.setattr("firth.sentence.tune.prefix_axes", lambda encoder, *_: np.eye(encoder.dims, dtype=np.float32))
        tune(plain, pairs(), settings=FAST)
    tune(turned, pairs(), settings=FAST)
    assert np.abs(turned.encode(QUERIES) - plain.encode(QUERIES)).max() > 0.1
    np.testing.assert_allclose(cosines(turned), cosines(plain), atol=1e-5)


def test_an_encoder_that_did_not_get_better_has_its_old_axes(tiny: SentenceEncoder) -> None:
    exact, scores = tiny.encode(QUERIES), iter([1.0, 0.5, 0.4])
    tuned = tune(tiny, pairs(), settings=FAST, dev=lambda _: next(scores))
    assert (tuned.epoch, tiny.trained_dims) == (0, (32,))
    np.testing.assert_array_equal(tiny.encode(QUERIES), exact)


def test_an_interrupted_tuning_of_turned_vectors_goes_on_to_the_same_bits(
    make: Callable[..., SentenceEncoder], tmp_path: Path
) -> None:
    whole, stopped, again = make(), make(), make()
    tune(whole, pairs(), settings=FAST)

    def stop(done: int, *_: object) -> None:
        if done > len(QUERIES):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(stopped, pairs(), settings=FAST, folder=tmp_path, progress=stop)
    tune(again, pairs(), settings=FAST, folder=tmp_path)
    np.testing.assert_array_equal(again.encode(QUERIES), whole.encode(QUERIES))


def test_a_saved_encoder_keeps_its_axes(make: Callable[..., SentenceEncoder], tmp_path: Path) -> None:
    tiny = make(max_tokens=64)
    tune(tiny, pairs(), settings=FAST)
    tiny.save(tmp_path / "model")
    again = SentenceEncoder.load(tmp_path / "model")
    np.testing.assert_array_equal(again.encode(QUERIES), tiny.encode(QUERIES))
    assert again.fingerprint == tiny.fingerprint


def test_prefixes_of_a_loss_that_needs_whole_vectors_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"tsdae repairs texts by whole vectors, not by \[8\]"):
        replace(FAST, loss="tsdae")
