"""`firth testset`: questions drafted from the documents, reviewed by a person, taken back, and looked over.

firth testset make DOCS -o review.csv      drafts, one a line; a person writes keep, edit or drop before each
firth testset take review.csv DOCS -o SET  what was kept, as a test set (BEIR) that firth eval and build read
firth testset check SET                    what is wrong with a test set before anything is measured on it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firth.cli import command
from firth.errors import DataError, MissingExtraError, SettingsError, StorageError
from firth.evaluate import language
from firth.evaluate.benchmarks import known, shared_with
from firth.evaluate.checks import Finding, check_testset
from firth.evaluate.draft import COLUMNS, draft, read_review, write_review
from firth.progress import bar
from firth.text.read import read
from firth.text.records import Document, Judgements
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 8  # findings of a kind on the terminal; --json has all


@dataclass(frozen=True)
class Make:
    """What is drafted from."""

    documents: Annotated[Path, "A folder of documents, a table, or a BEIR folder."]
    out: Annotated[Path, "-o", "CSV for the drafts; one that exists is never overwritten."] = Path("review.csv")
    n: Annotated[int, "-n", "Drafts; 200 to 500 tell whether tuning helped."] = 300
    seed: Annotated[int, "Of the choice of documents and kinds."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False


@dataclass(frozen=True)
class Take:
    """What a person has reviewed."""

    review: Annotated[Path, "The CSV that firth testset make wrote, with verdicts."]
    documents: Annotated[Path, "The documents that it was drafted from."]
    out: Annotated[Path, "-o", "Folder for the test set."]
    split: Annotated[str, "Name of the judgements."] = "test"
    quiet: Annotated[bool, "No progress on stderr."] = False


@dataclass(frozen=True)
class Check:
    """Which test set."""

    testset: Annotated[Path, "A domain with judged queries, or a reviewed CSV together with --documents."]
    documents: Annotated[Path | None, "Of a reviewed CSV: what it was drafted from."] = None
    split: Annotated[str, "Which judgements: test, dev, train, or any other name that the domain has."] = "test"
    by: Annotated[str, "What slices the queries: language (needs firth[languages]), length, none."] = "length"
    strict: Annotated[bool, "Exit code 3 where anything is found."] = False
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if self.by not in SLICERS:
            raise SettingsError(f"by={self.by!r}: expected one of {', '.join(SLICERS)}")


@dataclass(frozen=True)
class Made:
    """A review file: drafts by kind and by stratum, and what the person should know."""

    out: Path
    kinds: dict[str, int]
    strata: dict[str, int]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "out": str(self.out), "drafts": sum(self.kinds.values())}


@dataclass(frozen=True)
class Taken:
    """A test set made of what was kept."""

    out: Path
    queries: int
    documents: int
    dropped: int
    waiting: int

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "out": str(self.out)}


@dataclass(frozen=True)
class Checked:
    """What was found; `queries` were looked at, in slices of these sizes."""

    queries: int
    slices: dict[str, int]
    findings: tuple[Finding, ...]
    strict: bool

    @property
    def missed_gates(self) -> tuple[str, ...]:
        """Where --strict asks for it: how many faults there are of each kind."""
        counts = Counter(finding.kind for finding in self.findings)
        return tuple(f"{count} x {kind}" for kind, count in counts.items()) if self.strict else ()

    def as_json(self) -> dict[str, Any]:
        found = [asdict(finding) for finding in self.findings]
        return {"queries": self.queries, "slices": self.slices, "findings": found}


def make(settings: Make) -> Made:
    """Draft, and write the file for review.

    Raises:
        StorageError: the file exists: a person's verdicts may be in it.
        DataError: no document is long enough to be asked for.
    """
    if settings.out.exists():
        raise StorageError(f"{settings.out}: exists, and a person's verdicts may be in it; name another -o or move it")
    notes: list[str] = []
    with bar("reading", shown=not settings.quiet) as progress:
        domain = read(settings.documents, progress=progress)
    try:
        told: Callable[[str], str] | None = language.teller()
    except MissingExtraError as error:
        told = None
        notes.append(f"languages are not told apart: {error}")
    drafts = draft(_counted(domain.documents, settings), settings.n, seed=settings.seed, language=told)
    if len(drafts) < settings.n:
        notes.append(f"{len(drafts):,} of {settings.n:,} could be drafted: one query a document, none asked twice")
    write_review(settings.out, drafts)
    kinds, strata = (dict(Counter(names)) for names in ([d.kind for d in drafts], [d.stratum for d in drafts]))
    return Made(settings.out, kinds, strata, tuple(notes))


def take(settings: Take) -> Taken:
    """Read the review back and write the test set.

    Raises:
        DataError: a line that is not understood, by number; or nothing was kept.
        StorageError: something else stands at `out`.
    """
    documents = _documents(settings.documents, quiet=settings.quiet)
    reviewed = read_review(settings.review, documents)
    if not reviewed.queries:
        told = f"nothing is kept: {reviewed.dropped:,} dropped, {reviewed.waiting:,} without a verdict; write keep, "
        raise DataError(f"{told}edit or drop in the first column", path=settings.review)
    TestSet(documents, reviewed.queries, reviewed.judgements).save(settings.out, settings.split)
    return Taken(settings.out, len(reviewed.queries), len(documents), reviewed.dropped, reviewed.waiting)


def check(settings: Check) -> Checked:
    """Look over a test set, or a review before it becomes one.

    Raises:
        DataError: no such judgements, or a line of the review that is not understood.
        SettingsError: a review without the documents that it speaks of.
        MissingExtraError: slices by language without py3langid.
    """
    testset, slices = _testset(settings)
    judged = [query for query in testset.judgements if query in testset.queries]
    slicer = SLICERS[settings.by]()
    slices = {query: slices.get(query) or slicer(testset.queries[query]) for query in judged}
    told = slicer if settings.by == "language" else None
    findings = check_testset(testset, slices=slices if settings.by != "none" else None, language=told)
    asked = {query: testset.queries[query] for query in judged}
    for name, prints in known().items():
        shared = shared_with(asked, prints)
        if shared:
            first = ", ".join(pair.first for pair in shared[:5])
            words = (
                f"{len(shared):,} queries stand in this public benchmark, which models may have been tuned on: {first}"
            )
            findings.append(Finding("public", name, words))
    return Checked(len(judged), dict(Counter(slices.values())), tuple(findings), settings.strict)


def show_made(made: Made, console: Console) -> None:
    """What was drafted, and what to do with it."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in made.kinds.items())
    console.print(f"{made.out}: {sum(made.kinds.values()):,} drafts ({kinds})", markup=False)
    strata = ", ".join(f"{name} {count:,}" for name, count in sorted(made.strata.items())[:12])
    more = f", {len(made.strata) - 12:,} more" if len(made.strata) > 12 else ""
    console.print(f"strata      {strata}{more}", markup=False)
    for note in made.notes:
        console.print(f"note        {note}", markup=False)
    console.print("next        open it in a spreadsheet and write keep, edit (after changing the query) or drop")
    console.print(f"            in the first column; then: firth testset take {made.out} DOCS -o SET", markup=False)


