"""Priors, Gaussians and likelihoods: densities from TensorFlow Probability, draws from `noise`.

TFP's own `sample(seed=...)` converts random bits in a way that differs between a graph and XLA, so it is not used.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.parts import noise


class Prior(NamedTuple):
    """A factorised prior p(z) over vectors.

    draw(key, shape): float32 draws of that shape, for training.
    rows(seeds, size): float32 [batch, size], row i a function of seeds[i] only (noise stream 0), for serving.
    density(size): the tfd distribution of one vector.
    """

    draw: Callable
    rows: Callable
    density: Callable


PRIORS = {
    "normal": Prior(noise.normal, noise.normal_rows, lambda size: tfd.Independent(tfd.Normal(tf.zeros(size), 1.0), 1)),
    "uniform": Prior(  # on (-1, 1), as in Radford et al. 2015
        lambda key, shape: 2.0 * noise.uniform(key, shape) - 1.0,
        lambda seeds, size: 2.0 * noise.uniform_rows(seeds, size) - 1.0,
        lambda size: tfd.Independent(tfd.Uniform(-tf.ones(size), 1.0), 1),
    ),
}
PriorName = Literal[tuple(PRIORS)]


def gaussian(parameters, event_ndims=1):
    """The diagonal Gaussian whose mean and raw log-variance are the two halves of `parameters` along the last axis.

    The log-variance is 8 tanh(raw / 8), within (-8, 8): without a floor, the likelihood of a pixel that never changes
    has no maximum, and unlike a clipped value this one always has a gradient.
    """
    mean, raw = tf.split(tf.cast(parameters, tf.float32), 2, axis=-1)
    return tfd.Independent(tfd.Normal(mean, tf.exp(4.0 * tf.tanh(raw / 8.0))), event_ndims)


def bernoulli(logits, event_ndims=1):
    """Independent Bernoulli variables; a grey value in [0, 1] is scored by its cross-entropy."""
    # Of TFP's own dtype, int32, a NumPy array of grey values would be truncated to zeros.
    return tfd.Independent(tfd.Bernoulli(logits=tf.cast(logits, tf.float32), dtype=tf.float32), event_ndims)


class Likelihood(NamedTuple):
    """A family p(x|z) of distributions of data.

    num_parameters: int, numbers that a decoder gives for each number in x, side by side on the last axis.
    density(parameters, event_ndims): the tfd distribution of x with these parameters.
    rows(density, seeds): a draw of it, float32 [batch, ...], row i a function of seeds[i] only, for serving.
    """

    num_parameters: int
    density: Callable
    rows: Callable


STREAM = noise.stream(noise.LIKELIHOOD)
LIKELIHOODS = {
    "bernoulli": Likelihood(1, bernoulli, lambda p, seeds: noise.bernoulli_rows(seeds, p.mean(), STREAM)),
    "gaussian": Likelihood(
        2, gaussian, lambda p, seeds: p.mean() + p.stddev() * noise.normal_rows(seeds, p.event_shape, STREAM)
    ),
}
LikelihoodName = Literal[tuple(LIKELIHOODS)]
