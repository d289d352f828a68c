"""`firth words plot`: chosen words in two dimensions, the two in which they differ most.

The words' unit vectors are projected on their first two principal components; what share of the variance those hold is
told, since a picture that holds a fifth of it shows a fifth of the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from firth.arrays import Vectors
from firth.errors import SettingsError
from firth.evaluate import scatter
from firth.files import write_text, write_whole
from firth.static import WordVectors

if TYPE_CHECKING:
    from rich.console import Console

SUFFIXES = (".png", ".html", ".svg")
FEWEST = 3  # words; two always lie on a line


@dataclass(frozen=True)
class Plot:
    """Which words, and where the picture goes."""

    vectors: Annotated[Path, "File of word vectors."]
    words: Annotated[list[str], "Words to draw."]
    out: Annotated[list[Path], "-o", "Pictures: .png, .html or .svg; may be given several times."] = field(
        default_factory=lambda: [Path("words.html"), Path("words.png")]
    )
    near: Annotated[int, "Also draw so many neighbours of each word, in its colour."] = 0

    def __post_init__(self) -> None:
        wrong = [path for path in self.out if path.suffix not in SUFFIXES]
        if wrong or self.near < 0:
            what = f"{wrong[0]}" if wrong else f"near={self.near}"
            raise SettingsError(f"{what}: expected pictures named {', '.join(SUFFIXES)} and near of at least 0")


@dataclass(frozen=True)
class Drawn:
    """The words' places, and the pictures.

    Attributes:
        held: share of the words' variance that two dimensions show.
    """

    out: list[Path]
    words: list[str]
    points: Vectors
    held: float

    def as_json(self) -> dict[str, Any]:
        places = {word: [float(x), float(y)] for word, (x, y) in zip(self.words, self.points, strict=True)}
        return {"out": [str(path) for path in self.out], "variance_shown": self.held, "points": places}


def run(settings: Plot) -> Drawn:
    """Project and draw.

    Raises:
        SettingsError: a word is not in the vocabulary, or there are fewer than three.
        MissingExtraError: Altair is not installed.
    """
    vectors = WordVectors.load(settings.vectors)
    group = {word: word for word in settings.words}
    for word in settings.words:
        for other, _ in vectors.most_similar(word, k=settings.near) if settings.near else []:
            group.setdefault(other, word)
    words = list(group)
    if len(words) < FEWEST:
        raise SettingsError(f"a plot needs at least {FEWEST} different words, got {len(words)}; or ask for near=5")
    points, held = _leading_two(vectors.unit[[vectors.id_of(word) for word in words]])
    drawing = scatter.scatter(points, words, list(group.values()) if settings.near else ())
    for path in settings.out:
        if path.suffix == ".png":
            with write_whole(path) as file:
                file.write(scatter.png(drawing))
        else:
            write_text(
                path, drawing if path.suffix == ".svg" else scatter.standalone(drawing, " ".join(settings.words))
            )
    return Drawn(settings.out, words, points, held)


def show(drawn: Drawn, console: Console) -> None:
    """Where the pictures are and how much they show."""
    console.print(f"{len(drawn.words)} words; the two dimensions show {drawn.held:.0%} of how they differ")
    for path in drawn.out:
        console.print(str(path))


def _leading_two(rows: Vectors) -> tuple[Vectors, float]:
    """(n, 2) the rows on their two principal components, and the share of the variance there."""
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(len(sizes))])[:2]  # a picture that does not flip
    points = np.zeros((len(rows), 2))
    points[:, : len(sizes[:2])] = left[:, :2] * sizes[:2] * signs
    return points.astype(np.float32), float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-30))
