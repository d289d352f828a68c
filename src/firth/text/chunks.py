"""Long texts cut into overlapping chunks that a model can read whole, each knowing where it stands in its text.

A model reads 256 to 512 tokens; what lies beyond is not embedded. Chunks end where a person would pause: at a
paragraph, else a line, else a sentence, else a word, looked for in the last quarter of the room. A chunk never crosses
a heading.

    >>> chunk("One two. Three four. Five six.", Words(), Chunking(tokens=6, overlap=2))    # "." is a token
    [Chunk("One two. Three four.", 0, 20), Chunk("four. Five six.", 15, 30)]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firth.errors import SettingsError
from firth.text.tokenizer import Spans

SLACK = 4  # a chunk may end in the last 1/SLACK of its room, to end where a person would pause
ENDS = (".", "!", "?", ":", ";", "。", "！", "？", '."', ".)", "।")  # of sentences, in the scripts that mark them


@dataclass(frozen=True)
class Chunking:
    """How long chunks are.

    Attributes:
        tokens: most tokens a chunk, special tokens not counted. 256: what MiniLM and most small models were trained on,
            and long enough that a paragraph is rarely split.
        overlap: tokens that a chunk repeats of the one before, so that no sentence is only seen cut in two. Costs
            overlap / tokens more vectors.
    """

    tokens: int = 256
    overlap: int = 32

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 <= self.overlap <= self.tokens // 2:
            raise SettingsError(
                f"chunks of {self.tokens} tokens with an overlap of {self.overlap}: "
                "expected at least 1 token and an overlap from 0 to half of that"
            )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a text: `text == whole[start:end]`, and the headings that it stands under."""

    text: str
    start: int
    end: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a text, in characters, and the headings above it."""

    start: int
    end: int
    title: str = ""


def chunk(
    text: str, tokenizer: Spans, settings: Chunking | None = None, *, sections: Sequence[Section] = ()
) -> list[Chunk]:
    """Cut a text into overlapping chunks.

    Args:
        text: any length; one without tokens gives no chunk.
        tokenizer: tells where the tokens are; that of the model which will read the chunks.
        settings: lengths in tokens.
        sections: stretches that no chunk crosses, in order; what lies between them is left out. None: the whole text.

    Returns:
        Chunks in the order of the text, `text[chunk.start:chunk.end] == chunk.text`, no white space at either end.
        Every token of the sections is in a chunk; none holds more than `settings.tokens` of them.
    """
    settings = settings or Chunking()
    chunks = []
    for section in sections or (Section(0, len(text)),):
        part = text[section.start : section.end]
        spans = tokenizer.spans(part)
        spans = spans[spans[:, 1] > spans[:, 0]]
        for first, last in _windows(part, spans, settings):
            start, end = _trimmed(part, int(spans[first:last, 0].min()), int(spans[first:last, 1].max()))
            if start < end:
                place = section.start + start
                chunks.append(Chunk(part[start:end], place, section.start + end, section.title))
    return chunks


def _windows(text: str, spans: NDArray[np.int64], settings: Chunking) -> Iterator[tuple[int, int]]:
    """The first token and the one after the last of each chunk."""
    first, count = 0, len(spans)
    while first < count:
        last = first + settings.tokens
        if last >= count:
            yield first, count
            return
        last = _pause(text, spans, last - settings.tokens // SLACK, last)
        yield first, last
        first = max(_word_start(text, spans, last - settings.overlap, last), first + 1)


def _pause(text: str, spans: NDArray[np.int64], earliest: int, latest: int) -> int:
    """The best token in earliest..latest to begin the next chunk with: the last one after the strongest pause."""
    best, strongest = latest, -1
    for token in range(latest, max(earliest, 1) - 1, -1):
        strength = _strength(text, int(spans[token - 1, 1]), int(spans[token, 0]))
        if strength > strongest:
            best, strongest = token, strength
    return best


def _strength(text: str, end: int, start: int) -> int:
    """How strong the pause between two tokens is: 4 a paragraph, 3 a line, 2 a sentence, 1 a word, 0 none."""
    between = text[end:start]
    if not between:
        # A byte-level tokenizer counts the space before a word to the word.
        between = text[start : start + 1]
    if not between.isspace():
        return 0
    if "\n" in between:
        return 4 if between.count("\n") > 1 else 3
    return 2 if text[max(end - 2, 0) : end].endswith(ENDS) else 1


def _word_start(text: str, spans: NDArray[np.int64], token: int, latest: int) -> int:
    """The first token from `token` on that begins a word; `token` itself where a word is longer than the overlap."""
    for place in range(max(token, 1), latest + 1):
        if place < len(spans) and _strength(text, int(spans[place - 1, 1]), int(spans[place, 0])):
            return place
    return token


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))
