"""`firth eval MODEL DATA`: how well a model, or a built folder, answers the judged queries of a domain.

With `--compare`, further models on the same queries, each compared query by query with the first, and with the number
of comparisons accounted for; with `--seen`, the same scores on the queries that the training data does not hold; with
`--suite`, all task types on public sets (suite.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np

from firth.errors import SettingsError
from firth.evaluate.gates import Verdict, check
from firth.evaluate.judge import Report, Searcher, evaluate
from firth.evaluate.overlap import Overlap, on_clean, overlap
from firth.evaluate.retrieval import MEASURES, Scores
from firth.evaluate.statistics import Paired, holm, needed
from firth.progress import bar
from firth.recipes import suite as whole
from firth.recipes.built import Built
from firth.recipes.hosted import Hosted
from firth.recipes.load import load
from firth.recipes.remember import Remembering
from firth.recipes.stages import MARK
from firth.text.read import read
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from rich.console import Console

ALPHA = 0.05  # a difference is shown when its p-value, corrected for the number of comparisons, is below this


@dataclass(frozen=True)
class Settings:
    """What is measured, and on what."""

    model: Annotated[str, "Model name or folder, word-vector file, built folder, or openai:, cohere:, voyage:MODEL."]
    data: Annotated[Path, "Domain with judged queries; with --suite the folder of public sets."]
    compare: Annotated[list[str], "Another model, compared query by query with the first; may be repeated."] = field(
        default_factory=list
    )
    split: Annotated[str, "Which judgements: test, dev, train, or any other name that the domain has."] = "test"
    measures: Annotated[str, "Names divided by commas."] = ",".join(MEASURES)
    dims: Annotated[int, "Leading dimensions to use; 0 = all. Models only."] = 0
    gate: Annotated[
        list[str], 'A bar, such as "recall@10>=0.9" or "no worse than base.json"; exit code 3 if missed.'
    ] = field(default_factory=list)
    matters: Annotated[float, "The smallest change that matters to you: are there queries enough to see it?"] = 0.0
    seen: Annotated[Path | None, "What the model was trained on: scores also without the queries it holds."] = None
    suite: Annotated[bool, "All task types on the public sets in the folder, resumed where it stopped."] = False
    cache: Annotated[Path | None, "Of --suite: where vectors and scores are kept; ~/.cache/firth/suite."] = None
    price: Annotated[
        list[str],
        'What a hosted model costs, in US dollars a million tokens: "openai:MODEL=0.02"; else the list price.',
    ] = field(default_factory=list)
    seed: Annotated[int, "Of the intervals and the permutation test."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if self.dims < 0:
            raise SettingsError(f"dims={self.dims}: expected at least 1, or 0 for all")
        if not 0 <= self.matters < 1:
            raise SettingsError(f"matters={self.matters}: expected a change of a score, above 0 and below 1")
        if self.suite and (self.compare or self.gate or self.seen or self.dims):
            raise SettingsError("--suite has tasks of its own; leave out --compare, --gate, --seen and --dims")
        _ = self.prices

    @property
    def prices(self) -> dict[str, float]:
        """Model -> US dollars a million tokens, of those whose price is given."""
        found = {}
        for told in self.price:
            model, _, value = told.rpartition("=")
            try:
                found[model] = float(value)
            except ValueError:
                raise SettingsError(f"price {told!r}: expected MODEL=DOLLARS, for instance openai:MODEL=0.02") from None
            if model not in (self.model, *self.compare):
                raise SettingsError(f"price {told!r}: {model!r} is not measured; expected MODEL=DOLLARS")
        return found


@dataclass(frozen=True)
class Measured:
    """One report, and those of the models that are compared with it.

    Attributes:
        others: model -> its report.
        paired: model -> measure -> comparison, positive where the other model is better than the first.
        verdicts: what became of each gate, which the first report is held against.
        shared: what the test queries share with `seen`.
        notes: what the reader must know: power, cost of hosted models.
    """

    settings: Settings
    report: Report
    others: Mapping[str, Report] = field(default_factory=dict)
    paired: Mapping[str, Mapping[str, Paired]] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    shared: Overlap | None = None
    notes: tuple[str, ...] = ()

    @property
    def missed_gates(self) -> tuple[str, ...]:
        """The gates that did not pass, with their numbers; the command line exits with 3 if there are any."""
        return tuple(verdict.told for verdict in self.verdicts if not verdict.passed)

    @property
    def corrected(self) -> dict[tuple[str, str], float]:
        """(Model, measure) -> p-value after Holm's correction for all comparisons that were made."""
        flat = {(model, name): one.p for model, found in self.paired.items() for name, one in found.items()}
        named = holm({f"{i}": p for i, p in enumerate(flat.values())})
        return dict(zip(flat, named.values(), strict=True))

    @property
    def clean(self) -> Scores | None:
        """The scores of the queries that share nothing with `seen`; None where nothing or everything is shared."""
        if self.shared is None or not self.shared.pairs or not self.shared.clean:
            return None
        return on_clean(self.report.scores, self.shared.clean)

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"model": self.settings.model, **self.report.as_json()}
        if self.verdicts:
            found["gates"] = [asdict(verdict) for verdict in self.verdicts]
        if self.shared is not None:
            found["shared"] = [asdict(pair) for pair in self.shared.pairs]
        if self.clean is not None:
            found["clean"] = {name: asdict(one) for name, one in self.clean.intervals(self.settings.seed).items()}
        if self.notes:
            found["notes"] = list(self.notes)
        if not self.others:
            return found
        corrected = self.corrected
        compared = [
            {
                "model": model,
                **report.as_json(),
                "paired": {
                    name: {**asdict(one), "p_holm": corrected[model, name]} for name, one in self.paired[model].items()
                },
            }
            for model, report in self.others.items()
        ]
        return {**found, "compare": compared, "comparisons": len(corrected)}


