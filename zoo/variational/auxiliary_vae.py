"""The variational autoencoder whose posterior is a mixture over an auxiliary variable.

    q(z|x) = E_{q(a|x)}[q(z|a, x)]

    log p(x)  >=  E_{q(a|x) q(z|a, x)}[log p(x|z) + log p(z) + log p(a|x, z) - log q(a|x) - log q(z|a, x)]
               =  log p(x) - KL(q(z|x) || p(z|x)) - E_{q(z|x)} KL(q(a|x, z) || p(a|x, z))

a is no part of the model of x, which is the VAE's: p(a|x, z) is there to guess what led to z. The first divergence can
be smaller than that of any Gaussian, as q(z|x) is an infinite mixture of Gaussians; the second is what its unknown
density costs.

Notation, beside that of `autoencoder.py` and `vae.py`:

    a                  auxiliary variable, [..., batch, auxiliary_size]
    q_a, q_z, p_a      q(a|x), q(z|a, x) and p(a|x, z), diagonal Gaussians of networks

It is the paper's AVAE, its model without labels. Where p(x|a, z) sees a, too, with p(a|z) in place of p(a|x, z), which
the paper calls skip deep generative model, a is a latent like z: that is `hierarchical_vae.py` with `skip`.

Departures from the paper: rates do not fall by themselves (flags of the optimizer say so); no batch normalisation.
"""

from zoo.parts import networks
from zoo.parts.noise import Noise
from zoo.parts.posteriors import ByDraws, Gaussian
from zoo.variational.autoencoder import Autoencoder


class AuxiliaryVAE(Autoencoder):
    """Auxiliary deep generative model without labels (Maaloe et al. 2016).

    Args:
        hidden_units: tuple of ints, widths of the hidden layers of x, of (a, x), of (x, z) and, reversed, of the
            decoder's (mlp).
        auxiliary_size: int, the length of a.

    Example:

        model = AuxiliaryVAE(data_shape=(28, 28, 1))
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1] in [0, 1]
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        L. Maaloe, C. K. Sonderby, S. K. Sonderby and O. Winther. Auxiliary deep generative models. ICML 2016.
        arXiv:1602.05473, section 2.2.
    """

    default_optimizers = {"autoencoder": {"optimizer": "adam", "learning_rate": 3e-4}}
    draws = ("epsilon", "epsilon")
    encodes_by_draws = True

    def __init__(
        self, *, data_shape, latent_size=100, auxiliary_size: int = 100,
        network, hidden_units: tuple[int, ...] = (500, 500), filters=32, activation="relu",
        likelihood, num_levels, likelihood_variance,
        estimator, jackknife_order, num_samples, beta, inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def make_networks(self):
        mlp, units = networks.mlp, self.hidden_units
        self.encoder_of_a = self.network_of_x(2 * self.auxiliary_size)
        self.encoder = self.network_of_x_and(self.auxiliary_size, mlp, units, 2 * self.latent_size)
        self.auxiliary = self.network_of_x_and(self.latent_size, mlp, units, 2 * self.auxiliary_size)
        self.decoder = self.network_of_z()

    @property
    def moves(self):
        return {"autoencoder": [self.encoder_of_a, self.encoder, self.auxiliary, self.decoder]}

    def q_a(self, x, training=False):
        return Gaussian.of(self.encoder_of_a(x, training=training))

    def q_z(self, a, x, training=False):
        return Gaussian.of(networks.of_x_and_vectors(self.encoder, x, a, training))

    def p_a(self, x, z, training=False):
        return Gaussian.of(networks.of_x_and_vectors(self.auxiliary, x, z, training))

    def q(self, x, training=False):
        q_a = self.q_a(x, training)

        def draw(noise):
            a, log_qa = q_a.draw(noise[0])
            z, log_qz = self.q_z(a, x, training).draw(noise[1])
            return z, log_qa + log_qz - self.p_a(x, z, training).log_prob(a)

        return ByDraws(draw, (q_a.noise, Noise("normal", (self.latent_size,))))
