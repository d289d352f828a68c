"""Which loss learns from which columns of a batch: the bridge from examples to the functions of `losses`.

info_nce           pairs; negatives help                     ranks the answer above the batch's other documents
triplet            pairs with a negative each                answer nearer than the negative, by a margin
contrastive        pairs with negatives, or scored 0 and 1   same pulled together, different pushed apart
cosent             scored pairs                              the order of the scores
cosine_regression  scored pairs                              the scores themselves
softmax            pairs whose score is a class              a classifier over (u, v, |u - v|), as for inference data
margin_mse         pairs with negatives and a teacher        the teacher's margins
listwise_kl        pairs and a teacher                       the teacher's distribution over the batch's documents
vector_mse         pairs and a teacher of our width          the teacher's vectors
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from firth.arrays import Encoder, Vectors
from firth.errors import DataError, SettingsError, ShapeError
from firth.sentence import losses
from firth.sentence.batches import Batch
from firth.sentence.blockwise import tiles
from firth.sentence.examples import Examples
from firth.sentence.matryoshka import Loss, matryoshka

TEMPERATURE = 0.05  # of SimCSE, and of the scale 20 that sentence-transformers multiplies by
CONTRASTIVE_MARGIN = 0.5  # cosine distance
TRIPLET_MARGIN = 0.2  # of squared distance between unit rows
MARGIN_SCALE = 20.0  # cosines times 20 reach the margins of a softmax at temperature 0.05

Objective = Callable[[Batch, Tensor, Tensor], Tensor]

NAMES = (
    "info_nce",
    "triplet",
    "contrastive",
    "cosent",
    "cosine_regression",
    "softmax",
    "margin_mse",
    "listwise_kl",
    "vector_mse",
)
NEED_TEACHER = ("margin_mse", "listwise_kl", "vector_mse")
NEED_NEGATIVES = ("triplet", "margin_mse")
IN_BATCH = ("info_nce", "listwise_kl")  # learn from the other documents of a batch
NEED_SCORES = ("cosent", "cosine_regression", "softmax")


@dataclass(frozen=True)
class Teacher:
    """What a teacher says of each text: (queries, D) and (documents, D) float32 unit rows, in the examples' order."""

    queries: Vectors
    documents: Vectors


def objective(
    name: str,
    found: Examples,
    *,
    temperature: float = TEMPERATURE,
    margin: float | None = None,
    symmetric: bool = False,
    dims: tuple[int, ...] = (),
    teacher: Teacher | None = None,
    classifier: nn.Parameter | None = None,
) -> Objective:
    """The named loss as a function of a batch and its vectors.

    Args:
        name: one of NAMES.
        found: the examples; checked for what the loss needs.
        temperature: of info_nce and listwise_kl.
        margin: of triplet and contrastive; None = the loss's own.
        symmetric: info_nce in both directions.
        dims: prefixes over which the loss is averaged; empty = the full vectors only.
        teacher: of the losses that learn from one.
        classifier: (classes, 3, d), of softmax.

    Raises:
        SettingsError: the name is not known, or the loss needs a teacher.
        DataError: the examples lack what the loss needs.
    """
    if name not in NAMES:
        raise SettingsError(f"loss {name!r}: expected one of {', '.join(NAMES)}")
    _check(name, found, teacher)
    held = _Objectives(temperature, margin, symmetric, dims, teacher, classifier)
    chosen: Objective = getattr(held, name)
    return chosen


