"""Inputs that want to hurt: damaged in any way, endless, nested without end; only firth's own errors come out."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firth.errors import DataError, FirthError
from firth.text.read import Reading, read

MUTANTS = 60  # a format


def docx() -> bytes:
    library: Any = pytest.importorskip("docx")
    document = library.Document()
    document.add_heading("Guide", 1)
    document.add_paragraph("Welcome to the guide.")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def parquet() -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    file = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a", "b"], "text": ["one", "two"]}), file)
    return bytes(file.getvalue())


PAIRS = b'{"query": "q \\u00e9", "pos": ["a", "b"], "neg": ["c"]}\n{"query": "r", "pos": ["d"], "neg": []}\n'
SOUND: dict[str, Callable[[], bytes]] = {
    "corpus.jsonl": lambda: b'{"_id": "1", "title": "T", "text": "caf\xc3\xa9"}\n{"_id": "2", "text": "b"}\n',
    "pairs.jsonl": lambda: PAIRS,
    "pairs.jsonl.gz": lambda: gzip.compress(PAIRS, mtime=0),
    "list.json": lambda: b'[{"query": "q", "answer": "a"}, {"query": "r", "answer": "b"}]',
    "docs.csv": lambda: b'id,title,text\n1,"a, ""b""","two\nlines"\n2,,c\n',
    "docs.tsv": lambda: b'id\ttext\n1\t"a"\n2\tb\n',
    "test.qrels": lambda: b"q 0 d 1\nq 0 e 0\n",
    "a.md": lambda: b"---\ntitle: x\n---\n# A\n\ntext\n\n```\ncode\n```\nB\n---\nmore\n",
    "a.html": lambda: b"<html><head><title>T</title><meta charset=utf-8><body><h1>A</h1><p>b<br>c<table><td>1</table>",
    "a.docx": docx,
    "a.pdf": lambda: (
        b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\n"
        b"endobj\n3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>\nendobj\ntrailer\n<</Root 1 0 R>>\n%%EOF\n"
    ),
    "x.parquet": parquet,
}


def mutant(raw: bytes, chance: random.Random) -> bytes:
    """The bytes with one to three things wrong with them."""
    changed = bytearray(raw)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(changed) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            changed[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del changed[place : place + chance.randint(1, 9)]
        elif kind == 2:
            changed[place:place] = chance.choice(
                [b"\0", b"\xff\xfe", b'"', b"\n", b"\\ud800", b"{", b"\t", b"<", b"\r"]
            )
        elif kind == 3:
            changed[place:place] = changed[: chance.randint(1, 20)]
        else:
            del changed[place:]
    return bytes(changed)


@pytest.mark.parametrize("name", SOUND)
def test_a_damaged_file_gives_what_is_sound_or_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    raw = SOUND[name]()
    chance = random.Random(name)
    path = tmp_path / name
    refusals = []
    for _ in range(MUTANTS):
        path.write_bytes(mutant(raw, chance))
        for settings in (Reading(), Reading(skip_bad=True)):
            try:
                domain = read(path, settings)
                list(domain.documents)
                list(domain.pairs)
            except FirthError as error:
                refusals.append(str(error))
    assert refusals
    assert [refusal for refusal in refusals if str(path) not in refusal] == []


def test_a_line_of_50_mb_is_refused_by_its_number_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    with path.open("wb") as file:
        file.write(b'{"_id": "a", "text": "fine"}\n{"_id": "b", "text": "' + b"x" * (50 << 20) + b'"}\n')
    with pytest.raises(DataError, match=r"line 2: longer than 33,554,432 bytes; one record a line is expected"):
        read(tmp_path)
    domain = read(tmp_path, Reading(max_line=64 << 20))
    assert [len(document.text) for document in domain.documents] == [4, 50 << 20]


def test_an_endless_line_in_a_small_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(bytes(100 << 20), 1))
    with pytest.raises(DataError, match="line 1: longer than"):
        read(tmp_path)


def test_a_quote_that_never_closes_is_found_within_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('id,text\n1,fine\n2,"' + "open\n" * 100_000)
    with pytest.raises(DataError, match=r"line 3: not CSV"):
        read(path, Reading(max_line=1 << 17))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '{"_id": "a", "text": ' + "9" * 10_000 + "}"])
def test_json_that_nests_or_counts_without_end_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "corpus.jsonl").write_text(text + "\n")
    with pytest.raises(DataError, match="line 1"):
        read(tmp_path)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError):
        read(tmp_path / "x.json")


def test_a_page_that_nests_deeply_is_read_and_without_end_refused(tmp_path: Path) -> None:
    pytest.importorskip("selectolax")
    (tmp_path / "a.html").write_text("<div><b>" * 2_000 + "deep" + "<p>x" * 20_000)
    assert next(iter(read(tmp_path).documents)).text.startswith("deep\n\nx")
    (tmp_path / "a.html").write_text("<div>" * 1_000_000)
    with pytest.raises(DataError, match="nests 1,000,000 elements inside one another"):
        read(tmp_path)


def test_a_docx_that_unzips_to_more_than_any_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docx")
    monkeypatch.setattr("firth.text.extract.DOCX_BLOAT", 1)
    with zipfile.ZipFile(tmp_path / "a.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(65 << 20))
    with pytest.raises(DataError, match="unzips to 68,157,440 bytes, which no text document does"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["external", "swelling"])
def test_a_docx_whose_entities_name_files_or_swell_gives_neither(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    swelling = '<!ENTITY e0 "xxxxxxxxxx">' + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    entities = {"external": f'<!ENTITY e8 SYSTEM "file://{secret}">', "swelling": swelling}[kind]
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx())) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.infolist():
            raw = old.read(entry)
            if entry.filename == "word/document.xml":
                raw = raw.replace(b"?>", f"?><!DOCTYPE x [{entities}]>".encode(), 1).replace(
                    b"Welcome", b"Welcome &e8;"
                )
            new.writestr(entry, raw)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.docx").write_bytes(file.getvalue())
    try:
        text = " ".join(document.text for document in read(tmp_path / "docs").documents)
    except DataError as error:
        text = str(error)
    assert "SECRET" not in text
    assert len(text) < 10_000


def test_a_folder_of_loops_pipes_and_odd_names_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "sub.txt").mkdir()
    (tmp_path / "sub.txt" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")).write_text("words")
    domain = read(tmp_path)
    assert [document.id for document in domain.documents] == ["caf\\xe9.txt#1"]
    assert json.dumps([document.source for document in domain.documents]).encode()


STREAM = """
import resource, sys
from firth.text.read import read
resident = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = resident()
domain = read(sys.argv[1])
characters = sum(len(document.text) for document in domain.documents)
print(len(domain.documents), characters, resident() - before)
"""


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_corpus_is_never_held_in_memory(tmp_path: Path, suffix: str) -> None:
    text = "all work and no play makes a dull corpus " * 200
    count = 20_000
    path = tmp_path / f"corpus.jsonl{suffix}"
    with gzip.open(path, "wt", compresslevel=1) if suffix else path.open("w") as file:
        for i in range(count):
            file.write(f'{{"_id": "document {i}", "text": "{text}"}}\n')
    run = subprocess.run([sys.executable, "-c", STREAM, tmp_path], capture_output=True, text=True, check=True)
    documents, characters, growth = run.stdout.split()
    assert int(documents) == count
    assert int(characters) == count * len(text) > 160_000_000
    assert float(growth) < 30  # MiB, of 164 MB
