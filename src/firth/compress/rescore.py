"""Exact scores for a shortlist: what codes found in the wrong order is put right by the original rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import NO_ID, NO_SCORE, Neighbours, as_vectors
from firth.errors import ShapeError
from firth.kernels import scores

BLOCK = 256  # queries whose candidates' rows are held as float32 at a time, when they are kept in another type


def rescore(
    queries: ArrayLike, candidates: Neighbours, vectors: NDArray[np.floating], k: int, *, threads: int = 1
) -> Neighbours:
    """Re-rank a coarse shortlist by exact inner product and keep the best k.

    A shortlist found on codes has the right members in the wrong order; one exact pass over its rows costs q·k'·d
    multiplications and recovers most of the recall.

    Args:
        queries: (q, d) float32, unit rows.
        candidates: Neighbours (q, k'), id -1 = none; k' = 4·k is usually enough.
        vectors: (n, d) float32 or float16, row i is id i; may be a memory map.
        k: how many to keep, 1 <= k <= k'.
        threads: of the exact pass.

    Returns:
        Neighbours (q, k), best first, equals by id; short rows end in -1, -inf.

    Raises:
        ShapeError: widths differ, an id is not a row, or k > k'.

    Source: Jégou et al. 2011, "Searching in one billion vectors", arXiv:1102.3828; we keep exact rows instead of
    refined codes.
    """
    wanted = as_vectors(queries, dims=vectors.shape[1], name="queries")
    if len(wanted) != len(candidates) or not 1 <= k <= candidates.k:
        raise ShapeError(f"rescore: {len(wanted)} queries, {len(candidates)} shortlists of {candidates.k}, k={k}")
    ids = candidates.ids
    if ids.size and ids.max() >= len(vectors):
        raise ShapeError(f"rescore: id {ids.max()} is not one of {len(vectors)} rows")
    exact = np.empty(ids.shape, np.float32)
    if vectors.dtype == np.float32:
        exact = scores(wanted, np.ascontiguousarray(vectors, np.float32), ids, threads=threads)
    else:
        for start in range(0, len(wanted), BLOCK):
            some = slice(start, start + BLOCK)
            rows, places = np.unique(ids[some], return_inverse=True)
            held = np.ascontiguousarray(vectors[np.maximum(rows, 0)], np.float32)
            exact[some] = scores(wanted[some], held, places.reshape(ids[some].shape), threads=threads)
    exact = np.where(ids == NO_ID, NO_SCORE, exact)
    order = np.lexsort((ids, -exact), axis=1)[:, :k]
    best = np.take_along_axis(exact, order, 1)
    return Neighbours(np.where(best == NO_SCORE, NO_ID, np.take_along_axis(ids, order, 1)), best)
