"""Judging an encoder by exact search and a collection by its own; test sets that do not fit together are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import firth
from firth.arrays import Vectors, unit
from firth.errors import DataError, SettingsError, ShapeError
from firth.evaluate import judge
from firth.evaluate.exact import nearest
from firth.evaluate.judge import Report, evaluate


@dataclass(frozen=True)
class Text:
    full: str


@dataclass(frozen=True)
class Small:
    documents: dict[str, Text]
    queries: dict[str, str]
    judgements: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Hit:
    id: str
    score: float


class Letters:
    """An encoder that counts letters: texts that share letters are near."""

    dims = 26
    fingerprint = "letters"

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        counts = np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)
        return unit(counts.reshape(len(texts), 26)[:, :dims])


class Counting(Letters):
    """The same, telling what was cut off."""

    def encode_counted(self, texts: Sequence[str], **settings: Any) -> Any:
        cut = SimpleNamespace(texts=1, tokens=7, rows=[0])
        return SimpleNamespace(vectors=self.encode(texts, **settings), cut=cut)


class Stored:
    """A collection that returns the same documents whatever is asked."""

    def __init__(self, hits: list[Hit]) -> None:
        self.hits = hits

    def search(self, query: str, *, k: int) -> list[Hit]:
        return self.hits


@pytest.fixture
def small() -> Small:
    documents = {name: Text(name * 3) for name in ("abc", "def", "ghi", "xyz")}
    return Small(documents, {"q1": "cab", "q2": "fed", "q3": "zzz"}, {"q1": {"abc": 1}, "q2": {"def": 1, "xyz": 1}})


def test_an_encoder_is_judged_by_exact_search(small: Small) -> None:
    report = evaluate(Letters(), small, measures=["mrr@10", "recall@1", "recall@10"])
    assert report.scores.mean == {"mrr@10": 1.0, "recall@1": 0.75, "recall@10": 1.0}
    assert report.intervals["mrr@10"].n == 2
    assert report.ranking.best("q1", 1)[0][0] == "abc"


def test_encoding_in_small_blocks_changes_nothing(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(Letters(), small)
    monkeypatch.setattr(judge, "DOCUMENTS_AT_ONCE", 1)
    assert evaluate(Letters(), small).scores.mean == whole.scores.mean


def test_progress_is_told_of_every_document(small: Small) -> None:
    told: list[tuple[int, int, str]] = []
    evaluate(Letters(), small, progress=lambda done, total, what="": told.append((done, total, what)))
    assert told[-1] == (4, 4, "documents")


def test_fewer_dimensions_reach_the_encoder(small: Small) -> None:
    assert evaluate(Letters(), small, dims=3, measures=["recall@1"]).scores.mean["recall@1"] < 0.75


def test_texts_that_were_cut_are_counted_by_kind(small: Small) -> None:
    report = evaluate(Counting(), small)
    assert report.truncation["document"] == judge.Truncation(4, 1, 7)
    assert report.truncation["query"] == judge.Truncation(2, 1, 7)


def test_a_collection_is_judged_by_what_it_returns(small: Small) -> None:
    report = evaluate(Stored([Hit("abc", 0.9), Hit("elsewhere", 0.8)]), small, measures=["mrr@10"])
    assert report.scores.per_query["mrr@10"].tolist() == [1.0, 0.0]


def test_a_collection_of_another_domain_is_refused_and_not_scored_with_zero(small: Small) -> None:
    with pytest.raises(DataError, match="returned 2 documents, for instance 'other', and none of them is among the 4"):
        evaluate(Stored([Hit("other", 0.9), Hit("elsewhere", 0.8)]), small)
    assert evaluate(Stored([]), small).scores.mean["hit@10"] == 0


def test_a_collection_that_returns_more_than_asked_for_gains_nothing(small: Small) -> None:
    hits = [Hit(name, 1 - i / 10) for i, name in enumerate(["ghi", "xyz", "abc"])]
    assert evaluate(Stored(hits), small, measures=["hit@1"]).scores.mean["hit@1"] == 0


def test_the_query_itself_is_left_out_where_that_is_asked_for(small: Small) -> None:
    own = replace(small, queries={"abc": "abc", "q2": "fed"}, judgements={"abc": {"ghi": 1}, "q2": {"def": 1}})
    report = evaluate(Letters(), own, measures=["mrr@10"], skip_same_id=True)
    assert "abc" not in dict(report.ranking.best("abc", 10))
    assert "def" in dict(report.ranking.best("q2", 10))


def test_a_corpus_smaller_than_k_is_scored_all_the_same(small: Small) -> None:
    assert evaluate(Letters(), small, measures=["recall@1000"]).scores.mean["recall@1000"] == 1.0


def test_judgements_of_queries_without_text_are_refused(small: Small) -> None:
    with pytest.raises(DataError, match="1 of 3 judged queries have no text, the first is 'q9'"):
        evaluate(Letters(), replace(small, judgements={**small.judgements, "q9": {"abc": 1}}))


def test_judgements_of_documents_that_are_absent_are_refused(small: Small) -> None:
    with pytest.raises(DataError, match="1 relevant documents are not among the 4 documents, the first is 'gone'"):
        evaluate(Letters(), replace(small, judgements={"q1": {"gone": 1, "gone too": 0}}))


def test_a_test_set_without_relevant_documents_is_refused(small: Small) -> None:
    with pytest.raises(DataError, match="none of 0 judged queries"):
        evaluate(Letters(), replace(small, judgements={}))


def test_dims_are_not_silently_ignored_by_a_collection(small: Small) -> None:
    with pytest.raises(SettingsError, match="dims=8: a collection"):
        evaluate(Stored([]), small, dims=8)


def test_something_that_can_neither_encode_nor_search_is_refused(small: Small) -> None:
    with pytest.raises(SettingsError, match="str can be judged neither"):
        evaluate("all-MiniLM-L6-v2", small)  # type: ignore[arg-type]


def test_two_reports_are_compared_over_the_same_queries(small: Small) -> None:
    good, bad = evaluate(Letters(), small, measures=["mrr@10"]), evaluate(Stored([]), small, measures=["mrr@10"])
    assert good.against(bad)["mrr@10"].delta == 1.0


def test_the_room_itself_can_be_called(small: Small) -> None:
    report = firth.evaluate(Letters(), small, measures=["mrr@10"])
    assert isinstance(report, Report)
    assert str(report).startswith("mrr@10        1.000 [1.000, 1.000]")


def test_nearest_is_a_full_sort(rng: np.random.Generator, vectors: Vectors) -> None:
    queries = unit(rng.normal(size=(20, 48)).astype(np.float32))
    near = nearest(queries, [vectors[:7], vectors[7:500], vectors[500:]], 10)
    order = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(near.ids, order)


def test_rows_that_tie_for_the_last_place_are_kept_in_order(vectors: Vectors) -> None:
    same = np.repeat(vectors[:1], 9, axis=0)
    assert nearest(vectors[:1], [same[:4], same[4:]], 5).ids.tolist() == [[0, 1, 2, 3, 4]]


def test_fewer_rows_than_k_are_padded(vectors: Vectors) -> None:
    near = nearest(vectors[:1], [vectors[:2]], 4)
    assert near.ids[0, 2:].tolist() == [-1, -1]
    assert np.isneginf(near.scores[0, 2:]).all()


def test_vectors_of_another_width_are_refused(vectors: Vectors) -> None:
    with pytest.raises(ShapeError, match="expected 48 dimensions, got 8"):
        nearest(vectors, [vectors[:, :8]], 4)
    with pytest.raises(SettingsError, match="k=0"):
        nearest(vectors, [vectors], 0)
