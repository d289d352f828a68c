"""`firth mine DATA -o pairs.jsonl`: training pairs of a domain with hard negatives, and an account of each rule."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from firth import files, kernels
from firth.errors import DataError
from firth.progress import bar
from firth.recipes.build import BASE
from firth.recipes.domain import read_domain
from firth.recipes.judged import judge
from firth.recipes.load import load
from firth.recipes.tuning import mined_for, pairs_of
from firth.sentence.mine import Mined, MineSettings

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Settings:
    """What is mined, and by which rules."""

    data: Annotated[Path, "Domain with judged training queries, or a table of pairs."]
    out: Annotated[Path, "-o", "JSONL file: anchor, positive, negative_1, negative_2, …"]
    model: Annotated[str, "Model whose mistakes are mined."] = BASE
    negatives: Annotated[int, "Kept a query."] = 4
    relative: Annotated[float, "A negative scores at most this share of the answer's score; 1 = no such rule."] = 0.95
    skip: Annotated[int, "Leave out this many of the best candidates."] = 0
    seed: Annotated[int, "Of the drawn parts and of random sampling."] = 0
    threads: Annotated[int, "0 = as many as there are cores."] = 0
    quiet: Annotated[bool, "No progress on stderr."] = False


@dataclass(frozen=True)
class Account:
    """Where the pairs lie and what each rule removed."""

    out: Path
    pairs: int
    mined: Mined

    def as_json(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "pairs": self.pairs,
            "candidates": self.mined.candidates,
            "removed": self.mined.removed,
            "short": len(self.mined.short),
            "empty": len(self.mined.empty),
            "scores": {name: list(values) for name, values in self.mined.spread.items()},
        }


def run(settings: Settings) -> Account:
    """Encode the domain, mine, write the pairs whole or not at all.

    Raises:
        DataError: no training queries; SettingsError: a rule out of range.
    """
    rules = MineSettings(
        negatives=settings.negatives, relative=settings.relative, skip=settings.skip, seed=settings.seed
    )
    threads = settings.threads or kernels.default_threads()
    with bar("reading", shown=not settings.quiet) as progress:
        work = read_domain(settings.data, seed=settings.seed, progress=progress)
    train = {**work.sets.train, **work.sets.dev}
    if not train:
        raise DataError("has no judged training queries to mine for", path=settings.data)
    encoder = load(settings.model, progress=not settings.quiet)
    with (
        tempfile.TemporaryDirectory(prefix="firth-mine-") as folder,
        bar("encoding", shown=not settings.quiet) as progress,
    ):
        judged = judge(
            encoder, work.documents, work.queries, {}, Path(folder), total=work.n, threads=threads, progress=progress
        )
        mined = mined_for(judged, train, rules, threads=threads)
        pairs = pairs_of(train, mined.negatives.ids, judged, work)
    lines = []
    for pair in pairs:
        row = {"anchor": pair.query, "positive": pair.positive}
        row |= {f"negative_{i}": text for i, text in enumerate(pair.negatives, 1)}
        lines.append(json.dumps(row, ensure_ascii=False))
    files.write_text(settings.out, "\n".join(lines) + "\n")
    return Account(settings.out, len(pairs), mined)


def show(account: Account, console: Console) -> None:
    """The account in words."""
    for line in account.mined.lines():
        console.print(line, markup=False)
    console.print(f"{account.pairs:,} pairs in {account.out}")