def show_taken(taken: Taken, console: Console) -> None:
    """What became of the drafts."""
    console.print(f"{taken.out}: {taken.queries:,} queries over {taken.documents:,} documents", markup=False)
    console.print(f"dropped     {taken.dropped:,}")
    if taken.waiting:
        console.print(f"waiting     {taken.waiting:,} have no verdict and were left out; run it again when they have")
    console.print(f"next        firth testset check {taken.out}; firth eval MODEL {taken.out}", markup=False)


def show_checked(checked: Checked, console: Console) -> None:
    """The findings by kind, the first few of each in words."""
    sizes = ", ".join(f"{name} {count:,}" for name, count in sorted(checked.slices.items()))
    console.print(f"{checked.queries:,} queries: {sizes}", markup=False)
    counts = Counter(finding.kind for finding in checked.findings)
    for kind, count in counts.items():
        console.print(f"{kind:<12}{count:,}", markup=False)
        for finding in [one for one in checked.findings if one.kind == kind][:SHOWN]:
            console.print(f"            {finding.subject}: {finding.told}", markup=False)
    if not counts:
        console.print("nothing found")


def _testset(settings: Check) -> tuple[TestSet, Mapping[str, str]]:
    """What is to be checked, and the slices that it brings along."""
    if settings.documents is None:
        if _is_review(settings.testset):
            raise SettingsError(f"{settings.testset}: is a review; name what it was drafted from with --documents")
        return TestSet.load(settings.testset, settings.split), {}
    documents = _documents(settings.documents, quiet=settings.quiet)
    reviewed = read_review(settings.testset, documents)
    judgements: Judgements = reviewed.judgements
    return TestSet(documents, reviewed.queries, judgements), reviewed.slices


def _is_review(path: Path) -> bool:
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().startswith(COLUMNS[0])


def _documents(path: Path, *, quiet: bool) -> dict[str, Document]:
    with bar("reading", shown=not quiet) as progress:
        return {document.id: document for document in read(path, progress=progress).documents}


def _counted(documents: Iterable[Document], settings: Make) -> Iterable[Document]:
    with bar("drafting", shown=not settings.quiet) as progress:
        for done, document in enumerate(documents, 1):
            yield document
            if done % 1_000 == 0:
                progress(done, 0)


def _by_length() -> Callable[[str], str]:
    def length(query: str) -> str:
        words = len(query.split())
        return "to 3 words" if words <= 3 else "4 to 8 words" if words <= 8 else "9 words and more"

    return length


SLICERS: Mapping[str, Callable[[], Callable[[str], str]]] = {
    "language": language.teller,
    "length": _by_length,
    "none": lambda: lambda _: "all queries",
}

app = typer.Typer(no_args_is_help=True)
app.command("make", help="Draft questions from documents, for a person to review.")(command(Make, make, show_made))
app.command("take", help="Turn a reviewed file into a test set.")(command(Take, take, show_taken))
app.command("check", help="Find what is wrong with a test set or a review.")(command(Check, check, show_checked))
