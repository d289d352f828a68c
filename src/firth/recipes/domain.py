"""What a build works on: a stream of documents, the queries that matter, and who trains, chooses and measures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.recipes.sets import Sets, split
from firth.text.read import Reading, read
from firth.text.records import Document, Judgements, Pair
from firth.text.tables import TablePairs

UNJUDGED_QUERIES = 500  # kept where nothing is judged: they still tell what an index loses
TITLE_QUERIES = 300  # titles, or beginnings of texts, that stand for queries where there are none


@dataclass(frozen=True)
class Work:
    """A domain that has been read and split.

    Attributes:
        path: what was read.
        documents: may be walked through any number of times, read from disk each time.
        n: how many documents.
        queries: query id -> text: the judged ones; where there are none, others to measure the index with.
        sets: disjoint judgements.
        notes: what a person should know.
        digest: of what was read.
        pairs: those of tables, with their negatives and scores, read from disk each time; empty where there are none.
        answers: of queries that were made from documents, the text that answers them where it is not a whole document.
    """

    path: Path
    documents: Iterable[Document]
    n: int
    queries: dict[str, str]
    sets: Sets
    notes: tuple[str, ...]
    digest: str = field(repr=False)
    answers: Mapping[str, str] = field(default_factory=dict, repr=False)
    pairs: Iterable[Pair] = field(default=(), repr=False)

    @property
    def judged(self) -> bool:
        """Whether any query has an answer."""
        return bool(self.sets.train or self.sets.dev or self.sets.test)

    def texts(self, ids: Iterable[str]) -> dict[str, Document]:
        """These documents, by one walk through all."""
        wanted = set(ids)
        return {document.id: document for document in self.documents if document.id in wanted}


def read_domain(
    path: Path, *, seed: int, reading: Reading | None = None, searched: bool = True, progress: Progress = silent
) -> Work:
    """Read, check and split a domain.

    Args:
        reading: how; `reading_for` makes chunks as long as a model reads.
        searched: documents are needed; without it pairs are enough, such as scored sentences to tune on.

    Raises:
        DataError: nothing that firth reads, no documents, or a fault with its file and line.
    """
    domain = read(path, reading, progress=progress)
    documents, queries, judgements = domain.documents, domain.queries, domain.judgements
    n, digest = _digest(documents, queries, judgements)
    if not n and (searched or not isinstance(domain.pairs, TablePairs)):
        raise DataError("holds no documents: there is nothing to search", path=path)
    sets = split(judgements, queries, seed=seed)
    judged = {**sets.train, **sets.dev, **sets.test}
    notes = [*domain.notes, *sets.notes]
    if judged:
        queries = {query: queries[query] for query in judged}
    elif queries:
        queries = dict(islice(queries.items(), UNJUDGED_QUERIES))
        notes.append(
            "no judgements: nothing is tuned and no quality measured; queries without answers measure the index"
        )
    else:
        queries = dict(_titles(documents))
        notes.append(
            "no queries: nothing is tuned and no quality measured; titles stand for queries where the index is "
            "measured. To tune, add queries.jsonl and qrels/train.tsv, or a table of question and answer"
        )
    if judged and not sets.test:
        notes.append("no judged queries were left to measure with")
    tables = domain.pairs if isinstance(domain.pairs, TablePairs) else ()
    return Work(path, documents, n, queries, sets, tuple(notes), digest, pairs=tables)


def _digest(
    documents: Iterable[Document], queries: dict[str, str], judgements: dict[str, Judgements]
) -> tuple[int, str]:
    digest, n = hashlib.sha256(), 0
    for document in documents:
        n += 1
        for part in (document.id, document.title, document.text):
            raw = part.encode()
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
    digest.update(repr((sorted(queries.items()), judgements)).encode())
    return n, digest.hexdigest()


def _titles(documents: Iterable[Document]) -> Iterator[tuple[str, str]]:
    """Titles, or first words, of the first documents."""
    for document in islice(documents, TITLE_QUERIES):
        text = document.title or " ".join(document.text.split()[:12])
        if text:
            yield f"title of {document.id}", text
