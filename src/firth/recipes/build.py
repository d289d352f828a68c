"""`firth build DATA -o OUT`: a domain folder in; a tuned, indexed, measured search out.

    read -> split (or make pairs and draft questions) -> measure the base model -> mine hard negatives -> tune
         -> measure again, paired -> choose dims x codec x index -> collection -> report

Each stage is kept in OUT/.build (stages.py), so an interrupted build goes on where it stopped. OUT holds the model, the
collection, report.html and report.json, and may be moved to another machine (built.py).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth import files, kernels
from firth.arrays import Encoder, Neighbours
from firth.errors import SettingsError
from firth.evaluate.ranking import Ranking
from firth.evaluate.records import BuildReport, Point, as_json
from firth.evaluate.report import write
from firth.evaluate.retrieval import measure
from firth.progress import Progress, bar
from firth.recipes import built, reporting, tuning
from firth.recipes.base import WORDS_FILE, find_base, reading_for, ready
from firth.recipes.domain import Work, read_domain
from firth.recipes.judged import Judged, judge, load_judged
from firth.recipes.load import load
from firth.recipes.made import made
from firth.recipes.stages import Stages
from firth.recipes.sweep import Sweep, Tests, sweep

if TYPE_CHECKING:
    from rich.console import Console

BASE = "sentence-transformers/all-MiniLM-L6-v2"
PAIRS = 4_000  # about ten minutes of tuning on two cores
EPOCHS = 1  # the least; the dev part says whether it helped
RECALL = 0.99
ENOUGH_QUERIES = 100  # to choose an index by; with fewer, the test queries join


@dataclass(frozen=True)
class Settings:
    """What to build and how far to go."""

    data: Annotated[Path, "Domain: a BEIR folder, a table of pairs, or a folder of documents."]
    out: Annotated[Path, "-o", "Folder for the model, the collection and the report."]
    base: Annotated[str, "Model to start from; words = word vectors trained on the documents, without torch."] = BASE
    epochs: Annotated[int, "Passes over the training pairs; 0 = do not tune."] = EPOCHS
    pairs: Annotated[int, "Made from the documents where there are no queries; 0 = make none."] = PAIRS
    recall: Annotated[float, "Share of the exact top 10 that the index must return, 0 to 1."] = RECALL
    seed: Annotated[int, "Of every random draw."] = 0
    threads: Annotated[int, "0 = as many as there are cores."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if min(self.epochs, self.threads, self.pairs) < 0 or not 0 < self.recall <= 1:
            raise SettingsError(
                f"epochs={self.epochs}, pairs={self.pairs}, threads={self.threads}, recall={self.recall}: expected "
                "epochs, pairs and threads of at least 0, and recall above 0 and at most 1"
            )

    @property
    def cores(self) -> int:
        """Threads that are used."""
        return self.threads or kernels.default_threads()

    def bar(self, label: str) -> AbstractContextManager[Progress]:
        """A progress line, unless quiet."""
        return bar(label, shown=not self.quiet)

    def say(self, line: str) -> None:
        """One line on stderr, unless quiet."""
        if not self.quiet:
            print(line, file=sys.stderr)


@dataclass(frozen=True)
class Result:
    """Where it lies and what it measured."""

    out: Path
    report: BuildReport
    pages: tuple[Path, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return {"out": str(self.out), **as_json(self.report)}


def run(settings: Settings) -> Result:
    """Go the whole way, or the part of it that is not done yet.

    Raises:
        DataError: the domain cannot be read; names file and line.
        StorageError: no space, or another build writes to the same folder; what was finished is kept.
        ModelError: the base model cannot be loaded.
    """
    with Stages(settings.out, settings.say) as stages:
        with settings.bar("finding the model") as progress:
            base = find_base(settings.base, progress=progress)
        with settings.bar("reading") as progress:
            work = read_domain(settings.data, seed=settings.seed, reading=reading_for(base), progress=progress)
        made_of = settings.pairs if settings.epochs and not work.judged else 0
        if made_of:
            work = made(work, most=made_of, seed=settings.seed)
        inputs = {"digest": work.digest, "seed": settings.seed, "pairs": made_of}
        stages.run("domain", inputs, lambda _: {"documents": work.n})
        starter = partial(ready, base, work.documents, seed=settings.seed, threads=settings.cores)
        before = _judged(stages, "base", base.identity, starter, work, settings)
        tuned = tuning.tune(stages, base, before, work, settings)
        after = before
        if tuned.model is not None:
            after = _judged(stages, "tuned", tuned.digest, partial(_loaded, tuned.model), work, settings)
            tuned = tuning.kept(tuned, before, after, work, settings.seed)
            after = after if tuned.model else before
        chosen = _chosen(stages, after, work, settings)
        model = tuned.model or base.folder or stages.folder / "base" / WORDS_FILE
        _publish(stages, model, after, chosen.chosen, work, settings)
        report = reporting.assemble(
            settings, work, before=before, after=after if tuned.model else None, sweep=chosen, tuned=tuned,
            seconds=stages.seconds, threads=settings.cores,
        )  # fmt: skip
        pages = write(report, settings.out)
        built.finish(settings.out, model=_place(model), recall=settings.recall, chosen=chosen.chosen)
    return Result(settings.out, report, pages)


def show(result: Result, console: Console) -> None:
    """The table, what was chosen, and where everything lies."""
    reporting.show(result.report, console)
    for page in result.pages:
        console.print(f"report      {page}")
    console.print(f'ask it      firth search {result.out} "your question"')


def _loaded(folder: Path, _folder: Path, _progress: Progress) -> Encoder:
    return load(folder)


def _judged(
    stages: Stages,
    name: str,
    model: str,
    encoder_of: Callable[[Path, Progress], Encoder],
    work: Work,
    settings: Settings,
) -> Judged:
    """One model's vectors and ranking, from this run or an earlier one."""

    def go(folder: Path) -> dict[str, Any]:
        with settings.bar(f"{name}: loading") as progress:
            encoder = encoder_of(folder, progress)
        with settings.bar(f"{name}: encoding") as progress:
            judge(
                encoder, work.documents, work.queries, work.sets.test, folder,
                total=work.n, threads=settings.cores, progress=progress,
            )  # fmt: skip
        return {}

    stages.run(name, {"model": model}, go)
    return load_judged(stages.folder / name, work.sets.test)


