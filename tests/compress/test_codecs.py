"""What each codec promises of its codes, alone and from a file."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from firth import compress
from firth.arrays import Neighbours, Vectors, unit
from firth.compress import Axes, Binary, Chain, Codec, Prefix, Product, Scalar, rescore
from firth.errors import FormatError, SettingsError, ShapeError

TRAINED = {
    "prefix": lambda v: Prefix.train(v, keep=16),
    "scalar 8": lambda v: Scalar.train(v),
    "scalar 4": lambda v: Scalar.train(v, bits=4),
    "scalar uniform": lambda v: Scalar.train(v, uniform=True),
    "axes": lambda v: Axes.train(v, size=20),
    "axes of few bytes": lambda v: Axes.train(v, size=5),
    "product 8": lambda v: Product.train(v, m=12),
    "product 4": lambda v: Product.train(v, m=3, bits=4),
    "product rotated": lambda v: Product.train(v, m=8, bits=4, rotate=True),
    "binary": lambda v: Binary.train(v),
    "binary rotated": lambda v: Binary.train(v, rotate=True),
    "prefix, then scalar": lambda v: Chain(p := Prefix.train(v, keep=20), Scalar.train(p.shorten(v))),
}


@pytest.fixture(params=TRAINED)
def codec(request: pytest.FixtureRequest, vectors: Vectors) -> Codec:
    return TRAINED[request.param](vectors)  # type: ignore[no-any-return]


def test_a_code_is_as_long_as_the_codec_says(codec: Codec, vectors: Vectors) -> None:
    codes = codec.encode(vectors)
    assert codes.shape == (1000, codec.bytes_per_vector)
    assert codes.dtype == np.uint8
    assert codec.decode(codes).shape == vectors.shape
    assert codec.decode(codes).dtype == np.float32


def test_encoding_a_decoded_code_gives_the_same_code(codec: Codec, vectors: Vectors) -> None:
    codes = codec.encode(vectors)
    again = codec.encode(codec.decode(codes))
    if isinstance(codec, Chain):  # bringing the prefix to unit length may move a value over a step's edge
        assert np.abs(again.astype(int) - codes).max() <= 12
    elif isinstance(codec, Prefix):  # bringing a unit row to unit length rounds once more
        np.testing.assert_allclose(again.view(np.float32), codes.view(np.float32), rtol=2e-7)
    else:
        np.testing.assert_array_equal(again, codes)


def test_one_row_is_encoded_as_it_is_among_others(codec: Codec, vectors: Vectors) -> None:
    np.testing.assert_array_equal(codec.encode(vectors[7]), codec.encode(vectors)[7:8])


def test_no_rows_give_no_codes(codec: Codec, vectors: Vectors) -> None:
    assert codec.encode(vectors[:0]).shape == (0, codec.bytes_per_vector)
    assert codec.decode(codec.encode(vectors[:0])).shape == (0, 48)


def test_a_saved_codec_gives_the_same_codes(codec: Codec, vectors: Vectors, tmp_path: Path) -> None:
    codec.save(tmp_path / "codec")  # type: ignore[attr-defined]
    again = compress.load(tmp_path / "codec")
    assert type(again) is type(codec)
    np.testing.assert_array_equal(again.encode(vectors), codec.encode(vectors))
    np.testing.assert_array_equal(again.decode(codec.encode(vectors)), codec.decode(codec.encode(vectors)))


def test_another_width_is_refused_with_both_numbers(codec: Codec) -> None:
    with pytest.raises(ShapeError, match="expected 48 dimensions, got 40"):
        codec.encode(np.zeros((2, 40), np.float32))


def test_a_codec_of_another_kind_is_refused_by_name(vectors: Vectors, tmp_path: Path) -> None:
    Prefix.train(vectors, keep=3).save(tmp_path / "codec")
    with pytest.raises(FormatError, match="holds a Prefix codec, expected Scalar"):
        Scalar.load(tmp_path / "codec")


@pytest.mark.parametrize("bits", [8, 4])
def test_a_decoded_value_is_within_half_a_step_of_the_original(vectors: Vectors, bits: int) -> None:
    codec = Scalar.train(vectors, bits=bits)
    off = np.abs(codec.decode(codec.encode(vectors)) - vectors)
    if bits == 8:
        assert (off <= codec.error_bound).all()
    else:  # the range is cut at three deviations; what lies outside is not bounded, and rare
        inside = np.abs(vectors - codec.centre) <= codec.step * np.float32(7.5)
        assert inside.mean() >= 0.99
        assert (off <= codec.error_bound)[inside].all()
    span = vectors.max(axis=0) - vectors.min(axis=0)
    assert (codec.error_bound <= span / {8: 507, 4: 29.9}[bits]).all()
    assert off.max() > 0.4 * codec.step.min()  # the bound is not an empty one


def test_a_value_outside_of_the_range_is_cut_off_at_its_end(vectors: Vectors) -> None:
    codec = Scalar.train(vectors)
    np.testing.assert_allclose(codec.decode(codec.encode(vectors[:1] * 0 + 9)), vectors.max(axis=0)[None], atol=1e-6)


def test_a_uniform_codec_has_one_step_and_keeps_the_order_of_distances(vectors: Vectors) -> None:
    codec = Scalar.train(vectors, uniform=True)
    assert len(set(codec.step.tolist())) == 1
    codes = codec.encode(vectors).astype(np.int64)
    steps = ((codes[0] - codes) ** 2).sum(1) * float(codec.step[0]) ** 2
    np.testing.assert_allclose(steps, ((vectors[0] - vectors) ** 2).sum(1), atol=0.06)


def test_a_dimension_that_never_varies_is_decoded_exactly() -> None:
    rows = np.full((10, 3), 0.25, np.float32)
    codec = Scalar.train(rows)
    np.testing.assert_array_equal(codec.decode(codec.encode(rows)), rows)


def test_the_prefix_is_the_unit_vector_of_the_first_dimensions(vectors: Vectors) -> None:
    codec = Prefix.train(vectors, keep=16)
    np.testing.assert_array_equal(codec.shorten(vectors), unit(np.ascontiguousarray(vectors[:, :16])))
    assert not codec.decode(codec.encode(vectors))[:, 16:].any()


def test_settings_that_make_no_sense_are_refused(vectors: Vectors) -> None:
    with pytest.raises(SettingsError, match="bits=3: expected 8 or 4"):
        Scalar.train(vectors, bits=3)
    with pytest.raises(SettingsError, match="keep=49 is not in 1 … 48"):
        Prefix.train(vectors, keep=49)
    with pytest.raises(SettingsError, match="no rows"):
        Scalar.train(vectors[:0])


def test_codes_of_the_same_training_are_the_same_for_any_number_of_threads(vectors: Vectors) -> None:
    one, three = (Product.train(vectors, m=6, threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.books, three.books)
    np.testing.assert_array_equal(one.encode(vectors, threads=1), one.encode(vectors, threads=3))


def test_more_centres_and_more_parts_come_nearer_to_the_vectors(vectors: Vectors) -> None:
    def off(codec: Codec) -> float:
        return float(((codec.decode(codec.encode(vectors)) - vectors) ** 2).mean())

    coarse, bits, parts = (Product.train(vectors, m=m, bits=b) for m, b in ((4, 4), (4, 8), (12, 8)))
    assert off(coarse) > off(bits) > off(parts)
    assert off(coarse) < float((vectors**2).mean())


def test_a_learnt_rotation_helps_where_parts_carry_unequal_weight(rng: np.random.Generator) -> None:
    rows = (rng.normal(size=(2000, 16)) * np.geomspace(4, 0.1, 16)).astype(np.float32)
    plain, turned = (Product.train(rows, m=4, bits=4, rotate=r) for r in (False, True))
    error = [float(((c.decode(c.encode(rows)) - rows) ** 2).sum()) for c in (plain, turned)]
    assert error[1] < 0.8 * error[0]


def decaying(rng: np.random.Generator, n: int = 3000, d: int = 48) -> Vectors:
    """Rows whose variance falls along hidden axes, as that of texts' vectors does."""
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return unit((rng.normal(size=(n, d)) * np.geomspace(1, 0.05, d) @ turn + 0.05).astype(np.float32))


