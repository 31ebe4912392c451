"""The variational autoencoder, and the importance-weighted autoencoder as another estimator of its bound.

Objective, maximised over theta and phi:

    ELBO:  E_{q(z|x)}[log p(x|z)] - beta KL(q(z|x) || p(z))  <=  log p(x)    for beta = 1
    IWAE:  E[log 1/K sum_k w_k],   w_k = p(x|z_k) p(z_k) / q(z_k|x),   z_k ~ q(z|x)
    JVI:   the same less an estimate of its bias, by a jackknife over the draws; no bound

Notation, beside that of `autoencoder.py`:

    epsilon    standard normal noise, [K, batch, latent_size]
    q          encoder: q_phi(z|x) = N(mu(x), diag sigma(x)^2), or what a flow makes of its draws, `zoo/parts/flows.py`
    p          decoder: p_theta(x|z), of the family `likelihood`; p(z) = N(0, I)

Departures from Kingma and Welling 2014: Adam instead of Adagrad; no weight decay on theta; for grey images the
Bernoulli likelihood scores the grey value by its cross-entropy; the Gaussian's log-variance is kept within (-8, 8),
and its mean is not squashed into (0, 1).
"""

from typing import Literal

import tensorflow as tf

from zoo.parts import estimators
from zoo.variational.autoencoder import Autoencoder


class VAE(Autoencoder):
    """Variational autoencoder (Kingma and Welling 2014), with K draws of z and the IWAE bound (Burda et al. 2016).

    Args:
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp).
        activation: str, the activation of hidden layers; "crelu" is the concatenated ReLU, which doubles their width,
            "maxout" the maximum over 4 linear maps for each unit.
        estimator: "elbo" (analytic KL where q is Gaussian), "iwae" or "jvi", what is maximised.
        jackknife_order: int >= 0 and below num_samples, m, the order of "jvi"; 0 is "iwae".
        num_samples: int, K, draws of z for each example.
        beta: float >= 0, the weight of the KL term; 1 is a bound on log p(x).

    Example:

        model = VAE(data_shape=(28, 28, 1), latent_size=40, hidden_units=(400,))
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1] in [0, 1]
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        D. P. Kingma and M. Welling. Auto-encoding variational Bayes. ICLR 2014. arXiv:1312.6114, algorithm 1.
        Y. Burda, R. Grosse and R. Salakhutdinov. Importance weighted autoencoders. ICLR 2016. arXiv:1509.00519.
        S. Nowozin. Debiasing evidence approximations: on importance-weighted autoencoders and jackknife variational
        inference. ICLR 2018.
        D. J. Rezende and S. Mohamed. Variational inference with normalizing flows. ICML 2015. arXiv:1505.05770.
    """

    default_optimizers = {"autoencoder": {"optimizer": "adam", "learning_rate": 1e-3}}
    metric_names = ("reconstruction", "kl")
    draws = ("epsilon",)
    zero_allowed = (*Autoencoder.zero_allowed, "jackknife_order")

    def __init__(
        self, *, data_shape, latent_size=20,
        network, hidden_units: tuple[int, ...] = (500,), filters=32, activation="tanh",
        likelihood, num_levels, likelihood_variance, posterior, num_flow_steps, flow_units,
        estimator: Literal[tuple(estimators.ESTIMATORS)] = "elbo", jackknife_order: int = 1,
        num_samples: int = 1, beta: float = 1.0,
        log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if self.estimator == "jvi" and self.num_samples <= self.jackknife_order:
            needed = f"estimator=jvi with jackknife_order={self.jackknife_order} leaves so many draws out"
            raise ValueError(f"{needed}: num_samples must be greater, but is {self.num_samples}.")

    def make_networks(self):
        self.make_encoder()
        self.decoder = self.network_of_z()

    @property
    def moves(self):
        return {"autoencoder": [self.encoder, *self.flow_networks, self.decoder]}

    def q(self, x, training=False):
        return self.posterior_of(self.encoder(x, training=training))

    def negative_bound(self, x, training):
        """Minus the bound that is maximised, and its two terms, each in nats [batch]."""
        q = self.q(x, training)
        z, log_qz = q.draw(self.draw_noise(q, [self.num_samples, tf.shape(x)[0]]))  # z = mu + sigma * epsilon, K times
        log_px = self.p(z, training).log_prob(x)
        log_ratio = self.prior.log_prob(z) - log_qz
        kl = q.kl(self.latent_prior) if hasattr(q, "kl") else -tf.reduce_mean(log_ratio, axis=0)
        log_ratio = -kl if self.estimator == "elbo" else log_ratio  # whose expectation -kl is, where it is known
        bound = estimators.estimator(self.estimator, self.jackknife_order)(log_px + self.beta * log_ratio)
        return {"autoencoder": -bound, "reconstruction": -tf.reduce_mean(log_px, axis=0), "kl": kl}

    def train_step(self, x):
        self.minimize(lambda: self.negative_bound(x, training=True))
        return self.next_step()

    def test_step(self, x):
        self.track(self.negative_bound(x, training=False))
        return self.logs()
