"""The WAE against a second implementation of both of its algorithms, and what it has and has not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.steps import assert_weights, descend, in_float64
from zoo.parts import noise
from zoo.variational.wae import WAE

ROWS, SIZE, LATENTS = 6, 4, 2


def small(**arguments):
    keras.utils.set_random_seed(0)
    settings = {"data_shape": (2, 2, 1), "latent_size": LATENTS, "hidden_units": (), "discriminator_units": ()}
    return WAE(**{**settings, "regularizer_weight": 3.0, "cost_weight": 0.5, "seed": 3, **arguments})


def discrepancy(x, y):
    """By inverse multiquadratics, of all pairs."""

    def kernel(a, b):
        distances = tf.reduce_sum((a[:, None] - b[None]) ** 2, axis=2)
        return sum(C / (C + distances) for C in 2.0 * LATENTS * np.array([0.1, 0.2, 0.5, 1, 2, 5, 10]))

    within = sum(tf.reduce_sum(kernel(z, z) * (1.0 - np.eye(ROWS))) for z in (x, y)) / (ROWS * (ROWS - 1))
    return within - 2.0 * tf.reduce_mean(kernel(x, y))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [
    {"regularizer": "mmd"}, {"regularizer": "mmd", "data_shape": (4,)}, {"regularizer": "gan"},
    {"regularizer": "gan", "prior_trick": True},
])  # fmt: skip
def test_steps_of_a_second_implementation(arguments):
    """Pixels are squashed, points are not; the discriminator moves first, and the encoder sees what it became."""
    model, rng = small(**arguments), np.random.default_rng(0)
    weights = in_float64(model, 0.1)
    for t in range(2):
        x = rng.random([ROWS, *model.data_shape], np.float32)
        model.train_step(tf.constant(x))
        z = tf.cast(noise.normal(noise.key(3, t, 0, 0), [ROWS, LATENTS]), tf.float64)
        x = x.reshape(ROWS, SIZE).astype(np.float64)

        def encoded(x=x):
            return x @ weights[0][0] + weights[0][1]

        def D(z):
            kernel, bias = weights[1]
            log_prior = tf.reduce_sum(-0.5 * z**2, 1) - np.log(2 * np.pi) if model.prior_trick else 0.0
            return (z @ kernel + bias)[:, 0] + log_prior

        def discriminator(z=z):
            return -tf.math.log(tf.sigmoid(D(z))) - tf.math.log(1.0 - tf.sigmoid(D(encoded())))

        def autoencoder(x=x, z=z):
            output = encoded() @ weights[0][2] + weights[0][3]
            output = tf.sigmoid(output) if len(model.data_shape) == 3 else output
            gan = model.regularizer == "gan"
            regularizer = -tf.math.log(tf.sigmoid(D(encoded()))) if gan else discrepancy(encoded(), z)
            return 0.5 * tf.reduce_sum((x - output) ** 2, 1) + 3.0 * regularizer

        if model.regularizer == "gan":
            descend(0.1, (weights[1], discriminator))
        descend(0.1, (weights[0], autoencoder))
    assert_weights(model, weights, atol=1e-5)


@pytest.mark.slow
def test_nothing_is_drawn_round_a_sample_and_nothing_has_a_likelihood():
    model = small()
    assert not {"sample_mean", "log_prob"} & set(model.signatures()) and set(model.moves) == {"autoencoder"}
    x, seeds = np.random.default_rng(0).random([3, 2, 2, 1], np.float32), tf.range(3, dtype=tf.int64)
    np.testing.assert_array_equal(model.sample(seeds), model.decode(model.latent(seeds)))
    np.testing.assert_allclose(model.signatures()["reconstruct"][0](images=x)["images"], model.decode(model.q(x).z))
    served = tf.function(model.sample).get_concrete_function(tf.TensorSpec([None], tf.int64))
    assert served.output_shapes.as_list() == [None, 2, 2, 1]  # which an export asks for
    with pytest.raises(ValueError, match="prior_trick is for the discriminator"):
        small(prior_trick=True)
