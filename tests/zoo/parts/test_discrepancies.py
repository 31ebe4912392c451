"""Discrepancies against closed forms for Gaussians, sums over pairs in NumPy, and zero in expectation."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from trainers.metrics.two_samples import energy_distance
from zoo.parts import discrepancies

RNG = np.random.default_rng(0)
X, Y = (RNG.normal(size=[n, 2, 3]).astype(np.float32) for n in (5, 7))
BANDWIDTHS = tf.constant([0.5, 2.0])


def pairs(h, x, y):
    return np.array([[h(np.ravel(a - b)) for b in y] for a in x])


def excess(h, x, y):
    """The unbiased estimate, pair by pair."""
    within = sum(pairs(h, z, z)[~np.eye(len(z), dtype=bool)].mean() for z in (x, y))
    return within - 2.0 * pairs(h, x, y).mean()


def kernel(d):
    return np.mean([np.exp(-(d @ d) / (2 * b**2)) for b in (0.5, 2.0)])


@pytest.mark.parametrize("offset", [0.0, 1024.0])  # in deviations; rows are rounded before
def test_pair_by_pair(offset):
    x, y = X + np.float32(offset), Y + np.float32(offset)
    wide = x.astype(np.float64), y.astype(np.float64)
    np.testing.assert_allclose(discrepancies.mmd(x, y, BANDWIDTHS), excess(kernel, *wide), rtol=1e-4)
    inverse = excess(lambda d: sum(12 * s / (12 * s + d @ d) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)), *wide)
    np.testing.assert_allclose(discrepancies.mmd_inverse_multiquadratics(x, y), inverse, rtol=1e-4)
    expected = excess(lambda d: -np.linalg.norm(d), *wide)
    np.testing.assert_allclose(discrepancies.energy_distance(x, y), expected, rtol=1e-4)
    measured, _ = energy_distance(*(rows.reshape(len(rows), -1) for rows in wide))["energy_distance"]
    np.testing.assert_allclose(measured, expected, rtol=1e-9)


def test_moments():
    x, y = X.reshape(5, 6), Y.reshape(7, 6)
    means = np.mean(np.square(x.mean(0) - y.mean(0)))
    np.testing.assert_allclose(discrepancies.moments(X, Y), means, rtol=1e-5)
    covariances = np.mean(np.square(np.cov(x.T, ddof=0) - np.cov(y.T, ddof=0)))
    np.testing.assert_allclose(discrepancies.moments(X, Y, "covariance"), means + covariances, rtol=1e-5)
    whitened = np.array([[1.0], [-1.0]]), np.array([[np.sqrt(2)], [0.0], [0.0], [-np.sqrt(2)]])  # the same two moments
    np.testing.assert_allclose(discrepancies.moments(*whitened, "covariance"), 0.0, atol=1e-12)


@tf.function
def of_minibatches(discrepancy, x, y):
    """Of each of [number, rows, size]."""
    pairs = tf.cast(x, tf.float32), tf.cast(y, tf.float32)
    return tf.map_fn(lambda pair: discrepancy(*pair), pairs, fn_output_signature=tf.float32)


def gaussian_mmd(mean, std, bandwidth, dimensions):
    """MMD^2 of N(0, I) and N(mean, std^2 I), mean along one axis: each E k is a Gaussian integral."""

    def expected(variance, distance):
        b = bandwidth**2
        return (b / (b + variance)) ** (dimensions / 2) * np.exp(-(distance**2) / (2 * (b + variance)))

    return expected(2.0, 0.0) + expected(2.0 * std**2, 0.0) - 2.0 * expected(1.0 + std**2, mean)


def gaussian_inverse_multiquadratics(std):
    """In two dimensions, of N(0, I) and N(0, std^2 I), by E C / (C + |N(0, v I)|^2) = c e^c E_1(c), c = C / 2v."""

    def expected(variance):
        c = 4.0 * np.array([0.1, 0.2, 0.5, 1, 2, 5, 10]) / (2.0 * variance)
        return np.sum(c * np.exp(c) * special.exp1(c))

    return expected(2.0) + expected(2.0 * std**2) - 2.0 * expected(1.0 + std**2)


def gaussian_energy(mean, std):
    """In one dimension, of N(0, 1) and N(mean, std^2): E|N(0, v)| = sqrt(2 v / pi)."""
    assert mean == 0.0
    return np.sqrt(2 / np.pi) * (2 * np.sqrt(1 + std**2) - np.sqrt(2) - std * np.sqrt(2))


@pytest.mark.slow
@pytest.mark.parametrize("discrepancy, expected, dimensions, mean, std", [
    *((functools.partial(discrepancies.mmd, bandwidths=tf.constant([b])), gaussian_mmd(mean, std, b, d), d, mean, std)
      for b, d in ((0.7, 2), (2.0, 2), (2.0, 5)) for mean, std in ((1.0, 0.6), (0.0, 1.0))),
    *((discrepancies.mmd_inverse_multiquadratics, gaussian_inverse_multiquadratics(std), 2, 0.0, std)
      for std in (0.3, 1.0)),
    *((discrepancies.energy_distance, gaussian_energy(0.0, std), 1, 0.0, std) for std in (0.3, 1.0)),
])  # fmt: skip
def test_of_gaussians_against_the_closed_form(discrepancy, expected, dimensions, mean, std):
    """Unbiased: the mean over many small minibatches is within 4 standard errors, also where both are equal."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=[400, 20, dimensions]), std * rng.normal(size=[400, 30, dimensions])
    values = of_minibatches(discrepancy, x, y + np.eye(dimensions)[0] * mean)
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / 20 < 0.1
    assert (std == 1.0) == (abs(expected) < 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("discrepancy", [
    lambda x, y: discrepancies.mmd(x, y, BANDWIDTHS), discrepancies.energy_distance,
    discrepancies.mmd_inverse_multiquadratics,
    discrepancies.moments, lambda x, y: discrepancies.moments(x, y, "covariance"),
])  # fmt: skip
def test_gradients_are_those_of_finite_differences_and_finite_for_equal_rows(discrepancy):
    x, y = tf.constant(X[:3, 0]), tf.constant(Y[:4, 0])

    @tf.function(jit_compile=True)
    def gradient(x):
        return tf.gradients(discrepancy(x, y), x)[0]

    (found,), (numeric,) = tf.test.compute_gradient(lambda x: discrepancy(x, y), [x], delta=1e-2)
    np.testing.assert_allclose(found, numeric, atol=2e-3)
    np.testing.assert_allclose(np.reshape(gradient(x), [1, 9]), found, rtol=1e-4, atol=1e-6)
    assert np.all(np.isfinite(gradient(tf.repeat(y[:1], 3, axis=0))))