def test_axes_lose_less_than_other_codecs_of_their_size(rng: np.random.Generator) -> None:
    rows = decaying(rng)
    queries, exact = rows[:50], rows[:50] @ rows.T

    def off(codec: Codec) -> float:
        return float(((queries @ codec.decode(codec.encode(rows)).T - exact) ** 2).mean())

    for size, others in ((24, ["sq4", "pq48x4", "pq24"]), (12, ["pq24x4", "pq12", "opq12"]), (6, ["pq12x4", "binary"])):
        axes = off(Axes.train(rows, size=size))
        assert all(axes < 0.7 * off(compress.train(name, rows, threads=2)) for name in others), (size, axes)


def test_more_bytes_bring_axes_nearer_and_leading_axes_get_more_bits(rng: np.random.Generator) -> None:
    rows = decaying(rng)
    codecs = [Axes.train(rows, size=size) for size in (3, 6, 12, 24, 48)]
    errors = [float(((c.decode(c.encode(rows)) - rows) ** 2).mean()) for c in codecs]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01 * errors[0]
    for codec in codecs:
        bounds = np.cumsum(np.multiply(codec.sections, [1, 2, 4]))
        groups = [g for g in np.split((rows @ codec.axes.T).var(axis=0), bounds[:2]) if len(g)]
        assert all(leading.min() > next_.max() for leading, next_ in itertools.pairwise(groups))
    assert sum(size > 0 for size in codecs[2].sections) >= 2


def test_the_axes_of_a_codec_are_orthonormal_and_its_codes_do_not_depend_on_threads(rng: np.random.Generator) -> None:
    rows = decaying(rng)
    codec = Axes.train(rows, size=12)
    np.testing.assert_allclose(codec.axes @ codec.axes.T, np.eye(len(codec.axes)), atol=1e-5)
    np.testing.assert_array_equal(codec.encode(rows, threads=1), codec.encode(rows, threads=3))


