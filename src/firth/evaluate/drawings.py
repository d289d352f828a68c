"""Figures that explain a build's scores: parts of the queries, spread of the cosines, fewer dimensions, what moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firth.evaluate.figures import spoken
from firth.evaluate.ink import COLOURS, NARROW, altair_here, drawn, floor, legend, scale, ticks
from firth.evaluate.records import Atlas, BuildReport, Histogram, Slice, Width
from firth.evaluate.statistics import Interval

FAR, SOME = 0.10, 0.03  # distance of a slice's score from all queries' that is dark, and pale, in the heat map
ARROWS = 20  # moved documents whose way is drawn
ROW = 30  # pixels a slice


def dumbbell(report: BuildReport, width: int) -> str:
    """Each slice's main measure before and after, joined."""
    alt = altair_here()
    name = report.measure
    whole = Slice("", "all queries", report.base, report.tuned, report.paired)
    names = [report.base_model, *([report.tuned_model] if report.tuned is not None else [])]
    rows: list[dict[str, Any]] = []
    for part in (whole, *report.slices):
        for model, scores in zip(names, (part.base, part.tuned), strict=False):
            if scores is not None and name in scores:
                rows.append(_bar(part, model, scores[name], name))
    both = [
        {"slice": _named(part), "from": part.base[name].value, "to": part.tuned[name].value}
        for part in (whole, *report.slices)
        if part.tuned is not None and name in part.tuned
    ]
    y = alt.Y(
        "slice:N", sort=[_named(whole), *map(_named, report.slices)], title=None,
        axis=alt.Axis(labelFontSize=12, labelLimit=_room(width)),
    )  # fmt: skip
    reach = alt.Scale(domain=[floor(min(row["low"] for row in rows)), 1.0], nice=False)
    axis = alt.Axis(tickCount=ticks(width))
    title = f"{spoken(name)}, with 95 % interval"
    colours = scale(alt, names, [COLOURS["base"][0], COLOURS["tuned"][0]])
    base = alt.Chart(alt.Data(values=rows)).encode(y=y)
    offset = alt.YOffset("model:N", sort=names, scale=alt.Scale(paddingInner=0.4, paddingOuter=0.4))
    bars = base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(
        x=alt.X("low:Q", scale=reach, axis=axis, title=title), x2="high:Q", yOffset=offset,
        color=alt.Color("model:N", scale=colours, legend=None),
    )  # fmt: skip
    joined = alt.Chart(alt.Data(values=both)).mark_rule(strokeWidth=4, color=COLOURS["line"][0])
    shapes = alt.Scale(domain=names, range=["circle", "diamond"][: len(names)])
    points = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=alt.X("value:Q", scale=reach, axis=axis, title=title),
        color=alt.Color("model:N", scale=colours, legend=legend(alt, width)),
        shape=alt.Shape("model:N", scale=shapes, legend=legend(alt, width)),
        description="tip:N",
    )
    layers = [bars, points]
    if both:
        layers.insert(1, joined.encode(y=y, x=alt.X("from:Q", scale=reach, axis=axis, title=title), x2="to:Q"))
    return drawn(_separate(alt.layer(*layers)), width, height=ROW * (1 + len(report.slices)))


def heat(report: BuildReport, width: int) -> str:
    """Slices by measures: the model that ships, each cell against the same measure over all queries."""
    alt = altair_here()
    whole = report.tuned or report.base
    rows = []
    for part in report.slices:
        for name, score in (part.tuned or part.base).items():
            if name in whole:
                away = score.value - whole[name].value
                told = f"{_named(part)}: {spoken(name)} {score.value:.4f}, 95 % interval {score.low:.4f} to "
                rows.append(
                    {
                        "slice": _named(part),
                        "measure": spoken(name),
                        "shown": f"{score.value:.2f}",
                        "step": _step(away),
                        "tip": f"{told}{score.high:.4f}, n = {score.n:,}; all queries {whole[name].value:.4f}",
                    }
                )
    steps = ["low2", "low1", "mid", "high1", "high2"]
    words = dict(
        zip(steps, (f"≤ −{FAR:.2f}", f"to −{SOME:.2f}", "near", f"from +{SOME:.2f}", f"≥ +{FAR:.2f}"), strict=True)
    )
    for row in rows:
        row["step"] = words[row["step"]]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "measure:N", sort=[spoken(name) for name in whole], title=None,
            axis=alt.Axis(orient="top", labelAngle=0 if width > NARROW else -60, domain=False, ticks=False),
        ),
        y=alt.Y(
            "slice:N", sort=list(map(_named, report.slices)), title=None,
            axis=alt.Axis(labelFontSize=12, labelLimit=_room(width), domain=False, ticks=False),
        ),
    )  # fmt: skip
    colours = scale(alt, [words[step] for step in steps], [COLOURS[step][0] for step in steps])
    key = alt.Legend(
        title="from all queries", orient="bottom", columns=5 if width > NARROW else 3, titleFontWeight=400,
        titleColor=COLOURS["muted"][0],
    )  # fmt: skip
    cells = base.mark_rect(stroke=COLOURS["paper"][0], strokeWidth=2).encode(
        color=alt.Color("step:N", scale=colours, legend=key), description="tip:N"
    )
    text = base.mark_text(fontSize=12, color=COLOURS["ink"][0]).encode(text="shown:N")
    return drawn(alt.layer(cells, text), width, height=28 * len(report.slices))


