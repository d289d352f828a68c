"""Our task types against mteb's own evaluators, on the same vectors, and mteb grading our encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth.arrays import Vectors, unit
from firth.evaluate.adapter import MtebEncoder, MtebSearch
from firth.evaluate.similarity import bitext, pair_classification, sts, summarization
from firth.evaluate.statistics import Score
from firth.evaluate.tasks import classification, clustering, multilabel, reranking
from firth.store import IndexSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # mteb's and its dependencies' own
mteb: Any = pytest.importorskip("mteb")
NEAR = 1e-5


class Known:
    """An encoder of texts that name a row of a table: "row 17" is its row 17."""

    def __init__(self, table: Vectors) -> None:
        self.table = unit(table)
        self.dims = table.shape[1]
        self.fingerprint = "known"

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        return self.table[[int(text.split()[-1]) for text in texts]]


def names(rows: Sequence[int]) -> list[str]:
    return [f"row {row}" for row in rows]


def theirs(mock: str, table: Vectors, dataset: Any) -> Mapping[str, Any]:
    """What mteb's task of that type finds when it holds our data."""
    from mteb import mocks

    kind = getattr(mocks.mock_tasks, mock, None) or _mock(mock)

    class Ours(kind):  # type: ignore[misc, valid-type]
        def load_data(self, num_proc: int | None = None, **_: Any) -> None:
            self.dataset = dataset
            self.data_loaded = True

    scores = Ours().evaluate(MtebEncoder(Known(table)), "test", encode_kwargs={"batch_size": 64})
    found: Mapping[str, Any] = scores["default"]
    return found


def _mock(name: str) -> Any:
    import importlib
    import pkgutil

    from mteb.mocks import mock_tasks

    for module in pkgutil.iter_modules(mock_tasks.__path__):
        found = getattr(importlib.import_module(f"mteb.mocks.mock_tasks.{module.name}"), name, None)
        if found is not None:
            return found
    raise LookupError(name)


def splits(**parts: dict[str, list[Any]]) -> Any:
    from datasets import Dataset, DatasetDict

    return DatasetDict({name: Dataset.from_dict(columns) for name, columns in parts.items()})


def agree(ours: Score, mteb_scores: Mapping[str, Any], **renamed: str) -> None:
    compared = {name: renamed.get(name, name) for name in ours.values if renamed.get(name, name) in mteb_scores}
    assert ours.main in compared
    for name, there in compared.items():
        assert ours.values[name] == pytest.approx(mteb_scores[there], abs=NEAR), name


