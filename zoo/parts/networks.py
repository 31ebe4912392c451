"""Networks that several models share: multilayer perceptrons and strided convolutional stacks.

All are built when made, and all but `residual_mlp` are `keras.Sequential` models. Output layers compute in float32
under any precision.
"""

import functools
import math

import keras
import tensorflow as tf

from zoo.parts.layers import ACTIVATIONS, MAXOUT_PIECES, Dropout, Maxout, SpectralNormalization, batch_normalization
from zoo.parts.layers import Activation as Activation  # what constructors annotate


def described(initializer):
    """A description, of which each layer makes its own: one initializer repeats its numbers for the same shape."""
    return keras.initializers.serialize(initializer) if initializer else "glorot_uniform"


def linear(layer, spectral_norm):
    """The layer, spectrally normalised or as it is."""
    return SpectralNormalization(layer, dtype=layer.dtype_policy) if spectral_norm else layer


def hidden(make, units, *, activation, maxout_pieces=MAXOUT_PIECES, batch_norm=False, spectral_norm=False, dropout=0.0):
    """The layers of one hidden layer: a linear one, batch normalisation, activation, dropout.

    Args:
        make: function (width, use_bias=...) that makes the linear layer.
        units: int, units after the activation (of "crelu", before it).
        activation, maxout_pieces, batch_norm, spectral_norm, dropout: as for `mlp`.
    """
    width = units * maxout_pieces if activation == "maxout" else units
    stack = [linear(make(width, use_bias=not batch_norm), spectral_norm)]
    if batch_norm:
        stack.append(batch_normalization())
    stack.append(Maxout(maxout_pieces) if activation == "maxout" else ACTIVATIONS[activation]())
    if dropout:
        stack.append(Dropout(dropout))
    return stack


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
    initializer = described(initializer)
    dense = functools.partial(keras.layers.Dense, kernel_initializer=initializer)
    options = {"activation": activation, "maxout_pieces": maxout_pieces, "batch_norm": batch_norm}
    stack = [keras.Input(input_shape), keras.layers.Flatten()]
    for units in hidden_units:
        stack += hidden(dense, units, spectral_norm=spectral_norm, dropout=dropout, **options)
    if output_shape is not None:
        output = dense(math.prod(output_shape), activation=output_activation, dtype="float32")
        stack += [linear(output, spectral_norm), keras.layers.Reshape(output_shape, dtype="float32")]
    return keras.Sequential(stack, name=name)


def residual_mlp(input_shape, hidden_units, output_shape, *, activation="relu", initializer=None, name=None):
    """A dense layer, then residual blocks h <- f(h + W_2 f(W_1 h)) in which W_2 starts from zero, then a linear map.

    Args:
        hidden_units: tuple of at least one int: the width of h, then the width of each block's hidden layer.
        input_shape, output_shape, activation, initializer, name: as for `mlp`; no "maxout" or "crelu".
    """
    initializer = described(initializer)
    width, *blocks = hidden_units

    def dense(units, kernel_initializer=initializer, **options):
        return keras.layers.Dense(units, kernel_initializer=kernel_initializer, **options)

    x = keras.Input(input_shape)
    h = ACTIVATIONS[activation]()(dense(width)(keras.layers.Flatten()(x)))
    for units in blocks:
        change = dense(width, "zeros")(ACTIVATIONS[activation]()(dense(units)(h)))
        h = ACTIVATIONS[activation]()(keras.layers.Add()([h, change]))
    output = dense(math.prod(output_shape), dtype="float32")(h)
    return keras.Model(x, keras.layers.Reshape(output_shape, dtype="float32")(output), name=name)


def parallel_mlps(num_networks, input_size, hidden_units, output_size, *, activation="relu", name=None):
    """Networks side by side, each with its own weights, from [batch, num_networks, input_size] to [..., output_size].

    Arguments are those of `mlp`, for every one of the networks; no "maxout" or "crelu".
    """

    def dense(size, units, **options):
        # Glorot's rule for each network by itself: in Keras's, the sizes of all of them would count.
        limit = math.sqrt(6.0 / (size + units))
        options |= {"bias_axes": "no", "kernel_initializer": keras.initializers.RandomUniform(-limit, limit)}
        return keras.layers.EinsumDense("bni,nio->bno", (num_networks, units), **options)

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
    initializer = described(initializer)
    convolution = functools.partial(
        keras.layers.Conv2D, kernel_size=kernel_size, strides=2, padding="same", kernel_initializer=initializer
    )
    options = {"activation": activation, "maxout_pieces": maxout_pieces, "spectral_norm": spectral_norm}
    stack = [keras.Input(data_shape)]
    for i in range(len(convolutional_sides(data_shape[0])) - 1):
        stack += hidden(convolution, filters * 2**i, batch_norm=batch_norm and i > 0, dropout=dropout, **options)
    stack.append(keras.layers.Flatten())
    if output_size is not None:
        output = keras.layers.Dense(output_size, kernel_initializer=initializer, dtype="float32")
        stack.append(linear(output, spectral_norm))
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
    initializer = described(initializer)
    dense = functools.partial(keras.layers.Dense, kernel_initializer=initializer)
    convolution = functools.partial(
        keras.layers.Conv2DTranspose, kernel_size=kernel_size, strides=2, padding="same", kernel_initializer=initializer
    )
    options = {"activation": activation, "batch_norm": batch_norm}
    side, *sides = convolutional_sides(data_shape[0])
    width, *widths = [filters * 2**i for i in reversed(range(len(sides)))]
    projection, *others = hidden(dense, side * side * width, **options)
    stack = [keras.Input((latent_size,)), projection, keras.layers.Reshape((side, side, -1)), *others]
    for width in widths:
        stack += hidden(convolution, width, **options)
    stack.append(convolution(data_shape[-1], activation=output_activation, dtype="float32"))
    return keras.Sequential(stack, name=name)
