"""What was read: a stream of documents, queries, judgements and pairs, and what is missing among them.

Documents and pairs are read from disk each time they are walked through and never held; queries and judgements are
held, at about 300 bytes each. Ids are checked in one pass that keeps eight bytes a document.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text.lines import Faults, LineError, Place
from firth.text.records import Document, Judgements, Pair
from firth.text.testset import TestSet

TOLD_EVERY = 10_000  # documents between two calls of the progress


class Documents:
    """A corpus that is read anew each time it is walked through.

    Attributes:
        path: the file or folder that it comes from.
        count: how many there are, None where nobody has counted yet.
    """

    def __init__(
        self,
        stream: Callable[[Faults], Iterator[tuple[Place, Document]]],
        path: Path,
        *,
        skip_bad: bool = False,
        count: int | None = None,
    ) -> None:
        self.path = path
        self.count = count
        self._stream = stream
        self._skip_bad = skip_bad
        self._repeated: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Document]:
        seen = set()
        for _, document in self._stream(Faults(Faults.SKIP if self._skip_bad else Faults.STOP)):
            if document.id in self._repeated:
                if document.id in seen:
                    continue
                seen.add(document.id)
            yield document

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError(f"{self.path}: not counted; walk through it, or sum(1 for _ in documents)")
        return self.count

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def check(self, progress: Progress = silent) -> tuple[KnownIds, list[str]]:
        """Read everything once: every line is sound and no id comes twice.

        Returns:
            The ids, for looking up judgements; and what was skipped, in words.

        Raises:
            DataError: the first fault with its line and how many more are like it, unless bad lines are skipped.
        """
        faults = Faults(Faults.SKIP if self._skip_bad else Faults.GATHER)
        hashes = array("q")
        for _, document in self._stream(faults):
            hashes.append(hash(document.id))
            if len(hashes) % TOLD_EVERY == 0:
                progress(len(hashes), 0, "checked")
        faults.settle()
        known = KnownIds(np.frombuffer(hashes, np.int64), self.path.name)
        if known.suspects:
            self._repeated = self._find_repeated(known.suspects, faults)
            faults.settle()
        self.count = len(hashes) - faults.counts.get("repeated", 0)
        progress(self.count, self.count, "checked")
        return known, faults.notes()

    def _find_repeated(self, suspects: frozenset[int], faults: Faults) -> frozenset[str]:
        """Ids that come more than once; equal hashes of different ids are told apart here."""
        first: dict[str, Place] = {}
        repeated = set()
        for place, document in self._stream(Faults(Faults.SKIP)):
            if hash(document.id) not in suspects:
                continue
            if document.id in first:
                repeated.add(document.id)
                before = first[document.id]
                where = before.spot if before.path == place.path else str(before)
                message = f'id "{document.id}" was used before, in {where}; ids must be unique'
                message += "" if before.path == place.path else ", or these files be read apart"
                faults.add(LineError("repeated", message, path=place.path, line=place.line))
            first.setdefault(document.id, place)
        return frozenset(repeated)


class KnownIds:
    """Which ids a corpus has, in eight bytes each: their hashes, sorted.

    An absent id passes for a present one with probability n / 2^64: 1 in 10^11 for 100 million documents.
    """

    def __init__(self, hashes: NDArray[np.int64], name: str) -> None:
        self.name = name  # of the corpus, for errors
        self._sorted = np.sort(hashes)
        equal = self._sorted[1:][self._sorted[1:] == self._sorted[:-1]]
        self.suspects = frozenset(int(value) for value in equal)

    def __contains__(self, id: str) -> bool:  # noqa: A002 - the field's name
        value = hash(id)
        place = int(np.searchsorted(self._sorted, value))
        return place < len(self._sorted) and int(self._sorted[place]) == value

    def __len__(self) -> int:
        return len(self._sorted)


@dataclass(frozen=True)
class Domain:
    """Everything that one path holds.

    Attributes:
        documents: what can be found; streaming, may be walked through any number of times.
        queries: query id -> text.
        judgements: split ("train", "dev", "test") -> query id -> document id -> grade.
        pairs: training examples; streaming, may be walked through any number of times.
        kind: what was recognised: "beir", "jsonl", "csv", "parquet", "trec" or "files".
        missing: those of "documents", "queries", "judgements", "pairs" that are not there.
        path: what was read.
        notes: what a person should know of it: what was skipped, what was taken for what.
    """

    documents: Documents
    queries: dict[str, str]
    judgements: dict[str, Judgements]
    pairs: Iterable[Pair]
    kind: str
    missing: list[str]
    path: Path
    notes: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """What was found, a line a thing: for a person who wants to know what firth made of a path."""
        splits = "; ".join(
            f"{name}: {len(split):,} queries, {sum(map(len, split.values())):,} judged"
            for name, split in sorted(self.judgements.items())
        )
        count = self.documents.count
        found = {
            "documents": "not counted" if count is None else f"{count:,}" if count else "",
            "queries": f"{len(self.queries):,}" if self.queries else "",
            "judgements": splits,
            "pairs": "from the judgements of train" if isinstance(self.pairs, JudgedPairs) else "from the files",
        }
        lines = [f"{name:<11} {'none' if name in self.missing else said}" for name, said in found.items()]
        return "\n".join([f"{self.kind}: {self.path}", *lines, *self.notes])

    def testset(self, split: str = "test") -> TestSet:
        """The documents, and the queries that `split` judges, held in memory.

        Raises:
            DataError: there is no such split; names those that exist.
        """
        if split not in self.judgements:
            there = ", ".join(f'"{name}"' for name in sorted(self.judgements)) or "none"
            raise DataError(f'no judgements for the split "{split}"; there are: {there}', path=self.path)
        if not self.queries:
            raise DataError("judgements without the texts of their queries; add queries.jsonl", path=self.path)
        judgements = self.judgements[split]
        documents = {document.id: document for document in self.documents}
        return TestSet(documents, {query: self.queries[query] for query in judgements}, judgements)


@dataclass(frozen=True)
class JudgedPairs:
    """The pairs that a split's judgements make, in the order of the corpus: one pass over it, holding no text of it."""

    documents: Documents
    queries: dict[str, str]
    judgements: Judgements

    def __iter__(self) -> Iterator[Pair]:
        if not self.judgements:
            return
        asked: dict[str, list[str]] = {}
        for query, grades in self.judgements.items():
            for id_, grade in grades.items():
                if grade > 0:
                    asked.setdefault(id_, []).append(query)
        for document in self.documents:
            for query in asked.get(document.id, ()):
                yield Pair(self.queries[query], document.full)
