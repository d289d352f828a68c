"""The report as one HTML page: no network, no library, light and dark, every text from outside escaped.

The page's only script is our own and is named by its hash in the content security policy, so that a document's text
could not run even if it got through the escaping. Without that script everything can still be read.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from firth.errors import MissingExtraError
from firth.evaluate import figures, sections
from firth.evaluate.figures import spoken
from firth.evaluate.ink import COLOURS, FONT
from firth.evaluate.markup import Drawings, figure, interval, p_told, p_value, pairs, section, signed, table
from firth.evaluate.records import BuildReport, Flip, Shown
from firth.evaluate.statistics import holm

WIDE, HALF, NARROW = 952, 462, 340  # pixels: the page's column, half of it, a telephone
ALPHA = 0.05  # below this p-value the verdict says raised or lowered, above it that chance may explain it


def page(report: BuildReport) -> str:
    """The whole document. Without Altair it has no figures and says which command adds them."""
    drawings: Drawings = {}
    missing = ""
    try:
        drawings = _drawings(report)
    except MissingExtraError as error:
        missing = f"The figures are not drawn: {error}"
    told = [
        _head(report, missing),
        _better(report, drawings),
        sections.parts(report, drawings),
        _size(report, drawings),
        sections.dimensions(report, drawings),
        _lost(report, drawings),
        sections.distances(report, drawings),
        _changed(report),
        sections.moved(report, drawings),
        _trained(report, drawings),
        _facts(report),
    ]
    style = _palette() + _beside("page.css")
    script = _beside("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src 'sha256-{digest}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(report.title)}: firth report</title>
<style>{style}</style>
</head>
<body>
<main>
{"".join(told)}
</main>
<script>{script}</script>
</body>
</html>
"""


def _drawings(report: BuildReport) -> dict[str, str]:
    """Name -> a figure drawn twice, for the page's column and for a telephone; the style sheet shows one."""
    learnt = report.training
    wanted: dict[str, tuple[Callable[[int], str], int]] = {}
    if report.base:
        wanted["scores"] = (lambda width: figures.scores(report, width), WIDE)
    if report.points:
        wanted["recall"] = (lambda width: figures.speed(report, width), WIDE)
    if len(figures.best_by_storage(report.points)) > 1:
        wanted["cost"] = (lambda width: figures.cost(report, width), WIDE)
    if report.stages:
        wanted["stages"] = (lambda width: figures.stages(report, width), WIDE)
    if learnt is not None and learnt.steps:
        wanted["loss"] = (lambda width: figures.loss(learnt, width), HALF)
    if learnt is not None and learnt.epochs:
        wanted["dev"] = (lambda width: figures.dev(learnt, width), HALF)
    for name, (draw, half) in sections.figures_of(report).items():
        wanted[name] = draw, HALF if half else WIDE
    return {
        name: f'<div class="wide">{draw(width)}</div><div class="narrow">{draw(NARROW)}</div>'
        for name, (draw, width) in wanted.items()
    }


def _head(report: BuildReport, missing: str) -> str:
    when = f" · {escape(report.created)}" if report.created else ""
    command = f'<p class="kind"><code>{escape(report.command)}</code></p>' if report.command else ""
    verdicts = [line for line in (_quality_verdict(report), _size_verdict(report)) if line]
    notes = [*report.notes, *([missing] if missing else [])]
    return f"""<header>
<p class="kind">firth build report{when}</p>
<h1>{escape(report.title)}</h1>
{command}{"".join(f'<p class="verdict">{line}</p>' for line in verdicts)}
<dl class="tiles">{"".join(_tiles(report))}</dl>
{"".join(f'<p class="note">{escape(note)}</p>' for note in notes)}
</header>
"""


