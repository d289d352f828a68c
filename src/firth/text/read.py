"""One door for every input: look at what a path holds, read it, say what is missing.

a folder with corpus.jsonl                 BEIR
.jsonl .json .csv .tsv .parquet            rows, by the names of their columns
.qrels, or a text file of its shape        TREC judgements
.txt .md .html .docx .pdf                  documents, cut into chunks
a folder of these                          as its files; where tables and written files are mixed, as the more common
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text.beir import is_beir, read_beir
from firth.text.domain import Documents, Domain
from firth.text.extract import READERS
from firth.text.folder import is_written, read_files
from firth.text.lines import lines
from firth.text.qrels import is_qrels_line, is_run_line, read_qrels
from firth.text.questions import read_questions
from firth.text.settings import Reading
from firth.text.table import KINDS, is_table, split_of
from firth.text.tables import read_tables

__all__ = ["Documents", "Domain", "Reading", "read"]

ASIDE = ("readme", "license", "licence", "notice", "changelog", "copying", "citation")  # said of data, not data
TREC = (".qrels", ".qrel", ".trec", ".run", ".txt")


def read(path: Path | str, settings: Reading | None = None, *, progress: Progress = silent) -> Domain:
    """What the path holds, whatever its format; everything in it is checked once, and nothing large is kept.

    Args:
        path: a file or a folder.
        settings: names of columns, lengths of chunks, limits, what to do with bad records.
        progress: told how many documents are checked.

    Raises:
        DataError: nothing there, nothing that firth reads, or a fault with its file, line, value and remedy.
        MissingExtraError: the package that reads this format is not installed; says the command that adds it.
    """
    path = Path(path)
    settings = settings or Reading()
    if not path.exists():
        raise DataError("there is no such file or folder", path=path)
    domain = _folder(path, settings, progress) if path.is_dir() else _file(path, settings, progress)
    if {"documents", "judgements", "pairs"} <= set(domain.missing):
        raise DataError("holds no document, judgement or pair; is it the right one?", path=path)
    return domain


def _file(path: Path, settings: Reading, progress: Progress) -> Domain:
    if path.suffix.lower() == ".json" and (domain := read_questions(path, settings)):
        return domain
    if is_table(path):
        return read_tables(path, [path], settings, progress)
    if path.suffix.lower() in TREC and (first := _first_line(path)):
        if is_run_line(first):
            raise DataError("is a TREC run: results, not data; firth.text.qrels.read_run reads it", path=path)
        if is_qrels_line(first):
            judgements = {split_of(path) or "test": read_qrels(path, limit=settings.max_line)}
            nothing = Documents(lambda _: iter(()), path, count=0)
            return Domain(nothing, {}, judgements, [], "trec", ["documents", "queries", "pairs"], path)
    if is_written(path):
        return read_files(path, [path], settings, progress)
    raise DataError(f"firth does not read {path.suffix or 'files without a suffix'}; it reads {_readable()}", path=path)


def _folder(path: Path, settings: Reading, progress: Progress) -> Domain:
    if is_beir(path):
        return read_beir(path, settings, progress)
    inner = sorted(folder.name for folder in path.iterdir() if folder.is_dir() and is_beir(folder))
    if inner:
        raise DataError(f"holds several data sets ({', '.join(inner[:8])}); name one of them", path=path)
    files = _files(path)
    tables = [file for file in files if is_table(file)]
    written = [file for file in files if is_written(file)]
    data = [file for file in written if not file.stem.lower().startswith(ASIDE)]
    if tables and len(tables) >= len(data):
        domain, read_ones = read_tables(path, tables, settings, progress), tables
    elif written:
        # Beside tables a README speaks of the data; in a folder of documents it is one.
        domain, read_ones = read_files(path, written, settings, progress), written
    else:
        there = f"{len(files):,} files of other kinds ({_kinds(files)})" if files else "the folder is empty"
        raise DataError(f"nothing to read: {there}; firth reads {_readable()}", path=path)
    left = sorted(set(files) - set(read_ones))
    if left:
        domain.notes.append(f"left out: {len(left):,} files of other kinds ({_kinds(left)})")
    return domain


def _files(folder: Path) -> list[Path]:
    """Every file below a folder in the order of its path; hidden ones and those that Office locks with are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        found += [Path(place, name) for name in names if not name.startswith((".", "~$", "__"))]
    return sorted(file for file in found if file.is_file())


def _first_line(path: Path) -> str:
    return " ".join(line.decode(errors="replace") for _, line in islice(lines(path), 1))


def _kinds(files: list[Path]) -> str:
    counts = Counter(file.suffix.lower() or file.name for file in files)
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common(5))


def _readable() -> str:
    return f"BEIR folders, TREC qrels, {' '.join(KINDS)} {' '.join(READERS)}"
