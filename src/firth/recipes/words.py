"""`firth words`: train word vectors, grade them, ask them, draw them, carry them to other programs.

Training keeps its state beside the result after each epoch, so the same command goes on where Ctrl-C stopped it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firth.cli import command
from firth.errors import DataError, FormatError, SettingsError
from firth.files import read_arrays
from firth.progress import Progress, bar
from firth.recipes import word_grades, word_map, word_queries
from firth.static import Corpus, Counting, GloVe, Phrases, State, Word2Vec, WordVectors, count, join_phrases
from firth.static import glove as glove_state
from firth.static import state as word2vec_state
from firth.static.formats import FORMATS, SUFFIXES

if TYPE_CHECKING:
    from rich.console import Console

MODELS = ("skipgram", "cbow", "glove")
GLOVE, WORD2VEC = GloVe(), Word2Vec()  # whose defaults stand for 0


@dataclass(frozen=True)
class Train:
    """What is learnt from, and how."""

    corpus: Annotated[list[Path], "Text files, a sentence or paragraph a line; .gz and .zst too."]
    out: Annotated[Path, "-o", "File for the vectors: .safetensors, .bin, .txt or .vec."]
    model: Annotated[str, "skipgram, cbow or glove."] = "skipgram"
    objective: Annotated[str, "negative, hierarchical or softmax; not for glove."] = WORD2VEC.objective
    dims: Annotated[int, "Width of the vectors."] = WORD2VEC.dims
    window: Annotated[int, "Words to each side that are company; 0 = 5, glove 10."] = 0
    epochs: Annotated[int, "Passes over the corpus; 0 = 5, glove 15."] = 0
    rate: Annotated[float, "First learning rate; 0 = 0.025, cbow and glove 0.05."] = 0.0
    negatives: Annotated[int, "Noise words a pair."] = WORD2VEC.negatives
    subsample: Annotated[float, "Words above this share of the text are thinned out; 0 = none."] = WORD2VEC.subsample
    x_max: Annotated[float, "Glove: counts from here on have full weight."] = GLOVE.x_max
    tokenizer: Annotated[str, "spaces, unicode (lower-cases) or cased."] = WORD2VEC.tokenizer
    min_count: Annotated[int, "Rarer words are left out."] = WORD2VEC.min_count
    max_words: Annotated[int, "Largest vocabulary; 0 = all."] = 0
    phrases: Annotated[int, "Passes that join pairs such as new_york; 0 = none."] = 0
    phrase_threshold: Annotated[float, "Smallest score of a phrase; higher joins fewer."] = Phrases.threshold
    deterministic: Annotated[bool, "The same bits for any number of threads, at about 0.6 of the speed."] = False
    start: Annotated[Path | None, "State of an earlier word2vec training to begin with; new words are added."] = None
    keep_state: Annotated[bool, "Keep OUT.state after the last epoch, for --start."] = False
    seed: Annotated[int, "Of every draw."] = 0
    threads: Annotated[int, "0 = as many as there are cores."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise SettingsError(f"model={self.model!r}: expected one of {', '.join(MODELS)}")
        if self.out.suffix not in SUFFIXES:
            raise SettingsError(f"{self.out}: expected a name that ends in one of {', '.join(SUFFIXES)}")
        if self.start is not None and (self.model == "glove" or self.phrases):
            raise SettingsError("start goes on from a word2vec training, on a corpus without phrases")
        if self.phrases < 0 or self.threads < 0:
            raise SettingsError(f"phrases={self.phrases}, threads={self.threads}: expected at least 0")

    @property
    def state(self) -> Path:
        """Where the training is kept until it is done."""
        return self.out.with_name(f"{self.out.name}.state")

    @property
    def trainer(self) -> Word2Vec | GloVe:
        """The training that these settings describe."""
        given = {"window": self.window, "epochs": self.epochs, "rate": self.rate}
        common: dict[str, Any] = {
            **{name: value for name, value in given.items() if value},
            **{name: getattr(self, name) for name in ("dims", "min_count", "max_words", "tokenizer", "seed")},
            "threads": self.threads or None,
        }
        if self.model == "glove":
            return GloVe(**common, x_max=self.x_max)
        own = {name: getattr(self, name) for name in ("objective", "negatives", "subsample", "deterministic")}
        return Word2Vec(**common, **own, architecture=self.model)


@dataclass(frozen=True)
class Trained:
    """What was learnt.

    Attributes:
        tokens: words of the corpus, those outside the vocabulary included.
        losses: the mean of each epoch.
        seconds: of this run; words_per_second: the corpus's words times the epochs of this run, over them.
        continued: epochs that an earlier run had finished.
    """

    out: Path
    words: int
    dims: int
    tokens: int
    losses: list[float]
    seconds: float
    words_per_second: float
    continued: int

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "out": str(self.out)}


@dataclass(frozen=True)
class Export:
    """From one file of word vectors to another."""

    vectors: Annotated[Path, "File of word vectors."]
    out: Annotated[Path, "-o", "New file: .safetensors, .bin, .txt or .vec."]
    layout: Annotated[str, f"One of {', '.join(FORMATS)}; empty = by the name."] = ""
    words: Annotated[int, "Only so many words, the first of the file; 0 = all."] = 0


@dataclass(frozen=True)
class Exported:
    """The new file."""

    out: Path
    words: int
    dims: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "out": str(self.out)}


def train(settings: Train) -> Trained:
    """Count, learn, save.

    Raises:
        DataError: a corpus file is missing, not UTF-8, or a damaged archive.
        SettingsError: OUT.state belongs to another corpus or other settings.
        TrainingError: no word is frequent enough, or the vectors grew beyond all bounds.
    """
    trainer, began = settings.trainer, time.perf_counter()
    start = State.load(settings.start) if settings.start is not None else None
    corpus = _counted(settings, start)
    if settings.state.exists() and not settings.quiet:
        typer.echo(f"going on from {settings.state}", err=True)
    done = _epochs_done(settings)
    with _stages(settings, done / trainer.epochs) as progress:
        if isinstance(trainer, GloVe):
            vectors = trainer.train(corpus, state=settings.state, progress=progress)
        else:
            vectors = trainer.train(corpus, state=settings.state, start=start, progress=progress)
    vectors.save(settings.out)
    if not settings.keep_state:
        settings.state.unlink()
    seconds = time.perf_counter() - began
    rate = corpus.tokens * (trainer.epochs - done) / seconds
    losses = vectors.about["losses"]
    return Trained(settings.out, len(vectors), vectors.dims, corpus.tokens, losses, seconds, rate, done)


def export(settings: Export) -> Exported:
    """Read, cut, write.

    Raises:
        FormatError: the file is damaged; names the line or byte.
        DataError: the new format cannot hold one of the words.
    """
    vectors = WordVectors.load(settings.vectors)
    if settings.words < 0:
        raise SettingsError(f"words={settings.words}: expected at least 0")
    if settings.words:
        n = min(settings.words, len(vectors))
        counts = None if vectors.counts is None else vectors.counts[:n]
        vectors = WordVectors(vectors.words[:n], vectors.vectors[:n], counts, about=vectors.about)
    vectors.save(settings.out, settings.layout or None)
    return Exported(settings.out, len(vectors), vectors.dims, settings.out.stat().st_size)


def show_trained(trained: Trained, console: Console) -> None:
    """The loss of each epoch, the speed, and what to do with the file."""
    for epoch, loss in enumerate(trained.losses, 1):
        console.print(f"epoch {epoch:>3}  loss {loss:.4f}")
    console.print(
        f"{trained.out}: {trained.words:,} words of {trained.dims} dimensions from {trained.tokens:,} words of text, "
        f"{trained.seconds:.1f} s, {trained.words_per_second:,.0f} words/s",
        soft_wrap=True,
    )
    console.print(
        f"grade them  firth words eval {trained.out}\nask them    firth words similar {trained.out}", soft_wrap=True
    )


def show_exported(exported: Exported, console: Console) -> None:
    """One line."""
    megabytes = exported.bytes / 1e6
    console.print(
        f"{exported.out}: {exported.words:,} words of {exported.dims} dimensions, {megabytes:,.1f} MB", soft_wrap=True
    )


def _counted(settings: Train, start: State | None) -> Corpus:
    for path in settings.corpus:
        if not path.is_file():
            raise DataError("there is no such file", path=path)
    counting = Counting(settings.min_count, settings.max_words, settings.tokenizer)
    known = start.vocabulary.words if start is not None else ()
    with _bar("counting words", settings) as progress:
        corpus = count(settings.corpus, counting, known=known, threads=settings.threads or None, progress=progress)
    if not settings.phrases:
        return corpus
    return join_phrases(corpus, Phrases(settings.phrases, settings.phrase_threshold, min_count=settings.min_count))


def _epochs_done(settings: Train) -> int:
    """Epochs in the state that an earlier run left; 0 where there is none, or none that is of this kind."""
    if not settings.state.exists():
        return 0
    own = glove_state if settings.model == "glove" else word2vec_state
    held = read_arrays(settings.state, kind=own.KIND, version=own.VERSION, verify=False)
    epoch = held.meta.get("epoch")
    if not isinstance(epoch, int):
        raise FormatError("damaged: it does not say how many epochs are done; remove it", path=settings.state)
    return epoch


@contextmanager
def _stages(settings: Train, skipped: float) -> Iterator[Progress]:
    """A bar for counting pairs, where that is done, and one for training, without the share that was done before."""
    with ExitStack() as stack:
        bars: dict[str, Progress] = {}

        def progress(done: int, total: int, what: str = "") -> None:
            training = what.startswith("epoch")
            label = "training" if training else "counting pairs"
            if label not in bars:
                stack.close()
                bars[label] = stack.enter_context(_bar(label, settings))
            before = round(total * skipped) if training else 0
            bars[label](done - before, total - before, what)

        yield progress


def _bar(label: str, settings: Train) -> AbstractContextManager[Progress]:
    return bar(label, shown=not settings.quiet)


app = typer.Typer(no_args_is_help=True)
app.command("train", help="Learn word vectors from text files.")(command(Train, train, show_trained))
app.command("eval", help="Grade word vectors on word similarity and analogies.")(
    command(word_grades.Eval, word_grades.run, word_grades.show)
)
app.command("similar", help="Words nearest to words; asks for them if none are given.")(
    command(word_queries.Similar, word_queries.similar, word_queries.show_similar)
)
app.command("analogy", help="a is to b as c is to what?")(
    command(word_queries.Analogy, word_queries.analogy, word_queries.show_similar)
)
app.command("export", help="Write word vectors in another format.")(command(Export, export, show_exported))
app.command("plot", help="Draw chosen words in two dimensions, as PNG, HTML or SVG.")(
    command(word_map.Plot, word_map.run, word_map.show)
)
