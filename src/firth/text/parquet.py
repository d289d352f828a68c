"""Parquet and Arrow files to rows, a batch at a time (extra: parquet)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firth.errors import DataError, MissingExtraError
from firth.text.lines import Faults, LineError

BATCH = 1024  # rows turned into Python objects at once


def columns(path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        DataError: not a Parquet file, damaged or truncated.
        MissingExtraError: pyarrow is not installed.
    """
    arrow = _library()
    try:
        names: list[str] = arrow.parquet.read_schema(path).names
    except (arrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    return names


def rows(path: Path, wanted: list[str], faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row's wanted columns with its number from 1; in memory is one row group's columns at most.

    Raises:
        DataError: damaged or truncated; a text that is not UTF-8, as far as `faults` lets it.
    """
    arrow = _library()
    number = 0
    try:
        with arrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH, columns=wanted):
                for place in range(batch.num_rows):
                    number += 1
                    try:
                        row = {name: batch.column(name)[place].as_py() for name in wanted}
                        _check_texts(path, number, row)
                    except UnicodeDecodeError as error:
                        message = (
                            f"byte {error.start + 1} of a text is not UTF-8; write the file again from sound texts"
                        )
                        faults.add(LineError("utf-8", message, path=path, line=number))
                    except LineError as error:
                        faults.add(error)
                    else:
                        yield number, row
    except (arrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _check_texts(path: Path, number: int, row: dict[str, Any]) -> None:
    for name, value in row.items():
        if isinstance(value, str) and "\0" in value:
            message = f'"{name}" holds a NUL at character {value.index(chr(0)) + 1}, which no text does'
            raise LineError("nul", message, path=path, line=number)


def _library() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading .parquet files") from error
    return pyarrow


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"not a Parquet file, or a damaged one: {error}; copy it again", path=path)
