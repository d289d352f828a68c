"""The report's figures as SVG: small, still, themed by style sheet, readable without a network or a script.

Quality, speed and cost of a build, and its training; `drawings` has what explains them, `ink` how all are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from firth.evaluate.ink import (
    COLOURS,
    NARROW,
    SERIES,
    altair_here,
    by_series,
    by_shape,
    drawn,
    floor,
    legend,
    round_steps,
    scale,
    ticks,
)  # fmt: skip
from firth.evaluate.records import BuildReport, Point, Training

_SPOKEN = {
    "ndcg": "nDCG", "recall": "Recall", "precision": "Precision", "mrr": "MRR", "map": "MAP", "hit": "Hit rate",
}  # fmt: skip

RECALL_SHOWN = 0.15  # how far below the recall asked for, or reached, curves are drawn; the table has all points


def scores(report: BuildReport, width: int) -> str:
    """Each measure before and after tuning with its interval: is it better, and is that sure?"""
    alt = altair_here()
    systems = [(report.base_model, report.base, "base")]
    if report.tuned is not None:
        systems.append((report.tuned_model, report.tuned, "tuned"))
    rows: list[dict[str, Any]] = [
        {
            "measure": spoken(name),
            "system": label,
            "value": interval.value,
            "low": interval.low,
            "high": interval.high,
            "shown": f"{interval.value:.3f}",
            "tip": f"{label}, {spoken(name)}: {interval.value:.4f}, "
            f"95 % interval {interval.low:.4f} to {interval.high:.4f}, n = {interval.n:,}",
        }
        for label, intervals, _ in systems
        for name, interval in intervals.items()
    ]
    labels = [label for label, *_ in systems]
    colour = scale(alt, labels, [COLOURS[name][0] for *_, name in systems])
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y(
            "measure:N",
            sort=[spoken(name) for name in report.base],
            title=None,
            axis=alt.Axis(labelFontSize=13, labelLimit=160),
        ),
        yOffset=alt.YOffset("system:N", sort=labels, scale=alt.Scale(paddingInner=0.1)),
        color=alt.Color("system:N", scale=colour, legend=legend(alt, width)),
    )
    bars = base.mark_rule(strokeWidth=2.5, opacity=0.85).encode(
        x=alt.X(
            "low:Q", title="mean over queries, with 95 % interval", axis=alt.Axis(tickCount=ticks(width)),
            scale=alt.Scale(domain=[floor(min(row["low"] for row in rows)), 1.0], nice=False),
        ),
        x2="high:Q",
    )  # fmt: skip
    shapes = alt.Scale(domain=labels, range=["circle", "diamond"][: len(labels)])
    points = base.mark_point(size=95, filled=True, opacity=1).encode(
        x="value:Q", shape=alt.Shape("system:N", scale=shapes, legend=legend(alt, width)), description="tip:N"
    )
    text = base.mark_text(align="left", dx=9, fontSize=12).encode(
        x="high:Q", text="shown:N", color=alt.value(COLOURS["ink"][0])
    )
    return drawn(alt.layer(bars, points, text), width, height=len(report.base) * (46 if len(systems) > 1 else 30))


def speed(report: BuildReport, width: int) -> str:
    """Recall against queries a second, one curve a configuration, the chosen point ringed."""
    alt = altair_here()
    best = max(point.recall for point in report.points)
    least = min(report.target_recall or 1.0, best) - RECALL_SHOWN
    near = [point for point in report.points if point.recall >= least]
    names = _names(near)
    series = _leading(near, report.chosen)
    rows = [
        {**_row(point, report), "curve": point.name, "series": names[point.name] if point.name in series else "others"}
        for point in near
    ]
    shown = [*dict.fromkeys(names[name] for name in series)]
    shown += ["others"] if len(series) < len(names) else []
    x = alt.X(
        "recall:Q", title=f"recall@{report.recall_k} against exact search of the full float32 vectors",
        axis=alt.Axis(tickCount=ticks(width)),
        scale=alt.Scale(domain=[floor(min(row["recall"] for row in rows)), 1.0], nice=False),
    )  # fmt: skip
    y = alt.Y(
        "qps:Q", title="queries a second (log)", scale=alt.Scale(type="log", nice=False, padding=18),
        axis=alt.Axis(format=",", values=round_steps([row["qps"] for row in rows])),
    )  # fmt: skip
    chart = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    colour = alt.Color("series:N", scale=by_series(alt, shown), legend=legend(alt, width))
    shape = alt.Shape("series:N", scale=by_shape(alt, shown), legend=legend(alt, width))
    lines = chart.mark_line(strokeWidth=2, opacity=0.8).encode(color=colour, detail="curve:N", order="recall:Q")
    points = chart.mark_point(size=60, filled=True, opacity=1).encode(color=colour, shape=shape, description="tip:N")
    layers = [*_target(alt, report, x), lines, points, *_ring(alt, report, x, y)]
    return drawn(alt.layer(*layers), width, height=360 if width > NARROW else 260)


def cost(report: BuildReport, width: int) -> str:
    """Quality on the test set against bytes a vector: the best point of each size and codec, and the frontier."""
    alt = altair_here()
    rows = [_row(point, report) for point in best_by_storage(report.points)]
    low, high = min(row["score"] for row in rows), max(row["score"] for row in rows)
    room = max(0.01, 0.12 * (high - low))
    x = alt.X(
        "bytes:Q", title="bytes a vector, graph and keys included (log)",
        scale=alt.Scale(type="log", nice=False, padding=36),
        axis=alt.Axis(format=",", values=round_steps([row["bytes"] for row in rows])),
    )  # fmt: skip
    y = alt.Y(
        "score:Q",
        title=f"{spoken(report.measure)} on the test set",
        scale=alt.Scale(domain=[low - room, high + room], nice=False),
    )
    chart = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    frontier = alt.Chart(alt.Data(values=_frontier(rows))).encode(x=x, y=y)
    line = frontier.mark_line(interpolate="step-after", strokeDash=[4, 3], color=COLOURS["muted"][0], strokeWidth=1.5)
    codecs = sorted({row["codec"] for row in rows})
    points = chart.mark_point(size=90, filled=True, opacity=1).encode(
        color=alt.Color("codec:N", scale=by_series(alt, codecs), legend=legend(alt, width)),
        shape=alt.Shape("codec:N", scale=by_shape(alt, codecs), legend=legend(alt, width)),
        description="tip:N",
    )
    text = chart.mark_text(dy=-13, fontSize=11, color=COLOURS["ink"][0]).encode(text="dims:N")
    layers = [line, points, text, *_ring(alt, report, x, y)]
    return drawn(alt.layer(*layers), width, height=320 if width > NARROW else 240)


def stages(report: BuildReport, width: int) -> str:
    """Recall after each step from exact search to what is returned, with what the step cost."""
    alt = altair_here()
    rows: list[dict[str, Any]] = [
        {
            "stage": stage.name,
            "value": stage.recall.value,
            "low": stage.recall.low,
            "high": stage.recall.high,
            "before": stage.recall.value - (0.0 if stage.step is None else stage.step.delta),
            "shown": f"{stage.recall.value:.3f}" + ("" if stage.step is None else f" ({stage.step.delta:+.3f})"),
            "tip": f"{stage.name}: recall@{report.recall_k} {stage.recall.value:.4f}, 95 % interval "
            f"{stage.recall.low:.4f} to {stage.recall.high:.4f}, n = {stage.recall.n:,}",
        }
        for stage in report.stages
    ]
    for row in rows:
        row["left"] = min(row["low"], row["before"])
        row["kind"] = "won back" if row["value"] > row["before"] else "lost"
    x = alt.X(
        "value:Q", title=f"recall@{report.recall_k} against the first stage", axis=alt.Axis(tickCount=ticks(width)),
        scale=alt.Scale(domain=[floor(min(row["low"] for row in rows)), 1.0], nice=False),
    )  # fmt: skip
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("stage:N", sort=[row["stage"] for row in rows], title=None, axis=alt.Axis(labelFontSize=13))
    )
    kinds = scale(alt, ["lost", "won back"], [COLOURS["s2"][0], COLOURS["s3"][0]])
    lost = base.mark_bar(height=12, opacity=0.55).encode(
        x=x, x2="before:Q", color=alt.Color("kind:N", scale=kinds, legend=legend(alt, width))
    )
    whiskers = base.mark_rule(strokeWidth=2, color=COLOURS["tuned"][0]).encode(x=alt.X("low:Q"), x2="high:Q")
    dots = base.mark_point(size=80, filled=True, opacity=1, color=COLOURS["tuned"][0]).encode(x=x, description="tip:N")
    text = base.mark_text(align="right", dx=-9, fontSize=12, color=COLOURS["ink"][0]).encode(x="left:Q", text="shown:N")
    return drawn(alt.layer(lost, whiskers, dots, text), width, height=36 * len(rows))


def loss(learnt: Training, width: int) -> str:
    """How the training loss fell."""
    alt = altair_here()
    rows = [{"step": step.step, "loss": step.loss} for step in learnt.steps]
    line = alt.Chart(alt.Data(values=rows)).mark_line(color=COLOURS["tuned"][0], strokeWidth=2)
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickCount=5), scale=alt.Scale(nice=False))
    y = alt.Y("loss:Q", title="training loss", scale=alt.Scale(zero=False))
    return drawn(line.encode(x=x, y=y), width, height=220)


def dev(learnt: Training, width: int) -> str:
    """What the dev part said after each epoch."""
    alt = altair_here()
    rows = [
        {
            "epoch": epoch.epoch,
            "score": epoch.score,
            "shown": f"{epoch.score:.3f}" + (" kept" if epoch.epoch == learnt.best else ""),
            "tip": f"epoch {epoch.epoch}: {spoken(learnt.measure)} {epoch.score:.4f} on the dev part",
        }
        for epoch in learnt.epochs
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("epoch:O", title="epoch (0 = as it came)", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("score:Q", title=f"{spoken(learnt.measure)} on the dev part", scale=alt.Scale(zero=False, padding=26)),
    )
    line = base.mark_line(color=COLOURS["tuned"][0], strokeWidth=2)
    dots = base.mark_point(size=70, filled=True, opacity=1, color=COLOURS["tuned"][0]).encode(description="tip:N")
    text = base.mark_text(dy=-13, fontSize=12, color=COLOURS["ink"][0]).encode(text="shown:N")
    return drawn(alt.layer(line, dots, text), width, height=220)


def spoken(measure: str) -> str:
    """A measure as papers write it: "ndcg@10" is "nDCG@10"."""
    kind, at, k = measure.partition("@")
    return _SPOKEN.get(kind, kind) + at + k


def best_by_storage(points: Sequence[Point]) -> list[Point]:
    """Of each (dims, codec) with a measured score, the point with the best one; fewest bytes first."""
    best: dict[tuple[int, str], Point] = {}
    for point in points:
        if point.score is not None:
            held = best.get(point.storage)
            if held is None or held.score is None or point.score > held.score:
                best[point.storage] = point
    return sorted(best.values(), key=lambda point: point.bytes_per_vector)


def _row(point: Point, report: BuildReport) -> dict[str, Any]:
    settings = " ".join(f"{key}={value}" for key, value in point.settings.items())
    score = "" if point.score is None else f", {spoken(report.measure)} {point.score:.4f}"
    late = "" if point.milliseconds is None else f" (95 % within {point.milliseconds:.3g} ms)"
    return {
        "name": point.name,
        "dims": str(point.dims),
        "codec": point.codec,
        "recall": point.recall,
        "qps": point.queries_per_second,
        "bytes": point.bytes_per_vector,
        "score": point.score,
        "tip": f"{point.dims} dims, {point.codec}, {point.index} {settings}: recall {point.recall:.4f}, "
        f"{point.queries_per_second:,.0f} queries/s{late}, {point.bytes_per_vector:,.0f} bytes a vector{score}",
    }


def _leading(points: Sequence[Point], chosen: Point | None) -> list[str]:
    """The curves that get a colour: the chosen one, then those that are fastest at their best recall."""
    best: dict[str, tuple[float, float]] = {}
    for point in points:
        reached = (round(point.recall, 3), point.queries_per_second)
        best[point.name] = max(best.get(point.name, reached), reached)
    order = sorted(best, key=lambda name: (chosen is None or name != chosen.name, *(-value for value in best[name])))
    return order[: len(SERIES)]


def _names(points: Sequence[Point]) -> dict[str, str]:
    """Curve -> what sets it apart in the legend: settings that all share are left out."""
    kinds = {point.index for point in points}
    common = {
        kind: set.intersection(*(set(point.settings.items()) for point in points if point.index == kind))
        for kind in kinds
    }
    names = {}
    for point in points:
        own = [
            f"{key}={value}"
            for key, value in point.settings.items()
            if key != "ef" and (key, value) not in common[point.index]
        ]
        kind = [point.index] if len(kinds) > 1 else []
        names[point.name] = ", ".join([f"{point.dims} dims", point.codec, *kind, *own])
    return names


def _frontier(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows that no cheaper row beats, cheapest first."""
    kept: list[Mapping[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["bytes"], -row["score"])):
        if not kept or row["score"] > kept[-1]["score"]:
            kept.append(row)
    return kept


