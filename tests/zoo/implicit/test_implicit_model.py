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
    np.testing.assert_allclose(z.density.stddev(), np.full([N, 1], np.sqrt(1.0 - 1.0 / VARIANCE)), rtol=0.15)
