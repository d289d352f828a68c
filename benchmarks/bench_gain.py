"""What does tuning on a domain's own pairs gain: hard against random negatives, small tuned against large, Matryoshka?

Run:   make bench Q="gain --set scifact"     (three sets, each part of it a row of its own; --small 3 min)
Last:  2026-11-23, --set squad --pairs 1000, seed 0, one thread, 2 cores Zen 5; 500 test queries, no other set yet
       model       nDCG@10                        recall@10                       STS-B points lost
       published   0.714 [0.682, 0.745]           0.866 [0.836, 0.896]
       mined       0.794 (+11.2 %, p 0.0001)      0.906 (+4.6 %, p 0.0008)        -0.10
       random      0.778 (+9.0 %)                 0.906 (+4.6 %, p 0.0004)        -0.04
       in-batch    0.785 (+9.9 %, p 0.0001)       0.900 (+3.9 %, p 0.0037)        -0.02
       matryoshka  0.779 (+9.1 %, p 0.0001)       0.902 (+4.2 %, p 0.0016)        +0.26
       Kept of nDCG@10 by 128 of 384 dimensions: published 93.5 %, mined 93.5 %, matryoshka 95.3 %.

Three sets, none of whose parts share a query or a relevant document:
    scifact    claims -> abstracts; 809 train, 300 test queries
    squad      questions -> sentences; queries split by document into train, dev and test
    wikinews   titles -> articles, made without labels: the titles of held-out articles ask
all-MiniLM-L6-v2 is tuned for one epoch with mined, with random and with no negatives beside the batch's own, at the
same number of steps; with mined ones also over Matryoshka prefixes. All-mpnet-base-v2 is measured as published. Beside
nDCG@10 and recall@10 with 95 % intervals and the paired permutation test against the published MiniLM stands what
STS-B dev (1,500 pairs) lost, in points of Spearman, and what each prefix keeps of the full size's nDCG@10.

Rows are kept in the result file as they come: a run that was interrupted is gone on with by the same command.
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import measure as ruler
from firth.arrays import Encoder, Vectors, unit
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Ranking
from firth.evaluate.retrieval import Scores, depth, measure
from firth.progress import bar
from firth.recipes.heldout import DEV_POOL, doubt, score_among
from firth.recipes.learn import tune
from firth.recipes.load import load
from firth.recipes.negatives import Corpus, with_mined, with_random
from firth.recipes.scored import scored_pairs, spearman_of
from firth.recipes.sets import Sets, split
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.mine import MineSettings
from firth.sentence.tune import TuneSettings
from firth.text.records import Document, Judgements, Pair
from firth.text.testset import TestSet

SMALL_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
LARGE_MODEL = "sentence-transformers/all-mpnet-base-v2"
MEASURES = ("ndcg@10", "recall@10")
PREFIXES = (32, 64, 128, 256)
TUNED = {"mined": "mined", "random": "random", "in-batch": "given", "matryoshka": "mined"}
STS = ruler.DATA / "sts" / "stsb-en-dev.csv"


@dataclass(frozen=True)
class Domain:
    """One set: its documents, its queries, and who trains, chooses and measures."""

    documents: dict[str, Document]
    queries: dict[str, str]
    sets: Sets
    settings: TuneSettings

    def pairs(self) -> list[Pair]:
        """Each training query with each of its answers."""
        return [
            Pair(self.queries[query], self.documents[id_].full)
            for query, found in self.sets.train.items()
            for id_, grade in found.items()
            if grade > 0
        ]


def domain(name: str, seed: int, most: int) -> Domain:
    """Read and split one set; at most `most` training queries."""
    if name == "scifact":
        train, test = (TestSet.load(ruler.DATA / "retrieval" / "scifact", part) for part in ("train", "test"))
        queries = {**train.queries, **test.queries}
        sets = split({"train": train.judgements, "test": test.judgements}, queries, seed=seed)
        found = Domain(dict(train.documents), queries, sets, TuneSettings(seed=seed))
    elif name == "squad":
        asked = TestSet.load(ruler.DATA / "retrieval" / "squad_sent_test", "test")
        sets = split({"all": asked.judgements}, asked.queries, seed=seed)
        found = Domain(dict(asked.documents), dict(asked.queries), sets, TuneSettings(seed=seed))
    else:
        found = wikinews(seed, articles=most)
    few = dict(list(found.sets.train.items())[:most])
    return replace(found, sets=replace(found.sets, train=few))


def wikinews(seed: int, articles: int) -> Domain:
    """Titles ask for their articles; those of another thousand articles choose and measure."""
    with gzip.open(ruler.DATA / "text" / "wikinews.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rng = np.random.default_rng(seed)
    chosen = [rows[i] for i in rng.permutation(len(rows))[: articles + 1_000]]
    documents = {str(i): Document(str(i), str(row["text"])) for i, row in enumerate(chosen)}
    queries = {f"q{i}": str(row["title"]) for i, row in enumerate(chosen)}
    judged: Judgements = {f"q{i}": {str(i): 1.0} for i in range(len(chosen))}
    names = list(judged)
    parts = [{name: judged[name] for name in part} for part in (names[:500], names[500:1_000], names[1_000:])]
    return Domain(documents, queries, Sets(parts[2], parts[1], parts[0]), TuneSettings(seed=seed, max_tokens=128))


class Measured:
    """A model's vectors of a domain, its scores, and those of its prefixes."""

    def __init__(self, encoder: Encoder, of: Domain, label: str) -> None:
        self.of, self.ids = of, list(of.documents)
        with bar(f"{label}: encoding"):
            self.documents = encoder.encode([of.documents[id_].full for id_ in self.ids], kind="document")
            self.queries = encoder.encode([of.queries[query] for query in of.sets.test], kind="query")

    def scores(self, dims: int | None = None) -> Scores:
        """Of the test queries, by vectors of so many leading dimensions."""
        documents, queries = _prefix(self.documents, dims), _prefix(self.queries, dims)
        near = nearest(queries, [documents], depth(MEASURES))
        return measure(Ranking(list(self.of.sets.test), self.ids, near), self.of.sets.test, MEASURES)


