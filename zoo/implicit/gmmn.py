"""Generative moment matching networks: a generator without an adversary (Li et al. 2015).

    min_G  discrepancy of { G(z_i) } and { x_j },   z_i ~ p(z), x_j data, both in one minibatch

What they are compared by is the choice:

    mmd         MMD^2 = E k(G(z), G(z')) + E k(x, x') - 2 E k(G(z), x), k a mixture of Gaussian kernels: all moments (3)
    energy      2 E|G(z) - x| - E|G(z) - G(z')| - E|x - x'|: the energy score of DISCO nets (Bouchacourt et al. 2016)
    mean        (E G(z) - E x)^2, elements averaged: the method of moments, of the first one,
    covariance  and, the same of covariance matrices being added, of the first two: it sees no others

Notation: x are data, [m, *data_shape], pixels in [0, 1], z ~ p(z) latent, [m, latent_size], and G is the generator.

Departures from Li et al.: the unbiased estimate of MMD^2 instead of the root of the biased one; bandwidths in units of
the distances in the minibatch instead of fixed numbers; no autoencoder (their second model). From Bouchacourt et al.:
no condition, so that one score serves the whole minibatch of data.
"""

from typing import Literal

import tensorflow as tf

from zoo.game import Game
from zoo.parts import discrepancies, distributions, networks


class GMMN(Game):
    """Generative moment matching network with dense layers, for images and for points.

    Minibatches should be large: 100 and more. One row alone says nothing to kernels and distances: its loss is 0.

    Args:
        prior: "uniform" on (-1, 1), "normal", "logistic" or "ring", the distribution of z, as for a `GAN`.
        discrepancy: "mmd", "energy", "mean" or "covariance": what is made small.
        bandwidths: tuple of floats, those of the kernels of "mmd", in units of the root of the mean squared distance of
            two rows of data.
        generator_units: tuple of ints, widths of the generator's hidden layers.

    Example:

        model = GMMN(data_shape=(2,), latent_size=2)
        model.compile()
        model.fit(points, batch_size=500, epochs=10)  # float32 [n, 2]

    Reference:
        Y. Li, K. Swersky and R. Zemel. Generative moment matching networks. ICML 2015. arXiv:1502.02761, section 2.
        D. Bouchacourt, M. Pawan Kumar and S. Nowozin. DISCO nets. NeurIPS 2016. arXiv:1606.02556, equation 9.
    """

    default_optimizers = {"generator": {"optimizer": "adam", "learning_rate": 1e-3}}
    draws = ("z",)

    def __init__(
        self, *, data_shape, latent_size=10, prior: distributions.PriorName = "uniform",
        discrepancy: Literal["mmd", "energy", "mean", "covariance"] = "mmd",
        bandwidths: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0),
        generator_units: tuple[int, ...] = (64, 256, 256, 784), seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if not self.bandwidths or min(self.bandwidths) <= 0.0:
            raise ValueError(f"bandwidths must be one or more positive numbers, not {self.bandwidths}.")
        distributions.check_prior(self.prior, self.latent_size)

    def make_networks(self):
        options = {"output_activation": "sigmoid" if self.data_range else None}
        self.generator = networks.mlp((self.latent_size,), self.generator_units, self.data_shape, **options)

    @property
    def moves(self):
        return {"generator": [self.generator]}

    @property
    def latent_prior(self):
        return distributions.PRIORS[self.prior]

    def G(self, z, training=True):
        return self.generator(z, training=training)

    def losses(self, x, z, training=True):
        x_tilde = self.G(z, training)
        if self.discrepancy == "mmd":
            scale = tf.sqrt(2.0 * tf.reduce_sum(tf.math.reduce_variance(discrepancies.flat(x), axis=0)))
            loss = discrepancies.mmd(x_tilde, x, scale * tf.constant(self.bandwidths))
        elif self.discrepancy == "energy":
            loss = discrepancies.energy_distance(x_tilde, x)
        else:
            loss = discrepancies.moments(x_tilde, x, self.discrepancy)
        return {"generator": loss}

    def draw_z(self, x):
        return self.latent_prior.draw(self.key("z"), [tf.shape(x)[0], self.latent_size])

    def train_step(self, x):
        z = self.draw_z(x)
        self.minimize(lambda: self.losses(x, z))
        return self.next_step()

    def test_step(self, x):
        z = self.draw_z(x)
        self.track(self.losses(x, z, training=False))
        return self.logs()

    def decode(self, z):
        return self.to_served(self.G(z, training=False))