def test_rows_that_are_all_alike_or_few_have_axes_too() -> None:
    same = np.full((5, 16), 0.25, np.float32)
    for rows in (same, same[:1], np.eye(16, dtype=np.float32)[:3]):
        codec = Axes.train(rows, size=8)
        np.testing.assert_allclose(codec.decode(codec.encode(rows)), rows, atol=0.02)
    with pytest.raises(SettingsError, match="no rows"):
        Axes.train(same[:0], size=8)
    with pytest.raises(SettingsError, match="size=17 bytes are not in 1 … 16"):
        Axes.train(same, size=17)


def test_bits_that_differ_count_the_signs_that_differ(vectors: Vectors) -> None:
    codec = Binary.train(vectors)
    signs = vectors > codec.mean
    expected = (signs[:5, None] != signs[None]).sum(2)
    np.testing.assert_array_equal(codec.differences(vectors[:5], codec.encode(vectors)), expected)


def test_the_bit_of_a_gaussian_keeps_most_of_its_direction(vectors: Vectors) -> None:
    for codec in (Binary.train(vectors), Binary.train(vectors, rotate=True)):
        decoded = codec.decode(codec.encode(vectors))
        cosine = np.einsum("nd,nd->n", unit(decoded), vectors)
        assert abs(cosine.mean() - np.sqrt(2 / np.pi)) < 0.03  # of a sign with a Gaussian


@pytest.mark.parametrize("kept", [np.float32, np.float16])
def test_rescoring_puts_a_shortlist_into_its_exact_order(vectors: Vectors, kept: type) -> None:
    ids = np.array([[5, 2, -1, 9, 0], [-1, -1, -1, -1, 3]])
    coarse = Neighbours(ids, np.zeros(ids.shape, np.float32))
    near = rescore(vectors[:2], coarse, vectors.astype(kept), 4)
    exact = vectors[:2].astype("f8") @ vectors.astype(kept).T.astype("f8")
    assert near.ids[0].tolist() == sorted([5, 2, 9, 0], key=lambda i: -exact[0, i])
    assert near.ids[1].tolist() == [3, -1, -1, -1]
    np.testing.assert_allclose(near.scores[0], [exact[0, i] for i in near.ids[0]], rtol=1e-6)
    assert np.isneginf(near.scores[1, 1:]).all()


def test_a_shortlist_that_does_not_fit_is_refused(vectors: Vectors) -> None:
    coarse = Neighbours(np.array([[1000]]), np.zeros((1, 1), np.float32))
    with pytest.raises(ShapeError, match="id 1000 is not one of 1000 rows"):
        rescore(vectors[:1], coarse, vectors, 1)
    with pytest.raises(ShapeError, match="k=2"):
        rescore(vectors[:1], coarse, vectors, 2)


def test_parts_that_do_not_divide_the_width_are_refused_with_those_that_do(vectors: Vectors) -> None:
    with pytest.raises(SettingsError, match="m=7 does not divide 48 dimensions; these do: 1, 2, 3, 4, 6, 8"):
        Product.train(vectors, m=7)
    with pytest.raises(SettingsError, match="100 rows cannot give 256 centres"):
        Product.train(vectors[:100], m=4)
    with pytest.raises(ShapeError, match="keeps 16 dimensions, the codec was trained on 48"):
        Chain(Prefix.train(vectors, keep=16), Scalar.train(vectors))


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("sq8", Scalar, 48), ("sq4", Scalar, 24), ("axes10", Axes, 10), ("pq12", Product, 12), ("pq24x4", Product, 12),
        ("opq6x4", Product, 3), ("binary", Binary, 6), ("rbinary", Binary, 6), ("prefix16", Prefix, 64),
        ("prefix16+sq8", Chain, 16), ("prefix24+binary", Chain, 3),
    ],
)  # fmt: skip
def test_a_codec_is_found_by_its_name(vectors: Vectors, name: str, kind: type, size: int) -> None:
    codec = compress.train(name, vectors)
    assert (type(codec), codec.bytes_per_vector) == (kind, size)
    assert codec.encode(vectors).shape == (1000, size)


@pytest.mark.parametrize(
    "name",
    ["", "sq5", "pq", "pq7", "pq12x3", "prefix0", "prefix99", "prefix16+", "prefix16+zip", "axes", "axes0", "axes49"],
)
def test_a_name_that_is_no_codec_is_refused(vectors: Vectors, name: str) -> None:
    with pytest.raises(SettingsError):
        compress.train(name, vectors)


@pytest.mark.parametrize("d", [8, 48, 100, 384, 768])
def test_the_standard_codecs_fit_their_width(d: int) -> None:
    names = compress.standard(d)
    assert len(names) == len(set(names))
    rows = np.random.default_rng(0).normal(size=(300, d)).astype(np.float32)
    for name in names if d <= 48 else [n for n in names if "pq" not in n]:
        assert compress.train(name, rows, threads=1).dims == d
