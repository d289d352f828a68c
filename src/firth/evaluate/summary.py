"""A build's report in Markdown, for a pull request: the scores, the choice, where the recall went, weak slices."""

from __future__ import annotations

from collections.abc import Sequence

from firth.evaluate.figures import spoken
from firth.evaluate.records import BuildReport
from firth.evaluate.statistics import Interval, holm

WEAKEST = 3  # slices shown


def markdown(report: BuildReport) -> str:
    """The numbers of the report that decide, as GitHub renders them; texts from outside stay text."""
    parts = [f"### {_plain(report.title)}", _scores(report), _choice(report), _stages(report), _weak(report)]
    parts += [f"- {_plain(note)}" for note in report.notes]
    made = f"seed {report.seed}" + (f", `{report.command.replace('`', '')}`" if report.command else "")
    return "\n\n".join(part for part in [*parts, made] if part) + "\n"


def _scores(report: BuildReport) -> str:
    if not report.base:
        return ""
    paired, tuned = report.paired or {}, report.tuned or {}
    corrected = holm({name: comparison.p for name, comparison in paired.items()})
    head = ["measure", _plain(report.base_model)] + ([_plain(report.tuned_model), "change", "p, Holm"] if tuned else [])
    rows = []
    for name, before in report.base.items():
        row = [spoken(name), _interval(before)]
        if tuned:
            row += [
                _interval(tuned[name]) if name in tuned else "",
                f"{paired[name].delta:+.3f}" if name in paired else "",
                f"{corrected[name]:.4f}" if name in paired else "",
            ]
        rows.append(row)
    n = next(iter(report.base.values())).n
    return _table(head, rows) + f"\n\nn = {n:,} queries, 95 % bootstrap intervals, paired permutation test."


def _choice(report: BuildReport) -> str:
    if report.chosen is None:
        return ""
    point = report.chosen
    return (
        f"Chosen: **{_plain(point.name)}**: recall@{report.recall_k} {point.recall:.3f} of exact search, "
        f"{point.queries_per_second:,.0f} queries/s, {point.bytes_per_vector:,.0f} bytes a vector."
    )


def _stages(report: BuildReport) -> str:
    if len(report.stages) < 2:
        return ""
    steps = [f"{_plain(stage.name)} {stage.recall.value:.3f}" for stage in report.stages]
    return f"Where the recall went (recall@{report.recall_k}): {' → '.join(steps)}."


def _weak(report: BuildReport) -> str:
    """The slices that score lowest under the model that ships."""
    name = report.measure
    scored = [(part, (part.tuned or part.base)[name]) for part in report.slices if name in (part.tuned or part.base)]
    lowest = sorted(scored, key=lambda pair: pair[1].value)[:WEAKEST]
    rows = [[_plain(f"{part.kind}: {part.name}"), _interval(score), f"{score.n:,}"] for part, score in lowest]
    return _table(["weakest slices", spoken(name), "n"], rows) if rows else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(interval: Interval) -> str:
    return f"{interval.value:.4f} ({interval.low:.3f} to {interval.high:.3f})"


def _plain(text: str) -> str:
    """One line in which nothing is markup: what Markdown and HTML would read is escaped."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()#+!|~@" else letter for letter in line)
