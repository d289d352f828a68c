"""What a graph index promises: the right neighbours, the same for everybody, and no surprises in its files."""

from __future__ import annotations

import _thread
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import kernels
from firth.arrays import Neighbours, Vectors
from firth.errors import SettingsError, ShapeError
from firth.index import HNSW, Flat, hnsw


def recall(found: Neighbours, exact: Neighbours) -> float:
    pairs = zip(found.ids.tolist(), exact.ids.tolist(), strict=True)
    return float(np.mean([len({*a} & {*b} - {-1}) / len({*b} - {-1}) for a, b in pairs]))


@pytest.fixture(scope="module")
def index(rows: Vectors) -> HNSW:
    return HNSW.build(rows, m=12, ef_construction=100, threads=2)


@pytest.mark.parametrize("codec", ["sq8", None])
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
def test_a_wide_beam_finds_what_an_exact_search_finds(rows: Vectors, queries: Vectors, metric: Any, codec: Any) -> None:
    scaled = rows * np.linspace(0.8, 1.25, len(rows), dtype=np.float32)[:, None]
    found = HNSW.build(scaled, m=12, ef_construction=80, codec=codec, metric=metric, threads=2).search(queries, ef=200)
    exact = Flat.build(scaled, metric=metric).search(queries)
    assert recall(found, exact) > 0.99
    same = found.ids == exact.ids
    np.testing.assert_array_equal(found.scores[same], exact.scores[same])


def test_a_declared_recall_is_met_and_a_lower_one_costs_less(index: HNSW, rows: Vectors, queries: Vectors) -> None:
    exact = Flat.build(rows).search(queries)
    assert recall(index.search(queries, recall=0.99), exact) >= 0.98  # 100 queries: standard error 0.003
    assert index.beam(10, recall=0.9) < index.beam(10, recall=0.99) <= index.beam(100, recall=0.99)
    assert index.recall(queries, ef=200) > 0.99


def test_a_declared_recall_is_met_after_the_index_has_grown(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 96)).astype(np.float32)
    rows = centres[rng.integers(0, 40, 10_200)] + rng.normal(size=(10_200, 96)).astype(np.float32)
    index = HNSW.build(rows[:5000], m=12, ef_construction=100, threads=2)
    before = index.beam(10, recall=0.99)
    index.add(None, rows[5000:10_000], threads=2)
    assert index.beam(10, recall=0.99) > before
    assert index.recall(rows[10_000:], 10) >= 0.985  # 200 queries: standard error 0.002
    index.save(tmp_path / "x")
    assert HNSW.load(tmp_path / "x").beam(10) == index.beam(10)


def test_the_graph_and_the_answers_do_not_depend_on_threads(rows: Vectors, queries: Vectors, tmp_path: Path) -> None:
    one, four = (HNSW.build(rows, m=8, ef_construction=40, threads=n) for n in (1, 4))
    one.save(tmp_path / "1")
    four.save(tmp_path / "4")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "4").read_bytes()
    a, b = one.search(queries, ef=50, threads=1), one.search(queries, ef=50, threads=3)
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.scores, b.scores)


