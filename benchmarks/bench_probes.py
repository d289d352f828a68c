"""Where do MiniLM and word vectors fail, on SciFact's abstracts: which slices of firth's probes pass their marks?

Run:   make bench Q=probes           (4 min on 2 cores; --small 30 s)
Last:  2026-11-23, commit 5027861, 24 cases a slice, seed 0; share of cases that are right, 59 slices in the file
       slice                           MiniLM   word vectors
       fact: number                    0.75     0.79
       fact: identifier                0.62     1.00
       fact: negation                  0.71     0.33
       writing: three errors           0.79     1.00
       position: word 500              0.00     1.00
       position: word 500, in chunks   1.00     1.00
       position: word 8,000            0.00     1.00
       position: word 8,000, in chunks 1.00     1.00
       role: who did what              0.62     0.00
       language: asks in German        0.30     0.10
       short: one-word query           0.57     1.00
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

import measure as ruler
from firth.evaluate import language
from firth.evaluate.probes import Probed, cases, probe
from firth.progress import bar
from firth.recipes.base import WORDS_FILE
from firth.recipes.load import load
from firth.static import train_base
from firth.text.testset import TestSet

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def _told(each: Probed) -> dict[str, Any]:
    return {
        "probe": each.probe, "slice": each.slice, "mark": each.mark, "passed": each.passed, **asdict(each.right)
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    if not ruler.DATA.is_dir():
        print(f"no real data at {ruler.DATA}", file=sys.stderr)
        return 2
    documents = list(TestSet.load(ruler.DATA / "retrieval" / "scifact").documents.values())
    words = ruler.CACHE / "probes" / WORDS_FILE
    if not words.exists():
        with bar("word vectors") as progress:
            train_base((document.full for document in documents), seed=0, threads=2, progress=progress).save(words)
    made = cases(documents, n=4 if small else 24, seed=0, language=language.teller())
    found = {}
    for name, model in (("MiniLM", MODEL), ("word vectors", words)):
        with bar(name) as progress:
            found[name] = probe(load(model), made, seed=0, progress=progress)
    rows = [
        {
            "probe": first.probe,
            "slice": first.slice,
            "n": first.right.n,
            "MiniLM": f"{first.right.value:.2f} ({first.right.low:.2f} to {first.right.high:.2f})",
            "word vectors": f"{second.right.value:.2f} ({second.right.low:.2f} to {second.right.high:.2f})",
            "mark": first.mark,
        }
        for first, second in zip(*found.values(), strict=True)
    ]
    ruler.table(rows)
    ruler.save(
        "probes" + ("-small" if small else ""),
        {
            "question": (__doc__ or "").splitlines()[0],
            "environment": ruler.environment("torch", "py3langid", "numpy"),
            "slices": {name: [_told(each) for each in slices] for name, slices in found.items()},
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
