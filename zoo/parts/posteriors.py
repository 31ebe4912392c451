"""Posteriors q(z|x): made for a minibatch from an encoder's output, drawn from by noise that is handed to them.

They own no weights. Each has

    noise              what one row of a draw takes: a nest of `noise.Noise`
    draw(noise)        (z, log q(z|x)), z [..., batch, size] and nats [..., batch]; None where no density is known

    encoding(seeds)    what is served of it, dict of [batch, size]: the mean and, of a Gaussian, the log-variance; where
                       there is no mean, a draw, row i by seeds[i] alone

and where they exist `mean()`, and the `log_prob(z)` of a density.
"""

import math

import tensorflow as tf

from zoo.parts import distributions, noise
from zoo.parts.noise import Noise


class Gaussian:
    """N(mu, diag sigma^2), of which z = mu + sigma epsilon is a draw (Kingma and Welling 2014, section 2.4).

    Of a `tfd.Independent` of a `tfd.Normal`, with batch shape [batch], or [] where it does not depend on x.
    """

    def __init__(self, density):
        self.density, self.mean, self.log_prob = density, density.mean, density.log_prob
        self.noise = Noise("normal", tuple(density.event_shape))

    @classmethod
    def of(cls, parameters):
        """From an encoder's output [batch, 2 size]: means and raw log-variances as for `distributions.gaussian`."""
        return cls(distributions.gaussian(parameters))

    def draw(self, epsilon):
        z = self.mean() + self.density.stddev() * epsilon
        return z, self.log_prob(z)

    def encoding(self, seeds=None):
        return {"z": self.mean(), "z_log_var": tf.math.log(self.density.variance())}

    def kl(self, prior):
        """KL(q || N(0, I)) = 1/2 sum(sigma^2 + mu^2 - 1 - log sigma^2), nats [batch]; ValueError for another prior.

        Kingma and Welling 2014, appendix B.
        """
        if prior is not distributions.PRIORS["normal"]:
            raise ValueError("the divergence of a Gaussian posterior has a closed form for the prior N(0, I) only.")
        variance = self.density.variance()
        return 0.5 * tf.reduce_sum(variance + tf.square(self.mean()) - 1.0 - tf.math.log(variance), axis=-1)


class Deterministic:
    """z [batch, size] is a function of x: all noise that it takes is none."""

    noise = ()

    def __init__(self, z):
        self.z = z

    def draw(self, epsilon=()):
        return self.z, None

    def mean(self):
        return self.z

    def encoding(self, seeds=None):
        return {"z": self.z}


class Mixture:
    """Of as many Gaussians as there are `means` [M, batch, size], equally likely, all of one standard deviation."""

    def __init__(self, means, deviation):
        self.means, self.deviation = means, deviation
        self.noise = (Noise("uniform", ()), Noise("normal", (means.shape[-1],)))

    def draw(self, noise):
        u, epsilon = noise
        num = tf.shape(self.means)[0]
        component = tf.one_hot(tf.cast(u * tf.cast(num, tf.float32), tf.int32), num)  # u < 1
        z = tf.einsum("...bm,mbs->...bs", component, self.means) + self.deviation * epsilon
        return z, self.log_prob(z)

    def log_prob(self, z):
        distance = (z[..., None, :, :] - self.means) / self.deviation  # [..., M, batch, size]
        log_density = -0.5 * tf.square(distance) - math.log(self.deviation * math.sqrt(2.0 * math.pi))
        num = tf.cast(tf.shape(self.means)[0], tf.float32)
        return tf.reduce_logsumexp(tf.reduce_sum(log_density, axis=-1), axis=-2) - tf.math.log(num)


class Implicit:
    """z = function(noise) [batch, size] of standard normal noise [batch, *shape], and nothing else is known of it."""

    def __init__(self, function, shape):
        self.function, self.noise = function, Noise("normal", tuple(shape))

    def draw(self, epsilon):
        return self.function(epsilon), None

    def encoding(self, seeds):
        return {"z": self.function(noise.of_rows(self.noise, seeds, noise.POSTERIOR))}
