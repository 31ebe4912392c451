"""Annealed importance sampling against linear-Gaussian models, and its Markov chains against what they leave alone."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from zoo.parts import annealed, estimators, noise
from zoo.parts.distributions import PRIORS

SIZE, LATENTS, NUM = 6, 3, 4


@pytest.fixture(scope="module")
def linear_gaussian():
    """p(x|z) = N(W z, 0.3^2 I): its log-likelihood as a function of x and z, some x, and their log p(x)."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=[SIZE, LATENTS])
    covariance = W @ W.T + 0.09 * np.eye(SIZE)
    x = rng.multivariate_normal(np.zeros(SIZE), covariance, NUM).astype(np.float32)
    kernel = tf.constant(W.T, tf.float32)

    def log_likelihood(x, z):
        squares = tf.reduce_sum((x - tf.tensordot(z, kernel, 1)) ** 2, -1)
        return -0.5 * squares / 0.09 - 0.5 * SIZE * np.log(2 * np.pi * 0.09)

    return log_likelihood, x, stats.multivariate_normal.logpdf(x, cov=covariance)


def test_annealing_finds_the_likelihood(linear_gaussian):
    log_likelihood, x, log_px = linear_gaussian
    settings = {"num_chains": 500, "num_leapfrog_steps": 5}
    sampler = annealed.sampler(PRIORS["normal"], log_likelihood, LATENTS, num_temperatures=300, **settings)
    calls = []
    log_w, acceptance = sampler(x, 0, calls.append)
    assert calls == list(range(1, 301)) and log_w.shape == (500, NUM)
    error = np.exp(log_w - log_px).std(axis=0) / np.sqrt(500)
    assert np.all(error < 0.07) and np.all(abs(estimators.iwae(log_w) - log_px) < 4 * error)
    assert abs(np.mean(estimators.iwae(log_w) - log_px)) < 0.05 and 0.6 < acceptance < 0.8
    short = annealed.sampler(PRIORS["normal"], log_likelihood, LATENTS, num_temperatures=10, **settings)
    assert np.mean(short(x)[0]) < np.mean(log_w) - 0.1  # the bound E[log w] rises with the number of temperatures
    other = sampler(x, 1)[0]
    assert np.all(other != log_w)  # another batch, other noise
    np.testing.assert_allclose(sampler(x, 1)[0], other)


def test_one_temperature_is_importance_sampling_from_the_prior(linear_gaussian):
    log_likelihood, x, _ = linear_gaussian
    sampler = annealed.sampler(PRIORS["normal"], log_likelihood, LATENTS, num_chains=5, num_temperatures=1, seed=3)
    z = noise.normal(noise.keys(3, 0, 2, 1)[0], [5, NUM, LATENTS])
    np.testing.assert_allclose(sampler(x, 2)[0], log_likelihood(x, z), rtol=1e-5)


@pytest.mark.parametrize("num_temperatures", [1, 2, 7, 1000])
def test_schedule(num_temperatures):
    betas = annealed.sigmoid_schedule(num_temperatures)
    assert len(betas) == num_temperatures + 1 and betas[0] == 0 and betas[-1] == 1
    steps = np.diff(betas)
    assert np.all(steps > 0)
    np.testing.assert_allclose(steps, steps[::-1], rtol=1e-3, atol=1e-7)  # as fast at both ends, fastest midway
    assert np.argmax(steps) in (num_temperatures // 2, (num_temperatures - 1) // 2)


def draw_correlated(num):
    covariance = np.array([[1.0, 0.8], [0.8, 2.0]])
    z = np.random.default_rng(0).multivariate_normal([0, 0], covariance, num).astype(np.float32)
    precision = tf.constant(np.linalg.inv(covariance), tf.float32)
    return z, covariance, lambda z: -0.5 * tf.reduce_sum(z * tf.tensordot(z, precision, 1), -1)


@pytest.mark.parametrize("step_size, least, most", [(0.01, 0.999, 1.0), (0.6, 0.9, 0.99), (1.4, 0.4, 0.6)])
def test_chains_stay_in_their_distribution(step_size, least, most):
    """Also where many proposals are refused: without the refusals they would spread."""
    z, covariance, log_density = draw_correlated(20_000)

    @tf.function
    def transition(z, i):
        momentum, uniform = noise.normal(tf.stack([0, i]), tf.shape(z)), noise.uniform(tf.stack([1, i]), [len(z)])
        return annealed.hamiltonian_step(log_density, z, momentum, uniform, tf.fill([len(z)], step_size), 3)

    for i in range(5):
        z, acceptance = transition(z, tf.constant(i))
    assert least <= np.mean(acceptance) <= most
    np.testing.assert_allclose(np.mean(z, axis=0), [0, 0], atol=0.05)
    np.testing.assert_allclose(np.cov(np.transpose(z)), covariance, atol=0.1)


def test_trajectories_are_reversible():
    """From the proposal with the opposite momentum the leapfrog returns to the start (Neal 2011, section 5.2.3)."""
    z, _, log_density = draw_correlated(10)
    momentum, step_size = np.random.default_rng(1).normal(size=z.shape).astype(np.float32), tf.fill([10], 0.3)
    zero, ends = tf.zeros([10]), []

    def recording(z):
        ends.append(z)
        return log_density(z)

    annealed.hamiltonian_step(recording, tf.constant(z), momentum, zero, step_size, 4)
    end = ends[-1]
    # The momentum at the end, from the last half steps: p' = (z_4 - z_3) / h + h / 2 * gradient.
    precision = np.linalg.inv(draw_correlated(1)[1])
    last = (ends[-1] - ends[-2]) / 0.3 - 0.15 * np.asarray(ends[-1]) @ precision
    ends.clear()
    annealed.hamiltonian_step(recording, end, tf.cast(-last, tf.float32), zero, step_size, 4)
    np.testing.assert_allclose(ends[-1], z, atol=1e-5)
