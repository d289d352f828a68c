"""The report's sections that explain its scores: parts of the queries, cosines, dimensions, what moved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape

from firth.evaluate import drawings
from firth.evaluate.figures import spoken
from firth.evaluate.markup import Drawings, figure, interval, p_value, section, signed, table
from firth.evaluate.records import BuildReport, Histogram
from firth.evaluate.statistics import holm

MOVED = 12  # documents in the table of those that moved farthest

Draw = Callable[[int], str]  # pixels -> SVG


def figures_of(report: BuildReport) -> dict[str, tuple[Draw, bool]]:
    """Name -> how it is drawn, and whether it takes half of the page's width."""
    wanted: dict[str, tuple[Draw, bool]] = {}
    if report.slices:
        wanted["heat"] = partial(drawings.heat, report), False
        wanted["dumbbell"] = partial(drawings.dumbbell, report), False
    for place, (_, found) in enumerate(_by_model(report).items()):
        wanted[f"spread{place}"] = partial(drawings.spread, found), len(_by_model(report)) > 1
    if report.widths:
        chosen = None if report.chosen is None else report.chosen.dims
        wanted["truncation"] = partial(drawings.truncation, report.widths, report.measure, chosen), False
    if report.atlas is not None:
        wanted["plane"] = partial(drawings.plane, report.atlas, (report.base_model, report.tuned_model)), False
    return wanted


def parts(report: BuildReport, drawn: Drawings) -> str:
    """Which queries it serves, and which not."""
    if not report.slices:
        return ""
    name, ships = report.measure, report.tuned_model if report.tuned is not None else report.base_model
    corrected = holm(
        {f"{i}": part.paired[name].p for i, part in enumerate(report.slices) if part.paired and name in part.paired}
    )
    rows = []
    for i, part in enumerate(report.slices):
        cells = [escape(part.kind), escape(part.name), f"{part.base[name].n:,}", interval(part.base.get(name))]
        if part.tuned is not None and part.paired is not None:
            p = part.paired[name]
            cells += [interval(part.tuned.get(name)), signed(p.delta), p_value(corrected[f"{i}"]), f"{p.visible:.3f}"]
        rows.append(cells)
    head = ["sliced by", "slice", "n", escape(report.base_model)]
    head += [escape(report.tuned_model), "change", "p, Holm", "visible"] if report.tuned is not None else []
    heat = (
        f"{escape(ships)}, slice by slice: the colour says how far a score is from the same measure over all queries. "
        "Slices of fewer than five queries are left out; a slice of thirty has an interval about a third wide."
    )
    both = ", before and after tuning" if report.tuned is not None else ""
    bars = f"{spoken(name)} of each slice with its 95 % interval{both}."
    how = (
        '<p class="how">p is corrected for the number of slices. <b>visible</b>: the smallest change that a slice of '
        "this size shows four times in five.</p>"
        if corrected
        else ""
    )
    return section(
        "Which queries does it serve?",
        figure("heat", drawn, heat),
        figure("dumbbell", drawn, bars),
        f'<details class="more"{"" if drawn else " open"}><summary>All {len(rows)} slices</summary>'
        + table(head, rows, right=range(2, len(head))) + "</details>",
        how,
    )  # fmt: skip


def distances(report: BuildReport, drawn: Drawings) -> str:
    """How far answers stand apart from what looks like one."""
    groups = _by_model(report)
    if not groups:
        return ""
    words = {"answer": "answers", "hard": "nearest wrong ones", "random": "random documents"}
    rows = [
        [escape(each.model), words[each.kind], f"{each.n:,}", "" if each.mean is None else f"{each.mean:.3f}"]
        for found in groups.values()
        for each in found
    ]
    caption = (
        "Cosines of test queries with their answers, with the five nearest documents that are not judged relevant, and "
        "with random ones; each spread is a share of its own pairs, the triangle is its mean."
    )
    shown = [
        figure(f"spread{place}", drawn, f"<b>{escape(model)}.</b> {'The same, in its space.' if place else caption}")
        for place, model in enumerate(groups)
    ]
    body = f'<div class="pair">{"".join(shown)}</div>' if len(shown) > 1 else "".join(shown)
    how = (
        '<p class="how">The further the answers stand to the right of the nearest wrong ones, the surer the first '
        "place. Where the two lie over one another, a re-ranker or harder negatives help; some of the nearest wrong "
        "ones may be right and not judged.</p>"
    )
    return section(
        "How far are answers from the rest?", body, table(["model", "pairs", "n", "mean"], rows, right=(2, 3)), how
    )


def dimensions(report: BuildReport, drawn: Drawings) -> str:
    """What fewer dimensions cost."""
    if not report.widths:
        return ""
    models = list(dict.fromkeys(each.model for each in report.widths))
    rows = []
    for dims in sorted({each.dims for each in report.widths}):
        scores = {each.model: each.score for each in report.widths if each.dims == dims}
        rows.append([str(dims), f"{4 * dims:,}", *(interval(scores.get(model)) for model in models)])
    caption = (
        f"{spoken(report.measure)} on the test set when only the first dimensions are kept and brought back to length "
        "one, by exact search; bands are 95 % intervals."
    )
    head = ["dimensions", "bytes as float32", *map(escape, models)]
    return section(
        "What do fewer dimensions cost?",
        figure("truncation", drawn, caption),
        table(head, rows, right=range(len(head))),
    )


def moved(report: BuildReport, drawn: Drawings) -> str:
    """Where the documents lay before and lie now."""
    if report.atlas is None:
        return ""
    dots = sorted(report.atlas.dots, key=lambda dot: -dot.moved)
    kept = sum(dot.kept for dot in dots) / max(1, len(dots))
    middle = dots[len(dots) // 2].moved if dots else 0.0
    caption = (
        f"{len(dots):,} documents under both models. The base model's vectors were turned to lie as near as they can "
        "to the tuned ones (Procrustes), so that what still differs was moved by tuning; lines join the "
        f"{drawings.ARROWS} that moved farthest. The plane shows {100 * report.atlas.shown:.0f} % of the variance: "
        "near in the plane need not be near."
    )
    told = (
        f"<p>Half of the documents moved less than {middle:.3f} (1 − cosine); on average a document keeps "
        f"{100 * kept:.0f} % of its {report.atlas.k} nearest neighbours among those drawn.</p>"
    )
    rows = [[escape(dot.id), escape(dot.title), f"{dot.moved:.3f}", f"{100 * dot.kept:.0f} %"] for dot in dots[:MOVED]]
    head = ["document", "", "moved", "neighbours kept"]
    return section("What did tuning move?", told, figure("plane", drawn, caption), table(head, rows, right=(2, 3)))


def _by_model(report: BuildReport) -> dict[str, list[Histogram]]:
    found: dict[str, list[Histogram]] = {}
    for each in report.similarities:
        found.setdefault(each.model, []).append(each)
    return found
