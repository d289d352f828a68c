"""Is a model better, by how much, and on which queries? Two encoders on one test set, with the test that says so.

    firth demo -o demo-out      # tunes a model on SciFact's training queries
    python examples/04_is_it_better.py all-MiniLM-L6-v2 demo-out/model examples/data/scifact

prints, in two minutes on two cores:

    ndcg@10    0.650 [0.605, 0.695]  ->  0.681 [0.637, 0.726]
               +0.031 [+0.014, +0.049], p = 0.0004 after Holm's correction
    recall@10  0.792 [0.746, 0.837]  ->  0.819 [0.776, 0.862]
               +0.028 [+0.006, +0.052], p = 0.0219 after Holm's correction
    lost 0.61: Lymphadenopathy is observed in knockin mouse lacking the SHP-2 MAPK pathway.
    lost 0.37: aPKCz causes tumour enhancement by affecting glutamine metabolism.
    lost 0.37: High cardiopulmonary fitness causes increased mortality rate.

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
