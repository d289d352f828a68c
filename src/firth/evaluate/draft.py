"""A test set of one's own: questions drafted from the documents, put before a person, and read back.

    draft          documents -> some hundred (query, document) pairs, spread over length, language and source
    write_review   a CSV that opens in any spreadsheet; the person writes keep, edit or drop beside each
    read_review    what was kept, as queries and judgements; what is unclear is named by line

Queries come from titles, from headings ("Guide > Install" asks for both), from sentences cut down to a clause, from
"X is …" turned into "what is X", and from the words that set a document apart. They are drafts: a query cropped from
its answer is easier than a user's, and that is why a person looks at each. Sources: independent cropping, Izacard et
al. 2022, arXiv:2112.09118; query extraction, Meng et al. 2022 (AugTriever), arXiv:2212.08841.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from firth.errors import DataError, SettingsError
from firth.evaluate.flips import snippet
from firth.evaluate.overlap import normalised
from firth.files import write_text

KINDS = ("title", "heading", "question", "sentence", "keywords")
VERDICTS = ("keep", "edit", "drop")
COLUMNS = ("verdict", "query", "document", "kind", "stratum", "title", "passage")
DELIMITERS = (",", ";", "\t")  # what spreadsheets save a CSV with, by country
HEADINGS = " > "  # between the headings that stand above a chunk, outermost first
FEWEST_WORDS = 8  # of a document; shorter ones say too little to be asked for
CLAUSE = 14  # words of a sentence that are kept
KEYWORDS = 5  # words of a keyword query
_LENGTHS = ((60, "short"), (250, "middle"))  # words; longer is "long"
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+")
_CLAUSE = re.compile(r"[,;:()–—]\s*")
_IS = re.compile(r"^(?:the |a |an )?([A-Z][\w\- ]{2,60}?) (is|are|was|were) (?:an? |the |one of )", re.UNICODE)


class Drafted(Protocol):
    """A document that questions can be drafted from; `firth.text.records.Document` is one."""

    @property
    def id(self) -> str:
        """Unique."""

    @property
    def title(self) -> str:
        """May be empty."""

    @property
    def text(self) -> str:
        """What is below the title."""

    @property
    def source(self) -> str:
        """The file it came from; may be empty."""


@dataclass(frozen=True)
class Draft:
    """One drafted pair.

    Attributes:
        kind: one of KINDS, how the query was made.
        stratum: length, language and source that the document stands for.
    """

    query: str
    document: str
    kind: str
    stratum: str
    title: str
    passage: str


def draft(
    documents: Iterable[Drafted], n: int = 300, *, seed: int = 0, language: Callable[[str], str] | None = None
) -> list[Draft]:
    """Draft up to n pairs, each from another document, spread evenly over what the documents differ in.

    Documents are read once and at most n of each stratum are held.

    Args:
        language: names the language of a text, for instance py3langid's; None leaves languages out of the strata.
        seed: of the choice of documents and of the kind of query.

    Raises:
        SettingsError: n < 1.
        DataError: no document is long enough to be asked for.
    """
    if n < 1:
        raise SettingsError(f"n={n}: draft at least one query; 200 to 500 tell whether tuning helped")
    rng = np.random.default_rng(seed)
    strata, common = _reservoirs(documents, n, rng, language)
    if not strata:
        raise DataError(f"no document has {FEWEST_WORDS} words or more; there is nothing to draft queries from")
    drafts: list[Draft] = []
    seen: set[str] = set()
    for name, document in _in_turn(strata, rng):
        if len(drafts) == n:
            break
        made = _queries(document, common)
        kinds = [
            kind for kind in rng.permutation(KINDS).tolist() if kind in made and normalised(made[kind]) not in seen
        ]
        if kinds:
            seen.add(normalised(made[kinds[0]]))
            passage = snippet(document.text, 400)
            drafts.append(Draft(made[kinds[0]], document.id, kinds[0], name, document.title, passage))
    return drafts


def write_review(path: Path | str, drafts: Sequence[Draft]) -> None:
    """A CSV with an empty verdict beside each draft: write keep, drop, or edit after changing the query."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for made in drafts:
        cells = ("", made.query, made.document, made.kind, made.stratum, made.title, made.passage)
        writer.writerow([_harmless(cell) for cell in cells])
    write_text(path, "\ufeff" + file.getvalue())  # the mark tells spreadsheets that this is UTF-8


@dataclass(frozen=True)
class Reviewed:
    """What a person kept.

    Attributes:
        queries: query id -> text.
        judgements: query id -> document id -> 1.
        dropped, waiting: drafts that were dropped, and that nobody has looked at yet.
        slices: query id -> stratum of its first draft; empty where the file has no such column.
    """

    queries: dict[str, str]
    judgements: dict[str, dict[str, float]]
    dropped: int
    waiting: int
    slices: dict[str, str]


