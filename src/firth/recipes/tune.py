"""`firth tune DATA -o MODEL`: a domain or a table of pairs in, a tuned model with its report out.

    read -> measure -> mine -> tune, the epoch chosen on dev -> measure again, paired -> MODEL, report.html, report.json

Under torchrun every process reads and trains; the first one measures and writes. A checkpoint lies beside MODEL until
that is written, so that the same command goes on after an interruption. `firth.tune` itself stands in learn.py.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth import kernels
from firth.arrays import Encoder
from firth.errors import DataError, SettingsError
from firth.evaluate.judge import Report, evaluate
from firth.evaluate.records import BuildReport, Epoch, Step, Training
from firth.evaluate.report import write
from firth.evaluate.statistics import Score
from firth.progress import Progress, bar
from firth.recipes import adapting, reporting
from firth.recipes.base import Base, find_base, reading_for, ready
from firth.recipes.build import PAIRS
from firth.recipes.domain import Work, read_domain
from firth.recipes.heldout import MAIN, doubt
from firth.recipes.learn import tune
from firth.recipes.load import load
from firth.recipes.made import made
from firth.recipes.scored import scored_pairs, spearman_of
from firth.recipes.trainable import trainable
from firth.text.read import read
from firth.text.records import Pair
from firth.text.settings import Reading
from firth.text.table import is_table, open_table
from firth.text.tables import TablePairs
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from rich.console import Console

    from firth.sentence.tune import Tuned, TuneSettings

__all__ = ["Learnt", "Settings", "run", "show", "tune"]


@dataclass(frozen=True)
class Settings:
    """What `firth tune` learns from, and how; `TuneSettings` says more of each."""

    data: Annotated[Path, "Domain with judged training queries, a table of pairs, or bare documents."]
    out: Annotated[Path, "-o", "Folder for the tuned model; a .safetensors file for word vectors."]
    model: Annotated[str, "Model to start from; words = word vectors trained on the documents."] = (
        "sentence-transformers/all-MiniLM-L6-v2"
    )
    static: Annotated[bool, "Tune word vectors that start from the model's token table, not the model."] = False
    adapter: Annotated[str, "Learn a map of the queries only: full, or its rank; documents keep their vectors."] = ""
    epochs: Annotated[int, "Passes over the pairs; 0 = what suits the model."] = 0
    loss: Annotated[str, "Objective by name; docs/tuning.md says which for which data."] = "info_nce"
    negatives: Annotated[str, "mined, refreshed (anew each epoch), random, or given (those in the data)."] = "mined"
    hard: Annotated[int, "Negatives a pair and step."] = 2
    matryoshka: Annotated[str, "Prefixes that shall be good too, for instance 64,128,256; doubling = 8,16,32 …"] = ""
    rotate: Annotated[bool, "With prefixes: turn vectors onto axes that suit them, before and after."] = True
    teacher: Annotated[str, "Model to distil from, for the losses that have one."] = ""
    pairs: Annotated[int, "Made from the documents where there are no queries, at most."] = PAIRS
    stream: Annotated[bool, "Read a table of pairs once, its tokens to disk: for files larger than memory."] = False
    dev: Annotated[str, "What chooses the epoch, if not DATA's dev part: a domain, or scored sentence pairs."] = ""
    batch: Annotated[int, "Pairs a step."] = 32
    rate: Annotated[float, "Highest learning rate; 0 = what suits the model."] = 0.0
    temperature: Annotated[float, "What cosines are divided by."] = 0.05
    symmetric: Annotated[bool, "Also let each answer find its query."] = False
    dropout: Annotated[float, "0 = off, but for simcse."] = 0.0
    max_tokens: Annotated[int, "Cut training texts; 0 = what the model reads."] = 0
    mixes: Annotated[str, "Shares of tuned weights also tried on dev, for instance 0.5,0.75: forgets less."] = ""
    patience: Annotated[int, "Epochs without a better dev score after which to stop; 0 = all epochs."] = 0
    general: Annotated[str, "Scored sentence pairs, as STS-B's csv, that tell how much was forgotten."] = ""
    most_drop: Annotated[float, "Points of Spearman that may be lost on them; more misses a gate (exit 3)."] = 1.0
    seed: Annotated[int, "Of the order, the drawn parts and the negatives."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def bar(self, label: str) -> AbstractContextManager[Progress]:
        """A progress line, unless quiet."""
        return bar(label, shown=not self.quiet)


@dataclass(frozen=True)
class Learnt:
    """What was tuned, where it lies, and what it scored before and after.

    Attributes:
        out: the model's folder, or the file of word vectors.
        tuned: learning curve and dev scores.
        before, after: on the test part, where there is one.
        general: Spearman on scored sentences before and after, where it was asked for.
        missed_gates: what the command ends with exit code 3 for.
        peak: bytes of memory of this process at its highest.
        notes: what a person should know.
        pages: the report.
    """

    out: Path
    tuned: Tuned[Any]
    before: Report | None
    after: Report | None
    general: tuple[Score, Score] | None
    missed_gates: tuple[str, ...]
    peak: int
    notes: tuple[str, ...]
    pages: tuple[Path, ...] = ()

    @property
    def rows_per_second(self) -> float:
        """Pairs learnt from a second, evaluation included."""
        return self.tuned.rows / max(self.tuned.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        tuned = self.tuned
        told: dict[str, Any] = {
            "out": str(self.out),
            "pairs": tuned.pairs,
            "epoch": tuned.epoch,
            "dev": {"base": tuned.base, "best": tuned.best},
            "mix": tuned.mix,
            "mixes": {f"{share:g}": score for share, score in tuned.mixes.items()},
            "rows_per_second": self.rows_per_second,
            "peak_memory_bytes": self.peak,
            "curve": [asdict(point) for point in tuned.curve],
            "missed": list(self.missed_gates),
            "notes": list(self.notes),
        }
        if self.general:
            told["general"] = {
                name: asdict(score.interval) for name, score in zip(("base", "tuned"), self.general, strict=True)
            }
        if self.before and self.after:
            told["base"] = {name: asdict(value) for name, value in self.before.intervals.items()}
            told["tuned"] = {name: asdict(value) for name, value in self.after.intervals.items()}
            told["paired"] = {name: asdict(value) for name, value in self.after.against(self.before).items()}
        return told


def run(settings: Settings) -> Learnt:
    """Tune on the domain's training part, choose the epoch on its dev part, measure on its test part.

    Raises:
        DataError: no training pairs, or a fault in the data; ModelError: a model cannot be loaded.
        SettingsError: a setting out of range; TrainingError: the loss is not a number.
    """
    from firth.fit import joined

    with joined() as first, ExitStack() as held:
        settings = settings if first else replace(settings, quiet=True)
        with settings.bar("finding the model") as progress:
            base = find_base(settings.model, progress=progress)
        work = None if settings.stream else _read(settings, base)
        documents = {} if work is None else {document.id: document for document in work.documents}
        test = TestSet(documents, work.queries, work.sets.test) if work and work.sets.test else None
        dev = _dev(settings, work, documents)
        # Tokens of a stream lie beside the model: what is temporary is often kept in memory.
        place = settings.out.absolute().parent if settings.stream else None
        if place:
            place.mkdir(parents=True, exist_ok=True)
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory(prefix=".firth-tune-", dir=place)))
        encoder = _start(settings, base, work, scratch)
        general = scored_pairs(Path(settings.general)) if settings.general else None
        before = evaluate(encoder, test, seed=settings.seed) if test and first else None
        known = spearman_of(encoder, general, settings.seed) if general and first else None
        checkpoints = settings.out.with_name(f".{settings.out.name}.tuning")
        texts = [document.full for document in documents.values()]
        with settings.bar("tuning") as progress:
            if settings.adapter:
                tuned = adapting.adapt(
                    encoder, _pairs(settings, work, documents), texts, settings.adapter,
                    epochs=settings.epochs, dev=dev, seed=settings.seed, progress=_told(progress),
                )  # fmt: skip
            else:
                tuned = tune(
                    encoder, _pairs(settings, work, documents), documents=texts,
                    negatives="given" if settings.stream else settings.negatives,
                    settings=_how(settings, encoder, work), dev=dev,
                    teacher=load(settings.teacher, progress=not settings.quiet) if settings.teacher else None,
                    folder=checkpoints, spill=scratch if settings.stream else None, progress=_told(progress),
                    say=lambda line: None if settings.quiet else print(line, file=sys.stderr),
                )  # fmt: skip
        after = evaluate(tuned.encoder, test, seed=settings.seed) if test and first else None
        now = spearman_of(tuned.encoder, general, settings.seed) if general and first else None
        learnt = Learnt(
            settings.out, tuned, before, after, (known, now) if known and now else None, (), _peak(),
            work.notes if work else (),
        )  # fmt: skip
        return _kept(settings, learnt, checkpoints) if first else learnt


def show(learnt: Learnt, console: Console) -> None:
    """Dev, test and general scores before and after; speed and memory; where it lies."""
    tuned = learnt.tuned
    if tuned.base is not None and tuned.best is not None:
        mix = "" if tuned.mix == 1 else f", {tuned.mix:g} of it mixed with the old weights"
        console.print(f"dev           {tuned.base:.3f} -> {tuned.best:.3f} (epoch {tuned.epoch}{mix})")
    if learnt.before and learnt.after:
        for name, paired in learnt.after.against(learnt.before).items():
            before, after = learnt.before.intervals[name], learnt.after.intervals[name]
            console.print(f"{name:<14}{before} -> {after}  {paired.delta:+.3f}  p {paired.p:.4f}")
    if learnt.general:
        old, new = learnt.general
        console.print(f"general       {old.interval} -> {new.interval}  {100 * (new.value - old.value):+.1f} points")
    for note in learnt.notes:
        console.print(f"note          {note}", markup=False)
    speed, gigabytes = learnt.rows_per_second, learnt.peak / 1e9
    console.print(f"{tuned.pairs:,} pairs, {speed:,.0f} rows/s, {gigabytes:.1f} GB at most; model in {learnt.out}")
    for page in learnt.pages:
        console.print(f"report        {page}")


def _read(settings: Settings, base: Base) -> Work:
    from firth.sentence.tune import UNSUPERVISED

    with settings.bar("reading") as progress:
        work = read_domain(
            settings.data, seed=settings.seed, reading=reading_for(base), searched=False, progress=progress
        )
    if work.judged or list(_table_pairs(work))[:1] or settings.loss in UNSUPERVISED:
        return work
    work = made(work, most=settings.pairs, seed=settings.seed)
    if not work.judged:
        raise DataError(
            f"has no training pairs: qrels/train.tsv, or a table of question and answer; {work.notes[-1]}",
            path=settings.data,
        )
    return work


def _pairs(settings: Settings, work: Work | None, documents: dict[str, Any]) -> Iterable[Pair]:
    """What is learnt from: the pairs of a table as they are, else the judged queries with their answers."""
    from firth.sentence.tune import UNSUPERVISED

    if work is None:
        if not settings.data.is_file() or not is_table(settings.data):
            raise SettingsError(
                f"--stream reads one table of pairs (.jsonl, .csv, .tsv, .parquet), not {settings.data}"
            )
        return TablePairs([open_table(settings.data, Reading())], skip_bad=False)
    if settings.loss in UNSUPERVISED:
        return ()
    if table := list(_table_pairs(work)):
        return table
    pairs = [
        Pair(work.queries[query], work.answers.get(query, documents[id_].full))
        for query, found in work.sets.train.items()
        for id_, grade in found.items()
        if grade > 0
    ]
    if not pairs:
        raise DataError("has no training pairs: qrels/train.tsv, or a table of question and answer", path=settings.data)
    return pairs


def _table_pairs(work: Work) -> Iterable[Pair]:
    """The pairs of tables, with their negatives and scores, but for those whose query or answer is held out."""
    held = {**work.sets.dev, **work.sets.test}
    asked = {work.queries[query] for query in held}
    answers = set()
    if held:
        named = {id_ for found in held.values() for id_, grade in found.items() if grade > 0}
        answers = {document.full for document in work.texts(named).values()}
    return (pair for pair in work.pairs if pair.query not in asked and pair.positive not in answers)


def _start(settings: Settings, base: Base, work: Work | None, scratch: Path) -> Encoder:
    """The model that is tuned."""
    if work is None and base.folder is None:
        raise SettingsError("--model words learns words from documents, and streamed pairs have none; name a file")
    documents: Iterable[Any] = () if work is None else work.documents
    with settings.bar("loading") as progress:
        encoder = ready(base, documents, scratch, progress, seed=settings.seed, threads=kernels.default_threads())
    if not settings.static:
        return encoder
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.words import token_table

    if not isinstance(encoder, SentenceEncoder) or work is None:
        raise SettingsError("--static takes the token table of a sentence model and the words of a domain's documents")
    return token_table(encoder, (document.full for document in work.documents))


def _dev(settings: Settings, work: Work | None, documents: dict[str, Any]) -> Any:
    """What chooses the epoch: a test set, or a function of an encoder."""
    if settings.dev:
        path = Path(settings.dev)
        if path.is_file() and path.suffix in (".csv", ".tsv"):
            pairs = scored_pairs(path)
            return lambda encoder: spearman_of(encoder, pairs, settings.seed).value
        other = read(path)
        return other.testset("dev" if "dev" in other.judgements else "test")
    return TestSet(documents, work.queries, work.sets.dev) if work and work.sets.dev else None


def _how(settings: Settings, encoder: Encoder, work: Work | None) -> TuneSettings:
    from firth.sentence.tune import TuneSettings

    usual = trainable(encoder)[1]
    held = len(work.sets.dev) if work else 0
    return TuneSettings(
        loss=settings.loss,
        epochs=settings.epochs or usual.epochs,
        batch=settings.batch,
        negatives=settings.hard,
        rate=settings.rate or usual.rate,
        temperature=settings.temperature,
        symmetric=settings.symmetric,
        dropout=settings.dropout,
        max_tokens=settings.max_tokens or None,
        mixes=_numbers("mixes", settings.mixes),
        patience=settings.patience,
        seed=settings.seed,
        matryoshka=_prefixes(settings.matryoshka, encoder.dims),
        rotate=settings.rotate,
        # Pairs that nobody asked for have to earn their keep.
        doubt=doubt(held) if held and work and not work.answers else 0.0,
    )


def _prefixes(text: str, d: int) -> tuple[int, ...]:
    from firth.sentence.matryoshka import default_dims

    return default_dims(d) if text == "doubling" else tuple(int(size) for size in _numbers("matryoshka", text))


def _kept(settings: Settings, learnt: Learnt, checkpoints: Path) -> Learnt:
    """The model and its report on disk; the checkpoint is no longer needed."""
    learnt.tuned.encoder.save(settings.out)
    drop = 0.0 if learnt.general is None else 100 * (learnt.general[0].value - learnt.general[1].value)
    missed: tuple[str, ...] = ()
    if drop > settings.most_drop:
        missed = (
            f"{drop:.1f} points of Spearman were lost on {settings.general}, at most {settings.most_drop:g} may be",
        )
    learnt = replace(learnt, missed_gates=missed)
    folder = settings.out if settings.out.is_dir() else settings.out.with_suffix(".report")
    folder.mkdir(exist_ok=True)
    pages = write(_report(settings, learnt), folder)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return replace(learnt, pages=pages)


def _report(settings: Settings, learnt: Learnt) -> BuildReport:
    tuned, before, after = learnt.tuned, learnt.before, learnt.after
    name = settings.model.rstrip("/").rpartition("/")[2]
    notes = [*learnt.notes]
    if learnt.general:
        old, new = (score.interval for score in learnt.general)
        notes.append(f"general: Spearman {old} -> {new} on {old.n:,} scored sentence pairs ({settings.general})")
    notes += [f"a mix of {share:g} tuned weights scored {score:.4f} on dev" for share, score in tuned.mixes.items()]
    return BuildReport(
        title=settings.data.resolve().name,
        base=before.intervals if before else {},
        base_model=name,
        tuned_model=f"{name}, tuned",
        tuned=after.intervals if after else None,
        paired=after.against(before) if after and before else None,
        measure=MAIN,
        training=Training(
            steps=[Step(point.step, point.loss) for point in tuned.curve if point.loss is not None],
            epochs=[Epoch(point.epoch, point.step, point.score) for point in tuned.curve if point.score is not None],
            best=tuned.epoch,
            measure=MAIN,
        ),
        data={
            "pairs": tuned.pairs,
            "rows seen": tuned.rows,
            "rows a second": round(learnt.rows_per_second, 1),
            "memory at most, MB": round(learnt.peak / 1e6),
        },
        timings={"tuning": round(tuned.seconds, 3)},
        environment=reporting.environment(kernels.default_threads()),
        notes=notes,
        seed=settings.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f"firth tune {settings.data} -o {settings.out} --model {settings.model} --loss {settings.loss} "
        f"--negatives {settings.negatives} --epochs {settings.epochs} --seed {settings.seed}",
    )


def _told(progress: Progress) -> Progress:
    """The progress with this process's memory beside the loss; the line itself shows rows a second."""

    def told(done: int, total: int, what: str = "") -> None:
        progress(done, total, f"{what}, {_peak() / 1e9:.1f} GB".removeprefix(", "))

    return told


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(f"{name}: expected numbers divided by commas, got {text!r}") from error
