"""Where a training's negatives come from: the model's own mistakes among its nearest documents, or a draw from all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firth import kernels
from firth.arrays import NO_ID, Encoder, Ids, Neighbours, Vectors
from firth.index import Flat
from firth.sentence.mine import Mined, MineSettings, Reranker, mine
from firth.text.records import Pair

CANDIDATES = 100  # nearest documents of a query that negatives are chosen from
Judge = Callable[[Sequence[str], Sequence[str]], Any]
RANDOM_SCORES = 2_000  # pairs of a query and any document, for the account of the scores


@dataclass(frozen=True)
class Corpus:
    """Different texts and their vectors: what negatives are mined from."""

    texts: tuple[str, ...]
    vectors: Vectors


def with_mined(
    pairs: Sequence[Pair],
    corpus: Corpus,
    encoder: Encoder,
    rules: MineSettings,
    *,
    rerank: Judge | None = None,
) -> tuple[list[Pair], Mined]:
    """The pairs with hard negatives in place of those that they had, and the account of the mining.

    Args:
        pairs: every positive is one of the corpus's texts.
        corpus: different texts with vectors of `encoder`.
        encoder: encodes the queries.
        rules: which candidates are hard negatives.
        rerank: queries and documents, as many of one as of the other -> a score of each pair.
    """
    row = {text: i for i, text in enumerate(corpus.texts)}
    answers: dict[str, list[int]] = {}
    for pair in pairs:
        rows = answers.setdefault(pair.query, [])
        if row[pair.positive] not in rows:
            rows.append(row[pair.positive])
    queries = encoder.encode(list(answers), kind="query")
    asked = list(answers)

    def judged(rows: Ids, ids: Ids) -> Any:
        assert rerank is not None
        return rerank([asked[i] for i in rows.tolist()], [corpus.texts[j] for j in ids.tolist()])

    better = None if rerank is None else judged
    account = hard_negatives(queries, corpus.vectors, list(answers.values()), rules, rerank=better)
    hard = {
        query: tuple(corpus.texts[j] for j in found if j != NO_ID)
        for query, found in zip(answers, account.negatives.ids.tolist(), strict=True)
    }
    return [replace(pair, negatives=hard[pair.query]) for pair in pairs], account


def hard_negatives(
    queries: Vectors,
    vectors: Vectors,
    answers: Sequence[Sequence[int]],
    rules: MineSettings,
    *,
    rerank: Reranker | None = None,
    threads: int | None = None,
) -> Mined:
    """Mine a model's own mistakes among its exact neighbours.

    Args:
        queries: (q, d) float32 unit rows.
        vectors: (n, d) float32 unit rows of the documents.
        answers: rows of the documents that answer each query; at least one each.
        rules: which candidates are hard negatives.
        rerank: as in `mine`.
        threads: of the search; all cores if None.
    """
    ids = np.full((len(answers), max(map(len, answers))), NO_ID, np.int64)
    for i, rows in enumerate(answers):
        ids[i, : len(rows)] = rows
    positives = Neighbours(ids, kernels.scores(queries, vectors, ids))
    near = Flat.build(vectors).search(queries, k=min(CANDIDATES, len(vectors)), threads=threads)
    random = np.random.default_rng(rules.seed)
    drawn: Ids = random.integers(0, len(vectors), (RANDOM_SCORES, 1))
    any_scores = kernels.scores(queries[random.integers(0, len(queries), RANDOM_SCORES)], vectors, drawn)
    return mine(near, positives, rules, vectors=vectors, rerank=rerank, random_scores=any_scores)


def with_random(pairs: Sequence[Pair], texts: Sequence[str], count: int, seed: int) -> list[Pair]:
    """The pairs with `count` documents drawn from all, answers of the same query left out."""
    random = np.random.default_rng(seed)
    answers: dict[str, set[str]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).add(pair.positive)
    drawn = random.integers(0, len(texts), (len(pairs), count))
    return [
        replace(pair, negatives=tuple(t for t in (texts[j] for j in row) if t not in answers[pair.query]))
        for pair, row in zip(pairs, drawn.tolist(), strict=True)
    ]
