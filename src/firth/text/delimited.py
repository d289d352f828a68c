"""CSV and TSV to rows: a table with a header, or without one where its columns can be told.

CSV is RFC 4180, with a comma, semicolon, tab or bar between the columns, whichever the first line has most of. In TSV a
quote is a character like any other, as BEIR, MS MARCO and SNLI write it, unless a whole cell is well quoted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from firth.errors import DataError
from firth.text import fields
from firth.text.lines import Faults, LineError, lines, plain_suffix, text_of
from firth.text.settings import Reading

DELIMITERS = ",;\t|"
Cells = list[str]


def header(path: Path, settings: Reading) -> tuple[Cells, bool, str]:
    """The columns' names, whether they stand in the first line, and how they were told ("" for a header).

    Raises:
        DataError: the file is empty, or has no header and columns that could mean anything.
    """
    first = next(_cells(path, Faults(), settings), None)
    if first is None:
        raise DataError("is empty", path=path)
    line, cells = first
    numbers = [str(place) for place in range(1, len(cells) + 1)]
    if settings.columns and set(settings.columns) <= set(numbers):
        return numbers, False, ""
    if any(fields.is_known(cell) or cell.strip() in settings.columns for cell in cells):
        names = [cell.strip() for cell in cells]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise LineError("header", f'the column "{repeated}" is there twice', path=path, line=line)
        return names, True, ""
    if guessed := _guess(cells):
        return guessed, False, f"{path.name} has no header; its columns were taken for {', '.join(guessed)}"
    shown = ", ".join(repr(cell[:30]) for cell in cells[:6])
    message = (
        f"cannot tell what the columns are ({shown}); write a header such as id,title,text or query,answer above "
        "them, or name them: columns={'1': 'query', '2': 'answer'}"
    )
    raise LineError("header", message, path=path, line=line)


def rows(
    path: Path, columns: Sequence[str], faults: Faults, settings: Reading, *, headed: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line of the table below its header, as column -> cell.

    Raises:
        DataError: a quote that is never closed, another number of columns than the header's, and what `lines` raises.
    """
    records = _cells(path, faults, settings)
    if headed:
        next(records, None)
    for line, cells in records:
        if len(cells) != len(columns):
            message = (
                f"{len(cells)} columns, expected {len(columns)} ({', '.join(columns)}); is a delimiter not quoted?"
            )
            faults.add(LineError("columns", message, path=path, line=line))
        else:
            yield line, dict(zip(columns, cells, strict=True))


def _cells(path: Path, faults: Faults, settings: Reading) -> Iterator[tuple[int, Cells]]:
    """Each record with the line that it begins in."""
    if plain_suffix(path) in (".tsv", ".tab"):
        for number, raw in lines(path, limit=settings.max_line):
            try:
                yield number, [_unquoted(cell) for cell in text_of(path, number, raw).split("\t")]
            except LineError as error:
                faults.add(error)
        return
    # The parser's limit on a field belongs to the process; it is only ever raised.
    csv.field_size_limit(max(settings.max_line, csv.field_size_limit()))
    feed = _Feed(path, settings.max_line)
    reader = csv.reader(feed, delimiter=_delimiter(path, settings), strict=True)
    while True:
        line = feed.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = (
                f"not CSV: {error}; does a quote open here that is never closed, or stand inside a cell undoubled?"
            )
            faults.add(LineError("csv", message, path=path, line=line))
        except LineError as error:
            faults.add(error)
        else:
            if any(cells):
                yield line, cells


class _Feed(Iterable[str]):
    """A file's lines for the CSV parser, and the number of the last one it took."""

    def __init__(self, path: Path, limit: int) -> None:
        self.number = 0
        self._path = path
        self._lines = lines(path, limit=limit, blanks=True)

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        return text_of(self._path, self.number, line) + "\n"


def _delimiter(path: Path, settings: Reading) -> str:
    _, line = next(lines(path, limit=settings.max_line), (0, b""))
    return max(DELIMITERS, key=lambda mark: line.count(mark.encode()))


def _unquoted(cell: str) -> str:
    inner = cell[1:-1].replace('""', "")
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner:
        return cell[1:-1].replace('""', '"')
    return cell


def _guess(cells: Cells) -> Cells | None:
    """Tables that come without a header: STS (two sentences and a score) and MS MARCO (a number and a text)."""
    numeric = [_is_number(cell) for cell in cells]
    if numeric == [False, False, True]:
        return ["sentence1", "sentence2", "score"]
    if numeric == [True, False] and cells[0].strip().isdigit():
        return ["id", "text"]
    return None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
