"""Priors, Gaussians and likelihoods against formulas in float64."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from zoo.parts import distributions

KEY = tf.constant([3, -5], tf.int64)
TRUTH = {"normal": stats.norm(), "uniform": stats.uniform(-1, 2), "logistic": stats.logistic()}


@pytest.mark.parametrize("name", TRUTH)
def test_priors_draw_from_their_density(name):
    prior, truth = distributions.PRIORS[name], TRUTH[name]
    for draws in (prior.draw(KEY, [4000, 5]), prior.rows(tf.range(4000, dtype=tf.int64), 5)):
        assert draws.shape == (4000, 5) and draws.dtype == tf.float32
        assert stats.kstest(np.ravel(draws), truth.cdf).pvalue > 0.01
        density = prior.density(5).log_prob(draws)
        np.testing.assert_allclose(density, truth.logpdf(draws.numpy().astype(np.float64)).sum(1), rtol=1e-5)
    np.testing.assert_array_equal(prior.rows([7, 7], 3)[1], prior.rows([7], 3)[0])


def test_every_prior_has_a_test():
    assert set(distributions.PRIORS) == {*TRUTH, "ring"}


def test_a_ring_of_modes_is_its_mixture():
    """By labels a draw is of that mode, and without one of any, equally often."""
    prior, num, size = distributions.ring_of_modes(5), 20_000, 3
    means = np.array([[4 * np.cos(a), 4 * np.sin(a), 0.0] for a in 2 * np.pi * np.arange(5) / 5])
    label = np.arange(num) % 6 - 1
    draws = prior.draw(KEY, [num, size]), prior.draw(KEY, [num, size], tf.constant(label))
    rows = prior.rows(tf.range(num, dtype=tf.int64), size)
    for z in (*draws, rows):
        nearest = np.linalg.norm(z[:, None] - means, axis=-1).argmin(1)
        assert stats.kstest(np.ravel(z - means[nearest]), stats.norm(0, 0.5).cdf).pvalue > 0.01
        if z is draws[1]:
            assert np.all((nearest == label)[label >= 0])
            nearest = nearest[label < 0]
        assert stats.chisquare(np.bincount(nearest, minlength=5)).pvalue > 0.01
    z = rows[:50].numpy().astype(np.float64)
    expected = np.log(np.mean([stats.multivariate_normal(mean, 0.25).pdf(z) for mean in means], axis=0))
    np.testing.assert_allclose(prior.density(size).log_prob(rows[:50]), expected, rtol=1e-4)
    np.testing.assert_array_equal(prior.rows([7, 7], 3)[1], prior.rows([7], 3)[0])


@pytest.mark.parametrize("shape", [(6,), (2, 3, 4)])
def test_gaussian_is_its_formula(shape):
    """Mean and squashed log-variance are the halves of the last axis, for every pixel."""
    rng = np.random.default_rng(0)
    parameters, half = rng.normal(0, 6, [5, *shape]).astype(np.float32), shape[-1] // 2
    mean, std = parameters[..., :half], np.exp(4 * np.tanh(parameters[..., half:].astype(np.float64) / 8))
    x = rng.normal(0, 1, mean.shape)
    p = distributions.gaussian(tf.constant(parameters), event_ndims=len(shape))
    np.testing.assert_array_equal(p.mean(), mean)
    np.testing.assert_allclose(p.stddev(), std, rtol=1e-5)
    expected = stats.norm.logpdf(x, mean, std).reshape(5, -1).sum(1)
    np.testing.assert_allclose(p.log_prob(x.astype(np.float32)), expected, rtol=1e-5)


def test_log_variance_is_bounded_and_keeps_a_gradient():
    raw = tf.constant([-1e6, -60.0, -1.0, 0.0, 1.0, 60.0, 1e6])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        p = distributions.gaussian(tf.stack([tf.zeros_like(raw), raw], axis=-1))
        log_variance = tf.math.log(p.variance())[:, 0]
    slope = tape.gradient(log_variance, raw).numpy()
    np.testing.assert_allclose(log_variance, 8 * np.tanh(raw.numpy() / 8), rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(slope)) and np.all(slope[1:-1] > 0)
    np.testing.assert_allclose(slope[2:5], 1 - np.tanh(np.array([-1, 0, 1]) / 8) ** 2, rtol=1e-4)  # almost the identity


@pytest.mark.parametrize("logit", [-200.0, -15.0, -0.3, 0.0, 2.0, 15.0, 200.0])
def test_bernoulli_scores_grey_values_by_cross_entropy(logit):
    x = np.array([0.0, 0.2, 0.5, 1.0])
    p = distributions.bernoulli(tf.fill([4, 1], logit))
    expected = x * special.log_expit(logit) + (1 - x) * special.log_expit(-logit)
    for make in (np.float32, tf.constant):  # of the two, TFP on its own truncates the former
        np.testing.assert_allclose(p.log_prob(make(x[:, None])), expected, rtol=1e-5, atol=1e-30)
    image = distributions.bernoulli(tf.fill([1, 2, 2, 1], logit), event_ndims=3)
    np.testing.assert_allclose(image.log_prob(x.reshape(1, 2, 2, 1).astype(np.float32)), [expected.sum()], rtol=1e-5)
    np.testing.assert_allclose(p.mean(), np.full([4, 1], special.expit(logit)), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("name, variance, cdf", [
    ("bernoulli", 0.0, lambda p, x: np.where(x < 0, 0.0, np.where(x < 1, 1.0 - p.mean(), 1.0))),
    ("gaussian", 0.0, lambda p, x: stats.norm.cdf(x, p.mean(), p.stddev())),
    ("gaussian", 0.025, lambda p, x: stats.norm.cdf(x, p.mean(), np.sqrt(0.025))),
])  # fmt: skip
def test_likelihoods_draw_from_their_density(name, variance, cdf):
    """Each row by its seed alone, and apart from the latent point of the same seed."""
    likelihood = distributions.likelihood(name, variance=variance)
    seeds = tf.range(6000, dtype=tf.int64)
    parameters = np.random.default_rng(0).normal(size=[3, likelihood.num_parameters * 4]).astype(np.float32)
    p = likelihood.density(tf.constant(np.tile(parameters, [2000, 1])))
    x = likelihood.rows(p, seeds).numpy()
    assert x.shape == (6000, 4) and x.dtype == np.float32
    for level in (0.0, 0.5, 1.0, *np.quantile(x, [0.1, 0.9])):
        share, expected = ((a <= level) if a is x else a for a in (x, cdf(p, level)))
        error = (share - expected).reshape(2000, 3, 4).mean(0) * np.sqrt(2000)
        assert np.abs(error).max() < 4 * 0.5
    latent = distributions.PRIORS["normal"].rows(seeds, 4).numpy()
    mean = p.mean().numpy()
    correlation = np.mean((x - mean) / p.stddev() * latent, axis=0)
    assert np.abs(correlation).max() < 4 / np.sqrt(6000)
    some = likelihood.density(tf.constant(parameters[[1]]))
    np.testing.assert_allclose(likelihood.rows(some, seeds[4:5])[0], x[4], atol=1e-6)
