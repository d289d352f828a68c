"""The loop of an export and an import: resume where the last run stopped, write, compare.

How far a run came is kept in a small file of firth's cache, by the names of both sides. It is only believed where the
other side still holds at least as many documents as were written, and is removed when the run is finished.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Vectors, unit
from firth.errors import DataError, FormatError, StorageError
from firth.files import read_json, write_json
from firth.progress import Progress, silent
from firth.store.collection import Collection
from firth.store.exchange.plan import Plan, Supply, Target, keys_as_strings
from firth.store.records import Key, Record
from firth.store.schema import Metric

PAGE = 1_000  # documents a write: a few MB, and what an interruption repeats
SAMPLE = 100  # documents whose vectors and neighbours are compared on both sides
NEIGHBOURS = 10
CLOSE = 1e-6  # largest difference of a float32 value that has only been copied


@dataclass(frozen=True)
class Compared:
    """One set of vectors on both sides.

    Attributes:
        name: of the set.
        sampled: documents whose vectors were compared.
        difference: the largest of a single value; above 1e-6 only where the engine stores half floats.
        agreement: mean share of the exact ten nearest here that the engine's index returns there; NaN = not asked.
    """

    name: str
    sampled: int
    difference: float
    agreement: float


@dataclass(frozen=True)
class Moved:
    """What was carried where, and how well both sides agree.

    Attributes:
        here: documents of the collection.
        there: documents on the other side.
        written: by this run; fewer than `here` where it was resumed.
    """

    where: str
    here: int
    there: int
    written: int
    seconds: float
    compared: tuple[Compared, ...] = field(default_factory=tuple)

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, too many or different."""
        return self.here == self.there and all(one.difference <= CLOSE for one in self.compared)

    @property
    def missed_gates(self) -> tuple[str, ...]:
        """Why it is not whole; the command line's exit code 3."""
        if self.whole:
            return ()
        if self.here != self.there:
            why = f"{self.here:,} documents here and {self.there:,} there: "
            return (f"{why}run it again, or with --fresh if documents were deleted here",)
        worst = max(one.difference for one in self.compared)
        return (f"vectors differ by up to {worst:.1e}; are they stored as half floats there?",)

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        for one in told["compared"]:
            one["agreement"] = None if np.isnan(one["agreement"]) else one["agreement"]
        return {**told, "whole": self.whole}


def plan_of(collection: Collection) -> Plan:
    """The shape of a collection.

    Raises:
        DataError: 1 and "1" are both keys.
    """
    strings = keys_as_strings(record.id for record in collection)
    return Plan(
        vectors=collection.vector_settings(),
        fields=dict(collection.declared),
        count=len(collection),
        numbered=not strings,
        models={name: print_ for name, print_ in collection.fingerprints().items() if print_},
    )


def export_to(
    collection: Collection,
    target: Target,
    *,
    fresh: bool = False,
    seed: int = 0,
    notes: Path | None = None,
    progress: Progress = silent,
) -> Moved:
    """Write every document of a collection into another engine, and compare.

    Args:
        collection: may be open for reading only, and be written to meanwhile; what changes during the run is found by
            the comparison.
        target: of `places.target`.
        fresh: take away what is there first.
        seed: of the documents that are compared.
        notes: folder for how far the run came; firth's cache if None.
        progress: told documents written.

    Raises:
        DataError: a document that the engine cannot hold; names it.
        SettingsError: what is there has another shape.
    """
    start = time.perf_counter()
    plan = plan_of(collection)
    note = _Note(notes, "export", str(collection.path.resolve()), target.where)
    if fresh:
        note.forget()
    target.prepare(plan, fresh=fresh)
    mark, done = note.read()
    if done > target.count():
        mark, done = None, 0
    written = 0
    key: Key | None = mark
    while True:
        page = collection.scroll(limit=PAGE, start=key, with_vectors=True)
        target.write([_complete(record, plan) for record in page.records])
        done, written = done + len(page.records), written + len(page.records)
        progress(min(done, plan.count), plan.count)
        if page.next is None:
            break
        key = page.next
        note.write(key, done)
    target.finish()
    compared = tuple(_compared(collection, target, name, seed) for name in plan.vectors) if plan.count else ()
    note.forget()
    return Moved(target.where, len(collection), target.count(), written, time.perf_counter() - start, compared)


