"""The public sets that a model is tried on, one task a set and language; what is not in the folder is left out.

    clf/banking77/{train,test}.csv        classification, clustering        intents of bank customers
    clf/clinc150_full.json.gz             classification, clustering        intents of an assistant
    nli/snli_test.tsv                     pair classification               entailment against contradiction
    retrieval/scifact                     retrieval, re-ranking             re-ranks the 50 best by BM25 and the answers
    retrieval/{covid_faq,squad_sent_test,cranfield}   retrieval
    sts/stsb-<language>-dev.csv           STS, one task a language
    bitext_tatoeba/tatoeba.<xxx>-eng.*    bitext mining, one task a language
    …/multi30k_captions/test_2016.*       summarization: four captions of a picture judge a fifth, and those of others

The last has no people's scores, so that "of the same picture" stands for them: it is not comparable with SummEval.
"""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Encoder, Vectors
from firth.errors import DataError
from firth.evaluate.judge import evaluate
from firth.evaluate.overlap import normalised
from firth.evaluate.similarity import bitext, pair_classification, sts, summarization
from firth.evaluate.statistics import Score
from firth.evaluate.tasks import classification, clustering, reranking
from firth.text.testset import TestSet

CAPTIONS = "pairs_licence_unstated/multi30k_captions"
PICTURES = 300  # whose captions are judged
OTHERS = 7  # captions of other pictures among those that are judged
CANDIDATES = 50  # documents that are re-ranked for a query


@dataclass(frozen=True)
class Task:
    """One row of the suite's table.

    Attributes:
        kind: one of mteb's task types.
        files: what it reads; its score is made anew when they change.
        run: encodes what it needs and scores it.
    """

    name: str
    kind: str
    files: tuple[Path, ...]
    run: Callable[[Encoder], Score]


def tasks(data: Path) -> Iterator[Task]:
    """Those whose files are all in the folder, in the order of the table."""
    for task in _all(data):
        if all(path.exists() for path in task.files):
            yield task


def _all(data: Path) -> Iterator[Task]:
    banking = data / "clf" / "banking77"
    train, test = banking / "train.csv", banking / "test.csv"
    clinc = data / "clf" / "clinc150_full.json.gz"
    yield Task("Banking77", "classification", (train, test), partial(_classified, _csv_labels, train, test))
    both = partial(_classified, _clinc, (clinc, "train"), (clinc, "test"))
    yield Task("CLINC150", "classification", (clinc,), both)
    yield Task("Banking77", "clustering", (test,), partial(_clustered, _csv_labels, test))
    yield Task("CLINC150", "clustering", (clinc,), partial(_clustered, _clinc, (clinc, "test")))
    snli = data / "nli" / "snli_test.tsv"
    yield Task("SNLI", "pair classification", (snli,), partial(_entailed, snli))
    for name in ("scifact", "covid_faq", "squad_sent_test", "cranfield"):
        folder = data / "retrieval" / name
        read = (folder / "corpus.jsonl.gz", folder / "queries.jsonl.gz", folder / "qrels" / "test.tsv")
        yield Task(name, "retrieval", read, partial(_found, folder))
        if name == "scifact":
            yield Task(name, "re-ranking", read, partial(_reranked, folder))
    for path in sorted((data / "sts").glob("stsb-*-dev.csv")):
        yield Task(f"STS-B {path.stem.split('-')[1]}", "STS", (path,), partial(_alike, path))
    for path in sorted((data / "bitext_tatoeba").glob("tatoeba.*-eng.eng")):
        language = path.name.split(".")[1].split("-")[0]
        foreign = path.with_suffix(f".{language}")
        yield Task(f"Tatoeba {language}", "bitext mining", (foreign, path), partial(_translated, foreign, path))
    captions = tuple(data / CAPTIONS / f"test_2016.{i}.en.gz" for i in range(1, 6))
    yield Task("Captions", "summarization", captions, partial(_summed_up, captions))


Labelled = tuple[list[str], list[str]]


def _csv_labels(path: Path) -> Labelled:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"text", "category"} <= set(rows.fieldnames or ()):
            raise DataError("expected the columns text and category", path=path, line=1)
        pairs = [(row["text"], row["category"]) for row in rows]
    return [text for text, _ in pairs], [label for _, label in pairs]


def _clinc(place: tuple[Path, str]) -> Labelled:
    path, part = place
    try:
        pairs = json.loads(gzip.decompress(path.read_bytes()))[part]
        return [str(text) for text, _ in pairs], [str(label) for _, label in pairs]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"not CLINC150's file of intents: {error!r}", path=path) from error


