"""Denoiser-based inference with linear networks, where the best denoiser and the bound's gradient are closed forms."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from zoo.parts import estimators, noise
from zoo.variational.denoising_inference import DenoisingInference

SIZE, LATENTS, NOISE, S = 3, 2, 2, 0.4


class Linear:
    """p(x|z) = N(W z + b, S_x), q(z|x) = N(A x + c, B B^T + s^2), and a linear denoiser, the best: E[z_phi | x, z]."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.W, self.b, log_S = rng.normal(size=[SIZE, LATENTS]), rng.normal(size=SIZE), rng.uniform(-1, 0.5, SIZE)
        self.A, self.c = 0.5 * rng.normal(size=[LATENTS, SIZE]), rng.normal(size=LATENTS)
        self.B, self.S_x = rng.normal(size=[LATENTS, NOISE]), np.diag(np.exp(log_S))
        self.x = rng.normal(size=SIZE).astype(np.float32)
        self.model = DenoisingInference(
            data_shape=(SIZE,), latent_size=LATENTS, hidden_units=(), noise_size=NOISE, denoiser_units=(),
            likelihood="gaussian", smoothing=S,
        )  # fmt: skip
        kernel, bias = np.hstack([self.W.T, np.zeros([LATENTS, SIZE])]), [self.b, 8.0 * np.arctanh(log_S / 8.0)]
        self.model.decoder.set_weights([kernel, np.concatenate(bias)])
        self.model.encoder.set_weights([np.vstack([self.A.T, self.B.T]), self.c])
        shrink = -S * np.linalg.inv(self.B @ self.B.T + S**2 * np.eye(LATENTS))  # (v - z) / s = shrink (z - A x - c)
        self.model.denoiser.set_weights([np.vstack([-(shrink @ self.A).T, shrink.T]), -shrink @ self.c])

    def sigma_points(self):
        """x repeated, with noise over which averages of quadratic functions are exact."""
        size = NOISE + LATENTS
        points = np.sqrt(size) * np.concatenate([np.eye(size), -np.eye(size)])
        return np.tile(self.x, [2 * size, 1]), points.astype(np.float32)

    def negative_bound(self, A, B, c):
        """KL(q(z|x) || p(z|x)) - log p(x) up to a constant, of tensors in float64."""
        x, W, P = self.x.astype(np.float64), self.W, np.linalg.inv(self.S_x)
        mean, C = tf.linalg.matvec(A, x) + c, B @ tf.transpose(B) + S**2 * np.eye(LATENTS)
        r = x - self.b - tf.linalg.matvec(W, mean)
        fit = tf.reduce_sum(r * tf.linalg.matvec(P, r)) + tf.linalg.trace(W.T @ P @ W @ C)
        return 0.5 * (fit + tf.reduce_sum(mean**2) + tf.linalg.trace(C) - tf.linalg.logdet(C))


def gradients_of(model, move, x, epsilon):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.losses(x, epsilon)[move])
    return tape.gradient(loss, model.weights_of(move)), loss


def test_with_the_best_denoiser_the_encoder_descends_the_negative_bound():
    """Exactly, whatever s is; the denoiser's loss has no slope there, and the value of its minimum."""
    truth = Linear()
    x, epsilon = truth.sigma_points()
    (kernel, bias), _ = gradients_of(truth.model, "encoder", x, epsilon)
    ABc = [tf.Variable(value) for value in (truth.A, truth.B, truth.c)]
    with tf.GradientTape() as tape:
        loss = truth.negative_bound(*ABc)
    A, B, c = tape.gradient(loss, ABc)
    np.testing.assert_allclose(kernel, np.vstack([np.transpose(A), np.transpose(B)]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bias, c, rtol=1e-4, atol=1e-4)
    slopes, loss = gradients_of(truth.model, "denoiser", x, epsilon)
    assert all(np.abs(slope).max() < 1e-4 for slope in slopes)
    BB = truth.B @ truth.B.T
    np.testing.assert_allclose(loss, np.trace(BB @ np.linalg.inv(BB + S**2 * np.eye(LATENTS))), rtol=1e-4)


def test_the_denoiser_of_a_normal_distribution_shrinks():
    """DAE*(z) = z a / (a + s^2) of N(0, a)."""
    truth = Linear()
    truth.model.encoder.set_weights([np.vstack([np.zeros([SIZE, LATENTS]), 1.5 * np.eye(NOISE)]), np.zeros(LATENTS)])
    x, epsilon = truth.sigma_points()
    columns = [truth.model.z_phi(x, epsilon[:, :NOISE]) + S * epsilon[:, NOISE:], truth.model.z_phi(x, epsilon[:, :2])]
    z, z_phi = (column.numpy() for column in columns)
    best = np.linalg.lstsq(z, z_phi, rcond=None)[0]
    np.testing.assert_allclose(best, np.eye(LATENTS) * 1.5**2 / (1.5**2 + S**2), atol=1e-5)


@pytest.mark.slow
def test_the_bound_is_below_log_p_and_near_where_q_is():
    truth = Linear()  # with its encoder's mean where the posterior's is
    C = np.linalg.inv(np.eye(LATENTS) + truth.W.T @ np.linalg.inv(truth.S_x) @ truth.W)
    A = C @ truth.W.T @ np.linalg.inv(truth.S_x)
    truth.model.encoder.set_weights([np.vstack([A.T, truth.B.T]), -A @ truth.b])
    log_px = stats.multivariate_normal.logpdf(truth.x, truth.b, truth.W @ truth.W.T + truth.S_x)
    q = truth.model.proposal(truth.x[None])
    drawn = noise.of_keys(q.noise, [20_000, 1], lambda leaf: tf.constant([0, leaf], tf.int64))
    log_w = truth.model.log_weight(truth.x[None], q, drawn).numpy()[:, 0].astype(np.float64)
    error = np.exp(log_w - log_px).std() / np.sqrt(len(log_w))
    assert abs(estimators.iwae(log_w) - log_px) < 5 * error and error < 0.1
