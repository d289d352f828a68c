"""`firth words eval`: do the vectors agree with people, and do they complete analogies.

Without files of your own they are graded on WS353, SimLex-999, MEN and the Google analogies, which are shipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth.errors import SettingsError
from firth.evaluate import words as grading
from firth.evaluate.words import Section, Similarity
from firth.static import WordVectors
from firth.static.questions import answered, rated

if TYPE_CHECKING:
    from rich.console import Console

SHIPPED = Path(__file__).parent / "questions"
RATED = {"WS353": "ws353.txt", "SimLex-999": "simlex999.txt", "MEN": "men3k.txt"}
ANALOGIES = "analogies.txt"


@dataclass(frozen=True)
class Eval:
    """What is graded, and on what."""

    vectors: Annotated[Path, "File of word vectors."]
    similarity: Annotated[list[Path], "Pairs of words with people's scores; none = WS353, SimLex-999 and MEN."] = field(
        default_factory=list
    )
    analogies: Annotated[Path | None, "Questions in word2vec's format; none = Google's."] = None
    method: Annotated[str, "How analogies are answered: add (3CosAdd) or mul (3CosMul)."] = "add"
    restrict: Annotated[int, "Analogies know and answer with the first so many words; 0 = all."] = 300_000
    cased: Annotated[bool, "Leave the questions' words as they are, instead of lower-casing them."] = False
    seed: Annotated[int, "Of the intervals."] = 0

    def __post_init__(self) -> None:
        if self.restrict < 0:
            raise SettingsError(f"restrict={self.restrict}: expected at least 0")


@dataclass(frozen=True)
class Grades:
    """Agreement with each rated set, and the analogies by section."""

    vectors: Path
    similarity: dict[str, Similarity]
    analogies: list[Section]

    def as_json(self) -> dict[str, Any]:
        return {
            "vectors": str(self.vectors),
            "similarity": {name: found.as_json() for name, found in self.similarity.items()},
            "analogies": [section.as_json() for section in self.analogies],
        }


def run(settings: Eval) -> Grades:
    """Load and grade.

    Raises:
        FormatError: the vectors' file is damaged.
        DataError: a file of questions cannot be read, names the line; or too few of a set's words are known.
    """
    vectors = WordVectors.load(settings.vectors)
    sets = {path.stem: path for path in settings.similarity} or {name: SHIPPED / file for name, file in RATED.items()}
    return Grades(
        settings.vectors,
        {
            name: graded_pairs(vectors, path, lower=not settings.cased, seed=settings.seed)
            for name, path in sets.items()
        },
        graded_analogies(
            vectors,
            settings.analogies or SHIPPED / ANALOGIES,
            lower=not settings.cased,
            restrict=settings.restrict or None,
            method=settings.method,
            seed=settings.seed,
        ),
    )


def graded_pairs(vectors: WordVectors, path: Path, *, lower: bool = True, seed: int = 0) -> Similarity:
    """Agreement with one file of rated pairs."""
    found = rated(vectors, path, lower=lower)
    return grading.similarity(found.human, found.cosine, seed=seed)


def graded_analogies(
    vectors: WordVectors,
    path: Path,
    *,
    lower: bool = True,
    restrict: int | None = 300_000,
    method: str = "add",
    seed: int = 0,
) -> list[Section]:
    """Accuracy on one file of analogies, by section."""
    found = answered(vectors, path, lower=lower, restrict=restrict, method=method)
    return grading.analogies(found.sections, found.section, found.known, found.right, seed=seed)


def show(grades: Grades, console: Console) -> None:
    """A table of similarity, a table of analogies."""
    from rich.table import Table

    pairs = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("similarity", "Spearman", "pairs known"):
        pairs.add_column(heading)
    for name, found in grades.similarity.items():
        pairs.add_row(name, str(found.spearman), f"{found.covered:,} of {found.pairs:,}")
    console.print(pairs)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("analogies", "right", "questions known", "right of all"):
        table.add_column(heading)
    for section in grades.analogies:
        known = f"{section.known:,} of {section.asked:,}"
        table.add_row(section.name, str(section.accuracy), known, f"{section.of_all:.3f}")
    console.print(table)
