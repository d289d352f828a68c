"""What a build measured, put together for the report, and its table on the terminal."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from firth import __version__, kernels
from firth.evaluate.flips import flips
from firth.evaluate.records import BuildReport, Flip
from firth.recipes.anatomy import dissect, overlaps
from firth.recipes.domain import Work
from firth.recipes.judged import Judged
from firth.recipes.sweep import Sweep
from firth.recipes.tuning import Tuned
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from rich.console import Console

    from firth.recipes.build import Settings

MAIN = "ndcg@10"
FLIPS = 8  # queries shown that gained most, and as many that lost most
RANKED = 5  # documents shown of each ranking
WORTH_SHOWING = 0.5  # seconds; shorter stages are left out of the terminal's line


def assemble(
    settings: Settings,
    work: Work,
    *,
    before: Judged,
    after: Judged | None,
    sweep: Sweep,
    tuned: Tuned,
    seconds: Mapping[str, float],
    threads: int,
) -> BuildReport:
    """All numbers of a build in the tree that the report is written from; its collection lies in `settings.out`."""
    base, now = before.scores, after.scores if after else None
    last = after or before
    name = settings.base.rstrip("/").rpartition("/")[2]
    names = (name, f"{name}, tuned")
    explained = dissect(
        work, settings.out, before=before, after=after, chosen=sweep.chosen, names=names, recall=settings.recall,
        threads=threads, seed=settings.seed,
    )  # fmt: skip
    return BuildReport(
        title=work.path.resolve().name,
        base=base.intervals(settings.seed) if base else {},
        base_model=names[0],
        tuned_model=names[1],
        tuned=now.intervals(settings.seed) if now else None,
        paired=now.against(base, settings.seed) if now and base else None,
        chosen=sweep.chosen,
        points=sweep.points,
        target_recall=settings.recall,
        measure=MAIN,
        flips=_flips(before, after, work) if now else (),
        training=tuned.training,
        mining=tuned.mining,
        truncation=last.truncation,
        data=_sizes(work, last),
        timings=dict(seconds),
        environment=environment(threads),
        notes=(*work.notes, *tuned.notes, *overlaps(work, before, after)),
        per_query=_each(last),
        seed=settings.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f"firth build {settings.data} -o {settings.out} --base {settings.base} --epochs {settings.epochs} "
        f"--recall {settings.recall} --seed {settings.seed}",
        **explained,
    )


def environment(threads: int) -> dict[str, Any]:
    """The machine and the versions behind the numbers."""
    return {
        "firth": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_level": kernels.native.level,
        "threads": threads,
    }


def show(report: BuildReport, console: Console) -> None:
    """Before and after with intervals, the choice, and what a reader must know."""
    if report.base:
        console.print(_table(report))
    if report.chosen:
        point = report.chosen
        ef = f" ef={point.settings['ef']}" if "ef" in point.settings else ""
        console.print(
            f"chosen      {point.name}{ef}: recall@{report.recall_k} {point.recall:.3f} of exact search, "
            f"{point.bytes_per_vector:,.0f} bytes a vector, {point.queries_per_second:,.0f} queries/s on one thread"
        )
    for what, cut in report.truncation.items():
        if cut.cut:
            console.print(f"cut         {cut.cut:,} of {cut.texts:,} {what}; {cut.tokens:,} tokens were not read")
    for note in report.notes:
        console.print(f"note        {note}", markup=False)
    taken = "   ".join(f"{stage} {took:.0f} s" for stage, took in report.timings.items() if took >= WORTH_SHOWING)
    if taken:
        console.print(f"time        {taken}")


def _table(report: BuildReport) -> Any:
    from rich.table import Table

    n = next(iter(report.base.values())).n
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{n:,} queries")
    table.add_column("base")
    for heading in ("tuned", "change", "p") if report.tuned else ():
        table.add_column(heading)
    for name, interval in report.base.items():
        row = [name, str(interval)]
        if report.tuned and report.paired:
            paired = report.paired[name]
            row += [str(report.tuned[name]), f"{paired.delta:+.3f}", f"{paired.p:.4f}"]
        table.add_row(*row)
    return table


def _flips(before: Judged, after: Judged | None, work: Work) -> tuple[Flip, ...]:
    if after is None:
        return ()
    named = {id_ for grades in before.judgements.values() for id_ in grades}
    for judged in (before, after):
        named |= {id_ for query in judged.judgements for id_, _ in judged.ranking.best(query, RANKED)}
    shown = TestSet(work.texts(named), work.queries, before.judgements)
    return flips(before.ranking, after.ranking, shown, name=MAIN, most=FLIPS, shown=RANKED)


def _each(judged: Judged) -> dict[str, dict[str, float]]:
    if judged.scores is None:
        return {}
    queries = judged.scores.queries
    return {name: dict(zip(queries, values.tolist(), strict=True)) for name, values in judged.scores.per_query.items()}


def _sizes(work: Work, judged: Judged) -> dict[str, int | str]:
    parts = {name: len(part) for name, part in vars(work.sets).items() if name != "notes"}
    return {
        "documents": work.n,
        **{f"{name} queries": n for name, n in parts.items()},
        "dims": int(judged.documents.vectors.shape[1]),
        "digest": work.digest[:16],
        "python": sys.version.split()[0],
    }
