"""FactorVAE: Algorithm 2 of Kim and Mnih 2018. A variational autoencoder that is to have independent latents.

    max_{theta, phi}  E_data[E_{q(z|x)}[log p(x|z)] - KL(q(z|x) || p(z))] - gamma KL(q(z) || prod_j q(z_j))        (2)
    KL(q(z) || prod_j q(z_j)) = E_{q(z)}[log D(z) - log(1 - D(z))]   for the best D                                (3)
    max_psi  E_{q(z)}[log D_psi(z)] + E_{prod_j q(z_j)}[log(1 - D_psi(z))]

The divergence is the total correlation TC of q(z), the mean of q(z|x) over the data, and D a classifier that tells its
draws from those of the product of its marginals: rows of a minibatch in which each z_j is permuted by itself.

Notation, beside that of `autoencoder.py`:

    x          data, [2 m, *data_shape]: the minibatch of z, then the one whose latents are permuted
    epsilon    standard normal noise, [m, latent_size] for each of both
    D          discriminator; its network gives the logit of D, which estimates log q(z) - log prod_j q(z_j)
    psi        its weights

With the true TC the objective is a lower bound on the mean of log p(x), since TC >= 0; with D's estimate it is none.

Departures from the paper: D has one logit instead of two, and minimises twice its loss; autoencoder and D move at once,
so that D learns from latents of before the autoencoder's step; networks are those of the family.
"""

import tensorflow as tf

from zoo.parts import adversarial, networks, noise
from zoo.variational.autoencoder import Autoencoder


class FactorVAE(Autoencoder):
    """Variational autoencoder with a penalty on the total correlation of its latents (Kim and Mnih 2018).

    Args:
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp).
        gamma: float >= 0, the weight of the total correlation, beside that within the KL.
        discriminator_units: tuple of ints, widths of D's hidden layers, which are leaky ReLUs.

    Example:

        model = FactorVAE(data_shape=(32, 32, 1), latent_size=10, network="convolutional")
        model.compile()
        model.fit(x, batch_size=128, epochs=10)  # x: float32 [n, 32, 32, 1] in [0, 1]; minibatches of 64 for each part
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        H. Kim and A. Mnih. Disentangling by factorising. ICML 2018. arXiv:1802.05983, algorithm 2, equations 2 and 3.
    """

    default_optimizers = {
        "autoencoder": {"optimizer": "adam", "learning_rate": 1e-4},
        "discriminator": {"optimizer": "adam", "learning_rate": 1e-4, "beta_1": 0.5, "beta_2": 0.9},
    }
    metric_names = ("reconstruction", "kl", "total_correlation")
    draws = ("epsilon", "epsilon", "permutation")
    batches_per_step = 2

    def __init__(
        self, *, data_shape, latent_size=10, network, hidden_units: tuple[int, ...] = (500,), filters=32,
        activation="relu", likelihood, num_levels, likelihood_variance, gamma: float = 35.0,
        discriminator_units: tuple[int, ...] = (1000,) * 6, inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def make_networks(self):
        super().make_networks()
        size = (self.latent_size,)
        self.discriminator = networks.mlp(size, self.discriminator_units, (1,), activation="leaky_relu")

    @property
    def moves(self):
        return super().moves | {"discriminator": [self.discriminator]}

    def D_logit(self, z, training=True):
        """log D(z) - log(1 - D(z)), [m]."""
        return self.discriminator(z, training=training)[:, 0]

    def draw_q(self, x, i, training):
        """q(z|x) and a draw from it by the i-th noise, [m, latent_size]."""
        q = self.q(x, training=training)
        return q, q.draw(noise.normal(self.key("epsilon", i), [tf.shape(x)[0], self.latent_size]))[0]

    def permuted(self, z):
        """z [m, size], each column in an order of its own."""
        order = tf.argsort(noise.uniform(self.key("permutation"), tf.shape(z)), axis=0)
        return tf.transpose(tf.gather(tf.transpose(z), tf.transpose(order), batch_dims=1))

    def losses(self, x, other, training=True):
        """What each player descends, per example [m] in nats; D learns from latents of `other`, permuted."""
        q, z = self.draw_q(x, 0, training)
        _, z_other = self.draw_q(other, 1, training)
        D_joint, D_product = self.D_logit(z, training), self.D_logit(self.permuted(z_other), training)
        reconstruction, kl = -self.p(z, training=training).log_prob(x), q.kl(self.latent_prior)
        return {
            "autoencoder": reconstruction + kl + self.gamma * D_joint,  # (2) by (3)
            "discriminator": adversarial.cross_entropy(D_joint, D_product),
            "reconstruction": reconstruction,
            "kl": kl,
            "total_correlation": D_joint,
        }

    def train_step(self, x):
        x, other = tf.split(x, 2)
        self.minimize(lambda: self.losses(x, other))
        return self.next_step()

    def test_step(self, x):
        self.track(self.losses(x, x, training=False))
        return self.logs()
