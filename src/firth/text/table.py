"""One file of rows, whatever its format: its columns, its rows as dicts, and what the columns make of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from firth.errors import DataError
from firth.text import delimited, fields, jsonl, parquet
from firth.text.lines import COMPRESSED, Faults, plain_suffix
from firth.text.settings import Reading

KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
KINDS |= {".parquet": "parquet"}
PEEK = 16  # rows whose keys are looked at where rows name their own columns
SPLITS = {"train": "train", "training": "train", "dev": "dev", "valid": "dev", "val": "dev", "validation": "dev"}
SPLITS |= {"test": "test", "testing": "test", "eval": "test"}

Rows = Callable[[Faults], Iterator[tuple[int, dict[str, Any]]]]


class UnknownShapeError(DataError):
    """A sound file of rows whose columns mean nothing to firth; in a folder it is left out, alone it is an error."""


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Attributes:
        path: the file.
        kind: "jsonl", "json", "csv", "tsv" or "parquet".
        columns: their names, after the settings' renaming.
        rows: reads them anew, streaming, each with its line or row number.
        role: what a row is: "pairs", "judgements", "queries" or "documents".
        note: how the columns were told, where they had to be guessed.
    """

    path: Path
    kind: str
    columns: tuple[str, ...]
    rows: Rows
    role: str
    note: str = ""

    @property
    def split(self) -> str | None:
        """ "train", "dev" or "test" where the file's name says so."""
        return split_of(self.path)


def split_of(path: Path) -> str | None:
    """The split that a word of the file's name is spelt like, for instance "dev" of qa-validation.csv."""
    parts = re.split(r"[^a-z]+", path.name.lower())
    return next((SPLITS[part] for part in parts if part in SPLITS), None)


def is_table(path: Path) -> bool:
    """Whether the suffix is that of a file of rows; Parquet files are compressed inside and have no other suffix."""
    suffix = plain_suffix(path)
    return suffix in KINDS and not (suffix == ".parquet" and path.suffix in COMPRESSED)


def open_table(path: Path, settings: Reading) -> Table:
    """Look at a file's first rows.

    Raises:
        DataError: empty, or damaged.
        UnknownShapeError: firth cannot make anything of the columns; says of which it can.
    """
    kind = KINDS[plain_suffix(path)]
    columns, rows, note = _OPENED[kind](path, settings)
    renamed = tuple(settings.columns.get(column, column) for column in columns)
    role = _role(path, renamed)
    return Table(path, kind, renamed, _renaming(rows, settings), role, note)


def _open_jsonl(path: Path, settings: Reading) -> tuple[list[str], Rows, str]:
    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        return jsonl.rows(path, faults, limit=settings.max_line, lists=True)

    # Lines that cannot be read are told with their number later, when all are read; here any sound one will do.
    first = islice(rows(Faults(Faults.SKIP)), PEEK)
    columns = list(dict.fromkeys(str(column) for _, row in first for column in row))
    if not columns:
        next(rows(Faults()), None)
        raise DataError("is empty", path=path)
    return columns, rows, ""


def _open_json(path: Path, settings: Reading) -> tuple[list[str], Rows, str]:
    values = jsonl.whole(path, limit=settings.max_file)  # held as long as the table is: a list cannot be streamed
    if isinstance(values, dict) and len(values) == 1 and isinstance(next(iter(values.values())), list):
        values = next(iter(values.values()))  # {"data": [...]}, as many exports wrap it
    if not isinstance(values, list) or not values:
        message = f"a JSON {type(values).__name__}, expected a list of objects that is not empty"
        raise UnknownShapeError(message, path=path)

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        return jsonl.listed(path, values, faults)

    first = islice(rows(Faults(Faults.SKIP)), PEEK)
    return list(dict.fromkeys(str(column) for _, row in first for column in row)), rows, ""


def _open_delimited(path: Path, settings: Reading) -> tuple[list[str], Rows, str]:
    columns, headed, note = delimited.header(path, settings)

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        return delimited.rows(path, columns, faults, settings, headed=headed)

    return columns, rows, note


def _open_parquet(path: Path, settings: Reading) -> tuple[list[str], Rows, str]:
    columns = parquet.columns(path)
    used = [column for column in columns if fields.is_known(settings.columns.get(column, column))]

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        return parquet.rows(path, used, faults)

    return columns, rows, ""


_OPENED = {
    "jsonl": _open_jsonl,
    "json": _open_json,
    "csv": _open_delimited,
    "tsv": _open_delimited,
    "parquet": _open_parquet,
}


def _renaming(rows: Rows, settings: Reading) -> Rows:
    names = settings.columns
    if not names:
        return rows

    def renamed(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        for line, row in rows(faults):
            yield line, {names.get(column, column): value for column, value in row.items()}

    return renamed


def _role(path: Path, columns: tuple[str, ...]) -> str:
    if fields.named(columns, fields.JUDGED_QUERY) and fields.named(columns, fields.JUDGED_DOCUMENT):
        return "judgements"
    if fields.shape(columns):
        return "pairs"
    has_text = fields.named(columns, fields.TEXT) is not None
    if fields.named(columns, fields.QUERY_TEXT) and (
        re.search("quer|question|topic", path.name.lower()) or not has_text
    ):
        return "queries"
    if has_text:
        return "documents"
    there = ", ".join(f'"{column}"' for column in columns[:12])
    message = (
        f"no shape that firth knows among the columns {there}; it reads documents (id, title, text), queries (id, "
        "query), judgements (query-id, corpus-id, score) and pairs (anchor, positive, negative; query, answer; "
        "sentence1, sentence2, score); rename them, or say columns={'yours': 'query'}"
    )
    raise UnknownShapeError(message, path=path)
