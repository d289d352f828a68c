"""A random life of an index, checked after each step against a dictionary and against `Flat`.

tests/index/test_model.py lives a few hundred steps, benchmarks/bench_soundness.py a hundred thousand.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Vectors
from firth.errors import SettingsError
from firth.index import HNSW, Flat
from index.damaged import walking

KEYS = 20_000  # keys are drawn from 0 … KEYS - 1, so that removed ones come again
LARGE = 4_500  # vectors that an empty index links without walks
EF = 60
NEAR = 1e-4  # scores of two sums of 64 products in other orders
STEPS = {
    "add": 36, "bulk": 1, "add again": 1, "remove": 19, "remove unknown": 1, "search": 25, "filter": 10, "exact": 1,
    "look": 2, "file": 2, "repair": 2,
}  # fmt: skip
# A life's build: two codecs, three metrics, two kinds of keys, few or no vectors at first.
KINDS: list[dict[str, Any]] = [
    {"codec": "sq8", "first": 0},
    {"codec": None, "first": 0},
    {"codec": "sq8", "first": 800, "names": True},
    {"codec": "sq8", "first": LARGE, "metric": "euclid"},
    {"codec": "sq8", "first": 800, "metric": "dot"},
    {"codec": None, "first": 800, "metric": "dot", "names": True},
]


class Life:
    """An index, its oracles, and what was done so far.

    Attributes:
        hits, wanted: neighbours found of those that `Flat` found, over all searches.
        done: how often each step was taken.
    """

    def __init__(
        self, rows: Vectors, folder: Path, seed: int, *, codec: Any, first: int = 0, metric: Any = "cosine",
        names: bool = False,
    ) -> None:  # fmt: skip
        self.rows = rows if metric == "cosine" else rows * (1 + np.arange(len(rows), dtype=np.float32)[:, None] % 7 / 7)
        self.rng, self.folder, self.names = random.Random(seed), folder, names
        self.held: dict[int, int] = {}  # key -> row
        self.hits = self.wanted = 0
        self.done: Counter[str] = Counter()
        keys, some = self._keys(first), self._some(first)
        start: Any = {"keys": self._named(keys)} if first else {}
        self.index = HNSW.build(
            self.rows[some], m=6, ef_construction=40, codec=codec, metric=metric, threads=1, **start
        )
        self.flat = Flat.build(self.rows[some], metric=metric, **start)
        self.held.update(zip(keys, some, strict=True))
        self.steps: dict[str, Callable[[], None]] = {
            "add": lambda: self._add(self.rng.choice([1, 3, 40, 150])),
            "bulk": lambda: self._add(2500 if self.held else LARGE),
            "add again": self._add_again,
            "remove": lambda: self._remove(min(self.rng.choice([1, 5, 100, 2500]), len(self.held))),
            "remove unknown": self._remove_unknown,
            "search": lambda: self._search(None),
            "filter": lambda: self._search(self.rng.sample(range(KEYS), self.rng.choice([5, 500, 15_000]))),
            "exact": self._exact,
            "look": self._look,
            "file": self._file,
            "repair": self._repair,
        }

    def step(self) -> None:
        """One operation, checked."""
        what = self.rng.choices(list(STEPS), list(STEPS.values()))[0]
        with walking(self.rng.random() < 0.6):
            self.steps[what]()
        self.done[what] += 1
        assert len(self.index) == len(self.flat) == len(self.held), what

    @property
    def recall(self) -> float:
        """Of all searches together."""
        return self.hits / max(self.wanted, 1)

    def _add(self, number: int) -> None:
        keys = self._keys(number)
        some = self._some(len(keys))
        self.index.add(self._named(keys), self.rows[some], threads=self.rng.choice([1, 2]))
        self.flat.add(self._named(keys), self.rows[some])
        self.held.update(zip(keys, some, strict=True))

    def _add_again(self) -> None:
        """A batch with one key that is there is refused whole."""
        if self.held:
            keys = [*self._keys(3), self._one()]
            _refused(lambda: self.index.add(self._named(keys), self.rows[: len(keys)]))

    def _remove(self, number: int) -> None:
        keys = self.rng.sample(list(self.held), number)
        self.index.remove(self._named(keys), threads=1)
        self.flat.remove(self._named(keys))
        for key in keys:
            del self.held[key]

    def _remove_unknown(self) -> None:
        """A batch with one key that is not there is refused whole."""
        keys = [KEYS, self._one()] if self.held else [KEYS]
        _refused(lambda: self.index.remove(self._named(keys)))

    def _search(self, allow: list[int] | None) -> None:
        k, query = self.rng.choice([1, 10, 30]), self.rows[self.rng.randrange(len(self.rows))]
        if allow is None:
            open_keys = self.held.keys()
            near, exact = self.index.search(query, k, ef=EF), self.flat.search(query, k, threads=1)
        else:
            open_keys = self.held.keys() & set(allow)
            near = self.index.search(query, k, ef=EF, allow=self._named(allow))
            exact = self.flat.search(query, k, allow=self._named(sorted(open_keys)), threads=1)
        found = self._numbers(self.index, near.ids[0])
        count = min(k, len(open_keys))
        assert len(found) == len(set(found)) == count, (len(found), count)
        assert open_keys >= set(found)
        assert (near.ids[0, count:] == -1).all()
        if count:
            scores = near.scores[0, :count].astype(np.float64)
            assert np.abs(scores - self._scores(query, found)).max() <= NEAR * max(1, np.abs(scores).max())
            assert (np.diff(scores) <= 0).all()
            self.hits += int((scores >= exact.scores[0, count - 1] - 1e-5).sum())
            self.wanted += count

    def _exact(self) -> None:
        query = self.rows[self.rng.randrange(len(self.rows))]
        mine, oracle = self.index.exact(query, 10, threads=1), self.flat.search(query, 10, threads=1)
        np.testing.assert_allclose(mine.scores, oracle.scores, rtol=NEAR, atol=NEAR)

    def _look(self) -> None:
        """Which keys are there, and their vectors."""
        keys = self.rng.sample(range(KEYS), 50)
        assert self.index.holds(self._named(keys)).tolist() == [key in self.held for key in keys]
        there = [key for key in keys if key in self.held]
        if there:
            rows = self.rows[[self.held[key] for key in there]]
            np.testing.assert_allclose(self.index.vectors(self._named(there)), rows, atol=1e-6)

    def _file(self) -> None:
        """Saved under the name of the one before, which may still be mapped, and opened."""
        path = self.folder / "life"
        self.index.save(path)
        self.index = HNSW.load(path)
        self.flat.save(self.folder / "flat")
        self.flat = Flat.load(self.folder / "flat")

    def _repair(self) -> None:
        self.index.repair(threads=1)
        assert self.index.unreachable == 0

    def _scores(self, query: Vectors, keys: list[int]) -> Any:
        rows, asked = self.rows[[self.held[key] for key in keys]].astype(np.float64), query.astype(np.float64)
        if self.index.metric == "euclid":
            return -((rows - asked) ** 2).sum(axis=1)
        return rows @ (asked / np.linalg.norm(asked) if self.index.metric == "cosine" else asked)

    def _keys(self, number: int) -> list[int]:
        """That many keys which are not there, or fewer."""
        return [key for key in self.rng.sample(range(KEYS), number) if key not in self.held]

    def _some(self, number: int) -> list[int]:
        return [self.rng.randrange(len(self.rows)) for _ in range(number)]

    def _one(self) -> int:
        return next(iter(self.held))

    def _named(self, keys: list[int]) -> Any:
        return [f"k{key}" for key in keys] if self.names else np.array(keys, np.int64)

    def _numbers(self, index: HNSW, ids: Any) -> list[int]:
        there = ids[ids >= 0]
        return [int(name[1:]) for name in index.names(there)] if self.names else there.tolist()


def _refused(change: Callable[[], object]) -> None:
    try:
        change()
    except SettingsError:
        return
    raise AssertionError("a change that had to be refused was not")
