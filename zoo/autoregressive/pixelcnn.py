"""Convolutions over the pixels before each pixel, whose outputs are the distributions of all pixels at once.

Objective, maximised, i running through the pixels line by line, and through the channels of each:

    log p(x) = sum_i log p(x_i | x_<i),   the parameters of all i by one pass through the network

The plain network (van den Oord et al. 2016a, table 1 and figure 5) has a convolution with mask A, whose kernel leaves
out the pixel itself, and residual blocks, with mask B, of h features within 2h:

    a <- a + W_3 * f(W_2 * f(W_1 * f(a))),   f(a) = max(a, 0),   W_1, W_3: 1 x 1,   W_2: n x n

To the right of a pixel, k lines above it, it sees k columns by kernels of 3 x 3, and 2 more where the first is 7 x 7.
However many blocks there are, what is further right is a blind spot, on which the pixel's distribution does not depend.

The gated network (2016b, figure 2) has none. Its vertical stack v sees the lines above, on both sides; its horizontal
stack a sees the pixels to the left, and v through 1 x 1 convolutions W_2; v sees nothing of a:

    b = W_v * v,   v <- g(b),   a <- a + W_1 * g(W_a * a + W_2 * b),   g([b_1, b_2]) = tanh(b_1) sigmoid(b_2)

(equation 2). In both the first kernel is wider, and nothing is added to what it gives; both end in a <- W * f(a),
twice, 1 x 1. Either sees a pixel further with each 3 x 3: after 7 x 7 and 7 blocks, 10 lines up and 10 columns to the
left. Of several channels each sees those before it in its own pixel, R < G < B: the features are divided between them
(2016a, section 3.4).

A draw keeps of each layer's inputs the lines that its kernel covers. A number then costs for each layer the product of
the kernel with one position; the vertical stack is computed by lines, one position for each pixel, too. That is
independent of the height of the picture, and of its width but for copies of the lines.

Departures from the papers: Adam in place of RMSProp; the vertical stack's first kernel has the lines above alone, so
that nothing is shifted between the stacks. Pixels enter as numbers in [0, 1].

The samples of the gated network can not be converted to ONNX: its lines are a condition within a loop.
"""

import keras
import numpy as np
import tensorflow as tf

from zoo.autoregressive.autoregressive import Autoregressive, Walk
from zoo.configuration import Argument
from zoo.parts import causal, masks


