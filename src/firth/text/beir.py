"""A BEIR folder: corpus.jsonl, queries.jsonl, qrels/<split>.tsv, each plain, .gz or .zst.

Source: Thakur et al. 2021, "BEIR", arXiv:2104.08663. A folder with a corpus alone, or without judgements, is read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text import fields, jsonl
from firth.text.domain import Documents, Domain, JudgedPairs, KnownIds
from firth.text.lines import COMPRESSED, Faults, LineError
from firth.text.qrels import read_qrels
from firth.text.records import Document, Judgements, Pair
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
    documents = Documents(lambda faults: _documents(corpus, faults, settings), corpus, skip_bad=settings.skip_bad)
    known, notes = documents.check(progress)
    if not len(known):
        raise DataError('holds no document; expected lines such as {"_id": …, "title": …, "text": …}', path=corpus)
    faults = Faults(Faults.SKIP if settings.skip_bad else Faults.GATHER)
    queries = _queries(find(folder, "queries.jsonl"), faults, settings)
    judgements = {
        _plain(file).removesuffix(".tsv"): _judgements(file, known, queries, faults, settings)
        for file in sorted((folder / "qrels").glob("*.tsv*"))
        if file.name.endswith((".tsv", *(f".tsv{end}" for end in COMPRESSED)))
    }
    faults.settle()
    pairs: Iterable[Pair] = JudgedPairs(documents, queries, judgements[TRAIN]) if TRAIN in judgements else []
    there = {"queries": queries, "judgements": judgements, "pairs": judgements.get(TRAIN)}
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


def _documents(corpus: Path, faults: Faults, settings: Reading) -> Iterator[tuple[int, Document]]:
    for line, row in jsonl.rows(corpus, faults, limit=settings.max_line):
        try:
            document = fields.document(row, path=corpus, line=line)
        except LineError as error:
            faults.add(error)
        else:
            yield line, document


def _queries(path: Path | None, faults: Faults, settings: Reading) -> dict[str, str]:
    queries: dict[str, str] = {}
    if path is None:
        return queries
    for line, row in jsonl.rows(path, faults, limit=settings.max_line):
        try:
            id_, text = fields.query(row, path=path, line=line)
            if id_ in queries:
                raise LineError(
                    "query twice", f'query id "{id_}" was used before; ids must be unique', path=path, line=line
                )
            queries[id_] = text
        except LineError as error:
            faults.add(error)
    return queries


def _judgements(path: Path, known: KnownIds, queries: dict[str, str], faults: Faults, settings: Reading) -> Judgements:
    """One split, every query and document of it checked to exist."""

    def check(line: int, query: str, document: str) -> None:
        if query not in queries:
            message = f'query "{query}" is not among the queries ({len(queries):,} read)'
            raise LineError(f"absent query {path}", message, path=path, line=line)
        if document not in known:
            message = f'document "{document}" is not in corpus.jsonl ({len(known):,} documents read)'
            raise LineError(f"absent document {path}", message, path=path, line=line)

    return read_qrels(path, faults, check=check, limit=settings.max_line)


def _plain(path: Path) -> str:
    return path.name.removesuffix(path.suffix) if path.suffix in COMPRESSED else path.name
