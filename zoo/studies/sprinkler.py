"""Huszar's sprinkler: a fixed model whose posterior has two arms, found in three ways by a q that is only drawn from.

Two sprinklers may have wetted the lawn, each more than enough by itself:

    z_1, z_2 ~ N(0, 2),   x | z ~ exponential of mean 3 + max(0, z_1)^3 + max(0, z_2)^3

The encoder minimises KL(q(z|x) || p(z|x)), on average over the x of the data, by what another network has learned:

    prior_contrastive   E[T(x, z) - log p(x|z)]    T* = log q(z|x) / p(z), of z ~ q(z|x) against z ~ p(z)
    joint_contrastive   E[T(x, z)]                 T* = log q(x, z) / p(x, z), of pairs; it needs no density of p
    denoiser            E[-log p(x, z)] - H(q)     the slope of log q(z|x), by taking noise away from z

Notation:

    x         data, [m, *data_shape], not negative; given z their elements are independent, so that points of one number
              are Huszar's. q(x) is the data's distribution, q(x, z) = q(x) q(z|x)
    eps       standard normal noise of the encoder, [m, noise_size]
    eta       that of draws, which end in it: z = z_phi(x, eps) + s eta, [m, 2]
    T         the estimator's logit (drawn from q = 1), trained by the logistic loss and fixed in the encoder's step; as
              a denoiser it estimates s grad_z log q(z|x), [m, 2], as in `zoo/variational/denoising_inference.py`

prior_contrastive is what `avb` does without adaptive contrast, joint_contrastive what `ali` does with the loss
maximum_likelihood, whose decoder is fixed here.

Departures from the paper: x, which runs from 0 to hundreds, enters networks as log(1 + x).
"""

import math
from typing import Literal

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.game import Game
from zoo.parts import adversarial, distributions, networks, noise
from zoo.parts.posteriors import Implicit

DEVIATION = math.sqrt(2.0)  # of the prior
PRIOR = distributions.Prior(
    lambda key, shape: DEVIATION * noise.normal(key, shape),
    lambda seeds, size: DEVIATION * noise.normal_rows(seeds, size),
    lambda size: tfd.Independent(tfd.Normal(tf.zeros(size), DEVIATION), 1),
)


