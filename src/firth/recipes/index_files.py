"""`firth index import` and `export`: indexes of hnswlib and faiss, and bare vectors, to and from firth's own file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from firth import files, index
from firth.errors import SettingsError
from firth.index import HNSW, foreign

if TYPE_CHECKING:
    from rich.console import Console

PROGRAMS = ("hnswlib", "faiss", "rows")
METRICS = ("cosine", "dot", "euclid")


@dataclass(frozen=True)
class Import:
    """Another program's file, and where ours goes."""

    source: Annotated[Path, "Index of hnswlib or faiss, or a .npy, .fvecs or .bvecs of vectors."]
    out: Annotated[Path, "-o", "File for the index."]
    program: Annotated[str, "hnswlib, faiss or rows; recognised by the file if empty."] = ""
    metric: Annotated[str, "cosine, dot or euclid; hnswlib's files do not say (then cosine), faiss's do."] = ""
    codec: Annotated[str, "How the graph sees the vectors: sq8 or float32."] = "sq8"

    def __post_init__(self) -> None:
        _check(self.program, PROGRAMS, "program")
        _check(self.metric, METRICS, "metric")
        if self.codec not in ("sq8", "float32"):
            raise SettingsError(f"codec={self.codec!r}: expected sq8 or float32")


@dataclass(frozen=True)
class Export:
    """Our index, and the other program's file."""

    index: Annotated[Path, "Index file of firth."]
    out: Annotated[Path, "-o", "File to write: .hnswlib, .faiss, or .npy and .fvecs for the vectors alone."]
    program: Annotated[str, "hnswlib, faiss or rows; by the file's name if empty."] = ""

    def __post_init__(self) -> None:
        _check(self.program, PROGRAMS, "program")


@dataclass(frozen=True)
class Moved:
    """What lies where; `keys` is the file of string keys, whose places the other program's ids count."""

    path: Path
    kind: str
    vectors: int
    dims: int
    metric: str
    seconds: float
    keys: Path | None = None

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path), "keys": None if self.keys is None else str(self.keys)}


def take(settings: Import) -> Moved:
    """Read the other program's file and write ours.

    Raises:
        DataError: no such file.
        FormatError: damaged, or a class of index that firth does not read.
        SettingsError: a metric that the file contradicts.
    """
    start = time.perf_counter()
    codec: Literal["sq8"] | None = "sq8" if settings.codec == "sq8" else None
    program: Any = settings.program or None
    metric: Any = settings.metric or None
    found = foreign.read(settings.source, program=program, metric=metric, codec=codec)
    found.save(settings.out)
    return _moved(settings.out, found, start)


def give(settings: Export) -> Moved:
    """Read our index and write the other program's file, and the string keys beside it where there are some.

    Raises:
        FormatError: not an index of firth.
        SettingsError: a file name that says nothing, or a flat index for hnswlib.
    """
    start = time.perf_counter()
    found = index.load(settings.index)
    program: Any = settings.program or None
    foreign.write(found, settings.out, program=program)
    keys = None
    if found.strings is not None:
        keys = settings.out.with_name(settings.out.name + ".keys.json")
        files.write_json(keys, found.strings)
    return _moved(settings.out, found, start, keys)


def show(moved: Moved, console: Console) -> None:
    """One line."""
    console.print(
        f"{moved.path}: {moved.kind} index of {moved.vectors:,} vectors, {moved.dims} dimensions, {moved.metric}, "
        f"{moved.seconds:.2f} s"
    )
    if moved.keys is not None:
        console.print(f"{moved.keys}: the string keys; id i of the other program is the i-th", soft_wrap=True)


def _check(value: str, known: tuple[str, ...], name: str) -> None:
    if value and value not in known:
        raise SettingsError(f"{name}={value!r}: expected one of {', '.join(known)}")


def _moved(path: Path, found: Any, start: float, keys: Path | None = None) -> Moved:
    kind = "hnsw" if isinstance(found, HNSW) else "flat"
    return Moved(path, kind, len(found), found.dims, found.metric, time.perf_counter() - start, keys)
