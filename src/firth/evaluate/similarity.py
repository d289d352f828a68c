"""Tasks of pairs, as functions of arrays: STS, pair classification, bitext mining, summarization.

    sts                  Spearman of the cosine of each pair with people's scores
    pair_classification  average precision of telling the pairs that belong together, over four distances
    bitext               each sentence's nearest neighbour in the other language is its translation: F1
    summarization        Spearman of a summary's nearness to people's summaries with people's scores of it

Each has the protocol of mteb 2.x (Muennighoff et al. 2022, arXiv:2210.07316; Enevoldsen et al. 2025,
arXiv:2502.13595) and agrees with its evaluators to 1e-5; beyond them each has an interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import Vectors, as_vectors, unit
from firth.errors import DataError, ShapeError
from firth.evaluate.exact import nearest
from firth.evaluate.statistics import Score, bootstrap, bootstrap_of

Floats = NDArray[np.float64]


def sts(first: Vectors, second: Vectors, gold: ArrayLike, *, seed: int = 0) -> Score:
    """How well the nearness of pairs agrees with people's judgement of it.

    Args:
        first, second: (n, d) float32, row i of both is one pair.
        gold: (n,) people's scores, on any scale.

    Returns:
        Score whose main value is cosine_spearman; also pearson, and both for negative manhattan and euclidean distance.

    Raises:
        ShapeError: the three differ in length, or the vectors in width.
        DataError: fewer than two pairs, NaN, or people gave every pair one score.
    """
    a, b = _paired(first, second)
    scores = _numbers(gold, len(a), "gold")
    near = _nearness(a, b)
    values: dict[str, float] = {}
    for name in ("cosine", "manhattan", "euclidean"):
        values[f"{name}_spearman"] = spearman(scores, near[name])
        values[f"{name}_pearson"] = pearson(scores, near[name])
    interval = bootstrap_of(_spearman_or_zero, [scores, near["cosine"]], seed)
    return Score("cosine_spearman", values, interval)


def pair_classification(first: Vectors, second: Vectors, labels: ArrayLike, *, seed: int = 0) -> Score:
    """How well nearness tells the pairs that belong together (label 1) from those that do not (label 0).

    Returns:
        Score whose main value is max_ap, the best of the four distances' average precision; also, for cosine, dot,
        manhattan and euclidean: ap, and accuracy, f1, precision, recall at the threshold that is best for each.

    Raises:
        ShapeError: lengths or widths differ.
        DataError: labels other than 0 and 1, or only one of them.
    """
    a, b = _paired(first, second)
    truth = _numbers(labels, len(a), "labels")
    if not np.isin(truth, (0, 1)).all():
        raise DataError(f"labels: expected 0 or 1, got {sorted(set(truth.tolist()))[:5]}")
    if truth.min() == truth.max():
        raise DataError(f"labels: all {len(truth):,} pairs have label {truth[0]:g}; both classes are needed")
    values: dict[str, float] = {}
    near = _nearness(a, b)
    for name, scores in near.items():
        values |= {f"{name}_{measure}": value for measure, value in _thresholds(scores, truth).items()}
        values[f"{name}_ap"] = average_precision(scores, truth)
    for measure in ("ap", "accuracy", "f1", "precision", "recall"):
        values[f"max_{measure}"] = max(values[f"{name}_{measure}"] for name in near)
    best = max(near, key=lambda name: values[f"{name}_ap"])
    interval = bootstrap_of(average_precision, [near[best], truth], seed)
    return Score("max_ap", values, interval)


def bitext(first: Vectors, second: Vectors, gold: ArrayLike | None = None, *, seed: int = 0) -> Score:
    """How often the nearest sentence of the other language, by cosine, is the translation.

    Args:
        first: (n, d) sentences asked for.
        second: (m, d) sentences to choose from.
        gold: (n,) row of second that translates row i; None where row i translates row i.

    Returns:
        Score whose main value is f1, weighted over the sentences of `second`; also precision, recall, accuracy.

    Raises:
        ShapeError: widths or lengths differ.
        DataError: a row in gold that second does not have.
    """
    a, b = as_vectors(first, name="first"), as_vectors(second, dims=np.shape(first)[1], name="second")
    truth = np.arange(len(a)) if gold is None else np.asarray(gold, np.int64)
    if truth.shape != (len(a),):
        raise ShapeError(f"gold: expected one row for each of {len(a):,} sentences, got shape {truth.shape}")
    if len(truth) == 0 or truth.min() < 0 or truth.max() >= len(b):
        raise DataError(f"gold: translations must be rows 0 to {len(b) - 1:,} of second, and there must be some")
    found = nearest(unit(a), [unit(b)], 1).ids[:, 0]
    right = found == truth
    hits = np.bincount(truth[right], minlength=len(b))
    chosen, wanted = np.bincount(found, minlength=len(b)), np.bincount(truth, minlength=len(b))
    precision, recall = hits / np.maximum(chosen, 1), hits / np.maximum(wanted, 1)
    f1 = 2 * hits / np.maximum(chosen + wanted, 1)
    values = {
        "f1": _weighted(f1, wanted),
        "precision": _weighted(precision, wanted),
        "recall": _weighted(recall, wanted),
        "accuracy": float(right.mean()),
    }
    return Score("f1", values, bootstrap(f1[truth], seed))


def summarization(
    people: Sequence[Vectors], machine: Sequence[Vectors], gold: Sequence[ArrayLike], *, seed: int = 0
) -> Score:
    """How well a machine's summary is graded by its nearness to the nearest of people's summaries.

    Args:
        people: for each of n texts, (h, d) people's summaries.
        machine: for each text, (m, d) machines' summaries.
        gold: for each text, (m,) people's scores of the machines' summaries.

    Returns:
        Score whose main value is cosine_spearman, the mean over texts; also cosine_pearson, dot_spearman, dot_pearson.
        A text whose scores or whose nearnesses are all equal has no correlation and is left out; n counts the rest.

    Raises:
        ShapeError: the three differ in length.
        DataError: no text is left.
    """
    found: dict[str, list[float]] = {"cosine_spearman": [], "cosine_pearson": [], "dot_spearman": [], "dot_pearson": []}
    for i, (human, made, graded) in enumerate(zip(people, machine, gold, strict=True)):
        scores = _numbers(graded, len(made), f"gold[{i}]")
        cosine = (unit(made) @ unit(human).T).max(axis=1).astype(np.float64)
        dot = (made @ human.T).max(axis=1).astype(np.float64)
        if any(len(set(values.tolist())) == 1 for values in (scores, cosine, dot)):
            continue
        for name, near in (("cosine", cosine), ("dot", dot)):
            found[f"{name}_spearman"].append(spearman(scores, near))
            found[f"{name}_pearson"].append(pearson(scores, near))
    if not found["cosine_spearman"]:
        raise DataError(f"none of {len(people):,} texts has summaries that differ in score and in nearness")
    values = {name: float(np.mean(each)) for name, each in found.items()}
    return Score("cosine_spearman", values, bootstrap(found["cosine_spearman"], seed))


def ranks(values: ArrayLike) -> Floats:
    """(n,) rank of each value from 1, equal values sharing the mean of their ranks."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Floats = (last - (counts - 1) / 2)[inverse]
    return shared


