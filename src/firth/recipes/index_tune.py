"""`firth index tune VECTORS`: which m, ef_construction and ef reach a wanted recall for the fewest bytes and time.

Every pair of m and ef_construction is built and searched with wider and wider beams. The choice is `sweep.choose`'s:
of the configurations that reach the recall, those nearly as small as the smallest compete, and the fastest wins.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from firth import kernels
from firth.arrays import Neighbours
from firth.errors import SettingsError
from firth.evaluate.records import Point, point_json
from firth.evaluate.tradeoffs import check_picture, curves, price, write_picture
from firth.index import HNSW, Flat
from firth.progress import Progress, bar
from firth.recipes.sweep import BEAMS, choose, overlap, timed
from firth.recipes.vectors import Trial, trial

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 100_000  # vectors that are measured on; the beam that a recall takes grows with the logarithm of n
MOST_QUERIES = 500
LINKS = (8, 16, 32)  # m
EFFORTS = (100, 200, 400)  # ef_construction
WIDER = (*BEAMS, 384, 512, 768)


@dataclass(frozen=True)
class Settings:
    """Which vectors, and what is asked of the index."""

    vectors: Annotated[Path, "Folder of firth encode, or a .npy, .fvecs or .bvecs file."]
    queries: Annotated[Path | None, "The same of queries; without it some rows are held out."] = None
    recall: Annotated[float, "Share of the exact neighbours to reach, 0 to 1."] = 0.99
    out: Annotated[Path | None, "-o", "A picture: .html, .png or .svg."] = None
    k: Annotated[int, "-k", "Neighbours that recall is counted over."] = 10
    codec: Annotated[str, "How the graph sees the vectors: sq8 or float32."] = "sq8"
    seed: Annotated[int, "Of the levels and of samples."] = 0
    threads: Annotated[int, "Of the builds; searches are timed on one. 0 = as many as there are cores."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1 or self.k < 1:
            raise SettingsError(f"recall={self.recall}, k={self.k}: expected 0 < recall <= 1 and k >= 1")
        if self.codec not in ("sq8", "float32"):
            raise SettingsError(f"codec={self.codec!r}: expected sq8 or float32")


@dataclass(frozen=True)
class Tuned:
    """All that was measured, and the choice; `missed_gates` says where nothing reached the recall."""

    chosen: Point
    points: tuple[Point, ...]
    build_seconds: dict[str, float]
    recall: float
    k: int
    n: int
    queries: int
    notes: tuple[str, ...]
    picture: Path | None

    @property
    def missed_gates(self) -> tuple[str, ...]:
        if self.chosen.recall >= self.recall:
            return ()
        return (f"recall {self.recall:g} was not reached; the best is {self.chosen.recall:.4f}",)

    def as_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "chosen": point_json(self.chosen),
            "points": [point_json(point) for point in self.points],
            "picture": None if self.picture is None else str(self.picture),
        }


def tune(settings: Settings) -> Tuned:
    """Build and search each configuration.

    Raises:
        DataError: no vectors there, or too few.
        MissingExtraError: a picture is wanted and nothing here draws.
    """
    if settings.out is not None:
        check_picture(settings.out)
    on = trial(settings.vectors, settings.queries, most=MOST_ROWS, most_queries=MOST_QUERIES, seed=settings.seed)
    k = min(settings.k, len(on.rows))
    team = settings.threads or kernels.default_threads()
    exact = Flat.build(on.rows).search(on.queries, k, threads=team)
    seconds: dict[str, float] = {}
    with bar("tuning", shown=not settings.quiet) as progress:
        points = tuple(_points(on, exact, settings, team, seconds, progress))
    chosen = choose(points, settings.recall)
    found = Tuned(chosen, points, seconds, settings.recall, k, len(on.rows), len(on.queries), on.notes, settings.out)
    if settings.out is not None:
        drawings = {"Recall against queries a second": curves(points, chosen, settings.recall, k)}
        if not found.missed_gates:
            drawings["Queries a second against bytes a vector"] = price(points, settings.recall)
        rows = [_row(point, found) for point in points]
        write_picture(settings.out, f"{settings.vectors.name}: HNSW settings", drawings, rows)
    return found


def show(found: Tuned, console: Console) -> None:
    """The best point of each configuration, and the choice with the command that builds it."""
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in ("m", "ef_construction", "ef", f"recall@{found.k}", "queries/s", "bytes/vector", "build s"):
        table.add_column(name, justify="right")
    for last in _best(found).values():
        row = _row(last, found)
        table.add_row(
            f"{row['m']}", f"{row['ef_construction']}", f"{row['ef']}", f"{last.recall:.4f}",
            f"{last.queries_per_second:,.0f}", f"{last.bytes_per_vector:,.0f}", f"{row['build s']:.1f}",
            style="bold" if last.name == found.chosen.name else "",
        )  # fmt: skip
    console.print(table)
    asked = found.chosen.settings
    console.print(
        f"chosen: --m {asked['m']} --ef-construction {asked['ef_construction']}, searched with ef={asked['ef']}: "
        f"recall@{found.k} {found.chosen.recall:.4f}, {found.chosen.queries_per_second:,.0f} queries/s on one thread"
    )
    console.print(
        f"{found.queries:,} queries over {found.n:,} vectors; bytes in memory, the rows that rank the last few mapped"
    )
    for note in found.notes:
        console.print(f"note: {note}")
    if found.picture is not None:
        console.print(f"written: {found.picture}", soft_wrap=True)


def _points(
    on: Trial, exact: Neighbours, settings: Settings, threads: int, seconds: dict[str, float], progress: Progress
) -> Iterator[Point]:
    """Each configuration's beams up to the first that reaches the recall and one beyond it."""
    codec: Literal["sq8"] | None = "sq8" if settings.codec == "sq8" else None
    d, pairs = on.rows.shape[1], [(m, effort) for m in LINKS for effort in EFFORTS]
    for done, (m, effort) in enumerate(pairs):
        progress(done, len(pairs), f"m={m} ef_construction={effort}")
        start = time.perf_counter()
        index = HNSW.build(on.rows, m=m, ef_construction=effort, codec=codec, threads=threads, seed=settings.seed)
        took = time.perf_counter() - start
        memory = index.bytes_per_vector - (on.rows.itemsize * d if codec else 0)
        reached = False
        for ef in (ef for ef in WIDER if ef >= exact.k):
            rate, near = timed(partial(index.search, on.queries, exact.k, ef=ef))
            asked = {"m": m, "ef_construction": effort, "ef": ef}
            point = Point(d, settings.codec, "hnsw", asked, overlap(near, exact), rate * len(on.queries), memory)
            seconds[point.name] = took
            yield point
            if reached:
                break
            reached = point.recall >= settings.recall
    progress(len(pairs), len(pairs))


def _best(found: Tuned) -> dict[str, Point]:
    """Configuration -> its first point that reaches the recall, or its last."""
    best: dict[str, Point] = {}
    for point in found.points:
        if point.name not in best or best[point.name].recall < found.recall:
            best[point.name] = point
    return best


def _row(point: Point, found: Tuned) -> dict[str, Any]:
    return {
        **asdict(point)["settings"],
        f"recall@{found.k}": point.recall,
        "queries/s": point.queries_per_second,
        "bytes/vector": point.bytes_per_vector,
        "build s": found.build_seconds[point.name],
    }
