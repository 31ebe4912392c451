"""FactorVAE against a second implementation, and the total correlation of Gaussians in closed form."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.steps import assert_weights, descend, in_float64, train_by_adam
from zoo import FactorVAE
from zoo.parts import noise


@pytest.mark.slow
def test_steps_of_a_second_implementation():
    """Two steps of SGD, simultaneous, written out in float64."""
    model = FactorVAE(
        data_shape=(2, 2, 1), latent_size=2, hidden_units=(5,), activation="tanh", gamma=3.0, discriminator_units=(4,),
        seed=3,
    )  # fmt: skip
    weights, psi = in_float64(model, 0.1)
    rng = np.random.default_rng(0)
    for step in range(2):
        x = rng.random([12, 2, 2, 1], np.float32)
        model.train_step(tf.constant(x))
        epsilon = [noise.normal(noise.key(3, step, 0, i), [6, 2]).numpy().astype(np.float64) for i in range(2)]
        order = noise.uniform(noise.key(3, step, 0, 2), [6, 2]).numpy().argsort(0)
        assert len(np.unique(order, axis=1)[0]) == 2  # of each column its own
        flat = x.reshape(12, 4).astype(np.float64)

        def code(rows, e):
            a, b, c, d = weights[:4]
            out = tf.tanh(rows @ a + b) @ c + d
            mean, log_variance = out[:, :2], 8 * tf.tanh(out[:, 2:] / 8)
            return mean + tf.exp(log_variance / 2) * e, mean, log_variance

        def D(z):
            a, b, c, d = psi
            return (tf.nn.leaky_relu(z @ a + b, 0.2) @ c + d)[:, 0]

        def loss():
            z, mean, log_variance = code(flat[:6], epsilon[0])
            out = tf.tanh(z @ weights[4] + weights[5]) @ weights[6] + weights[7]
            reconstruction = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(flat[:6], out), 1)
            kl = 0.5 * tf.reduce_sum(tf.exp(log_variance) + mean**2 - 1 - log_variance, 1)
            return reconstruction + kl + 3.0 * D(z)

        def loss_of_D():
            z, other = code(flat[:6], epsilon[0])[0], code(flat[6:], epsilon[1])[0].numpy()
            permuted = np.take_along_axis(other, order, axis=0)
            return tf.nn.softplus(-D(z)) + tf.nn.softplus(D(permuted))

        descend(0.1, (weights, loss), (psi, loss_of_D))
    assert_weights(model, [weights, psi], atol=2e-6, rtol=1e-5)


@pytest.mark.slow
def test_discriminator_of_quadratic_features_finds_the_total_correlation_of_gaussians(rho=0.7):
    """log q(z) / prod q(z_j) is quadratic in z, and its mean -log(1 - rho^2) / 2."""
    model = FactorVAE(data_shape=(2,), latent_size=2, hidden_units=(), likelihood="gaussian", discriminator_units=())
    quadratic = keras.layers.Lambda(lambda z: tf.stack([z[:, 0] ** 2, z[:, 0] * z[:, 1], z[:, 1] ** 2], axis=1))
    model.discriminator = keras.Sequential([keras.Input((2,)), quadratic, keras.layers.Dense(1)])
    model.encoder.set_weights([np.eye(2, 4, dtype=np.float32), np.array([0, 0, -40, -40], np.float32)])  # z = x
    x = np.random.default_rng(0).multivariate_normal([0, 0], [[1, rho], [rho, 1]], 4000).astype(np.float32)

    def step(x):
        x, other = tf.split(x, 2)
        model.minimize(lambda: {"discriminator": model.losses(x, other)["discriminator"]})
        model.step.assign_add(1)

    train_by_adam(model, tf.constant(x), 300, 1000, 0.1, step)
    found = model.losses(tf.constant(x), tf.constant(x), training=False)["total_correlation"]
    assert abs(np.mean(found) + 0.5 * np.log(1 - rho**2)) < 0.03


def test_permutation_keeps_the_marginals_and_breaks_the_ties():
    model = FactorVAE(data_shape=(2,), latent_size=3, hidden_units=(), likelihood="gaussian", discriminator_units=())
    z = tf.tile(tf.range(500.0)[:, None], [1, 3])
    permuted = tf.function(model.permuted, jit_compile=True)(z).numpy()
    np.testing.assert_array_equal(np.sort(permuted, axis=0), z)
    assert np.abs(np.corrcoef(np.column_stack([z[:, 0], permuted]).T) - np.eye(4)).max() < 4 / np.sqrt(500)