def _quality_verdict(report: BuildReport) -> str:
    name, before = spoken(report.measure), report.base.get(report.measure)
    if before is None:
        return ""
    if report.tuned is None or report.paired is None or report.measure not in report.paired:
        reached = f"<b>{escape(report.base_model)}</b> reaches {name} <b>{before.value:.3f}</b>"
        return f"{reached} on {before.n:,} test queries, 95 % interval {before.low:.3f} to {before.high:.3f}."
    paired, after = report.paired[report.measure], report.tuned[report.measure]
    moved = f"{name} from {before.value:.3f} to <b>{after.value:.3f}</b>"
    if paired.p >= ALPHA:
        return (
            f"Tuning changed {moved} ({signed(paired.delta)}), which {paired.n:,} queries cannot tell from chance "
            f"({p_told(paired.p)}); a change of {paired.visible:.3f} would be seen four times in five."
        )
    return (
        f"Tuning {'raised' if paired.delta > 0 else 'lowered'} {moved}: <b>{signed(paired.delta)}</b>, 95 % interval "
        f"{signed(paired.low)} to {signed(paired.high)}, {p_told(paired.p)} over {paired.n:,} queries."
    )


def _size_verdict(report: BuildReport) -> str:
    if report.chosen is None:
        return ""
    point, asked = report.chosen, ""
    if report.target_recall is not None:
        met = "meets" if point.recall >= report.target_recall else "misses"
        asked = f", which {met} the {report.target_recall:g} that was asked for"
    settings = ", ".join(f"{escape(key)}={value}" for key, value in point.settings.items())
    return (
        f"Chosen: <b>{point.dims} dimensions, {escape(point.codec)}, {escape(point.index)}</b>"
        f"{f' ({settings})' if settings else ''}. It returns {100 * point.recall:.1f} % of the exact "
        f"neighbours{asked}, at <b>{point.queries_per_second:,.0f}</b> queries a second on {_threads(report)} and "
        f"<b>{point.bytes_per_vector:,.0f} bytes</b> a vector."
    )


def _tiles(report: BuildReport) -> Iterable[str]:
    before = report.base.get(report.measure)
    if before is not None:
        after = None if report.tuned is None else report.tuned.get(report.measure)
        was = "" if after is None else f'<span class="was">{before.value:.3f} →</span> '
        now = after or before
        yield _tile(
            spoken(report.measure), f"{was}{now.value:.3f}", f"95 %: {now.low:.3f} to {now.high:.3f}, n = {now.n:,}"
        )
    if report.chosen is not None:
        point = report.chosen
        yield _tile(f"Recall@{report.recall_k} of the index", f"{point.recall:.3f}", "of the exact float32 neighbours")
        yield _tile("Queries a second", f"{point.queries_per_second:,.0f}", f"on {_threads(report)}")
        full = 4 * max((p.dims for p in report.points), default=point.dims)
        ratio = full / point.bytes_per_vector
        told = f"{ratio:.1f}x smaller than the float32 alone" if ratio > 1 else "graph and keys included"
        yield _tile(
            "Bytes a vector", f"{point.bytes_per_vector:,.0f}", f"{told} ({full:,} bytes)" if ratio > 1 else told
        )


def _tile(name: str, value: str, remark: str) -> str:
    small = f"<dd><small>{escape(remark)}</small></dd>"
    return f'<div class="tile"><dt>{escape(name)}</dt><dd class="big">{value}</dd>{small}</div>'


_INTERVAL = "An interval holds the true mean nineteen times in twenty, were the queries drawn again."
_PAIRED = (
    "<b>change</b>: mean of each query's difference, with its own interval; both models answer the same queries, so it "
    "is narrower than the whiskers suggest. <b>p</b>: share of random sign flips of those differences that move the "
    "mean as far. <b>p, Holm</b>: the same, corrected for the number of measures. <b>visible</b>: the smallest change "
    "that this many queries show four times in five."
)


