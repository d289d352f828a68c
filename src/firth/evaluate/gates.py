"""Gates: a bar that a score must reach, or a baseline that it must not fall below, before something is shipped.

    recall@10>=0.90             the mean
    low(ndcg@10)>0.6            the lower bound of its 95 % interval: sure to reach the bar, not only likely
    no worse than baseline.json the paired test on the same queries does not show a loss

A report is what `firth eval --json` or `firth build` wrote: scores with intervals, and each query's scores.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firth.errors import DataError, SettingsError
from firth.evaluate.retrieval import adjusted
from firth.evaluate.statistics import Paired, paired_permutation
from firth.files import read_json

ALPHA = 0.05  # a loss is shown when its p-value, corrected for the number of measures, is below this
_OPERATORS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
_BAR = re.compile(r"\s*(?:(low|high)\(\s*([^()\s]+)\s*\)|([^()<>=\s]+))\s*(>=|<=|>|<)\s*([0-9.]+)\s*")
_BASELINE = re.compile(r"\s*no worse than\s+(.+?)\s*")

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One gate: what was asked, whether it holds, and the numbers behind it in one line."""

    gate: str
    passed: bool
    told: str


def check(gates: Iterable[str], report: Tree, *, folder: Path | str = ".", seed: int = 0) -> list[Verdict]:
    """Hold a report against gates; the door turns one that does not pass into exit code 3.

    Args:
        gates: in the spellings at the head of this file.
        report: a report's JSON tree.
        folder: where a baseline that is named by a relative path lies.
        seed: of the paired tests.

    Raises:
        SettingsError: a gate that is not understood, or names a measure that the report lacks.
        FormatError: a baseline that is not JSON.
        DataError: a baseline without scores, or of other queries.
    """
    verdicts = []
    for gate in gates:
        baseline = _BASELINE.fullmatch(gate)
        verdicts.append(_against(gate, report, Path(folder) / baseline[1], seed) if baseline else _bar(gate, report))
    return verdicts


def compare(base: Tree, other: Tree, *, seed: int = 0) -> dict[str, Paired]:
    """Measure -> paired comparison of two reports on the same queries, positive where `other` is better.

    Raises:
        DataError: a report has no scores by query, no measure is in both, or the queries differ.
    """
    first, second = _per_query(base), _per_query(other)
    shared = [name for name in first if name in second]
    if not shared:
        raise DataError(f"the reports share no measure: {', '.join(first)} against {', '.join(second)}")
    found = {}
    for name in shared:
        a, b = first[name], second[name]
        if a.keys() != b.keys():
            strangers = sorted(a.keys() ^ b.keys())
            raise DataError(
                f"{name}: the reports are of different queries ({len(a):,} and {len(b):,}; {strangers[0]!r} is in one "
                "only); measure both on the same test set"
            )
        found[name] = paired_permutation(np.array([a[query] for query in a]), np.array([b[query] for query in a]), seed)
    return found


def scores_of(report: Tree) -> Mapping[str, Mapping[str, float]]:
    """Measure -> value, low, high, n, of what the report would ship: the tuned model where there is one.

    Raises:
        DataError: not a report.
    """
    for key in ("scores", "tuned", "base"):
        scores = report.get(key)
        if isinstance(scores, Mapping) and scores:
            return scores
    raise DataError("not a report of firth: none of scores, tuned and base is in it")


def _bar(gate: str, report: Tree) -> Verdict:
    match = _BAR.fullmatch(gate)
    if match is None:
        raise SettingsError(
            f"gate {gate!r} is not understood; write 'recall@10>=0.90', 'low(ndcg@10)>0.6' or 'no worse than FILE'"
        )
    bound, name, sign, bar = match[1] or "value", match[2] or match[3], match[4], float(match[5])
    scores = scores_of(report)
    if name not in scores:
        raise SettingsError(f"gate {gate!r}: the report has no {name}; it has {', '.join(scores)}")
    score = scores[name]
    told = f"{name} {score['value']:.4f}, 95 % interval {score['low']:.4f} to {score['high']:.4f}, n = {score['n']:,}"
    return Verdict(gate, bool(_OPERATORS[sign](score[bound], bar)), told)


def _against(gate: str, report: Tree, path: Path, seed: int) -> Verdict:
    paired = compare(read_json(path), report, seed=seed)
    corrected = adjusted(paired)
    lost = [name for name in paired if paired[name].delta < 0 and corrected[name] < ALPHA]
    shown = lost or list(paired)
    told = ", ".join(f"{name} {paired[name].delta:+.4f} (p = {corrected[name]:.4f})" for name in shown)
    return Verdict(gate, not lost, f"{told}, n = {next(iter(paired.values())).n:,}")


def _per_query(report: Tree) -> Mapping[str, Mapping[str, float]]:
    found = report.get("per_query")
    if not isinstance(found, Mapping) or not found:
        raise DataError("the report has no scores by query (per_query), which a paired comparison needs; run it again")
    return found
