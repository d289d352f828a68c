"""What each codec promises of its codes, alone and from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firth import compress
from firth.arrays import Vectors, unit
from firth.compress import Codec, Prefix, Scalar
from firth.errors import FormatError, SettingsError, ShapeError

TRAINED = {
    "prefix": lambda v: Prefix.train(v, keep=16),
    "scalar 8": lambda v: Scalar.train(v),
    "scalar 4": lambda v: Scalar.train(v, bits=4),
    "scalar uniform": lambda v: Scalar.train(v, uniform=True),
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
    if isinstance(codec, Prefix):  # bringing a unit row to unit length rounds once more
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
    assert (off <= codec.error_bound).all()
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
