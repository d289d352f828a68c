"""`firth import FROM -o COLLECTION`: documents and vectors of another engine or file into a new collection.

`import` is a word of Python, hence the name of this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth.errors import SettingsError
from firth.progress import bar
from firth.recipes import export
from firth.store import Collection
from firth.store.exchange import Moved, import_from, supply
from firth.store.records import Record
from firth.text.read import read

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Settings:
    """What comes from where."""

    place: Annotated[
        str,
        "parquet:FOLDER, a .parquet file, pgvector:postgresql://…#table, milvus:ADDRESS#name or qdrant:ADDRESS#name; "
        "a .npy, .fvecs or .bvecs of vectors; faiss:FILE or hnswlib:FILE.",
    ]
    out: Annotated[Path, "-o", "Collection to make, or to go on with where it was stopped."]
    text_field: Annotated[str, "Field of Qdrant's payload that holds the text, if it has a name of its own."] = ""
    texts: Annotated[
        Path | None, "Documents of bare vectors and of indexes: corpus.jsonl, .csv, …; vector n belongs to the n-th."
    ] = None
    metric: Annotated[str, "Of bare vectors and of indexes that do not say: cosine, dot or euclid."] = ""
    seed: Annotated[int, "Of the documents that are compared."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if self.metric not in ("", "cosine", "dot", "euclid"):
            raise SettingsError(f"metric={self.metric!r}: expected cosine, dot or euclid")


def run(settings: Settings) -> Moved:
    """Read, store, compare.

    Raises:
        DataError: nothing there that has vectors, or a document that cannot be held; names it.
        SettingsError: a place that is not understood, or a collection of another shape.
        StorageError: the engine does not answer; the next run goes on from there.
    """
    metric: Any = settings.metric or None
    texts = None if settings.texts is None else documents(settings.texts)
    source = supply(settings.place, text_field=settings.text_field or None, texts=texts, metric=metric)
    try:
        plan = source.plan()
        if settings.out.is_dir() and any(settings.out.iterdir()):
            collection = Collection.open(settings.out)
        else:
            collection = Collection.create(settings.out, vectors=plan.vectors)
        with collection, bar("reading", shown=not settings.quiet) as progress:
            if {name: s.dims for name, s in collection.vector_settings().items()} != {
                name: s.dims for name, s in plan.vectors.items()
            }:
                raise SettingsError(f"{settings.out}: holds vectors of another shape; choose another folder")
            return import_from(source, collection, seed=settings.seed, progress=progress)
    finally:
        source.close()


def documents(path: Path) -> list[Record]:
    """The documents of a file or folder, in its order."""
    return [Record(document.id, document.text, document.title) for document in read(path).documents]


def show(moved: Moved, console: Console) -> None:
    """As of an export."""
    export.show(moved, console)
