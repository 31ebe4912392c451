"""Single layers: those that Keras lacks, or has in a form that does not suit a game, and the activations by name.

What changes in a layer between calls is a weight of it, so that a resumed run goes on as it would have gone on.
"""

import contextlib
import functools
import math
import threading
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from zoo.parts import noise


class ConcatenatedReLU(keras.layers.Layer):
    """[max(x, 0), max(-x, 0)] along the last axis, which doubles it (Shang et al. 2016, arXiv:1603.05201)."""

    def call(self, x):
        return keras.ops.concatenate([keras.ops.relu(x), keras.ops.relu(-x)], axis=-1)


MAXOUT_PIECES = 4  # the window of Rezende and Mohamed 2015; a layer of n units has n maxima over 4 linear maps each


class Maxout(keras.layers.Layer):
    """The largest of each group of `pieces` neighbours on the last axis (Goodfellow et al. 2013, arXiv:1302.4389)."""

    def __init__(self, pieces=MAXOUT_PIECES, **kwargs):
        super().__init__(**kwargs)
        self.pieces = pieces

    def call(self, x):
        groups = keras.ops.reshape(x, (-1, *x.shape[1:-1], x.shape[-1] // self.pieces, self.pieces))
        return keras.ops.max(groups, axis=-1)


class MaskedDense(keras.layers.Dense):
    """A dense layer with a mask: a unit sees the inputs whose degree is at most its own. It has no activation.

    Args:
        below, above: degrees, ints [inputs] and [units]; of several masks [num_masks, inputs] and [num_masks, units].

    A call takes the number of the mask, `which`, an int or scalar tensor.
    """

    def __init__(self, below, above, **kwargs):
        super().__init__(np.shape(above)[-1], **kwargs)
        self.below, self.above = (np.atleast_2d(degrees).astype(np.int32) for degrees in (below, above))

    def call(self, x, which=0):
        below, above = (tf.gather(degrees, which) for degrees in (self.below, self.above))
        return keras.ops.matmul(x, self.kernel * keras.ops.cast(below[:, None] <= above, x.dtype)) + self.bias


class Dropout(keras.layers.Layer):
    """In training, zeroes each unit with probability `rate` and scales the others by 1 / (1 - rate).

    Its noise is a function of its count of calls, which is a weight: a resumed run repeats it, as Keras's layer does
    not. Replicas use the same masks, for other rows. (Srivastava et al. 2014, JMLR 15.)
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        if rate >= 1.0:
            raise ValueError(f"dropout must leave some units: give a share below 1, not {rate}.")
        self.rate = rate
        self.start = keras.initializers.RandomUniform(0.0, 2.0**34)  # far apart but for a chance of about 1e-4

    def build(self, input_shape):
        self.calls = self.add_weight(
            shape=(), dtype="int64", initializer=lambda shape, dtype: keras.ops.cast(self.start(shape), dtype),
            trainable=False, aggregation="only_first_replica", name="calls",
        )  # fmt: skip

    def call(self, x, training=False):
        if not training:
            return x
        key = noise.key(0, self.calls.value, noise.LAYERS)
        self.calls.assign_add(1)
        mask = noise.bernoulli(key, tf.fill(tf.shape(x), 1.0 - self.rate)) / (1.0 - self.rate)
        return x * tf.cast(mask, x.dtype)


class MinibatchDeviation(keras.layers.Layer):
    """[batch, ..., c] with one channel more: how much the rows of the minibatch differ, one number for all of them.

    The standard deviation over the minibatch, averaged over all elements of a row, by which a discriminator sees a lack
    of variety (Karras et al. 2018, arXiv:1710.10196, section 3). What follows is no function of one row alone. Under a
    strategy each replica has the deviation of its own rows.
    """

    def call(self, x):
        y = tf.cast(x, tf.float32)
        deviation = tf.sqrt(tf.reduce_mean(tf.square(y - tf.reduce_mean(y, 0)), 0) + 1e-8)  # the slope of a root at 0
        channel = tf.fill(tf.shape(x[..., :1]), tf.cast(tf.reduce_mean(deviation), x.dtype))
        return tf.concat([x, channel], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)


class PixelNormalization(keras.layers.Layer):
    """Each vector along the last axis is divided by the root mean square of its elements (Karras et al. 2018, 4.2)."""

    def call(self, x):
        y = tf.cast(x, tf.float32)
        y *= tf.math.rsqrt(tf.reduce_mean(tf.square(y), axis=-1, keepdims=True) + 1e-8)
        return tf.cast(y, x.dtype)


class DividedKernel(keras.layers.Wrapper):
    """A dense or convolutional layer whose kernel is divided by a number, `divisor`, wherever it is used.

    The layer has no activation: it is to be linear in its kernel.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        self.use_bias, layer.use_bias = layer.use_bias, False

    def build(self, input_shape):
        super().build(input_shape)
        size = self.layer.kernel.shape[-1]
        self.make_state(size)
        self.bias = self.add_weight(shape=(size,), initializer="zeros", name="bias") if self.use_bias else None

    def make_state(self, size):
        """Makes what `divisor` needs, the layer having `size` outputs."""

    def divisor(self, training):
        """A float32 scalar, or a float."""
        raise NotImplementedError

    def call(self, x, training=False):
        y = self.layer(x) / keras.ops.cast(self.divisor(training), self.compute_dtype)
        return y + self.bias if self.use_bias else y


HE_GAIN = math.sqrt(2.0)  # of layers before a ReLU (He et al. 2015, arXiv:1502.01852)


class Equalized(DividedKernel):
    """A layer of equalised learning rate: its kernel is multiplied by gain / sqrt(fan-in) wherever it is used.

    Let it start from N(0, 1): outputs start as by He's rule, and an optimizer that divides by the size of gradients
    moves all layers at one pace, in comparison to their weights (Karras et al. 2018, arXiv:1710.10196, section 4.1).
    """

    def __init__(self, layer, gain=HE_GAIN, **kwargs):
        super().__init__(layer, **kwargs)
        self.gain = gain

    def divisor(self, training):
        return math.sqrt(math.prod(self.layer.kernel.shape[:-1])) / self.gain


class SpectralNormalization(DividedKernel):
    """A layer whose kernel W is divided by an estimate of its largest singular value, sigma(W).

    v^T W u, with one power iteration for u and v at each call in training, and a gradient of its own (Miyato et al.
    2018, arXiv:1802.05957, algorithm 1 and equation 12). It rises to sigma(W) over many calls, and is below it in the
    first ones: the largest singular value of what is left is above 1, and 1 in the limit. Keras's layer of this name
    overwrites W, in calls for another player's move too.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        self.start = keras.initializers.RandomNormal()

    def make_state(self, size):
        state = {"trainable": False, "aggregation": "only_first_replica"}
        self.u = self.add_weight(shape=(size, 1), initializer=self.start, name="u", **state)

    def divisor(self, training):
        W = keras.ops.reshape(keras.ops.cast(self.layer.kernel.value, "float32"), [-1, self.u.shape[0]])
        u = keras.ops.cast(self.u.value, "float32")
        v = tf.stop_gradient(tf.math.l2_normalize(W @ u))
        u = tf.stop_gradient(tf.math.l2_normalize(tf.transpose(W) @ v))
        if training:
            self.u.assign(u)
        return (tf.transpose(v) @ W @ u)[0, 0]


ACTIVATIONS = {
    "relu": keras.layers.ReLU,
    "crelu": ConcatenatedReLU,
    "leaky_relu": functools.partial(keras.layers.LeakyReLU, negative_slope=0.2),
    "elu": keras.layers.ELU,
    **{name: functools.partial(keras.layers.Activation, name) for name in ("tanh", "sigmoid", "softplus")},
    "maxout": Maxout,
}
Activation = Literal[tuple(ACTIVATIONS)]


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's, along the last axis, whose moving averages may take several calls for one minibatch: `as_one_minibatch`.

    Momentum 0.9 and epsilon 1e-5: the averages over Keras's 100 batches lag behind a network that plays a game.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"momentum": 0.9, "epsilon": 1e-5, **kwargs})

    def call(self, x, training=False):
        if not (training and self.trainable):
            return super().call(x, training=False)
        y = keras.ops.cast(x, "float32")
        mean, variance = keras.ops.moments(y, list(range(len(x.shape) - 1)))
        if now.parts is None:
            self.learn([(mean, variance)])
        else:
            now.parts.setdefault(id(self), (self, []))[1].append((mean, variance))
        moments, maps = (mean, variance, -1), {"offset": self.beta, "scale": self.gamma}
        return keras.ops.cast(keras.ops.batch_normalization(y, *moments, **maps, epsilon=self.epsilon), x.dtype)

    def learn(self, parts):
        """Moves the averages towards mean and variance of a mixture: of parts of one size, (mean, variance) each.

        Under a strategy they are the means of what the replicas have, without the variance between these.

        The first minibatch replaces the 0 and 1 that they start from, of which averages of averages would keep a part.
        """
        means, variances = (tf.stack(moments) for moments in zip(*parts, strict=True))
        mean, between = tf.nn.moments(means, [0])
        is_first = tf.reduce_all((self.moving_mean.value == 0.0) & (self.moving_variance.value == 1.0))
        momentum = tf.where(is_first, 0.0, self.momentum)
        for average, value in (
            (self.moving_mean, mean),
            (self.moving_variance, tf.reduce_mean(variances, 0) + between),
        ):
            average.assign(average * momentum + value * (1.0 - momentum))


class Now(threading.local):  # under a strategy, every replica has a thread of its own
    parts = None


now = Now()


@contextlib.contextmanager
def as_one_minibatch():
    """Within this block each call of a `BatchNormalization` in training is a part, of one size, of its minibatch.

    It normalises each part by the part's own moments, and its averages take one step at the end of the block.
    """
    now.parts, before = {}, now.parts
    try:
        yield
        for layer, parts in now.parts.values():
            layer.learn(parts)
    finally:
        now.parts = before


class Numbers(keras.Model):
    """Numbers, or arrays of them, each an attribute with its start: `Numbers("p", a=0.0).a`; state if not trainable."""

    def __init__(self, name, trainable=True, **start):
        super().__init__(name=name)
        for key, value in start.items():
            # With an aggregation, replicas that agree may assign to it.
            options = {"initializer": keras.initializers.Constant(value), "aggregation": "mean", "name": key}
            setattr(self, key, self.add_weight(shape=np.shape(value), trainable=trainable, **options))
        self.built = True


Numbers.__name__ = "Parameters"  # by which `.keras` files find them, those of before too
