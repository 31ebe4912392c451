"""Posteriors q(z|x): made for a minibatch from an encoder's output, drawn from by noise that is handed to them.

They own no weights. Each has

    noise              what one row of a draw takes: a nest of `noise.Noise`
    draw(noise)        (z, log q(z|x)), z [..., batch, size] and nats [..., batch]; None where no density is known. What
                       draws an auxiliary variable a, too, returns log q(a, z|x) - log r(a|x, z) instead, for a density
                       r of its choice: the mean of p(x, z) over the exponential of that is p(x) all the same
    encoding(seeds)    what is served of it, dict of [batch, size]: the mean and, of a Gaussian, the log-variance; where
                       there is no mean, a draw, row i by seeds[i] alone

and where they exist `mean()`, the `log_prob(z)` of a density, and its divergence `kl(prior)`, nats [batch].
"""

import math

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.parts import distributions, networks, noise
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


class ByDraws:
    """What `draw` makes of noise, and nothing else is known of it."""

    def __init__(self, draw, noise):
        self.draw, self.noise = draw, noise

    def encoding(self, seeds):
        return {"z": self.draw(noise.of_rows(self.noise, seeds, noise.POSTERIOR))[0]}


class Flow(ByDraws):
    """z = f(z_0) of a draw z_0 from a Gaussian, f being invertible: log q(z) = log q_0(z_0) - log |det df/dz_0|.

    Of a posterior `base` with a density, and the `forward` of a `flows.Bijection`.
    """

    def __init__(self, base, forward):
        def draw(epsilon):
            z, log_q = base.draw(epsilon)
            z, log_det = forward(z)
            return z, log_q - log_det

        super().__init__(draw, base.noise)


class Implicit(ByDraws):
    """z = function(noise) [batch, size] of standard normal noise [batch, *shape], without a density that is known."""

    def __init__(self, function, shape):
        super().__init__(lambda epsilon: (function(epsilon), None), Noise("normal", tuple(shape)))


class BeliefNetwork:
    """Layers s_1 ... s_L of zeros and ones, each of independent units given the layer before: a sigmoid belief network.

    p(s_1 ... s_L) = prod_l Bernoulli(s_l; sigmoid(f_l(s_{l-1}))). A draw is a tuple of the layers [..., batch, *shape],
    and log-probabilities are in nats [..., batch]. (Neal 1992, Connectionist learning of belief networks.)

    Args:
        logits: those of s_1, [batch, size], or [size] where they depend on nothing: f_1.
        maps: list of networks f_2 ... f_L, from vectors [batch, size] to the logits [batch, *shape] of the next layer.
    """

    def __init__(self, logits, maps):
        self.logits, self.maps = logits, maps
        shapes = [(logits.shape[-1],), *(tuple(f.output_shape[1:]) for f in maps)]
        self.noise = tuple(Noise("uniform", shape) for shape in shapes)

    def layer(self, i, before):
        """The distribution of layer i, counted from 0, given the layers before it."""
        logits = networks.over_leading_axes(self.maps[i - 1], before[i - 1]) if i else self.logits
        return distributions.bernoulli(logits, event_ndims=len(self.noise[i].shape))

    def draw(self, uniforms):
        """As of any posterior; by the noise of the first layers alone, these."""
        states, log_p = [], 0.0
        for i, uniform in enumerate(uniforms):
            p = self.layer(i, states)
            states.append(tf.cast(uniform < p.mean(), tf.float32))
            log_p += p.log_prob(states[i])
        return tuple(states), log_p

    def log_prob(self, states):
        return tf.add_n([self.layer(i, states).log_prob(state) for i, state in enumerate(states)])

    def mean(self):
        """E[s_1], which is exact, and of each further layer its mean given that of the layer before, which is not."""
        means = []
        for i in range(len(self.noise)):
            means.append(self.layer(i, means).mean())
        return tuple(means)

    def encoding(self, seeds=None):
        """The means, as `z` of the first layer and `h2`, `h3`, ... of the others."""
        first, *others = self.mean()
        return {"z": first, **{f"h{i}": mean for i, mean in enumerate(others, start=2)}}
