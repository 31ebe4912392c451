"""Networks that several models share: multilayer perceptrons and strided convolutional stacks.

All are built when made, and all but `Parameters` are `keras.Sequential` models. Output layers compute in float32 under
any precision.
"""

import math
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from zoo.parts import noise

layers = keras.layers


class ConcatenatedReLU(layers.Layer):
    """[max(x, 0), max(-x, 0)] along the last axis, which doubles it (Shang et al. 2016, arXiv:1603.05201)."""

    def call(self, x):
        return keras.ops.concatenate([keras.ops.relu(x), keras.ops.relu(-x)], axis=-1)


class Parameters(keras.Model):
    """Trainable numbers that are no layer's weights, each an attribute: `Parameters("p", a=0.0).a`.

    Args:
        name: str.
        **start: name -> where the number, or array of numbers, starts.
    """

    def __init__(self, name, **start):
        super().__init__(name=name)
        for key, value in start.items():
            # With an aggregation, replicas that agree may assign to it.
            options = {"initializer": keras.initializers.Constant(value), "aggregation": "mean", "name": key}
            setattr(self, key, self.add_weight(shape=np.shape(value), **options))
        self.built = True


MAXOUT_PIECES = 4  # the window of Rezende and Mohamed 2015; a layer of n units has n maxima over 4 linear maps each


