"""What the public tests of hnswlib and usearch ask of their indexes, asked of ours.

hnswlib: tests/python/bindings_test*.py (recall with save and load, labels, get_items, filter, spaces, resize, deletion,
replacement, metadata, stress of threads). usearch: python/scripts/test_index.py (widths x sizes x kinds of number,
duplicates, containment, removal, save, load and view, threads, exact search).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import Vectors, unit
from firth.errors import SettingsError
from firth.index import HNSW


def noise(n: int, d: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).random((n, d)).astype(np.float32)


# --- hnswlib ----------------------------------------------------------------------------------------------------------


def test_half_is_saved_loaded_and_the_other_half_added(tmp_path: Path) -> None:
    data = noise(10_000, 16)
    index = HNSW.build(data[:5000], ef_construction=100, metric="euclid")
    assert (index.search(data[:5000], 1, ef=50).ids[:, 0] == np.arange(5000)).mean() >= 0.999
    index.save(tmp_path / "half")
    index = HNSW.load(tmp_path / "half")
    index.add(np.arange(5000, 10_000), data[5000:])
    near = index.search(data, 1, ef=50)
    assert (near.ids[:, 0] == np.arange(10_000)).mean() >= 0.999
    assert np.abs(near.scores).max() < 1e-6


def test_items_come_back_as_they_were_added() -> None:
    data = noise(3000, 16)
    keys = np.random.default_rng(1).permutation(100_000)[:3000]
    index = HNSW.build(data, keys=keys, metric="euclid")
    np.testing.assert_array_equal(index.vectors(keys[::7]), data[::7])
    with pytest.raises(SettingsError, match="is not in the index"):
        index.vectors([10**6])
    np.testing.assert_allclose(HNSW.build(data).vectors(np.arange(3000)), unit(data))


@pytest.mark.parametrize("metric", ["euclid", "dot", "cosine"])
def test_scores_of_each_space_are_those_of_numpy(metric: Any) -> None:
    a, b = noise(5, 100).astype(np.float64), noise(5, 100, 1).astype(np.float64)
    found = HNSW.build(b, metric=metric).search(a, 5)
    if metric == "cosine":
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    exact = -((a[:, None] - b) ** 2).sum(2) if metric == "euclid" else a @ b.T
    np.testing.assert_allclose(found.scores, np.take_along_axis(exact, found.ids, 1), rtol=2e-6)
    np.testing.assert_array_equal(found.ids, np.argsort(-exact, axis=1))


def test_a_filter_of_even_labels_gives_even_labels_only() -> None:
    data = noise(5000, 16)
    index = HNSW.build(data, metric="euclid")
    even = np.arange(5000) % 2 == 0
    near = index.search(data, 1, allow=even)
    assert (near.ids % 2 == 0).all()
    own = even.nonzero()[0]
    assert (near.ids[own, 0] == own).mean() >= 0.999
    assert (index.search(data[:50], 10, allow=np.zeros(5000, bool)).ids == -1).all()


def test_deleted_labels_are_never_found_and_the_rest_is() -> None:
    data = noise(4000, 16)
    index = HNSW.build(data, metric="euclid")
    index.remove(np.arange(0, 4000, 2))
    near = index.search(data, 1, ef=50)
    assert (near.ids % 2 == 1).all()
    odd = np.arange(1, 4000, 2)
    assert (near.ids[odd, 0] == odd).mean() >= 0.999
    with pytest.raises(SettingsError, match="0 is not in the index"):
        index.remove([0])


def test_replaced_elements_take_the_room_of_deleted_ones(tmp_path: Path) -> None:
    data = noise(6000, 16)
    index = HNSW.build(data[:4000], metric="euclid")
    index.remove(np.arange(2000))
    index.repair()
    slots = index._graph.count
    index.save(tmp_path / "x")
    for each in (index, HNSW.load(tmp_path / "x")):
        each.add(np.arange(4000, 6000), data[4000:])
        assert each._graph.count == slots
        near = each.search(data[2000:], 1, ef=50)
        assert (near.ids[:, 0] == np.arange(2000, 6000)).mean() >= 0.999


def test_settings_survive_a_file(tmp_path: Path) -> None:
    index = HNSW.build(noise(100, 8), m=11, ef_construction=77, metric="dot", codec=None, seed=5)
    index.save(tmp_path / "x")
    again = HNSW.load(tmp_path / "x")
    told = ("m", "ef_construction", "metric", "dims", "codec", "seed", "longest")
    assert {name: getattr(again, name) for name in told} == {name: getattr(index, name) for name in told}


def test_threads_that_replace_what_others_search_leave_a_whole_index() -> None:
    data, failures = noise(6000, 16), []
    index = HNSW.build(data[:3000], metric="euclid")

    def replace(part: int) -> None:
        try:
            for start in range(part * 1000, part * 1000 + 1000, 100):
                index.remove(np.arange(start, start + 100))
                index.add(np.arange(3000 + start, 3100 + start), data[3000 + start : 3100 + start])
                index.search(data[:20], 5)
        except Exception as error:
            failures.append(error)

    workers = [threading.Thread(target=replace, args=(part,)) for part in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert len(index) == 3000
    assert (index.search(data[3000:], 1, ef=60).ids[:, 0] == np.arange(3000, 6000)).mean() >= 0.999
    assert index.unreachable == 0


# --- usearch ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["sq8", None])
@pytest.mark.parametrize("metric", ["cosine", "euclid", "dot"])
@pytest.mark.parametrize(("d", "n"), [(1, 1), (3, 7), (97, 200), (256, 33), (1024, 7), (4096, 3)])
def test_vectors_of_any_width_and_number_are_found_and_kept(
    tmp_path: Path, d: int, n: int, metric: Any, codec: Any
) -> None:
    data = unit(noise(n, d) - np.float32(0.5))
    keys = np.arange(n) * 2 + 10
    index = HNSW.build(data[:0].reshape(0, d), metric=metric, codec=codec)
    for i in range(0, n, 50):
        index.add(keys[i : i + 50], data[i : i + 50])
    index.save(tmp_path / "x")
    for each in (index, HNSW.load(tmp_path / "x"), HNSW.load(tmp_path / "x", verify=False)):
        assert len(each) == n
        assert each.holds(keys).all()
        assert not each.holds(keys + 1).any()
        if d > 1:  # one dimension has two unit vectors only
            assert (each.search(data, 1, ef=64).ids[:, 0] == keys).all()
        assert sorted(each.search(data[0], n, ef=64).ids[0].tolist()) == keys.tolist()


def test_a_key_that_is_there_is_refused_and_nothing_changes() -> None:
    data = noise(20, 8)
    index = HNSW.build(data[:10])
    with pytest.raises(SettingsError, match="9 is in the index already"):
        index.add([20, 9], data[:2])
    assert len(index) == 10
    assert not index.holds([20]).any()


def test_batches_and_single_queries_on_any_threads_agree() -> None:
    data = noise(3000, 32)
    index = HNSW.build(data)
    one = index.search(data[:64], 10, ef=40, threads=1)
    for threads in (2, 7):
        np.testing.assert_array_equal(index.search(data[:64], 10, ef=40, threads=threads).ids, one.ids)
    for i in range(8):
        np.testing.assert_array_equal(index.search(data[i], 10, ef=40).ids[0], one.ids[i])


def test_an_exact_search_agrees_with_numpy_and_a_wide_one_with_it() -> None:
    data = noise(2000, 32)
    index = HNSW.build(data)
    rows = unit(data).astype(np.float64)
    exact = index.exact(data[:50], 10)
    np.testing.assert_array_equal(exact.ids, np.argsort(-(rows[:50] @ rows.T), axis=1, kind="stable")[:, :10])
    assert index.recall(data[:50], 10, ef=500) >= 0.999


def test_a_view_that_is_changed_leaves_its_file_alone(tmp_path: Path) -> None:
    data = noise(500, 16)
    HNSW.build(data[:400]).save(tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    view = HNSW.load(tmp_path / "x", verify=False)
    view.remove(np.arange(50))
    view.add(np.arange(400, 500), data[400:])
    assert len(view) == 450
    assert (tmp_path / "x").read_bytes() == before


def test_a_removed_key_can_be_given_again() -> None:
    data = noise(300, 16)
    index = HNSW.build(data[:200], metric="euclid")
    index.remove([7])
    index.add([7], data[250:251])
    assert index.search(data[250], 1, ef=50).ids[0, 0] == 7
    np.testing.assert_array_equal(index.vectors([7]), data[250:251])
