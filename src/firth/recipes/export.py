"""`firth export COLLECTION TO`: every document into another engine, resumed where it was stopped, then compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from firth.progress import bar
from firth.recipes.built import COLLECTION
from firth.store import Collection
from firth.store.exchange import Moved, export_to, target

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Settings:
    """What goes where."""

    collection: Annotated[Path, "Collection, or a folder that firth build made."]
    to: Annotated[str, "parquet:FOLDER, pgvector:postgresql://…#table, milvus:ADDRESS#name or qdrant:ADDRESS#name."]
    fresh: Annotated[bool, "Take away what is there first."] = False
    seed: Annotated[int, "Of the documents that are compared."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False


def run(settings: Settings) -> Moved:
    """Write, then compare counts, sampled vectors and the ten nearest of each.

    Raises:
        DataError: a document that the engine cannot hold; names it.
        SettingsError: a place that is not understood, or what is there has another shape.
        StorageError: the engine does not answer; the next run goes on from there.
    """
    folder = settings.collection / COLLECTION
    with Collection.open(folder if folder.is_dir() else settings.collection, readonly=True) as collection:
        engine = target(settings.to)
        try:
            with bar("writing", shown=not settings.quiet) as progress:
                return export_to(collection, engine, fresh=settings.fresh, seed=settings.seed, progress=progress)
        finally:
            engine.close()


def show(moved: Moved, console: Console) -> None:
    """Both counts, and how well both sides agree."""
    console.print(f"{moved.where}: {moved.there:,} documents, {moved.written:,} carried in {moved.seconds:.1f} s")
    for one in moved.compared:
        name = f"vectors {one.name!r}" if one.name else "vectors"
        told = "" if np.isnan(one.agreement) else f"; {one.agreement:.1%} of the exact ten nearest found there"
        console.print(f"{name}: {one.sampled} compared, largest difference {one.difference:.1e}{told}")
