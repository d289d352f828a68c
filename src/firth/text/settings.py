"""How inputs are read: one set of choices for every format."""

from __future__ import annotations

from dataclasses import dataclass

from firth.text.lines import MAX_LINE


@dataclass(frozen=True)
class Reading:
    """Choices that `read` takes.

    Attributes:
        max_line: bytes; a longer line is an error, since several copies of it must fit in memory.
        skip_bad: leave out records that cannot be used, and say so in `Domain.notes`, instead of stopping.
    """

    max_line: int = MAX_LINE
    skip_bad: bool = False