def pearson(first: ArrayLike, second: ArrayLike) -> float:
    """Linear correlation of two (n,) arrays.

    Raises:
        DataError: fewer than two values, or one side is constant.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    if len(a) < 2 or size == 0:
        raise DataError(f"a correlation needs two different values on both sides, got {len(a):,} pairs without")
    return float(np.clip(a @ b / size, -1.0, 1.0))


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Correlation of the ranks of two (n,) arrays, equal values sharing their mean rank; raises as `pearson`."""
    return pearson(ranks(first), ranks(second))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Σ over thresholds of (recall gained) · precision, equal scores taken together; labels are 0 or 1.

    Zero where no label is 1.
    """
    near, truth = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    order = np.argsort(-near, kind="stable")
    near, truth = near[order], truth[order]
    last = np.flatnonzero(np.append(np.diff(near) != 0, True))  # the end of each group of equal scores
    hits = np.cumsum(truth)[last]
    if hits[-1] == 0:
        return 0.0
    return float((np.diff(hits, prepend=0) * hits / (last + 1)).sum() / hits[-1])


def _thresholds(scores: Floats, labels: Floats) -> dict[str, float]:
    """The best accuracy, and the best F1 with its precision and recall, over thresholds between two scores."""
    order = np.argsort(-scores, kind="stable")
    near, truth = scores[order], labels[order]
    cut = np.flatnonzero(np.diff(near) != 0)  # a threshold stands between two different scores
    values = {"accuracy": 0.0, "f1": 0.0, "precision": 0.0, "recall": 0.0}
    if len(cut) == 0:
        return values
    hits, taken, positives = np.cumsum(truth)[cut], cut + 1, truth.sum()
    values["accuracy"] = float((2 * hits - taken + (len(truth) - positives)).max() / len(truth))
    f1 = 2 * hits / (taken + positives)
    best = int(np.argmax(f1))
    if f1[best] > 0:
        values |= {"f1": f1[best], "precision": hits[best] / taken[best], "recall": hits[best] / positives}
    return {name: float(value) for name, value in values.items()}


def _nearness(a: Vectors, b: Vectors) -> dict[str, Floats]:
    """(n,) of each pair under four measures, larger is nearer."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    dot = (x * y).sum(axis=1)
    return {
        "cosine": dot / np.where(lengths == 0, 1, lengths),
        "dot": dot,
        "manhattan": -np.abs(x - y).sum(axis=1),
        "euclidean": -np.linalg.norm(x - y, axis=1),
    }


def _spearman_or_zero(first: Floats, second: Floats) -> float:
    """A draw of the bootstrap may be constant; it then shows no agreement."""
    constant = first.min() == first.max() or second.min() == second.max()
    return 0.0 if constant else spearman(first, second)


def _weighted(values: Floats, weights: NDArray[np.int64]) -> float:
    return float((values * weights).sum() / weights.sum())


def _paired(first: Vectors, second: Vectors) -> tuple[Vectors, Vectors]:
    a, b = as_vectors(first, name="first"), as_vectors(second, name="second")
    if a.shape != b.shape:
        raise ShapeError(f"pairs: first {a.shape} and second {b.shape} must be of one shape")
    if len(a) < 2:
        raise DataError(f"pairs: {len(a)} is too few to score")
    return a, b


def _numbers(values: ArrayLike, n: int, name: str) -> Floats:
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (n,):
        raise ShapeError(f"{name}: expected one number for each of {n:,} rows, got shape {numbers.shape}")
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise DataError(f"{name}: {len(bad)} of {n:,} are NaN or infinite, the first is number {bad[0]}")
    return numbers
