"""Exact neighbours by blocked matrix products: the ranking that an encoder is judged by, before any index.

Documents come in blocks and only the best k so far are kept, so a corpus larger than memory is ranked in one pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from firth.arrays import NO_ID, NO_SCORE, Neighbours, Vectors, as_vectors
from firth.errors import SettingsError

_CELLS_AT_ONCE = 16_000_000  # scores held at a time: 64 MB of float32


def nearest(queries: Vectors, blocks: Iterable[Vectors], k: int) -> Neighbours:
    """The k rows of all blocks with the largest inner products, rows numbered through the blocks in order.

    Args:
        queries: (q, d) float32.
        blocks: (n_i, d) float32 each; may be a generator, each block is looked at once.
        k: neighbours a query; a corpus of fewer rows gives short rows, padded with -1 and -inf.

    Returns:
        Neighbours (q, k), best first. Equal scores are in order of row; which of the rows that tie for the last
        place stays is the lower one.

    Raises:
        ShapeError: widths differ.
        SettingsError: k < 1.
    """
    if k < 1:
        raise SettingsError(f"k={k}: at least one neighbour must be asked for")
    queries = as_vectors(queries, name="queries")
    ids = np.full((len(queries), k), NO_ID, np.int64)
    scores = np.full((len(queries), k), NO_SCORE, np.float32)
    first = 0
    for block in blocks:
        rows = as_vectors(block, dims=queries.shape[1], name="documents")
        at_once = max(1, _CELLS_AT_ONCE // max(1, len(rows)))
        for start in range(0, len(queries), at_once):
            part = slice(start, start + at_once)
            found = queries[part] @ rows.T
            ids[part], scores[part] = _merge(ids[part], scores[part], found, first)
        first += len(rows)
    return Neighbours(ids, scores)


def _merge(ids: NDArray[np.int64], scores: Vectors, found: Vectors, first: int) -> tuple[NDArray[np.int64], Vectors]:
    """The best k of those so far and a block whose columns are rows first, first + 1, …"""
    k = ids.shape[1]
    columns = _largest(found, k)
    # Earlier rows stand first and the sort is stable: a tie goes to the lower row.
    all_ids = np.concatenate([ids, columns + first], axis=1)
    all_scores = np.concatenate([scores, np.take_along_axis(found, columns, axis=1)], axis=1)
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(all_ids, order, axis=1), np.take_along_axis(all_scores, order, axis=1)


def _largest(found: Vectors, k: int) -> NDArray[np.int64]:
    """(q, min(k, n)) columns of the largest scores, in ascending column order; the lower of those that tie."""
    n = found.shape[1]
    if k >= n:
        return np.broadcast_to(np.arange(n), (len(found), n))
    least = np.partition(found, n - k, axis=1)[:, n - k, None]  # the k-th largest score of each query
    above = found > least
    room = k - above.sum(axis=1, keepdims=True)
    tied = found == least
    kept = above | (tied & (np.cumsum(tied, axis=1) <= room))
    return np.nonzero(kept)[1].reshape(len(found), k)
