"""One model on one domain: its vectors of all documents and judged queries, and how well they rank.

Vectors are written to a folder as they are made, so that an interrupted run goes on and the next stages map them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from firth import files
from firth.arrays import Encoder, Neighbours, Vectors
from firth.evaluate.ranking import Ranking
from firth.evaluate.records import Truncation
from firth.evaluate.retrieval import Scores, depth, measure
from firth.index import Flat
from firth.progress import Progress, silent
from firth.sentence.shards import Shards, counted, encode_shards
from firth.text.records import Document, Judgements

KIND, VERSION = "judged-queries", 1
MEASURED = ("ndcg@10", "recall@10", "mrr@10", "map@100", "recall@100", "hit@10")


@dataclass(frozen=True)
class Judged:
    """What a model made of a domain.

    Attributes:
        documents: ids and (n, d) vectors of the documents.
        query_ids: the queries that were encoded.
        query_vectors: (q, d) float32 unit rows, in the order of `query_ids`.
        judgements: of the test part; empty where there is none.
        neighbours: Neighbours (test queries, k), the exact ranking of the test part.
        truncation: what the model's maximum length cut off, of documents and of queries.
    """

    documents: Shards
    query_ids: tuple[str, ...]
    query_vectors: Vectors
    judgements: Judgements
    neighbours: Neighbours
    truncation: dict[str, Truncation]

    @cached_property
    def ranking(self) -> Ranking:
        """The exact ranking of the test queries."""
        return Ranking(list(self.judgements), self.documents.ids, self.neighbours)

    @cached_property
    def scores(self) -> Scores | None:
        """Each test query's scores; None where nothing is judged."""
        return measure(self.ranking, self.judgements, MEASURED) if self.judgements else None

    def vectors_of(self, queries: Iterable[str]) -> Vectors:
        """(q, d) rows of these queries, in this order."""
        row = {query: i for i, query in enumerate(self.query_ids)}
        return self.query_vectors[[row[query] for query in queries]]


def judge(
    encoder: Encoder,
    documents: Iterable[Document],
    queries: Mapping[str, str],
    test: Judgements,
    folder: Path,
    *,
    total: int = 0,
    threads: int = 1,
    progress: Progress = silent,
) -> Judged:
    """Encode everything into `folder`, rank the test queries exactly, and save the ranking.

    Args:
        documents: a stream.
        queries: query id -> text of every query that a later stage needs, the test queries included.
        test: judgements to rank.
        total: how many documents there are, for the progress; 0 = not known.
    """
    texts = ((document.id, document.full) for document in documents)
    maker = {"fingerprint": encoder.fingerprint, "kind": "document", "dims": encoder.dims}
    encode = counted(encoder, kind="document")
    shards = encode_shards(encode, texts, folder / "documents", maker=maker, total=total, progress=progress)
    vectors, cut, tokens = counted(encoder, kind="query")(list(queries.values()))
    truncation = {
        "documents": Truncation(len(shards), *shards.cut),
        "queries": Truncation(len(queries), cut, tokens),
    }
    row = {query: i for i, query in enumerate(queries)}
    asked = vectors[[row[query] for query in test]]
    near = Flat.build(shards.vectors).search(asked, k=min(depth(MEASURED), len(shards)), threads=threads)
    files.write_arrays(
        folder / "queries",
        kind=KIND,
        version=VERSION,
        meta={
            "queries": list(queries),
            "test": list(test),
            "truncation": {name: asdict(value) for name, value in truncation.items()},
        },
        arrays={"vectors": vectors, "ids": near.ids, "scores": near.scores},
    )
    return load_judged(folder, test)


def load_judged(folder: Path, test: Judgements) -> Judged:
    """What `judge` left in the folder."""
    read = files.read_arrays(folder / "queries", kind=KIND, version=VERSION)
    return Judged(
        documents=Shards.load(folder / "documents"),
        query_ids=tuple(read.meta["queries"]),
        query_vectors=np.asarray(read.arrays["vectors"]),
        judgements={query: test[query] for query in read.meta["test"]},
        neighbours=Neighbours(np.asarray(read.arrays["ids"]), np.asarray(read.arrays["scores"])),
        truncation={name: Truncation(**value) for name, value in read.meta["truncation"].items()},
    )
