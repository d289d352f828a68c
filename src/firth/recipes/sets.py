"""Which judged queries train, which choose settings and which only measure.

The parts never share a query, and those drawn here no relevant document: queries that are joined by a document which
answers both stay together. Parts that the domain's owner named (qrels/train.tsv, dev.tsv, test.tsv) are kept as they
are; what their test part shares with the training part is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from firth.text.records import Judgements

TEST_SHARE = 0.3  # of all judged queries, where the owner named no test part
DEV_SHARE = 0.15  # of the training queries, where the owner named no dev part
MOST_HELD_OUT = 500  # queries; more narrow the interval little and cost training pairs
FEWEST_TO_TUNE = 20  # training queries; below that there is nothing to learn from and nothing to check it with
NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}


@dataclass(frozen=True)
class Sets:
    """Disjoint judgements, query id -> document id -> grade, and what was decided on the way."""

    train: Judgements
    dev: Judgements
    test: Judgements
    notes: tuple[str, ...] = field(default=())


def split(judgements: Mapping[str, Judgements], queries: Mapping[str, str], *, seed: int) -> Sets:
    """Name the three parts; what the owner did not name is drawn from what there is.

    Args:
        judgements: part name ("train", "dev", "test", or any other) -> judgements.
        queries: query id -> text, for finding test questions repeated in train.
        seed: of the draw.
    """
    notes: list[str] = []
    named = {part: _first(judgements, names) for part, names in NAMES.items()}
    known = {name for names in NAMES.values() for name in names}
    rest = {q: found for name, part in judgements.items() if name not in known for q, found in part.items()}
    train = _positive({**named["train"], **rest})
    dev, test = _positive(named["dev"]), _positive(named["test"])
    if not test and dev and train:
        test, dev = dev, {}
        notes.append("no test part: the dev part measures, and choices are made on a share of train")
    elif not test and train:
        train, test = _hold_out(train, TEST_SHARE, seed)
        notes.append(
            f"no test part: {len(test):,} queries and their documents were held out of {len(train) + len(test):,}"
        )
    if not dev and len(train) >= FEWEST_TO_TUNE:
        train, dev = _hold_out(train, DEV_SHARE, seed + 1)
        notes.append(f"{len(dev):,} of {len(train) + len(dev):,} training queries choose the epoch (dev)")
    train, repeated = _without_repeats(train, {**dev, **test}, queries)
    if repeated:
        notes.append(f"{repeated:,} training queries ask the same as a dev or test query and were left out")
    if heart := _answered_alike(train, test):
        notes.append(
            f"{heart:,} of {len(test):,} test queries are answered by documents that answer training queries too, as "
            "the owner divided them: what tuning gains on those may be learnt by heart"
        )
    return Sets(train, dev, test, tuple(notes))


def _first(judgements: Mapping[str, Judgements], names: tuple[str, ...]) -> Judgements:
    return next((judgements[name] for name in names if judgements.get(name)), {})


def _positive(part: Judgements) -> Judgements:
    """Queries that have at least one relevant document; the others can neither teach nor measure."""
    return {query: found for query, found in part.items() if any(grade > 0 for grade in found.values())}


def _hold_out(part: Judgements, share: float, seed: int) -> tuple[Judgements, Judgements]:
    """(kept, held out): whole groups of queries joined by relevant documents, about `share` of the queries."""
    wanted = min(MOST_HELD_OUT, max(1, round(share * len(part))))
    groups = _groups(part)
    held: set[str] = set()
    for i in np.random.default_rng(seed).permutation(len(groups)):
        # A group that would overshoot is passed over: one huge group must not become the whole part.
        if len(held) + len(groups[i]) <= wanted:
            held.update(groups[i])
    kept = {query: found for query, found in part.items() if query not in held}
    return kept, {query: found for query, found in part.items() if query in held}


def _groups(part: Judgements) -> list[list[str]]:
    """Queries that share a relevant document, directly or through others, in a fixed order."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for query, found in part.items():
        for document, grade in found.items():
            if grade > 0:
                parent[root(f"q {query}")] = root(f"d {document}")
    groups: dict[str, list[str]] = {}
    for query in part:
        groups.setdefault(root(f"q {query}"), []).append(query)
    return list(groups.values())


def _without_repeats(train: Judgements, held: Judgements, queries: Mapping[str, str]) -> tuple[Judgements, int]:
    texts = {_plain(queries[query]) for query in held if query in queries}
    kept = {query: found for query, found in train.items() if _plain(queries.get(query, "")) not in texts}
    return kept, len(train) - len(kept)


def _answered_alike(train: Judgements, test: Judgements) -> int:
    """Test queries with an answer that is a training query's answer too."""
    learnt = {document for found in train.values() for document, grade in found.items() if grade > 0}
    return sum(any(grade > 0 and document in learnt for document, grade in found.items()) for found in test.values())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
