"""`firth eval MODEL DATA`: how well a model, or a built folder, answers the judged queries of a domain."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from firth.errors import SettingsError
from firth.evaluate.gates import Verdict, check
from firth.evaluate.judge import Report, Searcher, evaluate
from firth.evaluate.retrieval import MEASURES, adjusted
from firth.evaluate.statistics import Paired
from firth.progress import bar
from firth.recipes.built import Built
from firth.recipes.load import load
from firth.recipes.stages import MARK
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Settings:
    """What is measured, and on what."""

    model: Annotated[str, "Model name or folder, word-vector file, or a folder that firth build made."]
    data: Annotated[Path, "Domain with judged queries."]
    compare: Annotated[str, "A second model, compared query by query with the first."] = ""
    split: Annotated[str, "Which judgements: test, dev, train, or any other name that the domain has."] = "test"
    measures: Annotated[str, "Names divided by commas."] = ",".join(MEASURES)
    dims: Annotated[int, "Leading dimensions to use; 0 = all. Models only."] = 0
    gate: Annotated[
        list[str], 'A bar, such as "recall@10>=0.9" or "no worse than base.json"; exit code 3 if missed.'
    ] = field(default_factory=list)
    seed: Annotated[int, "Of the intervals and the permutation test."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False


@dataclass(frozen=True)
class Measured:
    """One report, or two with their comparison; `paired` is positive where the second is better.

    Attributes:
        verdicts: what became of each gate, which the first report is held against.
    """

    settings: Settings
    report: Report
    other: Report | None = None
    paired: dict[str, Paired] | None = None
    verdicts: tuple[Verdict, ...] = ()

    @property
    def missed_gates(self) -> tuple[str, ...]:
        """The gates that did not pass, with their numbers; the command line exits with 3 if there are any."""
        return tuple(verdict.told for verdict in self.verdicts if not verdict.passed)

    def as_json(self) -> dict[str, Any]:
        found = {"model": self.settings.model, **self.report.as_json()}
        if self.verdicts:
            found["gates"] = [asdict(verdict) for verdict in self.verdicts]
        if self.other is None or self.paired is None:
            return found
        corrected = adjusted(self.paired)
        paired = {name: {**asdict(one), "p_holm": corrected[name]} for name, one in self.paired.items()}
        return {"model": found, "compare": {"model": self.settings.compare, **self.other.as_json()}, "paired": paired}


def run(settings: Settings) -> Measured:
    """Measure one model or two on the same queries.

    Raises:
        DataError: the domain has no such judgements, or they do not fit its documents.
        ModelError: a model cannot be loaded.
        SettingsError: an unknown measure, or dims asked of a built folder.
    """
    if settings.dims < 0:
        raise SettingsError(f"dims={settings.dims}: expected at least 1, or 0 for all")
    testset = TestSet.load(settings.data, settings.split)
    report = _report(settings.model, testset, settings)
    verdicts = tuple(check(settings.gate, report.as_json(), seed=settings.seed))
    if not settings.compare:
        return Measured(settings, report, verdicts=verdicts)
    other = _report(settings.compare, testset, settings)
    return Measured(settings, report, other, other.against(report), verdicts)


def show(measured: Measured, console: Console) -> None:
    """Each measure with its interval; with two models, the change and its p-value after Holm's correction."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "",
        measured.settings.model,
        *((measured.settings.compare, "change", "p (Holm)") if measured.other else ()),
    ):
        table.add_column(heading)
    corrected = adjusted(measured.paired) if measured.paired else {}
    for name, interval in measured.report.intervals.items():
        row = [name, str(interval)]
        if measured.other and measured.paired:
            row += [
                str(measured.other.intervals[name]),
                f"{measured.paired[name].delta:+.3f}",
                f"{corrected[name]:.4f}",
            ]
        table.add_row(*row)
    console.print(table)
    n = len(measured.report.scores.queries)
    console.print(f"[dim]{n:,} queries, 95 % bootstrap intervals, seed {measured.settings.seed}[/dim]")
    for verdict in measured.verdicts:
        console.print(f"{'passed' if verdict.passed else 'missed'}      {verdict.told}", markup=False)
    for what, cut in measured.report.truncation.items():
        if cut.cut:
            console.print(
                f"note        {cut.cut:,} of {cut.texts:,} {what} were cut; {cut.tokens:,} tokens were not read"
            )


def _report(model: str, testset: TestSet, settings: Settings) -> Report:
    with ExitStack() as stack:
        whole = (Path(model) / MARK).is_file()
        # A collection's ids may be integers; those of a test set are texts, and so are those of the collection then.
        subject = cast(Searcher, stack.enter_context(Built.open(Path(model)))) if whole else load(model)
        progress = stack.enter_context(bar("measuring", shown=not settings.quiet))
        return evaluate(
            subject,
            testset,
            measures=[name.strip() for name in settings.measures.split(",")],
            dims=settings.dims or None,
            seed=settings.seed,
            progress=progress,
        )
