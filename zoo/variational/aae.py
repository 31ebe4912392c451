"""Adversarial autoencoders: what makes the latents of all data a draw from the prior is an adversary.

    reconstruction    min_{q, p}  E_data E_{q(z|x)}[-log p(x|z)]
    regularisation    min_q max_D  E_{p(z)}[log D(z)] + E_data E_{q(z|x)}[log(1 - D(z))]

Each step has both phases, so that the encoder moves twice, by two optimizers of its own. q(z) being q(z|x) over the
data, an optimal D sees the Jensen-Shannon divergence of p(z) and q(z), and at q(z) = p(z) its loss is 2 log 2. The
encoder moves along the slope of E[-log D(z)], the non-saturating loss, which has the same goal: with D optimal it is
that of KL(q(z) || p(z)) - 2 JS (Arjovsky and Bottou 2017, arXiv:1701.04862, theorem 2.5). A variational autoencoder has
E KL(q(z|x) || p(z)) in the place of this phase, which is at least KL(q(z) || p(z)).

Notation, beside that of `autoencoder.py`:

    D    discriminator of latents: D(z, y) is a logit, of a draw from p(z) real = 1
    y    one-hot vector of the label and, last, of having none, [batch, prior_classes + 1]

With `prior_classes` the prior is a mixture with a mode for each label. D is told the label of each example beside its
z, and of a draw from the mode beside that draw: the modes and the labels come to be one. An example without a label is
compared with a draw from the whole mixture, whose modes are equally likely, as the labels should be.

Departures from Makhzani et al. 2015: Adam instead of momentum, slower in reconstruction than in regularisation, or D
stays ahead of the encoder; a Gaussian's log-variance is kept within (-8, 8); the modes of the prior are round.
"""

from typing import Literal

import numpy as np
import tensorflow as tf

from zoo.inputs import classes
from zoo.parts import adversarial, distributions, networks
from zoo.parts.posteriors import Deterministic, Gaussian
from zoo.variational.autoencoder import Autoencoder


class AAE(Autoencoder):
    """Adversarial autoencoder (Makhzani et al. 2015), with or without labels in its prior.

    Args:
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp).
        posterior: "deterministic", z is a function of x; or "gaussian", which gives bounds on log p(x).
        prior_classes: int, modes of the prior, on a ring of the first two of z (`distributions.ring_of_modes`), one for
            each label 0 ... prior_classes - 1. The label -1 is that of examples without one. 0: p(z) is N(0, I), and
            the model takes no labels.
        discriminator_units: tuple of ints, widths of D's hidden layers.

    Example:

        model = AAE(data_shape=(28, 28, 1), latent_size=2, prior_classes=10)
        model.compile()
        model.fit(x, label, batch_size=100, epochs=10)  # x: [n, 28, 28, 1] in [0, 1], label: int64 [n]
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        A. Makhzani, J. Shlens, N. Jaitly, I. Goodfellow and B. Frey. Adversarial autoencoders. 2015. arXiv:1511.05644,
        sections 2 and 2.3.
    """

    default_optimizers = {
        move: {"optimizer": "adam", "learning_rate": rate, "beta_1": beta_1}
        for move, rate, beta_1 in (("autoencoder", 3e-4, 0.9), ("discriminator", 1e-3, 0.5), ("encoder", 1e-3, 0.5))
    }
    metric_names = ("divergence",)
    infers = False
    zero_allowed = (*Autoencoder.zero_allowed, "prior_classes")
    draws = ("epsilon", "z")
    loss_pair = adversarial.LOSSES["non_saturating"]

    def __init__(
        self, *, data_shape, latent_size=8, network, hidden_units: tuple[int, ...] = (1000, 1000), filters=32,
        activation="relu", likelihood, num_levels, likelihood_variance,
        posterior: Literal["deterministic", "gaussian"] = "deterministic", prior_classes: int = 0,
        discriminator_units: tuple[int, ...] = (1000, 1000), log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if self.prior_classes and self.latent_size < 2:
            raise ValueError("the modes of prior_classes lie on a ring: give a latent_size of 2 or more.")

    def make_networks(self):
        self.encoder = self.network_of_x(self.latent_size * (2 if self.posterior == "gaussian" else 1))
        self.decoder = self.network_of_z()
        told = self.prior_classes + 1 if self.labelled else 0
        self.discriminator = networks.mlp((self.latent_size + told,), self.discriminator_units, (1,))

    @property
    def moves(self):
        return {
            "autoencoder": [self.encoder, self.decoder],
            "discriminator": [self.discriminator],
            "encoder": [self.encoder],
        }

    @property
    def has_proposal(self):
        return self.posterior == "gaussian"

    @property
    def labelled(self):
        return self.prior_classes > 0

    @property
    def latent_prior(self):
        return distributions.ring_of_modes(self.prior_classes) if self.labelled else distributions.PRIORS["normal"]

    def q(self, x, training=False):
        parameters = self.encoder(x, training=training)
        return Gaussian.of(parameters) if self.posterior == "gaussian" else Deterministic(parameters)

    def D(self, z, y, training=True):
        return self.discriminator(tf.concat([z, *y], axis=1), training=training)[:, 0]

    def reconstruction_losses(self, x, epsilon, training=True):
        z, _ = self.q(x, training=training).draw(epsilon)
        return {"autoencoder": -self.p(z, training=training).log_prob(x)}

    def discriminator_losses(self, x, y, z, epsilon, training=True):
        """D's loss per example, for z a draw from the prior, of the mode of each y where it tells one."""
        z_q, _ = self.q(x, training=training).draw(epsilon)
        real, fake = self.D(z, y, training), self.D(z_q, y, training)
        divergence = self.loss_pair.divergence(real, fake)
        return {"discriminator": self.loss_pair.discriminator(real, fake), "divergence": divergence}

    def encoder_losses(self, x, y, epsilon, training=True):
        z_q, _ = self.q(x, training=training).draw(epsilon)
        return {"encoder": self.loss_pair.generator(self.D(z_q, y, training))}

    def minibatch(self, data):
        """x, y in a list that is empty without labels, z from the prior and epsilon, of what `train_step` takes."""
        x, label = data if self.labelled else (data, None)
        num = tf.shape(x)[0]
        epsilon = self.draw_noise(self.q(x), [num])
        if not self.labelled:
            return x, [], self.latent_prior.draw(self.key("z"), [num, self.latent_size]), epsilon
        label = classes(label, range(-1, self.prior_classes))
        z = self.latent_prior.draw(self.key("z"), [num, self.latent_size], label)
        told = tf.where(label < 0, tf.cast(self.prior_classes, label.dtype), label)
        return x, [tf.one_hot(told, self.prior_classes + 1)], z, epsilon

    def check_rows(self, x, label=None):
        super().check_rows(x, label)
        if self.labelled:
            classes(np.unique(label, axis=0), range(-1, self.prior_classes))  # refuses what it can not take

    def train_step(self, data):
        x, y, z, epsilon = self.minibatch(data)
        self.minimize(lambda: self.reconstruction_losses(x, epsilon))
        self.minimize(lambda: self.discriminator_losses(x, y, z, epsilon))  # ascend log D(z) + log(1 - D(z_q))
        self.minimize(lambda: self.encoder_losses(x, y, epsilon))  # ascend log D(z_q)
        return self.next_step()

    def test_step(self, data):
        x, y, z, epsilon = self.minibatch(data)
        self.track(
            self.reconstruction_losses(x, epsilon, training=False)
            | self.discriminator_losses(x, y, z, epsilon, training=False)
            | self.encoder_losses(x, y, epsilon, training=False)
        )
        return self.logs()