class Sprinkler(Game):
    """The posterior of Huszar's sprinkler by density ratios or by a denoiser (Huszar 2017).

    Args:
        method: "prior_contrastive", "joint_contrastive" or "denoiser", how the encoder learns the posterior.
        hidden_units: tuple of ints, widths of the encoder's hidden layers.
        noise_size: int, the length of eps.
        estimator_units: tuple of ints, widths of the hidden layers of T.
        smoothing: float > 0, s, the standard deviation of the noise that draws from q(z|x) end in.

    Example:

        model = Sprinkler(data_shape=(1,), method="joint_contrastive")
        model.compile()
        model.fit(x, batch_size=256, epochs=10)  # x: float32 [n, 1], not negative
        z = model.encode(x[:8], seeds=tf.range(8, dtype=tf.int64))["z"]  # a draw for each row

    Reference:
        F. Huszar. Variational inference using implicit distributions. 2017. arXiv:1702.08235, sections 3 to 5.
    """

    default_optimizers = {
        player: {"optimizer": "adam", "learning_rate": rate, "beta_1": 0.5}
        for player, rate in {"encoder": 5e-4, "estimator": 1e-3}.items()
    }
    latent_prior = PRIOR
    latent_size = 2
    draws = ("epsilon", "z", "x")
    support = "reals"
    exceptions = {"I13": "its model of the data is fixed: what it learns is the posterior, which no sample shows"}

    def __init__(
        self, *, data_shape,
        method: Literal["prior_contrastive", "joint_contrastive", "denoiser"] = "prior_contrastive",
        hidden_units: tuple[int, ...] = (64, 64), noise_size: int = 3, estimator_units: tuple[int, ...] = (128, 128),
        activation="elu", smoothing: float = 0.1, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if not self.smoothing:
            raise ValueError("smoothing must be positive: without noise in its draws, q may have no density.")

    def make_networks(self):
        size, options = math.prod(self.data_shape), {"activation": self.activation}
        num_outputs = self.latent_size if self.method == "denoiser" else 1
        self.encoder = networks.mlp((size + self.noise_size,), self.hidden_units, (self.latent_size,), **options)
        self.estimator = networks.mlp((size + self.latent_size,), self.estimator_units, (num_outputs,), **options)

    @property
    def moves(self):
        return {"encoder": [self.encoder], "estimator": [self.estimator]}

    def with_x(self, x, vector):
        return tf.concat([tf.math.log(1.0 + tf.reshape(x, [-1, math.prod(self.data_shape)])), vector], axis=1)

    def T(self, x, z, training=True):
        return self.estimator(self.with_x(x, z), training=training)

    def q(self, x, training=False):
        """The posterior q(z|x), whose noise is eps and eta."""

        def draw(noise):
            epsilon, eta = tf.split(noise, [self.noise_size, self.latent_size], axis=-1)
            return self.encoder(self.with_x(x, epsilon), training=training) + self.smoothing * eta

        return Implicit(draw, (self.noise_size + self.latent_size,))

    def p(self, z):
        """p(x|z), for z [..., 2]."""
        mean = 3.0 + tf.reduce_sum(tf.nn.relu(z) ** 3, axis=-1, keepdims=True)
        of_each = tf.tile(mean, [1] * (mean.shape.rank - 1) + [math.prod(self.data_shape)])
        of_each = tf.reshape(of_each, tf.concat([tf.shape(z)[:-1], self.data_shape], axis=0))
        return tfd.Independent(tfd.Exponential(1.0 / of_each), len(self.data_shape))

    def log_joint(self, x, z):
        """log p(x, z) in nats."""
        return self.p(z).log_prob(x) + self.latent_prior.density(self.latent_size).log_prob(z)

    def losses(self, x, noise, z_p, x_p, training=True):
        """What encoder and estimator descend, per example [m], for z_p ~ p(z) and x_p ~ p(x|z_p)."""
        z = self.q(x, training).draw(noise)[0]
        T_q = self.T(x, z, training)
        if self.method == "denoiser":
            slope, eta = tf.stop_gradient(T_q) / self.smoothing, noise[:, self.noise_size :]
            entropy = -tf.reduce_sum(slope * (z - tf.stop_gradient(z)), axis=-1)  # its gradient, not its value
            return {"encoder": -entropy - self.log_joint(x, z), "estimator": tf.reduce_sum((T_q + eta) ** 2, axis=-1)}
        T_q, joint = T_q[:, 0], self.method == "joint_contrastive"
        T_p = self.T(x_p if joint else x, z_p, training)[:, 0]
        log_px = 0.0 if joint else self.p(z).log_prob(x)
        ratio = adversarial.LOSSES["maximum_likelihood"]
        return {"encoder": ratio.encoder(T_q) - log_px, "estimator": ratio.discriminator(T_q, T_p)}

    def draw(self, x):
        """The noise of q, and (z, x) ~ p."""
        num, q = tf.shape(x)[0], self.q(x)
        epsilon = noise.of_keys(q.noise, [num], lambda _: self.key("epsilon"))
        z = self.latent_prior.draw(self.key("z"), [num, self.latent_size])
        return epsilon, z, self.p(z).distribution.quantile(noise.uniform(self.key("x"), tf.shape(x)))

    def train_step(self, x):
        drawn = self.draw(x)
        self.minimize(lambda: self.losses(x, *drawn))
        return self.next_step()

    def test_step(self, x):
        self.track(self.losses(x, *self.draw(x), training=False))
        return self.logs()

    # --- Serving ----------------------------------------------------------------------------------------------------

    def decode(self, z):
        return self.to_served(self.p(z).mean())

    def sample(self, seeds):
        u = noise.uniform_rows(seeds, self.data_shape, noise.stream(noise.LIKELIHOOD))
        return self.to_served(-self.p(self.latent(seeds)).mean() * tf.math.log(1.0 - u))  # ONNX has no log1p

    def sample_mean(self, seeds):
        """The mean of p(x|z), z ~ p(z), for each int64 seed [batch]."""
        return self.decode(self.latent(seeds))

    def encode(self, x, seeds):
        """z ~ q(z|x) for served data x, row i by seeds[i]."""
        return self.q(self.from_served(x)).encoding(seeds)

    def signatures(self):
        return super().signatures() | self.encoder_signatures(draws=True)
