"""Folders of .txt .md .html .docx .pdf: titles from headings, offsets into the text, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firth.errors import DataError
from firth.text.chunks import Chunking
from firth.text.extract import extract
from firth.text.read import Reading, read
from firth.text.records import Document

SMALL = Reading(chunking=Chunking(8, 2))
MARKDOWN = """---
title: "Handbook"
---
Before all.

# Install

Run `make`.

```sh
# no heading
make
```

From source
-----------
Unpack it
and build.

## Use [it](http://x) *now* ##
- a
---
| a | b |
|---|---|
text
"""
HTML = """<!doctype html><html><head><title>Shop &amp; help</title><style>p {}</style></head><body>
<nav>Home</nav><h1>Help</h1><p>First
line<br>second</p><!-- no --><script>var x</script>
<h2><span>Re</span>turns</h2><div>Send it <b>back</b>.<ul><li>one</li><li>two</ul></div>
<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table><pre>x
 y</pre></body></html>"""


def titled(path: Path) -> list[tuple[str, str]]:
    extracted = extract(path)
    return [(part.title, extracted.text[part.start : part.end].strip()) for part in extracted.sections]


def test_markdown_headings_are_titles_and_code_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(MARKDOWN)
    assert titled(tmp_path / "a.md") == [
        ("Handbook", "Before all."),
        ("Handbook > Install", "Run `make`.\n\n```sh\n# no heading\nmake\n```"),
        ("Handbook > Install > From source", "Unpack it\nand build."),
        ("Handbook > Install > Use it now", "- a\n---\n| a | b |\n|---|---|\ntext"),
    ]


def test_html_headings_are_titles_and_what_is_not_seen_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("selectolax")
    (tmp_path / "a.html").write_text(HTML)
    assert titled(tmp_path / "a.html") == [
        ("Shop & help > Help", "First line\nsecond"),
        ("Shop & help > Help > Returns", "Send it back.\n\none\n\ntwo\n\na | b\n\n1 | 2\n\nx\ny"),
    ]


def test_docx_headings_are_titles_and_tables_are_read(tmp_path: Path) -> None:
    docx: Any = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("Guide", 0)
    document.add_paragraph("Welcome.")
    document.add_heading("Install", 1)
    document.add_paragraph("Run make.")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "a", "b"
    document.save(tmp_path / "a.docx")
    assert titled(tmp_path / "a.docx") == [("Guide", "Welcome."), ("Install", "Run make.\n\na | b")]


def pdf(path: Path, pages: list[str], title: str = "") -> None:
    """A PDF of one line a page, written by hand."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, words in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({words}) Tj ET"
        font = "/Resources<</Font<</F1 3 0 R>>>>"
        page = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * i} 0 R{font}>>"
        objects += [page, f"<</Length {len(stream)}>>\nstream\n{stream}\nendstream"]
    objects.append(f"<</Title({title})>>")
    raw, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(raw))
        raw += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(objects) + 1
    trailer = f"trailer\n<</Size {count}/Root 1 0 R/Info {count - 1} 0 R>>\nstartxref\n{len(raw)}\n%%EOF\n"
    path.write_bytes(raw + f"xref\n0 {count}\n0000000000 65535 f \n{table}{trailer}".encode())


