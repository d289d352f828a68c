"""Are our tokenizer's ids those of transformers on every line of every corpus at hand?

Both read one vocabulary (bert-base-uncased) and every line of text in the data folder: fields of JSON and tables cut
at their line ends, names of keys left out. The tests compare a sample; this is the whole.

Run:   make bench Q=ids              (10 min on one free core, nearly all of it theirs; --small 20 s)
Last:  2026-11-23, 114 files, 1,124,134 lines, 53,883,252 tokens: 0 lines differ
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from firth.text.tokenizer import Tokenizer
from measure import DATA, environment, save, table

TOGETHER = 4000  # lines compared at once


def lines_of(path: Path) -> Iterator[str]:
    """Every line of text of a file, without those that are empty."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-8")
    kind = Path(path.name.removesuffix(".gz")).suffix
    # Cut at "\n" alone: str.splitlines would cut at U+2028 inside a text too.
    values: Iterator[Any] = iter(text.split("\n"))
    if kind in (".jsonl", ".json"):
        values = (json.loads(line) for line in values if line) if kind == ".jsonl" else iter([json.loads(text)])
    for value in values:
        for string in _strings(value):
            yield from (line for line in string.split("\n") if line)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def compare(path: Path, ours: Tokenizer, theirs: Any, most: int | None) -> dict[str, Any]:
    """Lines and tokens of a file, and the first lines whose ids differ."""
    counts = {"lines": 0, "tokens": 0, "lines that differ": 0}
    shown: list[str] = []
    lines = islice(lines_of(path), most)
    while part := list(islice(lines, TOGETHER)):
        found = ours.encode(part)
        wanted = theirs(part, return_attention_mask=False, return_token_type_ids=False)["input_ids"]
        counts["lines"] += len(part)
        counts["tokens"] += len(found.ids)
        for i, row in enumerate(wanted):
            if not np.array_equal(found.row(i), row):
                counts["lines that differ"] += 1
                shown.append(part[i])
    return {"file": str(path.relative_to(DATA)), **counts, "first that differ": shown[:3]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the first 200 lines of each file")
    small = parser.parse_args().small
    vocabulary = DATA / "tokenizer" / "bert-base-uncased-tokenizer.json"
    ours, theirs = Tokenizer.load(vocabulary), PreTrainedTokenizerFast(tokenizer_file=str(vocabulary))
    files = [
        path
        for path in sorted(DATA.rglob("*"))
        if path.is_file()
        and path.parent.name not in ("tokenizer", "words")
        and path.name not in ("LICENSE", "README.md")
    ]
    rows = []
    for path in files:
        rows.append(compare(path, ours, theirs, 200 if small else None))
        print(f"{rows[-1]['file']}: {rows[-1]['lines']:,} lines, {rows[-1]['lines that differ']} differ", flush=True)
    names = ("lines", "tokens", "lines that differ")
    total = {name: sum(row[name] for row in rows) for name in names}
    table([{"files": len(rows), **total}])
    digest = hashlib.sha256(vocabulary.read_bytes()).hexdigest()
    result = {"vocabulary sha256": digest, "total": total, "files": rows}
    save("ids_small" if small else "ids", {**result, "environment": environment("transformers", "tokenizers")})


if __name__ == "__main__":
    main()