class Maxout(layers.Layer):
    """The largest of each group of `pieces` neighbours on the last axis (Goodfellow et al. 2013, arXiv:1302.4389)."""

    def __init__(self, pieces=MAXOUT_PIECES, **kwargs):
        super().__init__(**kwargs)
        self.pieces = pieces

    def call(self, x):
        groups = keras.ops.reshape(x, (-1, *x.shape[1:-1], x.shape[-1] // self.pieces, self.pieces))
        return keras.ops.max(groups, axis=-1)


class Dropout(layers.Layer):
    """In training, zeroes each unit with probability `rate` and scales the others by 1 / (1 - rate).

    Its noise is a function of its count of calls, which is a weight: a resumed run repeats it, which that of Keras's
    layer does not. Replicas use the same masks, for other rows. (Srivastava et al. 2014, JMLR 15.)
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        if rate >= 1.0:
            raise ValueError(f"dropout must leave some units: give a share below 1, not {rate}.")
        self.rate = rate
        self.start = keras.initializers.RandomUniform(0.0, 2.0**34)  # every layer drops units of its own

    def build(self, input_shape):
        self.calls = self.add_weight(
            shape=(),
            dtype="int64",
            initializer=lambda shape, dtype: keras.ops.cast(self.start(shape), dtype),
            trainable=False,
            aggregation="only_first_replica",
            name="calls",
        )

    def call(self, x, training=False):
        if not training:
            return x
        (key,) = noise.keys(0, self.calls.value, 0, 1)
        self.calls.assign_add(1)
        mask = noise.bernoulli(key, tf.fill(tf.shape(x), 1.0 - self.rate)) / (1.0 - self.rate)
        return x * tf.cast(mask, x.dtype)


class SpectralNormalization(layers.Wrapper):
    """A dense or convolutional layer whose kernel W is divided by its largest singular value, sigma(W).

    sigma(W) = v^T W u, with one power iteration for u and v at each call in training, and a gradient of its own (Miyato
    et al. 2018, arXiv:1802.05957, algorithm 1 and equation 12). Keras's layer of this name overwrites W instead, in
    calls for another player's move too. The layer has no activation: it is to be linear in W.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        self.use_bias, layer.use_bias = layer.use_bias, False
        self.start = keras.initializers.RandomNormal()

    def build(self, input_shape):
        super().build(input_shape)
        size = self.layer.kernel.shape[-1]
        self.u = self.add_weight(
            shape=(size, 1), initializer=self.start, trainable=False, aggregation="only_first_replica", name="u"
        )
        self.bias = self.add_weight(shape=(size,), initializer="zeros", name="bias") if self.use_bias else None

    def call(self, x, training=False):
        W = keras.ops.reshape(keras.ops.cast(self.layer.kernel.value, "float32"), [-1, self.u.shape[0]])
        u = keras.ops.cast(self.u.value, "float32")
        v = tf.stop_gradient(tf.math.l2_normalize(W @ u))
        u = tf.stop_gradient(tf.math.l2_normalize(tf.transpose(W) @ v))
        if training:
            self.u.assign(u)
        y = self.layer(x) / keras.ops.cast(tf.transpose(v) @ W @ u, self.compute_dtype)[0, 0]
        return y + self.bias if self.use_bias else y


def _linear(layer, spectral_norm):
    return SpectralNormalization(layer, dtype=layer.dtype_policy) if spectral_norm else layer


ACTIVATIONS = {
    "relu": layers.ReLU,
    "crelu": ConcatenatedReLU,
    "leaky_relu": lambda: layers.LeakyReLU(negative_slope=0.2),
    "elu": layers.ELU,
    "tanh": lambda: layers.Activation("tanh"),
    "sigmoid": lambda: layers.Activation("sigmoid"),
    "softplus": lambda: layers.Activation("softplus"),
    "maxout": Maxout,
}
Activation = Literal[tuple(ACTIVATIONS)]


def _pieces(activation):
    """Linear maps behind each unit of a hidden layer."""
    return MAXOUT_PIECES if activation == "maxout" else 1


def _initializer(initializer):
    """A description, of which each layer makes its own: one initializer repeats its numbers for the same shape."""
    return keras.initializers.serialize(initializer) if initializer else "glorot_uniform"


def _batch_normalization():
    """Momentum 0.9 and epsilon 1e-5: the averages over Keras's 100 batches lag behind a network that plays a game."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


def mlp(
    input_shape,
    hidden_units,
    output_shape,
    *,
    activation="relu",
    maxout_pieces=MAXOUT_PIECES,
    batch_norm=False,
    spectral_norm=False,
    dropout=0.0,
    output_activation=None,
    initializer=None,
    name=None,
):
    """Dense layers from tensors [batch, *input_shape] to [batch, *output_shape].

    Args:
        input_shape, output_shape: tuples of ints, without the batch; with None the last hidden layer is the output.
        hidden_units: tuple of ints, the width of each hidden layer; empty for a linear map.
        activation: str, a key of `ACTIVATIONS`.
        maxout_pieces: int, linear maps behind each hidden unit, for the activation "maxout".
        batch_norm: bool, batch normalisation before the activation of each hidden layer.
        spectral_norm: bool, spectral normalisation of every layer's weights.
        dropout: float in [0, 1), the share of hidden units that is dropped in training.
        output_activation: str or None, a Keras activation.
        initializer: Keras initializer of the weights, None for Glorot's.
        name: str or None.
    """
    initializer = _initializer(initializer)
    stack = [keras.Input(input_shape), layers.Flatten()]
    for units in hidden_units:
        width = units * maxout_pieces if activation == "maxout" else units
        dense = layers.Dense(width, use_bias=not batch_norm, kernel_initializer=initializer)
        stack.append(_linear(dense, spectral_norm))
        if batch_norm:
            stack.append(_batch_normalization())
        stack.append(Maxout(maxout_pieces) if activation == "maxout" else ACTIVATIONS[activation]())
        if dropout:
            stack.append(Dropout(dropout))
    if output_shape is not None:
        options = {"kernel_initializer": initializer, "dtype": "float32"}
        output = layers.Dense(math.prod(output_shape), output_activation, **options)
        stack += [_linear(output, spectral_norm), layers.Reshape(output_shape, dtype="float32")]
    return keras.Sequential(stack, name=name)


def residual_mlp(input_shape, hidden_units, output_shape, *, activation="relu", initializer=None, name=None):
    """A dense layer, then residual blocks h <- f(h + W_2 f(W_1 h)) in which W_2 starts from zero, then a linear map.

    Args:
        hidden_units: tuple of at least one int: the width of h, then the width of each block's hidden layer.
        input_shape, output_shape, activation, initializer, name: as for `mlp`; no "maxout" or "crelu".
    """
    initializer = _initializer(initializer)
    width, *blocks = hidden_units

    def dense(units, kernel_initializer=initializer, **options):
        return layers.Dense(units, kernel_initializer=kernel_initializer, **options)

    x = keras.Input(input_shape)
    h = ACTIVATIONS[activation]()(dense(width)(layers.Flatten()(x)))
    for units in blocks:
        change = dense(width, "zeros")(ACTIVATIONS[activation]()(dense(units)(h)))
        h = ACTIVATIONS[activation]()(layers.Add()([h, change]))
    output = dense(math.prod(output_shape), dtype="float32")(h)
    return keras.Model(x, layers.Reshape(output_shape, dtype="float32")(output), name=name)


def parallel_mlps(num_networks, input_size, hidden_units, output_size, *, activation="relu", name=None):
    """Networks side by side, each with its own weights, from [batch, num_networks, input_size] to [..., output_size].

    Arguments are those of `mlp`, for every one of the networks; no "maxout" or "crelu".
    """

    def dense(size, units, **options):
        # Glorot's rule for each network by itself: in Keras's, the sizes of all of them would count.
        limit = math.sqrt(6.0 / (size + units))
        options |= {"bias_axes": "no", "kernel_initializer": keras.initializers.RandomUniform(-limit, limit)}
        return layers.EinsumDense("bni,nio->bno", (num_networks, units), **options)

    stack, size = [keras.Input((num_networks, input_size))], input_size
    for units in hidden_units:
        stack += [dense(size, units), ACTIVATIONS[activation]()]
        size = units
    return keras.Sequential([*stack, dense(size, output_size, dtype="float32")], name=name)


def over_leading_axes(network, x, training=False):
    """A network of vectors [batch, size] applied to x [..., size]: [..., *its output shape]."""
    y = network(tf.reshape(x, [-1, x.shape[-1]]), training=training)
    return tf.reshape(y, tf.concat([tf.shape(x)[:-1], tf.shape(y)[1:]], 0))


def convolutional_sides(side):
    """The sides that stride 2 runs through, from the small end: `side` = base * 2^n with base 4..7 and n >= 1.

    28 gives [7, 14, 28] and 64 gives [4, 8, 16, 32, 64].

    Raises:
        ValueError: if no such base exists.
    """
    sides = [side]
    while sides[0] > 7 and sides[0] % 2 == 0:
        sides.insert(0, sides[0] // 2)
    if not 4 <= sides[0] <= 7 or len(sides) == 1:
        raise ValueError(
            f"a convolutional network can not make images of side {side}: "
            "the side must be 4, 5, 6 or 7 times a power of two, such as 8, 16, 28, 32 or 64."
        )
    return sides


def check_square(data_shape):
    """Raises ValueError unless `data_shape` is that of a square image."""
    if len(data_shape) != 3 or data_shape[0] != data_shape[1]:
        raise ValueError(f"a convolutional network needs square images, not data of shape {tuple(data_shape)}.")


def convolutional_encoder(
    data_shape,
    output_size,
    *,
    filters,
    kernel_size=5,
    activation="relu",
    maxout_pieces=MAXOUT_PIECES,
    batch_norm=False,
    spectral_norm=False,
    dropout=0.0,
    initializer=None,
    name=None,
):
    """Strided convolutions from images [batch, side, side, channels] down to vectors [batch, output_size].

    Args:
        data_shape: (side, side, channels), side as `convolutional_sides` allows.
        output_size: int, or None for the last convolution itself, flattened.
        filters: int, channels after the first convolution; they double with every further halving of the side.
        kernel_size: int.
        activation: str, a key of `ACTIVATIONS`.
        maxout_pieces: int, linear maps behind each hidden unit, for the activation "maxout".
        batch_norm: bool, batch normalisation after each convolution but the first.
        spectral_norm: bool, spectral normalisation of every layer's weights.
        dropout: float in [0, 1), the share of hidden units that is dropped in training.
        initializer: Keras initializer of the weights, None for Glorot's.
        name: str or None.

    Raises:
        ValueError: if the images are not square or have a side that strides of 2 can not make.
    """
    check_square(data_shape)
    initializer = _initializer(initializer)
    options = {"strides": 2, "padding": "same", "kernel_initializer": initializer}
    stack = [keras.Input(data_shape)]
    for i in range(len(convolutional_sides(data_shape[0])) - 1):
        normalized = batch_norm and i > 0
        width = filters * 2**i * (maxout_pieces if activation == "maxout" else 1)
        stack.append(_linear(layers.Conv2D(width, kernel_size, use_bias=not normalized, **options), spectral_norm))
        if normalized:
            stack.append(_batch_normalization())
        stack.append(Maxout(maxout_pieces) if activation == "maxout" else ACTIVATIONS[activation]())
        if dropout:
            stack.append(Dropout(dropout))
    stack.append(layers.Flatten())
    if output_size is not None:
        output = layers.Dense(output_size, kernel_initializer=initializer, dtype="float32")
        stack.append(_linear(output, spectral_norm))
    return keras.Sequential(stack, name=name)


def convolutional_decoder(
    latent_size,
    data_shape,
    *,
    filters,
    kernel_size=5,
    activation="relu",
    output_activation=None,
    batch_norm=False,
    initializer=None,
    name=None,
):
    """Transposed strided convolutions from vectors [batch, latent_size] up to images, the mirror of the encoder.

    `filters` is the number of channels before the last convolution; batch normalisation follows every layer but the
    last. Other arguments and errors are those of `convolutional_encoder`.
    """
    check_square(data_shape)
    initializer = _initializer(initializer)
    options = {"strides": 2, "padding": "same", "kernel_initializer": initializer}
    sides = convolutional_sides(data_shape[0])
    widths = [filters * 2**i * _pieces(activation) for i in reversed(range(len(sides) - 1))]
    stack = [keras.Input((latent_size,))]

    def add_hidden(*layers_before_activation):
        stack.extend(layers_before_activation)
        if batch_norm:
            stack.append(_batch_normalization())
        stack.append(ACTIVATIONS[activation]())

    small = (sides[0], sides[0], widths[0])
    projection = layers.Dense(math.prod(small), use_bias=not batch_norm, kernel_initializer=initializer)
    add_hidden(projection, layers.Reshape(small))
    for width in widths[1:]:
        add_hidden(layers.Conv2DTranspose(width, kernel_size, use_bias=not batch_norm, **options))
    options |= {"activation": output_activation, "dtype": "float32"}
    stack.append(layers.Conv2DTranspose(data_shape[-1], kernel_size, **options))
    return keras.Sequential(stack, name=name)
