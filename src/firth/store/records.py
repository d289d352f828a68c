"""What goes into a collection and what comes out: keys, records, pages, hits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firth.arrays import Vectors
from firth.errors import DataError

Key = int | str
Payload = dict[str, Any]

LARGEST_KEY = 2**63 - 1  # SQLite's integers are signed 64-bit
LONGEST_KEY = 1024  # characters; a key is an index entry, not a place for text
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # as JSON spells it; \\u0000 is a backslash and four letters


@dataclass(frozen=True, slots=True)
class Record:
    """One document as it is stored.

    Attributes:
        id: the caller's key, an integer or a string; 1 and "1" are two keys.
        text: what is embedded and searched by word, with the title.
        title: may be empty.
        payload: any JSON object.
        vectors: name -> (d,) float32, only where they were asked for; the unnamed vector's name is "".
    """

    id: Key
    text: str
    title: str = ""
    payload: Payload = field(default_factory=dict)
    vectors: dict[str, Vectors] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Some records in the order of their keys, and the key at which the next page starts (None at the end)."""

    records: list[Record]
    next: Key | None


@dataclass(frozen=True, slots=True)
class Source:
    """What one way of searching said of a hit.

    Attributes:
        rank: 1 = best of this source; 0 = this source did not find it, its score was worked out afterwards.
        score: in the source's own unit: similarity for vectors, BM25 for words; larger is better.
        share: what it added to the fused score.
    """

    rank: int
    score: float
    share: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search: a record, how good it is, and which source said so.

    Attributes:
        score: similarity (dense search) or fused score (hybrid); larger is better.
        sources: by name ("dense", "bm25"), for hybrid searches and where `explain=True`.
    """

    id: Key
    score: float
    text: str
    title: str = ""
    payload: Payload = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """The best hits that share one value of a payload field."""

    value: Any
    hits: list[Hit]


def checked_key(key: Any) -> Key:
    """`key` as an int or a str.

    Raises:
        DataError: of another type, empty, too long, or an integer beyond 64 bits.
    """
    if isinstance(key, str):
        if not key or len(key) > LONGEST_KEY:
            raise DataError(f"key of {len(key):,} characters: expected 1 to {LONGEST_KEY:,}")
        if "\0" in key:
            raise DataError(f"key {key!r}: holds a NUL character, which SQLite cannot look up")
        return checked_utf8(key, "key")
    if isinstance(key, bool) or not hasattr(key, "__index__"):
        raise DataError(f"key {key!r}: expected an integer or a string, got {type(key).__name__}")
    number = int(key.__index__())
    if not -LARGEST_KEY - 1 <= number <= LARGEST_KEY:
        raise DataError(f"key {number}: does not fit 64 bits; pass it as a string")
    return number


def checked_text(text: Any, what: str, key: Key) -> str:
    """`text` if it is a string that UTF-8 can hold.

    Raises:
        DataError: names the key.
    """
    if not isinstance(text, str):
        raise DataError(f"{what} of {key!r}: expected a string, got {type(text).__name__}")
    return checked_utf8(text, f"{what} of {key!r}")


def checked_payload(payload: Any, key: Key) -> str:
    """The payload as the JSON that is stored.

    Raises:
        DataError: not an object, or holds what JSON cannot; names the key.
    """
    if payload is None:
        return "{}"
    if not isinstance(payload, Mapping):
        raise DataError(f"payload of {key!r}: expected a dict, got {type(payload).__name__}")
    try:
        text = json.dumps(dict(payload), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"payload of {key!r} is not JSON: {error}") from error
    if _NUL.search(text):
        raise DataError(f"payload of {key!r}: holds a NUL character, which no filter could find; take it out")
    return text


def checked_utf8(text: str, what: str) -> str:
    """`text`, if UTF-8 can hold it.

    Raises:
        DataError: it cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what}: character {error.start} is half a surrogate pair, which UTF-8 cannot hold") from error
    return text
