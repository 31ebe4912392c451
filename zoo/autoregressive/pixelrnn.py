"""A recurrent network over the rows, or over the diagonals, of an image, which sees pixels before each one alone.

Objective, maximised (van den Oord et al. 2016), pixels by lines from the upper left:

    log p(x) = sum_i log p(x_i | x_<i),   the parameters of all i by one pass through the network:

    h = K_in * x,   h <- h + K_up * LSTM(h)  for each layer,   then twice  h <- K_out * relu(h)

    [o, f, i, g] = s(K_ss * h_{t-1} + K_is * x_t)                                                      (equation 3)
    c_t = f c_{t-1} + i g,   h_t = o tanh(c_t)             s is the sigmoid, of g tanh; * is a convolution

    recurrence  t runs over     K_is          K_ss sees of t - 1                 a pixel depends on
    row         rows            1x3 masked    three neighbours, above            those in a triangle above it
    diagonal    diagonals       1x1           two: on its left, and above        all before it

Every row of the input is skewed by one place more than that above it, so that a diagonal becomes a column (figure 3). A
second such layer runs from right to left, and is shifted down by one row before both are added, for it has seen what
comes after a pixel in its row. K_in is 7x7 and sees no pixel at its centre (mask A); it gives 2 h features, each LSTM
has h, and K_up leads back to 2 h. Channels of colour are in order, R, G, B: a third of the features belongs to each.

Departures from van den Oord et al. 2016: in the diagonal network the image has one column of zeros more on its right.
The layer from right to left sees pixels by what lies to the right of them, and the last of a row would be hidden from
the first of the next row but for those that K_in reaches. Adam in place of RMSProp; Glorot's initial weights. There are
no connections from the input to all layers or from these to the output, but for the residual ones.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from common.graph import graph
from zoo.autoregressive.autoregressive import Autoregressive, Walk
from zoo.parts import layers, masks

TAPS = {"row": (-1, 0, 1), "diagonal": (-1, 0)}  # places at t - 1 that K_ss sees, beside the own


class PixelRNN(Autoregressive):
    """Pixel recurrent neural network (van den Oord et al. 2016).

    Args:
        recurrence: "row" for the row LSTM, or "diagonal" for the diagonal BiLSTM.
        num_layers: int, LSTM layers.
        hidden_size: int, h, the features of each LSTM.

    Example:

        model = PixelRNN(data_shape=(28, 28, 1), num_layers=1, hidden_size=32)
        model.compile()
        model.fit(x, batch_size=16, epochs=10)  # x: float32 [n, 28, 28, 1], zeros and ones
        nats = model.log_prob(x[:100])["log_prob"]

    Reference:
        A. van den Oord, N. Kalchbrenner and K. Kavukcuoglu. Pixel recurrent neural networks. ICML 2016,
        arXiv:1601.06759, figures 2 to 4, equation 3 and table 1.
    """

    def __init__(
        self, *, data_shape, likelihood, num_levels, recurrence: Literal["row", "diagonal"] = "diagonal",
        num_layers: int = 7, hidden_size: int = 16, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if self.data_name != "images":
            raise ValueError("points have no rows of pixels to run over: choose made or nade.")

    def make_networks(self):
        self.orders = masks.orders(1, self.size, "natural", self.seed)
        start, self.masks = {}, {}

        def convolution(name, *shape, including_centre=True, gates=1):
            """Kernels for each of `gates`, side by side, with a mask that they share, and their bias."""
            start[f"K_{name}"] = keras.initializers.GlorotUniform()([*shape[:-1], shape[-1] * gates]).numpy()
            start[f"b_{name}"] = np.zeros(shape[-1] * gates, np.float32)
            mask = masks.convolution_mask(shape, including_centre, self.data_shape[-1])
            self.masks[f"K_{name}"] = np.tile(mask, gates)

        h, taps, directions = self.hidden_size, len(TAPS[self.recurrence]), 1 + (self.recurrence == "diagonal")
        convolution("in", 7, 7, self.data_shape[-1], 2 * h, including_centre=False)
        for layer in range(self.num_layers):
            convolution(f"is_{layer}", 1, 1 if self.recurrence == "diagonal" else 3, 2 * h, h, gates=4 * directions)
            of_each = [keras.initializers.GlorotUniform()([taps * h, 4 * h]).numpy() for _ in range(directions)]
            start[f"K_ss_{layer}"] = np.stack(of_each)
            convolution(f"up_{layer}", 1, 1, h, 2 * h)
        convolution("out_0", 1, 1, 2 * h, 2 * h)
        convolution("out_1", 1, 1, 2 * h, self.data_shape[-1] * self.family.num_parameters)
        self.conditionals = layers.Numbers("conditionals", **start)

    def weights_as(self, dtype):
        """Dict, name -> weight, masked."""
        weights = {w.name: tf.cast(tf.convert_to_tensor(w.value), dtype) for w in self.conditionals.weights}
        return {name: weight * tf.cast(self.masks.get(name, 1.0), dtype) for name, weight in weights.items()}

    @graph  # a loop of the graph also where it is called eagerly
    def parameters(self, x):
        """Those of the distributions of flat x [batch, D], [batch, D, num_parameters], computed in its dtype."""
        weights, (_, width, _) = self.weights_as(x.dtype), self.data_shape
        offsets, lstm = TAPS[self.recurrence], {"row": row_lstm, "diagonal": diagonal_bilstm}[self.recurrence]

        def convolved(h, name):
            return tf.nn.conv2d(h, weights[f"K_{name}"], 1, "SAME") + weights[f"b_{name}"]

        x = tf.reshape(x, [-1, *self.data_shape])
        if self.recurrence == "diagonal":
            x = tf.pad(x, [(0, 0), (0, 0), (0, 1), (0, 0)])
        h = convolved(x, "in")
        for layer in range(self.num_layers):
            states = lstm(convolved(h, f"is_{layer}"), weights[f"K_ss_{layer}"], offsets)
            h += convolved(states, f"up_{layer}")
        for layer in range(2):
            h = convolved(tf.nn.relu(h), f"out_{layer}")
        return tf.reshape(h[:, :, :width], [-1, self.size, self.family.num_parameters])

    def log_probs(self, x, k):
        return self.of_pixels(x, tf.linalg.matrix_transpose(self.parameters(x)))

    def walk(self, k):
        def parameters(x, place, pixel):
            return tf.gather(self.parameters(x), pixel, batch_dims=1)

        def seen(x, place, pixel, value):
            return x + tf.one_hot(pixel, self.size, dtype=x.dtype) * tf.cast(value, x.dtype)[:, None]

        return Walk(tf.zeros([tf.shape(k)[0], self.size], tf.float64), parameters, seen)


def row_lstm(x, K, offsets):
    """States [batch, height, width, h] of K_is * x [batch, height, width, 4 h], each row given that above."""
    h = states(tf.transpose(x, [1, 0, 2, 3])[:, None], K, offsets)
    return tf.transpose(h[:, 0], [1, 0, 2, 3])


def diagonal_bilstm(x, K, offsets):
    """The same, of [batch, height, width, 8 h], from the upper left plus, one row above, from the upper right."""
    height, from_left, from_right = x.shape[1], *tf.split(x, 2, axis=-1)
    by_diagonal = tf.stack([tf.transpose(skew(way), [2, 0, 1, 3]) for way in (from_left, from_right[:, :, ::-1])], 1)
    h = tf.transpose(states(by_diagonal, K, offsets), [1, 2, 3, 0, 4])
    from_left, from_right = unskew(h[0]), unskew(h[1])[:, :, ::-1]
    return from_left + tf.pad(from_right, [(0, 0), (1, 0), (0, 0), (0, 0)])[:, :height]


def states(x, K, offsets):
    """States h_t [steps, ways, batch, places, h] by equation 3, of K_is * x_t [steps, ways, batch, places, 4 h].

    K [ways, len(offsets) h, 4 h] is K_ss of each way: what it sees of h_{t-1} are the places at these offsets.
    """
    steps, places, h = x.shape[0], x.shape[-2], x.shape[-1] // 4
    start = tf.zeros_like(x[0, ..., :h])
    x = tf.TensorArray(x.dtype, steps, element_shape=x.shape[1:]).unstack(x)

    def step(t, before, c, found):
        padded = tf.pad(before, [(0, 0), (0, 0), (1, 1), (0, 0)])
        seen = tf.concat([padded[..., 1 + offset : 1 + offset + places, :] for offset in offsets], axis=-1)
        of_before = tf.reshape(seen, [K.shape[0], -1, K.shape[1]]) @ K
        gates = x.read(t) + tf.reshape(of_before, [K.shape[0], -1, places, 4 * h])
        o, f, i, g = tf.split(gates, 4, axis=-1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        now = tf.sigmoid(o) * tf.tanh(c)
        return t + 1, now, c, found.write(t, now)

    found = tf.TensorArray(start.dtype, steps, element_shape=start.shape)
    # Not `tf.scan`, which keeps c too; XLA needs the bound to differentiate.
    return tf.while_loop(lambda t, *_: t < steps, step, [0, start, start, found], maximum_iterations=steps)[-1].stack()


def skew(x):
    """Rows of x [batch, height, width, size], row i from place i on: [batch, height, height + width - 1, size]."""
    _, height, width, size = x.shape
    lines = tf.reshape(tf.pad(x, [(0, 0), (0, 0), (0, height), (0, 0)]), [-1, height * (width + height), size])
    return tf.reshape(lines[:, :-height], [-1, height, width + height - 1, size])


def unskew(x):
    """The inverse of `skew`."""
    _, height, diagonals, size = x.shape
    lines = tf.pad(tf.reshape(x, [-1, height * diagonals, size]), [(0, 0), (0, height), (0, 0)])
    return tf.reshape(lines, [-1, height, diagonals + 1, size])[:, :, : diagonals + 1 - height]