@pytest.fixture(scope="module")
def table() -> Vectors:
    """(600, 24) in six loose groups, so that every task has something to find."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(6, 24))
    return unit((np.repeat(centres, 100, axis=0) + 1.4 * rng.normal(size=(600, 24))).astype(np.float32))


@pytest.fixture(scope="module")
def groups() -> list[int]:
    return np.repeat(np.arange(6), 100).tolist()


def test_sts_is_mtebs(table: Vectors, rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 600, 200).tolist(), rng.integers(0, 600, 200).tolist()
    gold = np.round(5 * np.clip((table[a] * table[b]).sum(axis=1) + 0.3 * rng.normal(size=200), 0, 1)).tolist()
    found = theirs("MockSTSTask", table, splits(test={"sentence1": names(a), "sentence2": names(b), "score": gold}))
    agree(sts(table[a], table[b], gold), found)


def test_pair_classification_is_mtebs(table: Vectors, groups: list[int], rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 600, 300).tolist(), rng.integers(0, 600, 300).tolist()
    labels = [int(groups[i] == groups[j]) for i, j in zip(a, b, strict=True)]
    data = splits(test={"sentence1": names(a), "sentence2": names(b), "labels": labels})
    ours = pair_classification(table[a], table[b], labels)
    agree(ours, theirs("MockPairClassificationTask", table, data))
    assert len(ours.values) == 25


def test_bitext_mining_is_mtebs(table: Vectors, rng: np.random.Generator) -> None:
    other = unit(table[:200] + 0.35 * rng.normal(size=(200, 24)).astype(np.float32))
    both = np.concatenate([table[:200], other])
    data = splits(test={"sentence1": names(range(200)), "sentence2": names(range(200, 400))})
    ours = bitext(table[:200], other)
    assert 0.2 < ours.value < 0.95
    agree(ours, theirs("MockBitextMiningTask", both, data))


def test_summarization_is_mtebs(table: Vectors, rng: np.random.Generator) -> None:
    people = [rng.integers(0, 600, 3).tolist() for _ in range(20)]
    machine = [rng.integers(0, 600, 8).tolist() for _ in range(20)]
    gold = [rng.integers(1, 6, 8).astype(float).tolist() for _ in range(19)] + [[3.0] * 8]
    data = splits(
        test={
            "text": names(range(20)),
            "human_summaries": [names(rows) for rows in people],
            "machine_summaries": [names(rows) for rows in machine],
            "relevance": gold,
        }
    )
    ours = summarization([table[rows] for rows in people], [table[rows] for rows in machine], gold)
    assert ours.interval.n == 19
    agree(ours, theirs("MockSummarizationTask", table, data))


def test_classification_is_mtebs(table: Vectors, groups: list[int], rng: np.random.Generator) -> None:
    order = rng.permutation(600).tolist()
    train, test = order[:400], order[400:]
    data = splits(
        train={"text": names(train), "label": [groups[i] for i in train]},
        test={"text": names(test), "label": [groups[i] for i in test]},
    )
    ours = classification(table[train], [groups[i] for i in train], table[test], [groups[i] for i in test])
    assert 0.3 < ours.value < 0.95
    agree(ours, theirs("MockClassificationTask", table, data))


def test_classification_of_two_labels_is_mtebs(table: Vectors, groups: list[int], rng: np.random.Generator) -> None:
    order = [i for i in rng.permutation(600).tolist() if groups[i] < 2]
    train, test = order[:100], order[100:]
    data = splits(
        train={"text": names(train), "label": [groups[i] for i in train]},
        test={"text": names(test), "label": [groups[i] for i in test]},
    )
    ours = classification(table[train], [groups[i] for i in train], table[test], [groups[i] for i in test])
    assert "ap" in ours.values
    agree(ours, theirs("MockClassificationTask", table, data))


def test_classification_with_several_labels_is_mtebs(
    table: Vectors, groups: list[int], rng: np.random.Generator
) -> None:
    labels = [[group, 6 + i % 3] for i, group in enumerate(groups)]
    order = rng.permutation(600).tolist()
    train, test = order[:400], order[400:]
    data = splits(
        train={"text": names(train), "label": [labels[i] for i in train]},
        test={"text": names(test), "label": [labels[i] for i in test]},
    )
    ours = multilabel(table[train], [labels[i] for i in train], table[test], [labels[i] for i in test])
    agree(ours, theirs("MockMultilabelClassification", table, data))


def test_clustering_is_mtebs(table: Vectors, groups: list[int]) -> None:
    from mteb.abstasks.clustering import AbsTaskClustering

    kind = _mock("MockMultilingualClusteringFastTask")
    task = kind()
    assert isinstance(task, AbsTaskClustering)
    levels = [[group // 3, group] for group in groups]
    task.max_fraction_of_documents_to_embed = None
    task.max_document_to_embed = None
    task.max_documents_per_cluster = 500
    task.n_clusters = 3
    data = splits(test={"sentences": names(range(600)), "labels": levels})["test"]
    from mteb.timing import TimingStack

    found = task._evaluate_subset(
        MtebEncoder(Known(table)), data, encode_kwargs={"batch_size": 64}, hf_split="test", hf_subset="default",
        timer=TimingStack(),
    )  # fmt: skip
    agree(clustering(table, levels, experiments=3, documents=500), found)


def test_reranking_is_mtebs(table: Vectors, groups: list[int], rng: np.random.Generator) -> None:
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    queries = rng.integers(0, 600, 30).tolist()
    lists = [rng.integers(0, 600, 25).tolist() for _ in queries]
    grades = [[int(groups[i] == groups[q]) for i in rows] for q, rows in zip(queries, lists, strict=True)]
    run = {
        f"q{i}": {f"d{place:03d}": float(table[row] @ table[q]) for place, row in enumerate(rows)}
        for i, (q, rows) in enumerate(zip(queries, lists, strict=True))
    }
    judged = {f"q{i}": {f"d{place:03d}": grade for place, grade in enumerate(each)} for i, each in enumerate(grades)}
    kept = {query for query, each in judged.items() if any(each.values())}
    found = calculate_retrieval_scores(
        {query: run[query] for query in kept}, {query: judged[query] for query in kept}, [10, 1000]
    )
    ours = reranking(table[queries], [table[rows] for rows in lists], grades)
    assert ours.value == pytest.approx(found.map["MAP@1000"], abs=NEAR)
    assert ours.values["ndcg@10"] == pytest.approx(found.ndcg["NDCG@10"], abs=NEAR)
    assert ours.values["mrr@10"] == pytest.approx(found.mrr["MRR@10"], abs=NEAR)


MOCKS = ["MockBitextMiningTask", "MockClassificationTask", "MockMultilabelClassification", "MockClusteringTask",
         "MockPairClassificationTask", "MockSTSTask", "MockSummarizationTask", "MockRetrievalTask",
         "MockRerankingTask"]  # fmt: skip


class Hashed:
    """An encoder of any text, which knows only its length and letters."""

    dims = 16
    fingerprint = "hashed"

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        return unit(np.array([[text.lower().count(c) + 0.1 for c in "etaoinshrdlucmfw"] for text in texts], np.float32))


@pytest.mark.parametrize("mock", MOCKS)
def test_mteb_grades_our_encoder_on_every_kind_of_task(mock: str) -> None:
    task = _mock(mock)()
    task.load_data()
    scores = task.evaluate(MtebEncoder(Hashed()), "test", encode_kwargs={"batch_size": 8})
    found = scores["default"]["main_score"]
    assert np.isfinite(found)


def test_mteb_grades_a_whole_collection_as_it_grades_its_encoder() -> None:
    task = _mock("MockRetrievalTask")()
    task.load_data()

    def build(ids: list[str], texts: list[str]) -> Any:
        rows = Hashed().encode(texts)

        class Found:
            def __init__(self, id_: str, score: float) -> None:
                self.id, self.score = id_, score

        class Small:
            def search(self, query: str, *, k: int) -> list[Found]:
                scores = rows @ Hashed().encode([query])[0]
                return [Found(ids[i], float(scores[i])) for i in np.argsort(-scores)[:k]]

        return Small()

    through = task.evaluate(MtebSearch(build), "test", encode_kwargs={"batch_size": 8})["default"]
    direct = task.evaluate(MtebEncoder(Hashed()), "test", encode_kwargs={"batch_size": 8})["default"]
    assert through["main_score"] == pytest.approx(direct["main_score"])


def test_mteb_evaluates_our_encoder_on_its_offline_tasks() -> None:
    tasks = [_mock(mock)() for mock in MOCKS]
    found = mteb.evaluate(MtebEncoder(Hashed()), tasks, cache=None, co2_tracker=False, show_progress_bar=False)
    scores = {result.task_name: result.get_score() for result in found.task_results}
    assert len(scores) == len(MOCKS)
    assert all(np.isfinite(score) for score in scores.values())


def test_mteb_grades_a_compressed_and_indexed_collection(tmp_path: Path) -> None:
    """The whole way: texts to vectors, one byte a dimension, a graph, and hits by the collection's own search."""
    built: list[firth.Collection] = []

    def build(ids: list[str], texts: list[str]) -> Any:
        settings = IndexSettings(exact_below=0, threads=1)
        collection = firth.Collection.create(
            tmp_path / f"part{len(built)}", encoder=Hashed(), codec="sq8", index=settings
        )
        collection.upsert(ids, texts)
        collection.compact()
        built.append(collection)
        return collection

    task = _mock("MockRetrievalTask")()
    found = mteb.evaluate(MtebSearch(build), [task], cache=None, co2_tracker=False, show_progress_bar=False)
    direct = mteb.evaluate(MtebEncoder(Hashed()), [task], cache=None, co2_tracker=False, show_progress_bar=False)
    assert built
    for collection in built:
        collection.close()
    assert found.task_results[0].get_score() == pytest.approx(direct.task_results[0].get_score(), abs=0.05)
