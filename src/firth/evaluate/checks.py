"""What is wrong with a test set before anything is measured on it.

repeated   two queries ask the same
quotes     a query stands word for word in its answer, so that any search finds it
unjudged   a near copy of a relevant document is not judged, so that finding it counts as a fault
language   a query is in another language than every answer of it: meant so, or a mix-up?
few        a slice has too few queries to say anything
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from firth.evaluate.flips import snippet
from firth.evaluate.judge import TestSet
from firth.evaluate.language import UNKNOWN
from firth.evaluate.overlap import Near, duplicates, normalised, overlap

FEWEST = 30  # queries of a slice; below that an interval of recall is wider than a third
LONG_ENOUGH = 4  # words of a query from which standing in its answer is a quotation and not a name


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, the query or slice, and what it is in one line."""

    kind: str
    subject: str
    told: str


def check_testset(
    testset: TestSet, *, slices: Mapping[str, str] | None = None, language: Callable[[str], str] | None = None
) -> list[Finding]:
    """Look for the faults at the head of this file.

    Args:
        slices: query id -> slice, for instance its language or the kind of its draft.
        language: names the language of a text (`language.teller()`); None leaves that fault out.
    """
    judged = {query: set(grades) for query, grades in testset.judgements.items() if query in testset.queries}
    positives = {
        query: [id_ for id_, grade in testset.judgements[query].items() if grade > 0 and id_ in testset.documents]
        for query in judged
    }
    found = [
        Finding("repeated", pair.first, f"asks the same as {pair.second!r}: {snippet(testset.queries[pair.first], 80)}")
        for pair in duplicates({query: testset.queries[query] for query in judged}, Near(least=0.8))
    ]
    found += [
        Finding("quotes", query, f"stands word for word in its answer {id_!r}")
        for query, documents in positives.items()
        for id_ in documents
        if _quotes(testset.queries[query], testset.documents[id_].full)
    ]
    texts = {id_: document.full for id_, document in testset.documents.items()}
    wanted = {id_ for documents in positives.values() for id_ in documents}
    rest = {id_: text for id_, text in texts.items() if id_ not in wanted}
    copies = overlap({id_: texts[id_] for id_ in wanted}, rest, Near(words=5, least=0.7))
    copy_of = {pair.first: pair for pair in copies.pairs}
    for query, documents in positives.items():
        for id_ in documents:
            pair = copy_of.get(id_)
            if pair is not None and pair.second not in judged[query]:
                told = f"{pair.second!r} is {100 * pair.similarity:.0f} % like its answer {id_!r} and is not judged"
                found.append(Finding("unjudged", query, told))
    found += _foreign(testset, positives, language) if language is not None else []
    counts = Counter((slices or {}).get(query, "all queries") for query in judged)
    found += [
        Finding("few", name, f"{count} queries; {FEWEST} are the least for an interval that says something")
        for name, count in sorted(counts.items())
        if count < FEWEST
    ]
    return found


def _foreign(testset: TestSet, positives: Mapping[str, list[str]], language: Callable[[str], str]) -> list[Finding]:
    found = []
    for query, documents in positives.items():
        text = testset.queries[query]
        if not documents or len(text.split()) < LONG_ENOUGH:
            continue
        own = language(text)
        answers = {language(testset.documents[id_].full) for id_ in documents}
        if own not in answers and UNKNOWN not in (own, *answers):
            told = f"is in {own}, its answers are in {', '.join(sorted(answers))}: {snippet(text, 60)}"
            found.append(Finding("language", query, told))
    return found


def _quotes(query: str, answer: str) -> bool:
    words = normalised(query)
    return len(words.split()) >= LONG_ENOUGH and f" {words} " in f" {normalised(answer)} "
