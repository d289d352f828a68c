"""`firth pretrain elmo|bert TEXT -o OUT`: raw text in; a model, its learning curve and what it scores out.

The training's state lies in OUT.training until it is done; the same command goes on from there. Several processes:
torchrun --nproc-per-node 2 -m firth.cli pretrain bert TEXT -o OUT --accumulate 2
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from firth.cli import command
from firth.contextual.settings import ElmoTraining, PretrainSettings
from firth.errors import MissingExtraError, SettingsError
from firth.evaluate.curves import Series, lines, save_pictures
from firth.files import write_json
from firth.progress import bar
from firth.text.sentences import read_documents

if TYPE_CHECKING:
    from rich.console import Console

    from firth.fit import Fitted

T = TypeVar("T")
MOST_LOSS = 50.0  # nats; a perplexity beyond e^50 says no more than that


@dataclass(frozen=True, kw_only=True)
class Bert(PretrainSettings):
    """What BERT is trained on, and how."""

    text: Annotated[Path, "Text, table or folder; blank lines between documents."]
    out: Annotated[Path, "-o", "Folder for the model and its learning curve."]
    size: Annotated[str, "tiny, mini, small or base."] = "mini"
    base: Annotated[str, "Published model or folder to go on from, with its own vocabulary."] = ""
    vocabulary: Annotated[int, "Most entries of the WordPiece vocabulary that is learnt."] = 30_522
    cased: Annotated[bool, "Keep upper case and accents."] = False
    quiet: Annotated[bool, "No progress on stderr."] = False


@dataclass(frozen=True, kw_only=True)
class Elmo(ElmoTraining):
    """What ELMo is trained on, and how."""

    text: Annotated[Path, "Text, table or folder; blank lines between documents."]
    out: Annotated[Path, "-o", "Folder for the model and its learning curve."]
    size: Annotated[str, "small or paper."] = "small"
    quiet: Annotated[bool, "No progress on stderr."] = False


@dataclass(frozen=True)
class Learnt:
    """A trained model's folder, its curve, and its scores on documents that it was not trained on."""

    out: Path
    kind: str
    fitted: Fitted
    scores: dict[str, float]
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def per_second(self) -> float:
        """Tokens (of ELMo: words) a second, everything included."""
        return self.fitted.rows / max(self.fitted.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "kind": self.kind,
            **self.facts,
            "tokens": self.fitted.rows,
            "seconds": self.fitted.seconds,
            "tokens_per_second": self.per_second,
            "held_out": self.scores,
            "curve": [asdict(point) for point in self.fitted.curve],
        }


def bert(settings: Bert) -> Learnt:
    """Learn a vocabulary, or take the base model's, and train.

    Raises:
        DataError: no text, one without sentence ends, or shorter than a batch.
        ModelError: the base model cannot be loaded, is no BERT, or its vocabulary misses [MASK].
        SettingsError: a setting out of range, or a checkpoint of another training or size.
        TrainingError: the loss is not a number.
    """
    from firth.contextual.pretrain import pretrain_bert
    from firth.contextual.pretraining import SIZES, BertPretraining
    from firth.fit import joined
    from firth.text.tokenizer import Tokenizer
    from firth.text.vocabulary import train_wordpiece

    how = _part(settings, PretrainSettings)
    _known(settings.size, SIZES)
    shown = not settings.quiet
    work = _work(settings.out)
    with joined() as first:
        with bar("reading", shown=shown and first) as report:
            documents = read_documents(settings.text, progress=report)
        if settings.base:
            folder = _resolved(settings.base, shown and first)
            tokenizer = Tokenizer.load(folder)
            model = BertPretraining.load(folder, next_sentence=settings.next_sentence, seed=settings.seed)
        else:
            learnt = work / "tokenizer.json"
            if not learnt.exists():
                with bar("vocabulary", shown=shown and first) as report:
                    texts = [sentence for document in documents for sentence in document]
                    report(len(texts), 0, "sentences")
                    made = train_wordpiece(texts, size=settings.vocabulary, lower_case=not settings.cased)
                work.mkdir(parents=True, exist_ok=True)
                made.save(learnt)
            tokenizer = Tokenizer.load(learnt)
            shape = SIZES[settings.size](tokenizer.size)
            model = BertPretraining.drawn(shape, next_sentence=settings.next_sentence, seed=settings.seed)
        with bar("pre-training", shown=shown and first) as report:
            found = pretrain_bert(model, tokenizer, documents, settings=how, folder=work, progress=report)
        if not first:
            raise typer.Exit
    model.save(settings.out, tokenizer)
    facts = {"vocabulary": tokenizer.size, "documents": found.documents, "filled": found.filled}
    return _kept(Learnt(settings.out, "bert", found.fitted, _bert_scores(found.held_out), facts), work)


