"""Is it better, and how sure are we: intervals, paired tests, several comparisons, and what n can show.

    bootstrap           95 % interval of a mean over queries (percentile bootstrap, Efron 1979)
    bootstrap_of        the same of any function of the rows, for instance a correlation
    paired_permutation  two systems on the same queries: random sign flips of the differences (Fisher 1935; for
                        retrieval: Smucker, Allan & Carterette 2007, doi:10.1145/1321440.1321528)
    holm                p-values of several comparisons, so that one in twenty is not won by asking twenty times
    visible, needed     the smallest difference that n queries can show, and the queries that a difference needs

All are functions of per-query scores. The same seed gives the same number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.errors import DataError, SettingsError, ShapeError

RESAMPLES = 10_000  # draws; two seeds then agree on a 95 % bound to about a hundredth of the interval's width
FEWER_RESAMPLES = 1_000  # draws where each costs a sort; a bound is then good to a thirtieth of the width
LEVEL = 0.95  # share of such intervals that hold the true mean
POWER = 0.8  # chance to see a difference that is there
_DRAWS_AT_ONCE = 4_000_000  # numbers in memory during resampling: 32 MB

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and how far it can be trusted.

    Attributes:
        value: the mean over the n queries.
        low, high: bounds of the 95 % bootstrap interval.
        n: queries behind it.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Score:
    """What a task other than retrieval found.

    Attributes:
        main: name of the value that the task is known by.
        values: all of them, by name.
        interval: of the main value, with the n behind it.
    """

    main: str
    values: dict[str, float]
    interval: Interval

    @property
    def value(self) -> float:
        """The main value."""
        return self.values[self.main]

    def __str__(self) -> str:
        return f"{self.main} {self.interval}, n = {self.interval.n:,}"


@dataclass(frozen=True)
class Paired:
    """Two systems on the same queries.

    Attributes:
        delta: mean of (second - first).
        p: two-sided p-value of the permutation test: how often chance alone differs as much.
        low, high: bounds of the 95 % bootstrap interval of delta.
        n: queries compared.
        visible: smallest |delta| that this many queries show four times in five.
    """

    delta: float
    p: float
    low: float
    high: float
    n: int
    visible: float


def bootstrap(values: ArrayLike, seed: int = 0, *, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """The mean of `values` with its percentile bootstrap interval.

    Queries are drawn with replacement `resamples` times; the bounds are quantiles of the means of the draws.

    Args:
        values: (n,) one score a query.
        seed: of the draws.

    Raises:
        DataError: empty, or NaN or infinite somewhere.

    Source: Efron 1979; for search, Sakai 2006, doi:10.1145/1148170.1148261.
    """
    scores = _scores(values, "values")
    _check_level(level)
    mean = float(scores.mean())
    if len(scores) == 1 or float(scores.min()) == float(scores.max()):
        return Interval(mean, mean, mean, len(scores))
    rng = np.random.default_rng(seed)
    n = len(scores)
    means = np.concatenate(
        [scores[rng.integers(0, n, (rows, n), dtype=np.int32)].mean(axis=1) for rows in _blocks(resamples, n)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), n)


def bootstrap_of(
    function: Callable[..., float],
    arrays: Sequence[NDArray[Any]],
    seed: int = 0,
    *,
    resamples: int = FEWER_RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """`function(*arrays)` with the percentile bootstrap interval over the rows that the arrays share.

    Args:
        function: of arrays with any number of rows, to one number.
        arrays: (n, …) each; row i of all of them is one example.

    Raises:
        ShapeError: the arrays differ in length.
        DataError: no rows.
    """
    _check_level(level)
    n = len(arrays[0])
    if any(len(array) != n for array in arrays):
        raise ShapeError(f"bootstrap: the arrays have {', '.join(str(len(array)) for array in arrays)} rows")
    if n == 0:
        raise DataError("bootstrap: no rows to draw from")
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = rng.integers(0, n, n)
        drawn.append(function(*(array[rows] for array in arrays)))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(function(*arrays)), float(low), float(high), n)


def paired_permutation(first: ArrayLike, second: ArrayLike, seed: int = 0, *, resamples: int = RESAMPLES) -> Paired:
    """Whether `second` differs from `first` on the same queries by more than chance.

    If nothing but chance separates the two, each query's difference could as well have the other sign. The p-value
    is the share of sign patterns whose mean is at least as far from zero as the measured one: of all 2^m patterns
    where that is fewer than `resamples` (m queries differ), else of `resamples` random ones, with one added to both
    counts so that p is never zero (Phipson & Smyth 2010, arXiv:1603.05766).

    Args:
        first, second: (n,) scores of the same n queries in the same order.

    Raises:
        ShapeError: the lengths differ.
        DataError: empty, or NaN or infinite somewhere.
    """
    a, b = _scores(first, "first"), _scores(second, "second")
    if a.shape != b.shape:
        raise ShapeError(f"a paired test needs the same queries: {len(a):,} scores against {len(b):,}")
    differences = b - a
    interval = bootstrap(differences, seed, resamples=resamples)
    return Paired(
        delta=interval.value,
        p=_sign_flip(differences[differences != 0], np.random.default_rng(seed), resamples),
        low=interval.low,
        high=interval.high,
        n=len(a),
        visible=visible(differences),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Each p-value adjusted for the number of comparisons made; those below 0.05 hold together at 5 %.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm({"ndcg@10": 0.01, "recall@10": 0.04, "mrr@10": 0.03})
    {'ndcg@10': 0.03, 'recall@10': 0.06, 'mrr@10': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def visible(differences: ArrayLike, *, power: float = POWER, level: float = LEVEL) -> float:
    """Smallest mean difference that a paired test over these queries shows with the given power.

    (z of the level + z of the power) · standard deviation / √n, the normal approximation. Infinite for one query;
    zero where no query differs.
    """
    values = _scores(differences, "differences")
    if len(values) < 2:
        return math.inf
    return _z(power, level) * float(values.std(ddof=1)) / math.sqrt(len(values))


def needed(difference: float, deviation: float, *, power: float = POWER, level: float = LEVEL) -> int:
    """Queries that a paired test needs to show `difference` when per-query differences deviate by `deviation`.

    >>> needed(0.02, 0.25)    # two points of nDCG@10 at the spread that tuning usually has
    1227
    """
    if difference == 0:
        raise SettingsError("no number of queries shows a difference of zero; say how large a change matters")
    return max(2, math.ceil((_z(power, level) * deviation / difference) ** 2))


def _sign_flip(differences: Values, rng: np.random.Generator, resamples: int) -> float:
    """Two-sided p-value; a query without a difference changes no sum and is left out by the caller."""
    m = len(differences)
    if m == 0:
        return 1.0
    # Sums that are equal on paper must count as equal: rounding of m additions is far below this.
    bar = abs(float(differences.sum())) - 1e-12 * float(np.abs(differences).sum())
    if m < 63 and 2**m <= resamples:
        patterns = (np.arange(2**m)[:, None] >> np.arange(m)) & 1
        return float((np.abs((1 - 2 * patterns) @ differences) >= bar).mean())
    extreme = 0
    for rows in _blocks(resamples, m):
        bits = np.unpackbits(rng.integers(0, 256, (rows, -(-m // 8)), dtype=np.uint8), axis=1, count=m)
        # A sum with random signs is twice the sum over the kept ones less the whole.
        sums = 2 * (bits.astype(np.float64) @ differences) - differences.sum()
        extreme += int((np.abs(sums) >= bar).sum())
    return (extreme + 1) / (resamples + 1)


def _blocks(resamples: int, n: int) -> Iterator[int]:
    if resamples < 1:
        raise SettingsError(f"resamples={resamples}: at least one draw is needed; {RESAMPLES:,} is usual")
    at_once = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        yield min(at_once, resamples - start)


def _scores(values: ArrayLike, name: str) -> Values:
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1:
        raise ShapeError(f"{name}: expected one score a query (n,), got shape {scores.shape}")
    if len(scores) == 0:
        raise DataError(f"{name}: no scores; were there judged queries?")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DataError(
            f"{name}: {len(bad)} of {len(scores):,} scores are NaN or infinite, the first is number {bad[0]}"
        )
    return scores


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise SettingsError(f"level={level}: expected a share between 0 and 1, for instance 0.95")


def _z(power: float, level: float) -> float:
    _check_level(level)
    if not 0 < power < 1:
        raise SettingsError(f"power={power}: expected a chance between 0 and 1, for instance 0.8")
    return NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(power)