def _better(report: BuildReport, drawings: Drawings) -> str:
    if not report.base:
        return ""
    rows, paired, tuned = [], report.paired or {}, report.tuned or {}
    corrected = holm({name: comparison.p for name, comparison in paired.items()})
    for name, before in report.base.items():
        cells = [escape(spoken(name)), interval(before)]
        if report.tuned is not None:
            cells.append(interval(tuned.get(name)))
        if name in paired:
            p = paired[name]
            change = f"{signed(p.delta)} <small>{signed(p.low)} to {signed(p.high)}</small>"
            cells += [change, p_value(p.p), p_value(corrected[name]), f"{p.visible:.3f}"]
        rows.append(cells)
    head = ["measure", escape(report.base_model)] + ([escape(report.tuned_model)] if report.tuned is not None else [])
    head += ["change", "p", "p, Holm", "visible"] if paired else []
    n = next(iter(report.base.values())).n
    caption = (
        f"Mean over {n:,} test queries; whiskers are 95 % bootstrap intervals of the mean (queries drawn with "
        f"replacement, seed {report.seed}). Scores as trec_eval counts them, ties by document id."
    )
    return section(
        "Is it better?" if report.tuned is not None else "How good is it?",
        figure("scores", drawings, caption),
        table(head, rows, right=range(1, len(head))),
        f'<p class="how">{_PAIRED if paired else _INTERVAL}</p>',
    )


def _size(report: BuildReport, drawings: Drawings) -> str:
    if not report.points:
        return ""
    line = f" The dashed line is the recall asked for, {report.target_recall:g}." if report.target_recall else ""
    speed = (
        f"Up and right is better. Each curve is one index, each point one value of ef.{line} Recall is the share of "
        f"the {report.recall_k} exact neighbours on the full float32 vectors that is returned; speed is measured on "
        f"{_threads(report)}. The table has the latency: milliseconds that 95 of 100 queries stay below, asked alone."
    )
    cost = (
        f"Up and left is better. The best {spoken(report.measure)} on the test set of each number of dimensions "
        "(beside the point) and codec; the dashed line joins those that nothing cheaper beats."
    )
    summary = f"<summary>All {len(report.points)} measured configurations</summary>"
    return section(
        "Which size, codec and index?",
        figure("recall", drawings, speed),
        figure("cost", drawings, cost),
        f'<details class="more"{"" if drawings else " open"}>{summary}{_points(report)}</details>',
    )


def _points(report: BuildReport) -> str:
    head = [
        "dims",
        "codec",
        "index",
        f"recall@{report.recall_k}",
        "queries/s",
        "95 %, ms",
        "bytes",
        spoken(report.measure),
    ]
    order = sorted(report.points, key=lambda p: (-p.dims, p.codec, p.index, p.recall))
    rows = [
        [
            str(point.dims),
            escape(point.codec),
            escape(" ".join([point.index, *(f"{key}={value}" for key, value in point.settings.items())])),
            f"{point.recall:.4f}",
            f"{point.queries_per_second:,.0f}",
            "" if point.milliseconds is None else f"{point.milliseconds:.3g}",
            f"{point.bytes_per_vector:,.0f}",
            "" if point.score is None else f"{point.score:.4f}",
        ]
        for point in order
    ]
    return table(
        head, rows, right=(0, 3, 4, 5, 6, 7), marked=[i for i, point in enumerate(order) if point == report.chosen]
    )


def _lost(report: BuildReport, drawings: Drawings) -> str:
    if not report.stages:
        return ""
    filtered = any("filter" in stage.name for stage in report.stages)
    among = " The filter's is held against exact search among the documents that pass it." if filtered else ""
    caption = (
        f"From exact search to what is returned. Each point is the share of the {report.recall_k} neighbours of the "
        f"first stage that are still there, with its 95 % interval; the bar is what this step lost, or won back.{among}"
    )
    rows = [
        [
            escape(stage.name),
            interval(stage.recall),
            "" if stage.step is None else signed(stage.step.delta),
            "" if stage.step is None else p_value(stage.step.p),
            interval(stage.score),
            "" if stage.score_step is None else signed(stage.score_step.delta),
        ]
        for stage in report.stages
    ]
    head = ["after", f"recall@{report.recall_k}", "step", "p", spoken(report.measure), "step"]
    return section(
        "Where did the recall go?", figure("stages", drawings, caption), table(head, rows, right=range(1, 6))
    )


def _changed(report: BuildReport) -> str:
    if not report.flips:
        return ""
    intro = (
        f"<p>The queries whose {escape(spoken(report.measure))} changed most, with what each model ranked first. "
        "Relevant documents further down follow with their rank.</p>"
    )
    shown = [_flip(flip, report, opened=i == 0) for i, flip in enumerate(report.flips)]
    return section("Which queries changed?", intro, *shown)