def spread(found: Sequence[Histogram], width: int) -> str:
    """Cosines of one model: answers, hard negatives and random documents, each as a share of its own pairs."""
    alt = altair_here()
    words = {"answer": "answers", "hard": "nearest wrong ones", "random": "random documents"}
    rows, means = [], []
    for each in found:
        step = (each.high - each.low) / len(each.counts)
        shares = [count / max(1, each.n) for count in each.counts]
        # A step is drawn from its left edge; the last one is told again at its right edge, or it would have no width.
        rows += [
            {"kind": words[each.kind], "x": each.low + i * step, "y": share}
            for i, share in enumerate([*shares, shares[-1]])
        ]
        if each.mean is not None:
            tip = f"{words[each.kind]}: mean cosine {each.mean:.4f}, n = {each.n:,} pairs"
            means.append({"kind": words[each.kind], "x": each.mean, "tip": tip})
    kinds = list(words.values())
    colours = scale(alt, kinds, [COLOURS[name][0] for name in ("s3", "s2", "base")])
    colour = alt.Color("kind:N", scale=colours, legend=legend(alt, width))
    x = alt.X("x:Q", title="cosine of query and document", axis=alt.Axis(tickCount=5), scale=alt.Scale(nice=False))
    chart = alt.Chart(alt.Data(values=rows))
    y = alt.Y("y:Q", title="share of the pairs", axis=alt.Axis(format=".0%", tickCount=4), stack=None)
    bars = chart.mark_area(opacity=0.45, interpolate="step-after").encode(x=x, y=y, color=colour)
    marks = alt.Chart(alt.Data(values=means)).mark_point(size=110, filled=True, opacity=1, shape="triangle-down")
    tops = marks.encode(x="x:Q", y=alt.value(6), color=colour, description="tip:N")
    return drawn(alt.layer(bars, tops), width, height=200)


