"""Hard negatives: documents that rank high for a query and are no answer, chosen from a table of neighbours.

The nearest candidates are often answers that nobody marked. They are told by the positive: a candidate that scores
nearly as high as a known answer is left out (NV-Retriever: de Souza Moreira et al. 2024, arXiv:2407.15831, found
95 % of the positive's score the best of the rules tried). Refreshing the negatives with the tuned model is ANCE: Xiong
et al. 2020, arXiv:2007.00808.

`mine` is a pure function of arrays: who is near each query, and how each query scores its answers. Memory is bounded
by a setting; the neighbours may be memory-mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from firth.arrays import NO_ID, NO_SCORE, Ids, Neighbours, Vectors
from firth.errors import SettingsError, ShapeError
from firth.progress import Progress, silent

Reranker = Callable[[Ids, Ids], NDArray[np.floating]]
Marks = NDArray[np.bool_]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class MineSettings:
    """Which candidates are hard negatives."""

    negatives: int = 8  # kept a query, of which each epoch draws some; beyond 10 little was gained in NV-Retriever
    relative: float | None = 0.95  # a candidate scores at most this share of the query's lowest-scored answer
    absolute: float | None = None  # … and at least this much below it, in units of the score
    most: float | None = None  # no candidate above this score
    least: float | None = None  # none below
    skip: int = 0  # of what is left, leave out the best: insurance against unmarked answers
    depth: int | None = 30  # then choose among this many; None = all that the table holds
    duplicate: float = 0.97  # cosine to an answer from which on a candidate is that answer in other clothes
    sampling: str = "random"  # among what is left: an unmarked answer is drawn seldom; or "top", the best of it
    megabytes: int = 256  # working memory beyond the inputs and the result
    seed: int = 0  # of random sampling

    def __post_init__(self) -> None:
        for name, low in (("negatives", 1), ("skip", 0), ("megabytes", 1), ("depth", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise SettingsError(f"{name}: expected at least {low}, got {value}")
        if self.relative is not None and not 0 < self.relative <= 1:
            raise SettingsError(f"relative: expected a share of the answer's score, 0 to 1, got {self.relative}")
        if self.sampling not in ("top", "random"):
            raise SettingsError(f"sampling: expected top or random, got {self.sampling!r}")


@dataclass(frozen=True)
class Mined:
    """What was mined, and what was not.

    Attributes:
        negatives: Neighbours (q, negatives), best first, short rows padded.
        removed: how many candidates each rule left out, in the order of the rules; each is counted once.
        candidates: how many there were.
        short: queries that got fewer negatives than asked for; `empty` of them got none.
        empty: queries without any negative.
        spread: of "positive", "hard" and, where they were given, "random" scores the 5, 25, 50, 75 and 95 % quantiles.
    """

    negatives: Neighbours
    removed: dict[str, int]
    candidates: int
    short: Ids
    empty: Ids
    spread: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The account in words, a line a fact."""
        kept = int((self.negatives.ids != NO_ID).sum())
        told = [f"{kept:,} negatives for {len(self.negatives):,} queries out of {self.candidates:,} candidates"]
        told += [f"  left out, {rule}: {count:,}" for rule, count in self.removed.items() if count]
        if len(self.short):
            told.append(f"  {len(self.short):,} queries got fewer than {self.negatives.k}, {len(self.empty):,} none")
        for kind, values in self.spread.items():
            told.append(f"  {kind} scores: {' '.join(f'{value:.3f}' for value in values)} (5 25 50 75 95 %)")
        return told


