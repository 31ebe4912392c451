"""Likelihood-free inference against a conjugate normal model, and a classifier of quadratic features against T*."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import Adam
from keras.optimizers.schedules import CosineDecay
from scipy import stats

from tests.zoo.steps import train
from zoo.implicit.implicit_model import ImplicitModel
from zoo.parts import networks

N, DEVIATION = 20, 1.0
VARIANCE = 1.0 + DEVIATION**2  # of x given beta
X = (1.5 + np.sqrt(VARIANCE) * stats.norm.ppf((np.arange(N) + 0.5) / N))[:, None].astype(np.float32)
# beta ~ N(0, 1), z ~ N(0, 1), x = beta + z + DEVIATION eps, by completing squares
PRECISION = 1.0 + N / VARIANCE
MEAN = X.sum() / VARIANCE / PRECISION


class Location(ImplicitModel):
    """The conjugate model, whose T has quadratic features of (x, z, beta): T* is one of them but for log q(x)."""

    beta_size = 1

    def simulate(self, z, epsilon, beta):
        return beta + z + self.noise_deviation * epsilon

    def make_networks(self):
        super().make_networks()
        self.encoder.set_weights([0.0 * w for w in self.encoder.get_weights()])
        self.estimator = networks.mlp((16,), (), (1,))

    def T(self, x, z, beta, training=True):
        ours = self.joined(tf.ones_like(z), x, z, beta)
        return self.estimator(tf.reshape(ours[:, :, None] * ours[:, None, :], [-1, 16]), training=training)[:, 0]


def location():
    keras.utils.set_random_seed(0)
    options = {"num_rows": N, "noise_deviation": DEVIATION, "encoder_units": ()}
    return Location(data_shape=(1,), latent_size=1, **options)


def test_at_the_posterior_the_objective_is_the_evidence_and_has_no_slope():
    """With T* plugged in but for log q(x), by noise over which averages of quadratic functions are exact."""
    model = location()
    z_mean, z_variance = np.array([[1.0], [-1.0]]) / VARIANCE, 1.0 - 1.0 / VARIANCE  # of x - beta
    model.encoder.set_weights(
        [np.hstack([z_mean, np.zeros([2, 1])]), np.array([0.0, 8.0 * np.arctanh(np.log(z_variance) / 8.0)])]
    )
    model.beta.mean.assign([MEAN])
    model.beta.raw_log_variance.assign([8.0 * np.arctanh(-np.log(PRECISION) / 8.0)])

    def log_normal(x, mean, variance):
        return (-0.5 * (x - mean) ** 2 / variance - 0.5 * np.log(2.0 * np.pi * variance))[:, 0]

    def T(x, z, beta, training=True):
        log_q = log_normal(z, (x - beta) / VARIANCE, z_variance)
        return log_q - log_normal(z, 0.0, 1.0) - log_normal(x, beta + z, DEVIATION**2)

    model.T = T
    points = np.sqrt(2.0) * np.concatenate([np.eye(2), -np.eye(2)]).astype(np.float32)
    of_beta, epsilon = np.split(np.tile(points, [N, 1]), 2, axis=1)
    x, zeros = np.repeat(X, 4, axis=0), np.zeros([4 * N, 1], np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.losses(x, of_beta, epsilon, zeros, zeros)["posterior"])
    evidence = stats.multivariate_normal.logpdf(X[:, 0], np.zeros(N), VARIANCE * np.eye(N) + 1.0)
    np.testing.assert_allclose(loss, -evidence / N, rtol=1e-5)
    for slope in tape.gradient(loss, model.weights_of("posterior")):
        np.testing.assert_allclose(slope, np.zeros_like(slope), atol=1e-5)


def test_the_slope_of_the_best_ratio_is_that_of_the_bound_given_beta():
    """By phi and beta, of a linear simulator: T* is a function of what T sees, but for log q(x)."""
    keras.utils.set_random_seed(1)
    model = ImplicitModel(
        data_shape=(2,), latent_size=1, num_rows=10**9, simulator_units=(), noise_deviation=0.5, encoder_units=()
    )

    def T(seen, training):
        x, z, g, squares, mean, raw = tf.split(seen, [2, 1, 2, 2, 1, 1], axis=1)
        log_variance = 8.0 * tf.tanh(raw / 8.0)
        terms = [-((z - mean) ** 2) / tf.exp(log_variance) - log_variance, z**2, squares / model.noise_deviation**2]
        return 0.5 * sum(tf.reduce_sum(term, axis=1, keepdims=True) for term in terms)

    model.estimator = T
    x, eps = np.tile([[1.0, -2.0]], [2, 1]).astype(np.float32), np.array([[1.0], [-1.0]], np.float32)
    of_beta = np.tile(np.random.default_rng(0).normal(size=model.beta_size), [2, 1]).astype(np.float32)
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_mean(model.losses(x, of_beta, eps, eps, x)["posterior"])
        beta = model.q_beta().draw(of_beta[:1])[0]
        W, b = tf.split(beta, 2, axis=1)
        q = model.q(x[:1], beta)
        r = x[:1] - b - W * q.mean()
        fit = tf.reduce_sum(r**2 + W**2 * q.density.variance()) / model.noise_deviation**2
        negative_bound = 0.5 * fit + tf.reduce_sum(q.kl(model.latent_prior))
    weights = [*model.beta.trainable_variables, *model.encoder.trainable_variables]
    for found, expected in zip(tape.gradient(loss, weights), tape.gradient(negative_bound, weights), strict=True):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_posterior_of_a_conjugate_normal_model_is_reached():
    model, num_steps = location(), 3000
    rates = {"posterior": CosineDecay(1e-2, num_steps), "estimator": CosineDecay(5e-2, num_steps, alpha=0.1)}
    model.compile({move: Adam(rate, beta_1=0.5) for move, rate in rates.items()}, jit_compile=False)
    train(model, tf.constant(np.tile(X, [50, 1])), num_steps, 500)
    q = model.q_beta()
    np.testing.assert_allclose(q.mean(), [[MEAN]], atol=0.1 / np.sqrt(PRECISION))
    np.testing.assert_allclose(q.density.stddev(), [[PRECISION**-0.5]], rtol=0.1)
    z = model.q(X, tf.fill([N, 1], MEAN))
    np.testing.assert_allclose(z.mean(), (X - MEAN) / VARIANCE, atol=0.05)
    deviation = np.mean(z.density.stddev())  # over x: a quadratic T has one curvature in z for all of them
    np.testing.assert_allclose(deviation, np.sqrt(1.0 - 1.0 / VARIANCE), rtol=0.1)
