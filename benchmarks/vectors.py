"""The vectors that index benchmarks search: real sentences by real models, made once and kept in .bench/vectors.

    scifact_docs, scifact_queries    SciFact abstracts and claims
    squad_queries                    2,000 SQuAD questions: short questions, unlike the sentences they search
    squad_docs, squad_sample         the sentences of squad_sent_test, and 2,000 of its questions drawn by seed 0
    cranfield_docs, _queries         Cranfield abstracts and questions
    wiki_queries, wiki<n>k           sentences of English Wikipedia 2015, 40 to 300 letters, shuffled by seed 0;
                                     the queries are the first 2,000, the n thousand rows those after them

All are of all-MiniLM-L6-v2 (384 dimensions); a name that ends in @mpnet is of the same texts by all-mpnet-base-v2
(768), wiki_queries@mpnet and squad_queries@mpnet of the first 1,000. In bfloat16, the models' default here. A file that
is there is used as it is, and a longer wiki set is made on from the longest one there.

Run:   python benchmarks/vectors.py wiki50k@mpnet wiki200k     (makes what is not there yet; hours on one core)
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import firth
import measure
from firth.arrays import Vectors

FOLDER = measure.CACHE / "vectors"
MODELS = {"": "sentence-transformers/all-MiniLM-L6-v2", "mpnet": "sentence-transformers/all-mpnet-base-v2"}
QUERIES = 2000
FEWER = 1000  # queries by the larger model
LETTERS = 1500  # of a document; the models read 256 and 384 tokens
STEP = 2_000  # texts encoded between two saves
_GROWING = re.compile(r"wiki\d+k(@\w+)?")


def vectors(name: str) -> Vectors:
    """(n, 384 or 768) float32 unit rows, made now if they are not there yet."""
    path = FOLDER / f"{name}.npy"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        _make(name, path)
    return np.load(path)


def texts(name: str) -> list[str]:
    """The texts behind the vectors of that name."""
    name, _, model = name.partition("@")
    most = FEWER if model else QUERIES
    if name == "scifact_docs":
        return [f"{r['title']} {r['text']}"[:LETTERS] for r in _lines("retrieval/scifact/corpus.jsonl.gz")]
    if name == "scifact_queries":
        return [r["text"] for r in _lines("retrieval/scifact/queries.jsonl.gz")]
    if name == "squad_queries":
        return [r["text"] for r in _lines("retrieval/squad_sent_test/queries.jsonl.gz")][:most]
    if name in ("squad_docs", "cranfield_docs"):
        folder = "squad_sent_test" if name == "squad_docs" else "cranfield"
        rows = _lines(f"retrieval/{folder}/corpus.jsonl.gz")
        return [f"{r.get('title', '')} {r['text']}".strip()[:LETTERS] for r in rows]
    if name == "squad_sample":
        questions = [r["text"] for r in _lines("retrieval/squad_sent_test/queries.jsonl.gz")]
        return [questions[i] for i in sampled(len(questions))]
    if name == "cranfield_queries":
        return [r["text"] for r in _lines("retrieval/cranfield/queries.jsonl.gz")]
    sentences = list(dict.fromkeys(_sentences()))
    random.Random(0).shuffle(sentences)
    if name == "wiki_queries":
        return sentences[:most]
    return sentences[QUERIES : QUERIES + 1000 * _thousands(name)]


def sampled(n: int) -> list[int]:
    """The rows of n questions that squad_sample holds, in order."""
    return sorted(random.Random(0).sample(range(n), QUERIES))


def _make(name: str, path: Path) -> None:
    """Encode a step at a time into name.part.npy, which a later run goes on from, and rename it when it is whole."""
    part, wanted, model = _beside(path, "part"), texts(name), firth.load(MODELS[name.partition("@")[2]])
    rows = _begun(name, part)
    while len(rows) < len(wanted):
        more = model.encode(wanted[len(rows) : len(rows) + STEP])
        rows = np.concatenate([rows, more]) if len(rows) else more
        np.save(_beside(path, "next"), rows)
        _beside(path, "next").rename(part)
        print(f"{name}: {len(rows):,} of {len(wanted):,}", file=sys.stderr, flush=True)
    np.save(part, rows)
    part.rename(path)


def _begun(name: str, part: Path) -> Vectors:
    """The rows that an interrupted run left, or those of the longest shorter set of the same model."""
    found = [part] if part.exists() else []
    if _GROWING.fullmatch(name):
        of = name.partition("@")[2]
        sets = [path for path in FOLDER.glob("wiki*k*.npy") if _GROWING.fullmatch(path.stem)]
        same = [path for path in sets if path.stem.partition("@")[2] == of]
        found += [path for path in same if _thousands(path.stem) < _thousands(name)]
    rows = [np.load(path, mmap_mode="r") for path in found]
    return np.array(max(rows, key=len)) if rows else np.empty((0, 0), np.float32)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.stem}.{kind}.npy")


def _thousands(name: str) -> int:
    return int(name.partition("@")[0].removeprefix("wiki").removesuffix("k"))


def _sentences() -> Iterator[str]:
    for path in sorted((measure.DATA / "text").glob("enwiki2015-*.jsonl.gz")):
        for article in _lines(path.relative_to(measure.DATA)):
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", article["text"]):
                if 40 <= len(sentence.strip()) <= 300:
                    yield sentence.strip()


def _lines(path: Path | str) -> list[dict[str, Any]]:
    with gzip.open(measure.DATA / path, "rt") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        print(asked, vectors(asked).shape, flush=True)
