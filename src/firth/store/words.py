"""What a filter and a word search understand of a string: its tokens, a phrase in it, a point in time."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime

_TOKEN = re.compile(r"\w+")


def tokens(text: str) -> list[str]:
    """The words of a text, case folded.

    >>> tokens("Don't panic: 42!")
    ['don', 't', 'panic', '42']
    """
    return _TOKEN.findall(text.casefold())


def time_of(text: str) -> float | None:
    """Seconds since 1970 of an RFC 3339 time or a date; without a zone it is UTC. None if it is not a time."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def add_functions(db: sqlite3.Connection) -> None:
    """Make the conditions over strings known to a connection."""
    for name, function in _FUNCTIONS.items():
        db.create_function(name, 2, function, deterministic=True)
    db.create_function("firth_time", 1, time_of, deterministic=True)


def _text(value: str, wanted: str) -> bool:
    return set(tokens(wanted)) <= set(tokens(value))


def _text_any(value: str, wanted: str) -> bool:
    return not set(tokens(wanted)).isdisjoint(tokens(value))


def _phrase(value: str, wanted: str) -> bool:
    return f" {' '.join(tokens(wanted))} " in f" {' '.join(tokens(value))} "


def _prefix(value: str, wanted: str) -> bool:
    return value.startswith(wanted)


_FUNCTIONS = {"firth_text": _text, "firth_text_any": _text_any, "firth_phrase": _phrase, "firth_prefix": _prefix}
