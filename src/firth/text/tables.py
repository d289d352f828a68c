"""Files of rows to a domain: corpus, queries, judgements and pairs, each in one file or several.

Pairs alone make a domain too: the distinct texts that answer are its documents, what is asked its queries, and each
pair is a judgement. Ids are then digests of the texts, so that the same text has one id in every file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text import fields
from firth.text.domain import TOLD_EVERY, Documents, Domain, JudgedPairs, KnownIds
from firth.text.judged import check_judgement, documents_of, gather_queries
from firth.text.lines import Faults, LineError, Place, name_below
from firth.text.records import Document, Judgements, Pair
from firth.text.settings import Reading
from firth.text.table import Table, UnknownShapeError, open_table

TRAIN = "train"
ROLES = ("documents", "queries", "judgements", "pairs")


def read_tables(root: Path, files: Sequence[Path], settings: Reading, progress: Progress = silent) -> Domain:
    """What the files hold together.

    Args:
        root: what was asked for: the file itself, or the folder of the files.
        files: in the order in which their rows are read.
        settings: limits and names of columns.
        progress: told how many rows are checked.

    Raises:
        DataError: a fault in a file, with its line and the number of those like it.
    """
    tables, unknown = _opened(files, settings)
    of = {role: tuple(table for table in tables if table.role == role) for role in ROLES}
    faults = Faults(Faults.SKIP if settings.skip_bad else Faults.GATHER)
    notes = [*unknown, *(table.note for table in tables if table.note)]
    queries: dict[str, str] = {}
    judgements: dict[str, Judgements] = {}
    pairs = TablePairs(of["pairs"], settings.skip_bad)
    if of["documents"]:
        documents = Documents(partial(_rows, root, of["documents"]), root, skip_bad=settings.skip_bad)
        known, remarks = documents.check(progress)
        notes += remarks
        pairs.check(faults)
        held = [table.path.name for table in of["pairs"] if table not in pairs.tables]
        notes += [f"{name}: its pairs are not used; beside a corpus, a split is given by judgements" for name in held]
    else:
        known = _derive(root, of["pairs"], queries, judgements, faults, progress)
        stream = partial(_answers, of["pairs"])
        documents = Documents(stream, root, skip_bad=settings.skip_bad, count=len(known))
    for table in of["queries"]:
        gather_queries(table.path, table.rows(faults), queries, faults)
    for table in of["judgements"]:
        _gather_judgements(table, queries, known if documents.count else None, judgements, faults)
    faults.settle()
    judged = JudgedPairs(documents, queries, judgements.get(TRAIN, {}) if queries and documents.count else {})
    found: Iterable[Pair] = pairs if pairs.tables else judged
    there = {
        "documents": documents.count,
        "queries": queries,
        "judgements": any(judgements.values()),
        "pairs": pairs.tables or judged.judgements,
    }
    missing = [name for name, present in there.items() if not present]
    kinds = {table.kind for table in tables}
    kind = kinds.pop() if len(kinds) == 1 else "tables"
    return Domain(documents, queries, judgements, found, kind, missing, root, notes + faults.notes())


class TablePairs:
    """The pairs to learn from, read anew each time they are walked through.

    A table named for dev or test is held out. One of scored sentences, which is no test of a search, is held out only
    where another is there to learn from.
    """

    def __init__(self, tables: Sequence[Table], skip_bad: bool) -> None:
        learnt = [table for table in tables if table.split in (None, TRAIN)]
        self.tables = learnt or [table for table in tables if not _asks(table)]
        self._skip_bad = skip_bad

    def __iter__(self) -> Iterator[Pair]:
        faults = Faults(Faults.SKIP if self._skip_bad else Faults.STOP)
        return (pair for table in self.tables for _, pair in table_pairs(table, faults))

    def check(self, faults: Faults) -> None:
        """Read every pair once."""
        for table in self.tables:
            for _ in table_pairs(table, faults):
                pass


def table_pairs(table: Table, faults: Faults) -> Iterator[tuple[int, Pair]]:
    """Every pair of a table with its line."""
    shape = fields.shape(table.columns)
    if shape is None:
        raise DataError(f"holds {table.role}, no pairs", path=table.path)
    for line, row in table.rows(faults):
        try:
            found = list(fields.pairs(row, shape, path=table.path, line=line))
        except LineError as error:
            faults.add(error)
        else:
            yield from ((line, pair) for pair in found)


def text_id(text: str) -> str:
    """16 hex digits that name a text: two of 10 million differ in their texts and share one with probability 3e-6."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _opened(files: Sequence[Path], settings: Reading) -> tuple[list[Table], list[str]]:
    """The files that hold something, and a note on each of the others; at least one must."""
    tables: list[Table] = []
    unknown: list[UnknownShapeError] = []
    for file in files:
        try:
            tables.append(open_table(file, settings))
        except UnknownShapeError as error:
            unknown.append(error)
    if not tables:
        raise unknown[0]
    return tables, [f"left out: {error}" for error in unknown]


def _rows(root: Path, tables: Sequence[Table], faults: Faults) -> Iterator[tuple[Place, Document]]:
    for table in tables:
        name = None if fields.named(table.columns, fields.ID) else name_below(root, table.path)
        yield from documents_of(table.path, table.rows(faults), faults, name=name)


def _answers(tables: Sequence[Table], faults: Faults) -> Iterator[tuple[Place, Document]]:
    """The distinct texts that answer in pairs, as documents."""
    seen = set()
    for table in tables:
        for line, pair in table_pairs(table, faults) if _asks(table) else ():
            for text in (pair.positive, *pair.negatives):
                id_ = text_id(text)
                if id_ not in seen:
                    seen.add(id_)
                    yield Place(table.path, line), Document(id_, text)


def _derive(
    root: Path,
    tables: Sequence[Table],
    queries: dict[str, str],
    judgements: dict[str, Judgements],
    faults: Faults,
    progress: Progress,
) -> KnownIds:
    """Queries and judgements of pairs that come without a corpus, in one pass; and the ids of their answers."""
    answers: set[str] = set()
    rows = 0
    for table in tables:
        asks = _asks(table)
        for _, pair in table_pairs(table, faults):
            rows += 1
            if rows % TOLD_EVERY == 0:
                progress(rows, 0, "checked")
            if asks:
                query, answer = text_id(pair.query), text_id(pair.positive)
                queries[query] = pair.query
                grades = judgements.setdefault(table.split or TRAIN, {}).setdefault(query, {})
                grades[answer] = 1.0 if pair.score is None else pair.score
                answers.add(answer)
                answers.update(map(text_id, pair.negatives))
    return KnownIds(np.fromiter(map(hash, answers), np.int64, len(answers)), root.name)


def _asks(table: Table) -> bool:
    """Whether pairs are of a query and its answer; two sentences with a score between them are not."""
    shape = fields.shape(table.columns)
    return shape is not None and not (shape.alike and shape.score)


def _gather_judgements(
    table: Table, queries: dict[str, str], known: KnownIds | None, judgements: dict[str, Judgements], faults: Faults
) -> None:
    split = judgements.setdefault(table.split or "test", {})
    for line, row in table.rows(faults):
        try:
            query, document, grade = fields.judgement(row, path=table.path, line=line)
            check_judgement(table.path, line, query, document, queries, known)
            split.setdefault(query, {})[document] = grade
        except LineError as error:
            faults.add(error)
