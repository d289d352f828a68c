"""From BERT to Sentence-BERT: how well do sentence vectors agree with people before and after each objective?

Run:   make bench Q="sentences --bert BERT"   (20 min on 2 cores; --small 2 min; a run that stopped goes on)
       BERT is a folder of firth pretrain, see docs/pretraining.md
Last:  2026-11-23, --pairs 4000, three seeds, bert_mini after 33.4 M tokens (still on the plateau of its pre-training);
       Spearman on STS-B dev, n = 1,500, intervals of 0.02 to 0.11 in the result file
       seeds 0, 1, 2    firth's BERT          MiniLM, reset
       untuned, [CLS]   0.154                 0.692  0.699  0.696     MiniLM as published: [CLS] 0.797, mean 0.867
       untuned, mean    0.335                 0.653  0.656  0.665
       siamese softmax  0.317  0.339  0.319   0.709  0.697  0.691
       triplet          0.410  0.401  0.394   0.754  0.744  0.738
       InfoNCE          0.447  0.455  0.447   0.790  0.786  0.792

A BERT pre-trained by firth (four layers, 256 dimensions) is read by its [CLS] and by the mean of its tokens, before and
after tuning with the mean. What it learns from is SNLI, dev and test part, 19,664 judged pairs, or --pairs of them: the
siamese softmax takes all three classes; triplet and InfoNCE take premises that have both an entailed and a contradicted
hypothesis, the latter as the negative. A premise or hypothesis that STS-B holds is left out. Two epochs, batch 32.
Beside it all-MiniLM-L6-v2: as published, its mean being what it was published for, and with the last two of its six
layers drawn anew by each seed, which unlearns its sentence vectors and keeps what it knows of words.
Source: Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084, tables 1 and 6.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import measure as ruler
from firth.contextual.bert import Bert
from firth.evaluate.similarity import sts
from firth.progress import bar
from firth.recipes.scored import Scored, scored_pairs
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.pool import Pooling
from firth.sentence.published import resolve
from firth.sentence.tune import TuneSettings, tune
from firth.text.records import Pair

SNLI = [ruler.DATA / "nli" / f"snli_{part}.tsv" for part in ("dev", "test")]
STS = [ruler.DATA / "sts" / f"stsb-en-{part}.csv" for part in ("dev", "train")]
CLASSES = {"entailment": 0.0, "neutral": 1.0, "contradiction": 2.0}
LOSSES = ("softmax", "triplet", "info_nce")
FIRTHS, RESET = "firth's BERT", "MiniLM, reset"
PUBLISHED = "sentence-transformers/all-MiniLM-L6-v2"
ANEW = 2  # layers of MiniLM that are drawn anew
SETTINGS = TuneSettings(epochs=2, rate=1e-4, batch=32, negatives=1)  # 1e-4: small BERTs take more than 3e-5


def encoder(folder: Path, mode: str) -> SentenceEncoder:
    """The BERT of a folder, its sentences read in one way."""
    found = SentenceEncoder.load(folder)
    settings = replace(found.settings, pooling=Pooling((mode,)))
    return SentenceEncoder(found.module.bert, found.tokenizer, settings)


def reset(mode: str, seed: int) -> SentenceEncoder:
    """MiniLM with its last layers as a new model has them."""
    found = encoder(resolve(PUBLISHED), mode)
    torch.manual_seed(seed)
    fresh = Bert(found.module.bert.settings)
    for layer, drawn in zip(found.module.bert.layers[-ANEW:], fresh.layers[-ANEW:], strict=True):
        layer.load_state_dict(drawn.state_dict())
    return found


def judged(known: set[str]) -> list[tuple[str, str, str]]:
    """(premise, hypothesis, class), without sentences that are known from the test."""
    rows: list[tuple[str, str, str]] = []
    for path in SNLI:
        with path.open(encoding="utf-8") as file:
            for line in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                pair = line["premise"], line["hypothesis"]
                if line["label"] in CLASSES and not known & {_plain(text) for text in pair}:
                    rows.append((*pair, line["label"]))
    return rows


def examples(rows: list[tuple[str, str, str]], loss: str) -> list[Pair]:
    """As the loss wants them: classes as scores, or an entailed hypothesis against a contradicted one."""
    if loss == "softmax":
        return [Pair(premise, hypothesis, score=CLASSES[label]) for premise, hypothesis, label in rows]
    of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for premise, hypothesis, label in rows:
        of[premise][label].append(hypothesis)
    return [
        Pair(premise, entailed, negatives=(wrong,))
        for premise, found in of.items()
        for entailed, wrong in zip(found["entailment"], found["contradiction"], strict=False)
    ]


def row(
    start: str, objective: str, reading: str, seed: int | None, model: SentenceEncoder, test: Scored
) -> dict[str, Any]:
    """One line of the table."""
    score = sts(model.encode(test.first), model.encode(test.second), test.scores)
    low, high = score.interval.low, score.interval.high
    return {"start": start, "objective": objective, "read by": reading, "seed": seed, "spearman": score.value,
            "low": low, "high": high, "n": len(test.scores)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bert", type=Path, help="without it only the published model is read")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--pairs", type=int, help="judged pairs, at most")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    test = scored_pairs(STS[0])
    known = {_plain(text) for path in STS for side in _sides(scored_pairs(path)) for text in side}
    given = judged(known)[: 2_000 if asked.small else asked.pairs]
    question = "sentences_small" if asked.small else "sentences"
    # Rows are of one BERT and one set of pairs; a run that was interrupted goes on by the same command.
    about: dict[str, Any] = {"given": len(given), "left out": len(judged(set())) - len(judged(known))}
    last = ruler.last_result(question) or {}
    if asked.bert:
        about["bert"] = encoder(asked.bert, "mean").fingerprint
    rows = last["rows"] if about.items() <= last.items() else _as_they_come(asked.bert, test)
    about["bert"] = about.get("bert", last.get("bert"))
    seeds = [0] if asked.small else [int(seed) for seed in asked.seeds.split(",")]
    starts = {FIRTHS: lambda mode, _: encoder(asked.bert, mode)} if asked.bert else {}
    starts[RESET] = reset
    for seed, (start, begin) in itertools.product(seeds, starts.items()):
        for mode in ("cls", "mean"):
            if start == RESET and not _there(rows, start, "none", mode, seed):
                rows.append(row(start, "none", mode, seed, begin(mode, seed), test))
    for seed, start, loss in itertools.product(seeds, starts, LOSSES):
        if _there(rows, start, loss, "mean", seed):
            continue
        model = starts[start]("mean", seed)
        settings = replace(SETTINGS, loss=loss, seed=seed, epochs=1 if asked.small else SETTINGS.epochs)
        with bar(f"{loss}, seed {seed}") as progress:
            tuned = tune(model, examples(given, loss), settings=settings, progress=progress)
        line = row(start, loss, "mean", seed, model, test)
        rows.append({**line, "pairs": tuned.pairs, "seconds": round(tuned.seconds, 1)})
        # A row that took minutes is kept as soon as it is there.
        ruler.save(question, {**about, "rows": rows, "environment": ruler.environment("torch", "tokenizers")})
    ruler.table([{key: line[key] for key in rows[0]} for line in rows])


def _as_they_come(bert: Path | None, test: Scored) -> list[dict[str, Any]]:
    """Both readings of the BERT and of the published model, untuned."""
    return [
        row(start, "none", mode, None, encoder(folder, mode), test)
        for start, folder in ((FIRTHS, bert), ("MiniLM as published", resolve(PUBLISHED)))
        if folder is not None
        for mode in ("cls", "mean")
    ]


def _there(rows: list[dict[str, Any]], *line: object) -> bool:
    return any((old["start"], old["objective"], old["read by"], old["seed"]) == line for old in rows)


def _sides(pairs: Scored) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return pairs.first, pairs.second


def _plain(text: str) -> str:
    """Letters and digits only: SNLI is tokenised here, STS-B is not."""
    return "".join(char for char in text.casefold() if char.isalnum())


if __name__ == "__main__":
    main()
