"""Hierarchical implicit models, and likelihood-free variational inference (Tran, Ranganath and Blei 2017).

A simulator whose parameters are as unknown as its latents, and of which nothing is asked but samples:

    beta ~ p(beta),   z_n ~ p(z),   x_n = g(z_n, eps_n, beta),   n = 1 .. N

Objective, minimised over q(beta) and q(z|x, beta): up to a constant, minus a lower bound on log p(x_1, .., x_N),

    KL(q(beta) || p(beta)) + N E_{q(beta)} E_{q(x) q(z|x, beta)}[T*],   T* = log q(x) q(z|x, beta) / p(x, z|beta)

    T* = argmin_T  E_{q(beta)}[E_{q(x) q(z|x, beta)}[-log sigma(T)] + E_{p(x, z|beta)}[-log(1 - sigma(T))]]

The sum over the N rows is N times the mean over a minibatch. T sees beta, so that its slope in beta is that of the log
of the likelihood: gradients go through what T sees of z and beta, never through the x that are simulated. That of
log q(z|x, beta) in beta is 0 on average.

Notation:

    x, q(x)    data, [m, *data_shape], and their distribution
    z          local latent, [m, latent_size], z ~ p(z) = N(0, I)
    beta       global latent, p(beta) = N(0, I); each row of a minibatch has a draw of its own, [m, beta_size]
    eps        standard normal noise of the simulator, [m, *data_shape]
    T          ratio estimator, a logit (drawn from q = 1), [m]
    q          q(beta), a Gaussian with a diagonal covariance; q(z|x, beta), one whose parameters a network gives

The simulator here is a deep implicit model, a neural network with the weights beta. A subclass with `beta_size` and
`simulate` has another. T sees x, z, g(z, 0, beta), (x - g)^2 and, as constants, the parameters of q(z|x, beta), of all
of which T* is a function where noise is added to g(z, 0, beta); for another noise, or a simulator without slopes, a
subclass has another T, too. Without those of q, which beta gave, T would learn the mean of q(z|x, beta) over all beta
of one g, whose slope in g is no part of the likelihood's, however narrow q(beta) is.

Departures from the paper: T is positive for what q draws, as everywhere in this zoo; KL(q(beta) || p(beta)) in closed
form; weights are scaled by the root of the number of inputs, so that p(beta) = N(0, I) suits any width.
"""

import math
from typing import Literal

import keras
import tensorflow as tf

from zoo.game import Game
from zoo.parts import adversarial, distributions, networks, noise
from zoo.parts.layers import Numbers
from zoo.parts.posteriors import Gaussian

RATIO_LOSSES = {"log": adversarial.cross_entropy, "hinge": adversarial.hinge}
START = -5.2  # raw log-variance of q(beta): a deviation of 0.1


