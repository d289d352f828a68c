"""`firth eval MODEL DATA --suite`: mteb's eight task types on the public sets in a folder, resumed where it stopped.

Vectors are remembered by the hash of their text (remember.py) and each score by the hash of what it was made of, so
that an interrupted suite goes on, and a second run takes seconds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firth import files
from firth.arrays import Encoder
from firth.errors import DataError, FormatError
from firth.evaluate.statistics import Interval, Score
from firth.progress import Progress, silent
from firth.recipes.remember import Remembering
from firth.recipes.stages import digest
from firth.recipes.suite_sets import Task, tasks

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 1  # of the tasks; a score of another version is made anew
KINDS = 8


@dataclass(frozen=True)
class Row:
    """One task's score and the seconds that it took when it was made."""

    task: str
    kind: str
    score: Score
    seconds: float


@dataclass(frozen=True)
class Suite:
    """All rows, and what the reader must know."""

    model: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def means(self) -> dict[str, float]:
        """Task type -> mean of the main values of its tasks."""
        kinds = dict.fromkeys(row.kind for row in self.rows)
        return {kind: _mean([row.score.value for row in self.rows if row.kind == kind]) for kind in kinds}

    def as_json(self) -> dict[str, Any]:
        """Rows with all their values, means by type."""
        rows = [{"task": row.task, "kind": row.kind, "seconds": row.seconds, **asdict(row.score)} for row in self.rows]
        return {"model": self.model, "tasks": rows, "means": self.means(), "notes": list(self.notes)}


def run(encoder: Encoder, model: str, data: Path, cache: Path, *, progress: Progress = silent) -> Suite:
    """Every task whose set is in the folder.

    Args:
        model: the name shown.
        cache: folder for vectors (one and a half kilobytes a text at 384 dimensions) and scores.

    Raises:
        DataError: no set of the suite is in `data`, or a file of one is damaged; names it.
    """
    found = list(tasks(data))
    if not found:
        raise DataError(
            "none of the suite's sets is here; expected clf/, nli/, retrieval/, sts/, bitext_tatoeba/ as "
            "docs/evaluation.md lists them", path=data,
        )  # fmt: skip
    folder = cache / encoder.fingerprint[:32]
    memory = Remembering(encoder, folder / "vectors.sqlite")
    rows = []
    for done, task in enumerate(found):
        progress(done, len(found), f"{task.kind}: {task.name}")
        rows.append(_row(task, memory, folder))
    progress(len(found), len(found))
    kinds = {row.kind for row in rows}
    notes = [] if len(kinds) == KINDS else [f"{len(kinds)} of {KINDS} task types: the other sets are not in {data}"]
    if "summarization" in kinds:
        notes.append("summarization: captions, where the same picture stands for people's scores; not SummEval")
    return Suite(model, tuple(rows), tuple(notes))


def show(suite: Suite, console: Console) -> None:
    """The table by type."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("type", "task", "measure", "score", "95 % interval", "n", "seconds"):
        table.add_column(heading)
    for row in suite.rows:
        interval = row.score.interval
        bounds = f"{interval.low:.4f} to {interval.high:.4f}"
        cells = (row.kind, row.task, row.score.main, f"{row.score.value:.4f}", bounds, f"{interval.n:,}")
        table.add_row(*cells, f"{row.seconds:.1f}")
    console.print(table)
    for kind, mean in suite.means().items():
        console.print(f"{kind:<20}{mean:.4f}", markup=False)
    for note in suite.notes:
        console.print(f"note        {note}", markup=False)


def _row(task: Task, memory: Remembering, folder: Path) -> Row:
    """The task's score, from this run or from an earlier one of the same files."""
    made_of = digest(VERSION, task.kind, task.name, [files.sha256(path) for path in task.files])
    name = hashlib.sha256(f"{task.kind} {task.name}".encode()).hexdigest()[:16]
    path = folder / "scores" / f"{name}.json"
    if path.exists():
        told = files.read_json(path)
        if isinstance(told, dict) and told.get("made of") == made_of:
            return _remembered(task, told, path)
    start = time.perf_counter()
    score = task.run(memory)
    seconds = round(time.perf_counter() - start, 3)
    files.write_json(
        path, {"made of": made_of, "task": task.name, "kind": task.kind, "seconds": seconds, **asdict(score)}
    )
    return Row(task.name, task.kind, score, seconds)


def _remembered(task: Task, told: dict[str, Any], path: Path) -> Row:
    try:
        score = Score(told["main"], dict(told["values"]), Interval(**told["interval"]))
        return Row(task.name, task.kind, score, float(told["seconds"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"not a remembered score ({error!r}); delete it", path=path) from error


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
