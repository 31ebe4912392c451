"""The adversarial autoencoder against the value of its game in closed form and a second implementation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.zoo.steps import assert_weights, descend, in_float64, train_by_adam
from zoo.parts import noise
from zoo.variational.aae import AAE

ROWS, SIZE, LATENTS = 6, 4, 2


def small(**arguments):
    keras.utils.set_random_seed(0)
    settings = {"data_shape": (SIZE,), "latent_size": LATENTS, "hidden_units": (), "discriminator_units": ()}
    return AAE(**{**settings, "likelihood": "gaussian", "likelihood_variance": 1.0, "seed": 3, **arguments})


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_value_of_the_game_where_the_discriminator_is_optimal(shift):
    """2 log 2 - 2 JS(q(z), p(z)), which is 2 log 2 at q(z) = p(z): with data N(0, 1) the encoder x + shift is known."""
    model = small(data_shape=(1,), latent_size=1)
    model.encoder.set_weights([np.ones([1, 1]), np.full(1, shift)])
    model.D = lambda z, y, training=True: (0.5 * (z - shift) ** 2 - 0.5 * z**2)[:, 0]  # log p(z) - log q(z)
    x = tf.constant(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None], tf.float32)
    losses = model.discriminator_losses(x, [], x, ())
    grid = np.linspace(-12, 13, 100_001)
    p, q = stats.norm.pdf(grid), stats.norm.pdf(grid, shift)
    divergence = np.trapezoid(0.5 * (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))), grid)
    np.testing.assert_allclose(np.mean(losses["discriminator"]), 2 * np.log(2) - 2 * divergence, atol=1e-4)
    np.testing.assert_allclose(np.mean(losses["divergence"]), divergence, atol=1e-4)
    assert (divergence < 1e-12) == (shift == 0.0)


@pytest.mark.slow
def test_a_trained_discriminator_finds_nothing_where_latents_are_the_prior():
    model = small(data_shape=(2,), discriminator_units=(16,))
    model.encoder.set_weights([np.eye(2), np.zeros(2)])
    x = tf.constant(np.random.default_rng(0).normal(size=[20_000, 2]), tf.float32)

    def step(x):
        _, y, z, epsilon = model.minibatch(x)
        model.minimize(lambda: model.discriminator_losses(x, y, z, epsilon))
        model.step.assign_add(1)

    train_by_adam(model, x, 100, 200, 1e-2, step)
    with model.drawing(noise.EVALUATION, 0):
        _, y, z, epsilon = model.minibatch(x)
    np.testing.assert_allclose(
        np.mean(model.discriminator_losses(x, y, z, epsilon)["discriminator"]), 2 * np.log(2), atol=5e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize("posterior", ["deterministic", "gaussian"])
@pytest.mark.parametrize("prior_classes", [0, 3])
def test_steps_of_a_second_implementation(posterior, prior_classes):
    """Reconstruction, then the discriminator, then the encoder again, each after the updates before it."""
    model, rng = small(posterior=posterior, prior_classes=prior_classes), np.random.default_rng(0)
    weights = in_float64(model, 0.1)
    autoencoder, discriminator, _ = weights
    encoder = weights[2] = autoencoder[:2]  # the same
    label = np.array([0, 2, -1, 1, 1, 0])
    for t in range(2):
        x = rng.random([ROWS, SIZE], np.float32)
        model.train_step((tf.constant(x), tf.constant(label)) if prior_classes else tf.constant(x))
        first = noise.normal(noise.key(3, t, 0, 0), [ROWS, LATENTS])
        second = noise.key(3, t, 0, 1)
        z = model.latent_prior.draw(second, [ROWS, LATENTS], *([label] if prior_classes else []))
        x, epsilon, z = (tf.cast(v, tf.float64) for v in (x, first, z))
        y = np.eye(4)[np.where(label < 0, 3, label)] if prior_classes else np.zeros([ROWS, 0])

        def encoded(x=x, epsilon=epsilon):
            output = x @ encoder[0] + encoder[1]
            if posterior == "deterministic":
                return output
            return output[:, :LATENTS] + tf.exp(4.0 * tf.tanh(output[:, LATENTS:] / 8.0)) * epsilon

        def D(z, y=y):
            return (tf.concat([z, y], 1) @ discriminator[0] + discriminator[1])[:, 0]

        def reconstruction(x=x):
            output = encoded() @ autoencoder[2] + autoencoder[3]
            return tf.reduce_sum(0.5 * (x - output) ** 2 + 0.5 * np.log(2 * np.pi), 1)

        descend(0.1, (autoencoder, reconstruction))
        descend(0.1, (discriminator, lambda z=z: tf.nn.softplus(-D(z)) + tf.nn.softplus(D(encoded()))))
        descend(0.1, (encoder, lambda: tf.nn.softplus(-D(encoded()))))
    assert_weights(model, weights, atol=1e-5)


@pytest.mark.slow
def test_what_it_takes_and_serves():
    """A posterior without a density gives no bound; labels are those of the prior's modes, or -1."""
    assert ("log_prob" in small().signatures(), "log_prob" in small(posterior="gaussian").signatures()) == (False, True)
    with pytest.raises(ValueError, match="lie on a ring"):
        small(latent_size=1, prior_classes=10)
    model = small(prior_classes=3)
    model.compile()
    x = np.zeros([2, SIZE], np.float32)
    assert np.isfinite(model.test_on_batch(x, np.array([-1, 2]))).all()
    with pytest.raises(ValueError, match="-1 to 2"):
        model.train_on_batch(x, np.array([3, 0]))
