"""Steps of models as tests take them: in one loop of the graph, and a second time in float64."""

import numpy as np
import tensorflow as tf
from keras.optimizers import SGD, Adam
from keras.optimizers.schedules import CosineDecay


def train(model, data, num_steps, batch_size, step=None):
    """Takes `num_steps` on successive minibatches of the rows of `data`, a tensor or a tuple of them, over and over.

    `step` is a function of a minibatch, by default the model's `train_step`.
    """
    num_rows, step = len(tf.nest.flatten(data)[0]), step or model.train_step

    @tf.function
    def loop():
        for i in tf.range(num_steps):
            rows = (batch_size * i) % (num_rows - batch_size + 1) + tf.range(batch_size)
            step(tf.nest.map_structure(lambda x: tf.gather(x, rows), data))

    loop()


def train_by_adam(model, data, num_steps, batch_size, rate, step=None):
    """The same by Adam, whose rate falls from this one to 0."""
    model.compile({move: Adam(CosineDecay(rate, num_steps)) for move in model.moves}, jit_compile=False)
    train(model, data, num_steps, batch_size, step)


def in_float64(model, rate):
    """The weights of each move, a list of lists, of a model that is to descend at this rate from now on."""
    model.compile({move: SGD(rate) for move in model.moves}, jit_compile=False)
    return [[tf.Variable(w.numpy().astype(np.float64)) for w in model.weights_of(move)] for move in model.moves]


def descend(rate, *weights_and_losses):
    """One step of simultaneous gradient descent: pairs of a list of weights and a function that gives its loss."""
    gradients = []
    for weights, loss in weights_and_losses:
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss())
        gradients.append(tape.gradient(value, weights))
        assert all(np.abs(gradient).max() > 1e-6 for gradient in gradients[-1])
    for (weights, _), gradients_of_loss in zip(weights_and_losses, gradients, strict=True):
        for weight, gradient in zip(weights, gradients_of_loss, strict=True):
            weight.assign_sub(rate * gradient)


def assert_weights(model, expected, atol=1e-5, rtol=0.0):
    for move, theirs in zip(model.moves, expected, strict=True):
        for ours, other in zip(model.weights_of(move), theirs, strict=True):
            np.testing.assert_allclose(ours, other, atol=atol, rtol=rtol)
