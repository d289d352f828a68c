"""One writer and any number of searches at a time: nothing is torn, nothing is lost, nothing comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firth.arrays import Vectors
from firth.index import HNSW

ROUNDS = 12


def run(*works: Callable[[], None]) -> None:
    """All at once; the first exception is raised again."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("codec", ["sq8", None])
def test_searches_go_on_while_vectors_come_and_go_and_files_are_written(
    rows: Vectors, queries: Vectors, tmp_path: Path, codec: str | None
) -> None:
    index = HNSW.build(rows[:1500], m=6, ef_construction=30, codec=codec, threads=2)  # type: ignore[arg-type]
    gone = threading.Event()
    never: set[int] = set(range(1000, 1100))

    def change() -> None:
        index.remove(sorted(never))
        gone.set()
        for i in range(ROUNDS):
            index.add(np.arange(2000 + 300 * i, 2300 + 300 * i), rows[1500 + 300 * i : 1800 + 300 * i], threads=2)
            index.remove(np.arange(2000 + 300 * i, 2150 + 300 * i), threads=2)

    def search() -> None:
        for _ in range(ROUNDS * 3):
            after = gone.is_set()
            near = index.search(queries, 8, ef=30, threads=2)
            assert (near.ids >= 0).all()
            assert (np.diff(near.scores, axis=1) <= 0).all()
            assert not after or not never & set(near.ids.ravel().tolist())
            # A score belongs to the vector of its key, never to one that has since taken the place.
            exact = np.einsum("qd,qkd->qk", queries, _vectors_of(near.ids, rows))
            np.testing.assert_allclose(near.scores, exact, atol=1e-5)

    def filtered() -> None:
        for _ in range(ROUNDS):
            near = index.search(queries[:20], 5, ef=30, allow=np.arange(900))
            assert (near.ids < 900).all()

    def save() -> None:
        for i in range(ROUNDS):
            index.save(tmp_path / f"{i}")
            again = HNSW.load(tmp_path / f"{i}")
            assert (again.search(queries[:5], 5, ef=30).ids >= 0).all()

    run(change, search, search, filtered, save)
    assert len(index) == 1400 + ROUNDS * 150
    index.repair()
    assert index.unreachable == 0


def _vectors_of(ids: np.ndarray, rows: Vectors) -> Vectors:
    return rows[np.where(ids < 2000, ids, ids - 500)]
