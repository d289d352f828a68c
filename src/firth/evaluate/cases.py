"""Cases for probes: a query, the text that answers it, and texts that look like it and do not.

    fact       a passage and its copy with one number, date, unit, currency, identifier, name or negation changed
    writing    a query with typing errors, in capitals, without punctuation, among 31 passages
    position   a sentence that starts at word 50, 500, 2,000, 8,000 of a long text, read whole and in chunks
    role       who did what to whom, from shipped sentences
    copy       a passage and its near copy without the sentence asked for, or with another; form letters
    short      empty and one-word texts that must not win; queries of one word, documents of five

All but the roles are made from one's own documents; `multilingual` adds languages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from firth.evaluate.overlap import normalised
from firth.evaluate.perturb import CHANGES, around, mistyped, name_among, names_in, unpunctuated

POSITIONS = (50, 500, 2_000, 8_000)  # words before the sentence
RIVALS = 30  # other passages that a badly written query must not prefer
FORM_LETTERS = 10  # letters that share a frame
FRAME = 60  # words of that frame
PASSAGE = 150  # words of a passage; short enough for every model to read whole
FEWEST_WORDS = 6  # of a sentence; shorter ones say too little to be asked for
ASKED = 12  # words of a sentence that are asked for
EMPTY = ("", " ", ".", "?", "-", "n/a", "null", "the", "a", "0")
_POOL = 2_000  # passages held to make cases from
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")

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
        probe: one of probes.MARKS.
        slice: what sets these cases apart within the probe, for instance "number" or "word 2,000".
        chunked: long texts are cut into chunks, and the nearest chunk counts.
    """

    probe: str
    slice: str
    query: str
    right: str
    wrong: tuple[str, ...]
    chunked: bool = False


