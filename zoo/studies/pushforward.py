"""An implicit model whose density is known: a function of Gaussian noise.

    x = f(u),   u = mu + sigma h,   h ~ N(0, 1)

Objective, maximised over mu and sigma (Devroye 1986, theorem 4.1, where f increases and so has an inverse):

    log p(x) = log N(f^-1(x); mu, sigma^2) + log (f^-1)'(x)

Where f is not invertible it still is known, because the set {u: f(u) <= x} is:

    p(x) = d/dx Pr(f(u) <= x) = sum over the ends u of this set  N(u; mu, sigma^2) / |f'(u)|

    exp        (-oo, log x]          log-normal
    square     [-sqrt x, sqrt x]     for mu = 0 chi-squared with one degree of freedom, scaled by sigma^2
    sigmoid    (-oo, logit x]        logit-normal: a neural network of one layer and one unit, sigmoid(mu + sigma h)

Notation:

    x    data, [batch, *data_shape]; its elements are independent, each with its own h, mu and sigma
    h    latent, [batch, size of x]

An image is not scored at its grey levels, of which p would make spikes, but at a uniform point within each, as
`levels.dequantized` moves it: level k of 256 is the interval (k / 256, (k + 1) / 256). (Theis, van den Oord and Bethge
2016, arXiv:1511.01844, section 3.1.)
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.game import Game
from zoo.parts import distributions, layers, levels, noise


class Function(NamedTuple):
    """A function of real numbers, as a density asks for it.

    f(u): its values.
    ends(x): the ends of {u: f(u) <= x}, [upper] where it reaches down to minus infinity, else [upper, lower].
    log_slope(u): log |f'(u)|.
    """

    f: Callable
    ends: Callable
    log_slope: Callable


FUNCTIONS = {
    "exp": Function(tf.exp, lambda x: [tf.math.log(x)], lambda u: u),
    "square": Function(tf.square, lambda x: [tf.sqrt(x), -tf.sqrt(x)], lambda u: tf.math.log(2.0 * tf.abs(u))),
    "sigmoid": Function(
        tf.sigmoid, lambda x: [tf.math.log(x) - tf.math.log1p(-x)],
        lambda u: tf.math.log_sigmoid(u) + tf.math.log_sigmoid(-u),
    ),
}  # fmt: skip


class Pushforward(Game):
    """A function of Gaussian noise, by maximum likelihood: an implicit model of known density (Devroye 1986).

    Args:
        function: "exp" or "square" for positive points, "sigmoid" for images and for points in (0, 1); f.

    Example:

        model = Pushforward(data_shape=(1,), function="exp")
        model.compile()
        model.fit(points, batch_size=1000, epochs=10)  # points: float32 [n, 1], positive
        density = tf.exp(model.log_prob(points)["log_prob"])

    Reference:
        L. Devroye. Non-uniform random variate generation. Springer 1986, section I.4, theorem 4.1.
        S. Mohamed and B. Lakshminarayanan. Learning in implicit generative models. arXiv:1610.03483, section 2.
    """

    default_optimizers = {"generator": {"optimizer": "adam", "learning_rate": 0.02}}
    metric_names = ("mu", "sigma")
    latent_prior = distributions.PRIORS["normal"]
    draws = ("level",)
    support = "reals"

    def __init__(self, *, data_shape, function: Literal[tuple(FUNCTIONS)] = "sigmoid", seed, name):
        super().__init__(locals())

    def check_arguments(self):
        if self.data_name == "images" and self.function != "sigmoid":
            raise ValueError(f"pixels lie in [0, 1], and {self.function} has other values: choose the function sigmoid")

    def make_networks(self):
        # Not mu = 0, where the likelihood of a square, even in mu, has no slope.
        start = np.full(self.data_shape, 0.5)
        self.generator = layers.Numbers("generator", mu=start, log_sigma=0.0 * start)

    @property
    def moves(self):
        return {"generator": [self.generator]}

    @property
    def latent_size(self):
        return math.prod(self.data_shape)

    @property
    def data_range(self):
        return (0.0, 1.0) if self.function == "sigmoid" else None

    @property
    def f(self):
        return FUNCTIONS[self.function]

    def u(self):
        """The distribution N(mu, sigma^2) of each element before f."""
        mu, log_sigma = (tf.convert_to_tensor(w.value) for w in (self.generator.mu, self.generator.log_sigma))
        return tfd.Normal(mu, tf.exp(log_sigma))

    def exact_log_prob(self, x):
        """log p(x) in nats [batch], for x [batch, *data_shape] strictly among the values of f."""
        terms = [self.u().log_prob(u) - self.f.log_slope(u) for u in self.f.ends(x)]
        return tf.reduce_sum(tf.reduce_logsumexp(terms, axis=0), axis=list(range(1, len(self.data_shape) + 1)))

    def cdf(self, x):
        """Pr(f(u) <= x) for each element of x, of its shape."""
        upper, *lower = [self.u().cdf(u) for u in self.f.ends(x)]
        return upper - lower[0] if lower else upper

    def losses(self, x):
        u = self.u()
        return {"generator": -self.exact_log_prob(x), "mu": u.loc, "sigma": u.scale}

    def draw_within_levels(self, x):
        """Pixels in [0, 1], moved to a uniform point of their grey level, the nearest; points as they are."""
        uniform = noise.uniform(self.key("level"), tf.shape(x))
        return levels.dequantized(x, uniform) if self.data_name == "images" else x

    def train_step(self, x):
        x = self.draw_within_levels(x)
        self.minimize(lambda: self.losses(x))  # ascend log p(x)
        return self.next_step()

    def test_step(self, x):
        self.track(self.losses(self.draw_within_levels(x)))
        return self.logs()

    def decode(self, z):
        u = self.u()
        return self.to_served(self.f.f(u.loc + u.scale * tf.reshape(z, [-1, *self.data_shape])))

    def log_prob(self, x):
        """log p(x) of served data, in nats; of an image, at the middle of its grey levels."""
        return {"log_prob": self.exact_log_prob(levels.within_levels(x) if self.data_name == "images" else x)}

    def signatures(self):
        return super().signatures() | self.score_signature()
