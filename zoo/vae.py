"""The variational autoencoder, and the importance-weighted autoencoder as another estimator of its bound.

Objective, maximised over theta and phi:

    ELBO:  E_{q(z|x)}[log p(x|z)] - beta KL(q(z|x) || p(z))  <=  log p(x)    for beta = 1
    IWAE:  E[log 1/K sum_k w_k],   w_k = p(x|z_k) p(z_k) / q(z_k|x),   z_k ~ q(z|x)

Notation:

    x          data, [batch, *data_shape], pixels in [0, 1]
    epsilon    standard normal noise, [K, batch, latent_size]
    q          encoder: q_phi(z|x) = N(mu(x), diag sigma(x)^2)
    p          decoder: p_theta(x|z), Bernoulli or diagonal Gaussian with learned variance; p(z) = N(0, I)

Departures from Kingma and Welling 2014: Adam instead of Adagrad; no weight decay on theta; for grey images the
Bernoulli likelihood scores the grey value by its cross-entropy; the Gaussian's log-variance is kept within (-8, 8),
and its mean is not squashed into (0, 1).
"""

from typing import Literal

import tensorflow as tf

from zoo.game import Game
from zoo.parts import distributions, estimators, networks, noise


class VAE(Game):
    """Variational autoencoder (Kingma and Welling 2014), with K draws of z and the IWAE bound (Burda et al. 2016).

    Args:
        data_shape: tuple of ints, `(height, width, channels)` of an image or `(size,)` of a point.
        latent_size: int, the length of z.
        network: "mlp", or "convolutional" for square images.
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp).
        filters: int, channels at the image's end of the encoder and decoder, doubled at each halving (convolutional).
        activation: str, the activation of hidden layers; "crelu" is the concatenated ReLU, which doubles their width,
            "maxout" the maximum over 4 linear maps for each unit.
        likelihood: "bernoulli" for data in [0, 1], or "gaussian" with a mean and a variance for every number in x.
        estimator: "elbo" (analytic KL) or "iwae", the bound that is maximised.
        num_samples: int, K, draws of z for each example.
        beta: float >= 0, the weight of the KL term; 1 is a bound on log p(x).
        log_prob_samples: int, draws of z behind each row that the exported `log_prob` scores.
        seed: int, the seed of all noise drawn in training.
        name: str or None.

    Raises:
        ValueError: for an argument out of its range.

    Example:

        model = VAE(data_shape=(28, 28, 1), latent_size=40, hidden_units=(400,))
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1] in [0, 1]
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        D. P. Kingma and M. Welling. Auto-encoding variational Bayes. ICLR 2014. arXiv:1312.6114, algorithm 1.
        Y. Burda, R. Grosse and R. Salakhutdinov. Importance weighted autoencoders. ICLR 2016. arXiv:1509.00519.
    """

    default_optimizers = {"autoencoder": {"optimizer": "adam", "learning_rate": 1e-3}}
    metric_names = ("reconstruction", "kl")
    latent_prior = distributions.PRIORS["normal"]

    def __init__(
        self,
        *,
        data_shape,
        latent_size: int = 20,
        network: Literal["mlp", "convolutional"] = "mlp",
        hidden_units: tuple[int, ...] = (500,),
        filters: int = 32,
        activation: networks.Activation = "tanh",
        likelihood: Literal[tuple(distributions.LIKELIHOODS)] = "bernoulli",
        estimator: Literal[tuple(estimators.ESTIMATORS)] = "elbo",
        num_samples: int = 1,
        beta: float = 1.0,
        log_prob_samples: int = 100,
        seed: int = 0,
        name: str | None = None,
    ):
        super().__init__(data_shape=data_shape, seed=seed, name=name)
        self.set_arguments(locals())
        num_parameters = distributions.LIKELIHOODS[likelihood].num_parameters
        output_shape = (*self.data_shape[:-1], num_parameters * self.data_shape[-1])
        if network == "mlp":
            options = {"activation": activation}
            self.encoder = networks.mlp(self.data_shape, hidden_units, (2 * latent_size,), **options)
            self.decoder = networks.mlp((latent_size,), hidden_units[::-1], output_shape, **options)
        else:
            options = {"filters": filters, "activation": activation}
            self.encoder = networks.convolutional_encoder(self.data_shape, 2 * latent_size, **options)
            self.decoder = networks.convolutional_decoder(latent_size, output_shape, **options)

    @property
    def players(self):
        return {"autoencoder": [self.encoder, self.decoder]}

    @property
    def data_range(self):
        return (0.0, 1.0) if self.likelihood == "bernoulli" else super().data_range

    def q(self, x, training=False):
        """The posterior q(z|x)."""
        return distributions.gaussian(self.encoder(x, training=training))

    def p(self, z, training=False):
        """The likelihood p(x|z), for z [..., latent_size]."""
        parameters = networks.over_leading_axes(self.decoder, z, training=training)
        return distributions.LIKELIHOODS[self.likelihood].density(parameters, event_ndims=len(self.data_shape))

    def negative_bound(self, x, epsilon, training):
        """Minus the bound that is maximised, and its two terms, each in nats [batch]."""
        q = self.q(x, training)
        z = distributions.reparameterize(q, epsilon)
        log_px = self.p(z, training).log_prob(x)
        kl = distributions.kl_to_standard_normal(q)
        if self.estimator == "elbo":  # the expectation of log p(z) - log q(z|x) is known: it is -KL
            log_ratio = -kl
        else:
            log_ratio = self.latent_prior.density(self.latent_size).log_prob(z) - q.log_prob(z)
        bound = estimators.ESTIMATORS[self.estimator](log_px + self.beta * log_ratio)
        return {"autoencoder": -bound, "reconstruction": -tf.reduce_mean(log_px, axis=0), "kl": kl}

    def draw_epsilon(self, x, num_samples):
        (key,) = self.keys(1)
        return noise.normal(key, [num_samples, tf.shape(x)[0], self.latent_size])

    def train_step(self, x):
        epsilon = self.draw_epsilon(x, self.num_samples)  # z = mu + sigma * epsilon, K draws for each x
        self.minimize(lambda: self.negative_bound(x, epsilon, training=True))
        return self.next_step()

    def test_step(self, x):
        self.track(self.negative_bound(x, self.draw_epsilon(x, self.num_samples), training=False))
        return self.logs()

    def log_weights(self, x, epsilon):
        """log w = log p(x, z) - log q(z|x) in nats [K, batch], for noise [K, batch, latent_size]."""
        return distributions.log_weights(self.p, x, self.q(x), self.latent_prior.density(self.latent_size), epsilon)

    def decode(self, z):
        return self.to_served(self.p(z).mean())

    def encode(self, x):
        """Mean and log-variance of q(z|x) for served data x."""
        q = self.q(self.from_served(x))
        return {"z": q.mean(), "z_log_var": tf.math.log(q.variance())}

    def log_prob(self, x, seeds):
        """ELBO and importance-weighted bound of served data, in nats; row i draws from seeds[i] alone."""
        x = self.from_served(x)
        q, prior = self.q(x), self.latent_prior.density(self.latent_size)
        return estimators.bounds_of_rows(
            lambda epsilon: distributions.log_weights(self.p, x, q, prior, epsilon[None])[0],
            seeds,
            self.latent_size,
            self.log_prob_samples,
        )

    def signatures(self):
        data, name = self.data_spec, self.data_name
        seed = {"seed": tf.TensorSpec([None], tf.int64)}
        return {
            **super().signatures(),
            "encode": (lambda **inputs: self.encode(inputs[name]), data),
            "reconstruct": (lambda **inputs: {name: self.decode(self.encode(inputs[name])["z"])}, data),
            "log_prob": (lambda seed, **inputs: self.log_prob(inputs[name], seed), {**data, **seed}),
        }