def read_review(path: Path | str, documents: Mapping[str, object]) -> Reviewed:
    """Read a reviewed CSV back; the same query kept for several documents becomes one query with several answers.

    Args:
        documents: by id; every kept draft must name one.

    Raises:
        DataError: the file is not UTF-8, columns are missing, a line has more cells than the head, a verdict is none of
            keep, edit, drop or empty, a kept query is empty, a document is not there; names the line.
    """
    path = Path(path)
    rows = _rows(path)
    answers: dict[str, dict[str, float]] = defaultdict(dict)
    texts: dict[str, str] = {}
    slices: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row in rows:
        if None in row:
            told = f"{len(row) - 1 + len(row[None])} cells under {len(row) - 1} headings; put quotes around a comma"
            raise DataError(told, path=path, line=rows.line_num)
        verdict = (row["verdict"] or "").strip().casefold()
        counts[verdict] += 1
        if verdict in ("keep", "edit"):
            query, document = (row["query"] or "").strip(), _unguarded(row["document"] or "")
            key = normalised(query)
            if not key:
                raise DataError("a kept query is empty; write one, or drop it", path=path, line=rows.line_num)
            if document not in documents:
                raise DataError(f"document {document!r} is not in the collection", path=path, line=rows.line_num)
            texts.setdefault(key, _unguarded(query))
            slices.setdefault(key, _unguarded(row.get("stratum") or ""))
            answers[key][document] = 1.0
        elif verdict not in ("", "drop"):
            told = f"verdict {row['verdict']!r}: expected one of {', '.join(VERDICTS)}, or nothing"
            raise DataError(told, path=path, line=rows.line_num)
    names = {key: f"q{i}" for i, key in enumerate(texts, 1)}
    return Reviewed(
        queries={names[key]: text for key, text in texts.items()},
        judgements={names[key]: dict(found) for key, found in answers.items()},
        dropped=counts["drop"],
        waiting=counts[""],
        slices={names[key]: part for key, part in slices.items() if part},
    )


def _rows(path: Path) -> csv.DictReader[str]:
    """The lines of a review file under their headings, whichever delimiter the spreadsheet saved it with."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        told = f"byte {error.start} is not UTF-8; save the sheet as CSV in UTF-8"
        raise DataError(told, path=path, line=line) from error
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=head.count))
    missing = [name for name in ("verdict", "query", "document") if name not in (rows.fieldnames or ())]
    if missing:
        raise DataError(f"no column {', '.join(missing)}; expected {', '.join(COLUMNS)}", path=path, line=1)
    return rows


def _reservoirs(
    documents: Iterable[Drafted], n: int, rng: np.random.Generator, language: Callable[[str], str] | None
) -> tuple[dict[str, list[Drafted]], Counter[str]]:
    """Up to n documents of each stratum, each as likely as the next, and in how many documents each word stands."""
    held: dict[str, list[Drafted]] = defaultdict(list)
    seen: Counter[str] = Counter()
    common: Counter[str] = Counter()
    for document in documents:
        words = normalised(document.text).split()
        common.update(set(words))
        if len(words) < FEWEST_WORDS:
            continue
        length = next((name for most, name in _LENGTHS if len(words) < most), "long")
        folder = str(Path(document.source).parent) if document.source else "."
        parts = [length, language(document.text) if language else "", "" if folder == "." else folder]
        name = " ".join(part for part in parts if part)
        seen[name] += 1
        place = int(rng.integers(0, seen[name]))
        if len(held[name]) < n:
            held[name].append(document)
        elif place < n:
            held[name][place] = document
    return held, common


def _in_turn(strata: Mapping[str, list[Drafted]], rng: np.random.Generator) -> Iterable[tuple[str, Drafted]]:
    """One document of each stratum after another, in shuffled order, until all are used."""
    queues = {name: [strata[name][i] for i in rng.permutation(len(strata[name]))] for name in sorted(strata)}
    while queues:
        for name in list(queues):
            yield name, queues[name].pop()
            if not queues[name]:
                del queues[name]


def _queries(document: Drafted, common: Counter[str]) -> dict[str, str]:
    """Kind -> query, for the kinds that this document allows."""
    made: dict[str, str] = {}
    sentences = [" ".join(part.split()) for part in _SENTENCE.split(document.text) if len(part.split()) >= 6]
    title = " ".join(document.title.split())
    if HEADINGS in title:
        # The two innermost: the outer ones say which book it is, not what is asked.
        made["heading"] = " ".join(reversed(title.split(HEADINGS)[-2:]))
    elif 3 <= len(title.split()) <= 24:
        made["title"] = title
    subject = next((match for match in map(_IS.match, sentences) if match), None)
    if subject:
        made["question"] = f"what {subject[2]} {subject[1]}"
    if sentences:
        # The middle one: what comes first is often what the title says.
        clauses = [part for part in _CLAUSE.split(sentences[len(sentences) // 2]) if len(part.split()) >= 4]
        if clauses:
            made["sentence"] = " ".join(max(clauses, key=len).rstrip(".!?。！？").split()[:CLAUSE])
    counts = Counter(word for word in normalised(document.text).split() if len(word) > 2 and not word.isdigit())
    apart = sorted(counts, key=lambda word: (-counts[word] / common[word], common[word], word))[:KEYWORDS]
    if len(apart) == KEYWORDS:
        places = {word: place for place, word in reversed(list(enumerate(normalised(document.text).split())))}
        made["keywords"] = " ".join(sorted(apart, key=places.__getitem__))
    return made


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet would run as a formula gets a quote before it."""
    return "'" + cell if cell[:1] in "=+-@\t\r" and cell else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:2] in ("=", "+", "-", "@") else cell
