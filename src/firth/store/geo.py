"""Is a point on the Earth within a circle, a box or a polygon: the geographic conditions of a filter.

A point is a payload value {"lat": degrees, "lon": degrees}. Distances are great circles on a sphere of the mean radius
(haversine), 0.5 % off the ellipsoid at worst.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from firth.errors import FilterError

RADIUS = 6_371_008.8  # metres, mean radius of the Earth (IUGG)
SHAPES = ("geo_radius", "geo_bounding_box", "geo_polygon")
Point = tuple[float, float]  # latitude, longitude


def within(value: str, shape: str) -> bool:
    """Whether the JSON `value` is a point inside of `shape`, which `checked_shape` made."""
    point = _point(json.loads(value))
    if point is None:
        return False
    kind, wanted = json.loads(shape)
    if kind == "geo_radius":
        return bool(distance(point, tuple(wanted["center"])) < wanted["radius"])
    if kind == "geo_bounding_box":
        (top, left), (bottom, right) = wanted["top_left"], wanted["bottom_right"]
        across = left > right  # the box crosses the antimeridian
        inside = point[1] > left or point[1] < right if across else left < point[1] < right
        return bool(top > point[0] > bottom and inside)
    return _in_ring(point, wanted["exterior"], edge=False) and not any(
        _in_ring(point, ring, edge=True) for ring in wanted["interiors"]
    )


def distance(a: Point, b: Point) -> float:
    """Metres between two points.

    >>> round(distance((52.52, 13.405), (51.5074, -0.1278)) / 1000)
    932
    """
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*a, *b))
    arc = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * RADIUS * math.asin(math.sqrt(min(1.0, arc)))


def checked_shape(kind: str, wanted: Any, at: str) -> str:
    """A condition's shape as `within` takes it.

    Raises:
        FilterError: a part is missing or no point; names the place.
    """
    if not isinstance(wanted, Mapping):
        raise FilterError(f"{at}: expected an object, got {wanted!r}")
    shape: dict[str, Any]
    if kind == "geo_radius":
        radius = wanted.get("radius")
        if not isinstance(radius, int | float) or isinstance(radius, bool) or not radius >= 0:
            raise FilterError(f"{at}.radius: expected metres, got {radius!r}")
        shape = {"center": _needed(wanted.get("center"), f"{at}.center"), "radius": radius}
    elif kind == "geo_bounding_box":
        shape = {name: _needed(wanted.get(name), f"{at}.{name}") for name in ("top_left", "bottom_right")}
    else:
        interiors = wanted.get("interiors") or []
        shape = {
            "exterior": _ring(wanted.get("exterior"), f"{at}.exterior"),
            "interiors": [_ring(ring, f"{at}.interiors[{i}]") for i, ring in enumerate(interiors)],
        }
    return json.dumps([kind, shape])


def _ring(value: Any, at: str) -> list[Point]:
    points = value.get("points") if isinstance(value, Mapping) else None
    if not isinstance(points, Sequence) or len(points) < 4 or points[0] != points[-1]:
        raise FilterError(f"{at}.points: expected at least four points, the last equal to the first")
    return [_needed(point, f"{at}.points[{i}]") for i, point in enumerate(points)]


def _needed(value: Any, at: str) -> Point:
    point = _point(value)
    if point is None:
        raise FilterError(f'{at}: expected a point like {{"lat": 52.5, "lon": 13.4}}, got {value!r}')
    return point


def _point(value: Any) -> Point | None:
    if not isinstance(value, Mapping):
        return None
    lat, lon = value.get("lat"), value.get("lon")
    if any(not isinstance(x, int | float) or isinstance(x, bool) or not abs(x) <= 1e6 for x in (lat, lon)):
        return None
    return float(lat or 0), float(lon or 0)


def _in_ring(point: Point, ring: Sequence[Sequence[float]], *, edge: bool) -> bool:
    """Even-odd rule: how often does a ray from the point cross the ring? A point on the ring itself is `edge`."""
    y, x = point
    inside = False
    for (y1, x1), (y2, x2) in pairwise(ring):
        on_line = (x2 - x1) * (y - y1) == (y2 - y1) * (x - x1)
        if on_line and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return edge
        if (x1 > x) != (x2 > x) and y < (y2 - y1) * (x - x1) / (x2 - x1) + y1:
            inside = not inside
    return inside
