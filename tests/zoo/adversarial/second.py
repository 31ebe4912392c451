"""Algorithm 1 of Goodfellow et al. 2014 a second time, in float64, and what else tests ask of adversarial games."""

import numpy as np
import tensorflow as tf

from tests.zoo.steps import assert_weights, descend, in_float64
from zoo.parts import noise

SHAPES = {"points": (3,), "images": (2, 2, 1)}
GENERATOR_OBJECTIVE = {  # what G descends, of D(G(z))
    "minimax": lambda d: tf.math.log(1 - d),
    "non_saturating": lambda d: -tf.math.log(d),
    "maximum_likelihood": lambda d: -d / (1 - d),
}


def assert_two_iterations(model, G, D, rate, batch_size=5):
    """The model's own agree with those of G(theta, z, *y) and D(theta, x, *y), by its minibatches and its noise."""
    k, objective = model.num_discriminator_steps, GENERATOR_OBJECTIVE[model.loss]
    theta_d, theta_g = in_float64(model, rate)

    def V(x, z, *y):
        return tf.math.log(D(theta_d, x, *y)) + tf.math.log(1 - D(theta_d, G(theta_g, z, *y), *y))

    def draw(key):
        shape = [batch_size, model.latent_size]
        z = noise.normal(key, shape) if model.prior == "normal" else 2 * noise.uniform(key, shape) - 1
        return z.numpy().astype(np.float64)

    rng = np.random.default_rng(0)
    for step in range(2):
        x = rng.uniform(-1, 1, [k * batch_size, *model.data_shape]).astype(np.float32)
        label = rng.integers(0, getattr(model, "num_classes", 1), k * batch_size)
        served = model.to_served(x) if model.data_range else x
        model.train_step((served, tf.constant(label)) if model.conditional else tf.constant(served))
        y = [np.eye(model.num_classes)[label]] if model.conditional else []
        minibatches = zip(*(np.split(a, k) for a in (x.reshape(len(x), -1).astype(np.float64), *y)), strict=True)
        *keys, last = [noise.key(model.seed, step, 0, i) for i in range(k + 1)]
        for key, (x, *y) in zip(keys, minibatches, strict=True):
            z = draw(key)
            descend(rate, (theta_d, lambda: -V(x, z, *y)))
        z = draw(last)
        descend(rate, (theta_g, lambda: objective(D(theta_d, G(theta_g, z, *y), *y))))
    assert_weights(model, (theta_d, theta_g))
    assert [optimizer.iterations for optimizer in model.optimizers.values()] == [2 * k, 2]
    assert model.batches_per_step == k and model.step == 2


def layers_of(network):
    """Of each layer its kind and the shape of its output, such as ("Dense", 10)."""
    return [(type(layer).__name__, *layer.output.shape[1:]) for layer in network.layers]


def assert_gradients(model, move, losses):
    """Every weight of a move has a gradient, all of them are finite, and some are not zero."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(losses()[move])
    gradients = tape.gradient(loss, model.weights_of(move))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients) and any(np.any(g) for g in gradients)
