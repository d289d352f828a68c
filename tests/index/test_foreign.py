"""Files of hnswlib and faiss are read as the graphs they are, ours open there, and hostile ones are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import Ids, Vectors
from firth.errors import DataError, FirthError, FormatError, SettingsError
from firth.index import HNSW, Flat, foreign, load

MUTATIONS = int(os.environ.get("FIRTH_MUTATIONS", "200"))  # of each kind of file
N, D, M = 1500, 64, 8


def shared(found: Ids, wanted: Ids) -> float:
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))


@pytest.fixture(scope="module")
def few(rows: Vectors) -> Vectors:
    return np.ascontiguousarray(rows[:N])


def of_hnswlib(rows: Vectors, path: Path, space: str, keys: Ids, gone: Ids) -> Any:
    hnswlib = pytest.importorskip("hnswlib")
    index = hnswlib.Index(space, D)
    index.init_index(len(rows) + 10, M=M, ef_construction=60)
    index.add_items(rows, keys, num_threads=1)
    for key in gone:
        index.mark_deleted(key)
    index.set_ef(100)
    index.save_index(str(path))
    return index


@pytest.mark.parametrize(("space", "metric"), [("cosine", "cosine"), ("l2", "euclid"), ("ip", "dot")])
def test_a_graph_of_hnswlib_finds_what_hnswlib_finds(
    few: Vectors, queries: Vectors, tmp_path: Path, space: str, metric: Any
) -> None:
    keys, gone = np.arange(N) * 3 + 7, np.arange(7, 300, 30)
    peer = of_hnswlib(few, tmp_path / "x", space, keys, gone)
    ours = foreign.read(tmp_path / "x", metric=metric, codec=None)
    assert isinstance(ours, HNSW)
    assert (len(ours), ours.m, ours.ef_construction, ours.dims) == (N - len(gone), M, 60, D)
    theirs, distances = peer.knn_query(queries, k=10)
    near = ours.search(queries, 10, ef=100)
    assert shared(near.ids, theirs.astype(np.int64)) >= 0.995
    same = near.ids == theirs
    distance = -near.scores if metric == "euclid" else 1 - near.scores
    np.testing.assert_allclose(distance[same], distances[same], atol=2e-6)


def test_a_graph_from_hnswlib_is_walked_over_codes_saved_and_changed(
    few: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    of_hnswlib(few, tmp_path / "x", "cosine", np.arange(N), np.arange(20))
    ours = foreign.read(tmp_path / "x")
    assert isinstance(ours, HNSW)
    ours.add([5, 90_000], queries[:2])  # 5 was deleted there: its key is free
    ours.remove([100])
    ours.repair()
    ours.save(tmp_path / "ours")
    again = load(tmp_path / "ours")
    near = again.search(queries, 10, ef=100)  # type: ignore[call-arg]
    assert shared(near.ids, ours.exact(queries, 10).ids) >= 0.98
    assert near.ids[0, 0] == 5
    assert ours.unreachable == 0


@pytest.mark.parametrize(("space", "metric"), [("cosine", "cosine"), ("l2", "euclid"), ("ip", "dot")])
def test_hnswlib_opens_ours_and_finds_the_same(
    few: Vectors, queries: Vectors, tmp_path: Path, space: str, metric: Any
) -> None:
    hnswlib = pytest.importorskip("hnswlib")
    ours = HNSW.build(few, m=M, ef_construction=60, metric=metric, codec=None, keys=np.arange(N) * 2)
    ours.remove(np.arange(0, 600, 2))
    foreign.write(ours, tmp_path / "x.hnswlib")
    peer = hnswlib.Index(space, D)
    peer.load_index(str(tmp_path / "x.hnswlib"))
    peer.set_ef(100)
    assert peer.get_current_count() == N - 300
    theirs, _ = peer.knn_query(queries, k=10)
    assert shared(ours.search(queries, 10, ef=100).ids, theirs.astype(np.int64)) >= 0.995


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("metric", ["dot", "euclid"])
def test_a_graph_of_faiss_finds_what_faiss_finds(
    few: Vectors, queries: Vectors, tmp_path: Path, metric: Any, mapped: bool
) -> None:
    faiss = pytest.importorskip("faiss")
    inner = faiss.IndexHNSWFlat(D, M, faiss.METRIC_L2 if metric == "euclid" else faiss.METRIC_INNER_PRODUCT)
    inner.hnsw.efConstruction, inner.hnsw.efSearch = 60, 100
    peer = faiss.IndexIDMap2(inner) if mapped else inner
    peer.add_with_ids(few, np.arange(N) * 5) if mapped else peer.add(few)
    faiss.write_index(peer, str(tmp_path / "x"))
    ours = foreign.read(tmp_path / "x", codec=None)
    assert isinstance(ours, HNSW)
    assert (len(ours), ours.m, ours.metric, ours.ef_construction) == (N, M, metric, 60)
    scores, theirs = peer.search(queries, 10)
    near = ours.search(queries, 10, ef=100)
    assert shared(near.ids, theirs) >= 0.99
    same = near.ids == theirs
    np.testing.assert_allclose((-near.scores if metric == "euclid" else near.scores)[same], scores[same], atol=3e-6)


@pytest.mark.parametrize("keys", [None, np.arange(N) * 2 + 1])
@pytest.mark.parametrize("metric", ["cosine", "euclid"])
def test_faiss_opens_our_graph_and_finds_the_same(
    few: Vectors, queries: Vectors, tmp_path: Path, metric: Any, keys: Any
) -> None:
    faiss = pytest.importorskip("faiss")
    ours = HNSW.build(few, m=M, ef_construction=60, metric=metric, codec=None, keys=keys)
    foreign.write(ours, tmp_path / "x.faiss")
    peer = faiss.read_index(str(tmp_path / "x.faiss"))
    inner = peer if keys is None else faiss.downcast_index(peer.index)
    inner.hnsw.efSearch = 100
    assert peer.ntotal == N
    _, theirs = peer.search(queries, 10)
    assert shared(ours.search(queries, 10, ef=100).ids, theirs) >= 0.99


@pytest.mark.parametrize("keys", [None, np.arange(N)[::-1].copy()])
@pytest.mark.parametrize("metric", ["dot", "euclid"])
def test_flat_indexes_go_to_faiss_and_back(
    few: Vectors, queries: Vectors, tmp_path: Path, metric: Any, keys: Any
) -> None:
    faiss = pytest.importorskip("faiss")
    ours = Flat.build(few, metric=metric, keys=keys)
    foreign.write(ours, tmp_path / "x.faiss")
    peer = faiss.read_index(str(tmp_path / "x.faiss"))
    np.testing.assert_array_equal(peer.search(queries, 5)[1], ours.search(queries, 5).ids)
    faiss.write_index(peer, str(tmp_path / "y"))
    back = foreign.read(tmp_path / "y")
    assert isinstance(back, Flat)
    np.testing.assert_array_equal(back.rows, few)
    np.testing.assert_array_equal(back.search(queries, 5).ids, ours.search(queries, 5).ids)


@pytest.mark.parametrize("name", ["x.hnswlib", "x.faiss"])
def test_our_own_reading_of_what_we_wrote_is_the_same_graph(
    few: Vectors, queries: Vectors, tmp_path: Path, name: str
) -> None:
    ours = HNSW.build(few, m=M, ef_construction=60, metric="euclid")
    foreign.write(ours, tmp_path / name)
    back = foreign.read(tmp_path / name, metric="euclid")
    np.testing.assert_array_equal(back.search(queries, 10, ef=50).ids, ours.search(queries, 10, ef=50).ids)  # type: ignore[call-arg]


def test_an_empty_index_and_one_vector_go_both_ways(few: Vectors, tmp_path: Path) -> None:
    for n in (0, 1):
        for name in ("x.hnswlib", "x.faiss"):
            foreign.write(HNSW.build(few[:n].reshape(n, D), m=4, metric="euclid"), tmp_path / name)
            assert len(foreign.read(tmp_path / name, metric="euclid")) == n


def test_cosine_is_refused_over_rows_that_are_not_unit_rows(few: Vectors, tmp_path: Path) -> None:
    of_hnswlib(few * 3, tmp_path / "x", "l2", np.arange(N), np.arange(0))
    with pytest.raises(SettingsError, match="has length 3; cosine indexes hold unit rows"):
        foreign.read(tmp_path / "x")


def test_a_metric_that_the_file_contradicts_is_refused(few: Vectors, tmp_path: Path) -> None:
    foreign.write(Flat.build(few, metric="euclid"), tmp_path / "x.faiss")
    with pytest.raises(SettingsError, match="was built for euclid"):
        foreign.read(tmp_path / "x.faiss", metric="cosine")


def test_a_class_of_faiss_that_firth_does_not_read_is_named(few: Vectors, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    for factory in ("IVF4,Flat", "HNSW8,SQ8", "SQ8"):
        peer = faiss.index_factory(D, factory)
        peer.train(few[:200])
        peer.add(few[:200])
        faiss.write_index(peer, str(tmp_path / "x"))
        with pytest.raises(FormatError, match="class b'I"):
            foreign.read(tmp_path / "x", program="faiss")


@pytest.mark.parametrize("name", ["x.npy", "x.fvecs"])
def test_rows_survive_a_file(few: Vectors, tmp_path: Path, name: str) -> None:
    foreign.write_rows(tmp_path / name, few)
    np.testing.assert_array_equal(foreign.read_rows(tmp_path / name), few)


def test_bytes_become_numbers(tmp_path: Path) -> None:
    rows = np.arange(30, dtype=np.uint8).reshape(3, 10)
    wide = np.hstack([np.full((3, 1), 10, "<i4").view(np.uint8), rows])
    (tmp_path / "x.bvecs").write_bytes(wide.tobytes())
    np.testing.assert_array_equal(foreign.read_rows(tmp_path / "x.bvecs"), rows.astype(np.float32))


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"\3", "1 bytes are not a row"),
        (b"\0\0\0\0" * 4, "not rows of 0 values"),
        (b"\xff\xff\xff\x7f" * 4, "not rows of 2,147,483,647 values"),
        (b"\1\0\0\0" * 3, "12 bytes are not rows of 1 values"),
        (b"\1\0\0\0" * 2 + b"\2\0\0\0" * 2, "row 1 says it has 2 values, row 0 has 1"),
    ],
)
def test_a_damaged_fvecs_is_refused(tmp_path: Path, raw: bytes, complaint: str) -> None:
    (tmp_path / "x.fvecs").write_bytes(raw)
    with pytest.raises(FormatError, match=complaint):
        foreign.read_rows(tmp_path / "x.fvecs")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        foreign.read(tmp_path / "absent")


@pytest.mark.parametrize("name", ["x.hnswlib", "x.faiss"])
@pytest.mark.parametrize("keep", [0, 3, 50, 96, 200, 5000, -1, -2000])
def test_a_truncated_foreign_file_is_refused_by_name(few: Vectors, tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    foreign.write(HNSW.build(few[:200], m=4, ef_construction=20, keys=np.arange(200) + 1), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"x\.(hnswlib|faiss): "):
        foreign.read(path, program="faiss" if name == "x.faiss" else "hnswlib")


@pytest.mark.parametrize("name", ["x.hnswlib", "x.faiss"])
def test_mutated_foreign_files_give_an_error_or_an_index_that_works(
    few: Vectors, queries: Vectors, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    index = HNSW.build(few[:200], m=4, ef_construction=20, keys=np.arange(200) + 1)
    foreign.write(index, path)
    clean, rng = path.read_bytes(), np.random.default_rng(5)
    heads = np.r_[0:140, len(clean) - 1700 : len(clean)] if name == "x.faiss" else np.r_[0:100]
    for i in range(MUTATIONS):
        raw = bytearray(clean)
        places = rng.choice(heads, 3) if i % 2 else rng.integers(0, len(raw), rng.integers(1, 30))
        for place in places:
            raw[place] = rng.choice([0, 255, 128, int(rng.integers(256))])
        path.write_bytes(raw)
        try:
            found = foreign.read(
                path, program="faiss" if name == "x.faiss" else "hnswlib", metric=[None, "dot"][i % 3 == 0]
            )
            near = found.search(queries[:3], 5)
            assert near.ids.shape == (3, 5)
            found.add([10**6], queries[:1] if found.dims == D else np.ones((1, found.dims), np.float32))
        except FirthError:
            continue
