"""Hamiltonian inference against the harmonic oscillator, whose dynamics are linear, and the VAE that it is without."""

import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.variational.test_vae import LinearGaussian, set_linear
from tests.zoo.variational.test_vae import make as make_vae
from zoo.parts import estimators, noise
from zoo.variational.hamiltonian_vae import HamiltonianVAE


def make(**arguments):
    options = {"data_shape": (3,), "latent_size": 2, "hidden_units": (), "likelihood": "gaussian"}
    return HamiltonianVAE(**options | arguments)


class Oscillator(LinearGaussian):
    """One transition from q(z_0|x) = N(m + shift, stretch^2 posterior variance), by the best linear r(v|x, z)."""

    def __init__(self, num_steps, step_sizes, shift=0.4, stretch=2.0):
        super().__init__(3)
        self.model = make(num_leapfrog_steps=num_steps, log_prob_samples=3)
        offset = -self.posterior_map @ self.b
        set_linear(self.model.decoder, self.W, self.b, self.log_S)
        set_linear(self.model.encoder, self.posterior_map, offset + shift, np.log(stretch**2 * self.variance))
        self.model.dynamics[0].set_weights([np.log(step_sizes)])
        kernel, bias = (np.zeros(w.shape) for w in self.model.reverse[0].get_weights())
        self.gap = 0.0
        for i, (e, variance) in enumerate(zip(step_sizes, self.variance, strict=True)):
            k = 1 / variance  # of the energy k (z - m)^2 / 2 + v^2 / 2
            step = np.array([[1 - e**2 * k / 2, e], [-e * k * (1 - e**2 * k / 4), 1 - e**2 * k / 2]])
            flow = np.linalg.matrix_power(step, num_steps)
            mean, covariance = flow @ [shift, 0.0], flow @ np.diag([stretch**2 * variance, 1.0]) @ flow.T
            self.gap += 0.5 * (k * (covariance[0, 0] + mean[0] ** 2) - 1 - np.log(k * covariance[0, 0]))
            slope = covariance[0, 1] / covariance[0, 0]  # E[v|z] = mean + slope (z - m - mean of z - m)
            kernel[:3, i], kernel[3 + i, i] = -slope * self.posterior_map[i], slope
            bias[i] = mean[1] - slope * (mean[0] + offset[i])
            bias[2 + i] = 8 * np.arctanh(np.log(covariance[1, 1] - slope * covariance[0, 1]) / 8)
        self.model.reverse[0].set_weights([kernel, bias])


POINTS = np.repeat(2 * np.concatenate([np.eye(4), -np.eye(4)])[:, None].astype(np.float32), 5, 1)
EPSILON = (POINTS[..., :2], POINTS[..., 2:])  # over which averages of quadratic functions are exact


@pytest.mark.parametrize("num_steps, step_sizes", [(1, [0.3, 0.3]), (3, [0.2, 0.4]), (4, [0.5, 0.1])])
def test_bound_of_the_harmonic_oscillator(num_steps, step_sizes):
    """log p(x) - KL(q(z_1|x) || p(z|x)), of the Gaussian that q(z_1|x) is; closer than q(z_0|x) is."""
    truth, still = Oscillator(num_steps, step_sizes), Oscillator(num_steps, [1e-6, 1e-6])
    for case in (truth, still):
        log_w = case.model.log_weight(case.x, case.model.q(case.x), EPSILON)
        np.testing.assert_allclose(np.mean(log_w, axis=0), case.log_px - case.gap, atol=1e-4)
    assert truth.gap < still.gap


@pytest.mark.parametrize("unit", [0, 1])
def test_the_gradient_by_step_sizes_goes_through_the_dynamics(unit):
    """It is that of the gap: as r is the best, a change of the best r has no share in it."""
    log_sizes, h = np.log([0.2, 0.4]), 1e-3 * np.eye(2)[unit]
    model = Oscillator(3, np.exp(log_sizes)).model
    model.draw_noise = lambda q, leading: EPSILON
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.negative_bound(LinearGaussian(3).x, training=True)["autoencoder"])
    after, before = (Oscillator(3, np.exp(log_sizes + shift)).gap for shift in (h, -h))
    (found,) = tape.gradient(loss, model.dynamics[0].trainable_variables)
    assert abs(after - before) > 1e-4
    np.testing.assert_allclose(found[unit], (after - before) / 2e-3, rtol=1e-2)


@pytest.mark.slow
def test_weights_of_several_transitions_have_the_mean_p_of_x():
    """However poor r is; and `trajectory` leads where the draws are."""
    truth, num = LinearGaussian(3), 2**14
    model = make(num_transitions=2, num_leapfrog_steps=3, step_size=0.3)
    set_linear(model.decoder, truth.W, truth.b, truth.log_S)
    set_linear(model.encoder, truth.posterior_map, -truth.posterior_map @ truth.b, np.log(2 * truth.variance))
    for reverse in model.reverse:
        set_linear(reverse, np.zeros([2, 5]), np.zeros(2), np.array([0.5, 1.0]))
    q = model.q(truth.x)
    epsilon = noise.of_keys(q.noise, [num, 5], lambda leaf: [0, leaf])
    log_w = model.log_weight(truth.x, q, epsilon).numpy().astype(np.float64)
    assert log_w.std() > 0.1
    error = np.exp(log_w - truth.log_px).std(0) / np.sqrt(num)
    assert np.all(abs(estimators.iwae(log_w) - truth.log_px) < 5 * error)
    assert np.all(log_w.mean(0) < truth.log_px)
    few = [draw[:2] for draw in epsilon]
    path = model.trajectory(truth.x, few)
    assert path.shape == (7, 2, 5, 2)
    np.testing.assert_allclose(path[-1], q.draw(few)[0], atol=1e-5)


def test_without_transitions_it_is_the_vae():
    options = {"data_shape": (3,), "hidden_units": (5,), "likelihood": "gaussian", "num_samples": 3}
    options |= {"estimator": "iwae", "latent_size": 2, "activation": "tanh"}
    model, vae = make(num_transitions=0, **options), make_vae(**options)
    model.set_weights(vae.get_weights())
    x, epsilon = np.random.default_rng(0).normal(size=[4, 3]).astype(np.float32), noise.normal([0, 0], [3, 4, 2])
    model.draw_noise, vae.draw_noise = (lambda q, leading: (epsilon,)), (lambda q, leading: epsilon)
    found, expected = (m.negative_bound(x, training=True) for m in (model, vae))
    np.testing.assert_allclose(found["autoencoder"], expected["autoencoder"], rtol=1e-6)
