"""Flat is exact, whatever is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import Vectors
from firth.compress import Prefix, Scalar, train
from firth.errors import FormatError, SettingsError, ShapeError
from firth.index import Flat


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
def test_the_answer_is_that_of_float64_numpy(rows: Vectors, queries: Vectors, metric: Any) -> None:
    scaled = rows * np.linspace(0.5, 2, len(rows), dtype=np.float32)[:, None]
    near = Flat.build(scaled, metric=metric).search(queries, 7)
    kept = rows if metric == "cosine" else scaled
    score = queries.astype("f8") @ kept.T.astype("f8")
    if metric == "euclid":
        score = -((queries.astype("f8")[:, None] - scaled.astype("f8")[None]) ** 2).sum(2)
    best = np.argsort(-score, axis=1)[:, :7]
    np.testing.assert_allclose(near.scores, np.take_along_axis(score, best, 1), atol=2e-6)
    assert (near.ids == best).mean() > 0.999


def test_a_search_for_more_than_exist_returns_all_of_them_and_pads(rows: Vectors) -> None:
    near = Flat.build(rows[:3]).search(rows[:2], 5)
    assert sorted(near.ids[0, :3].tolist()) == [0, 1, 2]
    assert (near.ids[:, 3:] == -1).all()
    assert np.isneginf(near.scores[:, 3:]).all()


def test_an_empty_index_answers_with_padding(rows: Vectors) -> None:
    near = Flat.build(rows[:0]).search(rows[:2], 3)
    assert (near.ids == -1).all()


@pytest.mark.parametrize("codec", [None, Scalar, Prefix])
def test_a_saved_index_gives_the_same_answer(rows: Vectors, queries: Vectors, tmp_path: Path, codec: Any) -> None:
    trained = codec and (codec.train(rows, keep=32) if codec is Prefix else codec.train(rows))
    index = Flat.build(rows, codec=trained, keys=np.arange(6000) + 7)
    index.save(tmp_path / "x")
    again = Flat.load(tmp_path / "x")
    one, two = index.search(queries, threads=1), again.search(queries, threads=2)
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one.ids.min() >= 7
    assert len(again) == 6000


def test_codes_of_eight_bits_find_nearly_what_float32_finds(rows: Vectors, queries: Vectors) -> None:
    exact, coded = (Flat.build(rows, codec=c).search(queries).ids for c in (None, Scalar.train(rows)))
    assert np.mean([len({*a} & {*b}) for a, b in zip(exact.tolist(), coded.tolist(), strict=True)]) > 9.5


CODECS = ["sq8", "sq4", "axes12", "axes40", "pq16", "pq32x4", "opq16x4", "binary", "rbinary", "prefix32"]
CODECS += ["prefix32+sq8", "prefix31+sq4", "prefix32+axes9", "prefix32+binary"]


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
@pytest.mark.parametrize("name", CODECS)
def test_a_search_of_codes_is_exact_for_what_they_stand_for(
    rows: Vectors, queries: Vectors, name: str, metric: Any
) -> None:
    codec = train(name, rows[:3000], threads=2)
    coded = Flat.build(rows[:3000], codec=codec, metric=metric)
    plain = Flat.build(codec.decode(codec.encode(rows[:3000])), metric="dot" if metric == "cosine" else metric)
    mask = np.random.default_rng(1).random(3000) < 0.3
    for allow in (None, mask):
        found, exact = coded.search(queries, allow=allow), plain.search(queries, allow=allow)
        np.testing.assert_allclose(found.scores, exact.scores, atol=2e-4)
        assert np.mean([len({*a} & {*b}) for a, b in zip(found.ids.tolist(), exact.ids.tolist(), strict=True)]) > 9.8
        assert allow is None or allow[found.ids].all()


@pytest.mark.parametrize("name", CODECS)
def test_codes_can_be_added_removed_and_saved_after_a_search(
    rows: Vectors, queries: Vectors, tmp_path: Path, name: str
) -> None:
    codec = train(name, rows[:3000], threads=2)
    index = Flat.build(rows[:1000], codec=codec)
    size = index.bytes_per_vector
    index.search(queries)
    assert index.bytes_per_vector <= 1.05 * size + 4  # one form of the codes is kept, not two; blocks have padding
    index.add(None, rows[1000:1500])
    index.search(queries)
    index.remove(np.arange(500))
    index.save(tmp_path / "x")
    fresh = Flat.build(rows[500:1500], codec=codec, keys=np.arange(500, 1500))
    for other in (index, Flat.load(tmp_path / "x")):
        np.testing.assert_array_equal(other.search(queries).ids, fresh.search(queries).ids)
        np.testing.assert_array_equal(other.rows, fresh.rows)


def test_only_what_is_allowed_appears_and_all_of_it_does(rows: Vectors, queries: Vectors) -> None:
    index = Flat.build(rows)
    mask = np.zeros(6000, bool)
    mask[[5, 50, 500]] = True
    by_mask, by_key = index.search(queries, 5, allow=mask), index.search(queries, 5, allow=[500, 5, 50, 9999])
    np.testing.assert_array_equal(by_mask.ids, by_key.ids)
    assert (np.sort(by_mask.ids[:, :3], axis=1) == [5, 50, 500]).all()
    assert (by_mask.ids[:, 3:] == -1).all()


def test_string_keys_come_back_as_names_and_survive_a_file(rows: Vectors, tmp_path: Path) -> None:
    index = Flat.build(rows[:3], keys=["ä", "b", "c"])
    index.add(["d"], rows[3:4])
    index.remove(["b"])
    index.save(tmp_path / "x")
    again = Flat.load(tmp_path / "x")
    assert {name for name in again.names(again.search(rows[:1], 5).ids)[0] if name} == {"ä", "c", "d"}
    assert again.names(again.search(rows[3], 1).ids) == [["d"]]


def test_what_was_removed_is_gone_and_what_was_added_is_found(rows: Vectors) -> None:
    index = Flat.build(rows[:100])
    index.remove(range(50))  # type: ignore[arg-type]
    index.add(None, rows[100:120])
    assert len(index) == 70
    assert index.search(rows[110], 1).ids[0, 0] == 110
    assert index.search(rows[3], 70).ids.min() == 50


def test_keys_are_checked(rows: Vectors) -> None:
    with pytest.raises(SettingsError, match="3 keys for 4 vectors"):
        Flat.build(rows[:4], keys=[1, 2, 3])
    with pytest.raises(SettingsError, match="7 is there twice"):
        Flat.build(rows[:2], keys=[7, 7])
    with pytest.raises(SettingsError, match="-3 is below 0"):
        Flat.build(rows[:2], keys=[1, -3])
    with pytest.raises(SettingsError, match="5 is not in the index"):
        Flat.build(rows[:2]).remove([1, 5])
    with pytest.raises(SettingsError, match="1 is in the index already"):
        Flat.build(rows[:2]).add([1], rows[:1])
    with pytest.raises(SettingsError, match="either integer or string keys"):
        Flat.build(rows[:2]).add(["a"], rows[:1])


def test_queries_of_another_width_and_a_k_of_nothing_are_refused(rows: Vectors) -> None:
    with pytest.raises(ShapeError, match="queries: expected 64 dimensions, got 3"):
        Flat.build(rows[:2]).search(np.zeros((1, 3)))
    with pytest.raises(SettingsError, match="k=0 is below 1"):
        Flat.build(rows[:2]).search(rows[:1], 0)
    with pytest.raises(SettingsError, match="metric='l3'"):
        Flat.build(rows[:2], metric="l3")  # type: ignore[arg-type]


def test_a_file_of_another_kind_is_refused(rows: Vectors, tmp_path: Path) -> None:
    Scalar.train(rows).save(tmp_path / "x")
    with pytest.raises(FormatError, match="holds a 'codec', expected 'flat'"):
        Flat.load(tmp_path / "x")
