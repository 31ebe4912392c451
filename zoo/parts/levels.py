"""Grey levels: probabilities of a pixel that has one of `num_levels` values, for the likelihoods p(x|z) of images.

A pixel x in [0, 1] is level k = round(n x), n = num_levels - 1. Probabilities of 0 ... n sum to one, and -log of one is
the length of a code for the pixel, as that of a density is not (Theis et al. 2016, arXiv:1511.01844).

    binomial              C(n, k) s(a)^k s(-a)^(n - k): of n trials k succeed; a is the logit of one, s the sigmoid
    poisson               r^k / k! over its sum over 0 ... n, log r = a: k photons, of no more than n
    discretized_logistic  s((x + h - m) / c) - s((x - h - m) / c), h = 1 / 2n, in which 0 reaches down to minus infinity
                          and 1 up to infinity (Kingma et al. 2016, arXiv:1606.04934; Salimans et al. 2017,
                          arXiv:1701.05517, equation 2); its scale c is exp(8 tanh(b / 8))
    categorical           exp(a_k) over its sum over 0 ... n

The parameters that a network gives, a, (m, b) and (a_0, ..., a_n), may be any numbers.
"""

import numpy as np
import tensorflow as tf
from scipy import special
from tensorflow_probability import distributions as tfd

LEVELS, PARTS = 256, 4096  # of 8 bits, and of the width of one


def within_levels(x, fraction=0.5):
    """8-bit pixels in [0, 1], float32, moved to this fraction of their level k, the interval (k, k + 1) / 256."""
    return (tf.round((LEVELS - 1) * x) + fraction) / LEVELS


def dequantized(x, uniform):
    """The same by uniform numbers in [0, 1), to the middle of one of 4096 parts of the level.

    float32 then holds the pixel and one minus it exactly, and neither is 0. (Theis et al. 2016, section 3.1.)
    """
    return within_levels(x, (tf.floor(PARTS * uniform) + 0.5) / PARTS)


def at_levels(x, num_levels):
    """Whether pixels x, uint8, are levels, as nearly as 8 bits can tell, and no two of their values the same level."""
    values, step = np.unique(x), 255.0 / (num_levels - 1)
    level = np.rint(values / step)
    return bool(np.all(np.abs(level * step - values) <= 0.5) and np.all(np.diff(level) > 0))


class Levels(tfd.Distribution):
    """Pixels in [0, 1] that have one of `num_levels` values, independent over the batch, each with its parameters.

    A subclass has `log_mass(level)`, log p of levels, float32, whose shape the batch's broadcasts with; and
    `num_parameters(num_levels)`, numbers in `parameters` [*batch, num_parameters]. Quantiles, and means but for the
    binomial's, look at all levels of all pixels and need memory for these; so do Poisson's and categorical scores.
    """

    def __init__(self, parameters, num_levels):
        self.given, self.n = tf.cast(parameters, tf.float32), num_levels - 1
        super().__init__(
            dtype=tf.float32, reparameterization_type=tfd.NOT_REPARAMETERIZED, validate_args=False,
            allow_nan_stats=False, parameters={"parameters": parameters, "num_levels": num_levels},
        )  # fmt: skip

    @staticmethod
    def num_parameters(num_levels):
        return 1

    def log_masses(self):
        """log p of all levels, [num_levels, *batch]."""
        level = tf.range(self.n + 1, dtype=tf.float32)
        return self.log_mass(tf.reshape(level, [-1, *[1] * len(self.batch_shape)]))

    def _log_prob(self, x):
        return self.log_mass(tf.clip_by_value(tf.round(self.n * x), 0.0, self.n))

    def _mean(self):
        return tf.tensordot(tf.range(self.n + 1, dtype=tf.float32) / self.n, tf.exp(self.log_masses()), 1)

    def _quantile(self, value):
        """The least pixel whose distribution function exceeds `value` in [0, 1)."""
        below = tf.cumsum(tf.exp(self.log_masses()), axis=0)[:-1] <= value
        return tf.reduce_sum(tf.cast(below, tf.float32), axis=0) / self.n

    def _batch_shape(self):
        return self.given.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.shape(self.given)[:-1]

    def _event_shape(self):
        return tf.TensorShape([])

    def _event_shape_tensor(self):
        return tf.constant([], tf.int32)


def table(values, level):
    """values[level], float32, of a function of levels that float32 could not compute exactly enough."""
    return tf.gather(tf.constant(values, tf.float32), tf.cast(level, tf.int32))


class Binomial(Levels):
    def log_mass(self, level):
        (a,), k = tf.unstack(self.given, axis=-1), np.arange(self.n + 1.0)
        log_combinations = special.gammaln(self.n + 1) - special.gammaln(k + 1) - special.gammaln(self.n - k + 1)
        of_trials = level * tf.math.log_sigmoid(a) + (self.n - level) * tf.math.log_sigmoid(-a)
        return table(log_combinations, level) + of_trials

    def _mean(self):
        return tf.sigmoid(self.given[..., 0])


class Poisson(Levels):
    def log_mass(self, level):
        (a,), k = tf.unstack(self.given, axis=-1), np.arange(self.n + 1.0)
        log_factorial = special.gammaln(k + 1)
        terms = a[..., None] * tf.constant(k, tf.float32) - tf.constant(log_factorial, tf.float32)
        return level * a - table(log_factorial, level) - tf.reduce_logsumexp(terms, axis=-1)


class DiscretizedLogistic(Levels):
    @staticmethod
    def num_parameters(num_levels):
        return 2

    def log_mass(self, level):
        m, b = tf.unstack(self.given, axis=-1)
        inverse_scale = tf.exp(-8.0 * tf.tanh(b / 8.0))
        upper, lower = ((level / self.n + h - m) * inverse_scale for h in (0.5 / self.n, -0.5 / self.n))
        # s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)) loses no digits, nor does 1 - exp(-w) = tanh(w / 2) / s(w), all of
        # whose operations other runtimes have. At an open end the factors are 1, but for the s of the other end.
        w = inverse_scale / self.n
        width = tf.math.log(tf.tanh(w / 2.0)) - tf.math.log_sigmoid(w)
        first, last = level == 0.0, level == self.n
        return (
            tf.where(last, 0.0, tf.math.log_sigmoid(upper))
            + tf.where(first, 0.0, tf.math.log_sigmoid(-lower))
            + tf.where(first | last, 0.0, width)
        )


class Categorical(Levels):
    @staticmethod
    def num_parameters(num_levels):
        return num_levels

    def log_mass(self, level):
        # TensorFlow's sparse cross-entropy checks shapes by an operation that a server is not to have.
        at = tf.one_hot(tf.cast(level, tf.int32), self.n + 1)
        return tf.reduce_sum(at * tf.nn.log_softmax(self.given), axis=-1)

    def log_masses(self):
        return tf.experimental.numpy.moveaxis(tf.nn.log_softmax(self.given), -1, 0)


FAMILIES = {
    "binomial": Binomial, "poisson": Poisson, "discretized_logistic": DiscretizedLogistic, "categorical": Categorical,
}  # fmt: skip
