"""Convolutions over the pixels of a picture in lines from the upper left: of all at once, or of one after the other.

A network is a function of x and of `apply(layer, x)`, so that the same lines are a full pass, with `at_once`, and a
step, with `Pixels` or `Lines`, which see of the pixels before what layers have kept of their inputs: as many lines as
their kernels have. A step costs for each layer a product of the kernel with the pixels under it, whatever the height of
the picture.
"""

import copy

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
        return kernel, tf.cast(0.0 if self.bias is None else tf.convert_to_tensor(self.bias), dtype)

    def call(self, x):
        above, left, right = self.margins
        kernel, bias = self.weights_as(x.dtype)
        return tf.nn.conv2d(x, kernel, 1, [[0, 0], [above, 0], [left, right], [0, 0]]) + bias


def at_once(layer, x):
    """All pixels, [batch, height, width, channels]."""
    return layer(x)


class Pixels:
    """Layers applied to one pixel after the other, [batch, channels], in numbers of the type `dtype`.

    `at` says which pixel it is, and what is kept before it: dict, name of a layer -> its inputs in the last lines,
    [batch, lines * columns, channels], as `start` makes them for the first pixel. Its attribute `kept` is that of the
    next then.
    """

    def __init__(self, layers, width, dtype):
        self.layers, self.width, self.dtype, self.weights = layers, width, dtype, {}
        for layer in layers:
            kernel, bias = layer.weights_as(dtype)
            by_place = tf.gather_nd(kernel, under(layer))  # [places, inputs, units]
            self.weights[layer.name] = tf.reshape(by_place, [-1, kernel.shape[-1]]), bias

    def start(self, batch):
        """Zeros, which what lies beyond the picture stays."""

        def zeros(layer):
            above, left, right = layer.margins
            return tf.zeros([batch, (above + 1) * (left + self.width + right), layer.mask.shape[2]], self.dtype)

        return {layer.name: zeros(layer) for layer in self.layers if any(layer.margins)}

    def at(self, row, column, kept):
        step = copy.copy(self)
        step.row, step.column, step.kept, step.places = row, column, dict(kept), {}
        return step

    def places_of(self, layer):
        """Where a layer keeps what its kernel covers, the last of it at this pixel: lines take turns."""
        if layer.margins not in self.places:  # those of one size are many
            (above, left, right), (line, column) = layer.margins, under(layer).T
            turn = (self.row + line - above) % (above + 1)
            self.places[layer.margins] = turn * (left + self.width + right) + self.column + column
        return self.places[layer.margins]

    def keep(self, layer, x):
        """Keeps x as a layer's input at this pixel."""
        rows = tf.range(tf.shape(x)[0])
        here = tf.stack([rows, tf.fill(tf.shape(rows), self.places_of(layer)[-1])], axis=1)
        self.kept[layer.name] = tf.tensor_scatter_nd_update(self.kept[layer.name], here, x)

    def __call__(self, layer, x):
        W, bias = self.weights[layer.name]
        if layer.name in self.kept:
            self.keep(layer, x)
            x = tf.reshape(tf.gather(self.kept[layer.name], self.places_of(layer), axis=1), [-1, W.shape[0]])
        return x @ W + bias


def under(layer):
    """The lines and columns of a kernel that are not after the pixel, ints [places, 2], the last those of the pixel."""
    above, left, right = layer.margins
    lines, columns = np.indices([above + 1, left + 1 + right])
    return np.argwhere((lines < above) | (columns <= left))


class Lines:
    """Layers applied to one line after the other, [batch, width, channels]; of masks that leave nothing out.

    As `Pixels`, but that what is kept are inputs [batch, lines, width, channels] in the lines above.
    """

    def __init__(self, layers, width, dtype):
        self.layers, self.width, self.dtype = layers, width, dtype
        self.weights = {layer.name: layer.weights_as(dtype) for layer in layers}

    def start(self, batch):
        def zeros(layer):
            return tf.zeros([batch, layer.margins[0], self.width, layer.mask.shape[2]], self.dtype)

        return {layer.name: zeros(layer) for layer in self.layers if layer.margins[0]}

    def at(self, kept):
        step = copy.copy(self)
        step.kept = dict(kept)
        return step

    def __call__(self, layer, x):
        (kernel, bias), (_, left, right) = self.weights[layer.name], layer.margins
        lines = x[:, None]
        if layer.name in self.kept:
            lines = tf.concat([self.kept[layer.name], lines], axis=1)
            self.kept[layer.name] = lines[:, 1:]
        # A product of what is under the kernel, and no convolution, which other runtimes can not do within a loop.
        width = x.shape[1]
        columns = np.arange(width)[:, None] + np.arange(left + 1 + right)
        seen = tf.gather(tf.pad(lines, [[0, 0], [0, 0], [left, right], [0, 0]]), columns, axis=2)
        seen = tf.reshape(tf.transpose(seen, [0, 2, 1, 3, 4]), [-1, width, kernel.shape[:3].num_elements()])
        return tf.tensordot(seen, tf.reshape(kernel, [-1, kernel.shape[3]]), 1) + bias
