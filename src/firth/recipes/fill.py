"""`firth fill "The capital of France is [MASK]."`: the words that a model thinks stand in a gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from firth.progress import bar

if TYPE_CHECKING:
    from rich.console import Console

    from firth.contextual.occurrences import Guess


@dataclass(frozen=True)
class Settings:
    """Which text and which model."""

    text: Annotated[str, "Text with [MASK] where words are to be guessed."]
    model: Annotated[str, "Folder of firth pretrain bert, or a published BERT with its masked-word head."] = (
        "google-bert/bert-base-uncased"
    )
    k: Annotated[int, "-k", "Words for each gap."] = 5


@dataclass(frozen=True)
class Filled:
    """The likeliest words for each gap, in the order of the text."""

    text: str
    gaps: list[list[Guess]]

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "gaps": [[guess._asdict() for guess in gap] for gap in self.gaps]}


def run(settings: Settings) -> Filled:
    """Guess.

    Raises:
        DataError: no [MASK] in the text; ModelError: no such model, or one without a masked-word head.
    """
    from firth.contextual.occurrences import fill
    from firth.contextual.pretraining import BertPretraining
    from firth.sentence.published import resolve
    from firth.text.tokenizer import Tokenizer

    with bar(f"fetching {settings.model}", shown=False) as report:
        folder = resolve(settings.model, progress=report)
    model = BertPretraining.load(folder, draw=False)
    return Filled(settings.text, fill(model, Tokenizer.load(folder), settings.text, settings.k))


def show(filled: Filled, console: Console) -> None:
    """A line a guess, a blank line between gaps."""
    for number, gap in enumerate(filled.gaps):
        if number:
            console.print()
        for guess in gap:
            console.print(f"{guess.probability:.3f}  {guess.word}", markup=False)
