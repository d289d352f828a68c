"""Our retrieval measures against pytrec_eval, query by query, ties included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.evaluate.retrieval import measure

pytrec_eval: Any = pytest.importorskip("pytrec_eval")

NAMES = {
    "ndcg": "ndcg", "ndcg@1": "ndcg_cut_1", "ndcg@10": "ndcg_cut_10", "ndcg@100": "ndcg_cut_100",
    "recall@10": "recall_10", "recall@100": "recall_100", "precision@5": "P_5", "precision@100": "P_100",
    "mrr": "recip_rank", "map": "map", "map@10": "map_cut_10", "hit@1": "success_1", "hit@10": "success_10",
}  # fmt: skip
ASKED = {
    "ndcg", "ndcg_cut.1,10,100", "recall.10,100", "P.5,100", "recip_rank", "map", "map_cut.10", "success.1,10",
}  # fmt: skip
KINDS = ["distinct", "tied", "equal", "nearly equal"]


def scores_of(kind: str, n: int, rng: np.random.Generator) -> list[float]:
    drawn = {
        "distinct": lambda: rng.normal(size=n),
        "tied": lambda: rng.integers(0, 5, n).astype(float),
        "equal": lambda: np.full(n, 0.5),
        "nearly equal": lambda: 0.5 + 1e-9 * rng.normal(size=n),  # one float32 value, many float64 ones
    }
    values: list[float] = drawn[kind]().tolist()
    return values


def written(run: dict[str, dict[str, float]], path: Path) -> Path:
    lines = [f"{query} Q0 {id_} 0 {score!r} tag" for query, row in run.items() for id_, score in row.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["memory", "file"])
def test_every_query_scores_as_in_pytrec_eval(kind: str, source: str, rng: np.random.Generator, tmp_path: Path) -> None:
    documents = [f"d{i}" for i in range(300)] + ["é", "日本", "Z", "a_b"]
    run, judged = {}, {}
    for query in (f"q{i}" for i in range(80)):
        ranked = rng.permutation(documents)[: int(rng.integers(1, 200))].tolist()
        run[query] = dict(zip(ranked, scores_of(kind, len(ranked), rng), strict=True))
        chosen = rng.permutation(documents)[: int(rng.integers(1, 30))].tolist()
        judged[query] = {document: int(rng.integers(-1, 4)) for document in chosen} | {ranked[-1]: 1}
    theirs = pytrec_eval.RelevanceEvaluator(judged, ASKED).evaluate(run)
    ours = measure(run if source == "memory" else written(run, tmp_path / "run"), judged, NAMES)
    assert len(ours.queries) == len(run)
    for name, there in NAMES.items():
        expected = [theirs[query][there] for query in ours.queries]
        np.testing.assert_allclose(ours.per_query[name], expected, rtol=0, atol=1e-12, err_msg=name)