def _ring(alt: Any, report: BuildReport, x: Any, y: Any) -> list[Any]:
    """A ring and the word "chosen" about the chosen point, where it is among those drawn."""
    if report.chosen is None or (report.chosen.score is None and "score" in str(y.to_dict())):
        return []
    chart = alt.Chart(alt.Data(values=[_row(report.chosen, report)])).encode(x=x, y=y)
    ring = chart.mark_point(size=330, shape="circle", filled=False, strokeWidth=2.2, color=COLOURS["ink"][0], opacity=1)
    words: dict[str, Any] = {
        "text": "chosen",
        "dx": -14,
        "dy": 16,
        "align": "right",
        "fontWeight": "bold",
        "fontSize": 12,
    }
    halo = chart.mark_text(**words, stroke=COLOURS["paper"][0], strokeWidth=4, color=COLOURS["paper"][0])
    return [ring.encode(description="tip:N"), halo, chart.mark_text(**words, color=COLOURS["ink"][0])]


def _target(alt: Any, report: BuildReport, x: Any) -> list[Any]:
    if report.target_recall is None:
        return []
    chart = alt.Chart(alt.Data(values=[{"recall": report.target_recall}])).encode(x=x)
    rule = chart.mark_rule(strokeDash=[5, 4], color=COLOURS["muted"][0])
    words = chart.mark_text(text=f"asked for {report.target_recall:g}", align="right", dx=-6, y=10, fontSize=11,
                            color=COLOURS["muted"][0])  # fmt: skip
    return [rule, words]
