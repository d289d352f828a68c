"""Judgements and runs on disk: BEIR's three columns with a header, TREC's qrels and run files.

BEIR    query-id <tab> corpus-id <tab> score                 a header, then a line a judgement
TREC    query iteration document grade                       separated by spaces or tabs, no header
run     query Q0 document rank score tag                     best first within a query
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from firth.errors import DataError
from firth.files import write_text
from firth.text.lines import MAX_LINE, Faults, LineError, lines, text_of
from firth.text.records import Judgements

Run = dict[str, dict[str, float]]  # query id -> document id -> score, larger is better
HEADS = ("query-id", "query_id", "qid", "query")  # first column of a header line
Check = Callable[[int, str, str], None]


def read_qrels(
    path: Path | str, faults: Faults | None = None, *, check: Check | None = None, limit: int = MAX_LINE
) -> Judgements:
    """Judgements from either spelling.

    Args:
        path: plain or compressed.
        faults: what to do about bad lines; None gathers them into one error.
        check: called with line, query and document of each; raises LineError for one that cannot be.
        limit: bytes, the longest line.

    Raises:
        DataError: a wrong number of columns, a grade that is no number, a document judged twice with other grades.
    """
    path = Path(path)
    gathered = faults or Faults(Faults.GATHER)
    judgements: Judgements = {}
    first = True
    for number, line in lines(path, limit=limit):
        try:
            text = text_of(path, number, line)
            fields = text.split("\t") if text.count("\t") in (2, 3) else text.split()
            header = first and fields[0].lower() in HEADS and not _is_number(fields[-1])
            first = False
            if not header:
                _judge(judgements, fields, path, number, check)
        except LineError as error:
            gathered.add(error)
    if faults is None:
        gathered.settle()
    return judgements


def write_qrels(path: Path | str, judgements: Judgements) -> None:
    """TREC qrels, whole or not at all.

    Raises:
        DataError: an id that holds white space, which the format cannot hold.
    """
    rows = [
        f"{_bare(query)} 0 {_bare(document)} {_figure(grade)}\n"
        for query, grades in judgements.items()
        for document, grade in grades.items()
    ]
    write_text(path, "".join(rows))


def read_run(path: Path | str, *, limit: int = MAX_LINE) -> Run:
    """A TREC run: six columns, of which query, document and score count; the rank is derived from the score.

    Raises:
        DataError: a wrong number of columns, a score that is no number, a document ranked twice.
    """
    path = Path(path)
    faults = Faults(Faults.GATHER)
    run: Run = {}
    for number, line in lines(path, limit=limit):
        try:
            fields = text_of(path, number, line).split()
            if len(fields) != 6:
                message = f"{len(fields)} columns, expected 6: query Q0 document rank score tag"
                raise LineError("columns", message, path=path, line=number)
            query, _, document, _, score, _ = fields
            ranked = run.setdefault(query, {})
            if document in ranked:
                message = f'document "{document}" was ranked before for query "{query}"'
                raise LineError("twice", message, path=path, line=number)
            ranked[document] = _number(score, "score", path, number)
        except LineError as error:
            faults.add(error)
    faults.settle()
    return run


def write_run(path: Path | str, run: Run, tag: str = "firth") -> None:
    """A TREC run, best first, equal scores in the order of document ids; whole or not at all.

    Raises:
        DataError: an id or the tag holds white space.
    """
    rows = []
    for query, scores in run.items():
        ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        rows += [
            f"{_bare(query)} Q0 {_bare(document)} {rank} {_figure(score)} {_bare(tag)}\n"
            for rank, (document, score) in enumerate(ranked, 1)
        ]
    write_text(path, "".join(rows))


def is_qrels_line(line: str) -> bool:
    """Whether a line is TREC's four columns: query, a whole number, document, a whole number."""
    cells = line.split()
    return len(cells) == 4 and all(cell.lstrip("-").isdigit() for cell in (cells[1], cells[3]))


def is_run_line(line: str) -> bool:
    """Whether a line is a run's six columns: query Q0 document rank score tag."""
    cells = line.split()
    return len(cells) == 6 and cells[3].isdigit() and _is_number(cells[4])


def _judge(judgements: Judgements, fields: list[str], path: Path, number: int, check: Check | None) -> None:
    if len(fields) not in (3, 4):
        message = (
            f"{len(fields)} columns, expected 3 (query-id, corpus-id, score, between tabs) "
            "or TREC's 4 (query, iteration, document, grade)"
        )
        raise LineError("columns", message, path=path, line=number)
    query, document = fields[0], fields[-2]
    grade = _number(fields[-1], "grade", path, number)
    if check is not None:
        check(number, query, document)
    grades = judgements.setdefault(query, {})
    if grades.get(document, grade) != grade:
        message = (
            f'document "{document}" was judged {_figure(grades[document])} for query "{query}" before, now {fields[-1]}'
        )
        raise LineError("judged twice", message + "; keep one of them", path=path, line=number)
    grades[document] = grade


def _number(text: str, what: str, path: Path, number: int) -> float:
    if not _is_number(text):
        message = f'the {what} is "{text}", expected a number; are the columns in the right order?'
        raise LineError("number", message, path=path, line=number)
    return float(text)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _figure(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _bare(value: str) -> str:
    if not value or any(mark.isspace() for mark in value):
        raise DataError(f"{value!r} is empty or holds white space, which TREC's files cannot hold; rename it")
    return value
