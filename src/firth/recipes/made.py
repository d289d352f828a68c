"""A domain where nobody has asked: pairs are made from its documents, and drafted questions about others measure.

    documents --- four fifths ---> harvest: title -> body, heading -> section, question -> rest, sentence -> passage
              --- one fifth -----> draft: questions that choose the epoch (dev) and that measure (test)

Documents of one file stay on one side, so that no neighbouring chunk gives an answer away. A drafted question is made
from the words of its document and is easier than a user's: what is measured here says whether tuning helped on such
questions, and a training that did not is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b

from firth.errors import DataError
from firth.evaluate.draft import Draft, draft
from firth.recipes.domain import Work
from firth.recipes.sets import FEWEST_TO_TUNE, Sets
from firth.sentence.pairs import PairSettings, harvest
from firth.text.records import Document, Judgements

HELD = 5  # one file in so many is held out
MOST_DRAFTED = 600  # questions, one half to choose by and one to measure with


def made(work: Work, *, most: int, seed: int) -> Work:
    """The same domain with made pairs to learn from and drafted questions to measure with.

    Args:
        work: without judged queries.
        most: pairs.
        seed: of the split, the pairs and the questions.

    Returns:
        The domain as it was, with a note, where its documents are too few or too short for it.
    """
    learnt, held = (Part(work.documents, seed, held=side) for side in (False, True))
    try:
        drafts = draft(held, MOST_DRAFTED, seed=seed)
        found = harvest(learnt, PairSettings(most=most, seed=seed))
    except DataError as error:
        return replace(work, notes=(*work.notes, f"no pairs were made from the documents: {error}"))
    if len(found.pairs) < FEWEST_TO_TUNE or len(drafts) < 2 * FEWEST_TO_TUNE:
        note = (
            f"the documents give {len(found.pairs):,} pairs to learn from and {len(drafts):,} questions to measure "
            f"with; {FEWEST_TO_TUNE} and {2 * FEWEST_TO_TUNE} are needed to tune"
        )
        return replace(work, notes=(*work.notes, note))
    queries = {f"made {i}": pair.query for i, pair in enumerate(found.pairs)}
    queries |= {f"drafted {i}": drafted.query for i, drafted in enumerate(drafts)}
    train = {f"made {i}": {source: 1.0} for i, source in enumerate(found.sources)}
    asked = {" ".join(drafted.query.casefold().split()) for drafted in drafts}
    train = {name: found for name, found in train.items() if " ".join(queries[name].casefold().split()) not in asked}
    sets = Sets(train, _judged(drafts, 0), _judged(drafts, 1))
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(found.counts.items()))
    note = (
        f"no queries: {len(train):,} pairs were made from the documents to tune on ({kinds}); questions drafted from "
        f"held-out documents choose the epoch ({len(sets.dev):,}) and measure ({len(sets.test):,}). They are made of "
        "their documents' own words and easier than a user's: add queries.jsonl and qrels/test.tsv, or firth testset"
    )
    answers = {f"made {i}": pair.positive for i, pair in enumerate(found.pairs)}
    notes = tuple(other for other in work.notes if not other.startswith("no queries"))
    return replace(work, queries=queries, sets=sets, notes=(*notes, note), answers=answers)


class Part(Iterable[Document]):
    """The documents of one side, read anew each time."""

    def __init__(self, documents: Iterable[Document], seed: int, *, held: bool) -> None:
        self.documents, self.seed, self.held = documents, seed, held

    def __iter__(self) -> Iterator[Document]:
        return (document for document in self.documents if self._is_held(document) == self.held)

    def _is_held(self, document: Document) -> bool:
        name = f"{self.seed} {document.source or document.id}"
        return int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) % HELD == 0


def _judged(drafts: list[Draft], half: int) -> Judgements:
    """Every second draft, so that both halves have all kinds of documents."""
    return {f"drafted {i}": {drafts[i].document: 1.0} for i in range(half, len(drafts), 2)}
