"""Training pairs made from documents alone, where nobody has asked and answered yet.

    titles     a title, or the headings above a section -> its text
    questions  a first line that asks -> what follows it
    cloze      a sentence -> the passage that it was taken out of      Lee et al. 2019, arXiv:1906.00300
    crops      two stretches of one text, drawn independently          Izacard et al. 2021, arXiv:2112.09118
    twins      a text -> itself; dropout makes the difference          SimCSE: Gao et al. 2021, arXiv:2104.08821

Titles and questions are written by people for readers and come nearest to real queries; cloze and crops exist for every
text that is long enough. All of them stream; what is drawn for a document depends on the seed and its number alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from firth.errors import DataError, SettingsError
from firth.text.records import Document, Pair

KEPT = 0.1  # of cloze passages keep their sentence, so that matching words still counts, as in the paper
SHORTEST_QUERY = 3  # words
SHORTEST_TEXT = 8  # words; less is no passage
CROP = (0.1, 0.5)  # shares of a text's words: shortest and longest crop, as in Contriever
TITLE_REPEATS = 3  # documents; a title that more of them bear ("Introduction") finds none of them
_SHORT_FORMS = "".join(rf"(?<!\b{word}\.)" for word in ("Dr", "Mr", "Ms", "Mrs", "St", "Fig", "No", "vs", "cf", r"\w"))
_SENTENCE = re.compile(rf"(?<=[.!?]){_SHORT_FORMS}\s+(?=[\"'(\[]*[^\Wa-z])|(?<=[。！？])|\n{{2,}}")
_ASKS = ("?", "？", "؟")


@dataclass(frozen=True)
class PairSettings:
    """Which pairs are made."""

    kinds: tuple[str, ...] = ("titles", "questions", "cloze")  # in falling order of trust
    most: int = 20_000  # pairs in all, a bound on the time that training takes
    per_document: int = 1  # cloze and crop pairs of one document
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in MAKERS]
        if unknown or not self.kinds:
            raise SettingsError(f"kinds: expected some of {', '.join(MAKERS)}, got {list(self.kinds)}")
        if self.most < 1 or self.per_document < 1:
            raise SettingsError(f"most and per_document: expected at least 1, got {self.most} and {self.per_document}")


@dataclass(frozen=True)
class Harvest:
    """Pairs made from documents, and where they come from.

    Attributes:
        pairs: no query and answer twice, in the order of the documents.
        sources: of each pair, the id of its document.
        counts: how many of each kind.
        documents: how many documents were looked at.
        without: how many of them gave nothing.
    """

    pairs: tuple[Pair, ...]
    sources: tuple[str, ...]
    counts: dict[str, int]
    documents: int
    without: int


def harvest(documents: Iterable[Document], settings: PairSettings | None = None) -> Harvest:
    """Make pairs from documents.

    Args:
        documents: may be a stream; read once, or twice where titles are wanted and the stream can be read again.
        settings: which pairs.

    Returns:
        The pairs: where there are more than asked for, a sample that takes the same share of every document's.

    Raises:
        DataError: no document gave a pair; says what was looked for.
    """
    settings = settings or PairSettings()
    common = _common_titles(documents) if "titles" in settings.kinds else frozenset()
    random = np.random.default_rng(settings.seed)
    kept: list[tuple[int, str, str, Pair]] = []
    seen: set[tuple[str, str]] = set()
    offered = looked_at = without = 0
    for number, document in enumerate(documents):
        looked_at += 1
        found = list(_of_document(document, number, settings, common))
        without += not found
        for kind, pair in found:
            key = (pair.query, pair.positive)
            if key in seen:
                continue
            seen.add(key)
            offered += 1
            # A reservoir: each pair that was ever offered has the same chance to be among the kept.
            if len(kept) < settings.most:
                kept.append((offered, kind, document.id, pair))
            elif (place := int(random.integers(0, offered))) < settings.most:
                kept[place] = (offered, kind, document.id, pair)
    if not kept:
        raise DataError(
            f"no training pairs in {looked_at:,} documents: looked for {', '.join(settings.kinds)}; texts of at least "
            f"{SHORTEST_TEXT} words are needed, with a title or of several sentences"
        )
    kept.sort(key=lambda entry: entry[0])
    counts = Counter(kind for _, kind, _, _ in kept)
    pairs, sources = tuple(pair for *_, pair in kept), tuple(source for _, _, source, _ in kept)
    return Harvest(pairs, sources, dict(counts), looked_at, without)


def titles(document: Document, common: frozenset[str] = frozenset()) -> Iterator[Pair]:
    """A title -> its text, which does not begin with it; none for a title that many documents bear."""
    title = _clean(document.title)
    text = _without_start(document.text, title)
    if len(title.split()) >= SHORTEST_QUERY - 1 and title.casefold() not in common and _is_passage(text):
        yield Pair(title, text)


def questions(document: Document) -> Iterator[Pair]:
    """A first line that asks -> what follows it."""
    first, _, rest = document.text.strip().partition("\n")
    first = _clean(first)
    if first.endswith(_ASKS) and len(first.split()) >= SHORTEST_QUERY and _is_passage(rest):
        yield Pair(first, rest.strip())


def cloze(document: Document, random: np.random.Generator, count: int = 1) -> Iterator[Pair]:
    """A sentence -> the text without it (in a tenth of the cases with it)."""
    parts = sentences(document.text)
    usable = [i for i, part in enumerate(parts) if len(part.split()) >= SHORTEST_QUERY]
    if len(parts) < 2 or not usable:
        return
    for i in random.permutation(usable)[:count]:
        whole = random.random() < KEPT
        passage = " ".join(part for j, part in enumerate(parts) if whole or j != i)
        if _is_passage(passage):
            yield Pair(parts[i], f"{document.title} {passage}".strip())


def crops(document: Document, random: np.random.Generator, count: int = 1) -> Iterator[Pair]:
    """Two stretches of the text's words, drawn independently of each other."""
    words = document.text.split()
    if len(words) < 2 * SHORTEST_TEXT:
        return
    for _ in range(count):
        first, second = _crop(words, random), _crop(words, random)
        if first != second:
            yield Pair(first, second)


