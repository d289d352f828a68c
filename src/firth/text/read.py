"""One door for every input: look at what a path holds, read it, say what is missing."""

from __future__ import annotations

from pathlib import Path

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text.beir import is_beir, read_beir
from firth.text.domain import Documents, Domain
from firth.text.settings import Reading

__all__ = ["Documents", "Domain", "Reading", "read"]


def read(path: Path | str, settings: Reading | None = None, *, progress: Progress = silent) -> Domain:
    """What the path holds, whatever its format; everything in it is checked once, and nothing large is kept.

    Args:
        path: a BEIR folder.
        settings: limits and what to do with bad records.
        progress: told how many documents are checked.

    Raises:
        DataError: nothing there, nothing that firth reads, or a fault with its file, line, value and remedy.
    """
    path = Path(path)
    settings = settings or Reading()
    if not path.exists():
        raise DataError("there is no such file or folder", path=path)
    if path.is_dir() and is_beir(path):
        return read_beir(path, settings, progress)
    raise DataError("not recognised; expected a folder with corpus.jsonl", path=path)
