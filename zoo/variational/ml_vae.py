"""The multi-level variational autoencoder: a style for each example, and a content for each group of examples.

    log p(X_G)  >=  ELBO_G = sum_i E[log p(x_i|c, s_i)] - sum_i KL(q(s_i|x_i) || p(s)) - KL(q(c|X_G) || p(c))
    q(c|X_G)    proportional to  prod_i N(c; mu(x_i), diag sigma(x_i)^2),   i in G

A group is the rows of a minibatch that have the same label: labels say which belong together, not what they are.

Notation, beside that of `autoencoder.py`:

    X_G      the rows x_i of the group G
    s, c     style and content, z = (s, c); both have the prior N(0, I), which has no share in the product
    q        of one row: that of z given x alone, a group of one

As in the authors' code every row has a draw of c of its own: ELBO_G is a sum of expectations, and that is an unbiased
estimate of it. What is minimised is minus the sum of ELBO_G over groups divided by rows; the authors divide by groups.
The divergence of the content of a group counts once, in equal shares of its rows.

Departures from the authors' code: a log-variance is 8 tanh(raw / 8), whose slope at 0 is 1; Glorot's initial weights
instead of LeCun's.
"""

import tensorflow as tf

from zoo.inputs import classes
from zoo.parts import posteriors
from zoo.variational.autoencoder import Autoencoder


class MLVAE(Autoencoder):
    """Multi-level variational autoencoder (Bouchacourt, Tomioka and Nowozin 2018), for data with labels of groups.

    What is served knows no groups: `encode` and `log_prob` have the evidence of one row.

    Args:
        style_size: int, the length of s.
        content_size: int, the length of c.
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp).

    Example:

        model = MLVAE(data_shape=(28, 28, 1))
        model.compile()
        model.fit(x, label, batch_size=256, epochs=10)  # x: [n, 28, 28, 1] in [0, 1], label: int64 [n]
        images = model.swap(x[:8], x[8:16])  # in the style of the first, the content of the second

    Reference:
        D. Bouchacourt, R. Tomioka and S. Nowozin. Multi-level variational autoencoder: learning disentangled
        representations from grouped observations. AAAI 2018. arXiv:1705.08841.
    """

    default_optimizers = {"autoencoder": {"optimizer": "adam", "learning_rate": 1e-3}}
    metric_names = ("reconstruction", "style_kl", "content_kl")
    draws = ("epsilon",)
    labelled = True

    def __init__(
        self, *, data_shape, style_size: int = 10, content_size: int = 10, network,
        hidden_units: tuple[int, ...] = (500,), filters=32, activation="tanh",
        likelihood, num_levels, likelihood_variance, inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    @property
    def latent_size(self):
        return self.style_size + self.content_size

    def split(self, z):
        """Style and content of z [..., latent_size]."""
        return tf.split(z, [self.style_size, self.content_size], axis=-1)

    def of_groups(self, q, label):
        """q(s_i|x_i), and q(c|X_G) of the group of each row, of the posterior of single rows and labels."""
        style, content = q.parts([self.style_size, self.content_size])
        return style, posteriors.product_of_groups(content, label)

    def negative_bound(self, x, label, training):
        """Minus each row's share of ELBO_G, and its terms, each in nats [batch]."""
        q = self.q(x, training=training)
        style, content = self.of_groups(q, label)
        epsilon_s, epsilon_c = self.split(self.draw_noise(q, [tf.shape(x)[0]]))
        z = tf.concat([style.draw(epsilon_s)[0], content.draw(epsilon_c)[0]], axis=-1)
        size_of_group = tf.reduce_sum(tf.cast(label[:, None] == label[None], tf.float32), axis=1)
        losses = {
            "reconstruction": -self.p(z, training=training).log_prob(x),
            "style_kl": style.kl(self.latent_prior),
            "content_kl": content.kl(self.latent_prior) / size_of_group,
        }
        return losses | {"autoencoder": tf.add_n(list(losses.values()))}

    def train_step(self, data):
        x, label = data
        self.minimize(lambda: self.negative_bound(x, classes(label), training=True))
        return self.next_step()

    def test_step(self, data):
        x, label = data
        self.track(self.negative_bound(x, classes(label), training=False))
        return self.logs()

    def encode(self, x, seeds=None):
        """Mean and log-variance of q(z|x) for served data x, and of the mean its two parts, `style` and `content`."""
        encoding = super().encode(x)
        style, content = self.split(encoding["z"])
        return encoding | {"style": style, "content": content}

    def encode_group(self, x, label):
        """The means of `style` and `content` for served data of which rows with the same label tell their content."""
        style, content = self.of_groups(self.q(self.from_served(x)), classes(label))
        return {"style": style.mean(), "content": content.mean()}

    def swap(self, style_of, content_of):
        """Served data with the style of one row and the content of another, each the mean of its posterior."""
        return self.decode(tf.concat([self.encode(style_of)["style"], self.encode(content_of)["content"]], axis=-1))

    def signatures(self):
        names = [f"{part}_{self.data_name}" for part in ("style", "content")]

        def swap(**inputs):
            return {self.data_name: self.swap(*(inputs[name] for name in names))}

        return super().signatures() | {"swap": (swap, dict.fromkeys(names, self.data_spec[self.data_name]))}
