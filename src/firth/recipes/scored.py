"""Sentence pairs with people's scores, as STS-B has them: what a model knows beyond its domain, before and after."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from firth.arrays import Encoder
from firth.errors import DataError
from firth.evaluate.similarity import sts
from firth.evaluate.statistics import Score

COLUMNS = 3  # sentence, sentence, score


@dataclass(frozen=True)
class Scored:
    """n pairs of sentences, and how alike people found them on any scale."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: tuple[float, ...]


def scored_pairs(path: Path) -> Scored:
    """Read sentence1,sentence2,score from a .csv or .tsv, with or without a header.

    Raises:
        DataError: not such a file; names the line.
    """
    if not path.is_file():
        raise DataError("there is no such file of scored sentence pairs", path=path)
    rows: list[tuple[str, str, float]] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        for row in reader:
            if len(row) != COLUMNS:
                told = f"expected sentence1, sentence2, score, got {len(row)} columns"
                raise DataError(told, path=path, line=reader.line_num)
            try:
                rows.append((row[0], row[1], float(row[2])))
            except ValueError as error:
                if rows or reader.line_num > 1:  # the first line may be a header
                    told = f"score {row[2]!r}: expected a number"
                    raise DataError(told, path=path, line=reader.line_num) from error
    if not rows:
        raise DataError("holds no scored sentence pairs", path=path)
    first, second, scores = zip(*rows, strict=True)
    return Scored(first, second, scores)


def spearman_of(encoder: Encoder, pairs: Scored, seed: int = 0) -> Score:
    """Spearman of the cosines with the scores, with its interval."""
    return sts(encoder.encode(pairs.first), encoder.encode(pairs.second), pairs.scores, seed=seed)