def mine(
    neighbours: Neighbours,
    positives: Neighbours,
    settings: MineSettings | None = None,
    *,
    vectors: Vectors | None = None,
    rerank: Reranker | None = None,
    random_scores: NDArray[np.floating] | None = None,
    progress: Progress = silent,
) -> Mined:
    """Choose hard negatives for each query.

    Args:
        neighbours: (q, k) the candidates: documents near each query, best first.
        positives: (q, p) each query's answers with their scores, in any order, padded like any Neighbours.
        settings: the rules.
        vectors: (n, d) unit rows of the documents; with them near-duplicates of an answer are left out. May be a
            memory map.
        rerank: a better judge: (m,) query rows and (m,) document ids -> (m,) scores. It replaces the scores of
            candidates and answers before the margins are applied.
        random_scores: scores of queries with random documents, for the account only.
        progress: told queries done.

    Returns:
        The negatives and an account of what each rule removed.

    Raises:
        ShapeError: the tables have different numbers of queries, a score is not a number, or an answer of a query is
            missing (a query without answers cannot have negatives).
    """
    settings = settings or MineSettings()
    _check(neighbours, positives)
    q, r = len(neighbours), settings.negatives
    ids = np.full((q, r), NO_ID, np.int64)
    scores = np.full((q, r), NO_SCORE, np.float32)
    removed = dict.fromkeys(_RULES, 0)
    candidates = 0
    answers = np.array(positives.scores, np.float32)
    random = np.random.default_rng(settings.seed)
    for block in _blocks(neighbours, positives, vectors, settings.megabytes):
        near, near_scores = neighbours.ids[block], np.array(neighbours.scores[block], np.float32)
        known = positives.ids[block]
        rules = _Rules(near, near != NO_ID)
        candidates += int(rules.left.sum())
        rules.remove("is an answer", (near[:, :, None] == known[:, None, :]).any(2))
        if vectors is not None:
            rules.remove("near-duplicate of an answer", _duplicates(near, rules.left, known, vectors, settings))
        if rerank is not None:
            near_scores = _reranked(near, rules.left, block.start, rerank, near_scores)
            answers[block] = _reranked(known, known != NO_ID, block.start, rerank, answers[block])
        lowest = np.where(known == NO_ID, np.inf, answers[block]).min(1)
        _apply_margins(rules, near_scores, lowest, settings)
        ids[block], scores[block] = _choose(rules, near_scores, settings, random)
        for rule, count in rules.removed.items():
            removed[rule] += count
        progress(block.stop, q, "mining")
    negatives = Neighbours(ids, scores)
    found = (ids != NO_ID).sum(1)
    spread = {"positive": answers[positives.ids != NO_ID], "hard": scores[ids != NO_ID]}
    if random_scores is not None:
        spread["random"] = np.asarray(random_scores, np.float32).ravel()
    return Mined(
        negatives,
        removed,
        candidates,
        short=np.flatnonzero(found < r),
        empty=np.flatnonzero(found == 0),
        spread={name: _quantiles(values) for name, values in spread.items() if len(values)},
    )


_RULES = (
    "is an answer",
    "near-duplicate of an answer",
    "too near the answer's score",
    "score out of range",
    "among the best skipped",
    "beyond the depth",
    "more than asked for",
)


class _Rules:
    """Which of a block's (b, k) candidates are left, and how many each rule removed."""

    def __init__(self, ids: Ids, left: Marks) -> None:
        self.ids, self.left = ids, left
        self.removed: dict[str, int] = {}

    def remove(self, rule: str, marks: Marks) -> None:
        self.removed[rule] = int((self.left & marks).sum())
        self.left &= ~marks


def _apply_margins(rules: _Rules, scores: Vectors, lowest: Vectors, settings: MineSettings) -> None:
    limit = np.full(len(lowest), np.inf, np.float32)
    if settings.relative is not None:
        # Taken off the size of the score: a share of a negative score would lie above it.
        limit = np.minimum(limit, lowest - (1 - settings.relative) * np.abs(lowest))
    if settings.absolute is not None:
        limit = np.minimum(limit, lowest - settings.absolute)
    rules.remove("too near the answer's score", scores > limit[:, None])
    most = np.inf if settings.most is None else settings.most
    least = -np.inf if settings.least is None else settings.least
    rules.remove("score out of range", (scores > most) | (scores < least))


