"""An encoder or a collection, and a test set, in; scores with intervals out.

An encoder is judged by exact search over all documents, so that the score is the model's and not an index's. A
collection is judged by what it returns, so that codec, graph and filters are in the score.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np

from firth.arrays import NO_ID, NO_SCORE, Encoder, Neighbours, Vectors
from firth.errors import DataError, SettingsError
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Judgements, Ranking
from firth.evaluate.records import Truncation
from firth.evaluate.retrieval import MEASURES, Scores, depth, measure
from firth.evaluate.statistics import Interval, Paired
from firth.progress import Progress, silent

DOCUMENTS_AT_ONCE = 8_192  # encoded and scored together; long enough to sort by length, 12 MB at 384 dimensions


class Document(Protocol):
    """One document of a test set."""

    @property
    def full(self) -> str:
        """Title and text, as they are encoded."""


class TestSet(Protocol):
    """Documents, queries and judgements; `firth.text.testset.TestSet` is one."""

    @property
    def documents(self) -> Mapping[str, Document]:
        """Document id -> document."""

    @property
    def queries(self) -> Mapping[str, str]:
        """Query id -> text."""

    @property
    def judgements(self) -> Judgements:
        """Query id -> document id -> grade."""


class Found(Protocol):
    """One answer of a collection."""

    @property
    def id(self) -> str:
        """The document's id."""

    @property
    def score(self) -> float:
        """Larger is nearer."""


@runtime_checkable
class Searcher(Protocol):
    """Anything that answers a text with documents: a collection, a served index, a hybrid search."""

    def search(self, query: str, *, k: int) -> Iterable[Found]:
        """The k best, best first."""


@dataclass(frozen=True)
class Report:
    """What `evaluate` found.

    Attributes:
        scores: each query's scores.
        intervals: measure -> mean with its 95 % interval.
        ranking: what was returned for each query.
        seed: of the intervals.
        seconds: "encode" and "search", or "search" alone for a collection.
        truncation: what the maximum length cut off, where the encoder counts it.
    """

    scores: Scores
    intervals: dict[str, Interval]
    ranking: Ranking
    seed: int
    seconds: dict[str, float]
    truncation: dict[str, Truncation] = field(default_factory=dict)

    def against(self, base: Report) -> dict[str, Paired]:
        """Measure -> paired comparison on the same queries; positive where this one is better."""
        return self.scores.against(base.scores, self.seed)

    def as_json(self) -> dict[str, Any]:
        """Scores with intervals, each query's scores, and how they came about; for `write_json`."""
        return {
            "scores": {name: asdict(interval) for name, interval in self.intervals.items()},
            "per_query": {
                name: dict(zip(self.scores.queries, values.tolist(), strict=True))
                for name, values in self.scores.per_query.items()
            },
            "absent": list(self.scores.absent),
            "without_relevant": list(self.scores.without_relevant),
            "seed": self.seed,
            "seconds": self.seconds,
            "truncation": {what: asdict(cut) for what, cut in self.truncation.items()},
        }

    def __str__(self) -> str:
        lines = [f"{name:<14}{interval}" for name, interval in self.intervals.items()]
        return "\n".join([*lines, f"{len(self.scores.queries):,} queries, 95 % bootstrap intervals, seed {self.seed}"])


