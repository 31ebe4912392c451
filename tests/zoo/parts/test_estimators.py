"""The bounds against formulas in float64, and against a discrete model whose expectations can be enumerated."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from zoo.parts.estimators import ESTIMATORS, bounds_of_rows, elbo, iwae

FORMULAS = {"elbo": lambda log_w: log_w.mean(0), "iwae": lambda log_w: np.log(np.exp(log_w).mean(0))}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("shape", [(1, 3), (5,), (7, 3), (4, 2, 3)])
def test_formulas(name, shape):
    log_w = np.random.default_rng(0).normal(-2.0, 3.0, shape)
    bound = ESTIMATORS[name](tf.constant(log_w))
    assert bound.dtype == tf.float64 and bound.shape == shape[1:]
    np.testing.assert_allclose(bound, FORMULAS[name](log_w), rtol=1e-12)
    np.testing.assert_allclose(tf.function(ESTIMATORS[name])(tf.constant(log_w, tf.float32)), bound, rtol=1e-5)


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_far_from_zero(offset, dtype):
    """Both bounds move with a common offset, and their gradients are the draws' shares: 1/K, and w_k / sum w."""
    small = np.random.default_rng(0).integers(-8, 8, [6, 5]) / 4.0  # float32 holds these exactly beside 1e4
    for name, bound in ESTIMATORS.items():
        log_w = tf.constant(small + offset, dtype)
        with tf.GradientTape() as tape:
            tape.watch(log_w)
            value = bound(log_w)
        np.testing.assert_allclose(value, FORMULAS[name](small) + offset, rtol=2e-7, atol=1e-6)
        share = {"elbo": np.full_like(small, 1 / 6), "iwae": np.exp(small) / np.exp(small).sum(0)}[name]
        np.testing.assert_allclose(tape.gradient(value, log_w), share, rtol=1e-3)


def test_draws_too_far_apart_for_their_exponentials():
    log_w = tf.constant([[1e4, -np.inf, -1e4], [-1e4, 3.0, -2e4]], tf.float32)
    np.testing.assert_allclose(iwae(log_w), np.array([1e4, 3.0, -1e4]) - np.log(2.0), rtol=1e-6)


def test_bounds_tighten_with_the_number_of_draws():
    """z takes three values: E[IWAE_K] is a sum over 3^K draws, which rises from the ELBO and stays below log p(x)."""
    p_xz, q = np.array([0.1, 0.25, 0.05]), np.array([0.2, 0.2, 0.6])
    expectations = []
    for num_samples in range(1, 8):
        z = np.array(list(itertools.product(range(3), repeat=num_samples))).T  # [K, 3^K]
        probability, log_w = q[z].prod(0), tf.constant(np.log(p_xz / q)[z])
        expectations.append(probability @ iwae(log_w).numpy())
        np.testing.assert_allclose(probability @ elbo(log_w).numpy(), q @ np.log(p_xz / q))
        np.testing.assert_allclose(probability @ np.exp(iwae(log_w)), p_xz.sum())  # its exponential is unbiased
        assert np.all(iwae(log_w) >= elbo(log_w) - 1e-12)
    np.testing.assert_allclose(expectations[0], q @ np.log(p_xz / q))
    assert np.all(np.diff(expectations) > 0) and expectations[-1] < np.log(p_xz.sum())


def test_bounds_of_rows_are_those_of_their_draws():
    log_w = np.random.default_rng(0).normal(size=[5, 3]).astype(np.float32)
    for compiled in (lambda f: f, tf.function):
        bounds = compiled(lambda: bounds_of_rows(lambda draw: tf.gather(log_w, draw), 5))()
        assert set(bounds) == {"elbo", "log_prob_lower_bound"}
        np.testing.assert_allclose(bounds["elbo"], elbo(log_w), rtol=1e-6)
        np.testing.assert_allclose(bounds["log_prob_lower_bound"], iwae(log_w), atol=1e-6)
