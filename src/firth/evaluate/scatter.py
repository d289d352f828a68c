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
    rows = [
        {"x": x, "y": y, "name": name, "group": group}
        for (x, y), name, group in zip(at.tolist(), names, groups or ["words"] * len(names), strict=True)
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
    halo = chart.mark_text(dx=7, align="left", fontSize=12, stroke=COLOURS["paper"][0], strokeWidth=3)
    text = chart.mark_text(dx=7, align="left", fontSize=12, color=COLOURS["ink"][0])
    return drawn(alt.layer(dots, halo.encode(text="name:N"), text.encode(text="name:N")), width, height)


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

    drawn: bytes = vl_convert.svg_to_png(svg, scale=SHARPNESS)
    return drawn


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
