"""`firth search OUT "question"`: ask a folder that `firth build` made."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth.errors import DataError, SettingsError
from firth.evaluate.flips import snippet
from firth.recipes.built import Built

if TYPE_CHECKING:
    from rich.console import Console

    from firth.store import Hit

INDENT = 12  # columns before a document's text: below its title


@dataclass(frozen=True)
class Settings:
    """What to ask and how."""

    out: Annotated[Path, "Folder that firth build made."]
    query: Annotated[str, "The question."]
    k: Annotated[int, "-k", "How many documents."] = 10
    recall: Annotated[float, "Share of the exact top k to aim for, 0 to 1; 0 takes what the build chose."] = 0.0
    hybrid: Annotated[bool, "Also search by words (BM25) and merge both rankings."] = False
    filter: Annotated[str, "JSON filter on the documents' payload."] = ""


@dataclass(frozen=True)
class Found:
    """The answer, and where its time went."""

    query: str
    hits: list[Hit]
    load_seconds: float
    encode_seconds: float
    search_seconds: float

    def as_json(self) -> dict[str, Any]:
        rows = [
            {
                "rank": i + 1,
                "id": hit.id,
                "score": hit.score,
                "title": hit.title,
                "text": hit.text,
                "payload": hit.payload,
            }
            for i, hit in enumerate(self.hits)
        ]
        seconds = {"load": self.load_seconds, "encode": self.encode_seconds, "search": self.search_seconds}
        return {"query": self.query, "hits": rows, "seconds": seconds}


def run(settings: Settings) -> Found:
    """Load, encode the question, search.

    Raises:
        FormatError: the folder was not built by firth, or its build was not finished.
        SettingsError: k, recall or the filter is out of range.
    """
    if settings.k < 1 or not 0 <= settings.recall <= 1:
        raise SettingsError(f"k = {settings.k}, recall = {settings.recall}: expected k >= 1 and recall from 0 to 1")
    if not settings.query.strip():
        raise DataError("the question is empty")
    start = time.perf_counter()
    with Built.open(settings.out) as built:
        loaded = time.perf_counter()
        vector = built.query(settings.query)
        encoded = time.perf_counter()
        hits = built.search(
            settings.query if settings.hybrid else vector,
            settings.k,
            recall=settings.recall or None,
            hybrid=settings.hybrid,
            filter=_filter(settings.filter),
        )
        done = time.perf_counter()
    return Found(settings.query, hits, loaded - start, encoded - loaded, done - encoded)


def show(found: Found, console: Console) -> None:
    """Rank, score, title and the beginning of each document."""
    from rich.markup import escape
    from rich.padding import Padding

    words = {word for word in found.query.casefold().split() if len(word) > 2}
    for rank, hit in enumerate(found.hits, 1):
        title = escape(hit.title or str(hit.id))
        line = f"[bold]{rank:>3}  {hit.score:.3f}  {title}[/bold]  [dim]{escape(str(hit.id))}[/dim]"
        console.print(line, soft_wrap=True)
        console.print(Padding(_marked(escape(snippet(hit.text)), words), (0, 0, 0, INDENT)))
    if not found.hits:
        console.print("nothing found")
    console.print(
        f"[dim]{found.search_seconds * 1e3:.1f} ms search, {found.encode_seconds * 1e3:.0f} ms encoding, "
        f"{found.load_seconds * 1e3:.0f} ms loading[/dim]"
    )


def _marked(text: str, words: set[str]) -> str:
    """The question's own words underlined."""
    return " ".join(f"[underline]{w}[/underline]" if w.casefold().strip(".,;:()") in words else w for w in text.split())


def _filter(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"--filter: not JSON: {error.msg} at character {error.pos}") from error
    if not isinstance(value, dict):
        raise SettingsError(f'--filter: expected an object such as {{"lang": "de"}}, got {text}')
    return value
