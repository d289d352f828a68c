"""JSON, one object a line: a line's bytes to a checked dict, with the line in every error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firth.text.lines import MAX_LINE, Faults, LineError, lines, text_of

Row = dict[str, Any]


def rows(path: Path, faults: Faults, *, limit: int = MAX_LINE) -> Iterator[tuple[int, Row]]:
    """Each object with its line number.

    Raises:
        DataError: what `lines` raises; and what is wrong with one line, as far as `faults` lets it.
    """
    for number, line in lines(path, limit=limit):
        try:
            row = _row(path, number, text_of(path, number, line))
        except LineError as error:
            faults.add(error)
        else:
            yield number, row


def _row(path: Path, number: int, text: str) -> Row:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise LineError(
            "json",
            f"not JSON: {error.msg} at character {error.pos + 1}: {text[max(error.pos - 15, 0) : error.pos + 15]!r}; "
            "one object a line is expected",
            path=path,
            line=number,
        ) from error
    except RecursionError as error:
        raise LineError("json", "JSON nested too deeply to be read", path=path, line=number) from error
    if not isinstance(row, dict):
        message = f'a JSON {type(row).__name__} ({text[:40]!r}), expected an object such as {{"_id": …, "text": …}}'
        raise LineError("object", message, path=path, line=number)
    if "\\u" in text:
        _check_escapes(path, number, row)
    return row


def _check_escapes(path: Path, number: int, row: Row) -> None:
    """JSON can spell what is no text: NUL, and half of a surrogate pair."""
    for key, value in row.items():
        spelt = json.dumps(value, ensure_ascii=False)
        if "\\u0000" in spelt and "\0" in str(value):
            raise LineError(
                "nul", f'"{key}" holds a NUL, which no text holds; is the data damaged?', path=path, line=number
            )
        try:
            spelt.encode()
        except UnicodeEncodeError as error:
            half = spelt[error.start]
            message = (
                f'"{key}" holds {half!r}, half of a surrogate pair, which is no character; was the text cut there?'
            )
            raise LineError("surrogate", message, path=path, line=number) from error
