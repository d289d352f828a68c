"""Writes src/firth/evaluate/benchmarks.fingerprints: the test questions of public benchmarks that may be copied.

Run:   python benchmarks/make_fingerprints.py        (5 s; needs ../shared/data)
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from firth.evaluate import benchmarks
from firth.text.testset import TestSet
from measure import DATA


def sets(data: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and texts of each; the licences are CC BY 4.0 and 3.0 and Apache-2.0 (data/README.md)."""
    scifact = TestSet.load(data / "retrieval" / "scifact", "test")
    yield "SciFact test queries", [scifact.queries[query] for query in scifact.judgements]
    yield "COVID FAQ questions", list(TestSet.load(data / "retrieval" / "covid_faq", "test").queries.values())
    with (data / "clf" / "banking77" / "test.csv").open(newline="") as file:
        yield "Banking77 test", [row["text"] for row in csv.DictReader(file)]
    clinc = json.loads(gzip.decompress((data / "clf" / "clinc150_full.json.gz").read_bytes()))
    yield "CLINC150 test", [text for part in ("test", "oos_test") for text, _ in clinc[part]]


def main() -> None:
    made = [benchmarks.fingerprint(name, texts) for name, texts in sets(DATA)]
    benchmarks.save(made, benchmarks.SHIPPED)
    for each in made:
        print(f"{each.name}: {len(each):,}")
    print(f"{benchmarks.SHIPPED.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
