"""The vectors that index benchmarks search: all-MiniLM-L6-v2 of real sentences, made once and kept in .bench/vectors.

    scifact_docs, scifact_queries    SciFact abstracts and claims
    squad_queries                    2,000 SQuAD questions: short questions, unlike the sentences they search
    wiki_queries, wiki<n>k           sentences of English Wikipedia 2015, 40 to 300 letters, shuffled by seed 0;
                                     the queries are the first 2,000, the n thousand rows those after them

A file that is there is used as it is: 200,000 sentences take an hour on two cores.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import firth
import measure
from firth.arrays import Vectors

FOLDER = measure.CACHE / "vectors"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
QUERIES = 2000
LETTERS = 1500  # of a document; the model reads 256 tokens


def vectors(name: str) -> Vectors:
    """(n, 384) float32 unit rows, made now if they are not there yet."""
    path = FOLDER / f"{name}.npy"
    if not path.exists():
        rows = firth.load(MODEL).encode(texts(name), progress=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".part.npy"), rows)
        path.with_suffix(".part.npy").rename(path)
    return np.load(path)


def texts(name: str) -> list[str]:
    """The texts behind the vectors of that name."""
    if name == "scifact_docs":
        return [f"{r['title']} {r['text']}"[:LETTERS] for r in _lines("retrieval/scifact/corpus.jsonl.gz")]
    if name == "scifact_queries":
        return [r["text"] for r in _lines("retrieval/scifact/queries.jsonl.gz")]
    if name == "squad_queries":
        return [r["text"] for r in _lines("retrieval/squad_sent_test/queries.jsonl.gz")][:QUERIES]
    sentences = list(dict.fromkeys(_sentences()))
    random.Random(0).shuffle(sentences)
    if name == "wiki_queries":
        return sentences[:QUERIES]
    return sentences[QUERIES : QUERIES + 1000 * int(name.removeprefix("wiki").removesuffix("k"))]


def _sentences() -> Iterator[str]:
    for path in sorted((measure.DATA / "text").glob("enwiki2015-*.jsonl.gz")):
        for article in _lines(path.relative_to(measure.DATA)):
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", article["text"]):
                if 40 <= len(sentence.strip()) <= 300:
                    yield sentence.strip()


def _lines(path: Path | str) -> list[dict[str, Any]]:
    with gzip.open(measure.DATA / path, "rt") as file:
        return [json.loads(line) for line in file]
