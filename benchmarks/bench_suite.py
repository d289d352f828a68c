"""How long do all eight task types take with MiniLM, from text to table, and are its published scores met?

Run:   make bench Q=suite            (about 6 min on 2 cores; --small 30 s)
Last:  2026-11-23, commit 0c2dc25, 2 busy cores Zen 5, 42 tasks in 361 s, a second run in 0.0 s
       task                        measure           here     published
       Banking77, classification   accuracy          0.8003   0.8004
       scifact, retrieval          ndcg@10           0.6500   0.6451
       Tatoeba ita, bitext mining  f1                0.0990   0.0990
       Tatoeba por, bitext mining  f1                0.0829   0.0829
       Tatoeba pol, bitext mining  f1                0.0259   0.0259
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time

import measure as ruler
from firth.progress import bar
from firth.recipes import suite, suite_sets
from firth.recipes.load import load

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SMALL = ("covid_faq", "STS-B en", "Tatoeba deu", "Captions")
# mteb 1.12.75 on revision 8b3219a of the model, as in the public repository embeddings-benchmark/results; SciFact as on
# its leaderboard.
PUBLISHED = {
    ("Banking77", "classification"): 0.80042, ("scifact", "retrieval"): 0.64508,
    ("Tatoeba ita", "bitext mining"): 0.09896, ("Tatoeba por", "bitext mining"): 0.08286,
    ("Tatoeba pol", "bitext mining"): 0.02585, ("Tatoeba vie", "bitext mining"): 0.03066,
    ("Tatoeba ell", "bitext mining"): 0.00101, ("Tatoeba tha", "bitext mining"): 0.00305,
    ("Tatoeba rus", "bitext mining"): 0.00067, ("Tatoeba ara", "bitext mining"): 0.00005,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    if not ruler.DATA.is_dir():
        print(f"no real data at {ruler.DATA}", file=sys.stderr)
        return 2
    if small:
        whole = suite_sets.tasks
        suite.tasks = lambda data: [task for task in whole(data) if task.name in SMALL]  # type: ignore[assignment]
    cache = ruler.CACHE / "suite"
    shutil.rmtree(cache, ignore_errors=True)
    start = time.perf_counter()
    encoder = load(MODEL)
    with bar("suite") as progress:
        found = suite.run(encoder, MODEL, ruler.DATA, cache, progress=progress)
    first = time.perf_counter() - start
    start = time.perf_counter()
    again = suite.run(encoder, MODEL, ruler.DATA, cache)
    second = time.perf_counter() - start
    assert again == found
    rows = [
        {
            "task": row.task,
            "type": row.kind,
            "measure": row.score.main,
            "score": row.score.value,
            "published": PUBLISHED.get((row.task, row.kind), ""),
            "seconds": row.seconds,
        }
        for row in found.rows
    ]
    ruler.table(rows)
    print(f"{first:.0f} s, a second run {second:.1f} s")
    ruler.save(
        "suite" + ("-small" if small else ""),
        {
            "question": (__doc__ or "").splitlines()[0],
            "environment": ruler.environment("torch", "scikit-learn", "numpy"),
            "seconds": {"first": first, "second": second},
            "tasks": found.as_json()["tasks"],
            "means": found.means(),
            "published": {f"{task}, {kind}": value for (task, kind), value in PUBLISHED.items()},
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
