"""What every figure of the report shares: colours for paper and screen, type, scales, and the drawing itself.

Altair describes a figure and vl-convert draws it here and now, so that the page carries a drawing of a few kilobytes
and not a plotting library. Every colour is one of `COLOURS`; the page's style sheet repaints them for a dark screen.
Each point says what it is when the mouse rests on it, and to a screen reader.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from firth.errors import MissingExtraError

# name -> light, dark. The series are those of Okabe & Ito 2008, told apart by every common colour vision; each also
# has a shape of its own. Light values are unique: the style sheet finds a colour by its value.
COLOURS = {
    "ink": ("#1c2127", "#e6e9ee"),
    "muted": ("#5b6470", "#9aa4b1"),
    "line": ("#c9ced6", "#3b424d"),
    "grid": ("#e9ecf0", "#262c35"),
    "paper": ("#fefefe", "#14181e"),
    "base": ("#7d8590", "#98a2ae"),
    "tuned": ("#0067b8", "#5ab0f0"),
    "s1": ("#0072b2", "#4da9e0"),
    "s2": ("#d55e00", "#ff8a3d"),
    "s3": ("#009e73", "#2cc79a"),
    "s4": ("#b8578f", "#e08bbd"),
    "s5": ("#8a6d00", "#e0b93a"),
    "s6": ("#3b9ad0", "#9ad2f7"),
    "low2": ("#f4b183", "#8a4210"),
    "low1": ("#fae0cb", "#4f2f1a"),
    "mid": ("#f1f3f6", "#232a33"),
    "high1": ("#d3e6f5", "#173a56"),
    "high2": ("#93c4e8", "#145d94"),
}
SERIES = ("s1", "s2", "s3", "s4", "s5", "s6")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"  # one width on every system
NARROW = 480  # pixels; below this a figure is drawn for a telephone


def floor(recall: float) -> float:
    """The axis's left end: a round step below the lowest recall."""
    step = 0.05 if recall < 0.9 else 0.01
    return max(0.0, round(step * int((recall - step / 4) / step), 4))


def round_steps(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten about `values`: where a log axis is marked."""
    tens = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    return [lead * 10.0**ten for ten in tens for lead in (1, 2, 5)]


def ticks(width: int) -> int:
    """Marks of an axis that this width has room for."""
    return 10 if width > NARROW else 4


def scale(alt: Any, names: Sequence[str], values: Sequence[str]) -> Any:
    """Each name has its value."""
    return alt.Scale(domain=list(names), range=list(values))


def by_series(alt: Any, names: Sequence[str]) -> Any:
    """A colour for each name; "others" is grey."""
    used = cycle(SERIES)
    return scale(alt, names, [COLOURS["line" if name == "others" else next(used)][0] for name in names])


def by_shape(alt: Any, names: Sequence[str]) -> Any:
    """A shape for each name, so that colour is not needed to tell them apart."""
    return scale(alt, names, [SHAPES[i % len(SHAPES)] for i in range(len(names))])


def legend(alt: Any, width: int) -> Any:
    """Above the figure, in as many columns as there is room for."""
    columns = 4 if width > NARROW else 1
    return alt.Legend(title=None, orient="top", labelLimit=width // columns - 40, symbolSize=90, columns=columns)


def altair_here() -> Any:
    """Altair, with vl-convert at hand.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        import altair
        import vl_convert  # noqa: F401  (asked for here so that both are named before any work)
    except ImportError as error:
        raise MissingExtraError("altair with vl-convert-python", "report", "drawing the report's figures") from error
    return altair


def drawn(chart: Any, width: int, height: int) -> str:
    """The chart drawn `width` pixels wide, axis labels included, in the page's type and colours."""
    import vl_convert

    ink, muted, line, grid = (COLOURS[name][0] for name in ("ink", "muted", "line", "grid"))
    labels = {
        "labelColor": muted,
        "titleColor": muted,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 400,
    }
    themed = (
        chart.properties(width=width, height=height, autosize={"type": "fit-x", "contains": "padding"})
        .configure(background=COLOURS["paper"][0], font=FONT, padding=4)
        .configure_axis(**labels, gridColor=grid, domainColor=line, tickColor=line, titlePadding=10, labelPadding=5)
        .configure_legend(labelColor=ink, labelFontSize=12, rowPadding=3, columnPadding=16)
        .configure_title(color=ink, fontSize=13, fontWeight=600, anchor="start", offset=10)
        .configure_view(stroke=None)
        .configure_text(color=ink)
    )
    drawing: str = vl_convert.vegalite_to_svg(themed.to_dict())
    return _told(drawing)


def _told(drawing: str) -> str:
    """Each point's description also as a <title>, which browsers show beside the resting mouse."""
    point = re.compile(r'(<path aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="point"[^>]*)/>')
    told = point.sub(lambda found: f"{found[1]}><title>{html.escape(html.unescape(found[2]))}</title></path>", drawing)
    return told.replace("<svg ", '<svg role="img" ', 1)
