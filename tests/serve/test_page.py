"""The page in a real browser: what a person does with it, by mouse and by keyboard, on wide and narrow screens."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import launched
from firth.serve import Server, Settings, started
from firth.serve.batcher import Served
from firth.serve.keys import add_key
from firth.serve.library import Library
from firth.store import Collection, VectorSettings
from serve.pages import EVIL, PATIENCE, Topical, documents, until


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    with Collection.create(folder / "collections" / "notes", encoder=Topical()) as made:
        ids, titles, texts, payloads = documents()
        made.upsert(ids, texts, payloads, titles=titles)
        made.declare("topic", "keyword")
    Collection.create(folder / "collections" / "empty", vectors={"": VectorSettings(4)}).close()
    return folder


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    report = root / "report.html"
    report.write_text("<!doctype html><title>report</title><h1>Report</h1>")
    library = Library(root, Served(Topical(), "topical"), grows=True, report=report)
    with started(Server(library, Settings(port=0))) as running:
        yield running.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as made:
        yield made


@pytest.fixture
def tab(browser: Any, url: str) -> Iterator[Any]:
    """A new tab on the page that neither complains nor asks anybody else."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: None if "status of 400" in message.text else said.append(message.text))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else said.append(request.url))
    page.set_default_timeout(1e3 * PATIENCE)
    page.goto(f"{url}/#search?c=notes&m=dense&q=")
    until(page, "document.querySelector('#collection').options.length === 2")
    yield page
    shots = os.environ.get("FIRTH_SCREENSHOTS")
    if shots:
        name = re.sub(r"[^a-z_]", "", os.environ["PYTEST_CURRENT_TEST"].split("::")[1])
        page.screenshot(path=str(Path(shots) / f"{name}.png"))
    page.close()
    assert said == []


def first(tab: Any) -> str:
    return str(tab.locator("#results .hits li").first.inner_text())


def test_results_come_as_one_types_with_the_words_marked(tab: Any) -> None:
    tab.locator("#query").press_sequentially("robin garden", delay=20)
    tab.wait_for_selector("#results li")
    until(tab, "document.querySelector('#told').textContent.includes('ms search')")
    assert "birds" in first(tab)
    assert "robin" in tab.locator("#results mark").all_inner_texts()
    assert tab.locator("#results li").count() == 10
    assert "m=dense" in tab.url


def test_three_ways_of_searching_stand_side_by_side(tab: Any) -> None:
    tab.locator("#query").fill("bank shares")
    tab.get_by_text("Side by side").click()
    tab.wait_for_selector(".columns li")
    assert tab.locator(".columns h2").all_inner_texts() == ["Meaning", "Words (BM25)", "Both"]
    assert tab.locator(".columns li").count() == 30
    assert "agree on" in tab.locator("#told").inner_text()


def test_the_index_is_held_against_the_exact_answer(tab: Any) -> None:
    tab.locator("#query").fill("onions in butter")
    tab.locator("#more summary").click()
    tab.get_by_label("Compare with the exact answer").check()
    until(tab, "document.querySelector('#told').textContent.includes('of the exact 10')")
    assert "found 10 of the exact 10" in tab.locator("#told").inner_text()


def test_a_facet_becomes_a_filter_and_a_broken_filter_is_told(tab: Any) -> None:
    tab.locator("#query").fill("the")
    tab.locator("#more summary").click()
    tab.locator("#field").select_option("topic")
    tab.locator("#facets button", has_text="money").click()
    until(tab, "[...document.querySelectorAll('#results .hit button')].every(b => b.textContent.includes('money'))")
    tab.locator("#filter").fill('{"topic":')
    until(tab, "document.querySelector('#told').textContent.includes('not JSON')")
    tab.locator("#filter").fill('{"topic": {"$wibble": 1}}')
    until(tab, "!document.querySelector('#notice').hidden")
    assert "wibble" in tab.locator("#notice").inner_text()


def test_a_document_opens_with_its_neighbours_and_closes_by_keyboard(tab: Any) -> None:
    tab.locator("#query").fill("probe pictures of the moon")
    tab.locator("#results .hit button").first.click()
    until(tab, "document.querySelectorAll('#near .score').length === 8")
    assert "space" in tab.locator("#doctitle").inner_text()
    assert all("space" in line for line in tab.locator("#near .hit button").all_inner_texts())
    assert "topic" in tab.locator("#docpayload").inner_text()
    before = tab.locator("#doctitle").inner_text()
    tab.locator("#near .hit button").first.click()
    until(tab, f"document.querySelector('#doctitle').textContent !== {before!r}")
    tab.keyboard.press("Escape")
    assert not tab.locator("#document").is_visible()


def test_what_a_document_says_is_shown_and_never_run(tab: Any) -> None:
    tab.locator("#query").fill("Evil robin onerror alert")
    tab.get_by_text("Words", exact=True).click()
    tab.locator("#results .hit button", has_text="<img").click()
    tab.wait_for_selector("#near .score")
    assert EVIL in tab.locator("#doctext").inner_text()
    assert tab.locator("main img, main script, dialog img").count() == 0


