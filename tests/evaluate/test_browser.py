"""The page in a real browser: nothing overflows, nothing runs that a document says, nothing is fetched."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromium import launched


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as running:
        yield running


@pytest.fixture(scope="module")
def address(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html)
    return path.as_uri()


def test_the_page_neither_fetches_nor_complains_nor_obeys_a_document(browser: Any, address: str) -> None:
    tab = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("dialog", lambda dialog: said.append(dialog.message))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(address)
    assert tab.title().startswith("scifact <script>")
    assert asked == [address]
    assert said == []
    tab.close()


@pytest.mark.parametrize("width", [320, 390, 720, 721, 1000, 1400])
def test_nothing_is_wider_than_the_screen(browser: Any, address: str, width: int) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.goto(address)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    shown = tab.evaluate("[...document.querySelectorAll('svg')].filter(s => s.getClientRects().length).length")
    assert shown == 12
    tab.close()


def test_a_dark_screen_gets_dark_paper_and_light_ink(browser: Any, address: str) -> None:
    ink = "getComputedStyle(document.querySelector('figure text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        tab = browser.new_page(color_scheme=scheme)
        tab.goto(address)
        seen[scheme] = tab.evaluate(paper), tab.evaluate(ink)
        tab.close()
    assert seen["light"][0] == "rgb(254, 254, 254)"
    assert seen["dark"][0] == "rgb(20, 24, 30)"
    assert seen["light"][1] != seen["dark"][1]


@pytest.mark.parametrize("kind", ["SVG", "PNG"])
def test_a_figure_can_be_kept(browser: Any, address: str, tmp_path: Path, kind: str) -> None:
    tab = browser.new_page()
    tab.goto(address)
    with tab.expect_download() as waiting:
        tab.locator("#recall button", has_text=kind).click()
    assert waiting.value.suggested_filename == f"recall.{kind.lower()}"
    content = Path(waiting.value.path()).read_bytes()
    assert content.startswith(b"<svg" if kind == "SVG" else b"\x89PNG")
    assert len(content) > 10_000
    tab.close()


FIGURES = ["scores", "heat", "dumbbell", "recall", "cost", "truncation", "stages", "spread0", "spread1", "plane",
           "loss", "dev"]  # fmt: skip
SHOTS = Path(__file__).with_name("shots")
THUMB = 160  # pixels wide: letters blur, so that another font's hinting is no difference, and a lost layer is one
ALIKE = 6.0  # mean difference of two thumbnails' grey levels, of 255; a figure without its points is three times off
REWRITE = "FIRTH_WRITE_SHOTS"  # set: the pictures of this run are kept; look at them before they are committed


def thumb(png: bytes) -> Any:
    """(h, THUMB) grey levels of a picture."""
    images = pytest.importorskip("PIL.Image")
    picture = images.open(io.BytesIO(png)).convert("L")
    return picture.resize((THUMB, max(1, round(picture.height * THUMB / picture.width))))


def apart(first: Any, second: Any) -> float:
    """Mean difference of grey levels, after bringing the second to the size of the first."""
    a = np.asarray(first, np.float64)
    return float(np.abs(a - np.asarray(second.resize(first.size), np.float64)).mean())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_looks_as_it_did_when_somebody_looked_at_it(browser: Any, address: str, scheme: str) -> None:
    images = pytest.importorskip("PIL.Image")
    tab = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme=scheme)
    tab.goto(address)
    far = {}
    for name in FIGURES:
        seen = thumb(tab.locator(f"#{name} .wide svg").screenshot())
        kept = SHOTS / f"{name}-{scheme}.png"
        if os.environ.get(REWRITE):
            SHOTS.mkdir(exist_ok=True)
            seen.save(kept, optimize=True)
        before = images.open(kept)
        assert abs(before.height - seen.height) <= 0.1 * before.height, name
        if (difference := apart(before, seen)) > ALIKE:
            far[name] = round(difference, 1)
    tab.close()
    assert not far


def test_a_figure_that_lost_its_lines_or_its_dark_colours_is_noticed(browser: Any, address: str) -> None:
    images = pytest.importorskip("PIL.Image")
    tab = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme="light")
    tab.goto(address)
    tab.add_style_tag(content="#heat rect, #heat path { fill: #fefefe !important }")
    bare = thumb(tab.locator("#heat .wide svg").screenshot())
    tab.close()
    assert apart(images.open(SHOTS / "heat-light.png"), bare) > ALIKE
    assert apart(images.open(SHOTS / "heat-light.png"), images.open(SHOTS / "heat-dark.png")) > 10 * ALIKE