def run(settings: Settings) -> Measured | whole.Suite:
    """Measure one model, or several on the same queries, or one on all public sets.

    Raises:
        DataError: the domain has no such judgements, or they do not fit its documents.
        ModelError: a model cannot be loaded.
        SettingsError: an unknown measure, or dims asked of a built folder.
        ServiceError: a hosted model does not answer; what it has answered is kept.
    """
    if settings.suite:
        return _suite(settings)
    testset = TestSet.load(settings.data, settings.split)
    notes: list[str] = []
    report = _report(settings.model, testset, settings, notes)
    verdicts = tuple(check(settings.gate, report.as_json(), seed=settings.seed))
    others = {model: _report(model, testset, settings, notes) for model in settings.compare}
    paired = {model: other.against(report) for model, other in others.items()}
    shared = None if settings.seen is None else _shared(report, testset, settings.seen)
    done = Measured(settings, report, others, paired, verdicts, shared)
    notes += [*_power(done), *_cuts(report)]
    return Measured(settings, report, others, paired, verdicts, shared, tuple(notes))


def show(measured: Measured | whole.Suite, console: Console) -> None:
    """Each measure with its interval; with more models, each change and its p-value after Holm's correction."""
    if isinstance(measured, whole.Suite):
        whole.show(measured, console)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    compared = [heading for model in measured.others for heading in (model, "change", "p (Holm)")]
    clean = measured.clean
    unseen = [] if clean is None else [f"unseen ({len(clean.queries):,})"]
    for heading in ("", measured.settings.model, *unseen, *compared):
        table.add_column(heading)
    corrected = measured.corrected
    for name, interval in measured.report.intervals.items():
        row = [name, str(interval)]
        if clean is not None:
            row.append(str(clean.intervals(measured.settings.seed)[name]))
        for model, other in measured.others.items():
            delta = measured.paired[model][name].delta
            row += [str(other.intervals[name]), f"{delta:+.3f}", f"{corrected[model, name]:.4f}"]
        table.add_row(*row)
    console.print(table)
    n = len(measured.report.scores.queries)
    tests = f", {len(corrected)} comparisons" if corrected else ""
    console.print(f"[dim]{n:,} queries, 95 % bootstrap intervals, seed {measured.settings.seed}{tests}[/dim]")
    for verdict in measured.verdicts:
        console.print(f"{'passed' if verdict.passed else 'missed'}      {verdict.told}", markup=False)
    if measured.shared is not None:
        told = ", ".join(f"{count:,} {how}" for how, count in measured.shared.counts.items() if count) or "none"
        console.print(f"seen        test queries in {measured.settings.seen}: {told}", markup=False)
    for note in measured.notes:
        console.print(f"note        {note}", markup=False)


