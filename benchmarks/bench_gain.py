"""What does tuning on a domain's own pairs gain: hard against random negatives, small tuned against large, Matryoshka?

Run:   make bench Q="gain --set scifact"     (three sets, each part of it a row of its own; --small 3 min)
Last:  2026-11-23, all-MiniLM-L6-v2, one epoch, 1 or 2 threads, 2 cores Zen 5; rows that are missing were not run
       set, training     model         nDCG@10, seeds 0, 1, 2   gain    recall@10               gain    128 dims keep
       squad (n 500)     published     0.714  0.746  0.729              0.866  0.868  0.866             92.8 %
       1,000 questions   mined         0.794  0.805  0.803      +9.7 %  0.906  0.914  0.906     +4.8 %  92.1 %
                         random        0.778  0.803  0.795      +8.5 %  0.906  0.910  0.908     +4.8 %  92.1 %
                         in-batch      0.785                    +9.9 %  0.900                   +3.9 %  93.4 %
                         not rotated   0.779                    +9.1 %  0.902                   +4.2 %  95.3 %
                         made          0.721                    +1.0 %  0.874                   +0.9 %  93.6 %
       2,000             matryoshka    0.789  0.806  0.806      +9.7 %  0.910  0.920  0.902     +5.1 %  98.1 %
                         rotated, learnt axes: as published                                     98.0 %, 96.8 %
                         large         0.757  0.751  0.749      +3.1 %  0.898  0.886  0.868     +2.0 %  88.6 %
       wikinews (n 1,000)published     0.637  0.609  0.614              0.781  0.757  0.751             86.3 %
       1,000 titles      mined         0.664  0.648  0.651      +5.5 %  0.819  0.797  0.788     +5.0 %  91.1 %
                         random        0.659  0.641  0.647      +4.6 %  0.816  0.795  0.787     +4.8 %  91.3 %
                         matryoshka    0.666  0.646  0.652      +5.5 %  0.820  0.798  0.786     +5.0 %  97.7 %
                         rotated, learnt axes: as published                                     95.5 %, 96.2 %
                         made          0.642                    +0.7 %  0.793                   +1.5 %  90.0 %
                         large         0.709  0.692  0.692     +12.5 %  0.846  0.831  0.838     +9.9 %  86.0 %
       scifact (n 300)   published     0.650                            0.792                           92.2 %
       448 to 466 claims mined         0.668  0.662  0.661      +2.1 %  0.813  0.813  0.810     +2.5 %  95.0 %
                         random        0.670  0.662  0.662      +2.2 %  0.807  0.802  0.812     +1.9 %  94.3 %
                         rotated, learnt axes: as published                                     97.4 %, 97.3 %
                         made          0.657                    +1.1 %  0.808                   +2.1 %  92.2 %
                         large         0.657                    +1.0 %  0.789                   -0.4 %  88.3 %
                         words         0.627, tuned: refused by its dev part, no gain
       686, test known   mined         0.681                    +4.8 %  0.823                   +4.0 %  95.9 %
                         words tuned   0.627 -> 0.770          +22.0 %  0.883                  +11.6 %  97.9 %
       Intervals of 95 %: +-0.03 of nDCG@10 with 500 test queries, 0.025 with 1,000, 0.045 with 300. p of nDCG@10 is
       0.0001 on squad and wikinews (made: 0.01 and 0.33), 0.01 to 0.25 on scifact kept apart; of recall@10 0.004 at
       most, and 0.04 to 0.4. STS-B lost 0.3 to 0.4 points by wikinews, gained up to 0.25 by the others. "Not rotated"
       and "matryoshka" are tuned over 32, 64, 128, 256 and 384 with mined negatives; 686 are all of SciFact's training
       claims, also those whose abstract answers a test claim. Tuned 128 dimensions of squad score 0.772, 0.791 and
       0.793: more than the published 384.

Three sets, none of whose parts share a query or a relevant document:
    scifact    claims -> abstracts; 300 test queries, and the training queries that no abstract joins to them, which
               are 458 of 686 with seed 0: 163 test claims have an abstract that answers a training claim too
    squad      questions -> sentences; queries split by document into train, dev and test
    wikinews   titles -> a passage from the middle of their article, made without labels
all-MiniLM-L6-v2 is tuned for one epoch with mined, with random and with no negatives beside the batch's own, at the
same number of steps; with mined ones also over Matryoshka prefixes, from vectors turned onto the training queries'
principal axes, and turned once more onto axes learnt for those prefixes; both turns are measured by themselves too
("rotated", "learnt axes"); and on pairs made from the bare documents ("made").
Word vectors trained on the documents ("words") are tuned with mined negatives for five ("words tuned").
All-mpnet-base-v2 is measured as published ("large"). Beside nDCG@10 and recall@10 with 95 % intervals and the paired
permutation test against the model as it was stands what STS-B dev (1,500 pairs) lost, in points of Spearman, and what
each prefix keeps of the full size's nDCG@10.

Rows are kept in the result file as they come: a run that was interrupted is gone on with by the same command.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch

import measure as ruler
from firth import files
from firth.arrays import Encoder, Vectors, principal_axes, unit
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Ranking
from firth.evaluate.retrieval import Scores, depth, measure
from firth.evaluate.similarity import sts
from firth.progress import bar
from firth.recipes.heldout import DEV_POOL, doubt, score_among
from firth.recipes.learn import tune
from firth.recipes.load import load
from firth.recipes.negatives import Corpus, with_mined, with_random
from firth.recipes.scored import Scored, scored_pairs
from firth.recipes.sets import Sets, split
from firth.recipes.trainable import trainable
from firth.sentence.axes import ranking_axes
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.mine import MineSettings
from firth.sentence.pairs import PairSettings, harvest
from firth.sentence.tune import TuneSettings
from firth.static import train_base
from firth.text.records import Document, Judgements, Pair
from firth.text.testset import TestSet

SMALL_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
LARGE_MODEL = "sentence-transformers/all-mpnet-base-v2"
MEASURES = ("ndcg@10", "recall@10")
PREFIXES = (32, 64, 128, 256)
ARTICLES = 3_000  # of Wikinews
PASSAGE = slice(100, 150)  # words of an article: the first hundred say the title again and leave nothing to learn
TUNED = {
    "mined": "mined",
    "random": "random",
    "in-batch": "given",
    "matryoshka": "mined",
    "matryoshka, not rotated": "mined",
    "made": "mined",
    "words tuned": "mined",
}
ROTATED = {"rotated": False, "learnt axes": True}  # whether the axes are learnt
STS = ruler.DATA / "sts" / "stsb-en-dev.csv"


@dataclass(frozen=True)
class Domain:
    """One set: its documents, its queries, and who trains, chooses and measures."""

    documents: dict[str, Document]
    queries: dict[str, str]
    sets: Sets

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
        sets = replace(sets, train=_apart(sets.train, sets.test), dev=_apart(sets.dev, sets.test))
        found = Domain(dict(train.documents), queries, sets)
    elif name == "squad":
        asked = TestSet.load(ruler.DATA / "retrieval" / "squad_sent_test", "test")
        sets = split({"all": asked.judgements}, asked.queries, seed=seed)
        found = Domain(dict(asked.documents), dict(asked.queries), sets)
    else:
        found = wikinews(seed)
    few = dict(list(found.sets.train.items())[:most])
    return replace(found, sets=replace(found.sets, train=few))


def _apart(part: Judgements, test: Judgements) -> Judgements:
    """Without the queries whose answer answers a test query too: by it the test query's words are learnt by heart."""
    answers = {id_ for found in test.values() for id_, grade in found.items() if grade > 0}
    return {query: found for query, found in part.items() if not answers & found.keys()}


