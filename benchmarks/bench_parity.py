"""How far are firth's scores from those of trec_eval, mteb, scikit-learn and SciPy on the same numbers?

Run:   make bench Q=parity           (20 s on 2 cores; --small 10 s)
Last:  2026-11-23, commit 5027861, mteb 2.26.24, pytrec_eval-terrier 0.5.11, scikit-learn 1.9.1, seed 0
       peer           scores                                        largest difference
       pytrec_eval    all 6 measures at 7 depths and without,
                      500 queries with ties and grades              0
       mteb           STS, pairs, bitext, summaries, labels,
                      clustering                                    2.0e-08
       mteb           re-ranking (it rounds to five places)         2.5e-06
       scikit-learn   average precision                             2.2e-16
       SciPy          Spearman                                      1.1e-16
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytrec_eval
import scipy.stats
import sklearn.metrics
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

import measure as ruler
from firth.arrays import Vectors, unit
from firth.evaluate.adapter import MtebEncoder
from firth.evaluate.retrieval import measure
from firth.evaluate.similarity import average_precision, bitext, pair_classification, spearman, sts, summarization
from firth.evaluate.statistics import Score
from firth.evaluate.tasks import classification, clustering, multilabel, reranking

DEPTHS = (1, 3, 5, 10, 20, 100, 1000)
KINDS = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "map": "map_cut", "hit": "success"}
# Every measure of firth, at every depth -> its name in pytrec_eval; mrr@k is recip_rank where that is 1/k or more.
TREC = {
    **{f"{kind}@{k}": f"{there}_{k}" for kind, there in KINDS.items() for k in DEPTHS},
    **{f"mrr@{k}": "recip_rank" for k in DEPTHS},
    "ndcg": "ndcg", "recall": "set_recall", "map": "map", "mrr": "recip_rank",
}  # fmt: skip


class Known:
    """An encoder of texts that name a row of a table: "row 17" is its row 17."""

    fingerprint = "known"

    def __init__(self, table: Vectors) -> None:
        self.table, self.dims = unit(table), table.shape[1]

    def encode(self, texts: Sequence[str], **_: Any) -> Vectors:
        return self.table[[int(text.split()[-1]) for text in texts]]


def against_trec_eval(queries: int, rng: np.random.Generator) -> Iterator[tuple[str, str, float, int]]:
    """Every measure on rankings with ties, grades and queries of which nothing was found."""
    documents = [f"d{i}" for i in range(400)]
    run, judged = {}, {}
    for i in range(queries):
        ranked = rng.choice(documents, 150, replace=False).tolist()
        run[f"q{i}"] = dict(zip(ranked, np.round(rng.random(150), 2).tolist(), strict=True))
        chosen, grades = rng.choice(documents, 9, replace=False).tolist(), rng.integers(0, 4, 9).tolist()
        judged[f"q{i}"] = dict(zip(chosen, grades, strict=True))
        judged[f"q{i}"][ranked[3]] = 2
    asked = {re.sub(r"_(\d+)$", r".\1", name) for name in TREC.values()}
    theirs = pytrec_eval.RelevanceEvaluator(judged, asked).evaluate(run)
    ours = measure(run, judged, list(TREC))
    for name, there in TREC.items():
        expected = np.array([theirs[query][there] for query in ours.queries])
        kind, _, k = name.partition("@")
        if kind == "mrr" and k:
            expected[expected < 1 / int(k)] = 0
        yield "pytrec_eval", name, float(np.abs(ours.per_query[name] - expected).max()), queries


def against_mteb(rng: np.random.Generator) -> Iterator[tuple[str, str, float, int]]:
    """Task types on one table of vectors, every value that both name."""
    centres = rng.normal(size=(6, 24))
    table = unit((np.repeat(centres, 100, axis=0) + 1.4 * rng.normal(size=(600, 24))).astype(np.float32))
    groups = np.repeat(np.arange(6), 100).tolist()
    a, b = rng.integers(0, 600, 300).tolist(), rng.integers(0, 600, 300).tolist()
    gold = np.round(5 * np.clip((table[a] * table[b]).sum(axis=1) + 0.3 * rng.normal(size=300), 0, 1)).tolist()
    same = [int(groups[i] == groups[j]) for i, j in zip(a, b, strict=True)]
    order = rng.permutation(600).tolist()
    train, test = order[:400], order[400:]
    halves = (("train", train), ("test", test))
    kinds = [[group, 6 + i % 3] for i, group in enumerate(groups)]
    people, machine = rng.integers(0, 600, (20, 3)).tolist(), rng.integers(0, 600, (20, 8)).tolist()
    grades = rng.integers(1, 6, (20, 8)).astype(float).tolist()
    noisy = np.concatenate([table[:200], unit(table[:200] + 0.35 * rng.normal(size=(200, 24)).astype(np.float32))])
    pairs = {"sentence1": _rows(a), "sentence2": _rows(b)}
    tried: list[tuple[str, str, Vectors, dict[str, Any], Score]] = [
        ("STS", "MockSTSTask", table, {"test": {**pairs, "score": gold}}, sts(table[a], table[b], gold)),
        ("pair classification", "MockPairClassificationTask", table, {"test": {**pairs, "labels": same}},
         pair_classification(table[a], table[b], same)),
        ("bitext mining", "MockBitextMiningTask", noisy,
         {"test": {"sentence1": _rows(range(200)), "sentence2": _rows(range(200, 400))}},
         bitext(noisy[:200], noisy[200:])),
        ("summarization", "MockSummarizationTask", table,
         {"test": {"text": _rows(range(20)), "human_summaries": [_rows(rows) for rows in people],
                   "machine_summaries": [_rows(rows) for rows in machine], "relevance": grades}},
         summarization([table[rows] for rows in people], [table[rows] for rows in machine], grades)),
        ("classification", "MockClassificationTask", table,
         {name: {"text": _rows(part), "label": [groups[i] for i in part]} for name, part in halves},
         classification(table[train], [groups[i] for i in train], table[test], [groups[i] for i in test])),
        ("several labels", "MockMultilabelClassification", table,
         {name: {"text": _rows(part), "label": [kinds[i] for i in part]} for name, part in halves},
         multilabel(table[train], [kinds[i] for i in train], table[test], [kinds[i] for i in test])),
    ]  # fmt: skip
    for name, mock, rows, parts, ours in tried:
        yield _against(name, ours, _graded(mock, rows, parts))
    yield _against("clustering", *_clustered(table, [[group // 3, group] for group in groups]))
    yield _against("re-ranking", *_reranked(table, groups, rng))


def against_scikit_learn(rng: np.random.Generator) -> Iterator[tuple[str, str, float, int]]:
    """Functions of our own, over draws with ties."""
    ap = rank = 0.0
    for _ in range(200):
        scores, labels = np.round(rng.random(80), 1), rng.integers(0, 2, 80)
        labels[0], labels[1] = 0, 1
        ap = max(ap, abs(average_precision(scores, labels) - sklearn.metrics.average_precision_score(labels, scores)))
        other = np.round(scores + rng.normal(size=80), 1)
        rank = max(rank, abs(spearman(scores, other) - float(scipy.stats.spearmanr(scores, other).statistic)))
    yield "scikit-learn", "average precision", ap, 200
    yield "SciPy", "Spearman", rank, 200


def _rows(rows: Any) -> list[str]:
    return [f"row {row}" for row in rows]


def _against(name: str, ours: Score, theirs: Mapping[str, Any]) -> tuple[str, str, float, int]:
    both = [key for key in ours.values if key in theirs]
    return "mteb", name, max(abs(ours.values[key] - theirs[key]) for key in both), len(both)


def _clustered(table: Vectors, levels: list[list[int]]) -> tuple[Score, Mapping[str, Any]]:
    """Two levels of labels, ours and mteb's."""
    from datasets import Dataset
    from mteb.timing import TimingStack

    task = _mock("MockMultilingualClusteringFastTask")()
    task.max_fraction_of_documents_to_embed = task.max_document_to_embed = None
    task.max_documents_per_cluster, task.n_clusters = 500, 3
    data = Dataset.from_dict({"sentences": _rows(range(len(table))), "labels": levels})
    found: Mapping[str, Any] = task._evaluate_subset(
        MtebEncoder(Known(table)), data, encode_kwargs={"batch_size": 64}, hf_split="test", hf_subset="default",
        timer=TimingStack(),
    )  # fmt: skip
    return clustering(table, levels, experiments=3, documents=500), found


