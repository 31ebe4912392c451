"""Adversarial variational Bayes: Algorithm 1 of Mescheder, Nowozin and Geiger 2017, and its adaptive contrast.

A variational autoencoder whose posterior can be sampled and nothing else: an adversary learns log q(z|x) - log p(z).
Without adaptive contrast it is the prior-contrastive inference of Huszar 2017, whose ratio has the name of D's logit.

    max_{theta, phi}  E_data E_eps[-T*(x, z_phi(x, eps)) + log p_theta(x | z_phi(x, eps))]                        (3.7)
    T* = argmax_psi   E_data[E_{q(z|x)} log sigma(T_psi(x, z)) + E_{p(z)} log(1 - sigma(T_psi(x, z)))]            (3.3)

With adaptive contrast the adversary compares q(z|x) not with p(z) but with a Gaussian r(z|x) of the same moments:

    log p(x)  >=  E_{q(z|x)}[log p(x|z) + log p(z) - log r(z|x)] - KL(q(z|x) || r(z|x))                           (4.1)
    KL(q(z|x) || r(z|x)) = KL(q(z~|x) || N(0, I)),   z~ = (z - mu(x)) / sigma(x)                                  (4.2)

Notation, beside that of `autoencoder.py`:

    x          data, [k * m, *data_shape]: the k minibatches of one iteration, one after the other
    eps        standard normal noise [m, noise_size]; with adaptive contrast [m, num_basis, noise_size]
    z          draws from p(z) = N(0, I), [m, latent_size]
    q, z_phi   black-box encoder: z = z_phi(x, eps) has the distribution q(z|x), whose density nobody knows
    T          adversary T_psi(x, z), a logit (drawn from q = 1)
    r          N(mu(x), diag sigma(x)^2); without adaptive contrast it is p(z), mu = 0 and sigma = 1, and (4.1) is (3.7)
    k          adversary steps for each step of encoder and decoder

The "bound" is one for the best adversary only, and (4.1) for an r that z has no part in: the moments of training are of
its own minibatch. That of training is an estimate, called so, and no bound.

Departures from the paper: the networks of x in T share their layers, and so do those of z; images are not centred; the
noise of a convolutional encoder enters above its convolutions. From the authors' code: one variance of r in its density
and in z~ alike; of the k adversary steps the last is simultaneous with encoder and decoder, as in Algorithm 1.
"""

from typing import Literal

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.parts import adversarial, networks, noise
from zoo.parts.posteriors import Gaussian, Implicit
from zoo.variational.autoencoder import Autoencoder

SMALLEST_VARIANCE = 1e-6  # of r: keeps z~ finite where all rows of a batch share their noise
MOMENT_DRAWS = 1000  # of the noise basis outside training, where a minibatch may be small


