"""Posteriors against TensorFlow Probability, Monte Carlo, and functions that are known."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.parts import distributions, noise
from zoo.parts.posteriors import Deterministic, Flow, Gaussian, Implicit, Mixture, product_of_groups

KEY, SIZE = tf.constant([3, -5], tf.int64), 4
PARAMETERS = tf.constant(np.random.default_rng(0).normal(0, 1.5, [6, 2 * SIZE]), tf.float32)
MEAN, VARIANCE = PARAMETERS[:, :SIZE], tf.exp(8.0 * tf.tanh(PARAMETERS[:, SIZE:] / 8.0))
TRUTH = tfd.MultivariateNormalDiag(MEAN, tf.sqrt(VARIANCE))
PRIOR = distributions.PRIORS["normal"]


def test_a_gaussian_is_that_of_tensorflow_probability():
    q = Gaussian.of(PARAMETERS)
    assert q.noise == noise.Noise("normal", (SIZE,))
    np.testing.assert_array_equal(q.mean(), MEAN)
    np.testing.assert_array_equal(q.encoding()["z"], MEAN)
    np.testing.assert_allclose(q.encoding()["z_log_var"], tf.math.log(VARIANCE), rtol=1e-5, atol=1e-6)
    z = noise.normal(KEY, [3, 6, SIZE])
    np.testing.assert_allclose(q.log_prob(z), TRUTH.log_prob(z), rtol=1e-5)


def test_kl_is_the_divergence():
    q, p = Gaussian.of(PARAMETERS), PRIOR.density(SIZE)
    kl = q.kl(PRIOR)
    assert kl.shape == (6,)
    np.testing.assert_allclose(kl, tfd.kl_divergence(TRUTH, tfd.MultivariateNormalDiag(tf.zeros(SIZE))), rtol=1e-5)
    z, log_q = q.draw(noise.normal(KEY, [20_000, 6, SIZE]))
    log_ratio = (log_q - p.log_prob(z)).numpy()
    assert np.all(abs(log_ratio.mean(0) - kl) < 5 * log_ratio.std(0) / np.sqrt(20_000))
    np.testing.assert_array_equal(Gaussian.of(tf.zeros([2, 6])).kl(PRIOR), [0, 0])


def test_draws_of_a_gaussian():
    """z = mu + sigma epsilon with its density, and the posterior's moments."""
    q, num = Gaussian.of(PARAMETERS), 40_000
    z, log_q = q.draw(tf.ones([3, 6, SIZE]))
    np.testing.assert_allclose(z, np.tile(MEAN + tf.sqrt(VARIANCE), [3, 1, 1]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_q, TRUTH.log_prob(z), rtol=1e-5)
    z, mean, std = (np.array(x) for x in (q.draw(noise.normal(KEY, [num, 6, SIZE]))[0], MEAN, tf.sqrt(VARIANCE)))
    assert np.all(abs(z.mean(0) - mean) < 5 * std / np.sqrt(num))
    np.testing.assert_allclose(z.std(0), std, rtol=5 / np.sqrt(2 * num))


def test_a_gaussian_that_does_not_depend_on_x():
    q = Gaussian(PRIOR.density(SIZE))
    epsilon = noise.normal(KEY, [2, 5, SIZE])
    z, log_q = q.draw(epsilon)
    np.testing.assert_array_equal(z, epsilon)
    np.testing.assert_allclose(log_q, tfd.MultivariateNormalDiag(tf.zeros(SIZE)).log_prob(epsilon), rtol=1e-5)
    np.testing.assert_allclose(q.kl(PRIOR), 0.0, atol=1e-6)


def test_the_divergence_is_for_the_standard_normal_prior():
    with pytest.raises(ValueError, match="closed form for the prior"):
        Gaussian.of(PARAMETERS).kl(distributions.PRIORS["uniform"])


def test_a_deterministic_posterior_takes_no_noise():
    q = Deterministic(MEAN)
    assert tf.nest.flatten(q.noise) == []
    for z, log_q in (q.draw(), q.draw(noise.of_keys(q.noise, [6], lambda leaf: KEY))):
        np.testing.assert_array_equal(z, MEAN)
        assert log_q is None
    np.testing.assert_array_equal(q.mean(), MEAN)
    assert set(q.encoding()) == {"z"} and not hasattr(q, "log_prob") and not hasattr(q, "kl")


def test_a_flow_has_the_density_of_what_it_makes():
    """z = exp(z_0) of a Gaussian is log-normal."""
    base = Gaussian.of(PARAMETERS)
    q = Flow(base, lambda z: (tf.exp(z), tf.reduce_sum(z, axis=-1)))
    epsilon = noise.normal(KEY, [3, 6, SIZE])
    z, log_q = q.draw(epsilon)
    np.testing.assert_array_equal(z, tf.exp(base.draw(epsilon)[0]))
    truth = tfd.Independent(tfd.LogNormal(MEAN, tf.sqrt(VARIANCE)), 1)
    np.testing.assert_allclose(log_q, truth.log_prob(z), rtol=1e-4, atol=1e-3)
    seeds = tf.range(6, dtype=tf.int64)
    (encoded,) = q.encoding(seeds).values()
    np.testing.assert_array_equal(encoded, q.draw(noise.of_rows(q.noise, seeds, noise.POSTERIOR))[0])
    assert q.noise == base.noise and not hasattr(q, "mean") and not hasattr(q, "kl")


def test_an_implicit_posterior_is_its_function():
    q = Implicit(lambda epsilon: MEAN + tf.reduce_sum(epsilon, axis=1), [2, SIZE])
    assert q.noise == noise.Noise("normal", (2, SIZE))
    epsilon = noise.of_keys(q.noise, [6], lambda leaf: KEY)
    z, log_q = q.draw(epsilon)
    np.testing.assert_allclose(z, MEAN + epsilon[:, 0] + epsilon[:, 1], rtol=1e-5, atol=1e-6)
    assert log_q is None and not hasattr(q, "mean") and not hasattr(q, "log_prob")
    (encoded,) = q.encoding(tf.range(6, dtype=tf.int64)).values()
    rows = noise.normal_rows(tf.range(6, dtype=tf.int64), (2, SIZE), noise.stream(noise.POSTERIOR))
    np.testing.assert_array_equal(encoded, q.draw(rows)[0])


def test_the_product_of_a_group_is_that_of_densities_on_a_grid():
    """Rows 0, 2 and 5 are a group, rows 1 and 3 another; row 4 keeps its own, and so do all of labels of their own."""
    q, label = Gaussian.of(PARAMETERS), tf.constant([7, -1, 7, -1, 3, 7], tf.int64)
    product, grid = product_of_groups(q, label), np.linspace(-20, 20, 40_001)
    log_density = -0.5 * (grid[:, None, None] - MEAN.numpy()) ** 2 / VARIANCE.numpy()
    for rows in ([0, 2, 5], [1, 3], [4]):
        density = np.exp(log_density[:, rows].sum(1) - log_density[:, rows].sum(1).max(0))
        mean = density.T @ grid / density.sum(0)
        variance = (density * (grid[:, None] - mean) ** 2).sum(0) / density.sum(0)
        for row in rows:
            np.testing.assert_allclose(product.mean()[row], mean, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(product.density.variance()[row], variance, rtol=1e-3)
    alone = product_of_groups(q, tf.range(6))
    np.testing.assert_allclose(alone.mean(), MEAN, rtol=1e-5)
    copies = product_of_groups(Gaussian.of(tf.tile(PARAMETERS[:1], [5, 1])), tf.zeros(5, tf.int32))
    np.testing.assert_allclose(copies.density.variance(), tf.tile(VARIANCE[:1] / 5, [5, 1]), rtol=1e-5)
    np.testing.assert_allclose(copies.mean(), tf.tile(MEAN[:1], [5, 1]), rtol=1e-5)
    for part, columns in zip(q.parts([1, 3]), (np.s_[:1], np.s_[1:]), strict=True):
        np.testing.assert_allclose(part.mean(), MEAN[:, columns])
        np.testing.assert_allclose(part.density.variance(), VARIANCE[:, columns], rtol=1e-5)


@pytest.mark.slow
def test_a_mixture_is_that_of_tensorflow_probability_and_draws_from_it():
    means, num = np.random.default_rng(0).normal(0, 2, [3, 6, SIZE]).astype(np.float32), 40_000
    q = Mixture(means, 0.5)
    components = tfd.MultivariateNormalDiag(means.transpose(1, 0, 2), np.full([SIZE], 0.5, np.float32))
    truth = tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros([6, 3])), components)
    z, log_q = q.draw(noise.of_keys(q.noise, [num, 6], lambda leaf: KEY + leaf))
    np.testing.assert_allclose(log_q[:9], truth.log_prob(z[:9]), rtol=1e-4, atol=1e-4)
    assert np.all(abs(tf.reduce_mean(z, 0) - truth.mean()) < 5 * truth.stddev() / np.sqrt(num))
    spread = np.einsum("nbi,nbj->bij", z - truth.mean(), z - truth.mean()) / num  # which component a draw is from
    np.testing.assert_allclose(spread, truth.covariance(), atol=0.15)