def sample(documents: Iterable[Passage], rng: np.random.Generator) -> list[str]:
    """Up to _POOL passages, each of whole sentences and at most PASSAGE words, one a document."""
    held: list[str] = []
    seen = 0
    for document in documents:
        parts = [" ".join(part.split()) for part in sentences(document.text)]
        parts = [part for part in parts if _words(part) >= FEWEST_WORDS]
        words = 0
        passage: list[str] = []
        for sentence in parts[int(rng.integers(0, max(1, len(parts) // 2))) :]:
            words += _words(sentence)
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


def facts(passages: Sequence[str], n: int, rng: np.random.Generator) -> Iterator[Case]:
    """A passage against its copy with one fact changed, up to n of each kind of fact; the query is about that fact."""
    names = sorted({name for passage in passages for name in names_in(passage)})
    for kind, change in {**CHANGES, "name": name_among(names)}.items():
        made = 0
        for i in rng.permutation(len(passages)).tolist():
            changed = change(passages[i], rng) if made < n else None
            if changed is not None and changed.text != passages[i]:
                made += 1
                query = around(passages[i], changed.start, changed.end)
                yield Case("fact", kind, query, passages[i], (changed.text,))


def writing(passages: Sequence[str], n: int, rng: np.random.Generator) -> Iterator[Case]:
    """A sentence of up to n passages, written in six ways, against other passages."""
    if len(passages) < 2:
        return
    for i in rng.permutation(len(passages))[:n].tolist():
        query = asked(passages[i])
        others = rivals(passages, i, RIVALS, rng)
        forms = {
            "as it is": query,
            "one error": mistyped(query, rng, 1),
            "three errors": mistyped(query, rng, 3),
            "capitals": query.upper(),
            "no punctuation": unpunctuated(query),
            "three words": " ".join(sorted(query.split(), key=len, reverse=True)[:3]),
        }
        for name, form in forms.items():
            yield Case("writing", name, form, passages[i], others)


def positions(passages: Sequence[str], n: int, rng: np.random.Generator) -> Iterator[Case]:
    """A sentence at a place of a long text, against the same text without it; whole, and cut into chunks."""
    if len(passages) < 2:
        return
    tries = max(1, n // 4)  # long texts are dear to encode
    for position in POSITIONS:
        for i in rng.permutation(len(passages))[:tries].tolist():
            sentence = longest(passages[i])
            filler: list[str] = []
            while len(filler) < position + 20:
                filler += passages[int(rng.choice([j for j in range(len(passages)) if j != i]))].split()
            before, after = " ".join(filler[:position]), " ".join(filler[position : position + 20])
            right, wrong = f"{before} {sentence} {after}", (f"{before} {after}",)
            yield Case("position", f"word {position:,}", asked(passages[i]), right, wrong)
            if position > PASSAGE:  # below it the sentence stands in the first chunk, where nothing is cut
                yield Case("position", f"word {position:,}, in chunks", asked(passages[i]), right, wrong, chunked=True)


def roles(n: int) -> Iterator[Case]:
    """About n shipped statements, each said in three other ways, against the same with the two roles swapped."""
    for form in _ROLE_FORMS:
        for first, verb, second in _ROLES[: max(1, n // len(_ROLE_FORMS))]:
            right = form.format(first=first, verb=verb, second=second)
            wrong = form.format(first=second, verb=verb, second=first)
            yield Case("role", "who did what", f"{first} {verb} {second}", right, (wrong,))


def copies(passages: Sequence[str], n: int, rng: np.random.Generator) -> Iterator[Case]:
    """Texts that are nearly the same: the one that holds the answer must win."""
    several = [i for i in range(len(passages)) if len(sentences(passages[i])) > 1]
    for i in rng.permutation(several)[:n].tolist() if len(several) > 1 else []:
        sentence, question = longest(passages[i]), asked(passages[i])
        other = longest(passages[int(rng.choice([j for j in several if j != i]))])
        without = " ".join(part for part in sentences(passages[i]) if part != sentence)
        yield Case("copy", "without the sentence", question, passages[i], (without,))
        yield Case("copy", "with another sentence", question, passages[i], (passages[i].replace(sentence, other),))
    if len(passages) <= FORM_LETTERS:
        return
    for i in rng.permutation(len(passages))[:n].tolist():
        chosen = rng.permutation([j for j in range(len(passages)) if j != i])[:FORM_LETTERS].tolist()
        frame = " ".join(passages[chosen[0]].split()[:FRAME])
        letters = tuple(f"{frame} {longest(passages[j])}" for j in chosen[1:])
        yield Case("copy", "form letters", asked(passages[i]), f"{frame} {longest(passages[i])}", letters)


def short(passages: Sequence[str], n: int, rng: np.random.Generator) -> Iterator[Case]:
    """Texts and queries of hardly any words."""
    if len(passages) < 2:
        return
    words = [set(normalised(passage).split()) for passage in passages]
    common = Counter(word for each in words for word in each)
    for i in rng.permutation(len(passages))[:n].tolist():
        others = rivals(passages, i, RIVALS, rng)
        yield Case("short", "empty texts", asked(passages[i]), passages[i], EMPTY)
        yield Case(
            "short", "five-word document", asked(passages[i]), " ".join(longest(passages[i]).split()[:5]), others
        )
        rare = sorted(word for word in words[i] if common[word] == 1 and len(word) > 4 and not word.isdigit())
        if rare:
            yield Case("short", "one-word query", rare[int(rng.integers(0, len(rare)))], passages[i], others)


def sentences(passage: str) -> list[str]:
    """The passage's sentences."""
    return [part for part in _SENTENCE.split(passage) if part]


def longest(passage: str) -> str:
    """The passage's longest sentence, which says most."""
    return max(sentences(passage), key=len)


def asked(passage: str) -> str:
    """A query for a passage: the beginning of its longest sentence."""
    sentence = longest(passage)
    query = " ".join(sentence.split()[:ASKED])
    # A language without blanks is cut by letters: two make about a word.
    return query if len(query.split()) > 2 else query[: 2 * ASKED]


def rivals(passages: Sequence[str], i: int, most: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Up to `most` other passages than the i-th."""
    return tuple(passages[j] for j in rng.permutation(len(passages))[: most + 1].tolist() if j != i)[:most]


def chunks(text: str, words: int = PASSAGE) -> list[str]:
    """A text in stretches of `words` words that overlap by a third, as an index would hold it."""
    each = text.split()
    step = max(1, 2 * words // 3)
    return [" ".join(each[start : start + words]) for start in range(0, max(1, len(each) - words + step), step)]


def _words(text: str) -> int:
    """Words, counting two letters as one where a script has no blanks."""
    unspaced = sum(letter >= "\u2e80" for letter in text)
    return len(text.split()) + unspaced // 2