def _chosen(stages: Stages, judged: Judged, work: Work, settings: Settings) -> Sweep:
    """Every way to store and search the vectors that was measured, and the choice.

    The choice is made on training and dev queries where there are enough, so that the test queries stay unseen.
    """
    unseen = {**work.sets.train, **work.sets.dev}
    queries = list(unseen if len(unseen) >= ENOUGH_QUERIES else judged.query_ids)
    names, ids = list(judged.judgements), judged.documents.ids

    def score(found: Neighbours) -> float:
        return measure(Ranking(names, ids, found), judged.judgements, [reporting.MAIN]).mean[reporting.MAIN]

    def go(_: Path) -> dict[str, Any]:
        with settings.bar("choosing the index") as progress:
            found = sweep(
                judged.documents.vectors, judged.vectors_of(queries),
                recall=settings.recall, threads=settings.cores, seed=settings.seed,
                tests=Tests(judged.vectors_of(names), score) if names else None, progress=progress,
            )  # fmt: skip
        return {"points": [asdict(point) for point in found.points], "chosen": found.points.index(found.chosen)}

    inputs = {"recall": settings.recall, "seed": settings.seed, "scored by": reporting.MAIN}
    done = stages.run("choose", inputs, go)
    points = tuple(Point(**point) for point in done["points"])
    return Sweep(points, points[done["chosen"]])


def _publish(stages: Stages, model: Path, judged: Judged, chosen: Point, work: Work, settings: Settings) -> None:
    """OUT/model and OUT/collection, each replaced in one step."""

    def go(_: Path) -> dict[str, Any]:
        with files.write_folder(settings.out / built.MODEL) as place:
            if model.is_dir():
                shutil.copytree(model, place, dirs_exist_ok=True)
            else:
                shutil.copy(model, place / WORDS_FILE)
        encoder = load(settings.out / _place(model))
        with settings.bar("collection") as progress, files.write_folder(settings.out / built.COLLECTION) as place:
            place.rmdir()
            built.fill(
                place, encoder, judged.documents, work.documents, chosen,
                recall=settings.recall, threads=settings.cores, seed=settings.seed, progress=progress,
            )  # fmt: skip
        return {}

    stages.run("publish", {"chosen": asdict(chosen)}, go)


def _place(model: Path) -> str:
    """Where the model lies below OUT."""
    return built.MODEL if model.is_dir() else f"{built.MODEL}/{WORDS_FILE}"
