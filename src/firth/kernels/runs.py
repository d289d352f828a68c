"""Kernel over TREC run files: the ranks of the judged documents, straight from the bytes of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.kernels import native

FAULTS = ("", "columns", "number", "infinite", "twice")
Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


def run_ranks(
    text: Bytes, queries: Sequence[str], documents: Sequence[str], pair_query: Integers, *, module: Any = native
) -> tuple[Integers, Integers, str, int]:
    """Where each judged document stands in a run file.

    Args:
        text: (bytes,) the file, UTF-8: "query Q0 document rank score tag" lines; rank and tag are not read.
        queries: q ids, each once.
        documents: h ids; documents[i] is judged for queries[pair_query[i]], no pair twice.
        pair_query: (h,) int64, ascending.

    Returns:
        (h,) rank from 1 by float32 score, equal scores by id descending, 0 where not ranked; (q,) documents ranked for
        each query; a fault ("" for none, or one of FAULTS) and a byte of the faulty line.
    """
    rank, ranked = np.zeros(len(documents), np.int64), np.zeros(len(queries), np.int64)
    fault, offset = module.run_ranks(text, *_joined(queries), *_joined(documents), pair_query, rank, ranked)
    return rank, ranked, FAULTS[fault], offset


def run_ranks_twin(
    text: Bytes, queries: Sequence[str], documents: Sequence[str], pair_query: Integers
) -> tuple[Integers, Integers]:
    """Twin of `run_ranks` for a file without faults."""
    found: dict[str, dict[str, np.float32]] = {}
    for line in bytes(text).decode().splitlines():
        fields = line.split()
        found.setdefault(fields[0], {})[fields[2]] = np.float32(fields[4])
    order = {query: sorted(row, key=lambda id_: (row[id_], id_), reverse=True) for query, row in found.items()}
    places = {query: {id_: rank for rank, id_ in enumerate(row, 1)} for query, row in order.items()}
    pairs = zip(documents, pair_query.tolist(), strict=True)
    rank = [places.get(queries[query], {}).get(document, 0) for document, query in pairs]
    return np.array(rank, np.int64), np.array([len(found.get(query, {})) for query in queries], np.int64)


def _joined(names: Sequence[str]) -> tuple[Bytes, Integers]:
    encoded = [name.encode() for name in names]
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    return np.frombuffer(b"".join(encoded), np.uint8), ends
