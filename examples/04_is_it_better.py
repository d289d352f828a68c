"""Is a model better, by how much, and on which queries? Two encoders on one test set, with the test that says so.

    python examples/04_is_it_better.py all-MiniLM-L6-v2 my-tuned-model examples/data/scifact

Any of the two may be a file of word vectors or a hosted model ("openai:text-embedding-3-small").
"""

from __future__ import annotations

import sys

import firth
from firth.evaluate.retrieval import adjusted
from firth.evaluate.statistics import needed


def main(base: str, other: str, folder: str) -> None:
    testset = firth.TestSet.load(folder)
    before = firth.evaluate(firth.load(base), testset, measures=["ndcg@10", "recall@10"])
    after = firth.evaluate(firth.load(other), testset, measures=["ndcg@10", "recall@10"])
    paired = after.against(before)
    for name, p in adjusted(paired).items():
        one = paired[name]
        print(f"{name:<10} {before.intervals[name]}  ->  {after.intervals[name]}")
        print(f"{'':<10} {one.delta:+.3f} [{one.low:+.3f}, {one.high:+.3f}], p = {p:.4f} after Holm's correction")
        if p >= 0.05:
            print(f"{'':<10} {one.n} queries show a change of {one.visible:.3f}; 0.02 takes {needed(0.02, 0.25):,}")

    change = after.scores.per_query["ndcg@10"] - before.scores.per_query["ndcg@10"]
    for i in change.argsort()[:3].tolist():
        query = before.scores.queries[i]
        print(f"lost {-change[i]:.2f}: {testset.queries[query]}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