def row(
    name: str, label: str, seed: int, measured: Measured, base: Scores | None, forgot: float | None
) -> dict[str, Any]:
    """One line of the result."""
    scores = measured.scores()
    line: dict[str, Any] = {"set": name, "model": label, "seed": seed, "documents": len(measured.ids)}
    for key, interval in scores.intervals(seed).items():
        line[key] = {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}
        if base is not None:
            paired = scores.against(base, seed)[key]
            line[f"{key} gain"] = {"delta": paired.delta, "relative": paired.delta / base.mean[key], "p": paired.p}
    full = scores.mean["ndcg@10"]
    line["kept"] = {str(dims): measured.scores(dims).mean["ndcg@10"] / full for dims in PREFIXES}
    if forgot is not None:
        line["sts-b points lost"] = forgot
    return line


def teach(way: str, of: Domain, base: Measured, seed: int, label: str) -> tuple[SentenceEncoder, dict[str, Any]]:
    """The published model, tuned in one of the ways."""
    encoder = _model()
    pairs, texts = of.pairs(), tuple(of.documents[id_].full for id_ in base.ids)
    rules = MineSettings(seed=seed)
    unique = dict(zip(texts, base.documents, strict=True))
    corpus = Corpus(tuple(unique), np.stack(list(unique.values())))
    if TUNED[way] == "mined":
        pairs = with_mined(pairs, corpus, encoder, rules)[0]
    elif TUNED[way] == "random":
        pairs = with_random(pairs, corpus.texts, rules.negatives, seed)
    sizes = (*PREFIXES,) if way == "matryoshka" else ()
    settings = replace(of.settings, matryoshka=sizes, doubt=doubt(len(of.sets.dev)))
    with bar(label) as progress:
        tuned = tune(encoder, pairs, negatives="given", settings=settings, dev=_dev(of, base), progress=progress)
    told = {"pairs": tuned.pairs, "rows": tuned.rows, "seconds": round(tuned.seconds, 1), "epoch": tuned.epoch}
    return encoder, {**told, "dev": [tuned.base, tuned.best]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", default="scifact", choices=("scifact", "squad", "wikinews"))
    parser.add_argument("--models", default="base,mined,random,matryoshka,in-batch,large")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--pairs", type=int, default=2_000, help="training queries, at most")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    question = "gain_small" if asked.small else "gain"
    rows: list[dict[str, Any]] = (ruler.last_result(question) or {}).get("rows", [])
    sentences = scored_pairs(STS)
    models = asked.models.split(",") if not asked.small else ["base", "mined"]
    for seed in map(int, asked.seeds.split(",")):
        of = domain(asked.set, seed, 200 if asked.small else asked.pairs)
        base = Measured(_model(), of, "published")
        general = spearman_of(_model(), sentences).value
        for name in models:
            if any((line["set"], line["model"], line["seed"]) == (asked.set, name, seed) for line in rows):
                continue
            label = f"{asked.set}, {name}, seed {seed}"
            if name == "base":
                line = row(asked.set, name, seed, base, None, None)
            elif name == "large":
                line = row(asked.set, name, seed, Measured(load(LARGE_MODEL), of, label), base.scores(), None)
            else:
                encoder, told = teach(name, of, base, seed, label)
                lost = 100 * (general - spearman_of(encoder, sentences).value)
                line = {**row(asked.set, name, seed, Measured(encoder, of, label), base.scores(), lost), **told}
            rows.append(line)
            # A row that took minutes is kept as soon as it is there.
            saved = {"rows": rows, "environment": ruler.environment("torch", "tokenizers")}
            ruler.save(question, saved)
    ruler.table([_short(line) for line in rows if line["set"] == asked.set])


def _model() -> SentenceEncoder:
    encoder = load(SMALL_MODEL)
    assert isinstance(encoder, SentenceEncoder)
    return encoder


def _dev(of: Domain, base: Measured) -> Any:
    """nDCG@10 among the dev answers and what the published model puts near the dev queries."""
    asked = {query: of.queries[query] for query in of.sets.dev}
    near = nearest(_model().encode(list(asked.values()), kind="query"), [base.documents], DEV_POOL)
    kept = {base.ids[i] for i in near.ids.ravel().tolist()}
    kept |= {id_ for found in of.sets.dev.values() for id_, grade in found.items() if grade > 0}
    return score_among([document for document in of.documents.values() if document.id in kept], asked, of.sets.dev)


def _prefix(vectors: Vectors, dims: int | None) -> Vectors:
    return vectors if dims is None else unit(np.ascontiguousarray(vectors[:, :dims]))


def _short(line: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"model": line["model"], "seed": line["seed"]}
    for key in MEASURES:
        shown[key] = f"{line[key]['value']:.3f} [{line[key]['low']:.3f}, {line[key]['high']:.3f}]"
        gain = line.get(f"{key} gain")
        shown[f"{key} gain"] = f"{gain['delta']:+.3f} ({gain['relative']:+.1%}, p {gain['p']:.4f})" if gain else ""
    shown |= {f"kept {dims}": f"{share:.3f}" for dims, share in line["kept"].items()}
    return {**shown, "sts lost": f"{line['sts-b points lost']:+.2f}" if "sts-b points lost" in line else ""}


if __name__ == "__main__":
    main()
