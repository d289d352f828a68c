"""Probes across languages: the same question in nine, mixed corpora, other letters; and one's own documents by theirs.

    asks in German            a German question must find its English answer among ten English ones
    among German              a German question must find its German answer among ten German ones
    mixed corpus, German      the English answer must beat German texts that answer something else: does the language
                              weigh more than the meaning?
    Russian in Latin letters  the question as people type it without their keyboard; also Greek
    French without accents    the same for letters with marks
    own documents, de         a sentence must find its passage among 31 of its language, told by py3langid

The questions are shipped (seeds.json, written for this). Known results: models prefer texts in the query's own language
over better answers in others (Roy et al. 2020, LAReQA, arXiv:2004.05484).
"""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from firth.evaluate.cases import RIVALS, Case, asked, rivals

LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "ru": "Russian", "el": "Greek",
    "zh": "Chinese", "ja": "Japanese",
}  # fmt: skip
MARKED = ("de", "fr", "es", "el")  # languages whose letters carry marks that people leave out
FEWEST = 8  # passages of a language from which it is a slice of its own

# Both alphabets letter by letter, close to how they are typed in Latin letters; "_" is none.
_CYRILLIC = (
    "аa бb вv гg дd еe ёyo жzh зz иi йy кk лl мm нn оo пp рr сs тt уu фf хkh цts чch шsh щshch ъ_ ыy ь_ эe юyu яya іi "
    "їyi єye ґg"
)
_GREEK = "αa βv γg δd εe ζz ηi θth ιi κk λl μm νn ξx οo πp ρr σs ςs τt υy φf χch ψps ωo"
_LATIN = {pair[0]: pair[1:].replace("_", "") for alphabet in (_CYRILLIC, _GREEK) for pair in alphabet.split()}


def across_languages(n: int) -> Iterator[Case]:
    """Cases of the shipped questions: up to n of each slice (there are ten)."""
    items = _seeds()[:n]
    english = [item["en"][1] for item in items]
    for code, name in LANGUAGES.items():
        own = [item[code][1] for item in items]
        for i, item in enumerate(items):
            others = _without(own, i)
            question = item[code][0]
            yield Case("language", f"among {name}", question, own[i], others)
            if code != "en":
                yield Case("language", f"asks in {name}", question, english[i], _without(english, i))
                yield Case("language", f"mixed corpus, {name}", question, english[i], others)
            if code in ("ru", "el"):
                yield Case("language", f"{name} in Latin letters", latin(question), own[i], others)
            if code in MARKED:
                yield Case("language", f"{name} without accents", without_marks(question), own[i], others)


def by_language(
    passages: Sequence[str], n: int, rng: np.random.Generator, language: Callable[[str], str]
) -> Iterator[Case]:
    """Cases of one's own passages: a sentence finds its passage among others of its language; up to n a language.

    A language of fewer than `FEWEST` passages is passed over: too few to search among.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for passage in passages:
        groups[language(passage)].append(passage)
    for code in sorted(groups):
        group = groups[code]
        if len(group) < FEWEST:
            continue
        for i in rng.permutation(len(group))[:n].tolist():
            others = rivals(group, i, RIVALS, rng)
            question = asked(group[i])
            yield Case("language", f"own documents, {code}", question, group[i], others)
            if code == "en":  # a β or an é in English is no other way of writing it
                continue
            if (changed := latin(question)) != question:
                yield Case("language", f"own documents, {code}, Latin letters", changed, group[i], others)
            elif (changed := without_marks(question)) != question:
                yield Case("language", f"own documents, {code}, no accents", changed, group[i], others)


def latin(text: str) -> str:
    """Cyrillic and Greek letters as Latin ones; all others stay.

    >>> latin("Как дела, Ελένη?")
    'Kak dela, Eleni?'
    """
    spelled = []
    for letter in text:
        plain = _LATIN.get(letter.lower())
        if plain is None:  # ά is α with a mark; é has no entry either and stays as it is
            plain = _LATIN.get(unicodedata.normalize("NFD", letter)[0].lower())
        spelled.append(letter if plain is None else plain.capitalize() if letter.isupper() else plain)
    return "".join(spelled)


def without_marks(text: str) -> str:
    """Letters without their accents, dots and tails.

    >>> without_marks("Où est l'été à Köln?")
    "Ou est l'ete a Koln?"
    """
    apart = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(mark for mark in apart if not unicodedata.combining(mark)))


def _without(texts: Sequence[str], i: int) -> tuple[str, ...]:
    return tuple(text for j, text in enumerate(texts) if j != i)


@cache
def _seeds() -> list[dict[str, list[str]]]:
    """Language -> question and answer, ten times."""
    questions: list[dict[str, list[str]]] = json.loads(
        Path(__file__).with_name("seeds.json").read_text(encoding="utf-8")
    )["questions"]
    return questions