class AVB(Autoencoder):
    """Adversarial variational Bayes (Mescheder, Nowozin and Geiger 2017), with or without adaptive contrast.

    Args:
        hidden_units: tuple of ints, widths of the hidden layers on x and, reversed, of the decoder's (mlp); of the
            layers that join the noise to a convolutional encoder.
        adaptive_contrast: bool, compare q(z|x) with a Gaussian of its moments instead of p(z). The encoder is then
            z = z_0(x) + sum_i a_i(x) v_i(eps_i), whose moments are known once those of v_i are.
        num_basis: int, the number of the v_i (adaptive contrast).
        noise_size: int, the length of eps, or of each eps_i.
        noise_units: tuple of ints, widths of the hidden layers of each v_i (adaptive contrast).
        adversary_network: "bilinear", T = <theta(x), s(z)> + T_x(x) + T_z(z) + |z|^2 / 2, or "residual", of (x, z).
        adversary_units: tuple of ints. bilinear: widths of the hidden layers on z, and of theta and s. residual: the
            width of the first layer, then of each block's hidden layer.
        num_adversary_steps: int, adversary steps for each step of encoder and decoder; each has a fresh minibatch.

    Example:

        model = AVB(data_shape=(28, 28, 1), network="convolutional", filters=32)
        model.compile()
        model.fit(x, batch_size=128, epochs=100)  # x: float32 [n, 28, 28, 1] in [0, 1]
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        L. Mescheder, S. Nowozin and A. Geiger. Adversarial variational Bayes: unifying variational autoencoders and
        generative adversarial networks. ICML 2017. arXiv:1701.04722, algorithm 1 and section 4.
        F. Huszar. Variational inference using implicit distributions. 2017. arXiv:1702.08235, algorithm 1.
    """

    default_optimizers = {
        player: {"optimizer": "adam", "learning_rate": rate, "beta_1": 0.5}
        for player, rate in {"decoder": 5e-5, "encoder": 5e-5, "adversary": 1e-4}.items()
    }
    metric_names = ("estimated_kl", "estimated_bound")
    encodes_by_draws = True
    proposes_by_q = False

    def __init__(
        self, *, data_shape, latent_size=32, network, hidden_units: tuple[int, ...] = (512, 512), filters=64,
        activation: Literal["elu", "relu", "leaky_relu", "tanh", "softplus"] = "elu", likelihood,
        num_levels, likelihood_variance, adaptive_contrast: bool = True, num_basis: int = 32, noise_size: int = 64,
        noise_units: tuple[int, ...] = (128, 128, 128), adversary_network: Literal["bilinear", "residual"] = "bilinear",
        adversary_units: tuple[int, ...] = (1024, 1024, 1024), num_adversary_steps: int = 1,
        inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if not self.adversary_units:
            raise ValueError("adversary_units must not be empty.")

    def make_networks(self):
        size, options = self.latent_size, {"activation": self.activation}
        self.decoder = self.network_of_z()
        if self.adaptive_contrast:
            self.coefficients = self.network_of_x((1 + self.num_basis) * size)
            self.basis = networks.parallel_mlps(self.num_basis, self.noise_size, self.noise_units, size, **options)
        else:
            self.encoder = self.network_of_x_and(self.noise_size, networks.mlp, self.hidden_units, size)
        if self.adversary_network == "bilinear":
            *units, last = self.adversary_units
            self.theta = self.network_of_x(last + 1)
            self.s = networks.mlp((size,), units, (last + 1,), **options)
        else:
            self.adversary = self.network_of_x_and(size, networks.residual_mlp, self.adversary_units, 1)

    @property
    def moves(self):
        return {
            "decoder": [self.decoder],
            "encoder": [self.coefficients, self.basis] if self.adaptive_contrast else [self.encoder],
            "adversary": [self.theta, self.s] if self.adversary_network == "bilinear" else [self.adversary],
        }

    @property
    def has_proposal(self):
        return self.adaptive_contrast

    @property
    def draws(self):
        return ("epsilon", "z") * self.num_adversary_steps

    @property
    def batches_per_step(self):
        return self.num_adversary_steps

    def T(self, x, z, training=True):
        """The adversary's logit, [batch]."""
        if self.adversary_network == "residual":
            return networks.of_x_and_vectors(self.adversary, x, z, training)[:, 0]
        theta, s = self.theta(x, training=training), self.s(z, training=training)
        T_x, T_z = theta[:, 0], s[:, 0]
        return tf.reduce_sum(theta[:, 1:] * s[:, 1:], -1) + T_x + T_z + 0.5 * tf.reduce_sum(tf.square(z), -1)

    def draw_q(self, x, epsilon, training):
        """A draw z_phi(x, eps) from the posterior, [batch, latent_size], and the density r that goes with it.

        In training the moments of r are those of the minibatch's noise; otherwise of noise enough that no row's
        company matters.
        """
        if not self.adaptive_contrast:
            return networks.of_x_and_vectors(self.encoder, x, epsilon, training), self.prior
        z_0, a = self.split_coefficients(x, training)
        v = self.basis(epsilon, training=training)
        return z_0 + tf.reduce_sum(a * v, axis=1), self.r(z_0, a, v if training else self.basis_draws())

    def q(self, x, training=False):
        return Implicit(lambda epsilon: self.draw_q(x, epsilon, training)[0], self.noise_shape)

    def basis_draws(self):
        """The same `MOMENT_DRAWS` draws of all v_i whenever they are asked for, [draws, num_basis, latent_size]."""
        epsilon = noise.normal(noise.key(0, 0, noise.MOMENTS), [MOMENT_DRAWS, *self.noise_shape])
        return self.basis(epsilon, training=False)

    def split_coefficients(self, x, training):
        """z_0(x), [batch, latent_size], and the positive, at first small a(x), [batch, num_basis, latent_size]."""
        coefficients = tf.reshape(self.coefficients(x, training=training), [-1, 1 + self.num_basis, self.latent_size])
        shifted = coefficients[:, 1:] - 5.0  # a = elu(shifted) + 1, in which rounding would spoil a small a
        a = tf.where(shifted > 0.0, shifted + 1.0, tf.exp(tf.minimum(shifted, 0.0)))
        return coefficients[:, 0], a

    def r(self, z_0, a, v):
        """The Gaussian with the moments of q(z|x), from draws of v; (4.1) holds for any r: no gradients through it."""
        mean, variance = tf.nn.moments(v, axes=[0])
        mu = z_0 + tf.reduce_sum(a * mean, axis=1)
        sigma = tf.sqrt(tf.reduce_sum(tf.square(a) * variance, axis=1) + SMALLEST_VARIANCE)
        return tfd.Independent(tfd.Normal(tf.stop_gradient(mu), tf.stop_gradient(sigma)), 1)

    def losses(self, x, epsilon, z, training=True):
        """What each player descends, per example [m] in nats, for z ~ p(z)."""
        z_q, r = self.draw_q(x, epsilon, training)
        T_q = self.T(x, (z_q - r.mean()) / r.stddev(), training)  # (4.2)
        T_p = self.T(x, z, training)
        log_px = self.p(z_q, training=training).log_prob(x)
        kl = T_q + r.log_prob(z_q) - self.prior.log_prob(z_q)  # without adaptive contrast it is T_q
        return {
            "decoder": -log_px,  # of (3.7), the part that depends on theta
            "encoder": kl - log_px,  # (3.7), (4.1)
            "adversary": adversarial.cross_entropy(T_q, T_p),  # (3.3)
            "estimated_kl": kl,
            "estimated_bound": log_px - kl,
        }

    @property
    def noise_shape(self):
        return (self.num_basis, self.noise_size) if self.adaptive_contrast else (self.noise_size,)

    def draw(self, x, i):
        """eps and z for the i-th minibatch."""
        num = tf.shape(x)[0]
        z = noise.normal(self.key("z", i), [num, self.latent_size])
        return noise.normal(self.key("epsilon", i), [num, *self.noise_shape]), z

    def train_step(self, x):
        *others, last = tf.split(x, self.num_adversary_steps)
        for i, x in enumerate(others):
            epsilon, z = self.draw(x, i)
            self.minimize(lambda: {"adversary": self.losses(x, epsilon, z)["adversary"]})
        x = last  # sample x from the data,
        epsilon, z = self.draw(x, len(others))  # z from the prior and eps from N(0, I)
        self.minimize(lambda: self.losses(x, epsilon, z))  # g_theta, g_phi, g_psi; then all three updates
        return self.next_step()

    def test_step(self, x):
        self.track(self.losses(x, *self.draw(x, 0), training=False))
        return self.logs()

    def proposal(self, x):
        """The Gaussian r(z|x), whose log-weights bound log p(x), whatever the adversary believes.

        Raises:
            ValueError: without adaptive contrast. There p(z) alone could propose a z, whose bounds say nothing.
        """
        if not self.has_proposal:
            raise ValueError("without adaptive_contrast nothing with a density is near q(z|x), and no bound is known.")
        return Gaussian(self.r(*self.split_coefficients(x, training=False), self.basis_draws()))