def _flip(flip: Flip, report: BuildReport, *, opened: bool) -> str:
    change = flip.after - flip.before
    sides = [(report.base_model, flip.before, flip.base), (report.tuned_model, flip.after, flip.tuned)]
    rankings = "".join(
        f'<div><h4>{escape(name)} · {score:.3f}</h4><ol class="ranking">{"".join(map(_shown, ranking))}</ol></div>'
        for name, score, ranking in sides
    )
    summary = (
        f'<span class="{"up" if change > 0 else "down"}">{"▲" if change > 0 else "▼"} {signed(change)}</span>'
        f'<span class="q">{escape(flip.query)}</span><span class="d">{flip.before:.2f} → {flip.after:.2f}</span>'
    )
    state = " open" if opened else ""
    return f'<details class="flip"{state}><summary>{summary}</summary><div class="two">{rankings}</div></details>'


def _shown(document: Shown) -> str:
    relevant = document.grade is not None and document.grade > 0
    badge = ""
    if relevant:
        badge = f'<span class="badge">relevant{"" if document.grade == 1 else f", grade {document.grade:g}"}</span>'
    elif document.grade is not None:
        badge = '<span class="badge zero">judged not relevant</span>'
    rank = "–" if document.rank is None else str(document.rank)
    name = escape(document.title) or escape(document.id)
    id_ = f'<span class="id">{escape(document.id)}</span>' if document.title else ""
    shown = f'<span class="name">{name}</span>{id_}{badge}<p>{escape(document.snippet)}</p>'
    return f'<li{" class=relevant" if relevant else ""}><span class="rank">{rank}</span><div>{shown}</div></li>'


def _trained(report: BuildReport, drawings: Drawings) -> str:
    learnt = report.training
    parts = []
    if learnt is not None:
        kept = "" if learnt.best is None else f" Epoch {learnt.best} was kept."
        loss = figure("loss", drawings, "Mean loss since the point before.")
        dev = figure("dev", drawings, f"Held-out train queries, none of them in the test set.{kept}")
        parts.append(f'<div class="pair">{loss}{dev}</div>')
    if report.mining:
        parts.append("<h3>Hard negatives</h3>" + pairs(report.mining))
    return section("How was it trained?", *parts) if parts else ""


def _facts(report: BuildReport) -> str:
    parts = []
    if report.truncation:
        rows = [
            [
                escape(what),
                f"{cut.texts:,}",
                f"{cut.cut:,} <small>{100 * cut.cut / max(cut.texts, 1):.1f} %</small>",
                f"{cut.tokens:,}",
            ]
            for what, cut in report.truncation.items()
        ]
        parts.append("<h3>Cut off by the model's maximum length</h3>")
        parts.append(table(["", "texts", "cut", "tokens lost"], rows, right=(1, 2, 3)))
    times = {stage: f"{spent:,.1f} s" for stage, spent in report.timings.items()}
    lists = [("Data", report.data), ("Time", times), ("Environment", report.environment)]
    told = [f"<div><h3>{title}</h3>{pairs(facts)}</div>" for title, facts in lists if facts]
    parts += [f'<div class="facts">{"".join(told)}</div>'] if told else []
    where = "The same numbers are in <code>report.json</code> beside this page."
    footer = f"<footer>Made by firth, seed {report.seed}. {where}</footer>"
    return (section("What went in, and where it ran", *parts) if parts else "") + footer


def _threads(report: BuildReport) -> str:
    return "one thread" if report.threads == 1 else f"{report.threads} threads"


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _palette() -> str:
    """The colours by name, and rules that repaint a drawing's light values by those names."""
    light = "".join(f"--{name}:{value};" for name, (value, _) in COLOURS.items())
    dark = "".join(f"--{name}:{value};" for name, (_, value) in COLOURS.items())
    paint = "".join(
        f'svg [fill="{value}"]{{fill:var(--{name})}}svg [stroke="{value}"]{{stroke:var(--{name})}}'
        for name, (value, _) in COLOURS.items()
    )
    screen = f"@media screen{{{paint}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return f":root{{{light}}}body{{font-family:{FONT}}}{screen}\n"
