"""A folder of written files (.txt .md .html .docx .pdf) to documents: each file cut into overlapping chunks.

A document's id is the file's path in the folder and the chunk's number, "guide/install.md#3"; its title the headings
it stands under; `start` and `end` say where it stands in the file's text (see extract.py), and for a .pdf the source
says on which page: "manual.pdf#page=12".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text.chunks import chunk
from firth.text.domain import Documents, Domain
from firth.text.extract import READERS, extract
from firth.text.lines import Faults, Place, name_below
from firth.text.records import Document
from firth.text.settings import Reading
from firth.text.tokenizer import Words


def is_written(path: Path) -> bool:
    """Whether the suffix is that of a file that people write."""
    return path.suffix.lower() in READERS


def read_files(root: Path, files: Sequence[Path], settings: Reading, progress: Progress = silent) -> Domain:
    """The chunks of the files as a domain that has documents only.

    Args:
        root: what was asked for: the file itself, or the folder that ids are relative to.
        files: in the order in which they are read.
        settings: lengths of chunks, limits, what to do with files that cannot be read.
        progress: told how many chunks are checked.

    Raises:
        DataError: a file that cannot be read, with the number of those like it; or no text in any of them.
        MissingExtraError: a package for one of the formats is not installed.
    """
    documents = Documents(partial(_chunks, root, tuple(files), settings), root, skip_bad=settings.skip_bad)
    _, notes = documents.check(progress)
    if not documents.count:
        told = f": {notes[0]}" if notes else ""
        raise DataError(f"no text in any of its {len(files):,} files{told}", path=root)
    return Domain(documents, {}, {}, [], "files", ["queries", "judgements", "pairs"], root, notes)


def _chunks(root: Path, files: tuple[Path, ...], settings: Reading, faults: Faults) -> Iterator[tuple[Place, Document]]:
    tokenizer = settings.tokenizer or Words()
    for file in files:
        name = name_below(root, file)
        try:
            extracted = extract(file, limit=settings.max_file)
        except DataError as error:
            faults.add(error)
            continue
        chunks = chunk(extracted.text, tokenizer, settings.chunking, sections=extracted.sections)
        if not chunks:
            scan = "; is it a scan? run OCR over it first" if extracted.pages else ""
            faults.remark("no text", f"{name} holds no text{scan}")
        for number, part in enumerate(chunks, 1):
            page = extracted.page(part.start)
            source = name if page is None else f"{name}#page={page}"
            document = Document(f"{name}#{number}", part.text, part.title, source, part.start, part.end)
            yield Place(file, number), document
