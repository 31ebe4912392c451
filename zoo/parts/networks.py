"""Networks that several models share: multilayer perceptrons and strided convolutional stacks.

All are built when made, and all but `residual_mlp` are `keras.Sequential` models. Output layers compute in float32
under any precision.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from zoo.parts.layers import (
    ACTIVATIONS,
    MAXOUT_PIECES,
    BatchNormalization,
    Dropout,
    MaskedDense,
    Maxout,
    MinibatchDeviation,
    SpectralNormalization,
)
from zoo.parts.layers import Activation as Activation  # what constructors annotate


def linear(layer_class, initializer=None, spectral_norm=False, **shared):
    """A function (width, **options) that makes layers of a Keras class, all with the options `shared`.

    Args:
        initializer: Keras initializer of their kernels, None for Glorot's.
        spectral_norm: bool, spectral normalisation of their kernels.
    """
    # Of a description each layer makes an initializer of its own: a shared one repeats its numbers for the same shape.
    description = keras.initializers.serialize(initializer) if initializer else "glorot_uniform"

    def made(width, **options):
        layer = layer_class(width, **{"kernel_initializer": description, **shared, **options})
        return SpectralNormalization(layer, dtype=layer.dtype_policy) if spectral_norm else layer

    return made


def hidden(make, units, *, activation="relu", maxout_pieces=MAXOUT_PIECES, batch_norm=False, dropout=0.0):
    """The layers of one hidden layer: a linear one, batch normalisation, activation, dropout.

    Args:
        make: function (width, use_bias=...) that makes the linear layer, as `linear` gives it.
        units: int, units after the activation (of "crelu", before it).
        activation: str, a key of `ACTIVATIONS`.
        maxout_pieces: int, linear maps behind each unit, for the activation "maxout".
        batch_norm: bool, batch normalisation before the activation.
        dropout: float in [0, 1), the share of units that is dropped in training.
    """
    maxout = activation == "maxout"
    stack = [make(units * maxout_pieces if maxout else units, use_bias=not batch_norm)]
    if batch_norm:
        stack.append(BatchNormalization())
    stack.append(Maxout(maxout_pieces) if maxout else ACTIVATIONS[activation]())
    if dropout:
        stack.append(Dropout(dropout))
    return stack


def mlp(
    input_shape, hidden_units, output_shape, *,
    output_activation=None, output_start=None, initializer=None, spectral_norm=False, minibatch_deviation=False,
    **options,
):  # fmt: skip
    """Dense layers from tensors [batch, *input_shape] to [batch, *output_shape].

    Args:
        input_shape, output_shape: tuples of ints, without the batch; with None the last hidden layer is the output.
        hidden_units: tuple of ints, the width of each hidden layer; empty for a linear map.
        output_activation: str or None, a Keras activation.
        output_start: str or None, what the kernel of the last layer starts from if not from the initializer of all.
        initializer, spectral_norm: of all layers, as for `linear`; **options: of all hidden layers, as for `hidden`.
        minibatch_deviation: bool, a `MinibatchDeviation` before the last of the hidden layers.
    """
    dense = linear(keras.layers.Dense, initializer, spectral_norm)
    stack = [keras.Input(input_shape), keras.layers.Flatten(data_format="channels_last")]
    for i, units in enumerate(hidden_units, start=1):
        if minibatch_deviation and i == len(hidden_units):
            stack.append(MinibatchDeviation())
        stack += hidden(dense, units, **options)
    if output_shape is not None:
        start = {"kernel_initializer": output_start} if output_start else {}
        stack.append(dense(math.prod(output_shape), activation=output_activation, dtype="float32", **start))
        stack.append(keras.layers.Reshape(output_shape, dtype="float32"))
    return keras.Sequential(stack)


def residual_mlp(input_shape, hidden_units, output_shape, *, activation="relu", initializer=None):
    """A dense layer, then residual blocks h <- f(h + W_2 f(W_1 h)) in which W_2 starts from zero, then a linear map.

    `hidden_units` has at least one int: the width of h, then the width of each block's hidden layer. Other arguments
    are as for `mlp`; no "maxout" or "crelu".
    """
    dense, f = linear(keras.layers.Dense, initializer), ACTIVATIONS[activation]
    width, *blocks = hidden_units
    x = keras.Input(input_shape)
    h = f()(dense(width)(keras.layers.Flatten(data_format="channels_last")(x)))
    for units in blocks:
        change = dense(width, kernel_initializer="zeros")(f()(dense(units)(h)))
        h = f()(keras.layers.Add()([h, change]))
    output = dense(math.prod(output_shape), dtype="float32")(h)
    return keras.Model(x, keras.layers.Reshape(output_shape, dtype="float32")(output))


def parallel_mlps(num_networks, input_size, hidden_units, output_size, *, activation="relu"):
    """`mlp`s side by side, from [batch, num_networks, input_size] to [..., output_size]; no "maxout" or "crelu"."""

    def dense(size, units, **options):
        # Glorot's rule for each network by itself: in Keras's, the sizes of all of them would count.
        limit = math.sqrt(6.0 / (size + units))
        options |= {"bias_axes": "no", "kernel_initializer": keras.initializers.RandomUniform(-limit, limit)}
        return keras.layers.EinsumDense("bni,nio->bno", (num_networks, units), **options)

    stack, size = [keras.Input((num_networks, input_size))], input_size
    for units in hidden_units:
        stack += [dense(size, units), ACTIVATIONS[activation]()]
        size = units
    return keras.Sequential([*stack, dense(size, output_size, dtype="float32")])


def autoregressive_mlp(order, hidden_degrees, num_outputs, *, context_size=0, activation="relu"):
    """Dense layers from [batch, size + context_size] to [batch, num_outputs, size], masked so that z_i is not seen by
    outputs for z_i, nor for any z before it; the context is seen by all (MADE; Germain et al. 2015, arXiv:1502.03509).

    Args:
        order: permutation of 0 .. size - 1, the place of each z_i in the order; of several masks one each, [num, size].
        hidden_degrees: list of arrays of ints, [units] or [num, units], one for each hidden layer: up to how many of
            the z, in the order, each unit sees (see `zoo/parts/masks.py`).
        activation: no "maxout" or "crelu".
    """
    places = np.atleast_2d(order) + 1
    below = np.pad(places, [(0, 0), (0, context_size)])  # what a unit sees, up to which z
    stack = [keras.Input((below.shape[1],))]
    for degrees in hidden_degrees:
        stack += [MaskedDense(below, degrees), ACTIVATIONS[activation]()]
        below = degrees
    stack.append(MaskedDense(below, np.tile(places - 1, num_outputs), dtype="float32"))
    return keras.Sequential([*stack, keras.layers.Reshape((num_outputs, places.shape[1]), dtype="float32")])


def by_mask(network, x, which):
    """An `autoregressive_mlp` of several masks, with the mask of number `which`, an int or scalar tensor."""
    for layer in network.layers:
        x = layer(x, which=which) if isinstance(layer, MaskedDense) else layer(x)
    return x


def over_leading_axes(network, x, training=False):
    """A network of vectors [batch, size] applied to x [..., size]: [..., *its output shape]."""
    y = network(tf.reshape(x, [-1, x.shape[-1]]), training=training)
    return tf.reshape(y, tf.concat([tf.shape(x)[:-1], tf.shape(y)[1:]], 0))


def of_x_and_vectors(network, x, vectors, training=False):
    """A network of pairs (x, vector), of x [batch, *shape] and vectors [..., batch, size]: [..., batch, outputs]."""
    vectors = tf.convert_to_tensor(vectors)
    x = tf.broadcast_to(x, tf.concat([tf.shape(vectors)[:-2], tf.shape(x)], 0))
    shape, size = x.shape[vectors.shape.rank - 1 :], vectors.shape[-1]
    y = network([tf.reshape(x, [-1, *shape]), tf.reshape(vectors, [-1, size])], training=training)
    return tf.reshape(y, tf.concat([tf.shape(vectors)[:-1], tf.shape(y)[1:]], 0))


def convolutional_sides(side, num_halvings=0):
    """The sides that stride 2 runs through, from the small end: `side` = base * 2^n with base 4..7 and n >= 1.

    28 gives [7, 14, 28]. With `num_halvings` these are as many, each rounded up: 28 by 3 gives [4, 7, 14, 28].
    ValueError if there is no such base, or if a halving would leave less than 2.
    """
    sides = [side]
    if num_halvings:
        while len(sides) <= num_halvings:
            sides.insert(0, (sides[0] + 1) // 2)
        if side <= 2**num_halvings:
            raise ValueError(f"images of side {side} can not be halved {num_halvings} times: that leaves one pixel.")
        return sides
    while sides[0] > 7 and sides[0] % 2 == 0:
        sides.insert(0, sides[0] // 2)
    if not 4 <= sides[0] <= 7 or len(sides) == 1:
        allowed = "4, 5, 6 or 7 times a power of two, such as 8, 16, 28, 32 or 64"
        raise ValueError(f"a convolutional network can not make images of side {side}: the side must be {allowed}.")
    return sides


def sides_of(data_shape, num_halvings=0):
    """`convolutional_sides` of an image [side, side, channels]; ValueError if it is none or not square."""
    if len(data_shape) != 3 or data_shape[0] != data_shape[1]:
        raise ValueError(f"a convolutional network needs square images, not data of shape {tuple(data_shape)}.")
    return convolutional_sides(data_shape[0], num_halvings)


def convolutional_encoder(
    data_shape, output_size, *,
    filters, num_halvings=0, kernel_size=5, batch_norm=False, initializer=None, spectral_norm=False,
    minibatch_deviation=False, **options,
):  # fmt: skip
    """Strided convolutions from images [batch, side, side, channels] down to vectors [batch, output_size].

    Args:
        data_shape: (side, side, channels), side as `convolutional_sides` allows.
        output_size: int, or None for the last convolution itself, flattened.
        filters: int, channels after the first convolution; they double with every further halving of the side.
        num_halvings: int, as for `convolutional_sides`.
        batch_norm: bool, batch normalisation after each convolution but the first.
        minibatch_deviation: bool, a `MinibatchDeviation` before the last convolution.
        initializer, spectral_norm, **options: as for `mlp`.

    ValueError if the images are not square or have a side that strides of 2 can not make.
    """
    options_of_all = {"kernel_size": kernel_size, "strides": 2, "padding": "same", "data_format": "channels_last"}
    convolution = linear(keras.layers.Conv2D, initializer, spectral_norm, **options_of_all)
    stack, num_convolutions = [keras.Input(data_shape)], len(sides_of(data_shape, num_halvings)) - 1
    for i in range(num_convolutions):
        if minibatch_deviation and i == num_convolutions - 1:
            stack.append(MinibatchDeviation())
        stack += hidden(convolution, filters * 2**i, batch_norm=batch_norm and i > 0, **options)
    stack.append(keras.layers.Flatten(data_format="channels_last"))
    if output_size is not None:
        stack.append(linear(keras.layers.Dense, initializer, spectral_norm)(output_size, dtype="float32"))
    return keras.Sequential(stack)


def convolutional(input_shape, hidden_filters, output_channels, *, kernel_size=5, initializer=None, **options):
    """Convolutions of stride 1 from images [batch, *input_shape] to others of their size, the last linear.

    `hidden_filters` is a tuple of ints, the channels of each hidden layer; `options` are theirs, as for `hidden`.
    """
    options_of_all = {"kernel_size": kernel_size, "padding": "same", "data_format": "channels_last"}
    convolution = linear(keras.layers.Conv2D, initializer, **options_of_all)
    stack = [keras.Input(input_shape)]
    for filters in hidden_filters:
        stack += hidden(convolution, filters, **options)
    return keras.Sequential([*stack, convolution(output_channels, dtype="float32")])


def convolutional_decoder(
    latent_size, data_shape, *,
    filters, num_halvings=0, kernel_size=5, output_activation=None, initializer=None, **options,
):  # fmt: skip
    """Transposed strided convolutions from vectors [batch, latent_size] up to images, the mirror of the encoder.

    `filters` is the number of channels before the last convolution, `options` are those of every layer but the last, as
    for `hidden`. Other arguments and errors are those of `convolutional_encoder`.
    """
    dense = linear(keras.layers.Dense, initializer)
    options_of_all = {"kernel_size": kernel_size, "strides": 2, "padding": "same", "data_format": "channels_last"}
    convolution = linear(keras.layers.Conv2DTranspose, initializer, **options_of_all)
    side, *sides = sides_of(data_shape, num_halvings)
    width, *widths = [filters * 2**i for i in reversed(range(len(sides)))]
    projection, *others = hidden(dense, side * side * width, **options)
    stack = [keras.Input((latent_size,)), projection, keras.layers.Reshape((side, side, -1)), *others]

    def cropped(layers, i):  # where the side was rounded up on the way down
        rest = (side, *sides)[i] * 2 - sides[i]
        crop = keras.layers.Cropping2D(
            ((0, rest), (0, rest)), data_format="channels_last", dtype=layers[-1].dtype_policy
        )
        return [*layers, crop] if rest else layers

    for i, width in enumerate(widths):
        stack += cropped(hidden(convolution, width, **options), i)
    image = convolution(data_shape[-1], activation=output_activation, dtype="float32")
    return keras.Sequential(stack + cropped([image], len(widths)))
