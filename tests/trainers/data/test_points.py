"""Points against the moments of their distributions."""

import itertools

import numpy as np
import pytest
from scipy import stats

from trainers import data


def test_four_points_are_corners_in_equal_shares():
    corners = data.load("four_points")
    for points, labels in ((corners.train, corners.train_labels), (corners.test, corners.test_labels)):
        assert points.dtype == np.float32
        np.testing.assert_array_equal(points, np.eye(4)[labels])
        np.testing.assert_array_equal(points.mean(0), np.full(4, 0.25))


@pytest.mark.parametrize("name, num_modes, std", [("ring", 8, 0.01), ("grid", 25, 0.05), ("line", 3, 0.5)])
def test_mixtures_have_their_moments(name, num_modes, std):
    one, size = data.load(name), 1 if name == "line" else 2
    assert (one.train.shape, one.test.shape, one.mode_std) == ((100_000, size), (10_000, size), std)
    assert one.modes.shape == (num_modes, size) and one.num_classes == num_modes
    if name == "ring":
        np.testing.assert_allclose(np.linalg.norm(one.modes, axis=1), 1, rtol=1e-6)
    else:
        lattice = range(-4, 5, 2) if name == "grid" else (-2, 0, 2)
        assert set(map(tuple, one.modes)) == set(itertools.product(lattice, repeat=size))
    z = (one.train - one.modes[one.train_labels]) / std
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=4 / np.sqrt(1e5))
    np.testing.assert_allclose(np.cov(z.T), np.eye(size) if size > 1 else 1, atol=6 * np.sqrt(2 / 1e5))
    expected = 1e5 / num_modes
    assert ((np.bincount(one.train_labels) - expected) ** 2 / expected).sum() < num_modes + 5 * np.sqrt(2 * num_modes)


@pytest.mark.parametrize("name, truth", [
    ("gaussian", stats.norm(1, 0.5)), ("beta", stats.beta(2, 5)),
    ("sprinkler", stats.reciprocal(1, 61, loc=-1)),
])  # fmt: skip
def test_points_of_one_dimension_have_their_distributions(name, truth):
    one = data.load(name)
    assert (one.train.shape, one.test.shape, one.train_labels) == ((100_000, 1), (10_000, 1), None)
    for points in (one.train, one.test):
        assert stats.kstest(points[:, 0], truth.cdf).pvalue > 0.01