class PixelCNN(Autoregressive):
    """PixelCNN and gated PixelCNN, for images (van den Oord et al. 2016).

    Example:

        model = PixelCNN(data_shape=(28, 28, 1), gated=True)
        model.compile()
        model.fit(x, batch_size=32, epochs=10)  # x: float32 [n, 28, 28, 1], zeros and ones
        nats = model.log_prob(x[:100])["log_prob"]

    Reference:
        A. van den Oord, N. Kalchbrenner and K. Kavukcuoglu. Pixel recurrent neural networks. ICML 2016.
        arXiv:1601.06759, figure 5 and table 1.
        A. van den Oord, N. Kalchbrenner, O. Vinyals, L. Espeholt, A. Graves and K. Kavukcuoglu. Conditional image
        generation with PixelCNN decoders. NeurIPS 2016. arXiv:1606.05328, figure 2.
    """

    shared_arguments = Autoregressive.shared_arguments | {
        "gated": Argument(bool, False, "bool, the network of two stacks."),
        "filters": Argument(int, 16, "int, h, features of the n x n convolutions; the residual blocks of the plain "
                            "network are of twice as many."),
        "num_blocks": Argument(int, 7, "int, blocks, or layers of both stacks, after the first convolution."),
        "kernel_size": Argument(int, 3, "int, n; of an even one the centre is right of the middle."),
        "first_kernel_size": Argument(int, 7, "int >= 2, n of the first convolution."),
        "output_filters": Argument(int, 32, "int, features of the convolution before the last."),
    }  # fmt: skip
    condition_size = 0

    def __init__(
        self, *, data_shape, likelihood, num_levels, gated, filters, num_blocks, kernel_size, first_kernel_size,
        output_filters, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        super().check_arguments()
        if self.data_name != "images":
            raise ValueError("points have no neighbours to convolve: choose made or nade, or data of images.")
        if self.first_kernel_size < 2:
            raise ValueError("first_kernel_size must be at least 2: of one pixel the mask leaves nothing.")

    def make_networks(self):
        self.orders = masks.orders(1, self.size, "natural", self.seed)
        network, sizes = (Gated if self.gated else Plain), [self.kernel_size] * self.num_blocks
        self.conditionals = network(
            self.data_shape[-1], self.family.num_parameters, self.condition_size,
            self.filters, [self.first_kernel_size, *sizes], self.output_filters,
        )  # fmt: skip

    def log_probs(self, x, k, *y):
        images, y = tf.reshape(x, [-1, *self.data_shape]), [each[:, None, None] for each in y]
        moved_down = tf.pad(images, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1]
        found = self.conditionals.above(moved_down, y, causal.at_once)
        parameters = self.conditionals.outputs(images, found, y, causal.at_once)
        of_each = tf.reshape(parameters, [-1, self.size, self.family.num_parameters])
        return self.of_pixels(x, tf.linalg.matrix_transpose(of_each))

    def walk(self, k, *y):
        network, (_, width, channels) = self.conditionals, self.data_shape
        pixels = causal.Pixels([layer for layer in network.layers if layer not in network.of_lines], width, tf.float64)
        lines = causal.Lines(network.of_lines, width, tf.float64)
        y = [tf.cast(each, tf.float64) for each in y]

        def next_line(line, kept):
            """What is found above a line, `line` being the one before it."""
            apply = lines.at(kept)
            x = tf.reshape(line, [-1, width, channels])
            return network.above(x, [each[:, None] for each in y], apply), apply.kept

        def pixel_at(place, line, kept):
            """Steps for the pixel of the number in this place, and the numbers of the pixel, zeros where not known."""
            column = place // channels % width
            x = tf.reshape(line, [-1, width, channels])[:, column]
            return pixels.at(place // (width * channels), column, kept), x

        def parameters(state, place, pixel):
            line, above, kept = state
            begins = place % (width * channels) == 0  # and the line before is whole
            if network.of_lines:
                above = tf.cond(begins, lambda: next_line(line, above[1]), lambda: above)
            line = tf.where(begins, tf.zeros_like(line), line)
            apply, x = pixel_at(place, line, kept)
            found = network.outputs(x, [each[:, apply.column] for each in above[0]], y, apply)
            of_each = tf.reshape(found, [-1, channels, self.family.num_parameters])
            return of_each[:, place % channels], (line, above, apply.kept)

        def seen(state, place, pixel, value):
            line, above, kept = state
            here = tf.range(width * channels) == place % (width * channels)
            line = tf.where(here, tf.cast(value, tf.float64)[:, None], line)
            apply, x = pixel_at(place, line, kept)
            apply.keep(network.first, x)
            return line, above, apply.kept

        batch = tf.shape(k)[0]
        found = [tf.zeros([batch, width, layer.mask.shape[-1]], tf.float64) for layer in network.found_by]
        line = tf.zeros([batch, width * channels], tf.float64)
        return Walk((line, (found, lines.start(batch)), pixels.start(batch)), parameters, seen)


def convolution(size, below, above, **options):
    """A `CausalConvolution` with a kernel of size x size, from and to units of these degrees."""
    return causal.CausalConvolution(masks.causal(size, size, below, above), size // 2, **options)


def of_y(size, above):
    """The convolution of y, of this length, or None where there is no y."""
    return convolution(1, np.zeros(size), above, use_bias=False) if size else None


def head(below, units, channels, num_parameters):
    """The two convolutions that both networks end in, to parameters [..., channels * num_parameters]."""
    hidden, outputs = masks.spread(units, 0, channels), np.repeat(np.arange(channels), num_parameters)
    return [convolution(1, below, hidden), convolution(1, hidden, outputs, dtype="float32")]


def through(layers, a, apply):
    for layer in layers:
        a = apply(layer, tf.nn.relu(a))
    return a


class Plain(keras.Model):
    """The network of van den Oord et al. 2016a, table 1.

    Args:
        channels: int, of x.
        num_parameters: int, of the distribution of a number.
        condition_size: int, the length of y, or 0.
        filters: int, h.
        kernel_sizes: ints, of the first convolution and of each block.
        output_filters: int.

    x is [..., channels], y a list of one [..., condition_size] or none; `apply` says of which pixels they are, see
    `zoo/parts/causal.py`. `first` sees x, `of_lines` are the layers of `above`, and `found_by` those of
    what it finds.
    """

    of_lines = found_by = ()

    def __init__(self, channels, num_parameters, condition_size, filters, kernel_sizes, output_filters):
        super().__init__()
        h, h2 = (masks.spread(units, 0, channels) for units in (filters, 2 * filters))
        size, *sizes = kernel_sizes
        self.first = convolution(size, np.arange(channels) + 1, h2)
        self.W_1 = [convolution(1, h2, h) for _ in sizes]
        self.W_2 = [convolution(size, h, h) for size in sizes]
        self.W_3 = [convolution(1, h, h2) for _ in sizes]
        self.V = [of_y(condition_size, h) for _ in sizes if condition_size]
        self.head = head(h2, output_filters, channels, num_parameters)
        self.built = True

    def above(self, x, y, apply):
        return []

    def outputs(self, x, found, y, apply):
        """Parameters [..., channels * num_parameters]."""
        f, a = tf.nn.relu, apply(self.first, x)
        for i, (W_1, W_2, W_3) in enumerate(zip(self.W_1, self.W_2, self.W_3, strict=True)):
            b = apply(W_2, f(apply(W_1, f(a))))
            for each in y:
                b += apply(self.V[i], each)
            a += apply(W_3, f(b))
        return through(self.head, a, apply)


class Gated(keras.Model):
    """The network of van den Oord et al. 2016b, figure 2. Arguments are those of `Plain`; h is the width of a and v."""

    def __init__(self, channels, num_parameters, condition_size, filters, kernel_sizes, output_filters):
        super().__init__()
        h, size = masks.spread(filters, 0, channels), kernel_sizes[0]
        of_x, both = np.arange(channels) + 1, np.tile(h, 2)
        lines = [size // 2, *(size // 2 + 1 for size in kernel_sizes[1:])]
        inputs = [of_x, *(h for _ in kernel_sizes[1:])]

        def vertical(lines, size, below):
            return causal.CausalConvolution(np.ones([lines, size, len(below), len(both)]), size // 2)

        def horizontal(size, below):
            mask = masks.causal(size, size, below, both)[-1:, : size // 2 + 1]
            return causal.CausalConvolution(mask, size // 2)

        self.W_v = [vertical(*each) for each in zip(lines, kernel_sizes, inputs, strict=True)]
        self.W_a = [horizontal(*each) for each in zip(kernel_sizes, inputs, strict=True)]
        self.W_1 = [convolution(1, h, h) for _ in kernel_sizes]
        self.W_2 = [convolution(1, 0 * both, both) for _ in kernel_sizes]
        self.V_v, self.V_a = ([of_y(condition_size, both) for _ in kernel_sizes if condition_size] for _ in range(2))
        self.head = head(h, output_filters, channels, num_parameters)
        self.built = True

    @property
    def first(self):
        return self.W_a[0]

    @property
    def found_by(self):
        return self.W_2

    @property
    def of_lines(self):
        return [*self.W_v, *self.W_2, *self.V_v]

    def above(self, x, y, apply):
        """What the vertical stack tells each layer of the other, a list of [..., 2 h], of x one line above."""
        v, found = x, []
        for i, (W_v, W_2) in enumerate(zip(self.W_v, self.W_2, strict=True)):
            b = apply(W_v, v)
            for each in y:
                b += apply(self.V_v[i], each)
            v = gate(b)
            found.append(apply(W_2, b))
        return found

    def outputs(self, x, found, y, apply):
        """Parameters [..., channels * num_parameters], by what `above` has found."""
        a = x
        for i, (W_a, W_1, told) in enumerate(zip(self.W_a, self.W_1, found, strict=True)):
            b = apply(W_a, a) + told
            for each in y:
                b += apply(self.V_a[i], each)
            more = apply(W_1, gate(b))
            a = a + more if i else more
        return through(self.head, a, apply)


def gate(b):
    b_1, b_2 = tf.split(b, 2, axis=-1)
    return tf.tanh(b_1) * tf.sigmoid(b_2)
