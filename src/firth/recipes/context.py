"""`firth context "bank" FILE`: where a word stands, grouped by what it means there, and a picture of the groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from firth.errors import MissingExtraError, SettingsError
from firth.evaluate.curves import points, save_pictures
from firth.evaluate.groups import Groups, group, plane
from firth.progress import bar
from firth.text.sentences import read_documents

if TYPE_CHECKING:
    from rich.console import Console

    from firth.arrays import Vectors
    from firth.contextual.occurrences import Occurrence, Reader

AROUND = 60  # characters shown on each side of the word


@dataclass(frozen=True)
class Settings:
    """Which word, in which text, seen by which model."""

    word: Annotated[str, "Word to look for, whatever its case."]
    text: Annotated[Path, "Text, table or folder."]
    model: Annotated[str, "Folder of firth pretrain, or a published model."] = "sentence-transformers/all-MiniLM-L6-v2"
    layer: Annotated[int, "Whose vectors; 0 = before context, -1 = the last."] = -1
    groups: Annotated[int, "How many meanings; 0 = found from the vectors."] = 0
    most: Annotated[int, "Occurrences looked at; drawn from all where there are more."] = 400
    examples: Annotated[int, "-k", "Occurrences printed of each group."] = 5
    out: Annotated[Path | None, "-o", "Folder for context.svg, .png and .html; none = WORD.context here."] = None
    seed: Annotated[int, "Of the draw and the groups."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False


@dataclass(frozen=True)
class Found:
    """Lines of each group, the most typical first, and where the picture is."""

    word: str
    groups: list[list[str]]
    silhouette: float
    seen: int
    there: int
    picture: Path | None
    note: str
    examples: int

    def as_json(self) -> dict[str, Any]:
        told = {"word": self.word, "occurrences": self.there, "looked_at": self.seen, "silhouette": self.silhouette}
        return {**told, "groups": self.groups, "picture": None if self.picture is None else str(self.picture)}


def run(settings: Settings) -> Found:
    """Find, group and draw.

    Raises:
        DataError: the word stands nowhere, or the text cannot be read; ModelError: the model cannot be loaded.
        SettingsError: a layer that the model does not have.
    """
    from firth.contextual.occurrences import find, vectors_of

    with bar("reading", shown=not settings.quiet) as report:
        documents = read_documents(settings.text, progress=report)
    texts = [sentence for document in documents for sentence in document]
    found = find(settings.word, texts)
    there = len(found)
    if there > settings.most:
        drawn = np.random.default_rng(settings.seed).choice(there, settings.most, replace=False)
        found = [found[i] for i in np.sort(drawn)]
    layers = vectors_of(found, texts, _reader(settings.model))
    if not -len(layers) <= settings.layer < len(layers):
        raise SettingsError(f"layer={settings.layer}: this model has layers 0 to {len(layers) - 1}")
    vectors = layers[settings.layer]
    kept = np.isfinite(vectors).all(1)  # the others stand beyond the model's longest text
    found, vectors = [one for one, good in zip(found, kept, strict=True) if good], vectors[kept]
    parts = group(vectors, count=settings.groups, seed=settings.seed)
    told = [_line(texts[one.text], one) for one in found]
    order = [_typical(vectors, parts, label) for label in range(parts.count)]
    picture, note = _drawn(settings, vectors, parts, told)
    lines = [[told[i] for i in rows] for rows in order]
    score = float(parts.silhouette.mean())
    return Found(settings.word, lines, score, len(found), there, picture, note, settings.examples)


def show(found: Found, console: Console) -> None:
    """Each group with its size and its most typical occurrences."""
    of = "" if found.seen == found.there else f" of {found.there:,}"
    several = f"{len(found.groups)} groups, silhouette {found.silhouette:.2f}" if len(found.groups) > 1 else "one group"
    console.print(f"{found.word}: {found.seen:,}{of} occurrences, {several}", markup=False)
    for number, rows in enumerate(found.groups, 1):
        console.print(f"\n[bold]{number}[/bold]  {len(rows):,} occurrences")
        for line in rows[: found.examples]:
            console.print(f"   {line}", markup=False, soft_wrap=True)
    console.print(f"\npicture: {found.picture}" if found.picture else f"\nnote: {found.note}", markup=False)


def _reader(name: str) -> Reader:
    from firth.contextual.elmo import DESCRIPTION, Elmo
    from firth.contextual.occurrences import BertReader, ElmoReader
    from firth.contextual.weights import load_bert
    from firth.sentence.folder import read_layout
    from firth.sentence.published import resolve
    from firth.text.tokenizer import Tokenizer

    folder = resolve(name)
    if (folder / DESCRIPTION).is_file():
        return ElmoReader(Elmo.load(folder))
    layout = read_layout(folder)
    return BertReader(load_bert(layout.bert), Tokenizer.load(layout.bert))


def _line(text: str, one: Occurrence) -> str:
    before, after = text[max(0, one.start - AROUND) : one.start], text[one.end : one.end + AROUND]
    return f"{before.rjust(AROUND)}[{text[one.start : one.end]}]{after}"


def _typical(vectors: Vectors, parts: Groups, label: int) -> list[int]:
    """Rows of a group, those nearest to its mean first."""
    rows = np.flatnonzero(parts.labels == label)
    inside = vectors[rows] / np.linalg.norm(vectors[rows], axis=1, keepdims=True)
    near: list[int] = rows[np.argsort(-(inside @ inside.mean(0)), kind="stable")].tolist()
    return near


def _drawn(settings: Settings, vectors: Vectors, parts: Groups, told: list[str]) -> tuple[Path | None, str]:
    folder = settings.out or Path(f"{settings.word}.context")
    labels = [f"meaning {label + 1}" for label in parts.labels.tolist()]
    order = np.argsort(parts.labels, kind="stable")
    places = [(float(a), float(b)) for a, b in plane(vectors)[order]]
    try:
        drawing = points(places, [labels[i] for i in order], [told[i].strip() for i in order])
        title = f"“{settings.word}” in {settings.text.name}, seen by {Path(settings.model).name}"
        said = [f"{len(told):,} occurrences; the plane is that of their two principal components."]
        return save_pictures(folder, "context", title, [drawing], said)[-1], ""
    except MissingExtraError as error:
        return None, f"no picture: {error}"
