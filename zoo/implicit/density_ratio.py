"""Density ratio estimation by probabilistic classification, or by another Bregman divergence.

    r(x) = p(x) / q(x) = S(x) / (1 - S(x)),   S(x) = P(x came from p | x), if as many rows come from p as from q
    log r(x) = logit S(x) - logit pi,         if a share pi comes from p

The classifier S is trained by maximum likelihood (logistic loss), one of many losses that would do. Any convex f gives

    min_r  E_q[r f'(r) - f(r)] - E_p[f'(r)],   least where r = p / q,

the logistic loss for f(u) = u log u - (1 + u) log(1 + u); (u - 1)^2 gives least-squares importance fitting, and
u log u - u + 1 Kullback-Leibler importance estimation. Where p is data and q a generator's, it is the first half of the
step of a GAN, or with these two of a b-GAN.

Notation:

    x, label   data, [m, *data_shape], and the classes of its rows, [m]
    y          1 for a row of p, whose label is in `numerator`, 0 for one of q, [m]
    S          classifier, a probability
    v          its network's output: the logit of S, or with another loss such that S / (1 - S) = softplus(v), [m]
    pi         the share of p in the rows so far: the mean of the minibatches' shares
"""

from typing import Literal

import tensorflow as tf

from zoo.game import Game
from zoo.inputs import classes
from zoo.parts import networks
from zoo.parts.divergences import RATIO_LOSSES


class DensityRatio(Game):
    """Estimate of the ratio of two densities from labelled samples of both.

    Args:
        numerator: tuple of ints, the labels of the rows that come from p; all others come from q.
        loss: "logistic", "pearson" (least squares) or "kl", the Bregman divergence that is minimised.
        hidden_units: tuple of ints, widths of the hidden layers (mlp).

    Example:

        model = DensityRatio(data_shape=(2,), numerator=(1,))
        model.compile()
        model.fit(x, label, batch_size=100, epochs=10)  # x: float32 [n, 2]; label: int64 [n], 1 for p and 0 for q
        log_r = model.log_ratio(x)["log_ratio"]

    Reference:
        M. Sugiyama, T. Suzuki and T. Kanamori. Density ratio estimation in machine learning. 2012, chapters 4 to 7.
        T. Kanamori, S. Hido and M. Sugiyama. A least-squares approach to direct importance estimation. JMLR 2009.
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
        self, *, data_shape, numerator: tuple[int, ...] = (1,),
        loss: Literal[*RATIO_LOSSES] = "logistic", network, hidden_units: tuple[int, ...] = (128, 128), filters=32,
        activation="softplus", dropout, seed, name,
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

    def v(self, x, training=True):
        """The network's output [m], as the functions of `RATIO_LOSSES` take it."""
        return self.classifier(x, training=training)[:, 0]

    def y(self, label):
        label = classes(label)
        return tf.cast(tf.reduce_any(label[:, None] == tf.constant(self.numerator, label.dtype), axis=1), tf.float32)

    def losses(self, x, label, training=True):
        v, y, of = self.v(x, training), self.y(label), RATIO_LOSSES[self.loss]
        loss = tf.where(y > 0.5, -of.slope(v), of.conjugate(v))  # logistic: -log S(x) of p, -log(1 - S(x)) of q
        return {"classifier": loss, "accuracy": (of.log_ratio(v) > 0.0) == (y > 0.5)}

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
        log_odds = RATIO_LOSSES[self.loss].log_ratio(self.v(self.from_served(x), training=False))
        log_r = log_odds - tf.math.log(prior / (1.0 - prior))
        return {"log_ratio": log_r, "probability": tf.sigmoid(log_r)}

    def signatures(self):
        return {"log_ratio": (lambda **inputs: self.log_ratio(inputs[self.data_name]), self.data_spec)}
