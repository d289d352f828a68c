"""Named points: one drawing, every name readable, nothing from outside run."""

from __future__ import annotations

import re

import numpy as np
import pytest

from firth.errors import ShapeError
from firth.evaluate.scatter import _overlap, _sides, png, scatter, standalone

pytest.importorskip("altair", reason="the report extra is not installed")


def test_every_point_is_named_and_a_hostile_name_is_text() -> None:
    hostile = '<script>alert("1")</script>'
    page = standalone(scatter([[0, 0], [1, 2], [3, 1]], ["sea", "wave & foam", hostile]), hostile)
    assert "<script" not in page
    assert ">sea<" in page
    assert "wave &amp; foam" in page
    assert "default-src 'none'" in page


def test_names_of_near_points_stand_on_different_sides() -> None:
    at = np.array([[100.0, 100.0], [108.0, 101.0]])
    sides = _sides(at, ["psychology", "science"])
    assert len(set(sides)) == 2
    assert _overlap((0, 0, 10, 10), (5, 5, 20, 20)) == 25
    assert _overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0


def test_both_axes_have_one_scale() -> None:
    """A point twice as far to the right as another is above lies twice as many pixels away."""
    svg = scatter([[0, 0], [2, 0], [0, 1]], ["o", "right", "up"])
    place = re.compile(r'aria-label="(o|right|up)"[^>]*transform="translate\(([\d.]+),([\d.]+)\)"')
    at = {name: (float(x), float(y)) for name, x, y in place.findall(svg)}
    assert at["right"][0] - at["o"][0] == pytest.approx(2 * (at["o"][1] - at["up"][1]), rel=0.03)


def test_points_on_one_spot_are_drawn_and_other_shapes_refused() -> None:
    assert png(scatter([[1, 1], [1, 1]], ["a", "b"])).startswith(b"\x89PNG")
    for points, names in (([[0, 0]], ["a", "b"]), ([[0, np.nan]], ["a"]), ([], [])):
        with pytest.raises(ShapeError, match="expected finite"):
            scatter(points, names)
