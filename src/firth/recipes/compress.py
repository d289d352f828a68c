"""`firth compress VECTORS`: every codec measured on these vectors; with --codec, their codes in one file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth import kernels
from firth.arrays import Neighbours
from firth.compress import Codec, rescore, standard, train
from firth.errors import SettingsError
from firth.evaluate.tradeoffs import Measured, check_picture, codecs, write_picture
from firth.index import Flat
from firth.progress import bar
from firth.recipes.sweep import overlap, timed
from firth.recipes.vectors import Trial, read_vectors, trial

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 20_000  # vectors that codecs are measured on: the recall of codes hardly depends on more
MOST_QUERIES = 200  # the standard error of recall@10 is then under half a point


@dataclass(frozen=True)
class Settings:
    """Which vectors, and what to do with them."""

    vectors: Annotated[Path, "Folder of firth encode, or a .npy, .fvecs or .bvecs file."]
    queries: Annotated[Path | None, "The same of queries; without it some rows are held out."] = None
    out: Annotated[Path | None, "-o", "With --codec the file of codes; without, a picture: .html, .png, .svg."] = None
    codec: Annotated[str, "Codec to write, for instance sq8, pq48, prefix128+binary; empty measures all."] = ""
    k: Annotated[int, "-k", "Neighbours that recall is counted over."] = 10
    oversample: Annotated[int, "Length of the shortlist that is scored again, times k."] = 4
    seed: Annotated[int, "Of samples, rotations and centres."] = 0
    threads: Annotated[int, "For training and encoding; searches are timed on one. 0 = as many as cores."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if self.k < 1 or self.oversample < 1:
            raise SettingsError(f"k={self.k}, oversample={self.oversample}: expected at least 1")
        if self.codec and self.out is None:
            raise SettingsError("--codec writes codes: say where with -o")


@dataclass(frozen=True)
class Table:
    """Every codec on these vectors."""

    measured: tuple[Measured, ...]
    n: int
    queries: int
    dims: int
    k: int
    oversample: int
    notes: tuple[str, ...]
    picture: Path | None

    def as_json(self) -> dict[str, Any]:
        picture = None if self.picture is None else str(self.picture)
        return {**vars(self), "measured": [asdict(row) for row in self.measured], "picture": picture}


@dataclass(frozen=True)
class Written:
    """A file of codes."""

    path: Path
    codec: str
    vectors: int
    bytes_per_vector: int
    factor: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path)}


def run(settings: Settings) -> Table | Written:
    """Measure all codecs, or write the codes of one.

    Raises:
        DataError: no vectors there, or too few.
        SettingsError: no such codec, or one that these vectors cannot train.
        MissingExtraError: a picture is wanted and nothing here draws.
    """
    return write(settings) if settings.codec else measure(settings)


def write(settings: Settings) -> Written:
    """Train the codec on all vectors and write their codes, with their keys, as a flat index."""
    assert settings.out is not None  # __post_init__
    start = time.perf_counter()
    vectors, keys = read_vectors(settings.vectors)
    team = settings.threads or kernels.default_threads()
    codec = train(settings.codec, vectors, seed=settings.seed, threads=team)
    index = Flat.build(vectors, keys=keys, codec=codec, threads=team)
    index.save(settings.out)
    size = codec.bytes_per_vector
    seconds = time.perf_counter() - start
    return Written(settings.out, settings.codec, len(vectors), size, 4 * codec.dims / size, seconds)


def measure(settings: Settings) -> Table:
    """The table, and its picture where one is wanted."""
    if settings.out is not None:
        check_picture(settings.out)
    on = trial(settings.vectors, settings.queries, most=MOST_ROWS, most_queries=MOST_QUERIES, seed=settings.seed)
    names, dims = standard(on.rows.shape[1]), on.rows.shape[1]
    k = min(settings.k, len(on.rows))
    exact = Flat.build(on.rows).search(on.queries, k)
    measured = []
    with bar("measuring codecs", shown=not settings.quiet) as progress:
        for done, name in enumerate(names):
            progress(done, len(names), name)
            if (row := _measured(name, on, exact, settings)) is not None:
                measured.append(row)
        progress(len(names), len(names))
    measured.sort(key=lambda row: (-row.bytes_per_vector, row.codec))
    notes = [*on.notes]
    if left := sorted(set(names) - {row.codec for row in measured}):
        notes.append(f"too few vectors to train {', '.join(left)}")
    found = Table(
        tuple(measured), len(on.rows), len(on.queries), dims, k, settings.oversample, tuple(notes), settings.out
    )
    if settings.out is not None:
        drawings = {f"Recall against size: {found.n:,} vectors of {dims} dimensions": codecs(measured, k)}
        write_picture(settings.out, f"{settings.vectors.name}: codecs", drawings, [asdict(row) for row in measured])
    return found


def show(found: Table | Written, console: Console) -> None:
    """A line a codec, largest first; or what was written."""
    if isinstance(found, Written):
        console.print(
            f"{found.path}: {found.vectors:,} codes of {found.codec}, {found.bytes_per_vector:,} bytes a vector "
            f"({found.factor:.3g}x smaller than float32), {found.seconds:.1f} s"
        )
        return
    from rich.table import Table as Drawn

    table = Drawn(box=None, header_style="bold")
    heads = ["bytes", "smaller", f"recall@{found.k}", "re-scored", "queries/s", "re-scored/s", "encoded/s"]
    table.add_column("codec")
    for name in heads:
        table.add_column(name, justify="right")
    for row in found.measured:
        table.add_row(
            row.codec, f"{row.bytes_per_vector:,}", f"{row.factor:.1f}x", f"{row.recall:.3f}", f"{row.rescored:.3f}",
            f"{row.queries_per_second:,.0f}", f"{row.rescored_per_second:,.0f}", f"{row.encoded_per_second:,.0f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"{found.queries:,} queries over {found.n:,} vectors; re-scored: the best {found.oversample} times k by codes, "
        "ranked again by float32; one thread"
    )
    for note in found.notes:
        console.print(f"note: {note}")
    if found.picture is not None:
        console.print(f"written: {found.picture}", soft_wrap=True)


def _measured(name: str, on: Trial, exact: Neighbours, settings: Settings) -> Measured | None:
    """One codec's line; None where there are too few vectors to train it."""
    start = time.perf_counter()
    try:
        codec = train(name, on.rows, seed=settings.seed, threads=settings.threads or None)
    except SettingsError:
        return None
    trained = time.perf_counter()
    codec.encode(on.rows)
    encoded = time.perf_counter()
    coarse, fine = _searches(codec, on, exact.k, settings.oversample)
    rate, alone = timed(coarse)
    rescored_rate, again = timed(fine)
    size, q = codec.bytes_per_vector, len(on.queries)
    return Measured(
        name, size, 4 * codec.dims / size, overlap(alone, exact), overlap(again, exact), rate * q, rescored_rate * q,
        len(on.rows) / (encoded - trained), trained - start,
    )  # fmt: skip


def _searches(codec: Codec, on: Trial, k: int, oversample: int) -> Sequence[Callable[[], Neighbours]]:
    """The search by codes, and the one that re-scores a shortlist of it."""
    flat = Flat.build(on.rows, codec=codec)
    longer = min(oversample * k, len(on.rows))
    return (
        lambda: flat.search(on.queries, k, threads=1),
        lambda: rescore(on.queries, flat.search(on.queries, longer, threads=1), on.rows, k),
    )
