"""`firth encode DATA -o FOLDER`: documents or queries to a folder of vectors, resumed where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth.errors import DataError, SettingsError
from firth.progress import bar
from firth.recipes.build import BASE
from firth.recipes.load import load
from firth.sentence.shards import Shards, counted, encode_shards
from firth.text.read import read

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Settings:
    """What is encoded, and how."""

    data: Annotated[Path, "Domain: a BEIR folder, a table, or a folder of documents."]
    out: Annotated[Path, "-o", "Folder for the shards and their manifest."]
    model: Annotated[str, "Model name or folder, or word-vector file."] = BASE
    what: Annotated[str, "documents or queries."] = "documents"
    dims: Annotated[int, "Leading dimensions to keep; 0 = all."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if self.what not in ("documents", "queries"):
            raise SettingsError(f"what={self.what!r}: expected documents or queries")
        if self.dims < 0:
            raise SettingsError(f"dims={self.dims}: expected at least 1, or 0 for all")


@dataclass(frozen=True)
class Encoded:
    """The folder, and how long it took."""

    shards: Shards
    seconds: float

    def as_json(self) -> dict[str, Any]:
        cut, tokens = self.shards.cut
        return {
            "folder": str(self.shards.folder),
            "rows": len(self.shards),
            **self.shards.maker,
            "cut": {"texts": cut, "tokens": tokens},
            "seconds": self.seconds,
        }


def run(settings: Settings) -> Encoded:
    """Encode what is not encoded yet.

    Raises:
        DataError: nothing to encode, or a fault in the data with its file and line.
        StorageError: the disk is full; what was finished is kept.
    """
    with bar("reading", shown=not settings.quiet) as progress:
        domain = read(settings.data, progress=progress)
    kind = "document" if settings.what == "documents" else "query"
    texts: Iterable[tuple[str, str]]
    if kind == "document":
        texts, total = ((document.id, document.full) for document in domain.documents), len(domain.documents)
    else:
        texts, total = domain.queries.items(), len(domain.queries)
    if not total:
        raise DataError(f"holds no {settings.what}", path=settings.data)
    encoder = load(settings.model, progress=not settings.quiet)
    dims = settings.dims or encoder.dims
    maker = {"fingerprint": encoder.fingerprint, "kind": kind, "dims": dims}
    start = time.perf_counter()
    with bar("encoding", shown=not settings.quiet) as progress:
        encode = counted(encoder, kind=kind, dims=dims)
        shards = encode_shards(encode, texts, settings.out, maker=maker, total=total, progress=progress)
    return Encoded(shards, time.perf_counter() - start)


def show(encoded: Encoded, console: Console) -> None:
    """Rows, speed, and what was cut."""
    rows, seconds = len(encoded.shards), encoded.seconds
    console.print(f"{rows:,} vectors of {encoded.shards.maker['dims']} dimensions in {encoded.shards.folder}")
    console.print(f"{seconds:.1f} s, {rows / max(seconds, 1e-9):,.0f} rows/s")
    cut, tokens = encoded.shards.cut
    if cut:
        console.print(f"note: {cut:,} texts were longer than the model reads; {tokens:,} tokens were not read")
