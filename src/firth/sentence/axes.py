"""Axes of a vector space on which a prefix keeps what whole vectors say, before prefixes are trained and after.

An orthogonal matrix changes no cosine of whole vectors. Turned onto the principal axes of a domain's queries, largest
variance first, a prefix keeps most of every score, since q·d is only off by what of q lies behind the prefix.
`ranking_axes` goes on from there: it learns the orthogonal matrix under which prefixes rank as whole vectors do.
Source: principal components after Hotelling 1933; Su et al. 2021, "Whitening Sentence Representations",
arXiv:2103.15316, shorten sentence vectors by them; Yoon et al. 2024, "Matryoshka-Adaptor", arXiv:2407.20243, learn a
map that keeps neighbours; the listwise loss is Cao et al. 2007 (ListNet); orthogonal by Cayley's transform, as in
Helfrich et al. 2018, arXiv:1707.09520. Where we differ: nothing is scaled or shifted: whole vectors search as before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from firth.arrays import Vectors, principal_axes
from firth.progress import Progress, silent
from firth.sentence.course import Trainable
from firth.sentence.encoder import batches
from firth.sentence.examples import Examples
from firth.text.records import Ragged

SAMPLE = 4096  # texts that the axes are learnt from, at most: seconds of encoding
BUDGET = 4096  # tokens embedded at once
STEPS, BATCH, POOL = 240, 256, 2048  # of learning: steps, texts that ask a step, documents they rank
RATE, TEMPERATURE = 1e-3, 0.05
WARM = 10  # steps until the full rate


def domain_axes(encoder: Trainable, found: Examples, seed: int) -> NDArray[np.float32]:
    """(d, d) principal axes of the queries of `found`, or of its documents where there are fewer queries than d."""
    queries, documents = found.queries, found.documents
    few = len(queries) < encoder.module.width
    texts, kind = (documents, "document") if few else (queries, "query")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(texts))[:SAMPLE])
    return principal_axes(_embedded(encoder, texts.take(drawn), kind))


def prefix_axes(
    encoder: Trainable, found: Examples, sizes: Sequence[int], seed: int, progress: Progress = silent
) -> NDArray[np.float32]:
    """(d, d) `ranking_axes` of the queries and documents of `found`, of a sample of each where there are many."""
    generator = np.random.default_rng(seed)
    drawn = [
        _embedded(encoder, texts.take(np.sort(generator.permutation(len(texts))[:most])), kind)
        for texts, most, kind in ((found.queries, SAMPLE, "query"), (found.documents, 2 * SAMPLE, "document"))
    ]
    return ranking_axes(drawn[0], drawn[1], sizes, seed=seed, progress=progress)


def ranking_axes(
    queries: Vectors, documents: Vectors, sizes: Sequence[int], *, seed: int, progress: Progress = silent
) -> NDArray[np.float32]:
    """(d, d) float32 orthogonal: prefixes of `queries @ axes` rank those of `documents @ axes` as whole vectors do.

    In each step some queries, and as many documents in the part of queries, score a pool of documents by whole vectors;
    the cross-entropy of the softmax of each prefix's scores to that of the whole ones is what is made less. It starts
    from the principal axes of queries and documents together.

    Args:
        queries: (q, d) unit rows.
        documents: (n, d) unit rows, at least 2.
        sizes: prefixes; those of d or more cannot be made better.
        seed: of the order.
        progress: told steps done, steps in all.
    """
    d, sizes = queries.shape[1], sorted({size for size in sizes if 0 < size < queries.shape[1]})
    start = principal_axes(np.concatenate([queries, documents]))
    if not sizes or len(documents) < 2:
        return start
    asking, told = torch.from_numpy(queries @ start), torch.from_numpy(documents @ start)
    skew, one = torch.zeros(d, d, requires_grad=True), torch.eye(d)
    optimizer, generator = torch.optim.Adam([skew], lr=RATE), np.random.default_rng(seed)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / WARM) * (1 - step / STEPS)
        pool = told[torch.from_numpy(generator.permutation(len(told))[:POOL])]
        some = torch.from_numpy(generator.permutation(len(asking))[: BATCH // 2])
        texts = torch.cat([asking[some], pool[: BATCH // 2]])
        # A document in the part of a query shall find the others, not itself.
        own = torch.zeros(len(texts), len(pool), dtype=torch.bool)
        own[len(some) :].fill_diagonal_(True)
        wanted = torch.softmax(_scores(texts, pool, own), dim=1)
        turn = torch.linalg.solve(one + skew - skew.T, one - skew + skew.T)[:, : sizes[-1]]
        turned, among = texts @ turn, pool @ turn
        loss = torch.stack(
            [
                functional.cross_entropy(
                    _scores(functional.normalize(turned[:, :size]), functional.normalize(among[:, :size]), own), wanted
                )
                for size in sizes
            ]
        ).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress(step + 1, STEPS, "axes of the prefixes")
    with torch.no_grad():
        learnt = torch.linalg.solve(one.double() + skew.double() - skew.T.double(), one.double() - skew + skew.T)
    return np.ascontiguousarray(start @ learnt.numpy(), np.float32)


def _scores(texts: Tensor, pool: Tensor, own: Tensor) -> Tensor:
    """(t, p) cosines over the temperature; what is a text's own counts for nothing."""
    return (texts @ pool.T / TEMPERATURE).masked_fill(own, -1 / TEMPERATURE**2)


def _embedded(encoder: Trainable, texts: Ragged, kind: str) -> Vectors:
    """(n, d) unit rows in any order."""
    with torch.no_grad():
        parts: list[Tensor] = [encoder.embed(texts.take(rows), kind) for rows in batches(texts.lengths, BUDGET)]
    return torch.cat(parts).float().cpu().numpy()
