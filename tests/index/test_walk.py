"""A walk reads the upper half of each code and ends at a reach: what that saves, and that it loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth import files
from firth.arrays import Neighbours, Vectors
from firth.index import HNSW, calibrate
from firth.index.hnsw_file import CODE_WIDTH, VERSION
from firth.kernels.codes import join_codes


def measured(index: HNSW, queries: Vectors, k: int, ef: int) -> tuple[float, float]:
    """Recall, and distances a query."""
    found, work = index._search(queries, k, ef=ef)
    return calibrate.recall(found, index.exact(queries, k)), float(work.mean())


def as_version_1(index: HNSW, path: Path) -> None:
    """The file that held whole codes in its blocks, and knew no dimension."""
    index.save(path)
    held = files.read_arrays(path, kind="hnsw", version=VERSION)
    arrays = {name: np.array(array) for name, array in held.arrays.items()}
    low, links = arrays.pop("low"), 8 * index.m
    codes = join_codes(arrays["blocks"][:, links : links + low.shape[1]], low)
    width = -(-(links + codes.shape[1]) // CODE_WIDTH) * CODE_WIDTH
    blocks = np.full((len(codes), width), 7, np.uint8)
    blocks[:, :links], blocks[:, links : links + codes.shape[1]] = arrays["blocks"][:, :links], codes
    meta = {name: value for name, value in held.meta.items() if name != "dimension"}
    files.write_arrays(path, kind="hnsw", version=1, meta=meta, arrays=arrays | {"blocks": blocks})


@pytest.mark.parametrize("codec", ["sq8", None])
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
def test_a_file_of_version_1_gives_the_same_answers_and_can_be_changed(
    rows: Vectors, queries: Vectors, tmp_path: Path, metric: Any, codec: Any
) -> None:
    index = HNSW.build(rows[:3000, :50], metric=metric, codec=codec, m=5, ef_construction=60)
    index.remove(range(100))
    as_version_1(index, tmp_path / "old")
    old = HNSW.load(tmp_path / "old")
    for each in (index, old):
        each.add(range(5000, 5100), rows[5000:5100, :50])
    near, same = (each.search(queries[:, :50], 10, ef=40) for each in (index, old))
    np.testing.assert_array_equal(near.ids, same.ids)
    old.save(tmp_path / "new")
    index.save(tmp_path / "fresh")
    assert (tmp_path / "new").read_bytes() == (tmp_path / "fresh").read_bytes()


def test_a_search_reads_of_a_code_no_more_than_its_upper_halves(
    rows: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    index = HNSW.build(rows, m=8, ef_construction=60)
    index.save(tmp_path / "x")
    held = files.read_arrays(tmp_path / "x", kind="hnsw", version=VERSION)
    arrays = dict(held.arrays) | {"low": np.zeros_like(held.arrays["low"])}
    files.write_arrays(tmp_path / "y", kind="hnsw", version=VERSION, meta=held.meta, arrays=arrays)
    near, same = index.search(queries, 10), HNSW.load(tmp_path / "y").search(queries, 10)
    np.testing.assert_array_equal(near.ids, same.ids)
    np.testing.assert_array_equal(near.scores, same.scores)


@pytest.mark.parametrize("k", [1, 10, 100])
def test_a_reach_finds_as_much_as_a_plain_beam_for_fewer_distances(rows: Vectors, queries: Vectors, k: int) -> None:
    index = HNSW.build(rows, m=8, ef_construction=60)
    assert index.dimension > 1
    reached, work = measured(index, queries, k, 3 * k + 20)
    index.dimension = 0.0
    plain = next(w for r, w in (measured(index, queries, k, ef) for ef in range(k, 1000, 4)) if r >= reached)
    assert work < plain


def test_a_reach_of_nothing_still_finds_what_half_the_beam_finds(rows: Vectors, queries: Vectors) -> None:
    index = HNSW.build(rows, m=8, ef_construction=60)
    index.dimension = 0.0
    half, _ = measured(index, queries, 10, 30)
    index.dimension = calibrate.MOST_DIMENSION
    assert measured(index, queries, 10, 60)[0] >= half


@pytest.mark.parametrize("metric", ["euclid", "cosine"])
def test_the_dimension_of_a_cloud_is_measured_in_a_wider_space(metric: Any) -> None:
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(8000, 6)) @ rng.normal(size=(6, 40))).astype(np.float32)
    assert 4 < HNSW.build(rows, metric=metric, m=6, ef_construction=40).dimension < 8


def test_copies_of_one_row_have_no_dimension_and_are_found() -> None:
    assert calibrate.dimension(np.zeros((5, 100))) == 0
    assert calibrate.dimension(np.ones((5, 100))) == 0
    assert calibrate.dimension(np.ones((5, 100)) - 1e-9 * (np.arange(100) < 9)) == calibrate.MOST_DIMENSION
    rows = np.repeat(np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32), 10, axis=0)
    index = HNSW.build(rows, m=6, ef_construction=40)
    near: Neighbours = index.search(rows[::50], 10)
    assert calibrate.recall(near, index.exact(rows[::50], 10)) > 0.98


def test_all_zero_queries_are_answered(rows: Vectors) -> None:
    index = HNSW.build(rows, m=6, ef_construction=40, metric="dot")
    assert (index.search(np.zeros((3, 64), np.float32), 10).ids >= 0).all()


def test_an_index_that_began_empty_walks_by_whole_codes_and_finds_as_much(rows: Vectors, queries: Vectors) -> None:
    wide = np.pad(rows, ((0, 0), (0, 192)))
    began = HNSW.build(wide[:0], m=8, ef_construction=60)
    began.add(None, wide)
    asked = np.pad(queries, ((0, 0), (0, 192)))
    assert calibrate.recall(began.search(asked, 10, ef=120), began.exact(asked, 10)) > 0.97
