"""What a build knows beyond its scores: where the recall went, parts of the queries, what moved, what overlaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import NO_ID, NO_SCORE, Neighbours, unit
from firth.compress import Scalar, rescore
from firth.errors import MissingExtraError
from firth.evaluate import language
from firth.evaluate.anatomy import atlas, histograms, slices, widths
from firth.evaluate.benchmarks import known, shared_with
from firth.evaluate.flips import snippet
from firth.evaluate.overlap import normalised, on_clean, overlap
from firth.evaluate.ranking import Ranking
from firth.evaluate.records import Point, Stage
from firth.evaluate.waterfall import waterfall
from firth.index import Flat
from firth.recipes.built import COLLECTION
from firth.recipes.domain import Work
from firth.recipes.judged import Judged
from firth.store import Collection
from firth.store.records import Hit
from firth.text.records import Document

MAIN = "ndcg@10"
K = 10  # neighbours that the waterfall counts
SHORTLIST = 4  # times K: what is re-scored where codes are walked
MOST_QUERIES = 500  # followed through the stages
ALLOWED, MOST_ALLOWED = 10, 1_000  # a filter lets one document in ten answer, at most so many
FEW_SHARED, MANY_SHARED = 1 / 3, 2 / 3  # of a query's words that stand in its answer


def dissect(
    work: Work, out: Path, *, before: Judged, after: Judged | None, chosen: Point, names: tuple[str, str],
    recall: float, threads: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The fields of a BuildReport that this file is about, by name.

    Args:
        before, after: the base model's vectors and ranking, and the tuned one's where there is one.
        chosen: what the collection in `out` was built with.
        names: of the base and the tuned model.
        recall: what the collection was asked for.
    """
    ships = after or before
    found: dict[str, Any] = {"stages": stages(ships, out, chosen, recall=recall, threads=threads, seed=seed)}
    models = [(name, judged) for name, judged in zip(names, (before, after), strict=True) if judged is not None]
    if before.judgements:
        found["similarities"] = tuple(
            spread
            for name, judged in models
            for spread in histograms(
                name, _asked(judged), judged.documents.vectors, judged.ranking, judged.judgements, seed=seed
            )
        )
        found["widths"] = tuple(
            width
            for name, judged in models
            for width in widths(
                name, _asked(judged), list(judged.judgements), judged.documents.blocks, judged.documents.ids,
                judged.judgements, name=MAIN, k=K, seed=seed,
            )
        )  # fmt: skip
        assert before.scores is not None
        found["slices"] = slices(slicers(work, before), before.scores, after.scores if after else None, seed=seed)
    if after is not None:
        drawn = atlas(before.documents.ids, before.documents.vectors, after.documents.vectors, seed=seed)
        texts = work.texts(dot.id for dot in drawn.dots)
        titles = {id_: document.title or snippet(document.text, 80) for id_, document in texts.items()}
        found["atlas"] = replace(drawn, dots=[replace(dot, title=titles[dot.id]) for dot in drawn.dots])
    return found


