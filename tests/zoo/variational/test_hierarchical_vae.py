"""Layers of latents against linear-Gaussian models in closed form, densities written out, and the VAE of one layer."""

import keras
import numpy as np
import pytest
from scipy import stats

from tests.zoo.variational.test_vae import SIGMA_POINTS, LinearGaussian, bound, set_linear
from tests.zoo.variational.test_vae import make as make_vae
from zoo.parts import estimators, noise
from zoo.variational.hierarchical_vae import HierarchicalVAE


def make(**arguments):
    options = {"data_shape": (3,), "hidden_units": (), "latent_units": (), "likelihood": "gaussian"}
    return HierarchicalVAE(**options | arguments)


class LinearLayers(LinearGaussian):
    """Below two latents of `LinearGaussian` a chain of others, z_l = N(a z_{l+1} + c, s), each unit by itself."""

    def __init__(self, num_layers, shift=0.0):
        super().__init__(3)
        self.model = make(latent_sizes=(2,) * num_layers, log_prob_samples=3)
        set_linear(self.model.decoder, self.W, self.b, self.log_S)
        rng, mean, variance = np.random.default_rng(1), np.zeros(2), np.ones(2)  # of z_l a priori, from the top
        for downward, upward in zip(self.model.downward[::-1], self.model.upward[::-1], strict=True):
            a, c, s = rng.uniform(0.5, 1.5, [3, 2])
            set_linear(downward, np.diag(a), c, np.log(s))
            posterior = 1 / (1 / variance + a**2 / s)  # of z_{l+1} given z_l
            gain = np.diag(posterior * a / s)
            set_linear(upward, gain, posterior * mean / variance - gain @ c, np.log(posterior))
            mean, variance = a * mean + c, a**2 * variance + s
        scaled = self.W.T / np.exp(self.log_S)
        posterior = 1 / (1 / variance + np.diag(scaled @ self.W))
        gain = posterior[:, None] * scaled
        set_linear(self.model.encoder, gain, posterior * mean / variance - gain @ self.b + shift, np.log(posterior))
        marginal = self.W * variance @ self.W.T + np.diag(np.exp(self.log_S))
        self.log_px = stats.multivariate_normal.logpdf(self.x, self.b + self.W @ mean, marginal)
        self.gap = 0.5 * np.sum(shift**2 / posterior)

    def log_weights(self, num, *first):
        """For noise of z_1 that is given, or all drawn."""
        of_layers = [noise.normal([0, layer], [num, 5, 2]) for layer in range(len(self.model.latent_sizes))]
        return self.model.log_weight(self.x, self.model.q(self.x), (*first, *of_layers[len(first) :])).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_bounds_of_linear_layers(num_layers):
    """Exact conditionals give log p(x) by any draw; the ELBO of others falls short by KL(q || p(z_1 ... z_L|x))."""
    truth = LinearLayers(num_layers)
    np.testing.assert_allclose(truth.log_weights(50), np.tile(truth.log_px, [50, 1]), atol=1e-4)
    for score in truth.model.log_prob(truth.x, np.arange(5)).values():
        np.testing.assert_allclose(score, truth.log_px, atol=1e-4)
    truth = LinearLayers(num_layers, shift=0.3)
    points = np.repeat(SIGMA_POINTS[:, None], 5, 1)
    np.testing.assert_allclose(truth.log_weights(4, points).mean(0), truth.log_px - truth.gap, atol=1e-4)


def test_bounds_rise_with_the_number_of_draws():
    truth, num = LinearLayers(2, shift=0.5), 2**14
    log_w = truth.log_weights(num).astype(np.float64)
    before = -np.inf
    for k in (1, 4, 16, 64):
        groups = estimators.iwae(log_w.reshape(k, num // k, 5)).numpy()
        mean, error = groups.mean(0), groups.std(0) / np.sqrt(num // k)
        assert np.all(mean > before) and np.all(mean < truth.log_px + 3 * error)
        before = mean
    assert np.all(abs(estimators.iwae(log_w) - truth.log_px) < 5 * np.exp(log_w - truth.log_px).std(0) / np.sqrt(num))


@pytest.mark.parametrize("skip", [False, True])
def test_log_weights_by_the_densities_of_the_layers(skip):
    """log p(x|...) + log p(z_1|z_2) + log p(z_2|z_3) + log p(z_3) - log q(z_1 ... z_3|x), of z_l themselves."""
    keras.utils.set_random_seed(0)
    model, rng = make(latent_sizes=(4, 3, 2), skip=skip), np.random.default_rng(0)
    x = rng.normal(size=[5, 3]).astype(np.float32)
    epsilon = [rng.normal(size=[6, 5, size]).astype(np.float32) for size in model.latent_sizes]

    def normal(network, *inputs):
        """Of a linear network, on inputs side by side."""
        kernel, bias = (w.astype(np.float64) for w in network.get_weights())
        mean, raw = np.split(np.concatenate(inputs, axis=-1) @ kernel + bias, 2, axis=-1)
        return stats.norm(mean, np.exp(4 * np.tanh(raw / 8)))

    rows = np.broadcast_to(x, [6, 5, 3])
    log_q, layers, q = 0.0, [], normal(model.encoder, rows)
    for e, upward in zip(epsilon, [*model.upward, None], strict=True):
        layers.append(q.mean() + q.std() * e)
        log_q = log_q + q.logpdf(layers[-1]).sum(-1)
        q = upward and normal(upward, *([rows, layers[-1]] if skip else [layers[-1]]))
    p = normal(model.decoder, *(layers if skip else layers[:1]))
    log_p = p.logpdf(rows).sum(-1) + stats.norm.logpdf(layers[-1]).sum(-1)
    for below, above, downward in zip(layers, layers[1:], model.downward, strict=False):
        log_p += normal(downward, above).logpdf(below).sum(-1)
    q = model.q(x)
    np.testing.assert_allclose(model.log_weight(x, q, epsilon), log_p - log_q, rtol=1e-4, atol=1e-4)
    z = q.draw(epsilon)[0]
    assert z.shape == (6, 5, model.latent_size)
    for found, layer in zip(model.layers_of(z), layers, strict=True):
        np.testing.assert_allclose(found, layer, atol=1e-4)
    np.testing.assert_allclose(model.decode(z), p.mean(), atol=1e-4)


@pytest.mark.parametrize("estimator, num_samples", [("elbo", 1), ("elbo", 3), ("iwae", 3)])
def test_one_layer_is_the_vae_with_a_drawn_divergence(estimator, num_samples):
    options = {"data_shape": (3,), "hidden_units": (5,), "likelihood": "gaussian", "num_samples": num_samples}
    layers, vae = make(latent_sizes=(2,), estimator=estimator, **options), make_vae(estimator="iwae", **options)
    layers.set_weights(vae.get_weights())
    x = np.random.default_rng(0).normal(size=[4, 3]).astype(np.float32)
    epsilon = noise.normal([0, 0], [num_samples, 4, 2])
    log_w = vae.log_weight(x, vae.q(x), epsilon)
    layers.draw_noise = lambda q, leading: (epsilon,)
    found = layers.negative_bound(x, training=True)
    np.testing.assert_allclose(found["autoencoder"], -estimators.ESTIMATORS[estimator](log_w), rtol=1e-5)
    np.testing.assert_allclose(found["reconstruction"], bound(vae, x, epsilon)["reconstruction"], rtol=1e-5)
    np.testing.assert_allclose(found["kl"], -np.mean(log_w, axis=0) - found["reconstruction"], rtol=1e-4, atol=1e-5)