def test_the_map_can_be_coloured_zoomed_asked_and_opened(tab: Any) -> None:
    tab.get_by_role("link", name="Map").click()
    until(tab, "document.querySelector('#maptold').textContent.includes('161 of 161')")
    tab.locator("#colour").select_option("topic")
    until(tab, "document.querySelectorAll('#legend li').length === 5")
    assert tab.evaluate(COLOURS) >= 4
    tab.locator("#highlight").fill("robin in the garden")
    until(tab, "document.querySelector('#maptold').textContent.includes('of the 20 nearest')")
    tab.locator("#closer").click()
    tab.locator("#plane").focus()
    for key in ("+", "ArrowLeft", "ArrowUp", "0"):
        tab.keyboard.press(key)
    box = tab.locator("#plane").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.wheel(0, -300)
    place = tab.evaluate("(() => { const [x, y] = plane.on(plane.points[0]); return [x, y]; })()")
    tab.mouse.move(box["x"] + place[0], box["y"] + place[1])
    tab.wait_for_selector("#hover", state="visible")
    tab.mouse.click(box["x"] + place[0], box["y"] + place[1])
    tab.wait_for_selector("#document", state="visible")


def test_collections_tell_their_health(tab: Any) -> None:
    tab.get_by_role("link", name="Collections").click()
    tab.wait_for_selector("#shelves article")
    card = tab.locator("#shelves article", has_text="notes")
    assert "161" in card.inner_text()
    assert "64 dimensions, cosine" in card.inner_text()
    card.get_by_role("button", name="Measure recall").click()
    until(tab, "document.body.textContent.includes('of the exact top 10 (n = 100)')")
    card.get_by_role("button", name="Check").click()
    until(tab, "document.body.textContent.includes('Rows, vectors and indexes agree.')")
    assert "topical" in tab.locator("#model").inner_text()
    assert tab.get_by_role("link", name="Report").is_visible()


def test_a_collection_of_bare_vectors_is_searched_by_words_only(tab: Any) -> None:
    tab.locator("#collection").select_option("empty")
    assert tab.locator("input[value=dense]").is_disabled()
    assert tab.locator("input[value=words]").is_checked()
    tab.locator("#query").fill("anything")
    until(tab, "document.querySelector('#results').textContent.includes('Nothing found')")


def test_the_keyboard_alone_is_enough(tab: Any) -> None:
    tab.locator("h1").click()
    tab.keyboard.press("/")
    tab.keyboard.type("swallows above the barn")
    tab.wait_for_selector("#results li")
    tab.keyboard.press("Tab")  # the ways of searching
    tab.keyboard.press("ArrowRight")
    assert tab.locator("input[value=words]").is_checked()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # the options open
    assert tab.locator("#filter").is_visible()
    names = []
    for _ in range(12):
        tab.keyboard.press("Tab")
        names.append(tab.evaluate("document.activeElement.textContent.slice(0, 5)"))
    assert "About" in names


@pytest.mark.parametrize("width", [320, 390, 760, 761, 1400])
@pytest.mark.parametrize("view", ["search", "map", "collections"])
def test_nothing_is_wider_than_the_screen(browser: Any, url: str, width: int, view: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(f"{url}/#{view}?c=notes&m=beside&q=robin+garden")
    until(page, "document.querySelector('#collection').options.length === 2")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_a_dark_screen_gets_dark_paper_and_the_button_turns_it(browser: Any, url: str) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(url)
        paper = "getComputedStyle(document.body).backgroundColor"
        seen[scheme] = page.evaluate(paper)
        page.locator("#theme").click()
        seen[scheme + " turned"] = page.evaluate(paper)
        page.close()
    assert seen["light"] == seen["dark turned"] == "rgb(254, 254, 254)"
    assert seen["dark"] == seen["light turned"] == "rgb(20, 24, 30)"


COLOURS = """() => {
  const plane = document.querySelector('#plane');
  const dots = plane.getContext('2d').getImageData(0, 0, plane.width, plane.height).data;
  const seen = new Set();
  for (let i = 0; i < dots.length; i += 4) if (dots[i + 3] > 200) seen.add(`${dots[i]},${dots[i + 1]}`);
  return seen.size;
}"""
CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 10.02 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = (c) => { const [r, g, b] = c.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const paper = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const said = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!said || !e.getClientRects().length) continue;
    if (e.closest('label')?.querySelector(':disabled')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color).slice(0, 3)), light(paper(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 30));
  }
  const unnamed = [...document.querySelectorAll('input, select, button, canvas, a')].filter((e) =>
    !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML.slice(0, 80));
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  return { low, unnamed, twice: ids.filter((id, i) => ids.indexOf(id) !== i), lang: document.documentElement.lang,
    h1: document.querySelectorAll('h1').length };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["search", "map", "collections"])
def test_everything_has_a_name_and_enough_contrast(browser: Any, url: str, scheme: str, view: str) -> None:
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{url}/#{view}?c=notes&m=hybrid&q=robin+garden")
    until(page, "document.querySelector('#collection').options.length === 2")
    page.wait_for_timeout(500)
    assert page.evaluate(CONTRAST) == {"low": [], "unnamed": [], "twice": [], "lang": "en", "h1": 1}
    page.close()


def test_a_key_is_asked_for_and_kept_in_the_tab(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = add_key(path, "reader", "read")
    Collection.create(tmp_path / "root" / "collections" / "c", dims=2).close()
    with started(Server(Library(tmp_path / "root", None, grows=True), Settings(port=0, keys=path))) as running:
        page = browser.new_page()
        page.goto(running.url)
        page.wait_for_selector("#keyform", state="visible")
        page.locator("#key").fill("wrong")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#notice').textContent.includes('does not know')")
        page.locator("#key").fill(key)
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#collection').options.length === 1")
        assert not page.locator("#keyform").is_visible()
        page.reload()
        until(page, "document.querySelector('#collection').options.length === 1")
        page.close()
