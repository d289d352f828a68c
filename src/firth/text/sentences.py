"""Raw text as documents of sentences, which is what language models are pre-trained on.

    .txt, plain or .gz or .zst   one or more sentences a line, a blank line between documents
    a folder of .txt             the same, every file
    anything else                as `firth.text.read` reads it (JSONL, CSV, Parquet, BEIR, …), each record one document

A sentence ends at a line's end, and at . ! ? before a space and a capital, a digit or a quote. A text without blank
lines is cut into documents of LINES lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text.lines import lines, plain_suffix, text_of
from firth.text.read import read

LINES = 50  # of a document where no blank line says where documents end
MOST_WORDS = 200  # of the mean sentence; above it the text has no sentence ends that we see
# A point after these ends no sentence; nor does one after a single capital, as in "J. R. Firth".
_ABBREVIATIONS = (
    "Mr",
    "Mrs",
    "Ms",
    "Dr",
    "Prof",
    "St",
    "Mt",
    "vs",
    "No",
    "Jr",
    "Sr",
    "Gen",
    "Col",
    "Fig",
    "e.g",
    "i.e",
)
_NOT_AFTER = r"(?<!\b[A-Z]\.)" + "".join(rf"(?<!\b{re.escape(word)}\.)" for word in _ABBREVIATIONS)
_END = re.compile(
    _NOT_AFTER + r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)\]]))\s+(?=[\"'“‘(\[]?[A-ZÀ-ÞΑ-ΩА-Я0-9])|(?<=[。！？।])\s*"
)

Documents = list[list[str]]  # of each document its sentences


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, blank ones left out.

    Example:
        >>> sentences("He met Dr. Brown. It was late!\\nThe end")
        ['He met Dr. Brown.', 'It was late!', 'The end']
    """
    return [part for line in text.splitlines() for part in map(str.strip, _END.split(line)) if part]


def read_documents(path: Path | str, *, progress: Progress = silent) -> Documents:
    """Every document of a text or a corpus as its sentences.

    Args:
        path: see the head of this file.
        progress: told how many documents were read.

    Raises:
        DataError: nothing there, no text in it, or no sentence ends in it; says what to do.
    """
    path = Path(path)
    files = _plain_files(path)
    found: Documents = []
    if files:
        for file in files:
            found += _documents_of(file)
            progress(len(found), 0, "documents")
    else:
        for document in read(path, progress=progress).documents:
            if parts := sentences(document.text):
                found.append(parts)
    words = sum(len(sentence.split()) for document in found for sentence in document)
    count = sum(map(len, found))
    if not words:
        raise DataError("holds no words; is it the text to train on?", path=path)
    if words > MOST_WORDS * count:
        raise DataError(
            f"no sentence ends: {words:,} words in {count:,} sentence{'s' * (count > 1)}; end sentences with . ! or ? "
            "and a space, or write one a line",
            path=path,
        )
    return found


def _plain_files(path: Path) -> list[Path]:
    """The .txt files that are meant; none where `read` is to be asked."""
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        plain = [file for file in inside if plain_suffix(file) == ".txt"]
        return plain if plain and len(plain) >= len(inside) / 2 else []
    return [path] if plain_suffix(path) == ".txt" else []


def _documents_of(file: Path) -> Iterator[list[str]]:
    read_lines = [text_of(file, number, line).strip() for number, line in lines(file, blanks=True)]
    apart = any(not line for line in read_lines[:-1])
    document: list[str] = []
    for number, line in enumerate(read_lines, 1):
        document += sentences(line)
        if (not line if apart else number % LINES == 0) and document:
            yield document
            document = []
    if document:
        yield document
