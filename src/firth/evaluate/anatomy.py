"""Why a score is what it is: spread of the cosines, parts of the queries, fewer dimensions, what tuning moved.

    histograms   cosines of queries with their answers, with what looks like one, with anything
    slices       scores of parts of the queries, before and after
    widths       the measure with the first dimensions alone
    atlas        two models' vectors turned into one space and laid into one plane

All take arrays and rankings and give records of the report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors, unit
from firth.errors import ShapeError
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Judgements, Ranking
from firth.evaluate.records import Atlas, Dot, Histogram, Slice, Width
from firth.evaluate.retrieval import Scores, measure
from firth.evaluate.statistics import bootstrap, paired_permutation

BINS = 50
HARD = 5  # not relevant documents of each query that count as hard
RANDOM = 20  # documents drawn for each query
FEWEST = 5  # queries of a slice; of fewer nothing can be said
WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072)
DOTS = 500  # documents drawn into the plane; more cover each other
KEPT = 10  # neighbours whose staying is counted

Slicer = Callable[[str], str]  # query id -> name of its slice; "" for none


def histograms(
    model: str, queries: Vectors, documents: Vectors, ranking: Ranking, judgements: Judgements, *, seed: int = 0
) -> tuple[Histogram, ...]:
    """The three spreads of one model.

    Args:
        queries: (q, d) float32 unit rows, row i is ranking.queries[i].
        documents: (n, d) float32 unit rows, row j is ranking.documents[j]; may be a memory map.
        ranking: the exact ranking; its first `HARD` documents that are not relevant are the hard ones.
        seed: of the random documents.
    """
    row_of = ranking.row_of_document
    rng = np.random.default_rng(seed)
    pairs: dict[str, list[tuple[int, int]]] = {"answer": [], "hard": [], "random": []}
    for i, query in enumerate(ranking.queries):
        relevant = {row_of[id_] for id_, grade in judgements.get(query, {}).items() if grade > 0 and id_ in row_of}
        pairs["answer"] += [(i, row) for row in sorted(relevant)]
        near = [row for row in ranking.neighbours.ids[i].tolist() if row >= 0 and row not in relevant]
        pairs["hard"] += [(i, row) for row in near[:HARD]]
        pairs["random"] += [(i, row) for row in rng.integers(0, len(documents), RANDOM).tolist() if row not in relevant]
    found = {kind: _cosines(queries, documents, both) for kind, both in pairs.items()}
    everything = np.concatenate(list(found.values()))
    low = float(np.floor(everything.min() * 20) / 20) if len(everything) else 0.0
    return tuple(
        Histogram(
            model, kind, low, 1.0,
            np.histogram(np.clip(values, low, 1.0), BINS, (low, 1.0))[0].tolist(),
            float(values.mean()) if len(values) else None,
        )
        for kind, values in found.items()
    )  # fmt: skip


def slices(slicers: Mapping[str, Slicer], base: Scores, tuned: Scores | None, *, seed: int = 0) -> tuple[Slice, ...]:
    """Scores of each slice that has at least `FEWEST` queries, in the order of their names.

    Args:
        slicers: what is sliced by -> function of the query's id.
        base, tuned: of the same queries.
    """
    found = []
    for kind, slicer in slicers.items():
        groups: dict[str, list[int]] = defaultdict(list)
        for row, query in enumerate(base.queries):
            groups[slicer(query)].append(row)
        for name in sorted(groups):
            rows = groups[name]
            if not name or len(rows) < FEWEST or len(rows) == len(base.queries):
                continue
            before = {each: values[rows] for each, values in base.per_query.items()}
            after = None if tuned is None else {each: values[rows] for each, values in tuned.per_query.items()}
            found.append(
                Slice(
                    kind=kind,
                    name=name,
                    base={each: bootstrap(before[each], seed) for each in before},
                    tuned=None if after is None else {each: bootstrap(after[each], seed) for each in after},
                    paired=None
                    if after is None
                    else {each: paired_permutation(before[each], after[each], seed) for each in before},
                )
            )
    return tuple(found)


def widths(
    model: str,
    queries: Vectors,
    query_ids: Sequence[str],
    documents: Callable[[], Iterable[Vectors]],
    document_ids: Sequence[str],
    judgements: Judgements,
    *,
    name: str = "ndcg@10",
    k: int = 10,
    seed: int = 0,
) -> tuple[Width, ...]:
    """The measure with 16, 32, 64, … dimensions and with all, by exact search over the shortened unit vectors.

    Args:
        queries: (q, d) float32 unit rows of `query_ids`.
        documents: gives the documents' (rows, d) blocks anew at each call, so that they need not fit in memory.
    """
    d = queries.shape[1]
    found = []
    for dims in [*(width for width in WIDTHS if width < d), d]:
        near = nearest(unit(queries[:, :dims]), _short(documents(), dims), min(k, len(document_ids)))
        scores = measure(Ranking(query_ids, document_ids, near), judgements, [name]).per_query[name]
        found.append(Width(model, dims, bootstrap(scores, seed)))
    return tuple(found)


def atlas(ids: Sequence[str], base: Vectors, tuned: Vectors, *, most: int = DOTS, seed: int = 0) -> Atlas:
    """Where documents lie before and after.

    The base model's vectors are turned into the tuned model's space by the rotation that brings all of them nearest
    (orthogonal Procrustes, Schönemann 1966), because a model's axes mean nothing: what still differs, tuning moved.
    Both are then laid into the plane that shows most of their variance (PCA).

    Args:
        ids: of the n documents.
        base, tuned: (n, d) float32 unit rows of one width; may be memory maps.
        most: documents drawn.
        seed: of the draw.

    Raises:
        ShapeError: the two differ in shape.
    """
    if base.shape != tuned.shape:
        raise ShapeError(f"atlas: {base.shape} vectors before and {tuned.shape} after; both need one shape")
    rows = np.sort(np.random.default_rng(seed).permutation(len(base))[:most])
    before, after = np.asarray(base[rows], np.float64), np.asarray(tuned[rows], np.float64)
    kept = _kept(unit(before.astype(np.float32)), unit(after.astype(np.float32)))
    left, _, right = np.linalg.svd(before.T @ after)
    turned = before @ (left @ right)
    both = np.concatenate([turned, after])
    centre = both.mean(axis=0)
    _, sizes, axes = np.linalg.svd(both - centre, full_matrices=False)
    plane = np.zeros((both.shape[1], 2))
    plane[:, : min(2, len(axes))] = axes[:2].T
    # A sign of an axis is arbitrary; the larger side points right and up, so that the picture does not flip.
    plane *= np.where((((both - centre) @ plane) ** 3).sum(axis=0) < 0, -1.0, 1.0)
    x, y = (turned - centre) @ plane, (after - centre) @ plane
    lengths = np.linalg.norm(turned, axis=1) * np.linalg.norm(after, axis=1)
    moved = 1 - (turned * after).sum(axis=1) / np.where(lengths == 0, 1, lengths)
    dots = [
        Dot(ids[row], _point(x[i]), _point(y[i]), max(0.0, round(float(moved[i]), 6)), round(float(kept[i]), 4))
        for i, row in enumerate(rows.tolist())
    ]
    whole = float((sizes**2).sum())
    return Atlas(dots, float((sizes[:2] ** 2).sum()) / whole if whole else 0.0, min(KEPT, len(rows) - 1))


def _cosines(queries: Vectors, documents: Vectors, pairs: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    if not pairs:
        return np.zeros(0)
    left, right = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    found: NDArray[np.float64] = np.einsum("pd,pd->p", queries[left], documents[right], dtype=np.float64)
    return found


def _short(blocks: Iterable[Vectors], dims: int) -> Iterator[Vectors]:
    for block in blocks:
        yield unit(np.asarray(block[:, :dims]))


def _kept(before: Vectors, after: Vectors) -> NDArray[np.float64]:
    """(n,) share of each row's nearest rows that stay nearest."""
    k = min(KEPT, len(before) - 1)
    if k < 1:
        return np.ones(len(before))
    sets = []
    for rows in (before, after):
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -np.inf)
        sets.append(np.argpartition(-cosines, k - 1, axis=1)[:, :k])
    return np.array([len(np.intersect1d(a, b)) / k for a, b in zip(*sets, strict=True)])


def _point(values: NDArray[np.float64]) -> tuple[float, float]:
    return round(float(values[0]), 5), round(float(values[1]), 5)
