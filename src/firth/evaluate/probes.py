"""Where does an encoder fail: probes made from one's own documents, each with a pass mark and its worst examples.

    fact       a passage and its copy with one number, date, unit, currency, identifier, name or negation changed: does
               the one that says what the query says win?
    writing    a query with typing errors, in capitals, without punctuation: does it still find its passage among 31?
    position   a sentence that starts at word 50, 500, 2,000, 8,000 of a long text: is that text nearer than the same
               without the sentence, or was the sentence cut off? Do chunks save it?
    role       who did what to whom, from shipped sentences
    language   the same question in nine languages, mixed corpora, other letters, one's own documents by language
    copy       of two near copies, does the one that holds the answer win?
    short      empty and very short texts must not win, one-word queries and five-word documents must be found

Chance is one half for fact, position, role, and the first two slices of copy. Known results: bi-encoders hardly tell
negations (Weller et al. 2024, NevIR, arXiv:2305.07614) and numbers (arXiv:2509.05691), and find late answers worse
(arXiv:2505.13950).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from firth.arrays import Encoder, Vectors
from firth.errors import DataError
from firth.evaluate.cases import Case, Passage, chunks, copies, facts, positions, roles, sample, short, writing
from firth.evaluate.multilingual import across_languages, by_language
from firth.evaluate.statistics import Interval, bootstrap
from firth.progress import Progress, silent

# Share of cases that must be right.
MARKS = {
    "fact": 0.9, "writing": 0.9, "position": 0.9, "role": 0.75, "language": 0.9, "copy": 0.9, "short": 0.9,
}  # fmt: skip
CASES = 100  # of each slice; an interval is then about a fifth wide at worst
WORST = 5  # examples kept of each slice
FARTHEST = 2.0  # the largest margin that two cosines can have; given to a text whose vector is not a number
_AT_ONCE = 1_024  # texts encoded between two signs of progress


@dataclass(frozen=True)
class Failure:
    """A case that came out wrong: by how much the best wrong text was nearer than the right one."""

    case: Case
    nearest: str
    margin: float


@dataclass(frozen=True)
class Probed:
    """One slice of one probe: the share of cases that are right, its mark, and its worst failures first."""

    probe: str
    slice: str
    right: Interval
    mark: float
    worst: tuple[Failure, ...]

    @property
    def passed(self) -> bool:
        """The share of right cases reaches the mark."""
        return self.right.value >= self.mark


def cases(
    documents: Iterable[Passage],
    *,
    n: int = CASES,
    seed: int = 0,
    language: Callable[[str], str] | None = None,
    only: Sequence[str] = tuple(MARKS),
) -> list[Case]:
    """Make up to n cases of each slice from documents, read once; a slice without material has fewer, or none.

    Args:
        language: names the language of a text (`language.teller()`); None leaves out the slices of one's own documents
            by language.
        only: the probes wanted; cases of one do not change with the others asked for.

    Raises:
        DataError: no document has a sentence of six words or more.
    """
    passages = sample(documents, np.random.default_rng(seed))
    if not passages:
        raise DataError("no document has a sentence of six words or more to make probes from")
    made: list[Case] = []
    for place, name in enumerate(MARKS):
        if name not in only:
            continue
        rng = np.random.default_rng([seed, place])
        if name in _FAMILIES:
            made += _FAMILIES[name](passages, n, rng)
        elif name == "role":
            made += roles(n)
        else:
            made += across_languages(n)
            made += by_language(passages, n, rng, language) if language else ()
    return made


def probe(
    encoder: Encoder,
    made: Sequence[Case],
    *,
    marks: Mapping[str, float] = MARKS,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Probed]:
    """Encode the cases and count, slice by slice, where the right text is nearer than every wrong one.

    A tie is a failure: two texts that the encoder cannot tell apart are not told apart. So is a vector that is not a
    number.

    Args:
        marks: probe -> share that must be right.
        seed: of the intervals.
    """
    if not made:
        raise DataError("no cases to probe with; make them from documents with `cases`")
    pieces = {text: chunks(text) for case in made if case.chunked for text in (case.right, *case.wrong)}
    whole = (text for case in made if not case.chunked for text in (case.right, *case.wrong))
    texts = list(dict.fromkeys([*whole, *(part for parts in pieces.values() for part in parts)]))
    row_of = {text: row for row, text in enumerate(texts)}
    documents = _encoded(encoder, texts, progress)
    queries = encoder.encode([case.query for case in made], kind="query")

    def nearness(query: Vectors, text: str, chunked: bool) -> float:
        rows = [row_of[part] for part in (pieces[text] if chunked else [text])]
        return float((documents[rows] @ query).max())

    found: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for query, case in zip(queries, made, strict=True):
        wrong = [nearness(query, text, case.chunked) for text in case.wrong]
        best = int(np.argmax(wrong))
        margin = wrong[best] - nearness(query, case.right, case.chunked)
        told = Failure(case, case.wrong[best], margin if np.isfinite(margin) else FARTHEST)
        found[case.probe, case.slice].append(told)
    return [
        Probed(
            probe=name,
            slice=part,
            right=bootstrap([float(each.margin < 0) for each in tried], seed),
            mark=marks[name],
            worst=tuple(sorted((each for each in tried if each.margin >= 0), key=lambda each: -each.margin)[:WORST]),
        )
        for (name, part), tried in found.items()
    ]


_FAMILIES = {"fact": facts, "writing": writing, "position": positions, "copy": copies, "short": short}


def _encoded(encoder: Encoder, texts: Sequence[str], progress: Progress) -> Vectors:
    """(n, d) of the texts, by length so that a batch holds like texts."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: list[Vectors] = []
    for start in range(0, len(order), _AT_ONCE):
        rows.append(encoder.encode([texts[i] for i in order[start : start + _AT_ONCE]], kind="document"))
        progress(min(start + _AT_ONCE, len(order)), len(order), "texts")
    placed = np.empty((len(texts), rows[0].shape[1]), np.float32)
    placed[order] = np.concatenate(rows)
    return placed
