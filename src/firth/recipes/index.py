"""`firth index`: build an index from vectors, search it, look into it; tune, import and export are files beside."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from firth import kernels
from firth.arrays import Neighbours
from firth.cli import command
from firth.errors import SettingsError
from firth.index import HNSW, load
from firth.progress import bar
from firth.recipes import index_files, index_tune
from firth.recipes.vectors import read_vectors

if TYPE_CHECKING:
    from rich.console import Console

RECALLS = (0.9, 0.95, 0.99)  # whose price is shown


@dataclass(frozen=True)
class Build:
    """What an index is built of, and how."""

    vectors: Annotated[Path, "Folder of firth encode, or a .npy, .fvecs or .bvecs file."]
    out: Annotated[Path, "-o", "File for the index."]
    m: Annotated[int, "Links a vector; 8 to 64. More finds more and costs 8 bytes each."] = 16
    ef_construction: Annotated[int, "Candidates looked at while building; 100 to 500."] = 200
    codec: Annotated[str, "How the graph sees the vectors: sq8 or float32."] = "sq8"
    seed: Annotated[int, "Of the levels."] = 0
    threads: Annotated[int, "0 = as many as there are cores."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if self.codec not in ("sq8", "float32"):
            raise SettingsError(f"codec={self.codec!r}: expected sq8 or float32")


@dataclass(frozen=True)
class Search:
    """A question to an index file."""

    index: Annotated[Path, "Index file."]
    queries: Annotated[Path, "Folder of firth encode, or a .npy, .fvecs or .bvecs file."]
    k: Annotated[int, "-k", "Neighbours a query."] = 10
    recall: Annotated[float, "Share of the exact neighbours to aim for."] = 0.99


@dataclass(frozen=True)
class Inspect:
    """Which index."""

    index: Annotated[Path, "Index file."]
    k: Annotated[int, "-k", "Neighbours that recall is counted over."] = 10


@dataclass(frozen=True)
class About:
    """An index in numbers; `beams` is the ef that each recall takes by the index's own curve."""

    path: Path
    vectors: int
    dims: int
    bytes_per_vector: float
    seconds: float
    unreachable: int | None = None
    beams: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path)}


@dataclass(frozen=True)
class Answers:
    """Keys and scores of each query's neighbours."""

    keys: list[list[Any]]
    near: Neighbours
    seconds: float

    def as_json(self) -> dict[str, Any]:
        scores = [[float(s) for s in row if np.isfinite(s)] for row in self.near.scores]
        return {"keys": self.keys, "scores": scores, "seconds": self.seconds}


def build(settings: Build) -> About:
    """Build and save.

    Raises:
        DataError: no vectors there.
        ShapeError: not (n, d) finite numbers.
    """
    vectors, keys = read_vectors(settings.vectors)
    start = time.perf_counter()
    with bar("indexing", shown=not settings.quiet) as progress:
        index = HNSW.build(
            vectors,
            m=settings.m,
            ef_construction=settings.ef_construction,
            codec="sq8" if settings.codec == "sq8" else None,
            threads=settings.threads or kernels.default_threads(),
            seed=settings.seed,
            keys=keys,
            progress=progress,
        )
    index.save(settings.out)
    return About(settings.out, len(index), vectors.shape[1], index.bytes_per_vector, time.perf_counter() - start)


def search(settings: Search) -> Answers:
    """The neighbours of every query; a small index without a curve, or a flat one, needs no recall."""
    index = load(settings.index)
    queries, _ = read_vectors(settings.queries)
    start = time.perf_counter()
    if isinstance(index, HNSW) and index.curve is not None:
        near = index.search(queries, k=settings.k, recall=settings.recall)
    else:
        near = index.search(queries, k=settings.k)
    seconds = time.perf_counter() - start
    return Answers([index.names(row[row >= 0]) for row in near.ids], near, seconds)


def inspect(settings: Inspect) -> About:
    """Size and soundness, and the ef that each recall takes."""
    start = time.perf_counter()
    index = load(settings.index)
    opened = time.perf_counter() - start
    if not isinstance(index, HNSW):
        return About(settings.index, len(index), index.dims, index.bytes_per_vector, opened)
    beams = {f"{recall}": index.beam(settings.k, recall=recall) for recall in RECALLS} if index.curve else {}
    return About(settings.index, len(index), index.dims, index.bytes_per_vector, opened, index.unreachable, beams)


def show_about(about: About, console: Console) -> None:
    """One line a fact."""
    console.print(f"{about.path}: {about.vectors:,} vectors of {about.dims} dimensions, {about.seconds:.2f} s")
    console.print(f"{about.bytes_per_vector:,.0f} bytes a vector")
    for recall, ef in about.beams.items():
        console.print(f"recall {recall} takes ef={ef}")
    if about.unreachable is not None:
        console.print(f"{about.unreachable:,} vectors cannot be reached")


def show_answers(answers: Answers, console: Console) -> None:
    """A line a query: keys with their scores."""
    for keys, scores in zip(answers.keys, answers.near.scores, strict=True):
        console.print("  ".join(f"{key} {score:.3f}" for key, score in zip(keys, scores, strict=False)), markup=False)


app = typer.Typer(no_args_is_help=True)
app.command("build", help="Build an HNSW index from vectors.")(command(Build, build, show_about))
app.command("search", help="Nearest neighbours of each query vector.")(command(Search, search, show_answers))
app.command("inspect", help="Size, recall, speed and soundness of an index.")(command(Inspect, inspect, show_about))
app.command("tune", help="Find m, ef_construction and ef for a wanted recall on these vectors.")(
    command(index_tune.Settings, index_tune.tune, index_tune.show)
)
app.command("import", help="Take over an index of hnswlib or faiss, or bare vectors.")(
    command(index_files.Import, index_files.take, index_files.show)
)
app.command("export", help="Write an index for hnswlib or faiss, or its vectors as .npy or .fvecs.")(
    command(index_files.Export, index_files.give, index_files.show)
)
