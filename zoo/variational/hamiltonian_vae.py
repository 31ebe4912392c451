"""The variational autoencoder whose posterior is moved by Hamiltonian dynamics towards the posterior of the model.

    z_0 ~ q(z_0|x),   v'_t ~ N(0, I),   (z_t, v_t) = leapfrog(z_{t-1}, v'_t; log p(x, z), step sizes_t),   t = 1 ... T

    log p(x)  >=  E[log p(x, z_T) - log q(z_0|x) + sum_t (log r_t(v_t|x, z_t) - log N(v'_t; 0, I))]         (section 3)

The leapfrog steps keep the volume, so that they add no determinant. Momenta are auxiliary variables, which the reverse
model r guesses from where they have led: the better, the tighter is the bound. No proposal is refused, and all is
learned by the gradient of the bound, which goes through the dynamics.

Notation, beside that of `autoencoder.py` and `vae.py`:

    z_0, z     where a draw starts, q(z_0|x) = N(mu(x), diag sigma(x)^2), and where it ends, z = z_T
    v', v      momentum before and after the leapfrog steps of a transition
    r          N(mean(x, z), diag variance(x, z)), for each transition its own
    T          num_transitions; with none the model is a VAE whose KL is drawn

Departures from the paper: momenta are N(0, I) whatever x and z; the diagonal mass matrix M and the step size of a
transition are one number for each latent, step size / sqrt(M), which is all that they come to (`hamiltonian.leapfrog`);
they start at `step_size`.
"""

import numpy as np
import tensorflow as tf

from zoo.parts import hamiltonian, networks
from zoo.parts.layers import Numbers
from zoo.parts.posteriors import ByDraws, Gaussian
from zoo.variational.autoencoder import Autoencoder


class HamiltonianVAE(Autoencoder):
    """Variational autoencoder with Hamiltonian variational inference (Salimans, Kingma and Welling 2015).

    Args:
        hidden_units: tuple of ints, widths of the hidden layers of x, of r and, reversed, of the decoder's (mlp).
        num_transitions: int, T, how often a momentum is drawn; 0 for none.
        num_leapfrog_steps: int, steps with each momentum.
        step_size: float > 0, their size at first, which is learned for each transition and latent.

    Example:

        model = HamiltonianVAE(data_shape=(28, 28, 1), latent_size=32, num_leapfrog_steps=4)
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1] in [0, 1]
        z = model.encode(x, tf.range(len(x), dtype=tf.int64))["z"]

    Reference:
        T. Salimans, D. P. Kingma and M. Welling. Markov chain Monte Carlo and variational inference: bridging the gap.
        ICML 2015. arXiv:1410.6460, section 3.
    """

    zero_allowed = (*Autoencoder.zero_allowed, "num_transitions")
    encodes_by_draws = True

    def __init__(
        self, *, data_shape, latent_size=32,
        network, hidden_units: tuple[int, ...] = (300, 300), filters=32, activation="softplus",
        likelihood, num_levels, likelihood_variance,
        num_transitions: int = 1, num_leapfrog_steps: int = 4, step_size: float = 0.05,
        estimator, jackknife_order, num_samples, beta, inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if self.step_size == 0.0:
            raise ValueError("step_size must be positive: its logarithm is learned.")

    def make_networks(self):
        size, transitions = self.latent_size, range(self.num_transitions)
        self.encoder = self.network_of_x(2 * size)
        self.decoder = self.network_of_z()
        self.reverse = [self.network_of_x_and(size, networks.mlp, self.hidden_units, 2 * size) for _ in transitions]
        start = np.full(size, np.log(self.step_size), np.float32)
        self.dynamics = [Numbers(f"dynamics_{t}", log_step_size=start) for t in transitions]

    @property
    def moves(self):
        return {"autoencoder": [self.encoder, self.decoder, *self.reverse, *self.dynamics]}

    @property
    def draws(self):
        return ("epsilon",) * (1 + self.num_transitions)

    def q_0(self, x, training=False):
        return Gaussian.of(self.encoder(x, training=training))

    def q(self, x, training=False):
        start = self.q_0(x, training)

        def draw(noise):
            epsilon, *momenta = noise
            z, log_q = start.draw(epsilon)
            for t, v in enumerate(momenta):
                log_q += self.prior.log_prob(v)  # of v' ~ N(0, I), as z is a priori
                z, v = self.leapfrog(t, x, z, v, self.num_leapfrog_steps, training)
                log_q -= self.r(t, x, z, training).log_prob(v)
            return z, log_q

        return ByDraws(draw, (start.noise,) * (1 + self.num_transitions))

    def leapfrog(self, t, x, z, v, num_steps, training=False):
        """z and v after `num_steps` leapfrog steps of the t-th transition."""

        def log_joint(z):
            return self.p(z, training=training).log_prob(x) + self.prior.log_prob(z)

        step_size = tf.exp(self.dynamics[t].log_step_size)
        return hamiltonian.leapfrog(log_joint, z, v, step_size, num_steps, unroll=training)[:2]

    def r(self, t, x, z, training=False):
        """The reverse model of the momentum that led to z [..., batch, latent_size] in the t-th transition."""
        return Gaussian.of(networks.of_x_and_vectors(self.reverse[t], x, z, training))

    def trajectory(self, x, noise):
        """The way of a draw from q, [1 + T num_leapfrog_steps, ..., batch, latent_size], for noise as `q` takes it."""
        epsilon, *momenta = noise
        points = [self.q_0(x).draw(epsilon)[0]]
        for t, v in enumerate(momenta):
            for _ in range(self.num_leapfrog_steps):
                z, v = self.leapfrog(t, x, points[-1], v, 1)
                points.append(z)
        return tf.stack(points)
