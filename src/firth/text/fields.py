"""Which column of a row means what, by the names that people give them; and rows to documents, queries and pairs.

The names of pairs are sentence-transformers' (anchor/positive/negative, sentence1/sentence2/score, …) and
FlagEmbedding's (query, pos, neg), where `pos` and `neg` are lists.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firth.text.lines import LineError
from firth.text.records import Document, Pair

Row = dict[str, Any]

ID = ("_id", "id", "docid", "doc_id", "corpus-id", "corpus_id", "pid")
TEXT = ("text", "contents", "content", "body", "passage", "document", "abstract")
TITLE = ("title", "headline", "subject")
QUERY_ID = ("_id", "id", "qid", "query_id", "query-id")
QUERY_TEXT = ("text", "query", "question")
JUDGED_QUERY = ("query-id", "query_id", "qid")
JUDGED_DOCUMENT = ("corpus-id", "corpus_id", "doc_id", "docid", "pid")
GRADE = ("score", "grade", "relevance", "label")
SCORE = (*GRADE, "similarity")
ASKED = (  # what is asked, what answers it
    *(("anchor", second) for second in ("positive", "pos")),
    *(("query", second) for second in ("positive", "pos", "answer", "response", "passage", "document", "context")),
    *(("question", second) for second in ("positive", "answer", "response", "passage", "context")),
)
ALIKE = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("text1", "text2"))  # neither asks the other
LABELS = {"entailment": 1.0, "neutral": 0.5, "contradiction": 0.0}  # of natural language inference, as a likeness
NAMES = frozenset((*ID, *TEXT, *TITLE, *QUERY_ID, *QUERY_TEXT, *JUDGED_QUERY, *JUDGED_DOCUMENT, *GRADE, "metadata"))
_NEGATIVE = re.compile(r"(?:negatives?|neg)(?:_(\d+))?")


@dataclass(frozen=True)
class Shape:
    """Which columns of a table make pairs.

    Attributes:
        query, positive: the two sides.
        negatives: columns of texts that do not answer, in the order of their numbers.
        score: the column that says how alike the two are, None where all are.
        alike: the sides are two sentences; neither is a query.
    """

    query: str
    positive: str
    negatives: tuple[str, ...]
    score: str | None
    alike: bool


def shape(columns: Iterable[str]) -> Shape | None:
    """The pairs that a table with these columns holds, None where it holds none."""
    names = {str(column).lower(): str(column) for column in reversed(list(columns))}
    for first, second in (*ASKED, *ALIKE):
        if first in names and second in names:
            numbered = [(int(found[1] or 0), name) for name in names if (found := _NEGATIVE.fullmatch(name))]
            negatives = tuple(names[name] for _, name in sorted(numbered))
            score = next((names[name] for name in SCORE if name in names), None)
            return Shape(names[first], names[second], negatives, score, (first, second) in ALIKE)
    return None


def pairs(row: Row, shape: Shape, *, path: Path, line: int) -> Iterator[Pair]:
    """A pair for each positive of a row, all with its negatives.

    Raises:
        LineError: a side is missing, empty or no text; the score is no number.
    """
    query = words(row, (shape.query,), path=path, line=line, needed=True)
    negatives = tuple(text for name in shape.negatives for text in _texts(row, name, path, line, least=0))
    score = None if shape.score is None else _score(row, shape.score, path, line)
    for positive in _texts(row, shape.positive, path, line, least=1):
        yield Pair(query, positive, negatives, score)


def is_known(column: str) -> bool:
    """Whether a column's name means something here."""
    name = column.strip().lower()
    sides = any(name in both for both in (*ASKED, *ALIKE))
    return sides or name in NAMES or name in SCORE or bool(_NEGATIVE.fullmatch(name))


def document(row: Row, *, path: Path, line: int, unnamed: str | None = None) -> Document:
    """A row of a corpus: an id (or the one given for rows that have none), a text, perhaps a title.

    Raises:
        LineError: the id or the text is missing, or is not text.
    """
    metadata = row.get("metadata")
    origin: Row = metadata if isinstance(metadata, dict) else {}
    start, end = origin.get("start", 0), origin.get("end", 0)
    cut = isinstance(start, int) and isinstance(end, int)
    title = named(row, TITLE)
    return Document(
        unnamed if unnamed is not None else identifier(row, ID, path=path, line=line),
        words(row, TEXT, path=path, line=line),
        "" if title is None or row[title] is None else words(row, (title,), path=path, line=line),
        str(origin.get("source", "")),
        start if cut else 0,
        end if cut else 0,
    )


def query(row: Row, *, path: Path, line: int) -> tuple[str, str]:
    """A row of queries: an id and a text.

    Raises:
        LineError: either is missing, or is not text.
    """
    return identifier(row, QUERY_ID, path=path, line=line), words(row, QUERY_TEXT, path=path, line=line)


def judgement(row: Row, *, path: Path, line: int) -> tuple[str, str, float]:
    """A row of judgements: query id, document id and grade, 1 where there is no such column.

    Raises:
        LineError: an id is missing; the grade is no number.
    """
    grade = named(row, GRADE)
    return (
        identifier(row, JUDGED_QUERY, path=path, line=line),
        identifier(row, JUDGED_DOCUMENT, path=path, line=line),
        1.0 if grade is None else _score(row, grade, path, line),
    )


def named(row: Iterable[str], names: tuple[str, ...]) -> str | None:
    """The first of the names that is a column of the row, whatever its case."""
    for name in names:
        if name in row:
            return name
    lower = {str(column).lower(): str(column) for column in row}
    return next((lower[name] for name in names if name in lower), None)


def identifier(row: Row, names: tuple[str, ...], *, path: Path, line: int) -> str:
    """The row's id; a whole number is taken as its digits."""
    name = named(row, names)
    value = None if name is None else row[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value
    raise _wrong(row, names, "a text or a whole number", path, line)


def words(row: Row, names: tuple[str, ...], *, path: Path, line: int, needed: bool = False) -> str:
    """The row's text under one of the names; `needed` refuses an empty one."""
    name = named(row, names)
    value = None if name is None else row[name]
    if isinstance(value, str) and (value.strip() or not needed):
        return value
    raise _wrong(row, names, "a text that is not empty" if needed else "a text", path, line)


def _texts(row: Row, name: str, path: Path, line: int, *, least: int) -> list[str]:
    """A column of one text or a list of them; an absent or empty one is none."""
    value = row.get(name)
    if least == 0 and (value is None or value == ""):
        return []
    texts = value if isinstance(value, list | tuple) else [value]
    if len(texts) >= least and all(isinstance(text, str) and text.strip() for text in texts):
        return list(texts)
    raise _wrong(row, (name,), "a text that is not empty, or a list of such", path, line)


def _score(row: Row, name: str, path: Path, line: int) -> float:
    value = row.get(name)
    if isinstance(value, str) and value.strip().lower() in LABELS:
        return LABELS[value.strip().lower()]
    try:
        score = float(value)  # type: ignore[arg-type]  # what is no number raises below
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise _wrong(row, (name,), "a number", path, line)
    return score


def _wrong(row: Row, names: tuple[str, ...], expected: str, path: Path, line: int) -> LineError:
    name = named(row, names)
    if name is not None:
        return LineError(f"{name} value", f'"{name}" is {_short(row[name])}, expected {expected}', path=path, line=line)
    there = ", ".join(f'"{column}"' for column in row) or "none"
    message = f'no "{names[0]}" among the columns ({there}); name one of them {" or ".join(names[:2])}'
    return LineError(f"{names[0]} absent", message, path=path, line=line)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