def test_every_cpu_level_builds_the_same_file_and_gives_the_same_answers(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from conftest import embeddings; from firth.index import HNSW\n"
        "x = embeddings(2500)\n"
        "for c in ('sq8', None):\n"
        "    i = HNSW.build(x, m=6, ef_construction=30, codec=c, threads=2)\n"
        "    i.save(sys.argv[1] + str(c)); n = i.search(x[:50], ef=30)\n"
        "    print(n.ids.tobytes().hex(), n.scores.tobytes().hex())"
    )
    said = []
    for name in kernels.levels():
        env = os.environ | {"FIRTH_LEVEL": name, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", code, str(tmp_path / name), str(Path(__file__).parent)]
        said.append(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    assert len(set(said)) == 1
    for codec in ("sq8", "None"):
        assert len({(tmp_path / f"{name}{codec}").read_bytes() for name in kernels.levels()}) == 1


def test_a_query_gets_the_same_answer_alone_and_in_a_batch(index: HNSW, queries: Vectors) -> None:
    batch = index.search(queries, ef=40)
    for i in range(0, 100, 9):
        np.testing.assert_array_equal(index.search(queries[i], ef=40).ids[0], batch.ids[i])


@pytest.mark.parametrize("n", [0, 1, 2, 17])
def test_a_search_for_more_than_exist_returns_all_of_them_and_pads(rows: Vectors, n: int) -> None:
    near = HNSW.build(rows[:n]).search(rows[:2], 20)
    assert (np.sort(near.ids[:, :n], axis=1) == np.arange(n)).all()
    assert (near.ids[:, n:] == -1).all()
    assert np.isneginf(near.scores[:, n:]).all()


def test_nothing_is_unreachable_even_among_copies_of_one_vector(rows: Vectors) -> None:
    copies = np.concatenate([np.repeat(rows[:3], 800, axis=0), rows[:500]])
    index = HNSW.build(copies, m=4, ef_construction=20)
    assert index.unreachable == 0


def test_nothing_becomes_unreachable_among_near_copies_that_come_and_go() -> None:
    rng = np.random.default_rng(0)
    near = rng.normal(size=(60, 8)).astype(np.float32)

    def some(n: int) -> Vectors:
        return (near[rng.integers(0, len(near), n)] + 0.05 * rng.normal(size=(n, 8))).astype(np.float32)

    for seed in range(20):
        index = HNSW.build(some(300), m=4, ef_construction=16, threads=1, seed=seed)
        for first in range(300, 780, 8):
            index.remove(np.arange(first - 300, first - 294))
            index.add(np.arange(first, first + 8), some(8), threads=1)
            assert index.unreachable == 0


@pytest.mark.parametrize("codec", ["sq8", None])
def test_a_loaded_index_answers_as_the_fresh_one_and_can_be_changed(
    rows: Vectors, queries: Vectors, tmp_path: Path, codec: Any
) -> None:
    fresh = HNSW.build(rows, m=8, ef_construction=40, codec=codec, keys=np.arange(6000) * 3)
    fresh.save(tmp_path / "x")
    loaded = HNSW.load(tmp_path / "x")
    assert loaded.beam(10) == fresh.beam(10)
    for index in (fresh, loaded):
        index.add([1, 2], queries[:2])
        index.remove([0, 3, 6])
    a, b = fresh.search(queries, ef=50), loaded.search(queries, ef=50)
    np.testing.assert_array_equal(a.ids, b.ids)
    assert b.ids[0, 0] == 1
    assert len(loaded) == 5999
    assert HNSW.load(tmp_path / "x").search(queries[:1]).ids[0, 0] != 1  # the file is as it was


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2, 0.02, 0.001])
def test_a_filter_keeps_recall_and_fills_every_row(index: HNSW, rows: Vectors, queries: Vectors, share: float) -> None:
    exact = Flat.build(rows)
    for mask in (
        np.random.default_rng(3).random(6000) < share,
        rows @ rows[11] >= np.quantile(rows @ rows[11], 1 - share),
    ):
        found = index.search(queries, allow=mask, ef=100)
        assert recall(found, exact.search(queries, allow=mask)) >= 0.99
        assert mask[found.ids[found.ids >= 0]].all()
        assert ((found.ids >= 0).sum(axis=1) == min(10, mask.sum())).all()


@pytest.mark.parametrize("way", ["planned", "through", "wider"])
@pytest.mark.parametrize("kind", ["random", "clustered"])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001, 0.0001])
def test_default_settings_keep_recall_in_every_cell_of_filters(
    index: HNSW, rows: Vectors, queries: Vectors, monkeypatch: pytest.MonkeyPatch, share: float, kind: str, way: str
) -> None:
    if way != "planned":  # at this size the planner would scan
        monkeypatch.setattr(hnsw, "EXACT_BELOW", 100)
        monkeypatch.setattr(hnsw, "SCAN_BALANCE", 0)
        monkeypatch.setattr(hnsw, "THROUGH_BELOW", float(way == "through"))
    near, count = rows @ rows[11], max(1, round(6000 * share))
    chosen = (
        np.random.default_rng(3).choice(6000, count, replace=False) if kind == "random" else np.argsort(-near)[:count]
    )
    found = index.search(queries, allow=chosen)
    assert recall(found, Flat.build(rows).search(queries, allow=chosen)) >= 0.99
    assert ((found.ids >= 0).sum(axis=1) == min(10, count)).all()


