"""`firth probe MODEL DOCS`: where a model fails on these documents, slice by slice, with the worst examples to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth.errors import MissingExtraError, SettingsError
from firth.evaluate import language
from firth.evaluate.flips import snippet
from firth.evaluate.probes import MARKS, Probed, cases, probe
from firth.progress import bar
from firth.recipes import built
from firth.recipes.load import load
from firth.recipes.stages import MARK
from firth.text.read import read

if TYPE_CHECKING:
    from rich.console import Console

CASES = 40  # of a slice; two minutes for a small model on two cores
INDENT = 12  # columns before an example


@dataclass(frozen=True)
class Settings:
    """What is probed, with what."""

    model: Annotated[str, "Model name or folder, word-vector file, or a folder that firth build made."]
    documents: Annotated[Path, "A folder of documents, a table, or a BEIR folder."]
    n: Annotated[int, "-n", "Cases a slice, at most."] = CASES
    probes: Annotated[str, "Probes divided by commas."] = ",".join(MARKS)
    mark: Annotated[list[str], 'Another pass mark, such as "fact=0.7".'] = field(default_factory=list)
    strict: Annotated[bool, "Exit code 3 if a mark is missed."] = False
    worst: Annotated[int, "Examples shown of each slice that misses its mark; --json has five."] = 1
    seed: Annotated[int, "Of the choice of cases and of the intervals."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise SettingsError(f"n={self.n}: expected at least one case a slice")
        if unknown := sorted(set(self.wanted) - set(MARKS)):
            raise SettingsError(f"probe {unknown[0]!r} is not known; expected some of {', '.join(MARKS)}")
        _ = self.marks

    @property
    def wanted(self) -> list[str]:
        """The probes asked for."""
        return [name.strip() for name in self.probes.split(",") if name.strip()]

    @property
    def marks(self) -> dict[str, float]:
        """Probe -> its pass mark, those of `mark` instead of the usual ones."""
        marks = dict(MARKS)
        for told in self.mark:
            name, _, value = told.partition("=")
            try:
                marks |= {name.strip(): float(value)}
            except ValueError:
                raise SettingsError(f"mark {told!r}: expected probe=share, for instance fact=0.7") from None
            if name.strip() not in MARKS or not 0 <= marks[name.strip()] <= 1:
                raise SettingsError(f"mark {told!r}: expected one of {', '.join(MARKS)} and a share from 0 to 1")
        return marks


@dataclass(frozen=True)
class Found:
    """Every slice, and what the reader must know."""

    settings: Settings
    slices: tuple[Probed, ...]
    notes: tuple[str, ...]

    @property
    def missed_gates(self) -> tuple[str, ...]:
        """Where --strict asks for it: the slices below their marks."""
        if not self.settings.strict:
            return ()
        missed = (each for each in self.slices if not each.passed)
        return tuple(f"{each.probe} ({each.slice}) {each.right.value:.2f} < {each.mark:g}" for each in missed)

    def as_json(self) -> dict[str, Any]:
        rows = [{**asdict(each), "passed": each.passed} for each in self.slices]
        return {"model": self.settings.model, "seed": self.settings.seed, "slices": rows, "notes": list(self.notes)}


def run(settings: Settings) -> Found:
    """Make the cases, encode them, count.

    Raises:
        DataError: the documents cannot be read, or none has a sentence to make a probe from.
        ModelError: the model cannot be loaded.
    """
    notes: list[str] = []
    try:
        told = language.teller()
    except MissingExtraError as error:
        told = None
        notes.append(f"no slices of your documents by language: {error}")
    with bar("reading", shown=not settings.quiet) as progress:
        domain = read(settings.documents, progress=progress)
    made = cases(domain.documents, n=settings.n, seed=settings.seed, language=told, only=settings.wanted)
    whole = (Path(settings.model) / MARK).is_file()
    encoder = load(Path(settings.model) / built.MODEL if whole else settings.model, progress=not settings.quiet)
    with bar("probing", shown=not settings.quiet) as progress:
        slices = probe(encoder, made, marks=settings.marks, seed=settings.seed, progress=progress)
    return Found(settings, tuple(slices), tuple(notes))


def show(found: Found, console: Console) -> None:
    """The table by slice; below it, what the failures look like."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("probe", "slice", "right", "95 % interval", "n", "mark", ""):
        table.add_column(heading)
    for each in found.slices:
        right = each.right
        bounds = f"{right.low:.2f} to {right.high:.2f}"
        verdict = "passed" if each.passed else "[bold]missed[/bold]"
        table.add_row(each.probe, each.slice, f"{right.value:.2f}", bounds, f"{right.n}", f"{each.mark:g}", verdict)
    console.print(table)
    missed = [each for each in found.slices if not each.passed]
    for each in missed if found.settings.worst else []:
        console.print(f"\n{each.probe}: {each.slice}", style="bold", markup=False)
        for failure in each.worst[: found.settings.worst]:
            for label, text in (
                ("asked", failure.case.query),
                ("right", failure.case.right),
                ("nearer", failure.nearest or "(an empty text)"),
            ):
                console.print(f"  {label:<{INDENT - 2}}{snippet(text, 160)}", markup=False)
    for note in found.notes:
        console.print(f"note        {note}", markup=False)
