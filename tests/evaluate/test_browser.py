"""The page in a real browser: nothing overflows, nothing runs that a document says, nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api: Any = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


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
