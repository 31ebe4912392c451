"""The conditional variational autoencoder: encoder and decoder are told the class y of x, and not z nor its prior.

    log p(x|y)  >=  E_{q(z|x,y)}[log p(x|z, y)] - KL(q(z|x, y) || p(z))

It is the model M2 of Kingma et al. 2014 where all labels are known, so that their bound is this plus log p(y). What has
p(x|y) can tell classes apart by Bayes' rule, without ever having learned to:

    p(y|x) = p(x|y) p(y) / sum_y' p(x|y') p(y'),   p(x) = sum_y p(x|y) p(y)

every class being as likely a priori as any other.

Notation, beside that of `vae.py`:

    y    one-hot vector of the label, [batch, num_classes]

Departures from the paper: y is not inferred for rows without a label; it joins x before the first hidden layer (mlp).
"""

import math

import tensorflow as tf

from common.graph import of_each
from zoo.conditional import Conditional
from zoo.variational.autoencoder import Autoencoder


class ConditionalVAE(Conditional, Autoencoder):
    """Conditional variational autoencoder, for data with class labels (Kingma et al. 2014; Sohn et al. 2015).

    Args:
        num_classes: int, labels are 0 ... num_classes - 1.
        hidden_units: tuple of ints, widths of the encoder's hidden layers and, reversed, of the decoder's (mlp); of the
            layers that join y to a convolutional encoder.

    Example:

        model = ConditionalVAE(data_shape=(28, 28, 1), num_classes=10, latent_size=40)
        model.compile()
        model.fit(x, label, batch_size=100, epochs=10)  # x: [n, 28, 28, 1] in [0, 1], label: int64 [n]
        p_y = model.classify(x[:8], seeds=tf.range(8, dtype=tf.int64))["probability"]

    Reference:
        D. P. Kingma, D. J. Rezende, S. Mohamed and M. Welling. Semi-supervised learning with deep generative models.
        NeurIPS 2014. arXiv:1406.5298, equation 6.
        K. Sohn, H. Lee and X. Yan. Learning structured output representation using deep conditional generative models.
        NeurIPS 2015.
    """

    def __init__(
        self, *, data_shape, num_classes, latent_size=20,
        network, hidden_units: tuple[int, ...] = (500,), filters=32, activation="tanh",
        likelihood, num_levels, likelihood_variance, posterior, num_flow_steps, flow_units,
        estimator, jackknife_order, num_samples, beta, inpaint_steps, log_prob_samples, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def classify(self, x, seeds):
        """Which class served data are of, by importance-weighted estimates of p(x|y); row i draws by seeds[i].

        Returns:
            dict of `probability`, p(y|x) [batch, num_classes], and `log_prob_lower_bound`, in expectation one on
            log p(x), nats [batch].
        """

        def log_px(label):
            of_all = tf.fill([tf.shape(seeds)[0]], label)
            return self.log_prob(x, seeds, label=of_all)["log_prob_lower_bound"]

        labels = tf.range(self.num_classes, dtype=tf.int64)
        log_px_of_each = tf.transpose(of_each(log_px, labels))
        log_p = log_px_of_each - math.log(self.num_classes)  # log p(x|y) p(y)
        return {"probability": tf.nn.softmax(log_p), "log_prob_lower_bound": tf.reduce_logsumexp(log_p, axis=1)}

    def signatures(self):
        def classify(seed, **inputs):
            return self.classify(inputs[self.data_name], seed)

        return super().signatures() | {"classify": (classify, self.data_spec | self.seed_spec)}
