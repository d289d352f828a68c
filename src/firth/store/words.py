"""What a filter and a word search understand of a string: its tokens, a phrase in it, a point in time."""

from __future__ import annotations

import re
import sqlite3
from datetime import datetime

from firth.store.geo import within

_TOKEN = re.compile(r"[^\W_]+")
_TIME = re.compile(
    r"\s*(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?)? ?(?:(UTC|[Zz])|([+-]\d\d)(?::?(\d\d))?)?"
)


def tokens(text: str) -> list[str]:
    """The words of a text in lower case.

    >>> tokens("Don't panic: 42!")
    ['don', 't', 'panic', '42']
    """
    return _TOKEN.findall(text.lower())


def time_of(text: object) -> float | None:
    """Seconds since 1970 of an RFC 3339 time or a date; without a zone it is UTC. None if it is not a time."""
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    day, minute, second, fraction, _, hours, minutes = match.groups()
    spelled = f"{day}T{minute or '00:00'}:{second or '00'}.{(fraction or '').ljust(6, '0')}"
    try:
        return datetime.fromisoformat(f"{spelled}{hours or '+00'}:{minutes or '00'}").timestamp()
    except ValueError:
        return None


def add_functions(db: sqlite3.Connection) -> None:
    """Make the conditions that SQL has no words for known to a connection."""
    for name, function in _FUNCTIONS.items():
        db.create_function(f"firth_{name}", 2, function, deterministic=True)
    db.create_function("firth_time", 1, time_of, deterministic=True)


def _text(value: str, wanted: str) -> bool:
    words = tokens(wanted)
    return bool(words) and set(words) <= set(tokens(value))


def _text_any(value: str, wanted: str) -> bool:
    return not set(tokens(wanted)).isdisjoint(tokens(value))


def _phrase(value: str, wanted: str) -> bool:
    words = tokens(wanted)
    return bool(words) and f" {' '.join(words)} " in f" {' '.join(tokens(value))} "


def _prefix(value: str, wanted: str) -> bool:
    return value.startswith(wanted)


def _substring(value: str, wanted: str) -> bool:
    return wanted in value


_FUNCTIONS = {
    "text": _text,
    "text_any": _text_any,
    "phrase": _phrase,
    "prefix": _prefix,
    "substring": _substring,
    "within": within,
}
