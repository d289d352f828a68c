"""Bytes on disk to checked lines of text, in bounded memory, plain or compressed; every fault has a file and a line.

What a line may not be: longer than the limit, other than UTF-8, or holding a NUL byte. A byte order mark at the start
of a file and a carriage return at the end of a line are taken off, as editors on Windows put them there.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from firth.errors import DataError, MissingExtraError

MAX_LINE = 32 << 20  # bytes; a longer "line" is a file of another kind, and several copies of it must fit in memory
BLOCK = 1 << 20  # bytes read at once
COMPRESSED = (".gz", ".zst")
ROWS = (".parquet", ".json")  # formats that have rows instead of lines


class Place(NamedTuple):
    """Where a record stands: a file, and its line (or row, or part) there, from 1."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}, {self.spot}"

    @property
    def spot(self) -> str:
        """The line alone, for a file that was named already."""
        return f"{'row' if plain_suffix(self.path) in ROWS else 'line'} {self.line:,}"


class LineError(DataError):
    """A fault in one line; `kind` says which faults are alike, so that they are told once and counted."""

    def __init__(self, kind: str, message: str, *, path: Path, line: int) -> None:
        super().__init__(f"{Place(path, line)}: {message}")
        self.path = path
        self.line = line
        self.kind = kind


class Faults:
    """What to do about a line that cannot be used: stop at once, gather and count, or skip and count.

    A check of a whole file gathers, so that one error can say how many more are like it. Reading after a check stops.
    """

    STOP, GATHER, SKIP = "stop", "gather", "skip"

    def __init__(self, policy: str = STOP) -> None:
        self.policy = policy
        self.first: dict[str, DataError] = {}
        self.counts: dict[str, int] = {}
        self._remarks: dict[str, tuple[str, int]] = {}

    def add(self, error: DataError) -> None:
        """Take note of a fault, or raise it where the policy is to stop."""
        if self.policy == self.STOP:
            raise error
        kind = error.kind if isinstance(error, LineError) else "file"
        self.first.setdefault(kind, error)
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def remark(self, kind: str, message: str) -> None:
        """Take note of what is no fault but should be known; those of one kind are told once and counted."""
        first, count = self._remarks.get(kind, (message, 0))
        self._remarks[kind] = first, count + 1

    def settle(self) -> None:
        """Raise the first fault that was gathered, with the number of those like it."""
        if self.policy == self.GATHER and self.first:
            kind, error = next(iter(self.first.items()))
            raise _counted(error, self.counts[kind] - 1)

    def notes(self) -> list[str]:
        """What was remarked and what was skipped, one line a kind."""
        remarks = [_more(message, count - 1) for message, count in self._remarks.values()]
        return remarks + [f"skipped: {_more(str(error), self.counts[kind] - 1)}" for kind, error in self.first.items()]


def lines(path: Path, *, limit: int = MAX_LINE, blanks: bool = False) -> Iterator[tuple[int, bytes]]:
    """Each line with its number from 1, without its line end; blank ones only on request. See `text_of`.

    Raises:
        DataError: a line beyond `limit` bytes, a damaged or truncated archive, a file that cannot be opened.
    """
    number = 0
    with opened(path) as file:
        try:
            while line := file.readline(limit + 2):
                number += 1
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                line = line.removesuffix(b"\n").removesuffix(b"\r")
                if len(line) > limit:
                    raise DataError(
                        f"longer than {limit:,} bytes; one record a line is expected: is this file of another kind, "
                        "or should this text be split into several documents?",
                        path=path,
                        line=number,
                    )
                if blanks or (line and not line.isspace()):
                    yield number, line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"the archive is damaged or truncated ({error}); copy it again", path=path, line=number + 1
            ) from error


def text_of(path: Path, number: int, line: bytes) -> str:
    """A line's characters.

    Raises:
        LineError: not UTF-8, with the byte in the line; or a NUL byte.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise LineError(
            "utf-8",
            f"byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8: "
            f"{_around(line, error.start)}; convert the file, for instance iconv -f latin1 -t utf-8",
            path=path,
            line=number,
        ) from error
    if "\0" in text:
        raise LineError(
            "nul",
            f"byte {line.index(0) + 1} of the line is NUL, which no text holds; is the file UTF-16, or damaged?",
            path=path,
            line=number,
        )
    return text


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a plain, .gz or .zst file, buffered.

    Raises:
        DataError: the file is absent or cannot be opened.
        MissingExtraError: .zst without the zstandard package.
    """
    try:
        raw: Any = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", path=path) from error
    with raw:
        if path.suffix == ".gz":
            raw = gzip.GzipFile(fileobj=raw)
        elif path.suffix == ".zst":
            raw = _zstandard().ZstdDecompressor().stream_reader(raw)
        yield io.BufferedReader(raw, BLOCK)


def plain_suffix(path: Path) -> str:
    """The suffix that tells the format, lower case: ".jsonl" for corpus.jsonl.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def name_below(root: Path, file: Path) -> str:
    """A file's path below a folder, or its name where it is the root; bytes that are no text are spelt as \\xNN."""
    below = file.relative_to(root) if file != root else Path(file.name)
    return os.fsencode(below.as_posix()).decode(errors="backslashreplace")


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError("zstandard", "zstd", "reading .zst files") from error
    return zstandard


def _around(line: bytes, place: int) -> str:
    return repr(line[max(place - 15, 0) : place + 15].decode(errors="replace"))


def _counted(error: DataError, more: int) -> DataError:
    if not more:
        return error
    counted = DataError(_more(str(error), more))
    counted.path, counted.line = error.path, error.line
    return counted


def _more(message: str, more: int) -> str:
    return f"{message}; {more:,} more like it" if more else message