def elmo(settings: Elmo) -> Learnt:
    """Train on a text; its own words are what is predicted.

    Raises:
        DataError: no text, one without sentence ends, or shorter than a batch.
        SettingsError: a setting out of range, or a checkpoint of another training or size.
        TrainingError: the loss is not a number.
    """
    from firth.contextual.elmo import SIZES
    from firth.contextual.train_elmo import train_elmo
    from firth.fit import joined

    how = _part(settings, ElmoTraining)
    _known(settings.size, SIZES)
    work = _work(settings.out)
    with joined():
        with bar("reading", shown=not settings.quiet) as report:
            documents = read_documents(settings.text, progress=report)
        with bar("pre-training", shown=not settings.quiet) as report:
            model, found = train_elmo(documents, SIZES[settings.size](), settings=how, folder=work, progress=report)
    model.save(settings.out)
    facts = {"vocabulary": found.vocabulary, "documents": len(documents)}
    return _kept(Learnt(settings.out, "elmo", found.fitted, found.held_out or {}, facts), work)


def show(learnt: Learnt, console: Console) -> None:
    """What was seen, how fast, and the held-out scores."""
    unit = "words" if learnt.kind == "elmo" else "tokens"
    seconds = learnt.fitted.seconds
    console.print(f"{learnt.fitted.rows:,} {unit} in {seconds:,.0f} s, {learnt.per_second:,.0f} {unit}/s")
    if "filled" in learnt.facts:
        console.print(f"packed positions that are real tokens: {100 * learnt.facts['filled']:.1f} %")
    for name, value in learnt.scores.items():
        console.print(f"held out: {name.replace('_', ' ')} {value:,.4g}")
    for note in learnt.notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"model in {learnt.out}, curve in {learnt.out / 'curve.json'}")


def _kept(learnt: Learnt, work: Path) -> Learnt:
    """The curve and the scores beside the model; the training's state is no longer needed."""
    write_json(learnt.out / "curve.json", learnt.as_json())
    notes: tuple[str, ...] = ()
    try:
        drawings = [lines(series, *words, log=log) for series, words, log in _drawn(learnt)]
        told = [f"{name.replace('_', ' ')} {value:,.4g} on held-out documents" for name, value in learnt.scores.items()]
        save_pictures(learnt.out, "curve", f"firth pretrain {learnt.kind}", drawings, told)
    except MissingExtraError as error:
        notes = (f"the curve is not drawn: {error}",)
    shutil.rmtree(work, ignore_errors=True)
    return Learnt(learnt.out, learnt.kind, learnt.fitted, learnt.scores, learnt.facts, notes)


def _drawn(learnt: Learnt) -> list[tuple[Series, tuple[str, str], bool]]:
    """Perplexities, and accuracies where there are any: series, names of the axes, whether logarithmic."""
    points = learnt.fitted.curve
    losses: dict[str, list[tuple[float, float]]] = {}
    shares: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        for name, value in point.measures.items():
            kind, _, what = name.partition("_")
            if what == "loss":
                losses.setdefault(f"{kind} perplexity", []).append((point.rows, math.exp(min(value, MOST_LOSS))))
            else:
                shares.setdefault(name.replace("_", " "), []).append((point.rows, value))
    x = "words read" if learnt.kind == "elmo" else "tokens read"
    drawn: list[tuple[Series, tuple[str, str], bool]] = [(losses, (x, "perplexity in training (log)"), True)]
    return [*drawn, (shares, (x, "share that is right"), False)] if shares else drawn


def _bert_scores(held_out: dict[str, float] | None) -> dict[str, float]:
    if held_out is None:
        return {}
    return {"perplexity": math.exp(min(held_out["masked_loss"], MOST_LOSS)), **held_out}


def _part(settings: T, kind: type[T]) -> T:
    """The training's own settings, without those of the command: checkpoints are known by them."""
    return kind(**{field.name: getattr(settings, field.name) for field in fields(kind)})  # type: ignore[arg-type]


def _known(size: str, sizes: dict[str, Any]) -> None:
    if size not in sizes:
        raise SettingsError(f"size={size!r}: expected one of {', '.join(sizes)}")


def _work(out: Path) -> Path:
    return out.with_name(f"{out.name}.training")


def _resolved(name: str, shown: bool) -> Path:
    from firth.sentence.published import resolve

    with bar(f"fetching {name}", shown=shown) as report:
        return resolve(name, progress=report)


app = typer.Typer(no_args_is_help=True)
app.command("bert", help="Masked words and next sentences, from raw text.")(command(Bert, bert, show))
app.command("elmo", help="A bidirectional language model over characters.")(command(Elmo, elmo, show))
