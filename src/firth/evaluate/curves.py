"""Pictures of a training and of groups of vectors, each as SVG, PNG and a page of HTML that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from firth.evaluate.ink import COLOURS, altair_here, by_series, by_shape, drawn, legend
from firth.files import write_text, write_whole

WIDTH, HEIGHT = 760, 260  # pixels
Series = Mapping[str, Sequence[tuple[float, float]]]  # name -> (x, y) points


def lines(series: Series, x: str, y: str, *, log: bool = False) -> str:
    """An SVG of one line a name.

    Args:
        series: name -> points.
        x, y: what the axes are called, units included.
        log: whether the y axis is logarithmic.
    """
    alt = altair_here()
    rows = [{"x": a, "y": b, "name": name} for name, points in series.items() for a, b in points]
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    chart = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=2)
    encoded = chart.encode(
        x=alt.X("x:Q", title=x, axis=alt.Axis(tickCount=6, format="~s"), scale=alt.Scale(nice=False)),
        y=alt.Y("y:Q", title=y, scale=scale),
        color=alt.Color("name:N", scale=by_series(alt, list(series)), legend=legend(alt, WIDTH)),
    )
    return drawn(encoded, WIDTH, height=HEIGHT)


def points(places: Sequence[tuple[float, float]], labels: Sequence[str], told: Sequence[str]) -> str:
    """An SVG of points in a plane, coloured and shaped by their label; each tells its text to a resting mouse."""
    alt = altair_here()
    rows = [{"x": a, "y": b, "name": name, "tip": tip} for (a, b), name, tip in zip(places, labels, told, strict=True)]
    names = list(dict.fromkeys(labels))
    quiet: dict[str, Any] = {"title": None, "axis": alt.Axis(labels=False, ticks=False)}
    chart = alt.Chart(alt.Data(values=rows)).mark_point(size=70, filled=True, opacity=0.85)
    encoded = chart.encode(
        x=alt.X("x:Q", scale=alt.Scale(zero=False, padding=12), **quiet),
        y=alt.Y("y:Q", scale=alt.Scale(zero=False, padding=12), **quiet),
        color=alt.Color("name:N", scale=by_series(alt, names), legend=legend(alt, WIDTH), sort=names),
        shape=alt.Shape("name:N", scale=by_shape(alt, names), legend=legend(alt, WIDTH), sort=names),
        description="tip:N",
    )
    return drawn(encoded, WIDTH, height=WIDTH * 5 // 8)


def save_pictures(
    folder: Path, name: str, title: str, drawings: Sequence[str], notes: Sequence[str] = ()
) -> list[Path]:
    """Write name.svg and name.png (name-2.svg … of further drawings) and name.html with all of them and the notes.

    Raises:
        MissingExtraError: Altair or vl-convert is not installed.
    """
    altair_here()
    import vl_convert

    written = []
    for number, drawing in enumerate(drawings, 1):
        stem = name if number == 1 else f"{name}-{number}"
        write_text(folder / f"{stem}.svg", drawing)
        with write_whole(folder / f"{stem}.png") as file:
            file.write(vl_convert.svg_to_png(drawing, scale=2))
        written += [folder / f"{stem}.svg", folder / f"{stem}.png"]
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    style = f"body{{max-width:{WIDTH}px;margin:2em auto;font:16px/1.5 sans-serif;color:{COLOURS['ink'][0]}}}"
    write_text(
        folder / f"{name}.html",
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style></head>\n<body><h1>{escape(title)}</h1>{said}{''.join(drawings)}</body></html>\n",
    )
    return [*written, folder / f"{name}.html"]