def test_pdf_chunks_know_their_page(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    pdf(tmp_path / "m.pdf", ["Alpha beta gamma delta.", "Epsilon zeta eta theta."], "Manual")
    documents = list(read(tmp_path, Reading(chunking=Chunking(5, 0))).documents)
    assert [(document.id, document.title, document.text, document.source) for document in documents] == [
        ("m.pdf#1", "Manual", "Alpha beta gamma delta.", "m.pdf#page=1"),
        ("m.pdf#2", "Manual", "Epsilon zeta eta theta.", "m.pdf#page=2"),
    ]


def test_offsets_of_txt_and_md_are_those_of_pythons_open(tmp_path: Path) -> None:
    raw = (
        "\ufeffÄrger.\r\n\r\nOne two three four five six seven eight nine ten eleven twelve.\r\n# End\r\nyes 🎉 no\r\n"
    )
    (tmp_path / "a.md").write_bytes(raw.encode())
    (tmp_path / "b.txt").write_bytes(raw.encode())
    documents = list(read(tmp_path, SMALL).documents)
    assert len(documents) > 5
    for document in documents:
        with (tmp_path / document.source).open(encoding="utf-8-sig") as file:
            assert file.read()[document.start : document.end] == document.text


def test_a_folder_is_read_in_the_order_of_its_paths_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/two.txt", "a.txt", "b/one.md", ".git/x.txt", "~$lock.txt", "__MACOSX/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {Path(name).stem}")
    domain = read(tmp_path)
    assert [document.id for document in domain.documents] == ["a.txt#1", "b/one.md#1", "b/two.txt#1"]
    assert domain.kind == "files"
    assert domain.missing == ["queries", "judgements", "pairs"]
    assert len(domain.documents) == 3


def test_one_written_file_is_a_domain(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Only this.")
    assert list(read(tmp_path / "a.txt").documents) == [Document("a.txt#1", "Only this.", "", "a.txt", 0, 10)]


def test_a_readme_alone_beside_more_tables_is_not_the_data_but_more_texts_are(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,text\n1,a\n")
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("words")
    domain = read(tmp_path)
    assert domain.kind == "files"
    assert any(".csv 1" in note for note in domain.notes)


def said(path: Path, settings: Reading | None = None) -> str:
    with pytest.raises(DataError) as caught:
        list(read(path, settings).documents)
    return str(caught.value).removeprefix(f"{path}/")


def test_an_empty_folder_says_what_firth_reads(tmp_path: Path) -> None:
    assert "nothing to read: the folder is empty; firth reads BEIR folders" in said(tmp_path)
    (tmp_path / "x.png").write_bytes(b"")
    assert "nothing to read: 1 files of other kinds (.png 1)" in said(tmp_path)


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("a.txt", b"one\ntwo caf\xe9\n", "a.txt, line 2: byte 12 of the file (0xe9) is not UTF-8"),
        ("a.txt", b"\xef\xbb\xbfone\ntwo caf\xe9\n", "a.txt, line 2: byte 15 of the file (0xe9) is not UTF-8"),
        ("a.md", "hi".encode("utf-16"), "a.md, line 1: byte 1 of the file (0xff) is not UTF-8"),
        ("a.md", b"a\nb\0c", "a.md, line 2: byte 4 of the file is NUL"),
        ("a.html", b"<meta charset=nonsense>", "a.html, line 1: declares the unknown encoding 'nonsense'"),
        ("a.html", b"<meta charset=ascii>\n\x81\x8d", "a.html, line 2: byte 22 of the file is not ascii"),
        ("a.docx", b"PK nothing", "a.docx: is not a .docx file"),
        ("a.pdf", b"%PDF-1.4 nothing", "a.pdf: is not a .pdf file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_place(tmp_path: Path, name: str, raw: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(raw)
    assert says in said(tmp_path)


def test_files_that_cannot_be_read_are_counted_and_skipped_on_request(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_bytes(b"caf\xe9")
    (tmp_path / "d.txt").write_text("fine")
    assert said(tmp_path).endswith("; 2 more like it")
    domain = read(tmp_path, Reading(skip_bad=True))
    assert [document.text for document in domain.documents] == ["fine"]
    assert domain.notes[0].endswith("2 more like it")


def test_a_file_without_text_is_told_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "full.txt").write_text("words")
    pdf(tmp_path / "scan.pdf", [""])
    domain = read(tmp_path)
    assert len(domain.documents) == 1
    assert domain.notes == ["empty.txt holds no text; 1 more like it"]
    (tmp_path / "full.txt").unlink()
    (tmp_path / "empty.txt").unlink()
    assert "no text in any of its 1 files: scan.pdf holds no text; is it a scan? run OCR over it first" in said(
        tmp_path
    )


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 1001)
    assert "1,001 bytes, more than 1,000; split the file" in said(tmp_path, Reading(max_file=1000))


def test_a_page_in_another_declared_encoding_is_read(tmp_path: Path) -> None:
    pytest.importorskip("selectolax")
    (tmp_path / "a.html").write_bytes('<meta charset="iso-8859-1"><p>caf\xe9 \x80'.encode("latin-1"))
    assert next(iter(read(tmp_path).documents)).text == "café €"
