"""Priors, Gaussians and likelihoods: densities from TensorFlow Probability, draws from `noise`.

TFP's own `sample(seed=...)` converts random bits in a way that differs between a graph and XLA, so it is not used.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.parts import levels, noise


class Prior(NamedTuple):
    """A prior p(z) over vectors.

    draw(key, shape): float32 draws of that shape, for training.
    rows(seeds, size): float32 [batch, size], row i a function of seeds[i] only (noise stream 0), for serving.
    density(size): the tfd distribution of one vector.
    """

    draw: Callable
    rows: Callable
    density: Callable


def logit(uniform):
    """The standard logistic number of a uniform one, which with one minus it is not 0 in float32."""
    return tf.math.log(uniform) - tf.math.log(1.0 - uniform)


def ring_of_modes(num_modes, radius=4.0, std=0.5):
    """The `Prior` that mixes `num_modes` Gaussians N(m_k, std^2 I), equally likely, m_k on a circle of z_1 and z_2.

    A generator of few modes need not tear apart what a prior of one piece holds together, and paint what lies between
    (with means that are learned: Gurumurthy et al. 2017, arXiv:1706.02071, DeLiGAN).

    Its `draw(key, shape, label)` takes labels, integers [batch], too: row i is of mode label[i], or of any if that is
    negative.
    """
    angles = np.float32(2.0 * math.pi / num_modes) * np.arange(num_modes, dtype=np.float32)

    def means(size):
        return np.pad(radius * np.stack([np.cos(angles), np.sin(angles)], axis=1), [(0, 0), (0, size - 2)])

    def placed(epsilon, label=None):
        """Draws [..., size] by standard normal noise [..., size + 1], whose last number chooses a mode."""
        size = epsilon.shape[-1] - 1
        share = 0.5 + 0.5 * tf.math.erf(math.sqrt(0.5) * epsilon[..., -1])  # uniform; of the largest it rounds to 1
        mode = tf.minimum(tf.cast(num_modes * share, tf.int64), num_modes - 1)
        if label is not None:
            mode = tf.where(label < 0, mode, tf.cast(label, tf.int64))
        return tf.gather(means(size), mode) + std * epsilon[..., :-1]

    def density(size):
        modes = tfd.Independent(tfd.Normal(means(size), std), 1)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(num_modes)), modes)

    def draw(key, shape, label=None):
        *leading, size = shape
        epsilon = noise.normal(key, [*leading, size + 1])
        return placed(tf.ensure_shape(epsilon, [None] * len(leading) + [size + 1]), label)

    return Prior(draw, lambda seeds, size: placed(noise.normal_rows(seeds, size + 1)), density)


PRIORS = {
    "normal": Prior(noise.normal, noise.normal_rows, lambda size: tfd.Independent(tfd.Normal(tf.zeros(size), 1.0), 1)),
    "uniform": Prior(  # on (-1, 1), as in Radford et al. 2015
        lambda key, shape: 2.0 * noise.uniform(key, shape) - 1.0,
        lambda seeds, size: 2.0 * noise.uniform_rows(seeds, size) - 1.0,
        lambda size: tfd.Independent(tfd.Uniform(-tf.ones(size), 1.0), 1),
    ),
    "logistic": Prior(
        lambda key, shape: logit(noise.uniform(key, shape)),
        lambda seeds, size: logit(noise.uniform_rows(seeds, size) + 2.0**-24),  # of multiples of 2**-23
        lambda size: tfd.Independent(tfd.Logistic(tf.zeros(size), 1.0), 1),
    ),
    "ring": ring_of_modes(10),
}
PriorName = Literal[tuple(PRIORS)]


def check_prior(name, size):
    """Raises ValueError for a prior that vectors of this size can not have."""
    if name == "ring" and size < 2:
        raise ValueError("the prior ring lies in two dimensions: latent_size must be at least 2, not 1.")


def gaussian(parameters, event_ndims=1, variance=0.0):
    """The diagonal Gaussian whose mean and raw log-variance are the two halves of `parameters` along the last axis.

    With a `variance`, which is that of all numbers then, they are the mean alone. The log-variance is 8 tanh(raw / 8),
    within (-8, 8): without a floor, the likelihood of a pixel that never changes has no maximum, and unlike a clipped
    value this one keeps a gradient, in float32 as far as a raw value of 60.
    """
    if variance:
        return tfd.Independent(tfd.Normal(tf.cast(parameters, tf.float32), math.sqrt(variance)), event_ndims)
    mean, raw = tf.split(tf.cast(parameters, tf.float32), 2, axis=-1)
    return tfd.Independent(tfd.Normal(mean, tf.exp(4.0 * tf.tanh(raw / 8.0))), event_ndims)


def bernoulli(logits, event_ndims=1):
    """Independent Bernoulli variables; a grey value in [0, 1] is scored by its cross-entropy.

    Probabilities are float64 where the logits are, else float32.
    """
    logits = logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)
    # Of TFP's own dtype, int32, a NumPy array of grey values would be truncated to zeros.
    return tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float32), event_ndims)


class Likelihood(NamedTuple):
    """A family p(x|z) of distributions of data.

    support: what it gives a probability or a density: "binary" numbers, "levels" of grey, or "reals"; None, nothing.
    num_parameters: int, numbers that a decoder gives for each number in x, side by side on the last axis.
    density(parameters, event_ndims): the tfd distribution of x with these parameters.
    rows(density, seeds, stream): a draw of it, float32 [batch, ...], row i a function of seeds[i] only, for serving.
    quantile(density, uniform): a draw of it, float32, by uniform numbers in [0, 1) of its shape; None of reals.
    """

    support: Literal["binary", "levels", "reals"] | None
    num_parameters: int
    density: Callable
    rows: Callable
    quantile: Callable | None = None


STREAM = noise.stream(noise.LIKELIHOOD)


def of_levels(family, num_levels):
    """The likelihood of a class of `zoo/parts/levels.py`."""
    size = family.num_parameters(num_levels)

    def density(parameters, event_ndims=1):
        by_parameter = tf.concat([tf.shape(parameters)[:-1], [size, parameters.shape[-1] // size]], axis=0)
        of_each = tf.linalg.matrix_transpose(tf.reshape(parameters, by_parameter))
        return tfd.Independent(family(of_each, num_levels), event_ndims)

    def quantile(p, uniform):
        return p.distribution.quantile(uniform)

    def rows(p, seeds, stream=STREAM):
        return quantile(p, noise.uniform_rows(seeds, p.event_shape, stream))

    return Likelihood("levels", size, density, rows, quantile)


def of_reals(variance):
    density = functools.partial(gaussian, variance=variance)

    def rows(p, seeds, stream=STREAM):
        return p.mean() + p.stddev() * noise.normal_rows(seeds, p.event_shape, stream)

    return Likelihood("reals", 1 if variance else 2, density, rows)


def point(squash=tf.identity):
    """No likelihood, but a decoder without noise: all of p(x|z) is at x = squash(parameters), which has no density."""

    def density(parameters, event_ndims=1):
        # Not a `tfd.Deterministic`: its mean has lost the shape that a graph knows, and an export asks for.
        return tfd.Independent(tfd.Normal(squash(tf.cast(parameters, tf.float32)), 0.0), event_ndims)

    return Likelihood(None, 1, density, lambda p, seeds: p.mean())


def bits_of_rows(p, seeds, stream=STREAM):
    return noise.bernoulli_rows(seeds, p.mean(), stream)


def bits(p, uniform):
    return tf.cast(tf.cast(uniform, p.mean().dtype) < p.mean(), tf.float32)


BERNOULLI = Likelihood("binary", 1, bernoulli, bits_of_rows, bits)
LikelihoodName = Literal["bernoulli", "gaussian", *levels.FAMILIES]


def likelihood(name, num_levels=256, variance=0.0):
    """The `Likelihood` of a name.

    Args:
        name: "bernoulli", "gaussian", or a key of `levels.FAMILIES`.
        num_levels: int >= 2, the grey levels of these.
        variance: float, the variance of every number under a Gaussian; 0 for one each, which the decoder gives.

    Raises:
        ValueError: for fewer than two levels.
    """
    if num_levels < 2:
        raise ValueError(f"num_levels must be at least 2, not {num_levels}.")
    if name in levels.FAMILIES:
        return of_levels(levels.FAMILIES[name], num_levels)
    return of_reals(variance) if name == "gaussian" else BERNOULLI
