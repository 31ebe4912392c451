"""A masked autoencoder, whose outputs are the distributions of its inputs, each given the inputs before it.

Objective, maximised (Germain et al. 2015), under mask k = t mod K at step t:

    log p_k(x) = sum_i log p(x_i | x_before(i)),   the parameters of all i by one pass through the network:

    h_l = f((W_l * M_l) h_{l-1} + b_l),   h_0 = x;   output = (V * M) h_L + c

    M_l[i, j] = 1 where the degree of unit i is at least that of the unit j beneath it; M lets x_i's output see units of
    degrees up to the place of x_i, of 0 ... D - 1 (equations 12 and 13, whose places are 1 ... D)

At test p(x) is the mean of p_k(x) over all K masks, which share W, V, b and c. Masks differ in the degrees of hidden
units, and with --order=random in the order of the pixels too.

Departures from Germain et al. 2015: the degrees of a layer are not drawn one by one but spread evenly and shuffled;
Adam in place of Adagrad; Glorot's initial weights; no direct connections from inputs to outputs. Pixels may have grey
levels, which the network sees as numbers in [0, 1].

A draw needs no masks and no full passes: a unit of degree d is known when the first d pixels are, and is computed then,
from units that are known and zeros in place of others. A pixel costs a row of the first layer and one of the last, and
all layers between them.
"""

import numpy as np
import tensorflow as tf

from zoo.autoregressive.autoregressive import Autoregressive, Walk
from zoo.parts import layers, masks, networks


class MADE(Autoregressive):
    """Masked autoencoder for distribution estimation (Germain et al. 2015).

    Args:
        hidden_units: tuple of ints, widths of the hidden layers.
        num_masks: int, K, masks that take turns in training and are averaged at test.

    Example:

        model = MADE(data_shape=(28, 28, 1), hidden_units=(500,))
        model.compile()
        model.fit(x, batch_size=100, epochs=10)  # x: float32 [n, 28, 28, 1], zeros and ones
        nats = model.log_prob(x[:100])["log_prob"]

    Reference:
        M. Germain, K. Gregor, I. Murray and H. Larochelle. MADE: masked autoencoder for distribution estimation. ICML
        2015, arXiv:1502.03509, algorithm 1.
    """

    def __init__(
        self, *, data_shape, likelihood, num_levels, hidden_units: tuple[int, ...] = (500,), activation="relu", order,
        num_masks: int = 1, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if self.activation in ("maxout", "crelu"):
            raise ValueError(f"activation={self.activation} mixes units, whose masks are of one each: choose another.")
        if not self.hidden_units:
            raise ValueError("hidden_units must not be empty: outputs see inputs through one hidden layer at least.")

    def make_networks(self):
        self.orders = masks.orders(self.num_masks, self.size, self.order, self.seed)
        self.degrees = masks.hidden_degrees(self.num_masks, self.size, self.hidden_units, self.seed)
        self.conditionals = networks.autoregressive_mlp(
            self.orders, self.degrees, self.family.num_parameters, activation=self.activation
        )

    def log_probs(self, x, k):
        return self.of_pixels(x, networks.by_mask(self.conditionals, x, k))

    def walk(self, k):
        maps = [layer for layer in self.conditionals.layers if isinstance(layer, layers.MaskedDense)]
        (W, *inner, V), (b, *inner_b, c) = (
            [tf.cast(tf.convert_to_tensor(weight.value), tf.float64) for weight in weights]
            for weights in zip(*[(layer.kernel, layer.bias) for layer in maps], strict=True)
        )
        # By the pixel: [D, units, num_parameters] and [D, num_parameters].
        V = tf.transpose(tf.reshape(V, [-1, self.family.num_parameters, self.size]), [2, 0, 1])
        c = tf.transpose(tf.reshape(c, [-1, self.size]))
        degrees = [tf.gather(d.astype(np.int32), k) for d in self.degrees]
        f = layers.ACTIVATIONS[self.activation](dtype="float64")

        def parameters(state, place, pixel):
            return tf.einsum("nh,nhp->np", state[-1], tf.gather(V, pixel)) + tf.gather(c, pixel), state

        def advanced(a, units, place):
            """The units of degree `place` become known, of inputs a and of what is known beneath."""
            known, below = [], None
            for d, h, W_l, b_l in zip(degrees, units, [None, *inner], [None, *inner_b], strict=True):
                below = tf.where(d == place, f(a if below is None else below @ W_l + b_l), h)
                known.append(below)
            return (a, *known)

        def seen(state, place, pixel, value):
            a, *units = state
            a += tf.cast(value, tf.float64)[:, None] * tf.gather(W, pixel)
            return advanced(a, units, place + 1)

        a = tf.zeros_like(degrees[0], tf.float64) + b
        return Walk((a, *(tf.zeros_like(d, tf.float64) for d in degrees)), parameters, seen)
