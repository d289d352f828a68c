"""Where does an encoder fail: probes made from one's own documents, each with a pass mark and its worst examples.

    fact       a passage and its copy with one number, date, unit, currency, identifier, name or negation changed: does
               the one that says what the query says win?
    writing    a query with typing errors, in capitals, without punctuation: does it still find its passage among 31?
    position   a sentence that starts at word 50, 500, 2,000, 8,000 of a long text: is that text nearer than the same
               without the sentence, or was the sentence cut off?
    role       who did what to whom, from shipped sentences

Chance is one half for fact, position and role. Known results: bi-encoders hardly tell negations (Weller et al. 2024,
NevIR, arXiv:2305.07614) and numbers (arXiv:2509.05691), and find late answers worse (arXiv:2505.13950).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from firth.arrays import Encoder
from firth.errors import DataError
from firth.evaluate.perturb import CHANGES, around, mistyped, name_among, names_in, unpunctuated
from firth.evaluate.statistics import Interval, bootstrap

MARKS = {"fact": 0.9, "writing": 0.9, "position": 0.9, "role": 0.75}  # share of cases that must be right
CASES = 100  # of each slice; an interval is then about a fifth wide at worst
POSITIONS = (50, 500, 2_000, 8_000)  # words before the sentence
RIVALS = 30  # other passages that a badly written query must not prefer
PASSAGE = 150  # words of a passage; short enough for every model to read whole
WORST = 5  # examples kept of each slice
_POOL = 2_000  # passages held to make cases from
_SENTENCE = re.compile(r"(?<=[.!?])\s+")

_ROLES = (
    ("the bank", "sued", "the insurer"), ("the nurse", "called", "the doctor"), ("the dog", "bit", "the man"),
    ("the tenant", "paid", "the landlord"), ("the server", "queries", "the client"), ("Anna", "taught", "Peter"),
    ("the virus", "attacks", "the bacterium"), ("the buyer", "cheated", "the seller"), ("France", "beat", "Spain"),
    ("the parser", "feeds", "the compiler"), ("the cat", "chased", "the mouse"), ("the union", "blamed", "the firm"),
    ("the drug", "inhibits", "the enzyme"), ("the court", "overruled", "the ministry"), ("Rome", "conquered", "Greece"),
    ("the manager", "fired", "the engineer"), ("the earth", "attracts", "the moon"), ("Tom", "forgave", "Ben"),
    ("the guest", "thanked", "the host"), ("the hawk", "hunts", "the owl"),
)  # fmt: skip
_ROLE_FORMS = (
    "who {verb} {second}? {first} did",
    "{second} was the one that {first} {verb}",
    "it was {first} that {verb} {second}",
)


class Passage(Protocol):
    """A document to make probes from."""

    @property
    def text(self) -> str:
        """What it says."""


@dataclass(frozen=True)
class Case:
    """A query, the text that answers it, and texts that do not.

    Attributes:
        probe: one of MARKS.
        slice: what sets these cases apart within the probe, for instance "number" or "word 2,000".
    """

    probe: str
    slice: str
    query: str
    right: str
    wrong: tuple[str, ...]


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


def cases(documents: Iterable[Passage], *, n: int = CASES, seed: int = 0) -> list[Case]:
    """Make up to n cases of each slice from documents, read once; a slice without material has fewer, or none.

    Raises:
        DataError: no document has a sentence of six words or more.
    """
    rng = np.random.default_rng(seed)
    passages = _sample(documents, rng)
    if not passages:
        raise DataError("no document has a sentence of six words or more to make probes from")
    return [*_facts(passages, n, rng), *_writing(passages, n, rng), *_positions(passages, n, rng), *_roles(n)]


def probe(encoder: Encoder, made: Sequence[Case], *, marks: Mapping[str, float] = MARKS, seed: int = 0) -> list[Probed]:
    """Encode the cases and count, slice by slice, where the right text is nearer than every wrong one.

    A tie is a failure: two texts that the encoder cannot tell apart are not told apart.

    Args:
        marks: probe -> share that must be right.
        seed: of the intervals.
    """
    if not made:
        raise DataError("no cases to probe with; make them from documents with `cases`")
    texts = list(dict.fromkeys(text for case in made for text in (case.right, *case.wrong)))
    row_of = {text: row for row, text in enumerate(texts)}
    documents = encoder.encode(texts, kind="document")
    queries = encoder.encode([case.query for case in made], kind="query")
    found: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for query, case in zip(queries, made, strict=True):
        wrong = documents[[row_of[text] for text in case.wrong]] @ query
        best = int(np.argmax(wrong))
        margin = float(wrong[best] - documents[row_of[case.right]] @ query)
        found[case.probe, case.slice].append(Failure(case, case.wrong[best], margin))
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


def _sample(documents: Iterable[Passage], rng: np.random.Generator) -> list[str]:
    """Up to _POOL passages, each of whole sentences and at most PASSAGE words, one a document."""
    held: list[str] = []
    seen = 0
    for document in documents:
        sentences = [" ".join(part.split()) for part in _SENTENCE.split(document.text)]
        sentences = [sentence for sentence in sentences if len(sentence.split()) >= 6]
        words = 0
        passage: list[str] = []
        for sentence in sentences[int(rng.integers(0, max(1, len(sentences) // 2))) :]:
            words += len(sentence.split())
            if words > PASSAGE and passage:
                break
            passage.append(sentence)
        if not passage:
            continue
        seen += 1
        place = int(rng.integers(0, seen))
        if len(held) < _POOL:
            held.append(" ".join(passage))
        elif place < _POOL:
            held[place] = " ".join(passage)
    return held


def _facts(passages: Sequence[str], n: int, rng: np.random.Generator) -> Iterable[Case]:
    names = sorted({name for passage in passages for name in names_in(passage)})
    for kind, change in {**CHANGES, "name": name_among(names)}.items():
        made = 0
        for i in rng.permutation(len(passages)).tolist():
            changed = change(passages[i], rng) if made < n else None
            if changed is not None and changed.text != passages[i]:
                made += 1
                query = around(passages[i], changed.start, changed.end)
                yield Case("fact", kind, query, passages[i], (changed.text,))


def _writing(passages: Sequence[str], n: int, rng: np.random.Generator) -> Iterable[Case]:
    if len(passages) < 2:
        return
    for i in rng.permutation(len(passages))[:n].tolist():
        sentence = max(_SENTENCE.split(passages[i]), key=len)
        query = " ".join(sentence.split()[:12])
        rivals = [passages[j] for j in rng.permutation(len(passages))[: RIVALS + 1].tolist() if j != i][:RIVALS]
        forms = {
            "as it is": query,
            "one error": mistyped(query, rng, 1),
            "three errors": mistyped(query, rng, 3),
            "capitals": query.upper(),
            "no punctuation": unpunctuated(query),
            "three words": " ".join(sorted(query.split(), key=len, reverse=True)[:3]),
        }
        for name, form in forms.items():
            yield Case("writing", name, form, passages[i], tuple(rivals))


def _positions(passages: Sequence[str], n: int, rng: np.random.Generator) -> Iterable[Case]:
    if len(passages) < 2:
        return
    tries = max(1, n // 4)  # long texts are dear to encode
    for position in POSITIONS:
        for i in rng.permutation(len(passages))[:tries].tolist():
            sentence = max(_SENTENCE.split(passages[i]), key=len)
            filler: list[str] = []
            while len(filler) < position + 20:
                filler += passages[int(rng.choice([j for j in range(len(passages)) if j != i]))].split()
            before, after = " ".join(filler[:position]), " ".join(filler[position : position + 20])
            query = " ".join(sentence.split()[:12])
            yield Case("position", f"word {position:,}", query, f"{before} {sentence} {after}", (f"{before} {after}",))


def _roles(n: int) -> Iterable[Case]:
    for form in _ROLE_FORMS:
        for first, verb, second in _ROLES[: max(1, n // len(_ROLE_FORMS))]:
            right = form.format(first=first, verb=verb, second=second)
            wrong = form.format(first=second, verb=verb, second=first)
            yield Case("role", "who did what", f"{first} {verb} {second}", right, (wrong,))
