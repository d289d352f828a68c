"""How fast is a run of 10,000 queries x 100 documents out of 1,000,000 scored, against pytrec_eval and mteb?

Run:   make bench Q=scoring          (1 min on 2 cores; --small 10 s)
Last:  2026-11-23, commit 5027861, 2 cores Zen 5, one thread each, seed 0, median of 5 turns
       system                          seconds   ratio
       pytrec_eval, from the file        0.69     1.0
       mteb, from the file               1.28     0.5
       firth, from the file              0.10     7.0
       pytrec_eval, from dictionaries    0.13     5.2
       firth, from dictionaries          0.07     9.9
       firth, from neighbours            0.10     6.9
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytrec_eval
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

import measure as ruler
from firth.arrays import Neighbours
from firth.evaluate.ranking import Ranking
from firth.evaluate.retrieval import measure

MEASURES = ("ndcg@10", "ndcg@100", "recall@10", "recall@100", "map@10", "map@100", "precision@10", "precision@100",
            "hit@10", "hit@100")  # fmt: skip
THEIRS = {"ndcg_cut.10,100", "recall.10,100", "map_cut.10,100", "P.10,100", "success.10,100"}
RELEVANT = 5  # judged documents a query, half of them among the ranked


def made(q: int, k: int, n: int, folder: Path) -> tuple[Ranking, dict[str, dict[str, float]], Path]:
    """A random ranking by row number, judgements, and the same as a run file."""
    rng = np.random.default_rng(0)
    documents = [f"doc{i:07d}" for i in range(n)]
    ids = np.stack([rng.choice(n, k, replace=False) for _ in range(q)]) if q * n < 10**8 else distinct(rng, q, k, n)
    scores = -np.sort(-rng.random((q, k)), axis=1).astype(np.float32)
    ranking = Ranking([f"q{i}" for i in range(q)], documents, Neighbours(ids, scores))
    judged: dict[str, dict[str, float]] = {}
    for i in range(q):
        hits = rng.choice(ids[i], RELEVANT // 2, replace=False).tolist()
        rows = {*hits, *rng.integers(0, n, RELEVANT - len(hits)).tolist()}
        judged[f"q{i}"] = {documents[row]: 1 + row % 2 for row in rows}
    path = folder / "run.trec"
    with path.open("w") as file:
        for i in range(q):
            rows = zip(ids[i].tolist(), scores[i].tolist(), strict=True)
            file.writelines(f"q{i} Q0 {documents[row]} {r} {score!r} made\n" for r, (row, score) in enumerate(rows, 1))
    return ranking, judged, path


def distinct(rng: np.random.Generator, q: int, k: int, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(q, k) rows without a repeat within a query: one random start and one odd stride each."""
    starts, strides = rng.integers(0, n, (q, 1)), 2 * rng.integers(0, n // (2 * k), (q, 1)) + 1
    return (starts + strides * np.arange(k)) % n


def parsed(path: Path) -> dict[str, dict[str, float]]:
    with path.open() as file:
        run: dict[str, dict[str, float]] = pytrec_eval.parse_run(file)
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    q, k, n = (500, 100, 20_000) if small else (10_000, 100, 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        ranking, judged, path = made(q, k, n, Path(folder))
        run = parsed(path)
        judge = pytrec_eval.RelevanceEvaluator(judged, THEIRS)
        contenders = {
            "pytrec_eval, from the file": lambda: judge.evaluate(parsed(path)),
            "mteb, from the file": lambda: calculate_retrieval_scores(parsed(path), judged, [10, 100]),
            "firth, from the file": lambda: measure(path, judged, MEASURES),
            "pytrec_eval, from dictionaries": lambda: judge.evaluate(run),
            "firth, from dictionaries": lambda: measure(run, judged, MEASURES),
            "firth, from neighbours": lambda: measure(ranking, judged, MEASURES),
        }
        theirs, ours = judge.evaluate(run), measure(path, judged, MEASURES)
        worst = max(
            abs(float(ours.per_query["ndcg@10"][i]) - theirs[query]["ndcg_cut_10"])
            for i, query in enumerate(ours.queries)
        )
        seconds = ruler.interleaved(contenders, repeats=2 if small else 5)
    rows = {name: ruler.spread(values) for name, values in seconds.items()}
    first = rows["pytrec_eval, from the file"]["median"]
    for name, row in rows.items():
        print(f"{name:<34}{row['median']:8.3f} s   {first / row['median']:6.1f}x", file=sys.stderr)
    ruler.save(
        "scoring" + ("-small" if small else ""),
        {
            "question": (__doc__ or "").splitlines()[0],
            "environment": ruler.environment("pytrec-eval-terrier", "mteb", "numpy"),
            "sizes": {"queries": q, "k": k, "documents": n},
            "seconds": rows,
            "largest difference of nDCG@10": worst,
            "times pytrec_eval from the file": {name: first / row["median"] for name, row in rows.items()},
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
