"""The kernels of codes and exact search do at every CPU level what their NumPy twins say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from firth import kernels
from firth.arrays import Vectors
from firth.kernels import codes, flat, scan


@pytest.mark.parametrize("d", [1, 63, 64, 65, 384])
def test_encoding_equals_its_twin_byte_for_byte(level: Any, rng: np.random.Generator, d: int) -> None:
    rows = rng.normal(size=(50, d)).astype(np.float32) * 3
    mean, inverse = rng.normal(size=d).astype(np.float32), rng.uniform(20, 90, d).astype(np.float32)
    found = codes.scalar_encode(rows, mean, inverse, width=448, module=level)
    np.testing.assert_array_equal(found, codes.scalar_encode_twin(rows, mean, inverse, width=448))
    assert found[:, :d].min() >= 1


@pytest.mark.parametrize("width", [64, 384, 1024])
@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_products_of_codes_are_exact_integers(level: Any, rng: np.random.Generator, width: int, n: int) -> None:
    queries = rng.integers(-128, 128, (5, width)).astype(np.int8)
    rows = rng.integers(0, 256, (n, width)).astype(np.uint8)
    np.testing.assert_array_equal(codes.dot_codes(queries, rows, module=level), codes.dot_codes_twin(queries, rows))


@pytest.mark.parametrize("width", [64, 128, 320, 768])
@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_products_of_planes_are_exact_integers(level: Any, rng: np.random.Generator, width: int, n: int) -> None:
    queries = rng.integers(-128, 128, (5, width)).astype(np.int8)
    rows = rng.integers(0, 256, (n, width)).astype(np.uint8)
    high, low = codes.split_codes(rows)
    np.testing.assert_array_equal(codes.join_codes(high, low), rows)
    whole = codes.dot_planes(queries, high, low, module=level)
    np.testing.assert_array_equal(whole, codes.dot_codes_twin(queries, rows))
    np.testing.assert_array_equal(whole, codes.dot_planes_twin(queries, high, low))
    upper = codes.dot_planes(queries, high, module=level)
    np.testing.assert_array_equal(upper, codes.dot_planes_twin(queries, high))
    np.testing.assert_array_equal(upper, codes.dot_codes_twin(queries, rows >> 4))


@pytest.mark.parametrize("width", [64, 448])
@pytest.mark.parametrize(("q", "n"), [(1, 1), (7, 15), (8, 48), (19, 100)])
def test_distances_of_all_pairs_are_exact_integers(
    level: Any, rng: np.random.Generator, width: int, q: int, n: int
) -> None:
    rows, others = (rng.integers(0, 256, (size, width)).astype(np.uint8) for size in (q, n))
    found = codes.pair_distances(rows, others, module=level)
    np.testing.assert_array_equal(found, codes.pair_distances_twin(rows, others))


def test_the_largest_codes_do_not_saturate(level: Any) -> None:
    queries, rows = np.full((1, 4096), -128, np.int8), np.full((4, 4096), 255, np.uint8)
    np.testing.assert_array_equal(codes.dot_codes(queries, rows, module=level), -128 * 255 * 4096)
    planes = codes.split_codes(rows)
    np.testing.assert_array_equal(codes.dot_planes(queries, *planes, module=level), -128 * 255 * 4096)
    farthest = codes.pair_distances(rows[:1], np.zeros((4, 4096), np.uint8), module=level)
    np.testing.assert_array_equal(farthest, 255 * 255 * 4096)


@pytest.mark.parametrize("euclid", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (3, 5, 10), (300, 33, 7), (700, 64, 40)])
def test_exact_search_equals_its_twin(
    level: Any, rng: np.random.Generator, n: int, d: int, k: int, euclid: bool
) -> None:
    queries, rows = (rng.normal(size=(size, d)).astype(np.float32) for size in (9, n))
    found = flat.flat(queries, rows, k, euclid=euclid, threads=2, module=level)
    twin = flat.flat_twin(queries, rows, k, euclid=euclid)
    np.testing.assert_array_equal(found.ids, twin.ids)
    np.testing.assert_allclose(found.scores, twin.scores, rtol=2e-7)


@pytest.mark.parametrize(
    ("q", "n", "d", "k"), [(32, 1, 1, 3), (70, 999, 37, 5), (131, 300, 384, 120), (40, 2000, 66, 8)]
)
def test_exact_search_of_many_queries_equals_its_twin(
    level: Any, rng: np.random.Generator, q: int, n: int, d: int, k: int
) -> None:
    queries, rows = (rng.normal(size=(size, d)).astype(np.float32) for size in (q, n))
    found = flat.flat(queries, rows, k, threads=2, module=level)
    twin = flat.flat_twin(queries, rows, k)
    np.testing.assert_array_equal(found.ids, twin.ids)
    np.testing.assert_allclose(found.scores, twin.scores, rtol=2e-6, atol=1e-7)


def test_many_queries_over_rows_of_very_different_lengths_are_exact(level: Any, rng: np.random.Generator) -> None:
    rows = rng.normal(size=(600, 48)).astype(np.float32) * np.float32(10) ** rng.integers(-6, 6, (600, 1))
    rows[::7] = 0
    rows[1::7, 0] *= 1e6  # one number that all others are small beside
    queries = rng.normal(size=(50, 48)).astype(np.float32)
    queries[3], queries[4, 5] = 0, 1e5
    twin = flat.flat_twin(queries, rows.astype(np.float32), 20)
    np.testing.assert_array_equal(flat.flat(queries, rows.astype(np.float32), 20, module=level).ids, twin.ids)


def test_many_queries_over_more_equal_rows_than_are_kept_are_ordered_by_number(level: Any, vectors: Vectors) -> None:
    rows = np.repeat(vectors[:3], 400, axis=0)
    found = flat.flat(np.repeat(vectors[:3], 20, axis=0), rows, 10, module=level)
    expected = np.repeat(np.arange(0, 1200, 400), 20)[:, None] + np.arange(10)
    np.testing.assert_array_equal(found.ids, expected)


def test_many_queries_near_the_ends_of_float32_are_exact(level: Any, rng: np.random.Generator) -> None:
    for size in (1e-25, 1e18):
        queries, rows = ((rng.normal(size=(40, 20)) * size).astype(np.float32) for _ in range(2))
        np.testing.assert_array_equal(
            flat.flat(queries, rows, 5, module=level).ids, flat.flat_twin(queries, rows, 5).ids
        )


def test_exact_search_keeps_to_the_rows_it_is_given(level: Any, vectors: Vectors, rng: np.random.Generator) -> None:
    only = np.sort(rng.choice(1000, 70, replace=False))
    found = flat.flat(vectors[:20], vectors, 5, only=only, module=level)
    np.testing.assert_array_equal(found.ids, flat.flat_twin(vectors[:20], vectors, 5, only=only).ids)


def test_more_equal_rows_than_the_shortlist_holds_are_still_ordered_by_number(level: Any, vectors: Vectors) -> None:
    rows = np.repeat(vectors[:5], 100, axis=0)
    found = flat.flat(vectors[:5], rows, 10, module=level)
    np.testing.assert_array_equal(found.ids, np.arange(0, 500, 100)[:, None] + np.arange(10))


def test_rows_apart_by_less_than_float32_sums_can_tell_are_ranked_by_float64(level: Any) -> None:
    query = np.array([[1e4, -1e4, 1.0]], np.float32)
    rows = np.array([[1e4, 1e4, i * 1e-3] for i in range(60)], np.float32)
    np.testing.assert_array_equal(flat.flat(query, rows, 5, module=level).ids, [[59, 58, 57, 56, 55]])


@pytest.mark.parametrize(("n", "d", "k"), [(40, 1, 3), (200, 5, 16), (300, 8, 40)])
def test_centres_equal_their_twin(level: Any, rng: np.random.Generator, n: int, d: int, k: int) -> None:
    points, drawn = rng.normal(size=(n, d)).astype(np.float32), rng.random(k)
    found = codes.kmeans(points, k, drawn, rounds=5, threads=2, module=level)
    np.testing.assert_allclose(found, codes.kmeans_twin(points, k, drawn, rounds=5), rtol=1e-5, atol=1e-6)


def test_centres_are_the_same_bits_at_every_level(rng: np.random.Generator) -> None:
    points, drawn = rng.normal(size=(3000, 7)).astype(np.float32), rng.random(37)
    found = [codes.kmeans(points, 37, drawn, module=kernels.load(name)) for name in kernels.levels()]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_fewer_different_points_than_centres_are_no_trouble(level: Any) -> None:
    points = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    centres = codes.kmeans(points, 8, np.linspace(0, 0.99, 8), module=level)
    assert {tuple(row) for row in centres} == {tuple(row) for row in np.eye(3)}


def test_product_codes_equal_their_twin(level: Any, rng: np.random.Generator) -> None:
    rows, books = rng.normal(size=(70, 24)).astype(np.float32), rng.normal(size=(4, 37, 6)).astype(np.float32)
    np.testing.assert_array_equal(
        codes.product_encode(rows, books, module=level, threads=2), codes.product_encode_twin(rows, books)
    )


@pytest.mark.parametrize(("d", "m"), [(1, 1), (7, 5), (48, 40)])
def test_codes_along_axes_equal_their_twin(level: Any, rng: np.random.Generator, d: int, m: int) -> None:
    rows, axes = rng.normal(size=(600, d)).astype(np.float32), np.linalg.qr(rng.normal(size=(d, d)))[0][:m]
    mean = rows[3]
    top = rng.choice([255, 15, 3], m).astype(np.uint8)
    how = (mean, axes.astype(np.float32), (5 / top).astype(np.float32), top, rng.uniform(0.1, 3, m).astype(np.float32))
    found = codes.axes_encode(rows, *how, threads=2, module=level)
    assert (found == codes.axes_encode_twin(rows, *how)).all(axis=1).mean() > 0.99  # rounded elsewhere, at an edge
    first = kernels.load(kernels.levels()[0])
    np.testing.assert_array_equal(found, codes.axes_encode(rows, *how, module=first))


@pytest.mark.parametrize("width", [1, 7, 8, 48])
def test_bits_that_differ_equal_their_twin(level: Any, rng: np.random.Generator, width: int) -> None:
    queries, rows = (rng.integers(0, 256, (n, width)).astype(np.uint8) for n in (3, 600))
    np.testing.assert_array_equal(
        codes.hamming(queries, rows, module=level, threads=2), codes.hamming_twin(queries, rows)
    )


@pytest.mark.parametrize("width", [1, 2, 3, 48])
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 200])
def test_packed_codes_come_back(rng: np.random.Generator, n: int, width: int) -> None:
    held = rng.integers(0, 256, (n, width)).astype(np.uint8)
    packed = scan.pack(held)
    assert packed.shape == (-(-n // 32), 16 * scan.sub_codes(width))
    np.testing.assert_array_equal(scan.unpack(packed, n, width), held)


SECTIONS = [(1, 0, 0), (0, 3, 0), (0, 0, 2), (3, 2, 1), (48, 0, 0), (7, 6, 5)]


@pytest.mark.parametrize("sections", SECTIONS)
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_packed_values_come_back(rng: np.random.Generator, n: int, sections: scan.Sections) -> None:
    held = rng.integers(0, 256, (n, sum(sections))).astype(np.uint8)
    packed = scan.pack_weighted(held, sections)
    assert n == 0 or packed.ctypes.data % 64 == 0
    np.testing.assert_array_equal(scan.unpack_weighted(packed, n, sections), held)


def weighted(rng: np.random.Generator, width: int, q: int) -> tuple[scan.Sections, Vectors, NDArray[np.float64]]:
    """Sections of a code of so many bytes, and what q queries ask of its values."""
    sections = (width // 3, width // 2, width - width // 3 - width // 2)
    per = np.repeat([1.0, 12.0, 60.0], np.multiply(sections, [1, 2, 4]))  # a value of fewer bits has longer steps
    weights = (rng.normal(size=(q, len(per))) * per / 100).astype(np.float32)
    return sections, weights, rng.normal(size=q)


def test_values_are_taken_apart_in_the_order_of_their_bits() -> None:
    values = scan.sub_codes_of(np.array([[200, 0x5A, 0b11100100]], np.uint8), (1, 1, 1))
    np.testing.assert_array_equal(values, [[200, 0xA, 0x5, 0, 1, 2, 3]])


def test_the_largest_sums_of_values_do_not_overflow(level: Any) -> None:
    held = np.full((40, 40_000), 0xFF, np.uint8)
    held[7, 0] = 0xFE
    sections, weights = (40_000, 0, 0), np.full((1, 40_000), -1, np.float32)
    packed = scan.pack_weighted(held, sections)
    found = scan.scan_weighted(packed, 40, sections, weights, np.zeros(1), 2, module=level)
    np.testing.assert_array_equal(found.ids, [[7, 0]])
    with pytest.raises(ValueError, match="do not fit"):
        scan.scan_weighted(packed, 40, sections, weights[:, 1:], np.zeros(1), 2, module=level)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("n", "width", "k"), [(1, 1, 3), (20, 3, 5), (70, 24, 30), (300, 96, 150)])
def test_scans_of_few_codes_equal_their_twins(
    level: Any, rng: np.random.Generator, n: int, width: int, k: int, masked: bool
) -> None:
    held = rng.integers(0, 256, (n, width)).astype(np.uint8)
    allow = rng.random(n) < 0.5 if masked else None
    four, eight = (rng.normal(size=(7, m, c)).astype(np.float32) for m, c in ((2 * width, 16), (width, 256)))
    sections, weights, bases = weighted(rng, width, 7)
    pairs = (
        (
            scan.scan_nibbles(scan.pack(held), n, four, k, allow=allow, threads=2, module=level),
            scan.scan_nibbles_twin(held, four, k, allow=allow),
        ),
        (
            scan.scan_tables(held, eight, k, allow=allow, threads=2, module=level),
            scan.scan_tables_twin(held, eight, k, allow=allow),
        ),
        (
            scan.scan_weighted(
                scan.pack_weighted(held, sections), n, sections, weights, bases, k, allow=allow, threads=2, module=level
            ),
            scan.scan_weighted_twin(held, sections, weights, bases, k, allow=allow),
        ),
    )
    for found, twin in pairs:
        np.testing.assert_allclose(found.scores, twin.scores, rtol=2e-6, atol=2e-6)
        assert (found.ids == twin.ids).mean() > 0.99  # two sums of another order may tie


@pytest.mark.parametrize("width", [6, 48, 150])
def test_scans_of_many_codes_find_what_their_twins_find(level: Any, rng: np.random.Generator, width: int) -> None:
    held = rng.integers(0, 256, (9000, width)).astype(np.uint8)
    four, eight = (rng.normal(size=(4, m, c)).astype(np.float32) for m, c in ((2 * width, 16), (width, 256)))
    sections, weights, bases = weighted(rng, width, 4)
    packed = scan.pack_weighted(held, sections)
    pairs = (
        (scan.scan_nibbles(scan.pack(held), 9000, four, 10, module=level), scan.scan_nibbles_twin(held, four, 10)),
        (scan.scan_tables(held, eight, 10, module=level), scan.scan_tables_twin(held, eight, 10)),
        (
            scan.scan_weighted(packed, 9000, sections, weights, bases, 10, module=level),
            scan.scan_weighted_twin(held, sections, weights, bases, 10),
        ),
    )
    for found, twin in pairs:
        assert np.mean([len({*a} & {*b}) for a, b in zip(found.ids.tolist(), twin.ids.tolist(), strict=True)]) >= 9.7


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("q", [1, 5])
def test_scans_are_the_same_bits_at_every_level_and_for_any_threads(
    rng: np.random.Generator, q: int, masked: bool
) -> None:
    n = 20_007
    held = rng.integers(0, 256, (n, 24)).astype(np.uint8)
    tables = rng.normal(size=(q, 48, 16)).astype(np.float32)
    sections, weights, bases = weighted(rng, 24, q)
    allow = rng.random(n) < 0.01 if masked else None
    packed, values = scan.pack(held), scan.pack_weighted(held, sections)
    for search in (
        lambda **how: scan.scan_nibbles(packed, n, tables, 20, allow=allow, **how),
        lambda **how: scan.scan_weighted(values, n, sections, weights, bases, 20, allow=allow, **how),
    ):
        found = [search(threads=t, module=kernels.load(name)) for name in kernels.levels() for t in (1, 3)]
        for other in found[1:]:
            np.testing.assert_array_equal(found[0].ids, other.ids)
            np.testing.assert_array_equal(found[0].scores, other.scores)


def test_equal_codes_are_ordered_by_number(level: Any) -> None:
    held = np.repeat(np.arange(4, dtype=np.uint8) * 0x11, 1000)[:, None].repeat(8, axis=1)
    tables = np.tile(np.arange(16, dtype=np.float32), (3, 16, 1))
    found = scan.scan_nibbles(scan.pack(held), 4000, tables, 10, module=level)
    np.testing.assert_array_equal(found.ids, np.tile(np.arange(3000, 3010), (3, 1)))


def test_the_largest_tables_do_not_overflow_their_sums(level: Any) -> None:
    held = np.full((40, 200), 0xFF, np.uint8)
    held[7] = 0xEE
    tables = np.zeros((1, 400, 16), np.float32)
    tables[:, :, 15], tables[:, :, 14] = 1, 2
    found = scan.scan_nibbles(scan.pack(held), 40, tables, 2, module=level)
    np.testing.assert_array_equal(found.ids, [[7, 0]])
    np.testing.assert_array_equal(found.scores, [[800, 400]])
