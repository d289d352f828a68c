"""Any encoder that can be tuned, with the settings that suit its kind, and how it is kept afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firth.arrays import Encoder
from firth.errors import SettingsError
from firth.recipes.base import WORDS_FILE
from firth.static.average import TextVectors

if TYPE_CHECKING:
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.words import WordsEncoder

MODEL = "model"


@dataclass(frozen=True)
class Usual:
    """What suits a kind of encoder.

    Attributes:
        rate: highest learning rate.
        epochs: passes where a transformer takes one; a pass over word vectors costs next to nothing.
    """

    rate: float
    epochs: int


def trainable(encoder: Encoder) -> tuple[SentenceEncoder | WordsEncoder, Usual]:
    """The encoder itself, or word vectors as something that can be trained.

    Raises:
        SettingsError: an encoder that cannot be trained, for instance one with a query adapter.
    """
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.tune import TuneSettings
    from firth.sentence.words import EPOCHS, RATE, WordsEncoder

    if isinstance(encoder, SentenceEncoder | WordsEncoder):
        words = isinstance(encoder, WordsEncoder)
        return encoder, Usual(RATE, EPOCHS) if words else Usual(TuneSettings.rate, 1)
    if isinstance(encoder, TextVectors):
        return WordsEncoder.of(encoder), Usual(RATE, EPOCHS)
    raise SettingsError(f"{type(encoder).__name__} cannot be tuned; tune the model below it")


def usable(encoder: Any) -> Encoder:
    """What was trained, as it is used: word vectors without torch."""
    vectors = getattr(encoder, "vectors", None)
    ready: Encoder = encoder if vectors is None else vectors()
    return ready


def save_tuned(encoder: Any, folder: Path) -> Path:
    """Keep a tuned encoder below `folder`: a model's folder, or a file of word vectors; returns which."""
    ready = usable(encoder)
    path = folder / (WORDS_FILE if isinstance(ready, TextVectors) else MODEL)
    ready.save(path)  # type: ignore[attr-defined]
    return path
