"""How good word vectors are: do they agree with people about likeness, and do they complete analogies.

    similarity   Spearman of cosines with people's scores, over the pairs whose words are known, and how many are
    analogies    share of right answers, by section, for the semantic, the syntactic and all of them; once over the
                 questions whose words are known, as the literature reports, and once over all that were asked

Both take the arrays that `firth.static.questions` answers with. Sources: Finkelstein et al. 2002 (WS353), Hill et al.
2015, arXiv:1408.3456 (SimLex-999), Bruni et al. 2014 (MEN), Mikolov et al. 2013, arXiv:1301.3781 (analogies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.errors import DataError, ShapeError
from firth.evaluate.similarity import spearman
from firth.evaluate.statistics import Interval, bootstrap, bootstrap_of

SYNTACTIC = "gram"  # the Google set's syntactic sections begin so
FEWEST_PAIRS = 3  # below it a rank correlation says nothing


@dataclass(frozen=True)
class Similarity:
    """Agreement with people.

    Attributes:
        spearman: over the covered pairs.
        covered: pairs whose words are both known.
        pairs: pairs in all.
    """

    spearman: Interval
    covered: int
    pairs: int

    def as_json(self) -> dict[str, Any]:
        return {"spearman": vars(self.spearman), "covered": self.covered, "pairs": self.pairs}


@dataclass(frozen=True)
class Section:
    """One section of analogies, or several together.

    Attributes:
        name: "total", "semantic", "syntactic", or the section's own.
        accuracy: share of right answers among the known questions.
        right, known, asked: questions answered right, with known words, and in all.
    """

    name: str
    accuracy: Interval
    right: int
    known: int
    asked: int

    @property
    def of_all(self) -> float:
        """Share of right answers among all questions, those with unknown words counted as wrong."""
        return self.right / self.asked

    def as_json(self) -> dict[str, Any]:
        counts = {"right": self.right, "known": self.known, "asked": self.asked, "of_all": self.of_all}
        return {"name": self.name, "accuracy": vars(self.accuracy), **counts}


def similarity(human: ArrayLike, cosine: ArrayLike, *, seed: int = 0) -> Similarity:
    """Spearman of the vectors' cosines with people's scores.

    Args:
        human: (n,) people's scores.
        cosine: (n,) the vectors', NaN where a word is not known.
        seed: of the interval's draws.

    Raises:
        ShapeError: the two differ in length.
        DataError: fewer than three pairs are covered.
    """
    truth, found = np.asarray(human, np.float64), np.asarray(cosine, np.float64)
    if truth.ndim != 1 or truth.shape != found.shape:
        raise ShapeError(f"similarity: {truth.shape} human scores and {found.shape} cosines must be one (n,)")
    covered = ~np.isnan(found)
    n = int(covered.sum())
    if n < FEWEST_PAIRS:
        raise DataError(f"similarity: {n} of {len(truth)} pairs have known words, too few to rank")
    interval = bootstrap_of(_spearman_or_zero, [truth[covered], found[covered]], seed)
    return Similarity(interval, n, len(truth))


def analogies(
    sections: Sequence[str], section: ArrayLike, known: ArrayLike, right: ArrayLike, *, seed: int = 0
) -> list[Section]:
    """Accuracy of analogy answers.

    Args:
        sections: names; those that begin with "gram" are syntactic, the others semantic.
        section: (n,) which section each question belongs to.
        known: (n,) whether its words are all in the vocabulary.
        right: (n,) whether the answer was right.
        seed: of the intervals' draws.

    Returns:
        "total", "semantic" and "syntactic" where there are such questions, then each section in its order. An accuracy
        over no known question is 0 with n = 0.

    Raises:
        ShapeError: the arrays differ in length, or name sections that are not there.
    """
    of, seen, hit = np.asarray(section, np.int64), np.asarray(known, bool), np.asarray(right, bool)
    if not of.shape == seen.shape == hit.shape or of.ndim != 1:
        raise ShapeError(f"analogies: section {of.shape}, known {seen.shape} and right {hit.shape} must be one (n,)")
    if len(of) == 0 or of.min() < 0 or of.max() >= len(sections):
        raise ShapeError(f"analogies: expected questions in sections 0 to {len(sections) - 1}")
    syntactic = np.array([name.startswith(SYNTACTIC) for name in sections])[of]
    groups = [("total", np.ones(len(of), bool)), ("semantic", ~syntactic), ("syntactic", syntactic)]
    groups += [(name, of == i) for i, name in enumerate(sections)]
    return [_section(name, seen[here], hit[here], seed) for name, here in groups if here.any()]


def _section(name: str, known: NDArray[np.bool_], right: NDArray[np.bool_], seed: int) -> Section:
    hits = right[known].astype(np.float64)
    accuracy = bootstrap(hits, seed, resamples=1000) if len(hits) else Interval(0.0, 0.0, 0.0, 0)
    return Section(name, accuracy, int(hits.sum()), len(hits), len(known))


def _spearman_or_zero(human: NDArray[np.float64], cosine: NDArray[np.float64]) -> float:
    # A draw may repeat one pair only; it then ranks nothing.
    return spearman(human, cosine) if np.ptp(human) > 0 and np.ptp(cosine) > 0 else 0.0
