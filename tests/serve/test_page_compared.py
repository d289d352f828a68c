"""Base against tuned on the page, and every view of it before axe, the accessibility checker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import launched
from firth.serve import Server, Settings, started
from firth.serve.batcher import Served
from firth.serve.library import Library
from firth.store import Collection
from serve.pages import Topical, documents, until

BASE = 104_729  # seed of the other model


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as made:
        yield made


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with Collection.create(tmp_path / "collections" / "notes", encoder=Topical()) as made:
        ids, titles, texts, payloads = documents()
        made.upsert(ids, texts, payloads, titles=titles)
    library = Library(tmp_path, Served(Topical(), "tuned"), base=Served(Topical(BASE), "base"), grows=True)
    with started(Server(library, Settings(port=0))) as running:
        yield running.url


def test_the_base_model_answers_beside_the_tuned_one(browser: Any, url: str) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(f"{url}/#collections?c=notes")
    page.get_by_role("button", name="Embed with the base model").click()
    until(page, "document.querySelector('#collection').options.length === 2")
    until(page, "![...document.querySelectorAll('#shelves button')].some((one) => one.textContent.startsWith('Embed'))")
    page.goto(f"{url}/#search?c=notes&m=dense&o=notes-base&q=robin+garden")
    page.reload()
    until(page, "document.querySelectorAll('.columns.two ol').length === 2")
    heads = page.locator(".columns h2").all_inner_texts()
    assert heads == ["notes by tuned", "notes-base by base"]
    assert "notes and notes-base agree on" in page.locator("#told").inner_text()
    tags = " ".join(page.locator(".columns .tags").all_inner_texts())
    assert "there" in tags
    page.locator(".columns > div").nth(1).locator(".hit button").first.click()
    until(page, "document.querySelectorAll('#near .score').length === 8")
    if shots := os.environ.get("FIRTH_SCREENSHOTS"):
        page.keyboard.press("Escape")
        page.screenshot(path=str(Path(shots) / "beside_the_base.png"))
    page.close()


VIEWS = {
    "search": "search?c=notes&m=hybrid&q=robin+garden",
    "side by side": "search?c=notes&m=beside&q=robin+garden",
    "map": "map?c=notes&m=dense&q=",
    "collections": "collections?c=notes",
    "document": "search?c=notes&m=dense&q=robin+garden",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", [*VIEWS])
def test_axe_finds_nothing_to_complain_about(browser: Any, url: str, view: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{url}/#{VIEWS[view]}")
    until(page, "document.querySelector('#collection').options.length === 1")
    if view == "map":
        until(page, "document.querySelector('#maptold').textContent.includes('documents')")
    elif view != "collections":
        until(page, "document.querySelectorAll('#results li').length > 5")
        page.locator("#more summary").click()
    if view == "document":
        page.locator("#results .hit button").first.click()
        until(page, "document.querySelectorAll('#near .score').length === 8")
    found = axe.Axe().run(page)
    said = [(v["id"], v["impact"], [n["html"][:120] for n in v["nodes"]]) for v in found.response["violations"]]
    assert said == []
    if shots := os.environ.get("FIRTH_SCREENSHOTS"):
        page.screenshot(path=str(Path(shots) / f"{view.replace(' ', '_')}_{scheme}.png"))
    page.close()
