"""report.json keeps its keys; report.html stands alone, shows every number, and runs nothing that a document says."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from firth.errors import StorageError
from firth.evaluate import figures
from firth.evaluate import report as writer
from firth.evaluate.ink import COLOURS
from firth.evaluate.page import page
from firth.evaluate.records import BuildReport, as_json
from firth.evaluate.statistics import Interval

HOSTILE = '<script>alert("1")</script>'
MOST_BYTES = 2_000_000
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Tree(HTMLParser):
    """Counts what a browser would make of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra that draws."""
    monkeypatch.setitem(sys.modules, "altair", None)


@pytest.fixture(scope="module")
def altair() -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")


def test_the_keys_of_the_json_stay(report: BuildReport, bare: None, tmp_path: Path) -> None:
    data, *_ = writer.write(report, tmp_path)
    tree = json.loads(data.read_text())
    assert tree["base"]["ndcg@10"].keys() == {"value", "low", "high", "n"}
    assert tree["tuned"].keys() == tree["base"].keys()
    assert {"delta", "p"} <= tree["paired"]["ndcg@10"].keys()
    assert tree["chosen"]["index"] == {"kind": "hnsw", "m": 16, "ef_construction": 200, "ef": 128}
    assert {"dims", "codec", "recall", "bytes_per_vector", "queries_per_second"} <= tree["chosen"].keys()
    assert tree["environment"]["firth"] == "0.1.0"


def test_what_was_not_measured_is_null_and_not_absent(untuned: BuildReport) -> None:
    tree = as_json(replace(untuned, chosen=None, points=()))
    assert tree["tuned"] is None
    assert tree["paired"] is None
    assert tree["chosen"] is None
    assert tree["points"] == []


def test_the_page_holds_every_number_of_the_table(report: BuildReport, bare: None) -> None:
    text = Tree(page(report)).text
    for intervals in (report.base, report.tuned or {}):
        for interval in intervals.values():
            assert f"{interval.value:.4f}" in text
    assert "p = 0.0002 over 300 queries" in text
    assert "256 dimensions, sq8, hnsw" in text


def test_the_page_is_one_sound_document(html: str) -> None:
    tree = Tree(html)
    assert tree.open == []
    assert tree.tags.count("svg") == 24
    assert len(html.encode()) < MOST_BYTES


def test_the_page_asks_nothing_of_a_network(html: str) -> None:
    tree = Tree(html)
    addresses = [value for name, value in tree.attributes if name in {"src", "href", "action", "data", "srcset"}]
    assert addresses == []
    style_and_script = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert not re.search(r"url\(|@import|fetch\(|https?://", style_and_script)


def test_no_text_of_a_document_becomes_markup(report: BuildReport, html: str, bare: None) -> None:
    assert Tree(html).tags.count("script") == 1
    hostile = {"documents" + HOSTILE: HOSTILE}
    tree = Tree(page(replace(report, base_model=HOSTILE, notes=(HOSTILE,), command=HOSTILE, data=hostile)))
    assert tree.tags.count("script") == 1
    assert "img" not in tree.tags
    assert not [name for name, _ in tree.attributes if name.startswith("on")]
    assert tree.text.count(HOSTILE) >= 5


def test_the_script_that_may_run_is_the_one_in_the_page(report: BuildReport, bare: None) -> None:
    html = page(report)
    script = re.search(r"<script>(.*)</script>\n</body>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html


def test_every_colour_of_a_figure_is_repainted_on_a_dark_screen(html: str) -> None:
    used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-fA-F]+)"', html))
    assert used <= {light for light, _ in COLOURS.values()}
    for name, (light, _) in COLOURS.items():
        assert f'svg [fill="{light}"]{{fill:var(--{name})}}' in html


def test_no_two_colours_share_a_light_value() -> None:
    assert len({light for light, _ in COLOURS.values()}) == len(COLOURS)


@pytest.mark.parametrize("screen", [0, 1])
def test_text_stands_out_from_the_paper(screen: int) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    paper = luminance(COLOURS["paper"][screen])
    for name, least in {"ink": 7, "muted": 4.5, "tuned": 4.5, "base": 3, **dict.fromkeys(figures.SERIES, 3)}.items():
        other = luminance(COLOURS[name][screen])
        contrast = (max(paper, other) + 0.05) / (min(paper, other) + 0.05)
        assert contrast >= least, f"{name}: {contrast:.2f}"


@pytest.mark.usefixtures("altair")
def test_each_point_says_what_it_is(report: BuildReport) -> None:
    drawing = figures.speed(report, 900)
    assert "<title>256 dims, sq8, hnsw m=16 ef_construction=200 ef=128: recall 0.9" in drawing


@pytest.mark.usefixtures("altair")
def test_a_model_name_with_markup_is_text_in_a_figure(report: BuildReport) -> None:
    assert "<script" not in figures.scores(replace(report, base_model=HOSTILE), 900)


def test_without_the_extra_the_tables_stay_and_the_command_is_told(report: BuildReport, bare: None) -> None:
    html = page(report)
    assert Tree(html).tags.count("svg") == 0
    assert html.count("pip install &#x27;firth[report]&#x27;") == 1
    assert "All 73 measured configurations" in html


@pytest.mark.parametrize("missing", ["points", "chosen", "training", "flips", "everything"])
def test_a_build_that_lacks_a_part_still_has_a_page(report: BuildReport, bare: None, missing: str) -> None:
    lacking = {
        "points": replace(report, points=(), chosen=None),
        "chosen": replace(report, chosen=None, target_recall=None),
        "training": replace(report, training=None, mining={}),
        "flips": replace(report, flips=()),
        "everything": BuildReport("empty", {"ndcg@10": Interval(0.5, 0.4, 0.6, 20)}),
    }
    tree = Tree(page(lacking[missing]))
    assert tree.open == []
    assert ("Which queries changed?" in tree.text) == (missing in {"points", "chosen", "training"})


@pytest.mark.usefixtures("altair")
def test_an_untuned_model_is_drawn_alone(untuned: BuildReport) -> None:
    html = page(untuned)
    assert "How good is it?" in html
    assert "tuned on scifact" not in html


@pytest.mark.usefixtures("altair")
def test_a_domain_without_judgements_still_has_its_index_drawn(untuned: BuildReport) -> None:
    points = [replace(point, score=None, recall=point.recall / 2) for point in untuned.points]
    bare = replace(untuned, base={}, stages=(), slices=(), similarities=(), widths=())
    tree = Tree(page(replace(bare, points=points, chosen=points[0], target_recall=0.999)))
    assert tree.tags.count("svg") == 2
    assert "How good is it?" not in tree.text
    assert "misses the 0.999" in tree.text


def test_a_change_that_may_be_chance_is_said_to_be_so(report: BuildReport, bare: None) -> None:
    assert report.paired is not None
    lucky = {name: replace(p, p=0.31, delta=0.004) for name, p in report.paired.items()}
    text = Tree(page(replace(report, paired=lucky))).text
    assert (
        "300 queries cannot tell from chance (p = 0.3100); a change of 0.033 would be seen four times in five" in text
    )


def test_a_loss_is_called_a_loss(report: BuildReport, bare: None) -> None:
    assert report.paired is not None
    worse = {name: replace(p, p=0.001, delta=-0.04) for name, p in report.paired.items()}
    assert "Tuning lowered nDCG@10" in Tree(page(replace(report, paired=worse))).text


def test_a_recall_that_was_missed_is_said_to_be_missed(report: BuildReport, bare: None) -> None:
    assert "misses the 0.999" in Tree(page(replace(report, target_recall=0.999))).text


def test_a_number_that_is_none_leaves_the_old_report_untouched(report: BuildReport, bare: None, tmp_path: Path) -> None:
    writer.write(report, tmp_path)
    before = (tmp_path / "report.json").read_bytes(), (tmp_path / "report.html").read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        writer.write(replace(report, timings={"tune": math.nan}), tmp_path)
    assert ((tmp_path / "report.json").read_bytes(), (tmp_path / "report.html").read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]


def test_a_folder_that_cannot_be_written_is_named(report: BuildReport, bare: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        writer.write(report, tmp_path / "file")
