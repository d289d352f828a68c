"""JSON to rows: one object a line, or one list of objects a file; the line or row stands in every error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firth.errors import DataError
from firth.text.lines import MAX_LINE, Faults, LineError, lines, opened, text_of

Row = dict[str, Any]


def rows(path: Path, faults: Faults, *, limit: int = MAX_LINE, lists: bool = False) -> Iterator[tuple[int, Row]]:
    """Each object of a JSONL file with its line number; with `lists` a list of texts is a pair or triplet.

    Raises:
        DataError: what `lines` raises; and what is wrong with one line, as far as `faults` lets it.
    """
    for number, line in lines(path, limit=limit):
        try:
            text = text_of(path, number, line)
            row = _as_row(_parsed(path, number, text), text, path, number, lists=lists)
        except LineError as error:
            faults.add(error)
        else:
            yield number, row


def whole(path: Path, *, limit: int) -> Any:
    """The one value of a .json file.

    Raises:
        DataError: beyond `limit` bytes, or not JSON; with the line.
    """
    with opened(path) as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        message = (
            f"more than {limit:,} bytes in one JSON value, which must be read whole; write JSONL, an object a line"
        )
        raise DataError(message, path=path)
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start + 1} of the file is not UTF-8; convert it", path=path) from error
    except json.JSONDecodeError as error:
        hint = "; more than one value: is this JSONL? name it .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"not JSON: {error.msg}{hint}", path=path, line=error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"not JSON that can be read: {error}", path=path) from error


def listed(path: Path, values: list[Any], faults: Faults) -> Iterator[tuple[int, Row]]:
    """Each object of a list that was read whole, with its number from 1."""
    for number, value in enumerate(values, 1):
        try:
            row = _as_row(value, json.dumps(value), path, number, lists=True)
        except LineError as error:
            faults.add(error)
        else:
            yield number, row


def _parsed(path: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        around = text[max(error.pos - 15, 0) : error.pos + 15]
        message = f"not JSON: {error.msg} at character {error.pos + 1}: {around!r}; one object a line is expected"
        raise LineError("json", message, path=path, line=number) from error
    except (RecursionError, ValueError) as error:
        raise LineError("json", f"not JSON that can be read: {error}", path=path, line=number) from error


def _as_row(value: Any, text: str, path: Path, number: int, *, lists: bool) -> Row:
    if lists and isinstance(value, list) and len(value) > 1 and all(isinstance(part, str) for part in value):
        # Pairs and triplets are also written as bare lists, in the order anchor, positive, negatives.
        value = dict(
            zip(["anchor", "positive", *(f"negative_{n}" for n in range(1, len(value) - 1))], value, strict=True)
        )
    if not isinstance(value, dict):
        message = f'a JSON {type(value).__name__} ({text[:40]!r}), expected an object such as {{"_id": …, "text": …}}'
        raise LineError("object", message, path=path, line=number)
    if "\\u" in text:
        _check_escapes(path, number, value)
    return value


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
