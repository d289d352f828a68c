"""A parsed page to blocks of words: what stands on a line of its own in a browser, headings told from the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

UNSEEN = re.compile(
    "script|style|noscript|template|head|title|svg|math|iframe|object|nav|button|select|textarea|-comment|-doctype"
)
BLOCKS = re.compile(
    "address|article|aside|blockquote|body|center|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|"
    "header|hr|html|legend|li|main|menu|ol|p|pre|section|summary|table|tbody|tfoot|thead|tr|ul"
)
DEEPEST = 5_000  # elements inside one another; parsing takes the square of it, 0.1 s here
_TAG = re.compile(
    r"<(/?)(div|span|section|article|b|i|u|em|strong|font|a|ul|ol|table|blockquote|center|dl|small)\b", re.I
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}


def html_blocks(root: Any) -> Iterator[tuple[int, str]]:
    """Each block of a selectolax tree as (heading level or 0, words)."""
    words: list[str] = []
    level = 0
    kept = 0  # how many <pre> are open: their line ends count
    for node, leaving in _walk(root):
        tag = node.tag
        if tag == "-text":
            words.append(node.text(deep=False) if kept else node.text(deep=False).replace("\n", " "))
        elif tag == "br" and not leaving:
            words.append("\n")
        elif tag in ("td", "th") and leaving:
            words.append(" | ")
        elif BLOCKS.fullmatch(tag):
            if block := _block(words):
                yield level, block
            words = []
            kept += (-1 if leaving else 1) if tag == "pre" else 0
            level = level if tag not in HEADINGS else 0 if leaving else HEADINGS[tag]
    if block := _block(words):
        yield level, block


def depth(page: str) -> int:
    """How deep a page nests elements that are always closed, told from its tags without parsing it."""
    now = deepest = 0
    for tag in _TAG.finditer(page):
        now = max(now - 1, 0) if tag[1] else now + 1
        deepest = max(deepest, now)
    return deepest


def _walk(root: Any) -> Iterator[tuple[Any, bool]]:
    """Every element twice, when entered and when left, texts once; no recursion, since pages nest without end."""
    node, leaving = root, False
    while True:
        seen = not UNSEEN.fullmatch(node.tag)
        if seen:
            yield node, leaving
        if not leaving and seen and node.child is not None:
            node = node.child
        elif not leaving and seen and node.tag != "-text":
            leaving = True
        elif node.mem_id == root.mem_id:
            return
        elif node.next is not None:
            node, leaving = node.next, False
        else:
            node, leaving = node.parent, True


def _block(words: list[str]) -> str:
    lines = (" ".join(line.split()).removesuffix(" |") for line in "".join(words).split("\n"))
    return "\n".join(line for line in lines if line.strip(" |"))
