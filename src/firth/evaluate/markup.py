"""Pieces of the report's page: sections, tables, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from firth.evaluate.statistics import Interval

Drawings = Mapping[str, str]  # name of a figure -> its HTML
LEAST_P = 0.0001  # one over the number of draws


def figure(name: str, drawings: Drawings, caption: str) -> str:
    """A drawing with its caption (HTML); nothing where it was not drawn."""
    if name not in drawings:
        return ""
    return f'<figure id="{name}">{drawings[name]}<figcaption>{caption}</figcaption></figure>'


def section(title: str, *parts: str) -> str:
    """Parts, HTML each, under a heading."""
    return f"<section>\n<h2>{title}</h2>\n{''.join(parts)}\n</section>\n"


def table(head: list[str], rows: list[list[str]], right: Iterable[int], marked: Iterable[int] = ()) -> str:
    """A table whose cells are HTML; `right`: columns of numbers, `marked`: rows to be seen first."""
    numeric, marks = set(right), set(marked)

    def cells(tag: str, row: list[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numeric else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr{' class=chosen' if i in marks else ''}>{cells('td', row)}</tr>" for i, row in enumerate(rows))
    return f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{body}</tbody></table></div>'


def pairs(facts: Mapping[str, int | float | str]) -> str:
    """Names and values, one a line; both are escaped."""
    rows = "".join(
        f'<tr><td class="key">{escape(name)}</td><td class="value">{escape(_told(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'


def _told(value: int | float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def interval(found: Interval | None) -> str:
    """A mean with its bounds; nothing for None."""
    if found is None:
        return ""
    return f"{found.value:.4f} <small>{found.low:.3f} to {found.high:.3f}</small>"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.3f}".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value, not more exactly than it was drawn."""
    return f"{value:.4f}" if value >= LEAST_P else f"&lt; {LEAST_P}"


def p_told(value: float) -> str:
    """The same in a sentence: "p = 0.0312", "p < 0.0001"."""
    return f"p = {value:.4f}" if value >= LEAST_P else f"p &lt; {LEAST_P}"
