"""A variational autoencoder of one latent, and what is exactly true of it."""

import itertools

import keras
import numpy as np
import pytest
from scipy import stats

from tests.trainers.metrics.made import NUM_ROWS, data_of
from zoo.variational.vae import VAE


@pytest.fixture(scope="module")
def images():
    rows = np.array(list(itertools.product([0, 255], repeat=4)), np.uint8)
    rows = np.concatenate([rows, rows[: NUM_ROWS - 16]]).reshape(NUM_ROWS, 2, 2, 1)
    return data_of(rows, rows)


@pytest.fixture(scope="module")
def vae():
    """One latent, and a posterior wider than the true one, so that importance weights are bounded."""
    keras.utils.set_random_seed(3)
    model = VAE(data_shape=(2, 2, 1), latent_size=1, hidden_units=(6,))
    rng = np.random.default_rng(0)
    model.decoder.set_weights([2.0 * w + 0.3 * rng.normal(size=w.shape) for w in model.decoder.get_weights()])
    kernel_1, bias_1, kernel_2, _ = model.encoder.get_weights()
    model.encoder.set_weights([kernel_1, bias_1, 0.3 * kernel_2, np.array([0.2, 0.5])])
    model.compile()
    return model


@pytest.fixture(scope="module")
def truth(vae, images):
    """log p(x) by quadrature over z, and the ELBO by Gauss-Hermite quadrature over epsilon, for every row."""
    x = images.test.astype(np.float32) / 255.0
    z = np.linspace(-9, 9, 1001, dtype=np.float32)
    joint = vae.p(z[:, None, None]).log_prob(x).numpy() + stats.norm.logpdf(z)[:, None]
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    epsilon = np.tile(nodes.astype(np.float32)[:, None, None], [1, NUM_ROWS, 1])
    log_w = vae.log_weight(x, vae.q(x), epsilon).numpy()
    return np.log(np.trapezoid(np.exp(joint), z, axis=0)), weights / weights.sum() @ log_w
