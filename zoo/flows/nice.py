"""NICE: a map of the data to independent numbers, whose inverse and determinant are known; RealNVP's couplings too.

    log p(x) = log p(z) + log |det df/dx|,   z = f(x),   maximised   (Dinh et al. 2015, equation 1)

    f = scaling . coupling_K ... coupling_1      each coupling moves one half of x by a network of the other
    additive   x_2 + t(x_1)                      log-determinant 0; NICE (section 3.2)
    affine     x_2 exp(s(x_1)) + t(x_1)          log-determinant sum s; RealNVP (Dinh et al. 2017, equation 7)
    scaling    exp(S) x                          log-determinant sum S (section 3.3)
    logit      log x - log(1 - x)                of images, on request: what comes first, as in RealNVP

Notation:

    x    data, [batch, *data_shape]; of 8-bit pixels, level k is the interval (k, k + 1) / 256
    z    latent, [batch, size of x], a priori independent logistic or normal numbers

Each step of training draws a uniform point within the level of each pixel, by a key of that step; so does a test step.
What is served is the middle of a level: the pixel k / 255 is (k + 1/2) / 256 for the networks, as it is, so that
`encode` and `decode` are inverses. A sample beyond the middle of black or of white is served as that; without a logit
there are some outside of [0, 1].

Departures: halves are pixels at even and at odd places, which take turns, as in the authors' code. A network sees all
of x, zeros in place of what it moves, and what it says of the rest is not used. Its last layer starts from zeros, so
that f starts as the identity, or as the logit; the authors' starts from small numbers. An affine s is 2 tanh(s / 2), in
place of a tanh with a learned scale. S is 10 times a weight, so that it moves ten times as fast as weights do: a pixel
that is always black needs exp(S) of about 1,500. A logit is of x itself, not of a smaller interval, for no x drawn is 0
or 1.
"""

import functools
from typing import Literal

import numpy as np
import tensorflow as tf

from zoo.game import Game
from zoo.parts import distributions, flows, layers, levels, networks, noise

MIDDLES = (0.5 / levels.LEVELS, 1.0 - 0.5 / levels.LEVELS)  # of the first level and of the last
LARGEST_LOG_SCALE = 2.0  # of an affine coupling
LOG_SCALE_GAIN = 10.0  # of the scaling


class NICE(Game):
    """Non-linear independent components estimation (Dinh et al. 2015), by exact maximum likelihood.

    Args:
        coupling: "additive", or "affine" as in RealNVP.
        num_couplings: int, K; 3 or more let every number depend on every other.
        hidden_units: tuple of ints, widths of the hidden layers of each coupling's network.
        prior: "logistic" or "normal", p(z) of each number.
        logit: bool, whether f begins with the logit of pixels, so that all samples are in (0, 1) (images).

    Example:

        model = NICE(data_shape=(28, 28, 1))
        model.compile()
        model.fit(images, batch_size=200, epochs=10)  # images: integers in [0, 255], or float32 in [0, 1]
        log_density = model.log_prob(images)["log_prob"]

    Reference:
        L. Dinh, D. Krueger, Y. Bengio. NICE: non-linear independent components estimation. ICLR 2015 workshop,
        arXiv:1410.8516.
        L. Dinh, J. Sohl-Dickstein, S. Bengio. Density estimation using Real NVP. ICLR 2017, arXiv:1605.08803.
    """

    default_optimizers = {"flow": {"optimizer": "adam", "learning_rate": 1e-3}}
    draws = ("level",)
    support = "reals"

    def __init__(
        self, *, data_shape, coupling: Literal["additive", "affine"] = "additive", num_couplings: int = 4,
        hidden_units: tuple[int, ...] = (1000,) * 5, activation="relu",
        prior: Literal["logistic", "normal"] = "logistic", logit: bool = False, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if self.latent_size < 2:
            raise ValueError("a coupling moves one half of a row by the other: rows must have at least two numbers.")
        if self.logit and self.data_name == "points":
            raise ValueError("a logit is of pixels, in [0, 1]: leave it out for points, which may be any numbers.")

    def make_networks(self):
        size, num = self.latent_size, 2 if self.coupling == "affine" else 1  # what a network gives for each number
        options = {"activation": self.activation, "output_start": "zeros"}
        make = functools.partial(networks.mlp, (size,), self.hidden_units, (num, size), **options)
        self.couplings = [make() for _ in range(self.num_couplings)]
        self.scaling = layers.Numbers("scaling", log_scale=np.zeros(size))

    @property
    def moves(self):
        return {"flow": [*self.couplings, self.scaling]}

    @property
    def latent_size(self):
        return int(np.prod(self.data_shape))

    @property
    def latent_prior(self):
        return distributions.PRIORS[self.prior]

    @property
    def data_range(self):
        return MIDDLES if self.data_name == "images" else None

    # --- Density -----------------------------------------------------------------------------------------------------

    def flow(self):
        """The `flows.Bijection` f from x, flat [..., size], to z."""

        def affine(network, x):
            t, *s = tf.unstack(networks.over_leading_axes(network, x), axis=-2)
            return t, LARGEST_LOG_SCALE * tf.tanh(s[0] / LARGEST_LOG_SCALE) if s else tf.zeros_like(t)

        even = np.arange(self.latent_size) % 2 == 0
        kept = [even if i % 2 == 0 else ~even for i in range(self.num_couplings)]
        affines = [functools.partial(affine, network) for network in self.couplings]
        scaling = flows.scaling(LOG_SCALE_GAIN * tf.convert_to_tensor(self.scaling.log_scale.value))
        first = [flows.logit()] if self.logit else []
        return flows.compose([*first, *map(flows.coupling, kept, affines), scaling])

    def exact_log_prob(self, x):
        """log p(x) in nats [batch], for x [batch, *data_shape]; of images, within the levels of [0, 1]."""
        z, log_det = self.flow().forward(tf.reshape(x, [-1, self.latent_size]))
        return self.latent_prior.density(self.latent_size).log_prob(z) + log_det

    # --- Learning ----------------------------------------------------------------------------------------------------

    def draw_within_levels(self, x):
        """Images moved to a uniform point of each pixel's level, the nearest; points as they are."""
        if self.data_name == "points":
            return x
        return levels.dequantized(self.to_served(x), noise.uniform(self.key("level"), tf.shape(x)))

    def train_step(self, x):
        x = self.draw_within_levels(x)
        self.minimize(lambda: {"flow": -self.exact_log_prob(x)})
        return self.next_step()

    def test_step(self, x):
        self.track({"flow": -self.exact_log_prob(self.draw_within_levels(x))})
        return self.logs()

    # --- Serving -----------------------------------------------------------------------------------------------------

    def decode(self, z):
        x, _ = self.flow().inverse(z)
        return self.to_served(tf.reshape(x, [-1, *self.data_shape]))

    def encode(self, x, seeds=None):
        """The latent point z that `decode` makes served data x of."""
        z, _ = self.flow().forward(tf.reshape(self.from_served(x), [-1, self.latent_size]))
        return {"z": z}

    def log_prob(self, x):
        """log p(x) of served data, in nats; of an image, at the middle of its grey levels."""
        return {"log_prob": self.exact_log_prob(self.from_served(x))}

    def signatures(self):
        return super().signatures() | self.encoder_signatures(draws=False) | self.score_signature()
