"""Every objective of sentence training as a function of arrays: vectors in, one number with gradient out.

    what one has                                       loss                 source
    query and its answer (and hard negatives)          info_nce             van den Oord et al. 2018, arXiv:1807.03748
    query, answer, one wrong answer                    triplet              Schroff et al. 2015, arXiv:1503.03832
    two texts, same or not                             contrastive          Hadsell et al. 2006, CVPR
    two texts and how alike they are                   cosent               Su 2022, kexue.fm/archives/8847
                                                       cosine_regression    Reimers and Gurevych 2019, arXiv:1908.10084
    two sentences and an inference label               siamese_softmax      Reimers and Gurevych 2019, arXiv:1908.10084
    a teacher's scores of two answers                  margin_mse           Hofstätter et al. 2020, arXiv:2010.02666
    a teacher's scores of a list of answers            listwise_kl          Ren et al. 2021, arXiv:2110.07367
    a teacher's vectors                                vector_mse           Reimers and Gurevych 2020, arXiv:2004.09813

Positional arguments are vectors (…, d), everything else is named: that is what lets `matryoshka` shorten the vectors
of any of them, and `large_batch` cut them into pieces. Each is a mean over the rows, so that its size does not depend
on how many there are. Rows need not be unit rows unless it is said.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from firth.errors import SettingsError, ShapeError
from firth.sentence.blockwise import BlockwiseInfoNCE


def info_nce(
    queries: Tensor,
    documents: Tensor,
    *,
    temperature: float = 0.05,
    symmetric: bool = False,
    ignore: Tensor | None = None,
) -> Tensor:
    """Row i of documents answers row i of queries; every other row is one of its negatives.

    No (b, b + r) table of scores is held whole: see `blockwise`.

    Args:
        queries: (b, d) unit rows.
        documents: (b + r, d) unit rows: the b answers in the queries' order, then any number of mined negatives,
            which serve every query.
        temperature: what scores are divided by; lower looks harder at the nearest negatives. 0.01 to 0.1.
        symmetric: also let each answer find its query among the b queries, and take the mean of both.
        ignore: (i, 2) int64, row and column of each document that is no negative of a query though it is another's
            answer; a query's own answer is never ignored.

    Source: in-batch negatives as in Henderson et al. 2017, arXiv:1705.00652.
    """
    _check_answers(queries, documents)
    if ignore is None:
        ignore = torch.empty(0, 2, dtype=torch.int64, device=queries.device)
    _check_ignored(ignore, (len(queries), len(documents)))
    others = ignore[ignore[:, 0] != ignore[:, 1]]
    others = others[torch.argsort(others[:, 0])]
    loss: Tensor = BlockwiseInfoNCE.apply(queries, documents, temperature, symmetric, others)  # type: ignore[no-untyped-call]
    return loss


def triplet(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    distance: Literal["euclidean", "cosine"] = "euclidean",
    margin: float = 0.2,
) -> Tensor:
    """max(|a - p|² - |a - n|² + margin, 0), or the same with cosine distance 1 - cos.

    On unit rows the squared distance is 2 - 2 cos, so a margin of m there is one of m / 2 for cosine.

    Args:
        anchors: (b, d).
        positives: (b, d), row i nearer to anchor i than
        negatives: (b, d), row i.
        distance: squared Euclidean, or cosine.
        margin: how much nearer; 0.2 as in FaceNet for unit rows.
    """
    _check_rows(anchors=anchors, positives=positives, negatives=negatives)
    if distance == "euclidean":
        gap = (anchors - positives).square().sum(-1) - (anchors - negatives).square().sum(-1)
    elif distance == "cosine":
        gap = cosines(anchors, negatives) - cosines(anchors, positives)
    else:
        raise SettingsError(f"distance: expected euclidean or cosine, got {distance!r}")
    return functional.relu(gap + margin).mean()


def contrastive(left: Tensor, right: Tensor, *, same: Tensor, margin: float = 0.5) -> Tensor:
    """Pull pairs that are the same together, push the others apart until their cosine distance reaches the margin.

    ½ · D² where same, ½ · max(margin - D, 0)² where not, with D = 1 - cos.

    Args:
        left: (b, d).
        right: (b, d).
        same: (b,) true, or 1, where a pair means the same.
        margin: cosine distance beyond which two different texts are far enough apart.
    """
    _check_rows(left=left, right=right)
    _check_shape("same", same, (len(left),))
    apart = 1 - cosines(left, right)
    wanted = same.to(apart.dtype)
    return (wanted * apart.square() + (1 - wanted) * functional.relu(margin - apart).square()).mean() / 2


def cosine_regression(left: Tensor, right: Tensor, *, scores: Tensor) -> Tensor:
    """Mean squared difference between the cosine of each pair and its score.

    Args:
        left: (b, d).
        right: (b, d).
        scores: (b,) in -1 … 1; divide graded scores by their largest first.
    """
    _check_rows(left=left, right=right)
    _check_shape("scores", scores, (len(left),))
    return functional.mse_loss(cosines(left, right), scores.to(left.dtype))


def cosent(left: Tensor, right: Tensor, *, scores: Tensor, scale: float = 20.0) -> Tensor:
    """Pairs that are scored higher shall have the larger cosine: the order is learnt, not the value.

    log(1 + Σ exp(scale · (cos_j - cos_i))) over all i, j with scores_i > scores_j. Written out that is a (b, b) sum;
    sorted by score it is one running log-sum-exp, b log b.

    Args:
        left: (b, d).
        right: (b, d).
        scores: (b,) any unit; only their order counts.
        scale: 1 / temperature.
    """
    _check_rows(left=left, right=right)
    _check_shape("scores", scores, (len(left),))
    order = torch.argsort(scores)
    ranked, logits = scores[order].contiguous(), scale * cosines(left, right)[order]
    below = torch.searchsorted(ranked, ranked)  # how many pairs are scored strictly lower
    running = torch.logcumsumexp(logits, 0)
    terms = running[(below - 1).clamp(min=0)] - logits
    return torch.logsumexp(torch.cat([logits.new_zeros(1), terms[below > 0]]), 0)


def siamese_softmax(left: Tensor, right: Tensor, *, labels: Tensor, weight: Tensor, scale: float = 1.0) -> Tensor:
    """Cross-entropy of a linear classifier over (u, v, |u - v|).

    Args:
        left: (b, d) premises.
        right: (b, d) hypotheses.
        labels: (b,) int64 classes.
        weight: (classes, 3, D), D >= d, trained along: one row of D for each of u, v and |u - v|. Shorter vectors,
            as in Matryoshka training, meet its leading columns.
        scale: the vectors are multiplied by it. The paper's are not of unit length; unit rows need about √d to have
            components as large as those, else the classifier hears nothing.
    """
    _check_rows(left=left, right=right)
    _check_shape("labels", labels, (len(left),))
    if weight.ndim != 3 or weight.shape[1] != 3 or weight.shape[2] < left.shape[1]:
        raise ShapeError(f"weight: expected (classes, 3, {left.shape[1]} or more), got {tuple(weight.shape)}")
    features = scale * torch.stack([left, right, (left - right).abs()], 1)
    logits = torch.einsum("bfd,cfd->bc", features, weight[:, :, : left.shape[1]])
    return functional.cross_entropy(logits, labels)


def margin_mse(queries: Tensor, positives: Tensor, negatives: Tensor, *, margins: Tensor, scale: float = 1.0) -> Tensor:
    """Mean squared difference between our margin and the teacher's.

    Args:
        queries: (b, d).
        positives: (b, d).
        negatives: (b, d).
        margins: (b,) the teacher's score of the positive minus that of the negative.
        scale: our margin is multiplied by it; a cross-encoder's margins of ±10 need about 20 on unit rows.
    """
    _check_rows(queries=queries, positives=positives, negatives=negatives)
    _check_shape("margins", margins, (len(queries),))
    ours = scale * (queries * (positives - negatives)).sum(-1)
    return functional.mse_loss(ours, margins.to(ours.dtype))


def listwise_kl(
    queries: Tensor, candidates: Tensor, *, scores: Tensor, temperature: float = 0.05, teacher_temperature: float = 1.0
) -> Tensor:
    """KL divergence from the teacher's distribution over each query's candidates to ours.

    Args:
        queries: (b, d) unit rows.
        candidates: (b, k, d) unit rows, or (k, d) where all queries have the same.
        scores: (b, k) the teacher's.
        temperature: what our scores are divided by.
        teacher_temperature: what the teacher's are divided by; higher is softer.
    """
    shared = candidates.ndim == 2 and candidates.shape[1] == queries.shape[1]
    if not shared and (candidates.ndim != 3 or candidates.shape[::2] != queries.shape):
        b, d = queries.shape
        raise ShapeError(f"candidates: expected ({b}, k, {d}) or (k, {d}), got {_shape(candidates)}")
    _check_shape("scores", scores, (len(queries), candidates.shape[-2]))
    products = queries @ candidates.T if shared else torch.einsum("bd,bkd->bk", queries, candidates)
    ours = functional.log_softmax(products / temperature, dim=1)
    theirs = functional.log_softmax(scores.to(ours.dtype) / teacher_temperature, dim=1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def vector_mse(ours: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference to the teacher's vectors.

    Args:
        ours: (b, d).
        teacher: (b, d); a wider one is brought to d columns first, by its principal axes.

    Raises:
        ShapeError: the teacher has another width than we have.
    """
    if teacher.shape != ours.shape:
        raise ShapeError(
            f"teacher: expected {_shape(ours)}, got {_shape(teacher)}; bring a wider teacher onto its first principal "
            "axes, or learn from its scores instead (margin_mse, listwise_kl)"
        )
    return functional.mse_loss(ours, teacher)


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """(b,) cosine of each pair of rows; 0 where one is all zeros."""
    return functional.cosine_similarity(left, right, dim=-1)