class ImplicitModel(Game):
    """Posterior of a simulator's parameters and latents, without a likelihood (Tran, Ranganath and Blei 2017).

    Args:
        num_rows: int, N, the number of rows in the data: how much they count beside the prior of beta.
        simulator_units: tuple of ints, widths of the hidden layers (tanh) of the network whose weights are beta.
        noise_deviation: float > 0, the standard deviation of the noise that is added to the network's output. Images
            get it in training, too, as grey levels have no density, and have none when they are sampled.
        encoder_units: tuple of ints, widths of the hidden layers of q(z|x, beta).
        estimator_units: tuple of ints, widths of the hidden layers of T.
        ratio_loss: "log", or "hinge", the paper's other choice, by which T tends to the sign of T*: no bound.

    Example:

        model = ImplicitModel(data_shape=(2,), latent_size=2, num_rows=1000)
        model.compile()
        model.fit(x, batch_size=100, epochs=100)  # x: float32 [1000, 2]
        beta = model.draw_beta(tf.range(100, dtype=tf.int64))  # 100 draws of q(beta)

    Reference:
        D. Tran, R. Ranganath and D. M. Blei. Hierarchical implicit models and likelihood-free variational inference.
        NeurIPS 2017. arXiv:1702.08896, algorithm 1.
    """

    default_optimizers = {
        player: {"optimizer": "adam", "learning_rate": rate, "beta_1": 0.5}
        for player, rate in {"posterior": 5e-4, "estimator": 1e-3}.items()
    }
    metric_names = ("estimated_divergence", "kl_of_beta")
    latent_prior = distributions.PRIORS["normal"]
    draws = ("beta", "epsilon", "z", "noise", "data_noise")

    def __init__(
        self, *, data_shape, latent_size=10, num_rows: int = 1000, simulator_units: tuple[int, ...] = (32,),
        noise_deviation: float = 0.1, encoder_units: tuple[int, ...] = (128,),
        estimator_units: tuple[int, ...] = (128, 128), activation="elu", ratio_loss: Literal["log", "hinge"] = "log",
        seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if not self.noise_deviation:
            raise ValueError("noise_deviation must be positive: x and z have no ratio of densities without noise.")

    # --- The simulator -----------------------------------------------------------------------------------------------

    @property
    def layer_sizes(self):
        """(inputs, outputs) of each layer of the network that simulates."""
        sizes = [self.latent_size, *self.simulator_units, math.prod(self.data_shape)]
        return list(zip(sizes[:-1], sizes[1:], strict=True))

    @property
    def beta_size(self):
        return sum((inputs + 1) * outputs for inputs, outputs in self.layer_sizes)

    def simulate(self, z, epsilon, beta):
        """x = g(z, eps, beta), [m, *data_shape]."""
        parts = tf.split(beta, [(inputs + 1) * outputs for inputs, outputs in self.layer_sizes], axis=1)
        h = z
        for i, (part, (inputs, outputs)) in enumerate(zip(parts, self.layer_sizes, strict=True)):
            kernel, bias = tf.split(part, [inputs * outputs, outputs], axis=1)
            kernel = tf.reshape(kernel, [-1, inputs, outputs]) / math.sqrt(inputs)
            h = tf.einsum("mi,mio->mo", tf.tanh(h) if i else h, kernel) + bias
        return tf.reshape(h, [-1, *self.data_shape]) + self.noise_deviation * epsilon

    def without_noise(self, z, beta):
        """g(z, 0, beta), [m, *data_shape]."""
        return self.simulate(z, tf.zeros([tf.shape(z)[0], *self.data_shape]), beta)

    # --- The posterior -----------------------------------------------------------------------------------------------

    def make_networks(self):
        size, beta_size, options = math.prod(self.data_shape), self.beta_size, {"activation": self.activation}
        start = keras.initializers.RandomNormal(stddev=1.0)([beta_size])  # a draw from the prior
        self.beta = Numbers("beta", mean=start.numpy(), raw_log_variance=tf.fill([beta_size], START).numpy())
        self.encoder = networks.mlp((size + beta_size,), self.encoder_units, (2 * self.latent_size,), **options)
        self.estimator = networks.mlp((3 * size + 3 * self.latent_size,), self.estimator_units, (1,), **options)

    @property
    def moves(self):
        return {"posterior": [self.beta, self.encoder], "estimator": [self.estimator]}

    def q_beta(self):
        """q(beta), of one row [1, beta_size]."""
        parameters = [tf.convert_to_tensor(w.value) for w in (self.beta.mean, self.beta.raw_log_variance)]
        return Gaussian.of(tf.concat(parameters, axis=0)[None])

    def q(self, x, beta, training=False):
        """q(z|x, beta)."""
        return Gaussian.of(self.parameters_of_q(x, beta, training))

    def parameters_of_q(self, x, beta, training=False):
        return self.encoder(self.joined(x, beta), training=training)

    def T(self, x, z, beta, training=True):
        g, of_q = self.without_noise(z, beta), tf.stop_gradient(self.parameters_of_q(x, beta, training))
        return self.estimator(self.joined(x, z, g, tf.square(x - g), of_q), training=training)[:, 0]

    @staticmethod
    def joined(*parts):
        return tf.concat([tf.reshape(part, [tf.shape(part)[0], math.prod(part.shape[1:])]) for part in parts], axis=1)

    def losses(self, x, of_beta, epsilon, z_p, of_simulator, training=True):
        """What posterior and estimator descend, per example [m]; of the posterior's objective, an N-th."""
        q_beta = self.q_beta()
        beta, _ = q_beta.draw(of_beta)
        z, _ = self.q(x, beta, training).draw(epsilon)
        x_p = self.simulate(z_p, of_simulator, beta)  # (x, z) ~ p(x, z|beta)
        T_q, T_p = self.T(x, z, beta, training), self.T(x_p, z_p, beta, training)
        kl = q_beta.kl(self.latent_prior)
        return {
            "posterior": T_q + kl / self.num_rows,
            "estimator": RATIO_LOSSES[self.ratio_loss](T_q, T_p),
            "estimated_divergence": T_q,
            "kl_of_beta": kl,
        }

    def draw(self, x):
        shapes = {"beta": [self.beta_size], "epsilon": [self.latent_size], "z": [self.latent_size]}
        shapes["noise"] = self.data_shape
        return [noise.normal(self.key(name), [tf.shape(x)[0], *shape]) for name, shape in shapes.items()]

    def observed(self, x):
        """Images with noise such as the simulator's, whose few grey levels have no ratio to a density; else points."""
        if self.data_name == "points":
            return x
        return x + self.noise_deviation * noise.normal(self.key("data_noise"), tf.shape(x))

    def train_step(self, x):
        x, drawn = self.observed(x), self.draw(x)
        self.minimize(lambda: self.losses(x, *drawn))  # gradients of both at the same draws, then both updates
        return self.next_step()

    def test_step(self, x):
        self.track(self.losses(self.observed(x), *self.draw(x), training=False))
        return self.logs()

    # --- Serving -----------------------------------------------------------------------------------------------------

    def draw_beta(self, seeds):
        """beta ~ q(beta), [batch, beta_size], row i by seeds[i]."""
        epsilon = noise.normal_rows(seeds, self.beta_size, noise.stream(noise.POSTERIOR))
        return self.q_beta().draw(epsilon)[0]

    def mean_beta(self, rows):
        """The mean of q(beta) for each of `rows`."""
        return tf.repeat(self.q_beta().mean(), tf.shape(rows)[0], axis=0)

    def decode(self, z):
        """g(z, 0, beta) at the mean of q(beta)."""
        return self.to_served(self.without_noise(z, self.mean_beta(z)))

    def sample(self, seeds):
        """A draw from the posterior predictive p(x | x_1, .., x_N) for each seed: of beta, of z and of the noise."""
        epsilon = noise.normal_rows(seeds, self.data_shape, noise.stream(noise.LIKELIHOOD))
        epsilon = epsilon if self.data_name == "points" else tf.zeros_like(epsilon)  # which the images do not have
        return self.to_served(self.simulate(self.latent(seeds), epsilon, self.draw_beta(seeds)))

    def sample_mean(self, seeds):
        """`decode` at the z of the same seeds: without noise, and at the mean of q(beta)."""
        return self.decode(self.latent(seeds))

    def encode(self, x, seeds=None):
        """Mean and log-variance of q(z|x, beta) for served data x, at the mean of q(beta)."""
        return self.q(self.from_served(x), self.mean_beta(x)).encoding(seeds)

    def signatures(self):
        beta = {"beta": (lambda seed: {"beta": self.draw_beta(seed)}, self.seed_spec)}
        return super().signatures() | self.encoder_signatures(draws=False) | beta
