"""`firth tune --adapter`: a map of the query vectors is learnt, and the documents are embedded once, as they stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from firth.arrays import Encoder
from firth.errors import DataError, SettingsError
from firth.evaluate.exact import nearest
from firth.evaluate.ranking import Ranking
from firth.evaluate.retrieval import measure
from firth.progress import Progress, silent
from firth.recipes.heldout import MAIN, apart
from firth.recipes.negatives import hard_negatives
from firth.sentence.mine import MineSettings
from firth.text.records import Pair
from firth.text.testset import TestSet

if TYPE_CHECKING:
    from firth.sentence.adapter import QueryAdapter
    from firth.sentence.tune import Tuned


def adapt(
    encoder: Encoder,
    pairs: Iterable[Pair],
    documents: Sequence[str],
    kind: str,
    *,
    epochs: int = 0,
    dev: TestSet | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Tuned[Any]:
    """Learn an adapter of an encoder's queries; the encoder that is given back is an `AdaptedEncoder`.

    Args:
        encoder: a sentence encoder that is read from a folder.
        pairs: queries and what answers them.
        documents: of the domain, among which negatives are mined.
        kind: "full", or the rank of the map.
        epochs: passes over the pairs; 0 = what is usual.
        dev: queries that choose the epoch; an adapter that is no better than none changes nothing.

    Raises:
        SettingsError: a kind or dev part that an adapter cannot have.
        DataError: no pairs, or a dev part that overlaps them.
    """
    from firth.sentence.adapter import AdaptedEncoder, AdapterSettings, train_adapter
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.tune import Tuned

    held = list(pairs)
    if not isinstance(encoder, SentenceEncoder) or not held:
        raise SettingsError("--adapter needs a sentence model and pairs of queries and answers")
    if dev is not None and not isinstance(dev, TestSet):
        raise SettingsError("--adapter changes queries only: its dev part must be a domain, not scored sentences")
    if dev is not None:
        apart(held, dev)
    rank = 0 if kind == "full" else int(kind) if kind.isdecimal() else -1
    settings = AdapterSettings(rank=rank, epochs=epochs or AdapterSettings.epochs, seed=seed)
    texts = list(dict.fromkeys([pair.positive for pair in held] + list(documents)))
    row = {text: i for i, text in enumerate(texts)}
    answers: dict[str, list[int]] = {}
    for pair in held:
        answers.setdefault(pair.query, []).append(row[pair.positive])
    vectors = encoder.encode(texts, kind="document")
    queries = encoder.encode(list(answers), kind="query")
    rules = MineSettings(seed=seed)
    mined = hard_negatives(queries, vectors, list(answers.values()), rules)
    scores: list[float] = []
    adapter, fitted = train_adapter(
        queries,
        vectors,
        [np.array(sorted(set(rows))) for rows in answers.values()],
        negatives=mined.negatives.ids[:, : AdapterSettings.negatives],
        settings=settings,
        dev=None if dev is None else _score(dev, encoder, scores),
        encoder=encoder.fingerprint,
        progress=progress,
    )
    adapted = AdaptedEncoder(encoder, adapter)
    base = scores[0] if scores else None
    return Tuned(
        adapted, fitted.curve, fitted.best_score, base, fitted.best_epoch, 1.0, {}, len(held), fitted.rows,
        fitted.seconds,
    )  # fmt: skip


def _score(dev: TestSet, encoder: Encoder, told: list[float]) -> Callable[[QueryAdapter], float]:
    """nDCG@10 of an adapter over all documents, which are embedded once."""
    judged = {query: found for query, found in dev.judgements.items() if any(grade > 0 for grade in found.values())}
    if not judged:
        raise DataError(f"none of {len(dev.judgements):,} dev queries has a relevant document")
    ids = list(dev.documents)
    vectors = encoder.encode([document.full for document in dev.documents.values()], kind="document")
    queries = encoder.encode([dev.queries[query] for query in judged], kind="query")

    def score(adapter: QueryAdapter) -> float:
        found = nearest(adapter(queries), [vectors], min(10, len(ids)))
        told.append(measure(Ranking(list(judged), ids, found), judged, [MAIN]).mean[MAIN])
        return told[-1]

    return score