def _classified(read: Callable[[Any], Labelled], train: Any, test: Any, encoder: Encoder) -> Score:
    (texts, labels), (asked, truth) = read(train), read(test)
    return classification(encoder.encode(texts), labels, encoder.encode(asked), truth)


def _clustered(read: Callable[[Any], Labelled], place: Any, encoder: Encoder) -> Score:
    texts, labels = read(place)
    return clustering(encoder.encode(texts), labels)


def _entailed(path: Path, encoder: Encoder) -> Score:
    wanted = {"entailment": 1, "contradiction": 0}
    with path.open(encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    short = next((i for i, row in enumerate(rows, 1) if len(row) != 3), None)
    if short is not None:
        raise DataError("expected label, premise and hypothesis between tabs", path=path, line=short)
    kept = [row for row in rows if row[0] in wanted]
    return pair_classification(
        encoder.encode([row[1] for row in kept]),
        encoder.encode([row[2] for row in kept]),
        [wanted[row[0]] for row in kept],
    )


def _found(folder: Path, encoder: Encoder) -> Score:
    report = evaluate(encoder, TestSet.load(folder), measures=("ndcg@10", "recall@10", "recall@100", "mrr@10", "map"))
    return Score("ndcg@10", report.scores.mean, report.intervals["ndcg@10"])


def _reranked(folder: Path, encoder: Encoder) -> Score:
    testset = TestSet.load(folder)
    asked = list(testset.judgements)
    texts = {id_: document.full for id_, document in testset.documents.items()}
    lists = _by_words({query: testset.queries[query] for query in asked}, texts)
    for query in asked:
        lists[query] += [
            id_ for id_, grade in testset.judgements[query].items() if grade > 0 and id_ not in lists[query]
        ]
    named = list(dict.fromkeys(id_ for query in asked for id_ in lists[query]))
    row_of = {id_: row for row, id_ in enumerate(named)}
    vectors = encoder.encode([texts[id_] for id_ in named], kind="document")
    return reranking(
        encoder.encode([testset.queries[query] for query in asked], kind="query"),
        [vectors[[row_of[id_] for id_ in lists[query]]] for query in asked],
        [[testset.judgements[query].get(id_, 0.0) for id_ in lists[query]] for query in asked],
    )


def _by_words(queries: dict[str, str], texts: dict[str, str]) -> dict[str, list[str]]:
    """The best documents of each query by BM25, SQLite's."""
    memory = sqlite3.connect(":memory:")
    try:
        memory.execute("CREATE VIRTUAL TABLE texts USING fts5(id UNINDEXED, body, tokenize = 'porter unicode61')")
        memory.executemany("INSERT INTO texts VALUES (?, ?)", texts.items())
        ask = "SELECT id FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid LIMIT ?"
        found = {}
        for query, text in queries.items():
            words = " OR ".join(f'"{word}"' for word in dict.fromkeys(normalised(text).split()))
            found[query] = [row[0] for row in memory.execute(ask, (words, CANDIDATES))] if words else []
        return found
    finally:
        memory.close()


def _alike(path: Path, encoder: Encoder) -> Score:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    try:
        scores = [float(row[2]) for row in rows]
    except (ValueError, IndexError) as error:
        raise DataError(f"expected sentence, sentence and score a line: {error}", path=path) from error
    return sts(encoder.encode([row[0] for row in rows]), encoder.encode([row[1] for row in rows]), scores)


def _translated(foreign: Path, english: Path, encoder: Encoder) -> Score:
    first, second = (path.read_text(encoding="utf-8").splitlines() for path in (foreign, english))
    if len(first) != len(second):
        raise DataError(f"{len(first):,} lines where {english.name} has {len(second):,}", path=foreign)
    return bitext(encoder.encode(first), encoder.encode(second))


def _summed_up(paths: Sequence[Path], encoder: Encoder) -> Score:
    lines = [gzip.decompress(path.read_bytes()).decode().splitlines()[:PICTURES] for path in paths]
    captions: list[Vectors] = [encoder.encode(each) for each in lines]
    n = len(lines[0])
    rng = np.random.default_rng(0)
    machine, people, gold = [], [], []
    for i in range(n):
        others = [j for j in rng.permutation(n)[: OTHERS + 1].tolist() if j != i][:OTHERS]
        people.append(np.stack([captions[k][i] for k in range(4)]))
        machine.append(captions[4][[i, *others]])
        gold.append([1.0] + [0.0] * len(others))
    return summarization(people, machine, gold)