def _report(model: str, testset: TestSet, settings: Settings, notes: list[str]) -> Report:
    with ExitStack() as stack:
        built = (Path(model) / MARK).is_file()
        # A collection's ids may be integers; those of a test set are texts, and so are those of the collection then.
        subject = cast(Searcher, stack.enter_context(Built.open(Path(model)))) if built else load(model)
        hosted = subject.encoder if isinstance(subject, Remembering) and isinstance(subject.encoder, Hosted) else None
        if hosted is not None and model in settings.prices:
            hosted.usage.at(settings.prices[model])
        progress = stack.enter_context(bar("measuring", shown=not settings.quiet))
        report = evaluate(
            subject,
            testset,
            measures=[name.strip() for name in settings.measures.split(",")],
            dims=settings.dims or None,
            seed=settings.seed,
            progress=progress,
        )
        if hosted is not None:
            notes.append(f"{model}: {hosted.usage}; {cast(Remembering, subject).known:,} texts were known")
        return report


def _suite(settings: Settings) -> whole.Suite:
    if (Path(settings.model) / MARK).is_file():
        raise SettingsError(f"{settings.model}: a suite is for models; name {settings.model}/model")
    from firth.sentence.published import cache_folder

    encoder = load(settings.model, progress=not settings.quiet)
    inner = encoder.encoder if isinstance(encoder, Remembering) else encoder
    with bar("suite", shown=not settings.quiet) as progress:
        cache = settings.cache or cache_folder() / "suite"
        return whole.run(inner, settings.model, settings.data, cache, progress=progress)


def _shared(report: Report, testset: TestSet, seen: Path) -> Overlap:
    """What the scored queries share with the queries, pairs and documents of the training data."""
    domain = read(seen)
    trained = {f"query {id_}": text for id_, text in domain.queries.items()}
    trained |= {f"pair {i}": pair.query for i, pair in enumerate(domain.pairs)}
    trained |= {f"document {document.id}": document.full for document in domain.documents}
    return overlap({query: testset.queries[query] for query in report.scores.queries}, trained)


def _power(measured: Measured) -> list[str]:
    """What these queries can show, where they did not show a difference, or where the user said what matters."""
    notes = []
    main = next(iter(measured.report.intervals))
    matters = measured.settings.matters
    for model, paired in measured.paired.items():
        one = paired[main]
        differences = measured.others[model].scores.per_query[main] - measured.report.scores.per_query[main]
        deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
        wanted = matters or abs(one.delta)
        if (matters or measured.corrected[model, main] >= ALPHA) and wanted and deviation:
            enough = needed(wanted, deviation)
            notes.append(
                f"{model}: {one.n:,} queries show a change of {main} of {one.visible:.3f} four times in five; "
                f"to show {wanted:.3f} takes {enough:,} {'(there are enough)' if enough <= one.n else 'queries'}"
            )
    return notes


def _cuts(report: Report) -> list[str]:
    return [
        f"{cut.cut:,} of {cut.texts:,} {what} texts were cut; {cut.tokens:,} tokens were not read"
        for what, cut in report.truncation.items()
        if cut.cut
    ]
