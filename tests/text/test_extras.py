"""What works without the extras, and which command adds one that is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from firth.errors import MissingExtraError
from firth.text.read import read
from firth.text.tokenizer import Tokenizer

LOADED = """
import sys
import firth.text.read, firth.text.tokenizer, firth.text.qrels, firth.text.testset
heavy = {"torch", "tokenizers", "pyarrow", "selectolax", "pypdfium2", "docx", "zstandard"}
print(sorted(heavy & set(sys.modules)))
"""


def test_the_room_loads_no_extra_before_it_is_needed() -> None:
    run = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "name", "command"),
    [
        ("pyarrow", "x.parquet", r"reading \.parquet files needs pyarrow.*pip install 'firth\[parquet\]'"),
        ("selectolax", "x.html", r"reading \.html files needs selectolax.*pip install 'firth\[documents\]'"),
        ("docx", "x.docx", r"reading \.docx files needs python-docx.*pip install 'firth\[documents\]'"),
        ("pypdfium2", "x.pdf", r"reading \.pdf files needs pypdfium2.*pip install 'firth\[documents\]'"),
        ("zstandard", "x.csv.zst", r"reading \.zst files needs zstandard.*pip install 'firth\[zstd\]'"),
    ],
)
def test_a_missing_package_names_the_command_that_adds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, command: str
) -> None:
    for loaded in [other for other in sys.modules if other.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"words")
    with pytest.raises(MissingExtraError, match=command):
        read(tmp_path / name)


def test_without_tokenizers_a_folder_is_still_cut_into_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "a.txt").write_text("word " * 600)
    assert len(read(tmp_path).documents) == 3
    with pytest.raises(MissingExtraError, match=r"pip install 'firth\[torch\]'"):
        Tokenizer.load(tmp_path)
