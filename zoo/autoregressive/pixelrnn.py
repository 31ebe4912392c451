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
Without it the last pixel of a row would be hidden from those of the next that K_in does not reach it from, for the
layer from right to left sees a pixel only from places on the right of it. Adam in place of RMSProp; Glorot's initial
weights. All connections that skip layers are the residual ones.

A draw needs no full passes: a pixel costs a pass over its row, from the states of the row above.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from common.graph import in_graph
from zoo.autoregressive.autoregressive import Autoregressive, Walk
from zoo.parts import layers, masks


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
        arXiv:1601.06759, figures 2 to 5, equation 3 and table 1.
    """

    exceptions = {"ONNX": "its draws are loops within a loop, of which ONNX Runtime misses the shapes"}

    def __init__(
        self, *, data_shape, likelihood, num_levels, recurrence: Literal["row", "diagonal"] = "diagonal",
        num_layers: int = 7, hidden_size: int = 16, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if self.data_name != "images":
            raise ValueError("points have no rows of pixels to run over: choose made or nade.")

    @property
    def beside(self):
        """Columns of zeros on the right of the image."""
        return int(self.recurrence == "diagonal")

    def make_networks(self):
        self.orders = masks.orders(1, self.size, "natural", self.seed)
        start, self.masks = {}, {}

        def convolution(name, *shape, including_centre=True, gates=1):
            """Kernels for each of `gates`, side by side, with a mask that they share, and their bias."""
            below, above = (masks.spread(units, 0, self.data_shape[-1]) for units in shape[2:])
            mask = np.tile(masks.causal(*shape[:2], below + (not including_centre), above), gates)
            start[f"K_{name}"] = keras.initializers.GlorotUniform()(mask.shape).numpy()
            start[f"b_{name}"] = np.zeros(mask.shape[-1:], np.float32)
            self.masks[f"K_{name}"] = mask

        h, taps, ways, width = self.hidden_size, *{"row": (3, 1, 3), "diagonal": (2, 2, 1)}[self.recurrence]
        convolution("in", 7, 7, self.data_shape[-1], 2 * h, including_centre=False)
        for layer in range(self.num_layers):
            convolution(f"is_{layer}", 1, width, 2 * h, h, gates=4 * ways)
            of_each = [keras.initializers.GlorotUniform()([taps * h, 4 * h]).numpy() for _ in range(ways)]
            start[f"K_ss_{layer}"] = np.stack(of_each)
            convolution(f"up_{layer}", 1, 1, h, 2 * h)
        convolution("out_0", 1, 1, 2 * h, 2 * h)
        convolution("out_1", 1, 1, 2 * h, self.data_shape[-1] * self.family.num_parameters)
        self.conditionals = layers.Numbers("conditionals", **start)

    def weights_as(self, dtype):
        """Dict, name -> weight, masked."""
        weights = {w.name: tf.cast(tf.convert_to_tensor(w.value), dtype) for w in self.conditionals.weights}
        return {name: weight * tf.cast(self.masks.get(name, 1.0), dtype) for name, weight in weights.items()}

    def rows(self, x, above):
        """Parameters [batch, rows * width * channels, num_parameters] of pixels, computed in the dtype of x.

        Args:
            x: [batch, 3 + rows, width, channels], of which the first three rows are those above.
            above: list of the states of each layer in the row above, as `nothing_above` gives them for the first row.

        Returns:
            The parameters, and the states in the last row.
        """
        weights, lstm = self.weights_as(x.dtype), {"row": row_lstm, "diagonal": diagonal_bilstm}[self.recurrence]

        def convolved(name, *seen):
            """By all that a kernel sees of each place: a product, as TensorFlow's convolutions fail of no rows."""
            seen, K = tf.concat(seen, axis=3), weights[f"K_{name}"]
            K = tf.reshape(K, [-1, K.shape[-1]])[: seen.shape[3]]
            shape = [-1, seen.shape[1], seen.shape[2], K.shape[1]]
            return tf.reshape(tf.reshape(seen, [-1, K.shape[0]]) @ K, shape) + weights[f"b_{name}"]

        num_rows, width = x.shape[1] - 3, x.shape[2] + self.beside
        padded = tf.pad(x, [(0, 0), (0, 0), (3, 3 + self.beside), (0, 0)])
        lines = [cut(padded, 1, row, row + num_rows) for row in range(4)]
        h = convolved("in", *[cut(line, 2, column, column + width) for line in lines for column in range(7)])
        last = []
        for layer, before in enumerate(above):
            seen = [shifted(h, -1), h] if self.recurrence == "row" else [h]
            of_layer, below = lstm(convolved(f"is_{layer}", *seen), weights[f"K_ss_{layer}"], before)
            h += convolved(f"up_{layer}", of_layer)
            last.append(below)
        for layer in range(2):
            h = convolved(f"out_{layer}", tf.nn.relu(h))
        h, num_pixels = cut(h, 2, 0, x.shape[2]), num_rows * x.shape[2] * x.shape[3]
        return tf.reshape(h, [-1, num_pixels, self.family.num_parameters]), last

    def nothing_above(self, batch, dtype):
        """Zeros [2, batch, width, h] for each layer: of h and c, or of h from the left and from the right."""
        _, width, _ = self.data_shape
        return [tf.zeros([2, batch, width + self.beside, self.hidden_size], dtype)] * self.num_layers

    def parameters(self, x):
        """Those of the distributions of flat x [batch, D], [batch, D, num_parameters], computed in its dtype."""
        images = tf.pad(tf.reshape(x, [-1, *self.data_shape]), [(0, 0), (3, 0), (0, 0), (0, 0)])
        return self.rows(images, self.nothing_above(tf.shape(x)[0], x.dtype))[0]

    def log_probs(self, x, k):
        return self.of_pixels(x, tf.linalg.matrix_transpose(self.parameters(x)))

    def walk(self, k):
        height, width, channels = self.data_shape
        line, batch, shape = width * channels, tf.shape(k)[0], (3 + height, width, channels)

        def row(x, above, place):
            return self.rows(tf.gather(x, place // line + tf.range(4), axis=1), above)

        def parameters(state, place, pixel):
            return row(*state, place)[0][:, place % line], state

        def seen(state, place, pixel, value):
            x, above = state
            here = tf.cast(tf.range((3 + height) * line) == 3 * line + pixel[:, None], x.dtype)
            x += tf.reshape(here * tf.cast(value, x.dtype)[:, None], [-1, *shape])
            return x, tf.cond(place % line == line - 1, lambda: row(x, above, place)[1], lambda: above)

        return Walk((tf.zeros([batch, *shape], tf.float64), self.nothing_above(batch, tf.float64)), parameters, seen)


def row_lstm(x, K, above):
    """States of K_is * x [batch, rows, width, 4 h], each row given that above: [batch, rows, width, h].

    `above` are h and c in the row above, [2, batch, width, h]; beside the states, those of the last row are returned.
    """
    h, c = states(tf.transpose(x, [1, 0, 2, 3])[:, None], K, (-1, 0, 1), *tf.unstack(above[:, None]))
    return tf.transpose(h[:, 0], [1, 0, 2, 3]), tf.concat([h[-1], c], axis=0)


def diagonal_bilstm(x, K, above):
    """The same, of [batch, rows, width, 8 h], from the upper left plus, one row above, from the upper right.

    `above` is the h of each in the row above, [2, batch, width, h], along its way: the second from right to left.
    """
    size, rows, (from_left, from_right) = above.shape[-1], x.shape[1], tf.split(x, 2, axis=3)
    ways = tf.stack([from_left, mirrored(from_right)])
    first = cut(ways, 2, 0, 1) + by_way(above, K[:, :size])[:, :, None]  # nothing is above it within x
    ways = tf.unstack(tf.concat([first, cut(ways, 2, 1, rows)], axis=2))
    by_diagonal = tf.stack([tf.transpose(skew(way), [2, 0, 1, 3]) for way in ways], axis=1)
    start = tf.zeros_like(by_diagonal[0, ..., :size])
    h, _ = states(by_diagonal, K, (-1, 0), start, start)
    from_left, from_right = (unskew(way) for way in tf.unstack(tf.transpose(h, [1, 2, 3, 0, 4])))
    moved = tf.concat([above[1][:, None], cut(from_right, 1, 0, rows - 1)], axis=1)
    return from_left + mirrored(moved), tf.stack([from_left[:, -1], from_right[:, -1]])


def mirrored(x):
    """x [batch, rows, width, size] from right to left."""
    return tf.stack(tf.unstack(x, axis=2)[::-1], axis=2)


def cut(x, axis, start, stop):
    """x[start:stop] along an axis. The gradient of `x[...]` took more time than all else in a step of training."""
    here = np.arange(x.shape.rank) == axis
    return tf.slice(x, np.where(here, start, 0), np.where(here, stop - start, -1))


def shifted(h, offset):
    """For each place of h [., ., places, size] what is at the place `offset`, -1, 0 or 1, after it, or zeros."""
    kept = cut(h, 2, max(offset, 0), h.shape[2] + min(offset, 0))
    return tf.pad(kept, [(0, 0), (0, 0), (max(-offset, 0), max(offset, 0)), (0, 0)])


def by_way(h, K):
    """Products of h [ways, batch, places, size] with the matrices K [ways, size, outputs]."""
    return tf.reshape(tf.reshape(h, [K.shape[0], -1, K.shape[1]]) @ K, [K.shape[0], -1, h.shape[2], K.shape[2]])


@in_graph
def states(x, K, offsets, h, c):
    """h_t [steps, ways, batch, places, h] by equation 3, and the last c.

    `x` are K_is * x_t [steps, ways, batch, places, 4 h]; h and c those before the first step. K [ways, len(offsets) h,
    4 h] is K_ss of each way, which sees the places of h_{t-1} at these offsets.
    """
    steps = x.shape[0]
    found = tf.TensorArray(h.dtype, steps, element_shape=h.shape)
    x = tf.TensorArray(x.dtype, steps, element_shape=x.shape[1:]).unstack(x)

    def step(t, h, c, found):
        seen = tf.concat([shifted(h, offset) for offset in offsets], axis=3)
        o, f, i, g = tf.split(x.read(t) + by_way(seen, K), 4, axis=3)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return t + 1, h, c, found.write(t, h)

    # Not `tf.scan`, which keeps c of all steps too; XLA differentiates no loop without a bound.
    *_, c, found = tf.while_loop(lambda t, *_: t < steps, step, [0, h, c, found], maximum_iterations=steps)
    return found.stack(), c


def skew(x):
    """Rows of x [batch, height, width, size], row i from place i on: [batch, height, height + width - 1, size]."""
    _, height, width, size = x.shape
    lines = tf.reshape(tf.pad(x, [(0, 0), (0, 0), (0, height), (0, 0)]), [-1, height * (height + width), size])
    return tf.reshape(cut(lines, 1, 0, lines.shape[1] - height), [-1, height, height + width - 1, size])


def unskew(x):
    """The inverse of `skew`."""
    _, height, diagonals, size = x.shape
    lines = tf.pad(tf.reshape(x, [-1, height * diagonals, size]), [(0, 0), (0, height), (0, 0)])
    return cut(tf.reshape(lines, [-1, height, diagonals + 1, size]), 2, 0, diagonals + 1 - height)
