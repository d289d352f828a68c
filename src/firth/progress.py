"""Long work tells how far it is: a callback in the rooms, a live line on stderr at the doors.

Rooms take `progress: Progress = silent` and call it with rows done, rows in all (0 = not known) and a short remark.
Doors hand them `bar("encoding")`. On a terminal the bar is live; in a log file it is one line every ten seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOG_EVERY = 10.0  # seconds between two lines where stderr is not a terminal


class Progress(Protocol):
    """Told how far some work is; cheap enough to be called for every batch."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """`done` of `total` rows (0 = not known); `what` is shown beside it, for instance the loss."""


def silent(done: int, total: int, what: str = "") -> None:
    """The progress of work that nobody watches."""


@contextmanager
def bar(label: str, *, shown: bool = True) -> Iterator[Progress]:
    """A progress line on stderr under `label`, with rows a second and time left; `silent` where not shown."""
    if not shown:
        yield silent
    elif sys.stderr.isatty():
        with _live(label) as progress:
            yield progress
    else:
        yield _logged(label)


@contextmanager
def _live(label: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Live

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Live(*columns, console=Console(stderr=True), refresh_per_second=5) as live:
        task = live.add_task(label, total=None, rate="", what="")
        start = time.monotonic()

        def progress(done: int, total: int, what: str = "") -> None:
            rate = done / max(time.monotonic() - start, 1e-3)
            live.update(task, completed=done, total=total or None, rate=f"{rate:,.0f}/s", what=what)

        yield progress


def _logged(label: str) -> Progress:
    start = last = time.monotonic()

    def progress(done: int, total: int, what: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LOG_EVERY and not (done == total and total):
            return
        last = now
        rate = done / max(now - start, 1e-3)
        left = f", {(total - done) / max(rate, 1e-9):.0f} s left" if total > done else ""
        print(f"{label}: {done:,}/{total or '?'} ({rate:,.0f}/s{left}) {what}".rstrip(), file=sys.stderr, flush=True)

    return progress
