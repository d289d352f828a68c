"""A large first batch is linked without walks; it keeps every promise that growth by walks keeps."""

from __future__ import annotations

import _thread
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firth import kernels
from firth.arrays import Vectors
from firth.index import HNSW, Flat, calibrate

START = 4096  # rows; native/graph_start.hpp


def recall(index: HNSW, rows: Vectors, queries: Vectors, k: int, ef: int) -> float:
    return calibrate.recall(index.search(queries, k, ef=ef), Flat.build(rows).search(queries, k))


def grown(rows: Vectors, *, m: int, ef_construction: int) -> HNSW:
    """An index of the same settings whose rows came in batches too small for a start."""
    index = HNSW.build(rows[:1000], m=m, ef_construction=ef_construction, threads=2)
    index.add(None, rows[1000:], threads=2)
    return index


def test_a_start_finds_what_growth_by_walks_finds(many: Vectors) -> None:
    rows, queries = many[:11_600], many[11_600:]
    started = HNSW.build(rows, m=12, ef_construction=100, threads=2)
    walked = grown(rows, m=12, ef_construction=100)
    for k, ef in ((10, 40), (100, 150)):
        assert recall(started, rows, queries, k, ef) > recall(walked, rows, queries, k, ef) - 0.005
    assert recall(started, rows, queries, 10, 120) > 0.99
    assert started.unreachable == 0


@pytest.mark.parametrize("threads", [2, 5])
def test_a_start_is_the_same_for_any_number_of_threads(many: Vectors, tmp_path: Path, threads: int) -> None:
    for n in (1, threads):
        HNSW.build(many, m=8, ef_construction=40, threads=n).save(tmp_path / str(n))
    assert (tmp_path / "1").read_bytes() == (tmp_path / str(threads)).read_bytes()


def test_a_start_is_the_same_file_at_every_cpu_level(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from conftest import embeddings; from firth.index import HNSW\n"
        "HNSW.build(embeddings(6000), m=8, ef_construction=40, threads=2).save(sys.argv[1])"
    )
    for name in kernels.levels():
        env = os.environ | {"FIRTH_LEVEL": name, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", code, str(tmp_path / name), str(Path(__file__).parent)]
        subprocess.run(command, env=env, check=True)
    assert len({(tmp_path / name).read_bytes() for name in kernels.levels()}) == 1


@pytest.mark.parametrize("n", [START - 1, START, START + 1])
def test_the_smallest_start_and_the_largest_growth_by_walks_are_both_sound(many: Vectors, n: int) -> None:
    index = HNSW.build(many[:n], m=8, ef_construction=60, threads=2)
    assert len(index) == n
    assert index.unreachable == 0
    assert index.search(many[:n], 1, ef=60, threads=2).ids.ravel().tolist() == list(range(n))


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: np.repeat(rows[:1], 6000, axis=0),
        lambda rows: np.repeat(rows[:3], 2000, axis=0),
        lambda rows: np.concatenate([np.repeat(rows[:1], 5000, axis=0), rows[:1000]]),
        lambda rows: rows[np.arange(6000) % 7] + 1e-4 * rows[:6000],
    ],
    ids=["one vector", "three vectors", "mostly one vector", "seven tight clusters"],
)
def test_a_start_over_copies_ends_and_leaves_nothing_unreachable(
    many: Vectors, make: Callable[[Vectors], Vectors]
) -> None:
    rows = make(many)
    index = HNSW.build(rows, m=6, ef_construction=40, threads=2)
    assert index.unreachable == 0
    found = index.search(rows[:1], 10, ef=100)
    np.testing.assert_array_equal(found.scores, Flat.build(rows).search(rows[:1], 10).scores)


def test_a_start_that_is_interrupted_leaves_an_empty_sound_index(many: Vectors) -> None:
    rows = np.concatenate([many, -many, many[:, ::-1]])
    index = HNSW.build(rows[:0])
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while True:  # once is enough on a slow machine
            index.add(None, rows, threads=1)
            index = HNSW.build(rows[:0])
    timer.join()
    assert len(index) in (0, len(rows))
    if not len(index):
        assert (index.search(rows[:2]).ids == -1).all()
        index.add(np.arange(5000), rows[:5000])
        assert index.search(rows[:50], 1, ef=100).ids.ravel().tolist() == list(range(50))
    assert index.unreachable == 0


def test_a_started_index_grows_and_shrinks_as_any_other(many: Vectors) -> None:
    index = HNSW.build(many[:6000], m=8, ef_construction=60, threads=2)
    index.add(None, many[6000:], threads=2)
    index.remove(np.arange(0, 12_000, 2))
    left = np.arange(1, 12_000, 2)
    assert index.unreachable == 0
    exact = Flat.build(many[left], keys=left).search(many[:200])
    assert calibrate.recall(index.search(many[:200], ef=150), exact) > 0.98