def _reranked(table: Vectors, groups: list[int], rng: np.random.Generator) -> tuple[Score, Mapping[str, Any]]:
    """Short lists of 25, as mteb's evaluator scores them."""
    queries, lists = rng.integers(0, len(table), 30).tolist(), rng.integers(0, len(table), (30, 25)).tolist()
    grades = [[int(groups[i] == groups[q]) for i in rows] for q, rows in zip(queries, lists, strict=True)]
    names = [f"d{place:03d}" for place in range(25)]
    judged = {f"q{i}": dict(zip(names, each, strict=True)) for i, each in enumerate(grades) if any(each)}
    run = {
        f"q{i}": dict(zip(names, (table[rows] @ table[q]).tolist(), strict=True))
        for i, (q, rows) in enumerate(zip(queries, lists, strict=True))
        if f"q{i}" in judged
    }
    found = calculate_retrieval_scores(run, judged, [10, 1000])
    theirs = {"map": found.map["MAP@1000"], "mrr@10": found.mrr["MRR@10"], "ndcg@10": found.ndcg["NDCG@10"]}
    return reranking(table[queries], [table[rows] for rows in lists], grades), theirs


def _mock(name: str) -> Any:
    """One of mteb's offline tasks."""
    from mteb.mocks import mock_tasks

    names = (f"{mock_tasks.__name__}.{each.name}" for each in pkgutil.iter_modules(mock_tasks.__path__))
    return next(getattr(module, name) for module in map(importlib.import_module, names) if hasattr(module, name))


def _graded(mock: str, table: Vectors, parts: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    from datasets import Dataset, DatasetDict

    task = _mock(mock)()
    task.dataset = DatasetDict({name: Dataset.from_dict(dict(columns)) for name, columns in parts.items()})
    task.data_loaded = True
    scores = task.evaluate(MtebEncoder(Known(table)), "test", encode_kwargs={"batch_size": 64})
    found: Mapping[str, Any] = scores["default"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mteb's and its dependencies' own
        found = [*against_trec_eval(50 if small else 500, rng), *against_scikit_learn(rng), *against_mteb(rng)]
    columns = ("peer", "score", "largest difference", "over")
    ruler.table([dict(zip(columns, (peer, name, f"{worst:.1e}", n), strict=True)) for peer, name, worst, n in found])
    ruler.save(
        "parity" + ("-small" if small else ""),
        {
            "question": (__doc__ or "").splitlines()[0],
            "environment": ruler.environment("mteb", "pytrec-eval-terrier", "scikit-learn", "scipy"),
            "largest difference": {f"{peer}, {name}": worst for peer, name, worst, _ in found},
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
