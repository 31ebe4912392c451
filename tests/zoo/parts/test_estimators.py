"""The bounds against formulas in float64, and against a discrete model whose expectations can be enumerated."""

import functools
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from zoo.parts import estimators
from zoo.parts.estimators import (
    bounds_of_rows,
    elbo,
    estimator,
    iwae,
    jackknife_coefficients,
    jvi,
    leave_one_out,
    without_one,
)


def log_mean(log_w):
    return special.logsumexp(log_w, axis=0) - np.log(len(log_w))


def by_subsets(order, log_w):
    """The jackknife from all subsets of K - j draws."""
    value = 0.0
    for j in range(order + 1):
        c = (-1) ** j * (len(log_w) - j) ** order / (math.factorial(order - j) * math.factorial(j))
        subsets = itertools.combinations(range(len(log_w)), len(log_w) - j)
        value += c * np.mean([log_mean(log_w[list(subset)]) for subset in subsets], axis=0)
    return value


FORMULAS = {
    ("elbo",): lambda log_w: log_w.mean(0),
    ("iwae",): log_mean,
    **{("jvi", order): functools.partial(by_subsets, order) for order in range(4)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(1, 3), (5,), (7, 3), (4, 2, 3)])
def test_formulas(name, shape):
    log_w, function = np.random.default_rng(0).normal(-90.0, 3.0, shape), estimator(*name)
    if name[0] == "jvi" and shape[0] <= name[1]:
        with pytest.raises(ValueError, match=f"at least {name[1] + 1} draws, not {shape[0]}"):
            function(tf.constant(log_w))
        return
    bound = function(tf.constant(log_w))
    assert bound.dtype == tf.float64 and bound.shape == shape[1:]
    np.testing.assert_allclose(bound, FORMULAS[name](log_w), rtol=1e-12)
    for compiled in (tf.function(function), tf.function(function, jit_compile=True)):
        np.testing.assert_allclose(compiled(tf.constant(log_w, tf.float32)), bound, atol=3e-5)


def test_the_jackknife_is_iwae_of_order_0_and_the_elbo_of_one_draw():
    log_w = tf.constant(np.random.default_rng(0).normal(-90.0, 3.0, [5, 3]), tf.float32)
    np.testing.assert_allclose(jvi(log_w, 0), iwae(log_w), atol=1e-5)
    np.testing.assert_array_equal(jvi(log_w[:1], 0), log_w[0])


@pytest.mark.parametrize("num_samples, biases", [
    (8, (-6.380e-2, 1.480e-3, 1.04e-5)), (16, (-3.158e-2, 3.468e-4, 4.9e-7)), (32, (-1.571e-2, 8.398e-5, 2.7e-8)),
])  # fmt: skip
def test_the_bias_of_the_jackknife(num_samples, biases):
    """w ~ Gamma(a, 1): E L_n = digamma(n a) - log n and log E w = log a; these biases are of a = 1, the exponential."""
    for order, bias in enumerate(biases):
        c = jackknife_coefficients(num_samples, order)
        assert sum(c) == pytest.approx(1.0, abs=1e-12)
        n = num_samples - np.arange(order + 1.0)
        digits = 0.01 if order == 2 else 5e-4
        assert c @ (special.digamma(n) - np.log(n)) == pytest.approx(bias, rel=digits)


@pytest.mark.slow
@pytest.mark.parametrize("a", [0.5, 1.0, 3.0])
def test_the_mean_of_the_jackknife(a):
    """By draws of Gamma(a, 1), less their importance-weighted bound, which has the same noise and a known mean."""
    K, log_w = 8, np.log(np.random.default_rng(0).gamma(a, size=[8, 50_000]))
    for order in (1, 2):
        n = K - np.arange(order + 1.0)
        mean = jackknife_coefficients(K, order) @ (special.digamma(n * a) - np.log(n))
        rest = (jvi(tf.constant(log_w), order) - iwae(tf.constant(log_w))).numpy()
        error = rest.std() / np.sqrt(rest.size)
        found = rest.mean() + special.digamma(K * a) - np.log(K)
        assert abs(found - mean) < 4 * error < 0.01


def test_what_is_left_without_one_draw():
    log_w = tf.constant(np.random.default_rng(0).normal(size=[4, 3]))
    rest, sums = without_one(log_w).numpy(), leave_one_out(log_w).numpy()
    for i in range(4):
        np.testing.assert_array_equal(rest[:, i], np.delete(log_w, i, axis=0))
        np.testing.assert_allclose(sums[i], special.logsumexp(rest[:, i], axis=0), rtol=1e-12)


def test_a_jackknife_of_order_m_holds_no_more_than_its_m_th_power_of_draws(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        estimators, "without_one", lambda log_w: sizes.append(tf.size(without_one(log_w))) or without_one(log_w)
    )
    for order in range(4):
        jvi(tf.zeros([7]), order)
    assert max(sizes) == 7 * 6 * 5


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_far_from_zero(offset, dtype):
    """All move with a common offset. Gradients of bounds are the draws' shares, 1/K and w_k / sum w, and sum to one."""
    small = np.random.default_rng(0).integers(-8, 8, [6, 5]) / 4.0  # float32 holds these exactly beside 1e4
    for name, formula in FORMULAS.items():
        bound, log_w = estimator(*name), tf.constant(small + offset, dtype)
        with tf.GradientTape() as tape:
            tape.watch(log_w)
            value = bound(log_w)
        np.testing.assert_allclose(value, formula(small) + offset, rtol=2e-7, atol=1e-6)
        share = tape.gradient(value, log_w)
        np.testing.assert_allclose(np.sum(share, axis=0), 1.0, rtol=1e-3)
        if name[0] != "jvi":
            expected = np.full_like(small, 1 / 6) if name[0] == "elbo" else np.exp(small) / np.exp(small).sum(0)
            np.testing.assert_allclose(share, expected, rtol=1e-3)


def test_draws_too_far_apart_for_their_exponentials():
    log_w = tf.constant([[1e4, -np.inf, -1e4], [-1e4, 3.0, -2e4]], tf.float32)
    np.testing.assert_allclose(iwae(log_w), np.array([1e4, 3.0, -1e4]) - np.log(2.0), rtol=1e-6)
    far = tf.constant([-1e4, 0.0, -2e4], tf.float32)  # none is lost beside one that is larger by more than exp can say
    np.testing.assert_allclose(jvi(far, 1), by_subsets(1, far.numpy().astype(np.float64)), rtol=1e-6)


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
