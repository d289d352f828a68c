"""`firth key FILE NAME`: a new key for the server; only its hash is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth.recipes.serve import check_installed

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Settings:
    """Whose key, and what it allows."""

    file: Annotated[Path, "File of hashed keys, for firth serve --keys."]
    name: Annotated[str, "Whose key it is; an older one of this name ends."]
    scope: Annotated[str, "read (search, embed), write (change documents) or admin (make and remove collections)."] = (
        "read"
    )


@dataclass(frozen=True)
class Made:
    """The key, shown this once."""

    name: str
    scope: str
    key: str

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "scope": self.scope, "key": self.key}


def run(settings: Settings) -> Made:
    """Draw a key and keep its hash.

    Raises:
        MissingExtraError: firth[serve] is not installed.
        SettingsError: a scope or name that is none.
    """
    check_installed()
    from firth.serve.keys import add_key

    return Made(settings.name, settings.scope, add_key(settings.file, settings.name, settings.scope))


def show(made: Made, console: Console) -> None:
    """The key alone on its line, so that it can be piped."""
    console.print(made.key, soft_wrap=True)
