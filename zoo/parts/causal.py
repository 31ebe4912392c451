"""Convolutions over the pixels of a picture in lines from the upper left: of all at once, or of one after the other.

A network is a function of x and of `apply(layer, x)`, so that the same lines are a full pass, with `at_once`, and a
step, with `Pixel` or `Line`, which see of the pixels before what layers have kept of their inputs: as many lines as
their kernels have. A step costs for each layer a product of the kernel with the pixels under it, whatever the height of
the picture.
"""

import keras
import numpy as np
import tensorflow as tf


class CausalConvolution(keras.layers.Layer):
    """A convolution from [batch, height, width, inputs] to [..., units] over a pixel's line and those above it.

    Args:
        mask: [lines, columns, inputs, units], what of the kernel is not zero: the last line is that of the pixel.
        centre: int, the column in which the pixel is.
        use_bias: bool.

    Beyond the picture there are zeros.
    """

    def __init__(self, mask, centre=0, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.mask, self.centre = mask.astype(np.float32), centre
        self.kernel = self.add_weight(shape=mask.shape, initializer=keras.initializers.GlorotUniform(), name="kernel")
        self.bias = self.add_weight(shape=mask.shape[-1:], initializer="zeros", name="bias") if use_bias else None
        self.built = True

    @property
    def margins(self):
        """How far the kernel reaches: lines above, columns to the left and to the right."""
        lines, columns, *_ = self.mask.shape
        return lines - 1, self.centre, columns - self.centre - 1

    def weights_as(self, dtype):
        """The masked kernel and the bias, or 0."""
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), dtype) * tf.cast(self.mask, dtype)
        return kernel, 0.0 if self.bias is None else tf.cast(tf.convert_to_tensor(self.bias), dtype)

    def call(self, x):
        above, left, right = self.margins
        kernel, bias = self.weights_as(x.dtype)
        return tf.nn.conv2d(x, kernel, 1, [[0, 0], [above, 0], [left, right], [0, 0]]) + bias


def at_once(layer, x):
    """All pixels, [batch, height, width, channels]."""
    return layer(x)


class Pixel:
    """Layers applied to one pixel [batch, channels] after the other, each by a step with one of these.

    Args:
        weights: dict, name of a layer -> its `weights_as` the type of numbers that steps are in.
        kept: dict, name of a layer -> its inputs in the last lines, [lines * columns, batch, channels]; at the first
            pixel as `start` makes them. Afterwards the attribute `kept` is that of the next step.
        row, column: where the pixel is, int tensors.
    """

    def __init__(self, weights, kept, row, column):
        self.weights, self.kept, self.row, self.column = weights, dict(kept), row, column

    @staticmethod
    def start(layers, width, batch, dtype):
        """What layers keep of the pixels before the first: zeros, which those beyond the picture stay."""

        def zeros(layer):
            above, left, right = layer.margins
            return tf.zeros([(above + 1) * (left + width + right), batch, layer.mask.shape[2]], dtype)

        return {layer.name: zeros(layer) for layer in layers if any(layer.margins)}

    def place(self, layer, line, column):
        """Where a layer keeps the pixel under a line and a column of its kernel: the lines kept take turns."""
        above, left, _ = layer.margins
        columns = self.kept[layer.name].shape[0] // (above + 1)
        return (self.row + line - above) % (above + 1) * columns + self.column + column

    def keep(self, layer, x):
        """Keeps x as a layer's input at this pixel."""
        above, left, _ = layer.margins
        place = self.place(layer, above, left)
        self.kept[layer.name] = tf.tensor_scatter_nd_update(self.kept[layer.name], [[place]], x[None])

    def __call__(self, layer, x):
        kernel, bias = self.weights[layer.name]
        if layer.name not in self.kept:
            return x @ kernel[0, 0] + bias
        self.keep(layer, x)
        under = np.argwhere(layer.mask.any(axis=(2, 3)))
        seen = tf.gather(self.kept[layer.name], self.place(layer, *under.T))
        return tf.einsum("sni,sio->no", seen, tf.gather_nd(kernel, under)) + bias


class Line:
    """Layers applied to one line [batch, width, channels] after the other; of layers whose masks leave nothing out.

    Arguments are as for `Pixel`; `kept` are inputs [batch, lines, width, channels] in the lines above.
    """

    def __init__(self, weights, kept):
        self.weights, self.kept = weights, dict(kept)

    @staticmethod
    def start(layers, width, batch, dtype):
        above = {layer: layer.margins[0] for layer in layers}
        return {
            layer.name: tf.zeros([batch, lines, width, layer.mask.shape[2]], dtype)
            for layer, lines in above.items()
            if lines
        }

    def __call__(self, layer, x):
        (kernel, bias), (_, left, right) = self.weights[layer.name], layer.margins
        lines = x[:, None]
        if layer.name in self.kept:
            lines = tf.concat([self.kept[layer.name], lines], axis=1)
            self.kept[layer.name] = lines[:, 1:]
        return tf.nn.conv2d(lines, kernel, 1, [[0, 0], [0, 0], [left, right], [0, 0]])[:, 0] + bias
