"""Every deliberate error: what was expected, what came, why it may be, what to do.

All derive from `FirthError`; each also from the built-in that a caller would expect. The command line turns them
into exit codes (`exit_code`): 1 error, 3 a gate failed, 4 bad data.
"""

from __future__ import annotations

from pathlib import Path


class FirthError(Exception):
    """The root of all errors that firth raises on purpose."""

    exit_code = 1


class ShapeError(FirthError, ValueError):
    """An array has another shape, width or type than the function needs."""


class DataError(FirthError, ValueError):
    """A file holds something else than it should; names the file, the line, the value and the remedy."""

    exit_code = 4

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        self.path = path
        self.line = line
        place = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(place + message)


class FormatError(DataError):
    """A model, index or collection file is truncated, damaged, or of a version that this firth does not read."""


class ModelError(FirthError, ValueError):
    """A model cannot be loaded: unknown name, unknown architecture, missing weights."""


class SettingsError(FirthError, ValueError):
    """A setting is out of its range, or two settings contradict each other."""


class MissingExtraError(FirthError, ImportError):
    """An optional dependency is needed and not installed; says which command adds it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'firth[{extra}]'")


class TrainingError(FirthError, ArithmeticError):
    """Training cannot go on: the loss is not a number, or nothing is left to learn from."""


class StorageError(FirthError, OSError):
    """The disk is full, or a path cannot be written; nothing half-written is left behind."""


class GateError(FirthError):
    """A measured score is below the bar that was set for it."""

    exit_code = 3


class ServiceError(FirthError, ConnectionError):
    """A hosted service did not answer, refused, or answered something that does not fit its contract."""


class LockedError(StorageError):
    """Another process is the writer of this collection."""


class FilterError(SettingsError):
    """A filter over payloads is not understood; names the place in it."""
