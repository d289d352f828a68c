"""Records in, `report.json`, `report.html` and `report.md` out, each whole or not at all."""

from __future__ import annotations

from pathlib import Path

from firth.evaluate.page import page
from firth.evaluate.records import BuildReport, as_json
from firth.evaluate.summary import markdown
from firth.files import write_json, write_text


def write(report: BuildReport, folder: Path | str) -> tuple[Path, Path, Path]:
    """Write `report.json`, `report.html` and `report.md` into `folder` and return their paths.

    The page is one file that needs no network. Without Altair and vl-convert its figures are replaced by the command
    that adds them; its tables are complete all the same.

    Raises:
        StorageError: the folder cannot be written; the earlier files are untouched.
        ValueError: a number in the report is NaN or infinite.
    """
    folder = Path(folder)
    drawn = page(report)  # before the first write: a fault while drawing leaves both old files in place
    data, html, summary = folder / "report.json", folder / "report.html", folder / "report.md"
    write_json(data, as_json(report))
    write_text(html, drawn)
    write_text(summary, markdown(report))
    return data, html, summary
