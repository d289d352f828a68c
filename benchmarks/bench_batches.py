"""What does a batch of 1,024 pairs cost when it is embedded in pieces, against embedding it whole?

Run:   make bench Q=batches            (6 min on 2 cores; --small 1 min)
Last:  2026-11-23, batch 1,024 (57,000 tokens), 2 threads, 2 cores Zen 5 with other work at low priority; two turns
       embedded                     pairs/s  range        of whole's  megabytes  of its memory  mean loss
       whole                        34.6     32.5 - 42.4  1           8,198      1              1.023
       in pieces of 2,048 tokens    43.4     39.8 - 45.5  1.25        1,832      0.22           1.012
       Pieces of 4,096 took 0.29 of the memory, of 8,192 0.38, at 0.95 and 1.12 times the rows a second. One more
       forward pass costs less than what the allocation of eight gigabytes does.

all-MiniLM-L6-v2, SQuAD questions with the sentences that answer them, InfoNCE, AdamW; one step is one batch. Whole
keeps every activation until the gradient; pieces of 2,048 tokens keep one piece's, for one more forward pass. Each run
is a process of its own and takes turns; the first step of each is not timed. Memory is the highest resident set less
that before the first step. The gradients of both are the same: tests/sentence/test_shared.py has it in float64.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

import measure as ruler

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
FOLDER = ruler.DATA / "retrieval" / "squad_sent_test"
WAYS = {"whole": 1 << 40, "in pieces": 1}  # tokens up to which a batch is embedded in one pass


def one(way: str, batch: int, steps: int, threads: int) -> None:
    """Train some steps; seconds, megabytes and losses to stdout."""
    from firth.fit.loop import _Run
    from firth.fit.settings import Task
    from firth.progress import silent
    from firth.recipes.load import load
    from firth.sentence.course import Course
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.tune import TuneSettings
    from firth.text.records import Pair
    from firth.text.testset import TestSet

    torch.set_num_threads(threads)
    asked = TestSet.load(FOLDER, "test")
    pairs = [
        Pair(asked.queries[query], asked.documents[document].full)
        for query, found in asked.judgements.items()
        for document, grade in found.items()
        if grade > 0
    ]
    encoder = load(MODEL, device="cpu")
    assert isinstance(encoder, SentenceEncoder)
    settings = TuneSettings(batch=batch, whole=WAYS[way])
    course = Course(encoder, pairs, settings)
    task = Task(course.module, course.loss_of, course.batches, len(course.first), len, together=True)
    run = _Run(task, settings.fit, None, silent)
    course.module.train()
    full = [place for place in range(len(course.first)) if len(course.first[place]) == batch][: steps + 1]
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    seconds, losses = [], []
    for place in full:
        start = time.perf_counter()
        run.one_step([course.first[place]])
        seconds.append(time.perf_counter() - start)
        losses.append(run.state.curve[-1].loss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tokens = sum(len(course.found.queries.take(course.first[place].queries).ids) for place in full)
    tokens += sum(len(course.found.documents.take(course.first[place].documents).ids) for place in full)
    told = {"seconds": seconds[1:], "megabytes": peak - before, "losses": losses, "tokens": tokens / len(full)}
    print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1_024)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--one", default="", help="(a process of its own)")
    asked = parser.parse_args()
    batch, steps = (256, 1) if asked.small else (asked.batch, 2)
    if asked.one:
        one(asked.one, batch, steps, asked.threads)
        return
    found: dict[str, list[dict[str, list[float]]]] = {way: [] for way in WAYS}
    for _ in range(1 if asked.small else asked.repeats):
        for way, runs in found.items():
            words = [sys.executable, __file__, "--one", way, "--threads", str(asked.threads), "--batch", str(batch)]
            told = subprocess.run([*words, *(["--small"] if asked.small else [])], capture_output=True, check=True)
            runs.append(json.loads(told.stdout.splitlines()[-1]))
    rows = []
    whole = ruler.spread([seconds for run in found["whole"] for seconds in run["seconds"]])["median"]
    held = ruler.spread([run["megabytes"] for run in found["whole"]])["median"]  # type: ignore[misc]
    for way, runs in found.items():
        seconds = ruler.spread([value for run in runs for value in run["seconds"]])
        megabytes = ruler.spread([run["megabytes"] for run in runs])["median"]  # type: ignore[misc]
        rows.append(
            {
                "embedded": way,
                "pairs/s": round(batch / seconds["median"], 1),
                "range": f"{batch / seconds['high']:.1f} - {batch / seconds['low']:.1f}",
                "of whole's": round(whole / seconds["median"], 3),
                "megabytes": round(megabytes),
                "of its memory": round(megabytes / held, 3),
                "mean loss": round(sum(runs[0]["losses"]) / len(runs[0]["losses"]), 4),
            }
        )
    ruler.table(rows)
    about = {"model": MODEL, "batch": batch, "tokens a batch": found["whole"][0]["tokens"], "threads": asked.threads}
    saved = {**about, "rows": rows, "environment": ruler.environment("torch", "tokenizers")}
    ruler.save("batches_small" if asked.small else "batches", saved)


if __name__ == "__main__":
    main()
