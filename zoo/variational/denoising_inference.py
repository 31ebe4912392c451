"""Variational inference by a denoiser (Huszar 2017, section 4): no adversary, the gradient of the entropy is learned.

A variational autoencoder whose posterior can be sampled and nothing else. Its draws end in Gaussian noise, and who can
best take that noise away knows the slope of log q (Miyasawa 1961; Alain and Bengio 2014):

    max_{theta, phi}  E_data E_q[log p_theta(x|z) + log p(z) - log q(z|x)],   z = z_phi(x, eps) + s eta

    v*(x, z) = E[z_phi | x, z] = z + s^2 grad_z log q(z|x)   minimises   E_data E_q |v(x, z) - z_phi(x, eps)|^2

    d/dphi E_q[log q(z|x)] = E[(dz/dphi)^T grad_z log q(z|x)] = E[(dz/dphi)^T (v*(x, z) - z)] / s^2

In the last line log q changes with phi, too, but not on average: E_q[d log q / dphi] = 0.

Notation, beside that of `autoencoder.py`:

    eps, eta   standard normal noise [m, noise_size] and [m, latent_size]
    z_phi      encoder, [m, latent_size]
    v          denoiser; its network gives (v - z) / s, of the size of eta whatever s is
    s          `smoothing`

The encoder's loss has the gradient of minus the bound for the best denoiser, and the value of -log p(x, z): the entropy
of q is not known, its gradient alone.

Departures from the paper: the noise is a part of q there only where the denoiser learns, which leaves an error of order
s^2 in the gradient; here q is what the denoiser knows, so that there is none for any s > 0. Denoiser, encoder and
decoder move at once.
"""

import tensorflow as tf

from common.graph import of_each
from zoo.parts import networks, noise
from zoo.parts.posteriors import Implicit, Mixture
from zoo.variational.autoencoder import Autoencoder

NUM_COMPONENTS = 100  # of the mixture that proposes z


class DenoisingInference(Autoencoder):
    """Denoiser-based variational inference with an implicit posterior (Huszar 2017).

    Args:
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp); of the
            layers that join a vector to a convolutional encoder or denoiser.
        noise_size: int, the length of eps.
        denoiser_units: tuple of ints, widths of the denoiser's hidden layers.
        smoothing: float > 0, the standard deviation s of the noise that draws from q(z|x) end in.

    Example:

        model = DenoisingInference(data_shape=(28, 28, 1), latent_size=8)
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1] in [0, 1]
        z = model.encode(x[:8], seeds=tf.range(8, dtype=tf.int64))["z"]  # a draw for each row

    Reference:
        F. Huszar. Variational inference using implicit distributions. 2017. arXiv:1702.08235, section 4.
        G. Alain and Y. Bengio. What regularized auto-encoders learn from the data-generating distribution. JMLR 2014.
        arXiv:1211.4246, theorem 1.
    """

    default_optimizers = {
        player: {"optimizer": "adam", "learning_rate": rate}
        for player, rate in {"decoder": 5e-4, "encoder": 5e-4, "denoiser": 1e-3}.items()
    }
    metric_names = ("reconstruction",)
    draws = ("epsilon", "epsilon")  # of q one, of the mixture that proposes two
    encodes_by_draws = True
    proposes_by_q = False

    def __init__(
        self, *, data_shape, latent_size=20, network, hidden_units: tuple[int, ...] = (500,), filters=32,
        activation="elu", likelihood, num_levels, likelihood_variance, noise_size: int = 20,
        denoiser_units: tuple[int, ...] = (500, 500), smoothing: float = 0.1, inpaint_steps,
        log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if not self.smoothing:
            raise ValueError("smoothing must be positive: without noise in its draws, q may have no density.")

    def make_networks(self):
        size = self.latent_size
        self.decoder = self.network_of_z()
        self.encoder = self.network_of_x_and(self.noise_size, networks.mlp, self.hidden_units, size)
        self.denoiser = self.network_of_x_and(size, networks.mlp, self.denoiser_units, size)

    @property
    def moves(self):
        return {"decoder": [self.decoder], "encoder": [self.encoder], "denoiser": [self.denoiser]}

    def z_phi(self, x, epsilon, training=False):
        return networks.of_x_and_vectors(self.encoder, x, epsilon, training)

    def v(self, x, z, training=False):
        return z + self.smoothing * networks.of_x_and_vectors(self.denoiser, x, z, training)

    def split_noise(self, noise):
        """eps and eta of the noise of a draw from q."""
        return tf.split(noise, [self.noise_size, self.latent_size], axis=-1)

    def q(self, x, training=False):
        def draw(noise):
            epsilon, eta = self.split_noise(noise)
            return self.z_phi(x, epsilon, training) + self.smoothing * eta

        return Implicit(draw, (self.noise_size + self.latent_size,))

    def losses(self, x, noise, training=True):
        """What each player descends, per example [m], in nats but for the denoiser's."""
        s, (epsilon, eta) = self.smoothing, self.split_noise(noise)
        z_phi = self.z_phi(x, epsilon, training)
        z = z_phi + s * eta
        v = self.v(x, z, training)
        slope = tf.stop_gradient(v - z) / s**2  # of log q(z|x)
        log_px = self.p(z, training=training).log_prob(x)
        return {
            "decoder": -log_px,
            "encoder": tf.reduce_sum(slope * (z - tf.stop_gradient(z)), axis=-1) - log_px - self.prior.log_prob(z),
            "denoiser": tf.reduce_sum(tf.square((v - z_phi) / s), axis=-1),
            "reconstruction": -log_px,
        }

    def draw(self, x):
        return self.draw_noise(self.q(x), [tf.shape(x)[0]])

    def train_step(self, x):
        noise = self.draw(x)
        self.minimize(lambda: self.losses(x, noise))
        return self.next_step()

    def test_step(self, x):
        self.track(self.losses(x, self.draw(x), training=False))
        return self.logs()

    def proposal(self, x):
        """A mixture of Gaussians that tends to q(z|x) as their number grows, their means being draws of z_phi."""
        epsilon = noise.normal(noise.key(0, 0, noise.MOMENTS), [NUM_COMPONENTS, self.noise_size])  # always the same

        def component(epsilon):
            return self.z_phi(x, tf.repeat(epsilon[None], tf.shape(x)[0], axis=0))

        return Mixture(of_each(component, epsilon), self.smoothing)