def _choose(rules: _Rules, scores: Vectors, settings: MineSettings, random: np.random.Generator) -> tuple[Ids, Vectors]:
    """The settings' number of negatives of each row, best first."""
    rank = _ranks(np.where(rules.left, scores, -np.inf))
    rules.remove("among the best skipped", rank < settings.skip)
    if settings.depth is not None:
        rules.remove("beyond the depth", rank >= settings.skip + settings.depth)
    if settings.sampling == "random":
        # One draw a cell, whatever was removed: the same seed gives the same negatives for any size of block.
        drawn = random.random(scores.shape, dtype=np.float32)
        rules.remove("more than asked for", _ranks(np.where(rules.left, drawn, -np.inf)) >= settings.negatives)
    else:
        rank = _ranks(np.where(rules.left, scores, -np.inf))
        rules.remove("more than asked for", rank >= settings.negatives)
    kept = np.where(rules.left, scores, NO_SCORE)
    order = np.argsort(-kept, axis=1, kind="stable")[:, : settings.negatives]
    best = np.take_along_axis(kept, order, 1)
    ids = np.where(best > NO_SCORE, np.take_along_axis(rules.ids, order, 1), NO_ID)
    wanted = ((0, 0), (0, settings.negatives - ids.shape[1]))
    return np.pad(ids, wanted, constant_values=NO_ID), np.pad(best, wanted, constant_values=NO_SCORE)


def _ranks(values: Vectors) -> NDArray[np.int64]:
    """(b, k) 0 for the largest of each row, 1 for the next; equal ones in their order."""
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(values.shape[1]), values.shape), 1)
    return ranks


def _duplicates(ids: Ids, left: Marks, known: Ids, vectors: Vectors, settings: MineSettings) -> Marks:
    """Which candidates are as near to one of the query's answers as another wording of it."""
    rows = vectors[np.where(left, ids, 0)]  # (b, k, d)
    marks = np.zeros(ids.shape, bool)
    for column in known.T:
        answers = vectors[np.where(column == NO_ID, 0, column)]
        alike = np.matmul(rows, answers[:, :, None])[:, :, 0] >= settings.duplicate
        marks |= alike & (column != NO_ID)[:, None]
    return marks


def _reranked(ids: Ids, left: Marks, first: int, rerank: Reranker, scores: Vectors) -> Vectors:
    """Scores of another judge in place of these, where there is a candidate left."""
    rows, columns = np.nonzero(left)
    judged = np.asarray(rerank(rows + first, ids[rows, columns]), np.float32)
    if judged.shape != rows.shape or not np.isfinite(judged).all():
        raise ShapeError(f"rerank: expected {len(rows)} finite scores, one a pair, got {judged.shape}")
    out = scores.copy()
    out[rows, columns] = judged
    return out


def _blocks(neighbours: Neighbours, positives: Neighbours, vectors: Vectors | None, megabytes: int) -> Iterator[slice]:
    """Runs of queries whose work fits the memory."""
    k, p = neighbours.k, positives.k
    # A cell holds ranks, orders, draws and masks at once, about 64 bytes, and one comparison an answer.
    row = k * (64 + p) + (0 if vectors is None else (k + 1) * vectors.shape[1] * vectors.itemsize)
    size = max(1, megabytes * 1_000_000 // max(1, row))
    for start in range(0, len(neighbours), size):
        yield slice(start, min(start + size, len(neighbours)))


def _quantiles(values: Vectors) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, QUANTILES))


def _check(neighbours: Neighbours, positives: Neighbours) -> None:
    if len(neighbours) != len(positives):
        raise ShapeError(f"{len(neighbours)} queries have neighbours, {len(positives)} have answers")
    without = np.flatnonzero((positives.ids == NO_ID).all(1)) if positives.k else np.arange(len(positives))
    if len(without):
        raise ShapeError(f"{len(without)} queries have no answer, the first is row {without[0]}; leave them out")
    for name, table in (("neighbours", neighbours), ("positives", positives)):
        if not np.isfinite(table.scores[table.ids != NO_ID]).all():
            raise ShapeError(f"{name}: a score is NaN or infinite; was an empty text encoded?")
