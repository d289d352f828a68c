"""Rows to documents, queries and judgements that fit each other; what every format with rows shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from firth.text import fields
from firth.text.domain import KnownIds
from firth.text.lines import Faults, LineError, Place
from firth.text.records import Document

NumberedRows = Iterable[tuple[int, dict[str, Any]]]


def documents_of(
    path: Path, rows: NumberedRows, faults: Faults, *, name: str | None = None
) -> Iterator[tuple[Place, Document]]:
    """The document of each row; `name` makes ids of it and the line, for rows that have none."""
    for line, row in rows:
        try:
            document = fields.document(row, path=path, line=line, unnamed=None if name is None else f"{name}#{line}")
        except LineError as error:
            faults.add(error)
        else:
            yield Place(path, line), document


def gather_queries(path: Path, rows: NumberedRows, queries: dict[str, str], faults: Faults) -> None:
    """Each row's query into `queries`; an id that is there already is a fault."""
    for line, row in rows:
        try:
            id_, text = fields.query(row, path=path, line=line)
            if id_ in queries:
                message = f'query id "{id_}" was used before; ids must be unique'
                raise LineError("query twice", message, path=path, line=line)
            queries[id_] = text
        except LineError as error:
            faults.add(error)


def check_judgement(
    path: Path, line: int, query: str, document: str, queries: dict[str, str], known: KnownIds | None
) -> None:
    """A judgement's query and document must exist; `known` is None where the documents are elsewhere.

    Raises:
        LineError: one of them does not.
    """
    if queries and query not in queries:
        message = f'query "{query}" is not among the queries ({len(queries):,} read)'
        raise LineError(f"absent query {path}", message, path=path, line=line)
    if known is not None and document not in known:
        message = f'document "{document}" is not in {known.name} ({len(known):,} documents read)'
        raise LineError(f"absent document {path}", message, path=path, line=line)
