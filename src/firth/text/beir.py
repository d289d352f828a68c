"""A BEIR folder: corpus.jsonl, queries.jsonl, qrels/<split>.tsv, each plain, .gz or .zst.

Source: Thakur et al. 2021, "BEIR", arXiv:2104.08663. A folder with a corpus alone, or without judgements, is read too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text import jsonl
from firth.text.domain import Documents, Domain, JudgedPairs
from firth.text.judged import check_judgement, documents_of, gather_queries
from firth.text.lines import COMPRESSED, Faults, Place, plain_suffix
from firth.text.qrels import read_qrels
from firth.text.records import Document, Judgements
from firth.text.settings import Reading

TRAIN = "train"  # the split whose judgements become training pairs


def is_beir(folder: Path) -> bool:
    """Whether a folder has a corpus.jsonl, compressed or not."""
    return find(folder, "corpus.jsonl") is not None


def read_beir(folder: Path, settings: Reading, progress: Progress = silent) -> Domain:
    """The folder's documents (streaming), queries, judgements by split, and the pairs of its train split.

    Raises:
        DataError: a fault in a file, with its line and the number of those like it.
    """
    corpus = find(folder, "corpus.jsonl")
    if corpus is None:
        raise DataError("no corpus.jsonl or corpus.jsonl.gz here", path=folder)

    def stream(faults: Faults) -> Iterator[tuple[Place, Document]]:
        return documents_of(corpus, jsonl.rows(corpus, faults, limit=settings.max_line), faults)

    documents = Documents(stream, corpus, skip_bad=settings.skip_bad)
    known, notes = documents.check(progress)
    if not len(known):
        raise DataError('holds no document; expected lines such as {"_id": …, "title": …, "text": …}', path=corpus)
    faults = Faults(Faults.SKIP if settings.skip_bad else Faults.GATHER)
    queries: dict[str, str] = {}
    if asked := find(folder, "queries.jsonl"):
        gather_queries(asked, jsonl.rows(asked, faults, limit=settings.max_line), queries, faults)
    judgements: dict[str, Judgements] = {}
    for file in sorted((folder / "qrels").glob("*")):
        if plain_suffix(file) == ".tsv":
            check = partial(check_judgement, file, queries=queries, known=known)
            split = file.name[: -len("".join(file.suffixes[-2:] if file.suffix in COMPRESSED else file.suffixes[-1:]))]
            judgements[split] = read_qrels(file, faults, check=check, limit=settings.max_line)
    faults.settle()
    pairs = JudgedPairs(documents, queries, judgements.get(TRAIN, {}) if queries else {})
    there = {"queries": queries, "judgements": any(judgements.values()), "pairs": pairs.judgements}
    missing = [name for name, found in there.items() if not found]
    return Domain(documents, queries, judgements, pairs, "beir", missing, folder, notes + faults.notes())


def find(folder: Path, name: str) -> Path | None:
    """The file of that name, plain or compressed.

    Raises:
        DataError: both are there, and nobody can say which counts.
    """
    found = [file for file in (folder / f"{name}{end}" for end in ("", *COMPRESSED)) if file.is_file()]
    if len(found) > 1:
        raise DataError(f"both {found[0].name} and {found[1].name} are here; remove one of them", path=folder)
    return found[0] if found else None
