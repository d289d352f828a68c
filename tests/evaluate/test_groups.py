"""Groups of vectors are found where there are some, and one group where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from firth.evaluate.groups import group, plane, silhouette


def around(rng: np.random.Generator, centres: int, each: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    middle = rng.normal(size=(centres, 24))
    truth = np.repeat(np.arange(centres), each)
    return (middle[truth] + spread * rng.normal(size=(len(truth), 24))).astype(np.float32), truth


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_groups_that_are_there_are_found(rng: np.random.Generator, count: int) -> None:
    vectors, truth = around(rng, count, 20, 0.2)
    found = group(vectors)
    assert found.count == count
    assert len({(a, b) for a, b in zip(truth.tolist(), found.labels.tolist(), strict=True)}) == count
    assert found.silhouette.mean() > 0.5


def test_without_groups_there_is_one(rng: np.random.Generator) -> None:
    found = group(rng.normal(size=(60, 64)).astype(np.float32))
    assert found.count == 1
    assert (found.silhouette == 0).all()


def test_as_many_groups_as_asked_for_and_the_largest_first(rng: np.random.Generator) -> None:
    sizes = np.bincount(group(rng.normal(size=(60, 8)).astype(np.float32), count=4).labels)
    assert len(sizes) == 4
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)


@pytest.mark.parametrize("n", [1, 2])
def test_few_vectors_are_one_group(n: int) -> None:
    assert group(np.eye(n, 4, dtype=np.float32)).count == 1


def test_the_silhouette_is_that_of_scikit_learn(rng: np.random.Generator) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    points = rng.normal(size=(40, 3))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    labels = rng.integers(0, 3, 40)
    expected = metrics.silhouette_samples(distance, labels, metric="precomputed")
    np.testing.assert_allclose(silhouette(distance, labels), expected, atol=1e-9)


def test_the_plane_keeps_what_lies_in_a_plane(rng: np.random.Generator) -> None:
    angle = rng.uniform(0, 2 * np.pi, 30)
    flat = np.stack([np.cos(angle), np.sin(angle)], 1)
    turned = (flat @ np.linalg.qr(rng.normal(size=(8, 8)))[0][:2]).astype(np.float32)
    found = plane(turned)
    between = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.testing.assert_allclose(between, np.linalg.norm(flat[:, None] - flat[None], axis=2), atol=1e-5)
    assert np.array_equal(found, plane(turned))
