"""Points with names in two dimensions: the SVG of a report's figures, a page around it, and the same as PNG.

names  sea wave king queen      points  (n, 2)  ->  one drawing, near points near
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.errors import ShapeError
from firth.evaluate.ink import COLOURS, altair_here, by_series, by_shape, drawn

WIDTH, HEIGHT = 880, 620  # pixels
ROOM = 0.08  # of the width, beside the outermost points, for their names
SHARPNESS = 2  # pixels of the PNG to one of the drawing
TYPE = 12  # pixels, the height of names
LETTER = 0.55  # of the type's height, a letter's width on average
SIDES = {"right": (7, 0, "left"), "left": (-7, 0, "right"), "above": (0, -12, "center"), "below": (0, 12, "center")}
SHARES = {"left": 0.0, "center": 0.5, "right": 1.0}  # of a name that lies to the left of where it is put

Points = NDArray[np.float64]  # (n, 2)


def scatter(points: ArrayLike, names: Sequence[str], groups: Sequence[str] = (), *, width: int = WIDTH) -> str:
    """An SVG of named points; both axes have the same scale.

    Args:
        points: (n, 2) finite.
        names: n, written beside the points.
        groups: n, a colour and a shape for each; none = one colour.

    Raises:
        ShapeError: the lengths differ, or points are not (n, 2) finite numbers.
        MissingExtraError: Altair is not installed.
    """
    at = np.asarray(points, np.float64)
    if at.shape != (len(names), 2) or len(groups) not in (0, len(names)) or not np.isfinite(at).all() or not len(at):
        raise ShapeError(
            f"scatter: expected finite (n, 2) points with n names and n or no groups, got {at.shape}, {len(names)} "
            f"names and {len(groups)} groups"
        )
    alt = altair_here()
    height = round(width * HEIGHT / WIDTH)
    low, high = _square(at, width / height)
    pixels = (at - low) / (high - low) * (width, -height)
    rows = [
        {"x": x, "y": y, "name": name, "group": group, "side": side}
        for (x, y), name, group, side in zip(
            at.tolist(), names, groups or ["words"] * len(names), _sides(pixels, names), strict=True
        )
    ]
    chart = alt.Chart(alt.Data(values=rows)).encode(
        x=_axis(alt, "x", low[0], high[0]), y=_axis(alt, "y", low[1], high[1])
    )
    shown = [*dict.fromkeys(groups)] or ["words"]
    legend = alt.Legend(title=None, orient="top", columns=6) if len(shown) > 1 else None
    dots = chart.mark_point(size=42, filled=True, opacity=1).encode(
        color=alt.Color("group:N", scale=by_series(alt, shown), legend=legend),
        shape=alt.Shape("group:N", scale=by_shape(alt, shown), legend=legend),
        description="name:N",
    )
    halos, texts = [], []
    for side, (dx, dy, align) in SIDES.items():
        here = chart.transform_filter(alt.datum.side == side).encode(text="name:N")
        place = {"dx": dx, "dy": dy, "align": align, "fontSize": TYPE}
        halos.append(here.mark_text(**place, stroke=COLOURS["paper"][0], strokeWidth=3))
        texts.append(here.mark_text(**place, color=COLOURS["ink"][0]))
    return drawn(alt.layer(*halos, dots, *texts), width, height)


def standalone(svg: str, title: str) -> str:
    """The drawing as a page of its own, without script or network."""
    paper = COLOURS["paper"][0]
    style = f"body{{margin:2rem;background:{paper};font-family:sans-serif}}svg{{max-width:100%;height:auto}}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
{svg}
</body>
</html>
"""


def png(svg: str) -> bytes:
    """The drawing as a PNG, two pixels to each of the drawing's."""
    altair_here()
    import vl_convert

    image: bytes = vl_convert.svg_to_png(svg, scale=SHARPNESS)
    return image


def _sides(at: Points, names: Sequence[str]) -> list[str]:
    """On which side of its point (in pixels) each name covers least of the points and of the names before it."""
    boxes = [(x - 4, y - 4, x + 4, y + 4) for x, y in at.tolist()]
    sides = []
    for (x, y), name in zip(at.tolist(), names, strict=True):
        wide = len(name) * TYPE * LETTER
        tried = {}
        for side, (dx, dy, align) in SIDES.items():
            left, top = x + dx - wide * SHARES[align], y + dy - TYPE / 2
            tried[side] = (left, top, left + wide, top + TYPE)
        best = min(tried, key=lambda side: sum(_overlap(tried[side], box) for box in boxes))
        sides.append(best)
        boxes.append(tried[best])
    return sides


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Square pixels that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _square(at: Points, ratio: float) -> tuple[Points, Points]:
    """The corners of the picture: around all points, with room for names, as wide as `ratio` times its height."""
    middle = (at.min(axis=0) + at.max(axis=0)) / 2
    reach = np.ptp(at, axis=0) / 2
    half = max(float(reach[0]), float(reach[1]) * ratio, 1e-6) * (1 + 2 * ROOM)
    size = np.array([half, half / ratio])
    return middle - size, middle + size


def _axis(alt: Any, name: str, low: float, high: float) -> Any:
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    kind = alt.X if name == "x" else alt.Y
    return kind(f"{name}:Q", title=None, scale=scale, axis=alt.Axis(labels=False, ticks=False, grid=True))
