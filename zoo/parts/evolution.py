"""Gradients of functions that can not be differentiated, by evolution strategies, or variational optimization.

    J(theta) = E[f(theta + s eps)],   eps ~ N(0, I)
    grad J   = E[eps f(theta + s eps)] / s = E[eps (f(theta + s eps) - f(theta - s eps))] / 2 s

(Wierstra et al. 2014, Natural evolution strategies; Staines and Barber 2012, Variational optimization; pairs: Salimans
et al. 2017, arXiv:1703.03864, section 2). The pairs are antithetic: a constant in f, and what is even in eps, such as
curvature, make no noise. J is smooth even if f is a step, and no less than the minimum of f; of a linear or quadratic f
it has the gradient.
"""

import tensorflow as tf


def directions(epsilon, theta):
    """Noise [pairs, size] as a list of tensors [pairs, *shape], one for each of `theta`, whose sizes add up to it."""
    sizes = [weight.shape.num_elements() for weight in theta]
    parts = tf.split(epsilon, sizes, axis=1)
    return [tf.reshape(part, [-1, *weight.shape]) for part, weight in zip(parts, theta, strict=True)]


def gradient(f, theta, epsilon, scale):
    """The estimate of grad J by antithetic pairs, a list of tensors as `theta`.

    Args:
        f: function of tensors like those of `theta`, one argument each, that returns a scalar.
        theta: list of tensors of static shapes.
        epsilon: standard normal noise [pairs, size], size being that of all of theta.
        scale: float > 0, s.
    """
    epsilon = directions(epsilon, theta)

    def slope(epsilon):  # along one direction
        ends = [f(*(w + sign * scale * e for w, e in zip(theta, epsilon, strict=True))) for sign in (1.0, -1.0)]
        return (ends[0] - ends[1]) / (2.0 * scale)

    slopes = tf.vectorized_map(slope, epsilon)
    return [tf.tensordot(slopes, e, 1) / tf.cast(tf.shape(e)[0], e.dtype) for e in epsilon]