def stages(judged: Judged, out: Path, chosen: Point, *, recall: float, threads: int, seed: int) -> tuple[Stage, ...]:
    """From the model's exact float32 ranking to what the collection in `out` returns, one step at a time.

    The last step asks it with a filter that a random tenth of the documents passes, against exact search among those.
    """
    ids = list(judged.judgements or judged.query_ids)[:MOST_QUERIES]
    if len(ids) < 2:  # one query has no spread to compare a step with
        return ()
    asked, vectors, names = judged.vectors_of(ids), judged.documents.vectors, judged.documents.ids
    k = min(K, len(names))
    steps = [(f"exact, {vectors.shape[1]} dimensions", Flat.build(vectors).search(asked, k=k, threads=threads))]
    allowed = np.sort(np.random.default_rng(seed).permutation(len(names))[: min(MOST_ALLOWED, len(names) // ALLOWED)])
    wanted = Flat.build(np.asarray(vectors[allowed])).search(asked, k=k, threads=threads) if len(allowed) else None
    if chosen.dims < vectors.shape[1]:
        vectors, asked = unit(vectors[:, : chosen.dims]), unit(asked[:, : chosen.dims])
        steps.append((f"{chosen.dims} dimensions", Flat.build(vectors).search(asked, k=k, threads=threads)))
    if chosen.codec == "sq8":
        codec = Scalar.train(vectors, uniform=True, seed=seed)
        wide = min(SHORTLIST * k, len(names))
        coarse = Flat.build(vectors, codec=codec, threads=threads).search(asked, k=wide, threads=threads)
        steps.append(("sq8 codes alone", Neighbours(coarse.ids[:, :k], coarse.scores[:, :k])))
        steps.append((f"best {wide} re-scored", rescore(asked, coarse, vectors, k, threads=threads)))
    exact_of = {}
    with Collection.open(out / COLLECTION, readonly=True) as collection:
        graph = "hnsw graph" if chosen.index == "hnsw" else chosen.index
        steps.append((f"collection: {graph}", _rows(collection.search_many(asked, k, recall=recall), names, k)))
        if wanted is not None:
            among = {"must": [{"has_id": [names[row] for row in allowed.tolist()]}]}
            hits = collection.search_many(asked, k, recall=recall, filter=among)
            title = f"collection: filter, {len(allowed):,} pass"
            steps.append((title, _rows(hits, names, k)))
            exact_of[title] = Ranking(ids, [names[row] for row in allowed.tolist()], wanted)
    rankings = [(name, Ranking(ids, names, near)) for name, near in steps]
    judgements = {query: judged.judgements[query] for query in ids} if judged.judgements else None
    return tuple(waterfall(rankings, judgements, exact_of=exact_of, k=K, name=MAIN, seed=seed))


def slicers(work: Work, judged: Judged) -> dict[str, Callable[[str], str]]:
    """What test queries are sliced by: their length, how many of their words the answer has, its length, language."""
    answers = {
        query: [id_ for id_, grade in grades.items() if grade > 0] for query, grades in judged.judgements.items()
    }
    texts = work.texts(id_ for ids in answers.values() for id_ in ids)
    found: dict[str, Callable[[str], str]] = {
        "query length": lambda query: _length(len(work.queries[query].split()), (5, 12)),
        "answer length": lambda query: _length(_words(answers[query], texts), (60, 200)),
        "words shared": lambda query: _shared(work.queries[query], answers[query], texts),
    }
    try:
        told = language.teller()
    except MissingExtraError:  # doctor names the extra; the report has one table less
        return found
    found["language"] = lambda query: told(work.queries[query])
    return found


def overlaps(work: Work, before: Judged, after: Judged | None) -> tuple[str, ...]:
    """What the test queries share with the training queries, and the training queries with public benchmarks."""
    notes = []
    tests = {query: work.queries[query] for query in work.sets.test}
    train = {query: work.queries[query] for query in work.sets.train}
    found = overlap(tests, train) if tests and train else None
    if found is not None and found.pairs:
        told = ", ".join(f"{count:,} {how}" for how, count in found.counts.items() if count)
        note = f"{len(found.pairs):,} of {len(tests):,} test queries are nearly asked in training too ({told})"
        if before.scores is not None and 0 < len(found.clean) < len(tests):
            scored = [("base", before.scores), ("tuned", after.scores if after else None)]
            clean = [f"{name} {on_clean(s, found.clean).mean[MAIN]:.3f}" for name, s in scored if s is not None]
            note += f"; {MAIN} on the {len(found.clean):,} others: {', '.join(clean)}"
        notes.append(note)
    for name, prints in known().items() if train else ():
        shared = shared_with(train, prints)
        if shared:
            notes.append(
                f"{len(shared):,} of {len(train):,} training queries stand in the public benchmark {name}; "
                "scores of this model on it say little"
            )
    return tuple(notes)


def _rows(hits: Sequence[Sequence[Hit]], names: Sequence[str], k: int) -> Neighbours:
    """A collection's answers by the rows of the documents' ids."""
    row_of = {id_: row for row, id_ in enumerate(names)}
    found = Neighbours(np.full((len(hits), k), NO_ID, np.int64), np.full((len(hits), k), NO_SCORE, np.float32))
    for i, each in enumerate(hits):
        found.ids[i, : len(each)] = [row_of[str(hit.id)] for hit in each]
        found.scores[i, : len(each)] = [hit.score for hit in each]
    return found


def _asked(judged: Judged) -> Any:
    return judged.vectors_of(judged.judgements)


def _length(words: int, bounds: tuple[int, int]) -> str:
    """Names that sort by length."""
    short, middle = bounds
    if words <= short:
        return f"1 to {short}"
    return f"{short + 1} to {middle}" if words <= middle else f"over {middle}"


def _words(answers: list[str], texts: Mapping[str, Document]) -> int:
    return min((len(texts[id_].full.split()) for id_ in answers if id_ in texts), default=0)


def _shared(query: str, answers: list[str], texts: Mapping[str, Document]) -> str:
    """How many of the query's words the answer that has most of them has."""
    words = set(normalised(query).split())
    held = [set(normalised(texts[id_].full).split()) for id_ in answers if id_ in texts]
    if not words or not held:
        return ""
    share = max(len(words & each) for each in held) / len(words)
    return "0 to 1/3" if share <= FEW_SHARED else "1/3 to 2/3" if share <= MANY_SHARED else "2/3 to 1"