def test_an_empty_filter_finds_nothing(index: HNSW, queries: Vectors) -> None:
    assert (index.search(queries, allow=[]).ids == -1).all()
    assert (index.search(queries, allow=np.zeros(0, bool)).ids == -1).all()


def test_string_keys_come_back_as_names_and_survive_a_file(rows: Vectors, tmp_path: Path) -> None:
    names = [f"doc-{i}" for i in range(2000)]
    index = HNSW.build(rows[:2000], keys=names, m=8, ef_construction=40)
    index.remove(["doc-5"])
    index.save(tmp_path / "x")
    again = HNSW.load(tmp_path / "x")
    again.add(["doc-5"], rows[5:6])
    assert again.names(again.search(rows[:6], 1).ids) == [[f"doc-{i}"] for i in range(6)]
    assert "doc-7" in again.names(again.search(rows[7], 5, allow=["doc-7", "doc-8", "never"]).ids)[0]


def test_what_was_removed_never_comes_back_and_the_rest_keeps_its_recall(rows: Vectors, queries: Vectors) -> None:
    index = HNSW.build(rows, m=12, ef_construction=100, threads=2)
    gone = np.random.default_rng(5).permutation(6000)[:4000]
    for part in np.array_split(gone, 9):
        index.remove(part)
        assert index.unreachable == 0
    left = np.setdiff1d(np.arange(6000), gone)
    exact = Flat.build(rows[left], keys=left).search(queries)
    found = index.search(queries, ef=100)
    assert not np.isin(found.ids, gone).any()
    assert recall(found, exact) > 0.99
    before = index._graph.count
    index.add(gone, rows[gone])
    assert index._graph.count == before  # freed room is used again
    assert recall(index.search(queries, ef=100), Flat.build(rows).search(queries)) > 0.98


def test_everything_can_be_removed_and_added_again(rows: Vectors) -> None:
    index = HNSW.build(rows[:1500], m=6, ef_construction=30)
    index.remove(np.arange(1500))
    assert len(index) == 0
    assert (index.search(rows[:3]).ids == -1).all()
    index.add(None, rows[:1500])
    assert len(index) == 1500
    assert index.search(rows[:3], 1, ef=50).ids.ravel().tolist() == [1500, 1501, 1502]


def test_an_add_that_is_interrupted_leaves_a_sound_index_and_can_be_finished(rows: Vectors) -> None:
    index = HNSW.build(rows[:200], m=16, ef_construction=200)
    keys = [*range(1000, 7000)]
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while True:  # once is enough on a slow machine
            index.add(keys, rows, threads=1)
            index.remove(keys)
    timer.join()
    there = set(index.search(rows[0], len(index), ef=10).ids[0].tolist())
    assert len(there) == len(index)
    missing = [key for key in keys if key not in there]
    index.add(missing, rows[np.array(missing, np.int64) - 1000])
    index.remove([*range(200)])
    assert len(index) == 6000
    assert index.search(rows[:50], 1, ef=100).ids.ravel().tolist() == [*range(1000, 1050)]


def test_settings_that_make_no_sense_are_refused(index: HNSW, rows: Vectors) -> None:
    with pytest.raises(SettingsError, match="m=1 "):
        HNSW.build(rows[:9], m=1)
    with pytest.raises(SettingsError, match="codec='pq'"):
        HNSW.build(rows[:9], codec="pq")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="not both"):
        index.search(rows[:1], ef=5, recall=0.9)
    with pytest.raises(SettingsError, match=r"recall=1\.5"):
        index.search(rows[:1], recall=1.5)
    with pytest.raises(SettingsError, match="k=0"):
        index.search(rows[:1], 0)
    with pytest.raises(ShapeError, match="expected 64 dimensions, got 5"):
        index.search(np.zeros((1, 5)))
    with pytest.raises(SettingsError, match="17 is in the index already"):
        index.add([17], rows[:1])
    with pytest.raises(SettingsError, match="999999 is not in the index"):
        index.remove([1, 999999])
    assert index.search(rows[1], 1, ef=50).ids[0, 0] == 1  # nothing was removed