def import_from(
    supply: Supply, collection: Collection, *, seed: int = 0, notes: Path | None = None, progress: Progress = silent
) -> Moved:
    """Read every document of another engine or file into a collection, and compare.

    Args:
        supply: of `places.supply`.
        collection: made of `supply.plan().vectors`.
        seed: of the documents that are compared.
        notes: folder for how far the run came; firth's cache if None.
        progress: told documents read.

    Raises:
        DataError: a document that a collection cannot hold; names it.
    """
    start = time.perf_counter()
    plan = supply.plan()
    note = _Note(notes, "import", supply.where, str(collection.path.resolve()))
    mark, done = note.read()
    if done > len(collection):
        mark, done = None, 0
    written = 0
    for records, following in supply.read(mark):
        _store(collection, records, plan)
        done, written = done + len(records), written + len(records)
        progress(done, max(plan.count, 0))
        note.write(following, done)
    for path, kind in plan.fields.items():
        collection.declare(path, kind)  # type: ignore[arg-type]  # checked there
    compared = tuple(_compared(collection, supply, name, seed) for name in plan.vectors) if len(collection) else ()
    note.forget()
    there = plan.count if plan.count >= 0 else done
    return Moved(supply.where, len(collection), there, written, time.perf_counter() - start, compared)


def _complete(record: Record, plan: Plan) -> Record:
    missing = [name for name in plan.vectors if name not in record.vectors]
    if missing:
        raise DataError(f"document {record.id!r} has no vector {missing[0]!r}; delete it or store it again")
    return record


def _store(collection: Collection, records: Sequence[Record], plan: Plan) -> None:
    if not records:
        return
    vectors = {name: np.stack([record.vectors[name] for record in records]) for name in plan.vectors}
    collection.upsert(
        [record.id for record in records],
        [record.text for record in records],
        [record.payload for record in records],
        titles=[record.title for record in records],
        vectors=vectors,
    )


def _compared(collection: Collection, other: Target | Supply, name: str, seed: int) -> Compared:
    """Vectors and neighbours of a sample on both sides."""
    chance = np.random.default_rng(seed)
    metric = collection.vector_settings()[name].metric
    ids = [record.id for record in collection]
    chosen = [ids[i] for i in sorted(chance.choice(len(ids), min(SAMPLE, len(ids)), replace=False).tolist())]
    ours = {r.id: r.vectors[name] for r in collection.get(chosen, with_vectors=True)}
    theirs = other.fetch(chosen, name)
    shared = [key for key in ours if key in theirs]
    difference = max((_difference(ours[key], theirs[key], metric) for key in shared), default=0.0)
    queries: Vectors = np.stack(list(ours.values()))
    k = min(NEIGHBOURS, len(ids))
    found = other.nearest(queries, k, name)
    if not found:
        return Compared(name, len(shared), difference, float("nan"))
    exact = collection.search_many(queries, k, recall=1.0, vector=name)
    # As strings: an engine may hold every key as one, and `plan_of` has seen to it that no two become the same.
    shares = [
        len({str(hit.id) for hit in hits} & {str(key) for key in keys}) / k
        for hits, keys in zip(exact, found, strict=True)
    ]
    return Compared(name, len(shared), difference, float(np.mean(shares)))


def _difference(ours: Vectors, theirs: Vectors, metric: Metric) -> float:
    """The largest of a value; for cosine of unit rows, which is how a collection keeps them."""
    return float(np.abs(ours - (unit(theirs[None])[0] if metric == "cosine" else theirs)).max())


class _Note:
    """How far a run came: {"mark": …, "done": n}."""

    def __init__(self, folder: Path | None, *names: str) -> None:
        place = folder or Path(os.environ.get("FIRTH_CACHE") or "~/.cache/firth").expanduser() / "carried"
        self.path = place / f"{hashlib.sha256(repr(names).encode()).hexdigest()[:32]}.json"

    def read(self) -> tuple[Any, int]:
        if not self.path.is_file():
            return None, 0
        try:
            held = read_json(self.path)
            return held["mark"], int(held["done"])
        except (FormatError, KeyError, TypeError, ValueError):
            return None, 0  # damaged: everything is written again, which changes nothing

    def write(self, mark: Any, done: int) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path.parent}: {error.strerror}; set FIRTH_CACHE to a folder of yours") from error
        write_json(self.path, {"mark": mark, "done": done})

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
