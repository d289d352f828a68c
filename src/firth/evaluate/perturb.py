"""Small changes of a text that change what it says, or only how it is written.

What it says: a number, a date, a unit, a currency, an identifier, a negation, a name. How it is written: a typing
error, capitals, punctuation. Each function gives the changed text, or None where there is nothing to change, and says
where. Units, months and negations are English; numbers, dates, identifiers, names and errors are any language's that
has capitals and spaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w-])")
_YEAR = re.compile(r"(?<![\w.,-])(?:19|20)\d\d(?![\w-])")
_MONTHS = ("January", "February", "March", "April", "June", "July", "August", "September", "October", "November",
           "December")  # fmt: skip
_MONTH = re.compile(rf"\b(?:{'|'.join(_MONTHS)})\b")
_IDENTIFIER = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Z])[A-Z][\w-]{2,}\b")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{3,}\b")
_UNITS = {
    "mg": "g", "g": "mg", "kg": "g", "km": "m", "m": "km", "cm": "mm", "mm": "cm", "ml": "l", "hours": "minutes",
    "minutes": "hours", "days": "weeks", "weeks": "days", "months": "years", "years": "months", "MB": "GB", "GB": "MB",
    "percent": "per mille", "°C": "°F", "°F": "°C", "kW": "MW", "MW": "kW", "miles": "kilometres",
}  # fmt: skip
_UNIT = re.compile(rf"(?<=\d )(?:{'|'.join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))})(?![\w/])")
_MONEY = {"$": "€", "€": "$", "£": "$", "USD": "EUR", "EUR": "USD", "GBP": "USD", "dollars": "euros",
          "euros": "dollars", "pounds": "dollars"}  # fmt: skip
_CURRENCY = re.compile(r"[$€£](?=\s?\d)|\b(?:USD|EUR|GBP)\b|(?<=\d )(?:dollars|euros|pounds)\b")
_NEGATION = re.compile(r"\b(is|are|was|were|can|could|does|did|do|has|have|had|will|would|should|may|must)( not)?\b")


@dataclass(frozen=True)
class Changed:
    """A changed text, and where the change stands: characters start to end of the original."""

    text: str
    start: int
    end: int


Change = Callable[[str, np.random.Generator], Changed | None]


def number(text: str, rng: np.random.Generator) -> Changed | None:
    """One digit of one number is another digit; years are left to `date`."""
    found = [match for match in _NUMBER.finditer(text) if not _YEAR.fullmatch(match[0])]
    return _replaced(text, found, rng, lambda value: _other_digit(value, rng))


def date(text: str, rng: np.random.Generator) -> Changed | None:
    """One year is 1 to 9 years off, or one month is another."""
    found = [*_YEAR.finditer(text), *_MONTH.finditer(text)]

    def moved(value: str) -> str:
        if value.isdigit():
            return str(int(value) + int(rng.choice([-9, -5, -2, -1, 1, 2, 5, 9])))
        return str(rng.choice([month for month in _MONTHS if month != value]))

    return _replaced(text, found, rng, moved)


def unit(text: str, rng: np.random.Generator) -> Changed | None:
    """One unit after a number is another of the same kind: mg for g."""
    return _replaced(text, list(_UNIT.finditer(text)), rng, _UNITS.__getitem__)


def currency(text: str, rng: np.random.Generator) -> Changed | None:
    """One amount is in another currency."""
    return _replaced(text, list(_CURRENCY.finditer(text)), rng, _MONEY.__getitem__)


def identifier(text: str, rng: np.random.Generator) -> Changed | None:
    """One digit of one product code, part number or gene name is another digit."""
    return _replaced(text, list(_IDENTIFIER.finditer(text)), rng, lambda value: _other_digit(value, rng))


def negation(text: str, rng: np.random.Generator) -> Changed | None:
    """One statement is denied, or one denial taken back."""
    found = list(_NEGATION.finditer(text))
    return _replaced(text, found, rng, lambda value: value[:-4] if value.endswith(" not") else value + " not")


def name_among(names: Sequence[str]) -> Change:
    """A change that puts another of `names` where a capitalised name stands within a sentence."""

    def name(text: str, rng: np.random.Generator) -> Changed | None:
        def other(value: str) -> str:
            return str(rng.choice([each for each in names if each != value] or [value[::-1].capitalize()]))

        return _replaced(text, list(_NAME.finditer(text)), rng, other)

    return name


def names_in(text: str) -> list[str]:
    """Capitalised words within sentences: what `name_among` changes."""
    return _NAME.findall(text)


CHANGES: Mapping[str, Change] = {
    "number": number, "date": date, "unit": unit, "currency": currency, "identifier": identifier, "negation": negation,
}  # fmt: skip


def mistyped(text: str, rng: np.random.Generator, errors: int = 1) -> str:
    """Two neighbouring letters swapped in `errors` of the words of four letters and more."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 4 and word[1:].isalpha() and len(set(word[1:])) > 1]
    for i in rng.permutation(long)[:errors].tolist():
        word = words[i]
        places = [p for p in range(1, len(word) - 1) if word[p] != word[p + 1]]
        if places:
            p = int(rng.choice(places))
            words[i] = word[:p] + word[p + 1] + word[p] + word[p + 2 :]
    return " ".join(words)


def unpunctuated(text: str) -> str:
    """Words and blanks only."""
    return " ".join(re.sub(r"[^\w\s]", " ", text).split())


def around(text: str, start: int, end: int, words: int = 9) -> str:
    """What stands at start to end, with up to `words` words on either side."""
    before, after = text[:start].split(), text[end:].split()
    return " ".join([*before[-words:], text[start:end], *after[:words]])


def _other_digit(value: str, rng: np.random.Generator) -> str:
    places = [i for i, letter in enumerate(value) if letter.isascii() and letter.isdigit()]
    place = int(rng.choice(places))
    others = [digit for digit in "123456789" if digit != value[place]]
    return value[:place] + str(rng.choice(others)) + value[place + 1 :]


def _replaced(
    text: str, found: Sequence[re.Match[str]], rng: np.random.Generator, other: Callable[[str], str]
) -> Changed | None:
    if not found:
        return None
    match = found[int(rng.integers(0, len(found)))]
    return Changed(text[: match.start()] + other(match[0]) + text[match.end() :], match.start(), match.end())
