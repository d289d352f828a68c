"""`firth words similar` and `firth words analogy`: ask word vectors, once or in a conversation.

    $ firth words similar w.bin
    > king woman -man
    0.7402  queen
    …

Without a word, `similar` reads questions from stdin, a line each, and shows a prompt where that is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth.errors import SettingsError
from firth.static import WordVectors

if TYPE_CHECKING:
    from rich.console import Console

PROMPT = "> "
HELP = "words, a minus before those to move away from; an empty line ends"


@dataclass(frozen=True)
class Similar:
    """Which vectors, and what is asked."""

    vectors: Annotated[Path, "File of word vectors."]
    words: Annotated[list[str], "WORDS", "Words; none = lines from stdin, with a prompt on a terminal."] = field(
        default_factory=list
    )
    minus: Annotated[list[str], "Words to move away from."] = field(default_factory=list)
    k: Annotated[int, "-k", "How many."] = 10
    method: Annotated[str, "add (3CosAdd) or mul (3CosMul)."] = "add"
    restrict: Annotated[int, "Answer with one of the first so many words; 0 = all."] = 0

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Analogy:
    """a is to b as c is to what?"""

    vectors: Annotated[Path, "File of word vectors."]
    a: Annotated[str, "man …"]
    b: Annotated[str, "… is to king …"]
    c: Annotated[str, "… as woman is to what?"]
    k: Annotated[int, "-k", "How many."] = 5
    method: Annotated[str, "add (3CosAdd) or mul (3CosMul)."] = "add"
    restrict: Annotated[int, "Answer with one of the first so many words; 0 = all."] = 0

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Asked:
    """One question: words to be near to, and far from."""

    near: tuple[str, ...]
    far: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The nearest words with their scores, best first; or why there are none."""

    asked: Asked
    found: list[tuple[str, float]]
    fault: str = ""

    def as_json(self) -> dict[str, Any]:
        told = {"asked": {"near": list(self.asked.near), "far": list(self.asked.far)}}
        if self.fault:
            return {**told, "error": self.fault}
        return {**told, "found": [{"word": word, "score": score} for word, score in self.found]}


@dataclass(frozen=True)
class Answers:
    """Answers in the order of their questions; in a conversation each is found when it is asked for."""

    answers: Iterable[Answer]

    def as_json(self) -> dict[str, Any]:
        return {"answers": [answer.as_json() for answer in self.answers]}


def similar(settings: Similar) -> Answers:
    """The words nearest to those given, or to those of each line that is typed.

    Raises:
        SettingsError: a word that was given is not in the vocabulary.
    """
    vectors = WordVectors.load(settings.vectors)
    if settings.words or settings.minus:
        asked = Asked(tuple(settings.words), tuple(settings.minus))
        return Answers([_answer(vectors, asked, settings)])
    return Answers(conversation(vectors, _typed() if sys.stdin.isatty() else sys.stdin, settings))


def analogy(settings: Analogy) -> Answers:
    """What is to c as b is to a.

    Raises:
        SettingsError: a word is not in the vocabulary.
    """
    asked = Asked((settings.b, settings.c), (settings.a,))
    return Answers([_answer(WordVectors.load(settings.vectors), asked, settings)])


def show_similar(answers: Answers, console: Console) -> None:
    """The words of each answer with their scores."""
    for answer in answers.answers:
        if answer.fault:
            console.print(answer.fault, markup=False)
        for word, score in answer.found:
            console.print(f"{score:.4f}  {word}", markup=False)


def conversation(vectors: WordVectors, lines: Iterable[str], settings: Similar) -> Iterator[Answer]:
    """An answer to each line that holds words; one that cannot be answered is told and does not end it."""
    for line in lines:
        words = line.split()
        far = tuple(word[1:] for word in words if word.startswith("-") and word != "-")
        asked = Asked(tuple(word for word in words if not word.startswith("-")), far)
        if not words:
            continue
        try:
            yield _answer(vectors, asked, settings)
        except SettingsError as error:
            yield Answer(asked, [], str(error))


def _answer(vectors: WordVectors, asked: Asked, settings: Similar | Analogy) -> Answer:
    found = vectors.most_similar(
        asked.near, asked.far, k=settings.k, method=settings.method, restrict=settings.restrict or None
    )
    return Answer(asked, found)


def _typed() -> Iterator[str]:
    """Lines from a terminal, until an empty one, Ctrl-D or Ctrl-C."""
    with suppress(ImportError):  # not on every system; without it the line cannot be edited
        import readline  # noqa: F401
    print(HELP, file=sys.stderr)
    while True:
        try:
            line = input(PROMPT)
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if not line.strip():
            return
        yield line


def _check(settings: Similar | Analogy) -> None:
    if settings.k < 1 or settings.restrict < 0 or settings.method not in ("add", "mul"):
        raise SettingsError(
            f"k={settings.k}, restrict={settings.restrict}, method={settings.method!r}: "
            "expected k of at least 1, restrict of at least 0, and add or mul"
        )
