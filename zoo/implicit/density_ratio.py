"""Density ratio estimation by probabilistic classification.

    r(x) = p(x) / q(x) = S(x) / (1 - S(x)),   S(x) = P(x came from p | x), if as many rows come from p as from q
    log r(x) = logit S(x) - logit pi,         if a share pi comes from p

The classifier S is trained by maximum likelihood (logistic loss), the one proper scoring rule of many that would do.
Where p is data and q a generator's, it is the first half of a GAN's step.

Notation:

    x, label   data, [m, *data_shape], and the classes of its rows, [m]
    y          1 for a row of p, whose label is in `numerator`, 0 for one of q, [m]
    S          classifier, a probability; its network gives the logit of S
    pi         the share of p in the rows so far: the mean of the minibatches' shares
"""

import tensorflow as tf

from zoo.game import Game
from zoo.inputs import classes
from zoo.parts import networks


class DensityRatio(Game):
    """Estimate of the ratio of two densities from labelled samples of both.

    Args:
        numerator: tuple of ints, the labels of the rows that come from p; all others come from q.
        hidden_units: tuple of ints, widths of the hidden layers (mlp).

    Example:

        model = DensityRatio(data_shape=(2,), numerator=(1,))
        model.compile()
        model.fit(x, label, batch_size=100, epochs=10)  # x: float32 [n, 2]; label: int64 [n], 1 for p and 0 for q
        log_r = model.log_ratio(x)["log_ratio"]

    Reference:
        M. Sugiyama, T. Suzuki and T. Kanamori. Density ratio estimation in machine learning. 2012, chapter 4.
        S. Mohamed and B. Lakshminarayanan. Learning in implicit generative models. 2016. arXiv:1610.03483, section 3.1.
    """

    default_optimizers = {"classifier": {"optimizer": "adam", "learning_rate": 1e-3}}
    metric_names = ("accuracy",)
    labelled = True
    zero_allowed = ("numerator",)
    exceptions = {
        "I11": "it draws no samples: q is known by samples alone",
        "I13": "it draws no samples; tests/zoo/implicit/test_density_ratio.py says how near it comes to known ratios",
    }

    def __init__(
        self, *, data_shape, numerator: tuple[int, ...] = (1,), network, hidden_units: tuple[int, ...] = (128, 128),
        filters=32, activation="softplus", dropout, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def make_networks(self):
        options = {"activation": self.activation, "dropout": self.dropout}
        if self.network == "mlp":
            self.classifier = networks.mlp(self.data_shape, self.hidden_units, (1,), **options)
        else:
            self.classifier = networks.convolutional_encoder(self.data_shape, 1, filters=self.filters, **options)
        self.pi = self.add_weight(shape=(), initializer="zeros", trainable=False, name="pi", aggregation="mean")

    @property
    def moves(self):
        return {"classifier": [self.classifier]}

    def S_logit(self, x, training=True):
        """The logit of S(x), [m]."""
        return self.classifier(x, training=training)[:, 0]

    def y(self, label):
        label = classes(label)
        return tf.cast(tf.reduce_any(label[:, None] == tf.constant(self.numerator, label.dtype), axis=1), tf.float32)

    def losses(self, x, label, training=True):
        logit, y = self.S_logit(x, training), self.y(label)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(y, logit)  # -log S(x) of p, -log(1 - S(x)) of q
        return {"classifier": loss, "accuracy": (logit > 0.0) == (y > 0.5)}

    def train_step(self, data):
        x, label = data
        change = tf.reduce_mean(self.y(label)) - self.pi.value
        self.pi.assign_add(change / tf.cast(self.step.value + 1, tf.float32))  # the mean over all minibatches
        self.minimize(lambda: self.losses(x, label))
        return self.next_step()

    def test_step(self, data):
        self.track(self.losses(*data, training=False))
        return self.logs()

    def log_ratio(self, x):
        """log p(x) / q(x) of served data, and the probability of p where p and q are equally likely, each [batch]."""
        prior = tf.clip_by_value(self.pi.value, 1e-6, 1.0 - 1e-6)
        log_r = self.S_logit(self.from_served(x), training=False) - tf.math.log(prior / (1.0 - prior))
        return {"log_ratio": log_r, "probability": tf.sigmoid(log_r)}

    def signatures(self):
        return {"log_ratio": (lambda **inputs: self.log_ratio(inputs[self.data_name]), self.data_spec)}