def evaluate(
    subject: Encoder | Searcher,
    testset: TestSet,
    *,
    measures: Sequence[str] = MEASURES,
    dims: int | None = None,
    skip_same_id: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Judge an encoder by exact search, or a collection by its own search, on a test set.

    Args:
        subject: has `encode` (texts to vectors), or `search` (a text to documents); with both, it is a collection.
        testset: documents, queries, judgements. Queries that nobody judged are not asked.
        measures: see `retrieval`; the deepest decides how many documents are asked for.
        dims: of an encoder, how many leading dimensions to use.
        skip_same_id: leave out the document whose id is the query's, as in duplicate-question and citation sets.
        seed: of the intervals.
        progress: told of documents and queries done.

    Raises:
        DataError: a judgement names a query or a document that is not there, nothing is judged, or a collection holds
            none of the test set's documents.
        SettingsError: a measure is not known; dims asked of a collection; the subject can neither encode nor search.
    """
    k = depth(measures) + skip_same_id
    asked = _asked(testset)
    if isinstance(subject, Searcher):
        if dims is not None:
            raise SettingsError(f"dims={dims}: a collection has the dimensions it was built with; leave dims out")
        ranking, seconds, truncation = _searched(subject, testset, asked, k, progress)
    elif isinstance(subject, Encoder):
        ranking, seconds, truncation = _encoded(subject, testset, asked, k, dims, progress)
    else:
        raise SettingsError(f"{type(subject).__name__} can be judged neither as an encoder nor as a collection: "
                            "an encoder has encode, dims and fingerprint; a collection has search")  # fmt: skip
    if skip_same_id:
        ranking = _without_same_id(ranking)
    scores = measure(ranking, testset.judgements, measures)
    return Report(scores, scores.intervals(seed), ranking, seed, seconds, truncation)


def _asked(testset: TestSet) -> list[str]:
    """Judged queries with a relevant document, after checking that the judgements speak of this test set."""
    strangers = [query for query in testset.judgements if query not in testset.queries]
    if strangers:
        raise DataError(
            f"{len(strangers):,} of {len(testset.judgements):,} judged queries have no text, the first is "
            f"{strangers[0]!r}; do queries and judgements come from the same set?"
        )
    absent = [
        (query, document)
        for query, judged in testset.judgements.items()
        for document, grade in judged.items()
        if grade > 0 and document not in testset.documents
    ]
    if absent:
        query, document = absent[0]
        raise DataError(
            f"{len(absent):,} relevant documents are not among the {len(testset.documents):,} documents, the first "
            f"is {document!r} of query {query!r}; no search could find them, so the score would be too low"
        )
    asked = [query for query, judged in testset.judgements.items() if any(grade > 0 for grade in judged.values())]
    if not asked:
        raise DataError(f"none of {len(testset.judgements):,} judged queries has a document with a grade above 0")
    return asked


_Found = tuple[Ranking, dict[str, float], dict[str, Truncation]]


def _encoded(
    encoder: Encoder, testset: TestSet, asked: list[str], k: int, dims: int | None, progress: Progress
) -> _Found:
    documents = list(testset.documents)
    cuts: dict[str, Truncation] = {}
    start = time.perf_counter()
    encoding = 0.0

    def encode(texts: list[str], kind: str) -> Vectors:
        nonlocal encoding
        began = time.perf_counter()
        counted = getattr(encoder, "encode_counted", None)
        if counted is None:
            vectors = encoder.encode(texts, kind=kind, dims=dims)
        else:
            encoded = counted(texts, kind=kind, dims=dims)
            vectors = encoded.vectors
            before = cuts.get(kind, Truncation(0, 0, 0))
            cuts[kind] = Truncation(
                before.texts + len(texts), before.cut + encoded.cut.texts, before.tokens + encoded.cut.tokens
            )
        encoding += time.perf_counter() - began
        return vectors

    queries = encode([testset.queries[query] for query in asked], "query")

    def blocks() -> Iterator[Vectors]:
        texts = (document.full for document in testset.documents.values())
        done = 0
        while block := list(islice(texts, DOCUMENTS_AT_ONCE)):
            yield encode(block, "document")
            done += len(block)
            progress(done, len(documents), "documents")

    neighbours = nearest(queries, blocks(), min(k, max(1, len(documents))))
    seconds = {"encode": encoding, "search": time.perf_counter() - start - encoding}
    return Ranking(asked, documents, neighbours), seconds, cuts


def _searched(collection: Searcher, testset: TestSet, asked: list[str], k: int, progress: Progress) -> _Found:
    documents = list(testset.documents)
    row_of = {document: row for row, document in enumerate(documents)}
    k = min(k, max(1, len(documents)))
    ids = np.full((len(asked), k), NO_ID, np.int64)
    scores = np.full((len(asked), k), NO_SCORE, np.float32)
    start = time.perf_counter()
    for i, query in enumerate(asked):
        for place, found in enumerate(islice(collection.search(testset.queries[query], k=k), k)):
            # A document outside the test set counts as not relevant.
            row = row_of.setdefault(str(found.id), len(row_of))
            ids[i, place], scores[i, place] = row, found.score
        progress(i + 1, len(asked), "queries")
    strangers = list(row_of)[len(documents) :]
    if strangers and not ((ids >= 0) & (ids < len(documents))).any():
        raise DataError(
            f"the collection returned {len(strangers):,} documents, for instance {strangers[0]!r}, and none of them is "
            f"among the {len(documents):,} of the test set, for instance {documents[0]!r}; are both of one domain?"
        )
    seconds = {"search": time.perf_counter() - start}
    return Ranking(asked, list(row_of), Neighbours(ids, scores)), seconds, {}


def _without_same_id(ranking: Ranking) -> Ranking:
    """Each query's own document taken out, later ones moved up, one column fewer."""
    own = np.array([ranking.row_of_document.get(query, NO_ID - 1) for query in ranking.queries])[:, None]
    near = ranking.neighbours
    order = np.argsort(near.ids == own, axis=1, kind="stable")[:, : near.k - 1]
    moved = Neighbours(np.take_along_axis(near.ids, order, axis=1), np.take_along_axis(near.scores, order, axis=1))
    return Ranking(ranking.queries, ranking.documents, moved)
