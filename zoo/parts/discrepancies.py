"""How different two minibatches are, without an adversary: moments, kernels, distances.

    x, y    float32 [n, ...] and [m, ...], rows of two distributions P and Q; each row counts as one vector

Each function returns a scalar that is differentiable in both. It is zero in expectation where P and Q are equal (the
distance of moments is above it), so that a minibatch of equal distributions can give less than zero. What takes pairs
of distinct rows is zero, and has no gradient, where there are none: of a minibatch of one row.
"""

import tensorflow as tf
import tensorflow_probability as tfp


def flat(x):
    x = tf.cast(x, tf.float32)
    return tf.reshape(x, [tf.shape(x)[0], -1])


def moments(x, y, statistics="mean"):
    """(E X - E Y)^2, the mean over all elements; for "covariance", plus the same of the covariance matrices.

    A sum of two means, so that the d elements of the means count as much as the d^2 of the matrices. Of n rows, the
    matrix is their sum of squares over n.
    """
    x, y = flat(x), flat(y)
    difference = tf.reduce_mean(tf.square(tf.reduce_mean(x, axis=0) - tf.reduce_mean(y, axis=0)))
    if statistics == "covariance":
        difference += tf.reduce_mean(tf.square(tfp.stats.covariance(x) - tfp.stats.covariance(y)))
    return difference


def squared_distances(x, y):
    """|x_i - y_j|^2, [n, m], not less than 0."""
    center = tf.stop_gradient(tf.reduce_mean(y, axis=0))  # an offset would cost digits, and distances do not see it
    x, y = x - center, y - center
    squares = [tf.reduce_sum(tf.square(z), axis=1) for z in (x, y)]
    products = tf.matmul(x, y, transpose_b=True)
    return tf.maximum(squares[0][:, None] + squares[1][None] - 2.0 * products, 0.0)


def excess(h, x, y):
    """E h(X, X') + E h(Y, Y') - 2 E h(X, Y), over distinct pairs: unbiased (Gretton et al. 2012, JMLR 13, lemma 6).

    h is a function of squared distances [n, m], elementwise.
    """
    x, y = flat(x), flat(y)
    there_are_pairs = tf.minimum(tf.shape(x)[0], tf.shape(y)[0]) > 1

    def within(x):
        n, values = tf.cast(tf.shape(x)[0], tf.float32), h(squared_distances(x, x))
        return (tf.reduce_sum(values) - tf.linalg.trace(values)) / tf.maximum(n * (n - 1.0), 1.0)

    distance = within(x) + within(y) - 2.0 * tf.reduce_mean(h(squared_distances(x, y)))
    return tf.where(there_are_pairs, distance, 0.0)


def mmd(x, y, bandwidths):
    """The square of the maximum mean discrepancy, for the mean of Gaussian kernels exp(-|x - y|^2 / (2 b^2)).

    Gretton et al. 2012; a mixture of bandwidths b, float32 [k] in units of the data, as in Li et al. 2015
    (arXiv:1502.02761).
    """
    squares = [tf.maximum(2.0 * tf.square(b), 1e-12) for b in tf.unstack(bandwidths)]  # rows can all be equal
    return excess(lambda d: tf.reduce_mean([tf.exp(-d / square) for square in squares], 0), x, y)


SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd_inverse_multiquadratics(x, y, scales=SCALES):
    """The square of the maximum mean discrepancy, for a sum of kernels C / (C + |x - y|^2) whose tails are heavy.

    C = 2 d s, for rows of length d and each s of `scales`: 2 d is E|x - y|^2 of standard normal rows (Tolstikhin et al.
    2018, section 4, with the scales of the authors' code).
    """
    size = 2.0 * flat(x).shape[1]
    return excess(lambda d: tf.add_n([size * s / (size * s + d) for s in scales]), x, y)


def energy_distance(x, y):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo 2013, Energy statistics).

    Twice the excess of the energy score of samples x over the score of the truth, a proper scoring rule (Gneiting and
    Raftery 2007, equation 22).
    """
    return excess(lambda d: -tf.sqrt(tf.maximum(d, 1e-12)), x, y)  # where d is 0, so is the gradient