def twins(document: Document) -> Iterator[Pair]:
    """The text -> itself: only for a training with dropout."""
    if _is_passage(document.full):
        yield Pair(document.full, document.full)


def sentences(text: str) -> list[str]:
    """A text cut after ., ! and ? where a capital, a digit or a script without capitals follows, not after initials.

    >>> sentences("It fell by 3.5 % in May. Why? J. Doe, e.g. the bank, knew.")
    ['It fell by 3.5 % in May.', 'Why?', 'J. Doe, e.g. the bank, knew.']
    """
    return [cut for part in _SENTENCE.split(text) if (cut := _clean(part))]


MAKERS = ("titles", "questions", "cloze", "crops", "twins")


def _of_document(
    document: Document, number: int, settings: PairSettings, common: frozenset[str]
) -> Iterator[tuple[str, Pair]]:
    for kind in settings.kinds:
        random = np.random.default_rng([settings.seed, number, MAKERS.index(kind)])
        makers: dict[str, Callable[[], Iterator[Pair]]] = {
            "titles": lambda: titles(document, common),
            "questions": lambda: questions(document),
            "cloze": lambda random=random: cloze(document, random, settings.per_document),  # type: ignore[misc]
            "crops": lambda random=random: crops(document, random, settings.per_document),  # type: ignore[misc]
            "twins": lambda: twins(document),
        }
        yield from ((kind, pair) for pair in makers[kind]())


def _common_titles(documents: Iterable[Document]) -> frozenset[str]:
    """Titles that more than a few documents bear; none for a stream that can only be read once."""
    if iter(documents) is documents:
        return frozenset()
    counts = Counter(_clean(document.title).casefold() for document in documents)
    return frozenset(title for title, count in counts.items() if count > TITLE_REPEATS)


def _crop(words: Sequence[str], random: np.random.Generator) -> str:
    length = max(SHORTEST_TEXT, int(len(words) * random.uniform(*CROP)))
    start = int(random.integers(0, len(words) - length + 1))
    return " ".join(words[start : start + length])


def _without_start(text: str, title: str) -> str:
    """The text without a copy of its title in front, as exported articles have it."""
    body = text.strip()
    return body[len(title) :].lstrip(" \n\t.:-–—") if title and body.casefold().startswith(title.casefold()) else body


def _is_passage(text: str) -> bool:
    return len(text.split()) >= SHORTEST_TEXT


def _clean(text: str) -> str:
    return " ".join(text.split())
