"""The Markdown summary: the same numbers, and nothing from outside is markup."""

from __future__ import annotations

from dataclasses import replace

from firth.evaluate.records import BuildReport
from firth.evaluate.summary import markdown


def test_the_table_has_the_reports_numbers(report: BuildReport) -> None:
    lines = markdown(report).splitlines()
    row = next(line for line in lines if line.startswith("| nDCG@10"))
    assert row == "| nDCG@10 | 0.6500 (0.605 to 0.694) | 0.6940 (0.649 to 0.738) | +0.044 | 0.0010 |"
    table = [line for line in lines[: lines.index("", lines.index(row))] if line.startswith("|")]
    assert all(line.count(" | ") == row.count(" | ") for line in table)
    assert "Where the recall went (recall@10): exact float32 1.000 → 256 dimensions 0.962 →" in markdown(report)
    weakest = [line for line in lines if "words shared: 0 to 1/3" in line]
    assert weakest == ["| words shared: 0 to 1/3 | 0.5100 (0.466 to 0.554) | 62 |"]
    assert "7,277 queries/s, 392 bytes a vector" in markdown(report)


def test_texts_from_outside_are_not_markup(report: BuildReport) -> None:
    text = markdown(replace(report, base_model="a|b", notes=("[click](javascript:x) @everyone **now**",)))
    assert "<script>" not in text
    assert "<img" not in text
    assert "a\\|b" in text
    assert "\\[click\\]\\(javascript:x\\) \\@everyone \\*\\*now\\*\\*" in text


def test_what_was_not_measured_is_left_out(untuned: BuildReport) -> None:
    text = markdown(replace(untuned, chosen=None))
    assert "change" not in text
    assert "Chosen" not in text
    assert "###" in markdown(replace(untuned, base={}, chosen=None))
