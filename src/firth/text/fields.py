"""Which column of a row means what, by the names that people give them, and rows to documents and queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firth.text.lines import LineError
from firth.text.records import Document

ID = ("_id", "id", "docid", "doc_id", "corpus-id", "corpus_id")
TEXT = ("text", "contents", "content", "body", "passage", "document")
TITLE = ("title", "headline", "subject")
QUERY_ID = ("_id", "id", "qid", "query_id", "query-id")
QUERY_TEXT = ("text", "query", "question")

Row = dict[str, Any]


def named(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of the names that the row has a column for, whatever its case."""
    for name in names:
        if name in row:
            return name
    lower = {str(key).lower(): key for key in row}
    return next((lower[name] for name in names if name in lower), None)


def document(row: Row, *, path: Path, line: int) -> Document:
    """A row of a corpus: an id, a text, perhaps a title.

    Raises:
        LineError: the id or the text is missing, or is not text.
    """
    place = row.get("metadata")
    origin: Row = place if isinstance(place, dict) else {}
    start, end = origin.get("start", 0), origin.get("end", 0)
    cut = isinstance(start, int) and isinstance(end, int)
    title = named(row, TITLE)
    return Document(
        identifier(row, ID, path=path, line=line),
        words(row, TEXT, path=path, line=line),
        "" if title is None or row[title] is None else words(row, (title,), path=path, line=line),
        str(origin.get("source", "")),
        start if cut else 0,
        end if cut else 0,
    )


def query(row: Row, *, path: Path, line: int) -> tuple[str, str]:
    """A row of queries: an id and a text.

    Raises:
        LineError: either is missing, or is not text.
    """
    return identifier(row, QUERY_ID, path=path, line=line), words(row, QUERY_TEXT, path=path, line=line)


def identifier(row: Row, names: tuple[str, ...], *, path: Path, line: int) -> str:
    """The row's id; a whole number is taken as its digits."""
    name = named(row, names)
    value = None if name is None else row[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value
    raise _wrong(row, "id", names, value, path, line)


def words(row: Row, names: tuple[str, ...], *, path: Path, line: int) -> str:
    """The row's text under one of the names."""
    name = named(row, names)
    value = None if name is None else row[name]
    if isinstance(value, str):
        return value
    raise _wrong(row, "text", names, value, path, line)


def _wrong(row: Row, what: str, names: tuple[str, ...], value: Any, path: Path, line: int) -> LineError:
    if named(row, names) is None:
        there = ", ".join(f'"{key}"' for key in row) or "none"
        message = f'no "{names[0]}" among the columns ({there}); name one of them {" or ".join(names[:2])}'
    else:
        message = (
            f'"{named(row, names)}" is {value!r}, expected {"a text or a whole number" if what == "id" else "a text"}'
        )
    return LineError(f"field {what}", message, path=path, line=line)
