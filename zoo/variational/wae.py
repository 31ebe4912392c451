"""Wasserstein autoencoders: a decoder without noise, and an encoder whose latents are distributed as the prior's.

    min_{G, Q}  E_data[c(x, G(Q(x)))] + lambda D(q(z), p(z)),   c(x, x') = w |x - x'|^2                              (4)

q(z) being the distribution of Q(x) over the data: where it is p(z), the first term bounds an optimal transport cost of
data and samples from above (theorem 1). D is one of

    mmd    MMD^2 of { Q(x_i) } and { z_i } by inverse multiquadratics, without bias (algorithm 2)
    gan    the Jensen-Shannon divergence as an adversary D sees it, in whose place the encoder has the non-saturating
           loss of `zoo/parts/adversarial.py` (algorithm 1); with D optimal its slope is that of KL(q(z) || p(z)) - 2 JS

Notation, beside that of `autoencoder.py`:

    Q    encoder, z = Q(x) without noise
    G    decoder, of points a linear layer last and of pixels a sigmoid
    D    adversary (gan): D(z) is a logit, of a draw from p(z) real = 1
    w    `cost_weight`, 0.05 in the authors' code, without which its lambda of 10 means something else

Departures from Tolstikhin et al. 2018: none of the authors' code's additions, which are an encoder that has learnt the
prior's first two moments before the start, and noise of deviation 0.01 on the images that it sees; the convolutional
networks are this zoo's, without batch normalisation. Pixels are in [0, 1].
"""

from typing import Literal

import tensorflow as tf

from zoo.parts import adversarial, discrepancies, distributions, networks
from zoo.parts.posteriors import Deterministic
from zoo.variational.autoencoder import Autoencoder


class WAE(Autoencoder):
    """Wasserstein autoencoder (Tolstikhin et al. 2018), by a kernel or by an adversary. It has no likelihood.

    Minibatches should be large: 100 and more. One row alone says nothing to a kernel.

    Args:
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp).
        regularizer: "mmd" or "gan": what makes q(z) the prior.
        regularizer_weight: float, lambda.
        cost_weight: float, w: the cost of a row is w times the sum of its squared errors.
        discriminator_units: tuple of ints, widths of D's hidden layers (gan).
        prior_trick: bool, D(z) = log p(z) + the output of its network, which then has -log q(z) left to learn (gan).

    Example:

        model = WAE(data_shape=(28, 28, 1), latent_size=8, regularizer="gan")
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1] in [0, 1]
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        I. Tolstikhin, O. Bousquet, S. Gelly and B. Schoelkopf. Wasserstein auto-encoders. ICLR 2018. arXiv:1711.01558,
        algorithms 1 and 2.
    """

    default_optimizers = {
        "autoencoder": {"optimizer": "adam", "learning_rate": 1e-3, "beta_1": 0.5},
        "discriminator": {"optimizer": "adam", "learning_rate": 5e-4, "beta_1": 0.5},
    }
    draws = ("z",)
    support = sample_mean = None  # its samples are not scattered round a mean
    has_proposal = proposes_by_q = infers = False
    loss_pair = adversarial.LOSSES["non_saturating"]

    def __init__(
        self, *, data_shape, latent_size=8, network, hidden_units: tuple[int, ...] = (500,), filters=64,
        activation="relu", regularizer: Literal["mmd", "gan"] = "mmd", regularizer_weight: float = 10.0,
        cost_weight: float = 0.05, discriminator_units: tuple[int, ...] = (512, 512, 512, 512),
        prior_trick: bool = False, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if self.prior_trick and self.regularizer != "gan":
            raise ValueError(f"prior_trick is for the discriminator of regularizer gan, not for {self.regularizer}.")

    def make_networks(self):
        self.encoder = self.network_of_x(self.latent_size)
        self.decoder = self.network_of_z()
        if self.regularizer == "gan":
            self.discriminator = networks.mlp((self.latent_size,), self.discriminator_units, (1,))

    @property
    def moves(self):
        discriminator = {"discriminator": [self.discriminator]} if self.regularizer == "gan" else {}
        return {"autoencoder": [self.encoder, self.decoder]} | discriminator

    @property
    def metric_names(self):
        return ("cost", "divergence" if self.regularizer == "gan" else "discrepancy")

    @property
    def family(self):
        return distributions.point(tf.sigmoid if self.data_range else tf.identity)

    def q(self, x, training=False):
        return Deterministic(self.encoder(x, training=training))

    def D(self, z, training=True):
        output = self.discriminator(z, training=training)[:, 0]
        return output + self.prior.log_prob(z) if self.prior_trick else output

    def discriminator_losses(self, x, z, training=True):
        real, fake = self.D(z, training), self.D(self.q(x, training=training).mean(), training)
        divergence = self.loss_pair.divergence(real, fake)
        return {"discriminator": self.loss_pair.discriminator(real, fake), "divergence": divergence}

    def autoencoder_losses(self, x, z, training=True):
        """(4) per example, [batch], for z ~ p(z) [batch, latent_size]; a discrepancy is that of the whole batch."""
        z_q = self.q(x, training=training).mean()
        cost = self.cost_weight * tf.reduce_sum(
            discrepancies.flat(tf.square(x - self.p(z_q, training=training).mean())), axis=1
        )
        losses = {"cost": cost}
        if self.regularizer == "gan":
            regularizer = self.loss_pair.generator(self.D(z_q, training))
        else:
            regularizer = losses["discrepancy"] = discrepancies.mmd_inverse_multiquadratics(z_q, z)
        return losses | {"autoencoder": cost + self.regularizer_weight * regularizer}

    def draw_z(self, x):
        return self.latent_prior.draw(self.key("z"), [tf.shape(x)[0], self.latent_size])

    def train_step(self, x):
        z = self.draw_z(x)
        if self.regularizer == "gan":  # ascend log D(z) + log(1 - D(Q(x)))
            self.minimize(lambda: self.discriminator_losses(x, z))
        self.minimize(lambda: self.autoencoder_losses(x, z))  # descend c(x, G(Q(x))) and what Q(x) is told by
        return self.next_step()

    def test_step(self, x):
        z, of_discriminator = self.draw_z(x), {}
        if self.regularizer == "gan":
            of_discriminator = self.discriminator_losses(x, z, training=False)
        self.track(self.autoencoder_losses(x, z, training=False) | of_discriminator)
        return self.logs()
