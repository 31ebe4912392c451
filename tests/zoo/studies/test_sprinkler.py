"""Huszar's sprinkler: the posterior on cells against quadrature, and what each method finds of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import Adam
from keras.optimizers.schedules import CosineDecay
from scipy import integrate, stats

from tests.trainers.metrics.made import data_of, options, run_of
from tests.zoo.steps import train
from trainers import data as datasets
from trainers.metrics import theory
from zoo.parts.posteriors import Implicit
from zoo.studies.sprinkler import Sprinkler

DATA = data_of(np.ones([2, 1]), np.ones([2, 1]))


@pytest.mark.slow
def test_cells_of_the_posterior_are_those_of_quadrature():
    """The prior's deviation is sqrt 2, and the exponential's mean 3 and the cubes of what is positive."""

    def joint(z_2, z_1, x=12.0):
        mean = 3.0 + max(z_1, 0.0) ** 3 + max(z_2, 0.0) ** 3
        return stats.norm.pdf(z_1, 0, 2**0.5) * stats.norm.pdf(z_2, 0, 2**0.5) * stats.expon.pdf(x, scale=mean)

    cells, edges = theory.posterior_on_cells(Sprinkler(data_shape=(1,)), 12.0), theory.EDGES
    whole = integrate.dblquad(joint, -6, 6, -6, 6, epsabs=1e-5, epsrel=1e-4)[0]
    for i, j in ((30, 42), (20, 35), (39, 39)):
        share = integrate.dblquad(joint, *edges[[i, i + 1]], *edges[[j, j + 1]])[0] / whole
        np.testing.assert_allclose(cells[i, j], share, rtol=1e-2)
    np.testing.assert_allclose(cells.sum(), 1.0, rtol=1e-6)


@pytest.mark.parametrize("method", ["prior_contrastive", "joint_contrastive", "denoiser"])
def test_with_what_the_estimator_should_know_each_method_has_the_gradient_of_the_divergence(method):
    """By the encoder, for any log q(z|x) that is plugged in and any draws; and what the estimator descends."""
    keras.utils.set_random_seed(0)
    model = Sprinkler(data_shape=(1,), method=method, hidden_units=(), smoothing=0.5)
    rng, m = np.random.default_rng(0), 6
    x, x_p = rng.exponential(9.0, [2, m, 1]).astype(np.float32)
    drawn, z_p = (rng.normal(size=[m, size]).astype(np.float32) for size in (model.noise_size + 2, 2))
    prior = stats.norm(0, 2**0.5)

    def log_q(x, z):
        return -0.3 * tf.reduce_sum((z - 0.1 * x) ** 2, axis=1)

    def T(x, z, training=True):
        if method == "denoiser":
            return 0.5 * -0.6 * (z - 0.1 * x)
        of_p = tf.reduce_sum(-0.25 * z**2, axis=1) + 2 * prior.logpdf(0)
        return (log_q(x, z) - (model.log_joint(x, z) if method == "joint_contrastive" else of_p))[:, None]

    model.T = T
    with tf.GradientTape(persistent=True) as tape:
        losses, z = model.losses(x, drawn, z_p, x_p), model.q(x).draw(drawn)[0]
        found, expected = (tf.reduce_mean(loss) for loss in (losses["encoder"], log_q(x, z) - model.log_joint(x, z)))
    for pair in zip(*(tape.gradient(loss, model.weights_of("encoder")) for loss in (found, expected)), strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-5)
    if method == "denoiser":
        expected = np.sum((T(x, z) + drawn[:, -2:]) ** 2, axis=1)
    else:
        of_p = T(x_p if method == "joint_contrastive" else x, z_p)
        expected = (np.logaddexp(0, -T(x, z)) + np.logaddexp(0, of_p))[:, 0]
    np.testing.assert_allclose(losses["estimator"], expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("z", [9.0, -1e30, np.nan])
def test_draws_beyond_the_cells_are_far_from_the_posterior(z, tmp_path):
    model = Sprinkler(data_shape=(1,))
    model.q = lambda x: Implicit(lambda epsilon: tf.fill([100, 2], z), (2,))
    found = theory.posterior_against_theory(run_of(model, tmp_path), DATA, options(num_model_samples=100))
    assert found["kl_at_0"] > 5.0


@pytest.mark.slow
@pytest.mark.parametrize("method, largest", [("prior_contrastive", 0.3), ("joint_contrastive", 0.6), ("denoiser", 0.6)])
def test_each_method_finds_the_posterior(method, largest, tmp_path):
    """Its KL at 0, 5, 8 and 12; a Gaussian can not have both arms, and an untrained encoder is far away."""
    keras.utils.set_random_seed(0)
    model, data, num_steps = Sprinkler(data_shape=(1,), method=method), datasets.load("sprinkler"), 2000
    rates = {"encoder": CosineDecay(2e-3, num_steps), "estimator": CosineDecay(5e-3, num_steps, alpha=0.1)}
    model.compile({move: Adam(rate, beta_1=0.5) for move, rate in rates.items()}, jit_compile=False)

    def largest_kl():
        chosen = options(num_model_samples=20_000)
        found = theory.posterior_against_theory(run_of(model, tmp_path), data, chosen)
        assert (tmp_path / "posterior.png").exists()
        return max(found[f"kl_at_{x}"] for x in (0, 5, 8, 12))

    assert largest_kl() > 2.0
    train(model, tf.constant(data.train), num_steps, 256)
    assert largest_kl() < largest
