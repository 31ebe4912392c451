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

from zoo.variational.autoencoder import Autoencoder


class VAE(Autoencoder):
    """Variational autoencoder (Kingma and Welling 2014), with K draws of z and the IWAE bound (Burda et al. 2016).

    Args:
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp).
        activation: str, the activation of hidden layers; "crelu" is the concatenated ReLU, which doubles their width,
            "maxout" the maximum over 4 linear maps for each unit.

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

    def __init__(
        self, *, data_shape, latent_size=20,
        network, hidden_units: tuple[int, ...] = (500,), filters=32, activation="tanh",
        likelihood, num_levels, likelihood_variance, posterior, num_flow_steps, flow_units,
        estimator, jackknife_order, num_samples, beta,
        inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def make_networks(self):
        self.make_encoder()
        self.decoder = self.network_of_z()

    @property
    def moves(self):
        return {"autoencoder": [self.encoder, *self.flow_networks, self.decoder]}

    def q(self, x, training=False):
        return self.posterior_of(self.encoder(x, training=training))