def _check_answers(queries: Tensor, documents: Tensor) -> None:
    if queries.ndim != 2 or documents.ndim != 2 or queries.shape[1] != documents.shape[1]:
        raise ShapeError(f"queries {_shape(queries)} and documents {_shape(documents)}: expected (b, d) and (b + r, d)")
    if len(documents) < len(queries):
        raise ShapeError(
            f"{len(queries)} queries but {len(documents)} documents: row i of documents must answer row i of queries"
        )


def _check_ignored(ignore: Tensor, shape: tuple[int, int]) -> None:
    if ignore.ndim != 2 or ignore.shape[1] != 2:
        raise ShapeError(f"ignore: expected (i, 2) rows and columns, got {_shape(ignore)}")
    if not len(ignore):
        return
    lowest, highest = int(ignore.min()), tuple(ignore.amax(0).tolist())
    if lowest < 0 or highest[0] >= shape[0] or highest[1] >= shape[1]:
        raise ShapeError(f"ignore: rows and columns from {lowest} up to {highest}, but the scores are {shape}")


def _check_rows(**arrays: Tensor) -> None:
    shapes = {name: _shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(array.ndim != 2 for array in arrays.values()):
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ShapeError(f"expected arrays of one shape (b, d), got {told}")


def _check_shape(name: str, array: Tensor, expected: tuple[int, ...]) -> None:
    if _shape(array) != expected:
        raise ShapeError(f"{name}: expected {expected}, got {_shape(array)}")


def _shape(array: Tensor) -> tuple[int, ...]:
    return tuple(array.shape)
