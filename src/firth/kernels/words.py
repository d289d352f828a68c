"""Words out of bytes: counting a corpus and looking texts up in a vocabulary, with their twins.

Three ways to split: `SPACES` at ASCII white space; `UNICODE` into runs of letters, marks, digits and underscores in
lower case, with apostrophes inside words kept and every Han or Hiragana character a word (after Unicode's UAX #29);
`CASED` the same without the lower case; `TOKENS` for lists of tokens joined by unit and record separators.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors
from firth.kernels import native

SPACES, UNICODE, TOKENS, CASED = 0, 1, 2, 3
UNIT, RECORD = "\x1f", "\x1e"  # between the tokens of a list, and after it
SENTENCE_END = -1  # in a corpus of ids
CODE_POINTS = 0x33480  # the last blocks of letters end here; private and unassigned ones behind are left as they are
_SEPARATOR, _JOINER, _ALONE = -1, -2, 1 << 24
_ALONE_SCRIPTS = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA LETTER")

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


@cache
def classes(kind: int) -> NDArray[np.int32]:
    """What each code point is to the splitter: a separator, a joiner, or its lower-case form."""
    if kind not in (UNICODE, CASED):
        return np.empty(0, np.int32)
    return np.array([_class(chr(point), lower=kind == UNICODE) for point in range(CODE_POINTS)], np.int32)


def counter(kind: int, *, threads: int, budget: int, folder: str, module: Any = native) -> Any:
    """A native `WordCounter`: add blocks of bytes, finish the vocabulary, encode the corpus in its ids.

    Args:
        budget: bytes of provisional ids that are kept in memory; more go to an unnamed file in `folder`.
    """
    return module.WordCounter(_native_kind(kind), classes(kind), threads, budget, folder)


def lookup(words: Sequence[str], kind: int, *, module: Any = native) -> Any:
    """A native `Lookup` of distinct words, for `text_sums` and `text_ids`."""
    return module.Lookup(_native_kind(kind), classes(kind), *joined(words))


def text_sums(
    table: Any, texts: Sequence[str], vectors: Vectors, weights: Vectors, *, threads: int = 1
) -> tuple[Vectors, Offsets, Offsets]:
    """(n, d) float32 sums of weights[word] · vectors[word] over a text's words; how many were known, and how many."""
    out = np.zeros((len(texts), vectors.shape[1]), np.float32)
    found, words = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    table.sums(*joined(texts), vectors, weights, out, found, words, threads)
    return out, found, words


def text_sums_twin(
    words: Sequence[str], texts: Sequence[str], vectors: Vectors, weights: Vectors, kind: int
) -> Vectors:
    """NumPy twin of `text_sums`, without the counts."""
    ids = {word: i for i, word in enumerate(words)}
    known = [[ids[word] for word in split_twin(text, kind) if word in ids] for text in texts]
    zero = np.zeros(vectors.shape[1], np.float32)
    return np.stack([sum((weights[i] * vectors[i] for i in row), zero) for row in known])


def text_ids(table: Any, texts: Sequence[str]) -> tuple[NDArray[np.int32], Offsets]:
    """The word ids of all texts in a row, -1 where unknown, and the (n + 1,) offsets of each text in them."""
    text, offsets = joined(texts)
    ids, starts = np.empty(len(text) + 1, np.int32), np.empty(len(offsets), np.int64)
    return ids[: table.ids(text, offsets, ids, starts)].copy(), starts


def split_twin(text: str, kind: int) -> list[str]:
    """The words of a text; twin of the native splitter."""
    if kind == SPACES:
        return [word for line in text.split("\n") for word in _at(line, " \t\v\f\r")]
    if kind == TOKENS:
        return _at(text, UNIT + RECORD)
    words, token = [], ""
    kinds = [*(_class(char, lower=kind == UNICODE) for char in text), _SEPARATOR]
    for i, kind_of in enumerate(kinds):
        if 0 <= kind_of < _ALONE:
            token += chr(kind_of)
        elif kind_of == _JOINER and token and 0 <= kinds[i + 1] < _ALONE:
            token += "'"
        else:
            words += [token] if token else []
            words += [chr(kind_of & ~_ALONE)] if kind_of >= _ALONE else []
            token = ""
    return words


def joined(words: Iterable[str]) -> tuple[Bytes, Offsets]:
    """All words as UTF-8 in one buffer, and the (n + 1,) offsets of each; half a surrogate pair becomes "?"."""
    encoded = [word.encode(errors="replace") for word in words]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(word) for word in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded) or b"\0", np.uint8), offsets


def _at(text: str, separators: str) -> list[str]:
    for separator in separators[1:]:
        text = text.replace(separator, separators[0])
    return [word for word in text.split(separators[0]) if word]


def _native_kind(kind: int) -> int:
    return UNICODE if kind == CASED else kind  # only their tables differ


def _class(char: str, *, lower: bool) -> int:
    if char in "'\u2019":
        return _JOINER
    category = unicodedata.category(char)
    if ord(char) >= CODE_POINTS:
        return ord(char)
    if category[0] not in "LMN" and char != "_":
        return _SEPARATOR
    if unicodedata.name(char, "").startswith(_ALONE_SCRIPTS):
        return ord(char) | _ALONE
    # One code point for one: the dot that 'İ'.lower() leaves behind would make a form that nobody types.
    return ord(char.lower()[0]) if lower else ord(char)