@dataclass(frozen=True)
class _Objectives:
    """One method a loss, named as the loss is: the columns that it learns from."""

    temperature: float
    margin: float | None
    symmetric: bool
    dims: tuple[int, ...]
    teacher: Teacher | None
    classifier: nn.Parameter | None

    def nested(self, loss: Loss) -> Loss:
        return matryoshka(loss, self.dims) if self.dims else loss

    def info_nce(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        ignore = torch.from_numpy(batch.ignore).to(queries.device)
        loss = self.nested(losses.info_nce)
        return loss(queries, documents, temperature=self.temperature, symmetric=self.symmetric, ignore=ignore)

    def triplet(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        rows, negatives = _own(batch)
        size = TRIPLET_MARGIN if self.margin is None else self.margin
        return self.nested(losses.triplet)(queries[rows], documents[rows], documents[negatives], margin=size)

    def contrastive(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        rows, negatives = _own(batch)
        left = torch.cat([queries, queries[rows]])
        right = torch.cat([documents[: len(batch)], documents[negatives]])
        # A pair without a score means the same; a mined negative does not.
        same = np.concatenate([np.nan_to_num(batch.score, nan=1.0) > 0, np.zeros(len(rows), bool)])
        size = CONTRASTIVE_MARGIN if self.margin is None else self.margin
        return self.nested(losses.contrastive)(left, right, same=_on(queries, same), margin=size)

    def cosent(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        return self.nested(losses.cosent)(queries, documents[: len(batch)], scores=_on(queries, batch.score))

    def cosine_regression(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        loss = self.nested(losses.cosine_regression)
        return loss(queries, documents[: len(batch)], scores=_on(queries, batch.score))

    def softmax(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        labels = _on(queries, batch.score.astype(np.int64))
        loss, scale = self.nested(losses.siamese_softmax), float(queries.shape[1]) ** 0.5
        return loss(queries, documents[: len(batch)], labels=labels, weight=self.classifier, scale=scale)

    def margin_mse(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        assert self.teacher is not None
        rows, negatives = _own(batch)
        of = self.teacher.documents
        gaps = of[batch.documents[rows]] - of[batch.documents[negatives]]
        margins = MARGIN_SCALE * np.einsum("bd,bd->b", self.teacher.queries[batch.queries[rows]], gaps)
        triple = (queries[rows], documents[rows], documents[negatives])
        return self.nested(losses.margin_mse)(*triple, margins=_on(queries, margins), scale=MARGIN_SCALE)

    def listwise_kl(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        assert self.teacher is not None
        asked, told = self.teacher.queries[batch.queries], self.teacher.documents[batch.documents]
        loss, heat = self.nested(losses.listwise_kl), self.temperature

        def part(some: Tensor, all_documents: Tensor, rows: slice) -> Tensor:
            scores = _on(some, asked[rows] @ told.T)
            share = len(some) / len(queries)
            return share * loss(some, all_documents, scores=scores, temperature=heat, teacher_temperature=heat)

        # A tile of rows at a time, computed again on the way back: no whole table of scores, ours or the teacher's.
        parts = [
            checkpoint(part, queries[rows], documents, rows, use_reentrant=False)
            for rows in tiles(len(queries), len(documents))
        ]
        return torch.stack(parts).sum()

    def vector_mse(self, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        assert self.teacher is not None
        theirs = np.concatenate([self.teacher.queries[batch.queries], self.teacher.documents[batch.documents]])
        return self.nested(losses.vector_mse)(torch.cat([queries, documents]), _on(queries, theirs))


def classes(found: Examples) -> int:
    """How many classes the scores of the examples name: 0, 1, … without a gap.

    Raises:
        DataError: a score is no class.
    """
    labels = np.unique(found.score)
    if not np.array_equal(labels, np.arange(len(labels))):
        raise DataError(f"softmax: expected the classes 0, 1, … as scores, got {labels[:6].tolist()}…")
    return len(labels)


def teach(teacher: Encoder, found: Examples, width: int, loss: str) -> Teacher:
    """What a teacher says of the texts of the examples, in their order.

    Args:
        teacher: any encoder.
        found: the examples, with their texts.
        width: of the student's vectors.
        loss: which one learns from it.

    Raises:
        SettingsError: the examples' texts were left on disk.
        ShapeError: the loss learns the teacher's vectors and they are not `width` wide.
    """
    if not found.asked:
        raise SettingsError("a teacher reads the texts themselves: it cannot be used on pairs that are streamed")
    if loss == "vector_mse" and teacher.dims != width:
        raise ShapeError(
            f"vector_mse: the teacher's vectors have {teacher.dims} dimensions, ours {width}; "
            "learn from its scores instead: listwise_kl or margin_mse"
        )
    return Teacher(teacher.encode(found.asked, kind="query"), teacher.encode(found.told, kind="document"))


def _check(name: str, found: Examples, teacher: Teacher | None) -> None:
    if name in NEED_TEACHER and teacher is None:
        raise SettingsError(f"loss {name!r} learns from a teacher, and none was given")
    if len(found.queries) == len(found.documents) == 1:
        raise DataError("all pairs have the same two texts: there is nothing to learn from")
    if name in IN_BATCH and len(found.documents) == 1:
        raise DataError(
            f"loss {name!r} tells an answer from other documents, but all {len(found):,} pairs have one and the same"
        )
    if name in NEED_NEGATIVES and not len(found.negatives.values):
        raise DataError(f"loss {name!r} needs pairs with negatives, and none has any: mine some, or use info_nce")
    if name in NEED_SCORES and np.isnan(found.score).any():
        without = int(np.isnan(found.score).sum())
        raise DataError(f"loss {name!r} needs a score with each pair; {without:,} of {len(found):,} have none")


def _own(batch: Batch) -> tuple[Tensor, Tensor]:
    """Rows and columns of every (pair, own negative)."""
    rows, places = np.nonzero(batch.own >= 0)
    return torch.from_numpy(rows), torch.from_numpy(batch.own[rows, places])


def _on(like: Tensor, values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)
