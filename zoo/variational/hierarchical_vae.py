"""The variational autoencoder with layers of latents, trained by the importance-weighted bound as in Burda et al. 2016.

    p(x, z_1 ... z_L) = p(x|z_1) p(z_1|z_2) ... p(z_{L-1}|z_L) p(z_L),   p(z_L) = N(0, I)
    q(z_1 ... z_L|x)  = q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1})

    ELBO:  E_q[log w] <= log p(x),   IWAE:  E[log 1/K sum_k w_k] <= log p(x),   w = p(x, z_1 ... z_L) / q(z_1 ... z_L|x)

All conditionals of latents are diagonal Gaussians, p(z_l|z_{l+1}) = N(mu_l(z_{l+1}), diag sigma_l(z_{l+1})^2) among
them. So z_l = mu_l + sigma_l eps_l, and a draw of the model is a function of

    z = (eps_1, ..., eps_{L-1}, z_L),   a priori N(0, I)

which is the latent of this model, as samples, `decode`, `encode` and annealed importance sampling know it: in it
p(x|z) = p(x|z_1(z)) is a likelihood like that of any autoencoder, and w is the same, for the density of the encoder's
draws takes the factor |d z_l / d eps_l| = prod sigma_l. With zeros for eps a decoder goes down by the means.

Notation, beside that of `autoencoder.py` and `vae.py`:

    z_l        latents of layer l, [..., batch, latent_sizes[l - 1]], z_1 next to x
    upward     networks of q(z_{l+1}|z_l);     downward: of p(z_l|z_{l+1})

With `skip` every q(z_{l+1}|z_l, x) sees x and p(x|z_1 ... z_L) all layers, which for two layers is the skip deep
generative model of Maaloe et al. 2016 (there a = z_1 and z = z_2) without labels.

Departures from Burda et al.: active units are those of z, so that of the lower layers eps_l counts, not z_l; the
log-variances are kept within (-8, 8).
"""

import tensorflow as tf

from zoo.parts import networks
from zoo.parts.noise import Noise
from zoo.parts.posteriors import ByDraws, Gaussian
from zoo.variational.autoencoder import Autoencoder


class HierarchicalVAE(Autoencoder):
    """Variational autoencoder with several stochastic layers, by the ELBO or the IWAE bound (Burda et al. 2016).

    Args:
        latent_sizes: tuple of ints, the sizes of z_1, next to x, ..., z_L; the length of z is their sum.
        hidden_units: tuple of ints, widths of the hidden layers of x and, reversed, of the decoder's (mlp).
        latent_units: tuple of ints, widths of the hidden layers between two layers of latents, reversed downwards.
        skip: bool, whether all layers see x, and x sees all layers.

    Example:

        model = HierarchicalVAE(data_shape=(28, 28, 1), estimator="iwae", num_samples=5)
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1] in [0, 1]
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        Y. Burda, R. Grosse and R. Salakhutdinov. Importance weighted autoencoders. ICLR 2016. arXiv:1509.00519,
        section 5 and table 1.
        L. Maaloe, C. K. Sonderby, S. K. Sonderby and O. Winther. Auxiliary deep generative models. ICML 2016.
        arXiv:1602.05473 (`skip`).
    """

    encodes_by_draws = True

    def __init__(
        self, *, data_shape, latent_sizes: tuple[int, ...] = (100, 50),
        network, hidden_units: tuple[int, ...] = (200, 200), latent_units: tuple[int, ...] = (100, 100), filters=32,
        activation="tanh", likelihood, num_levels, likelihood_variance,
        skip: bool = False, estimator, jackknife_order, num_samples, beta, inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if not self.latent_sizes:
            raise ValueError("latent_sizes must not be empty: the model needs a layer of latents.")

    @property
    def latent_size(self):
        return sum(self.latent_sizes)

    def make_networks(self):
        def between(size, other, units):
            return networks.mlp((size,), units, (2 * other,), activation=self.activation)

        def upward(size, other):
            if self.skip:
                return self.network_of_x_and(size, networks.mlp, self.latent_units, 2 * other)
            return between(size, other, self.latent_units)

        pairs = list(zip(self.latent_sizes, self.latent_sizes[1:], strict=False))
        self.encoder = self.network_of_x(2 * self.latent_sizes[0])
        self.upward = [upward(below, above) for below, above in pairs]
        self.downward = [between(above, below, self.latent_units[::-1]) for below, above in pairs]
        self.decoder = self.network_of_z(None if self.skip else self.latent_sizes[0])

    @property
    def moves(self):
        return {"autoencoder": [self.encoder, *self.upward, *self.downward, self.decoder]}

    @property
    def draws(self):
        return ("epsilon",) * len(self.latent_sizes)

    def q_above(self, layer, z, x, training):
        """q(z_{l+1}|z_l), of x too with `skip`, for z_l [..., batch, size]."""
        network = self.upward[layer]
        if self.skip:
            return Gaussian.of(networks.of_x_and_vectors(network, x, z, training))
        return Gaussian.of(networks.over_leading_axes(network, z, training))

    def p_below(self, layer, z, training):
        """p(z_l|z_{l+1}), for z_{l+1} [..., size]."""
        return Gaussian.of(networks.over_leading_axes(self.downward[layer], z, training)).density

    def q(self, x, training=False):
        def draw(noise):
            z, log_q = Gaussian.of(self.encoder(x, training=training)).draw(noise[0])
            layers = [z]
            for layer, epsilon in enumerate(noise[1:]):
                z, log_q_above = self.q_above(layer, z, x, training).draw(epsilon)
                layers, log_q = [*layers, z], log_q + log_q_above
            for layer, above in enumerate(layers[1:]):  # from z_l to the eps_l that the decoder makes it of
                p = self.p_below(layer, above, training)
                layers[layer] = (layers[layer] - p.mean()) / p.stddev()
                log_q += tf.reduce_sum(tf.math.log(p.stddev()), axis=-1)
            return tf.concat(layers, axis=-1), log_q

        return ByDraws(draw, tuple(Noise("normal", (size,)) for size in self.latent_sizes))

    def layers_of(self, z, training=False):
        """z_1, ..., z_L, a list, of the model's latent z [..., latent_size]."""
        *noise, above = tf.split(z, self.latent_sizes, axis=-1)
        layers = [above]
        for layer in reversed(range(len(noise))):
            p = self.p_below(layer, layers[0], training)
            layers.insert(0, p.mean() + p.stddev() * noise[layer])
        return layers

    def p(self, z, training=False):
        layers = self.layers_of(z, training)
        return super().p(tf.concat(layers, axis=-1) if self.skip else layers[0], training=training)
