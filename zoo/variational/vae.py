"""The variational autoencoder, and the importance-weighted autoencoder as another estimator of its bound.

Objective, maximised over theta and phi:

    ELBO:  E_{q(z|x)}[log p(x|z)] - beta KL(q(z|x) || p(z))  <=  log p(x)    for beta = 1
    IWAE:  E[log 1/K sum_k w_k],   w_k = p(x|z_k) p(z_k) / q(z_k|x),   z_k ~ q(z|x)
    JVI:   the same less an estimate of its bias, by a jackknife over the draws; no bound

The mean of KL over the training rows is I + TC + D, parts that `zoo/parts/aggregate.py` explains and that may have
weights of their own (beta-TCVAE): I of a row's index and its code, TC the total correlation, D dimension by dimension.

    beta (KL + (index_code_weight - 1) I + (total_correlation_weight - 1) TC + (dimension_wise_weight - 1) D)

With beta and all weights at least 1 that is at least KL, so that what is maximised is a bound on the mean log p(x) of
the training rows. That of training is none: I, TC and D are estimates there, by the minibatch.

Notation, beside that of `autoencoder.py`:

    epsilon    standard normal noise, [K, batch, latent_size]
    q          encoder: q_phi(z|x) = N(mu(x), diag sigma(x)^2), or what a flow makes of its draws, `zoo/parts/flows.py`
    p          decoder: p_theta(x|z), of the family `likelihood`; p(z) = N(0, I)

Departures from Kingma and Welling 2014: Adam instead of Adagrad; no weight decay on theta; for grey images the
Bernoulli likelihood scores the grey value by its cross-entropy; the Gaussian's log-variance is kept within (-8, 8),
and its mean is not squashed into (0, 1). From Chen et al. 2018: of the KL, only what weights add is estimated by draws.
"""

from typing import Literal

import tensorflow as tf

from zoo.parts import aggregate
from zoo.variational.autoencoder import Autoencoder


class VAE(Autoencoder):
    """Variational autoencoder (Kingma and Welling 2014), with K draws of z and the IWAE bound (Burda et al. 2016).

    Args:
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp).
        activation: str, the activation of hidden layers; "crelu" is the concatenated ReLU, which doubles their width,
            "maxout" the maximum over 4 linear maps for each unit.
        index_code_weight: float >= 0, the weight of I within the KL, alpha of Chen et al. (who have beta = 1).
        total_correlation_weight: float >= 0, the weight of TC, their beta: 6 makes the VAE a beta-TCVAE.
        dimension_wise_weight: float >= 0, the weight of D, their gamma.
        aggregate_sampling: "weighted" or "stratified", how a minibatch stands for q(z) of all training rows: the first
            is the choice of Chen et al., the second unbiased. Only weights other than 1 need it.
        num_train: int, N, the number of training rows, which such weights need.

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
        I. Higgins et al. beta-VAE: learning basic visual concepts with a constrained variational framework. ICLR 2017.
        R. T. Q. Chen, X. Li, R. Grosse and D. Duvenaud. Isolating sources of disentanglement in variational
        autoencoders. NeurIPS 2018. arXiv:1802.04942, section 3 and appendix C.
    """

    zero_allowed = (*Autoencoder.zero_allowed, "num_train")

    def __init__(
        self, *, data_shape, latent_size=20,
        network, hidden_units: tuple[int, ...] = (500,), filters=32, activation="tanh",
        likelihood, num_levels, likelihood_variance, posterior, num_flow_steps, flow_units,
        estimator, jackknife_order, num_samples, beta,
        index_code_weight: float = 1.0, total_correlation_weight: float = 1.0, dimension_wise_weight: float = 1.0,
        aggregate_sampling: Literal[tuple(aggregate.SAMPLING)] = "weighted", num_train: int = 0,
        inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if self.part_weights and self.estimator != "elbo":
            raise ValueError(f"the parts of the KL have no weights in {self.estimator}: choose elbo.")
        if self.part_weights and self.posterior != "gaussian":
            raise ValueError("the parts of the KL are those of a Gaussian posterior: choose posterior=gaussian.")
        if self.part_weights and not self.num_train:
            raise ValueError("weights of the parts of the KL need num_train, how many training rows there are.")

    @property
    def part_weights(self):
        """What the weights add to 1, a dict of `aggregate.PARTS`; empty where they are all 1."""
        weights = (self.index_code_weight, self.total_correlation_weight, self.dimension_wise_weight)
        added = {part: weight - 1.0 for part, weight in zip(aggregate.PARTS, weights, strict=True)}
        return added if any(added.values()) else {}

    @property
    def metric_names(self):
        return ("reconstruction", "kl", *self.part_weights)

    def more_divergence(self, q, z, log_qz):
        if not self.part_weights:
            return super().more_divergence(q, z, log_qz)
        log_weights = aggregate.SAMPLING[self.aggregate_sampling](tf.shape(z)[1], self.num_train)
        parts = aggregate.parts_of_kl(q, z, log_qz, self.prior, log_weights)
        return sum(weight * parts[part] for part, weight in self.part_weights.items()), parts
