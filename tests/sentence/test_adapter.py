"""A query adapter learns a turn of the queries, changes nothing where it learnt nothing, and leaves documents alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from firth.arrays import Ids, Vectors, unit
from firth.errors import FormatError, SettingsError, ShapeError
from firth.sentence.adapter import AdaptedEncoder, AdapterSettings, QueryAdapter, train_adapter

FAST = AdapterSettings(epochs=15, rate=1e-2, batch=32)


@pytest.fixture
def turned(rng: np.random.Generator) -> tuple[Vectors, Vectors, list[Ids]]:
    """Queries that were turned away from their answers by one and the same rotation."""
    documents = unit(rng.normal(size=(400, 16)).astype(np.float32))
    rotation, _ = np.linalg.qr(np.eye(16) + 0.5 * rng.normal(size=(16, 16)))
    queries = unit((documents[:200] @ rotation).astype(np.float32))
    return queries, documents, [np.array([i]) for i in range(200)]


def found_first(queries: Vectors, documents: Vectors) -> float:
    return float((np.argmax(queries @ documents.T, axis=1) == np.arange(len(queries))).mean())


@pytest.mark.parametrize("rank", [0, 12])
def test_an_adapter_learns_a_turn_that_holds_for_queries_it_has_not_seen(
    turned: tuple[Vectors, Vectors, list[Ids]], rank: int
) -> None:
    queries, documents, answers = turned
    adapter, _ = train_adapter(
        queries[:150], documents, answers[:150], settings=AdapterSettings(rank, epochs=40, rate=1e-2, batch=32)
    )
    before = (queries[150:] @ documents.T)[np.arange(50), np.arange(150, 200)].mean()
    after = (adapter(queries[150:]) @ documents.T)[np.arange(50), np.arange(150, 200)].mean()
    assert after > before + 0.2
    assert found_first(adapter(queries[:150]), documents) > found_first(queries[:150], documents) + 0.3


def test_adapted_rows_are_unit_rows(turned: tuple[Vectors, Vectors, list[Ids]]) -> None:
    queries, documents, answers = turned
    adapted = train_adapter(queries, documents, answers, settings=FAST)[0](queries)
    np.testing.assert_allclose(np.linalg.norm(adapted, axis=1), 1, atol=1e-6)


def test_an_adapter_that_only_harms_on_dev_changes_nothing(turned: tuple[Vectors, Vectors, list[Ids]]) -> None:
    queries, documents, answers = turned
    scores = iter([0.9, *[0.1] * 15])
    adapter, _ = train_adapter(queries, documents, answers, settings=FAST, dev=lambda _: next(scores))
    assert not adapter.change.any()
    np.testing.assert_allclose(adapter(queries), queries, atol=1e-6)


def test_the_same_seed_gives_the_same_adapter(turned: tuple[Vectors, Vectors, list[Ids]]) -> None:
    queries, documents, answers = turned
    one, again = (train_adapter(queries, documents, answers, settings=FAST)[0] for _ in range(2))
    assert np.array_equal(one.change, again.change)


def test_mined_negatives_matter_and_other_answers_are_no_negatives(
    turned: tuple[Vectors, Vectors, list[Ids]], rng: np.random.Generator
) -> None:
    queries, documents, answers = turned
    negatives = rng.integers(200, 400, (200, 2))
    negatives[:5] = -1
    plain, _ = train_adapter(queries, documents, answers, settings=FAST)
    mined, _ = train_adapter(queries, documents, answers, negatives=negatives, settings=FAST)
    assert not np.array_equal(plain.change, mined.change)
    own = np.stack([found.repeat(2) for found in answers])  # "negatives" that are the answers themselves
    ignored, _ = train_adapter(queries, documents, answers, negatives=own, settings=FAST)
    np.testing.assert_allclose(ignored.change, plain.change, atol=1e-4)


def test_an_adapter_survives_the_disk_and_a_damaged_one_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    adapter = QueryAdapter(rng.normal(size=(8, 8)).astype(np.float32), "abc")
    adapter.save(tmp_path / "a")
    again = QueryAdapter.load(tmp_path / "a")
    assert np.array_equal(again.change, adapter.change)
    assert again.encoder == "abc"
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-8])
    with pytest.raises(FormatError, match="truncated"):
        QueryAdapter.load(tmp_path / "a")


class Lengths:
    """An encoder of two numbers."""

    dims, fingerprint = 4, "lengths"

    def encode(self, texts: Sequence[str], **_: object) -> Vectors:
        return unit(np.array([[len(text), text.count("a"), 1, 0] for text in texts], np.float32))


def test_only_queries_pass_through_the_adapter() -> None:
    change = np.zeros((4, 4), np.float32)
    change[0, 3] = 1
    encoder = AdaptedEncoder(Lengths(), QueryAdapter(change, "lengths"))
    texts = ["aa", "b"]
    assert np.array_equal(encoder.encode(texts, kind="document"), Lengths().encode(texts))
    assert (encoder.encode(texts, kind="query")[:, 3] > 0).all()
    assert encoder.encode(texts, kind="query", dims=2).shape == (2, 2)
    assert (encoder.fingerprint, encoder.dims) == ("lengths", 4)


def test_an_adapter_of_another_encoder_is_refused() -> None:
    with pytest.raises(SettingsError, match="trained on the vectors of another encoder"):
        AdaptedEncoder(Lengths(), QueryAdapter(np.zeros((4, 4), np.float32), "other"))


def test_arrays_that_do_not_fit_are_refused(turned: tuple[Vectors, Vectors, list[Ids]]) -> None:
    queries, documents, answers = turned
    with pytest.raises(ShapeError, match=r"expected \(q, d\), \(n, d\) and q"):
        train_adapter(queries, documents[:, :8], answers)
    with pytest.raises(ShapeError, match="1 queries have no answer, the first is row 3"):
        train_adapter(queries, documents, [*answers[:3], np.array([], np.int64), *answers[4:]])
    with pytest.raises(SettingsError, match="expected rank >= 0"):
        AdapterSettings(rank=-1)
