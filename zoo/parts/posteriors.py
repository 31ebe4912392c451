"""Posteriors q(z|x): made for a minibatch from an encoder's output, drawn from by noise that is handed to them.

They own no weights. Each has

    noise              what one row of a draw takes: a nest of `noise.Noise`
    draw(noise)        (z, log q(z|x)), z [..., batch, size] and nats [..., batch]; None where no density is known

    encoding(seeds)    what is served of it, dict of [batch, size]: the mean and, of a Gaussian, the log-variance; where
                       there is no mean, a draw, row i by seeds[i] alone

and where they exist `mean()`, and the `log_prob(z)` of a density.
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

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

    def parts(self, sizes):
        """The Gaussians of successive parts of z, of these sizes, which are independent."""
        means, deviations = (tf.split(of, sizes, axis=-1) for of in (self.mean(), self.density.stddev()))
        return [Gaussian(tfd.Independent(tfd.Normal(*of), 1)) for of in zip(means, deviations, strict=True)]

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


def product_of_groups(q, label):
    """For each row the product of the Gaussian densities of all rows with its label, normalised: a Gaussian.

    Its precision is the sum of theirs, and its mean that of their means weighted by precision: the evidence
    of a group (Bouchacourt et al. 2018, arXiv:1705.08841). Rows of a label that no other has keep their own.

    Args:
        q: `Gaussian` with batch shape [batch].
        label: integers [batch], of any values.
    """
    same = tf.cast(tf.equal(label[:, None], label[None]), tf.float32)
    precision = 1.0 / q.density.variance()
    total = tf.matmul(same, precision)
    mean = tf.matmul(same, precision * q.mean()) / total
    return Gaussian(tfd.Independent(tfd.Normal(mean, tf.math.rsqrt(total)), 1))


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


class Implicit:
    """z = function(noise) [batch, size] of standard normal noise [batch, *shape], and nothing else is known of it."""

    def __init__(self, function, shape):
        self.function, self.noise = function, Noise("normal", tuple(shape))

    def draw(self, epsilon):
        return self.function(epsilon), None

    def encoding(self, seeds):
        return {"z": self.function(noise.of_rows(self.noise, seeds, noise.POSTERIOR))}
