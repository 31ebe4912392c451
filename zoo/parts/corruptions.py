"""What may be taken from images, to be found again by those who see the rest.

Each is a function of images [batch, height, width, channels] in [0, 1], row by row and without noise, whose answer is
in [0, 1] too, and as high and wide.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

BLOCK = 4  # pixels, the side of a block of `coarse`


class Corruption(NamedTuple):
    """`function` of images, and whether what it leaves is grey, [batch, height, width, 1], or has as many channels."""

    function: callable
    is_grey: bool


def brightness(x):
    """[batch, height, width, 1], of colours by the weights of ITU-R BT.601."""
    return x if x.shape[-1] == 1 else tf.tensordot(x, [[0.299], [0.587], [0.114]], 1)


def edges(x):
    """The slope of the brightness by Sobel's filters, in units of a step from black to white, cut off at 1."""
    return tf.minimum(tf.norm(tf.image.sobel_edges(brightness(x)) / 4.0, axis=-1), 1.0)


def coarse(x):
    """Blocks of 4x4 pixels, from the upper left corner on, each as its mean; those at the other edges may be cut."""
    for axis, product in ((1, "ij,bjwc->biwc"), (2, "ij,bhjc->bhic")):
        block = np.arange(x.shape[axis]) // BLOCK
        same = np.float32(block[:, None] == block)
        x = tf.einsum(product, same / same.sum(1, keepdims=True), x)
    return x


def masked_half(x):
    """The upper half, above a grey of 0.5."""
    is_known = np.arange(x.shape[1]) < x.shape[1] // 2
    return tf.where(is_known[:, None, None], x, 0.5)


CORRUPTIONS = {
    "edges": Corruption(edges, is_grey=True),
    "coarse": Corruption(coarse, is_grey=False),
    "grey": Corruption(brightness, is_grey=True),
    "masked_half": Corruption(masked_half, is_grey=False),
}