def truncation(found: Sequence[Width], measure: str, chosen: int | None, width: int) -> str:
    """The measure against the dimensions kept, with its interval, one curve a model."""
    alt = altair_here()
    names = list(dict.fromkeys(each.model for each in found))
    rows: list[dict[str, Any]] = [
        {
            "model": each.model, "dims": each.dims, "value": each.score.value, "low": each.score.low,
            "high": each.score.high,
            "tip": f"{each.model}, {each.dims} dimensions: {spoken(measure)} {each.score.value:.4f}, 95 % interval "
            f"{each.score.low:.4f} to {each.score.high:.4f}, n = {each.score.n:,}",
        }
        for each in found
    ]  # fmt: skip
    picks = [COLOURS["base"][0], COLOURS["tuned"][0]] if len(names) > 1 else [COLOURS["tuned"][0]]
    colour = alt.Color("model:N", scale=scale(alt, names, picks), legend=legend(alt, width))
    quiet = alt.Color("model:N", scale=scale(alt, names, picks), legend=None)
    marks = sorted({each.dims for each in found})
    shown = marks if width > NARROW else marks[:: max(1, len(marks) // 4)]
    x = alt.X(
        "dims:Q", title="dimensions kept (log)", scale=alt.Scale(type="log", nice=False, padding=14),
        axis=alt.Axis(values=shown, format="d"),
    )  # fmt: skip
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    reach = alt.Scale(domain=[floor(low), min(1.0, high + 0.02)], nice=False)
    y = alt.Y("value:Q", title=spoken(measure), scale=reach)
    chart = alt.Chart(alt.Data(values=rows))
    band = chart.mark_area(opacity=0.16).encode(
        x=x, y=alt.Y("low:Q", title=spoken(measure), scale=reach), y2="high:Q", color=quiet
    )
    line = chart.mark_line(strokeWidth=2).encode(x=x, y=y, color=quiet)
    shapes = alt.Scale(domain=names, range=["circle", "diamond"][: len(names)])
    points = chart.mark_point(size=60, filled=True, opacity=1).encode(
        x=x, y=y, color=colour, shape=alt.Shape("model:N", scale=shapes, legend=legend(alt, width)), description="tip:N"
    )
    layers = [band, line, points]
    if chosen is not None:
        rule = alt.Chart(alt.Data(values=[{"dims": chosen}])).encode(x=x)
        layers += [
            rule.mark_rule(strokeDash=[5, 4], color=COLOURS["muted"][0]),
            rule.mark_text(
                text="chosen", align="right", dx=-6, y=10, fontSize=11, color=COLOURS["muted"][0]
            ),
        ]  # fmt: skip
    return drawn(_separate(alt.layer(*layers)), width, height=280 if width > NARROW else 220)


def plane(atlas: Atlas, names: tuple[str, str], width: int) -> str:
    """The documents in one plane: where they are now, and the way of those that moved farthest."""
    alt = altair_here()
    far = {dot.id for dot in sorted(atlas.dots, key=lambda dot: -dot.moved)[:ARROWS]}
    rows = [
        {
            "x": dot.after[0], "y": dot.after[1], "x0": dot.before[0], "y0": dot.before[1], "model": names[1],
            "tip": f"{dot.title or dot.id}: moved {dot.moved:.3f}, keeps {100 * dot.kept:.0f} % of its neighbours",
        }
        for dot in atlas.dots
    ]  # fmt: skip
    moved = [row for row, dot in zip(rows, atlas.dots, strict=True) if dot.id in far]
    before = [{"x": row["x0"], "y": row["y0"], "model": names[0], "tip": row["tip"]} for row in moved]
    hidden = alt.Axis(labels=False, ticks=False, domain=False, grid=False)
    x = alt.X("x:Q", title=None, axis=hidden, scale=alt.Scale(nice=False, padding=16))
    y = alt.Y("y:Q", title=None, axis=hidden, scale=alt.Scale(nice=False, padding=16))
    colours = scale(alt, list(names), [COLOURS["s2"][0], COLOURS["tuned"][0]])
    colour = alt.Color("model:N", scale=colours, legend=legend(alt, width))
    shapes = alt.Scale(domain=list(names), range=["square", "circle"])
    shape = alt.Shape("model:N", legend=legend(alt, width), scale=shapes)
    quiet = alt.Color("model:N", scale=colours, legend=None)
    silent = alt.Shape("model:N", legend=None, scale=shapes)
    all_dots = alt.Chart(alt.Data(values=rows)).mark_point(size=26, filled=True, opacity=0.45)
    ways = alt.Chart(alt.Data(values=moved)).mark_rule(strokeWidth=1.3, opacity=0.8, color=COLOURS["ink"][0])
    starts = alt.Chart(alt.Data(values=before)).mark_point(size=48, filled=True, opacity=1)
    ends = alt.Chart(alt.Data(values=moved)).mark_point(size=60, filled=True, opacity=1)
    layers = [
        all_dots.encode(x=x, y=y, color=quiet, shape=silent, description="tip:N"),
        ways.encode(x=alt.X("x0:Q"), y=alt.Y("y0:Q"), x2="x:Q", y2="y:Q"),
        starts.encode(x=x, y=y, color=quiet, shape=silent, description="tip:N"),
        ends.encode(x=x, y=y, color=colour, shape=shape, description="tip:N"),
    ]
    return drawn(_separate(alt.layer(*layers)), width, height=int(width * 0.55) if width > NARROW else width)


def _separate(chart: Any) -> Any:
    """Each layer keeps its own legend, or none: pale bands and clouds do not fade the legend of the points."""
    return chart.resolve_legend(color="independent", shape="independent")


def _room(width: int) -> int:
    """Pixels for the name of a slice."""
    return 300 if width > NARROW else 160


def _named(part: Slice) -> str:
    return f"{part.kind}: {part.name}" if part.kind else part.name


def _bar(part: Slice, model: str, score: Interval, name: str) -> dict[str, Any]:
    change = ""
    if part.paired is not None and name in part.paired:
        change = f"; change {part.paired[name].delta:+.4f}, p = {part.paired[name].p:.4f}"
    return {
        "slice": _named(part), "model": model, "value": score.value, "low": score.low, "high": score.high,
        "tip": f"{_named(part)}, {model}: {spoken(name)} {score.value:.4f}, 95 % interval {score.low:.4f} to "
        f"{score.high:.4f}, n = {score.n:,}{change}",
    }  # fmt: skip


def _step(away: float) -> str:
    if abs(away) < SOME:
        return "mid"
    side = "low" if away < 0 else "high"
    return side + ("2" if abs(away) >= FAR else "1")