def wikinews(seed: int) -> Domain:
    """Titles ask for a passage of their article: a thousand titles measure, 200 more choose, all others train."""
    with gzip.open(ruler.DATA / "text" / "wikinews.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    passages = [(str(row["title"]), str(row["text"]).split()[PASSAGE]) for row in rows]
    long = [(title, " ".join(words)) for title, words in passages if len(words) == PASSAGE.stop - PASSAGE.start]
    chosen = [long[i] for i in np.random.default_rng(seed).permutation(len(long))[:ARTICLES]]
    documents = {str(i): Document(str(i), passage) for i, (_, passage) in enumerate(chosen)}
    queries = {f"q{i}": title for i, (title, _) in enumerate(chosen)}
    names = list(queries)
    test, dev, train = (
        {name: {name[1:]: 1.0} for name in part} for part in (names[:1_000], names[1_000:1_200], names[1_200:])
    )
    return Domain(documents, queries, Sets(train, dev, test))


class Kept:
    """A published model whose vectors are kept on disk: every seed and every row asks for the same ones."""

    def __init__(self, name: str) -> None:
        self.name, self.folder = name, ruler.CACHE / "gain"
        self.folder.mkdir(parents=True, exist_ok=True)

    def encode(self, texts: Sequence[str], *, kind: str | None = None, **_: Any) -> Vectors:
        """(n, d) float32 unit rows, encoded the first time."""
        told = json.dumps([self.name, kind, list(texts)])
        path = self.folder / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.npy"
        if not path.exists():
            vectors = load(self.name).encode(texts, kind=kind)
            with files.write_whole(path) as file:
                np.save(file, vectors)
        found: Vectors = np.load(path)
        return found


class Measured:
    """A model's vectors of a domain, its scores, and those of its prefixes."""

    def __init__(self, encoder: Encoder | Kept, of: Domain, label: str) -> None:
        self.encoder, self.of, self.ids = encoder, of, list(of.documents)
        self.row = {id_: i for i, id_ in enumerate(self.ids)}
        with bar(f"{label}: encoding"):
            self.documents = encoder.encode([of.documents[id_].full for id_ in self.ids], kind="document")
            self.queries = encoder.encode([of.queries[query] for query in of.sets.test], kind="query")

    def scores(self, dims: int | None = None) -> Scores:
        """Of the test queries, by vectors of so many leading dimensions."""
        documents, queries = _prefix(self.documents, dims), _prefix(self.queries, dims)
        near = nearest(queries, [documents], depth(MEASURES))
        return measure(Ranking(list(self.of.sets.test), self.ids, near), self.of.sets.test, MEASURES)


def rotated(base: Measured, of: Domain, *, learnt: bool, seed: int) -> Measured:
    """The same vectors on the principal axes of the training queries, or of the documents where those are few.

    Or on axes learnt so that prefixes rank as whole vectors do.
    """
    asked = base.encoder.encode([of.queries[query] for query in of.sets.train], kind="query")
    if learnt:
        axes = ranking_axes(asked, base.documents, PREFIXES, seed=seed)
    else:
        axes = principal_axes(asked if len(asked) >= asked.shape[1] else base.documents)
    found = copy(base)
    found.documents, found.queries = base.documents @ axes, base.queries @ axes
    return found


def row(about: dict[str, Any], measured: Measured, base: Scores | None) -> dict[str, Any]:
    """One line of the result."""
    scores = measured.scores()
    line: dict[str, Any] = {**about, "documents": len(measured.ids)}
    for key, interval in scores.intervals(about["seed"]).items():
        line[key] = {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}
        if base is not None:
            paired = scores.against(base, about["seed"])[key]
            line[f"{key} gain"] = {"delta": paired.delta, "relative": paired.delta / base.mean[key], "p": paired.p}
    full = scores.mean["ndcg@10"]
    line["kept"] = {str(dims): measured.scores(dims).mean["ndcg@10"] / full for dims in PREFIXES}
    return line


def teach(way: str, of: Domain, base: Measured, seed: int, label: str) -> tuple[Encoder, dict[str, Any]]:
    """A model, tuned in one of the ways; base has its vectors as it is now."""
    encoder = _model() if isinstance(base.encoder, Kept) else base.encoder
    texts = tuple(of.documents[id_].full for id_ in base.ids)
    unique = dict(zip(texts, base.documents, strict=True))
    corpus, rules = Corpus(tuple(unique), np.stack(list(unique.values()))), MineSettings(seed=seed)
    pairs, dev = of.pairs(), None if way == "made" else _dev(of, base)
    if way == "made":
        # Nobody asked: there are no pairs and no dev part but what the documents themselves give.
        pairs = list(harvest(of.documents.values(), PairSettings(most=len(of.sets.train), seed=seed)).pairs)
        answers = tuple(dict.fromkeys(pair.positive for pair in pairs))
        corpus = Corpus(answers, encoder.encode(answers, kind="document"))
    if TUNED[way] == "mined":
        pairs = with_mined(pairs, corpus, encoder, rules)[0]
    elif TUNED[way] == "random":
        pairs = with_random(pairs, corpus.texts, rules.negatives, seed)
    usual = trainable(encoder)[1]
    sizes = (*PREFIXES,) if "matryoshka" in way else ()
    settings = TuneSettings(
        seed=seed, rate=usual.rate, epochs=usual.epochs, matryoshka=sizes, rotate=way == "matryoshka",
        doubt=doubt(len(of.sets.dev)),
    )  # fmt: skip
    with bar(label) as progress:
        tuned = tune(encoder, pairs, negatives="given", settings=settings, dev=dev, progress=progress)
    told = {"pairs": tuned.pairs, "rows": tuned.rows, "seconds": round(tuned.seconds, 1), "epoch": tuned.epoch}
    return tuned.encoder, {**told, "dev": [tuned.base, tuned.best]}


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
        base = Measured(Kept(SMALL_MODEL), of, "published")
        general = _sts(Kept(SMALL_MODEL), sentences)
        for name in models:
            about = {"set": asked.set, "model": name, "seed": seed}
            if name in TUNED or name in ROTATED:
                about["queries"] = len(of.sets.train)
            if any(about.items() <= line.items() for line in rows):
                continue
            label = f"{asked.set}, {name}, seed {seed}"
            before = base if "words" not in name else Measured(_words(of, seed, label), of, label)
            if name in ("base", "words"):
                line = row(about, before, None)
            elif name in ROTATED:
                turned = rotated(base, of, learnt=ROTATED[name], seed=seed)
                line = row(about, turned, base.scores())
            elif name == "large":
                line = row(about, Measured(Kept(LARGE_MODEL), of, label), base.scores())
            else:
                encoder, told = teach(name, of, before, seed, label)
                line = {**row(about, Measured(encoder, of, label), before.scores()), **told}
                if before is base:
                    line["sts-b points lost"] = 100 * (general - _sts(encoder, sentences))
            # A row that took minutes is kept as soon as it is there, beside those that another run kept meanwhile.
            rows = [*(ruler.last_result(question) or {}).get("rows", []), line]
            saved = {"rows": rows, "environment": ruler.environment("torch", "tokenizers")}
            ruler.save(question, saved)
    ruler.table([_short(line) for line in rows if line["set"] == asked.set])


def _model() -> SentenceEncoder:
    encoder = load(SMALL_MODEL)
    assert isinstance(encoder, SentenceEncoder)
    return encoder


def _sts(encoder: Encoder | Kept, sentences: Scored) -> float:
    """Spearman on STS-B dev."""
    return sts(encoder.encode(sentences.first), encoder.encode(sentences.second), sentences.scores).value


def _words(of: Domain, seed: int, label: str) -> Encoder:
    """Word vectors of the domain's own texts."""
    with bar(label) as progress:
        return train_base([document.full for document in of.documents.values()], seed=seed, progress=progress)


def _dev(of: Domain, base: Measured) -> Callable[[Encoder], float]:
    """nDCG@10 among the dev answers and what the model as it comes in puts near the dev queries.

    Training asks first for the score of the weights that came in: their vectors are there already.
    """
    asked = {query: of.queries[query] for query in of.sets.dev}
    queries = base.encoder.encode(list(asked.values()), kind="query")
    near = nearest(queries, [base.documents], DEV_POOL)
    kept = set(near.ids.ravel().tolist())
    kept |= {base.row[id_] for found in of.sets.dev.values() for id_, grade in found.items() if grade > 0}
    rows = sorted(kept)
    ids = [base.ids[i] for i in rows]
    found = nearest(queries, [base.documents[rows]], 10)
    before = measure(Ranking(list(asked), ids, found), of.sets.dev, MEASURES).mean[MEASURES[0]]
    after = score_among([of.documents[id_] for id_ in ids], asked, of.sets.dev)
    answers = chain([lambda _: before], repeat(after))
    return lambda encoder: next(answers)(encoder)


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
