"""How far are firth's scores from those of trec_eval, mteb, scikit-learn and SciPy on the same numbers?

Run:   make bench Q=parity           (20 s on 2 cores; --small 10 s)
Last:  2026-11-23, commit a6ebb26, mteb 2.26.24, pytrec_eval-terrier 0.5.11, seed 0
       peer           scores                                        largest difference
       pytrec_eval    15 measures, 500 queries with ties            0
       mteb           STS, pairs, bitext, summaries, labels         2.0e-08
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

import measure as ruler
from firth.arrays import Vectors, unit
from firth.evaluate.adapter import MtebEncoder
from firth.evaluate.retrieval import measure
from firth.evaluate.similarity import average_precision, bitext, pair_classification, spearman, sts, summarization
from firth.evaluate.statistics import Score
from firth.evaluate.tasks import classification, multilabel

TREC = {
    "ndcg@5": "ndcg_cut_5", "ndcg@10": "ndcg_cut_10", "ndcg@100": "ndcg_cut_100", "ndcg": "ndcg",
    "recall@5": "recall_5", "recall@10": "recall_10", "recall@100": "recall_100", "precision@5": "P_5",
    "precision@10": "P_10", "map@10": "map_cut_10", "map@100": "map_cut_100", "map": "map", "mrr": "recip_rank",
    "hit@1": "success_1", "hit@10": "success_10",
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
        worst = max(abs(float(ours.per_query[name][i]) - theirs[query][there]) for i, query in enumerate(ours.queries))
        yield "pytrec_eval", name, worst, queries


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
        theirs = _graded(mock, rows, parts)
        both = [key for key in ours.values if key in theirs]
        yield "mteb", name, max(abs(ours.values[key] - theirs[key]) for key in both), len(both)


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


def _graded(mock: str, table: Vectors, parts: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    from datasets import Dataset, DatasetDict
    from mteb.mocks import mock_tasks

    names = (f"{mock_tasks.__name__}.{each.name}" for each in pkgutil.iter_modules(mock_tasks.__path__))
    modules = map(importlib.import_module, names)
    task = next(getattr(module, mock) for module in modules if hasattr(module, mock))()
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
