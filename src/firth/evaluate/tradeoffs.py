"""What a codec or an index buys and costs, drawn: recall against bytes a vector, speed against both.

Drawings are SVG of `figures`; `write_picture` puts them into one .svg, .png or .html file, by the file's name.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firth import files
from firth.errors import SettingsError
from firth.evaluate.figures import speed
from firth.evaluate.ink import COLOURS, FONT, altair_here, by_series, by_shape, drawn, legend, round_steps
from firth.evaluate.records import BuildReport, Point

WIDTH = 860  # pixels of a drawing
SHARPNESS = 2  # pixels of a PNG for each of the drawing
KINDS = (".html", ".png", ".svg")
_SIZE = re.compile(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"')


@dataclass(frozen=True)
class Measured:
    """One codec on one set of vectors.

    Attributes:
        codec: its name; see firth.compress.named.
        bytes_per_vector: of a code.
        factor: how many times smaller than float32.
        recall: share of the exact k neighbours among the first k by codes alone, 0 to 1.
        rescored: the same after a shortlist was scored again from float32.
        queries_per_second: by codes alone, one thread.
        rescored_per_second: with the second pass.
        encoded_per_second: vectors encoded a second, one thread.
        train_seconds: for learning the codec.
    """

    codec: str
    bytes_per_vector: int
    factor: float
    recall: float
    rescored: float
    queries_per_second: float
    rescored_per_second: float
    encoded_per_second: float
    train_seconds: float


def codecs(measured: Sequence[Measured], k: int, width: int = WIDTH) -> str:
    """Recall against bytes a vector, by codes alone and re-scored; a dashed line joins what nothing smaller beats."""
    alt = altair_here()
    alone, again = "codes alone", "shortlist re-scored"
    rows: list[dict[str, Any]] = [
        {
            "codec": row.codec,
            "bytes": row.bytes_per_vector,
            "recall": recall,
            "way": way,
            "tip": f"{row.codec}, {way}: {row.bytes_per_vector:,} bytes ({row.factor:.3g}x smaller), "
            f"recall@{k} {recall:.4f}, {rate:,.0f} queries/s",
        }
        for row in measured
        for way, recall, rate in (
            (alone, row.recall, row.queries_per_second),
            (again, row.rescored, row.rescored_per_second),
        )
    ]
    x = alt.X(
        "bytes:Q", title="bytes a vector (log)", scale=alt.Scale(type="log", nice=False, padding=40),
        axis=alt.Axis(format=",", values=round_steps([row["bytes"] for row in rows])),
    )  # fmt: skip
    y = alt.Y("recall:Q", title=f"recall@{k} against float32", scale=alt.Scale(zero=False, padding=24))
    ways = [alone, again]
    chart = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    points = chart.mark_point(size=80, filled=True, opacity=1).encode(
        color=alt.Color("way:N", scale=by_series(alt, ways), legend=legend(alt, width)),
        shape=alt.Shape("way:N", scale=by_shape(alt, ways), legend=legend(alt, width)),
        description="tip:N",
    )
    best = _not_beaten([row for row in rows if row["way"] == alone], cheap="bytes", good="recall")
    frontier = alt.Chart(alt.Data(values=best)).encode(x=x, y=y)
    line = frontier.mark_line(interpolate="step-after", strokeDash=[4, 3], color=COLOURS["muted"][0], strokeWidth=1.5)
    text = frontier.mark_text(dy=15, fontSize=11, color=COLOURS["ink"][0]).encode(text="codec:N")
    return drawn(alt.layer(line, points, text), width, height=380)


def curves(points: Sequence[Point], chosen: Point | None, recall: float, k: int, width: int = WIDTH) -> str:
    """Recall against queries a second, one curve a configuration, the chosen point ringed."""
    report = BuildReport("", {}, points=points, chosen=chosen, target_recall=recall, recall_k=k)
    return speed(report, width)


def price(points: Sequence[Point], recall: float, width: int = WIDTH) -> str:
    """Queries a second against bytes a vector: the fastest point of each configuration that reaches the recall."""
    alt = altair_here()
    best: dict[str, Point] = {}
    for point in points:
        held = best.get(point.name)
        if point.recall >= recall and (held is None or point.queries_per_second > held.queries_per_second):
            best[point.name] = point
    rows = [
        {
            "name": " ".join(f"{key}={value}" for key, value in point.settings.items()) or point.index,
            "bytes": point.bytes_per_vector,
            "qps": point.queries_per_second,
            "tip": f"{point.name}: recall {point.recall:.4f}, {point.queries_per_second:,.0f} queries/s, "
            f"{point.bytes_per_vector:,.0f} bytes a vector",
        }
        for point in best.values()
    ]
    x = alt.X("bytes:Q", title="bytes a vector in memory", scale=alt.Scale(zero=False, padding=60))
    y = alt.Y("qps:Q", title=f"queries a second at recall {recall:g}", scale=alt.Scale(zero=False, padding=24))
    chart = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    dots = chart.mark_point(size=80, filled=True, opacity=1, color=COLOURS["tuned"][0]).encode(description="tip:N")
    text = chart.mark_text(dy=-12, fontSize=11, color=COLOURS["ink"][0]).encode(text="name:N")
    return drawn(alt.layer(dots, text), width, height=320)


def check_picture(path: Path) -> None:
    """SettingsError unless `write_picture` knows what kind of file this is; MissingExtraError unless it can draw."""
    if path.suffix.lower() not in KINDS:
        raise SettingsError(f"{path}: a picture ends in {', '.join(KINDS)}")
    altair_here()


def write_picture(path: Path, title: str, drawings: Mapping[str, str], facts: Sequence[Mapping[str, Any]] = ()) -> None:
    """Headed drawings, and in an .html file a table below them, whole or not at all.

    Args:
        title: of the page.
        drawings: heading -> SVG.
        facts: rows of the table, equal keys.

    Raises:
        SettingsError: the name ends in none of .html, .png, .svg.
    """
    check_picture(path)
    if path.suffix.lower() == ".html":
        files.write_text(path, _page(title, drawings, facts))
        return
    one = _stacked(drawings)
    if path.suffix.lower() == ".svg":
        files.write_text(path, one)
        return
    import vl_convert

    with files.write_whole(path) as file:
        file.write(vl_convert.svg_to_png(one, scale=SHARPNESS))


def _not_beaten(rows: Sequence[dict[str, Any]], *, cheap: str, good: str) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row[cheap], -row[good])):
        if not kept or row[good] > kept[-1][good]:
            kept.append(row)
    return kept


def _stacked(drawings: Mapping[str, str]) -> str:
    """One SVG of all drawings, one below the other, each under its heading."""
    parts, top, wide = [], 0.0, 0.0
    ink, paper = COLOURS["ink"][0], COLOURS["paper"][0]
    for heading, drawing in drawings.items():
        size = _SIZE.search(drawing)
        width, height = (float(size[1]), float(size[2])) if size else (float(WIDTH), 400.0)
        words = f'font-family="{FONT}" font-size="15" font-weight="600" fill="{ink}"'
        parts.append(f'<text x="4" y="{top + 20:g}" {words}>{html.escape(heading)}</text>')
        parts.append(drawing.replace("<svg ", f'<svg y="{top + 30:g}" ', 1))
        top, wide = top + 42 + height, max(wide, width)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:g}" height="{top:g}" viewBox="0 0 {wide:g} {top:g}">'
        f'<rect width="100%" height="100%" fill="{paper}"/>{"".join(parts)}</svg>\n'
    )


def _page(title: str, drawings: Mapping[str, str], facts: Sequence[Mapping[str, Any]]) -> str:
    ink, paper, line = (COLOURS[name][0] for name in ("ink", "paper", "line"))
    figures = "".join(f"<h2>{html.escape(heading)}</h2>{drawing}" for heading, drawing in drawings.items())
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in (facts[0] if facts else ()))
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in facts)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if facts else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title>
<style>
body{{font:15px/1.5 {FONT};color:{ink};background:{paper};max-width:{WIDTH + 40}px;margin:2em auto;padding:0 1em}}
svg{{max-width:100%;height:auto}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}}
th,td{{text-align:right;padding:.3em .7em;border-bottom:1px solid {line}}}
th:first-child,td:first-child{{text-align:left}}
</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
{figures}{table}
</body>
</html>
"""


def _cell(value: object) -> str:
    return html.escape(f"{value:,.4g}" if isinstance(value, float) else str(value))
