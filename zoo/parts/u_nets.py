"""Networks of two images: encoder and decoder with skips, from one to the other, and discriminators of their patches.

They are those of Isola et al. 2017 ("Image-to-image translation with conditional adversarial networks", CVPR,
arXiv:1611.07004, section 6.1): 4x4 convolutions, whose widths double up to eight times the first. Output layers compute
in float32 under any precision.
"""

import keras

from zoo.parts.networks import hidden, linear, sides_of

KERNEL_SIZE = 4
WIDEST = 8  # times the first width


def widths(filters, num):
    return [filters * min(2**i, WIDEST) for i in range(num)]


def applied(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def convolutions(layer_class, strides, initializer, spectral_norm=False):
    options = {"strides": strides, "padding": "same", "data_format": "channels_last", "kernel_size": KERNEL_SIZE}
    return linear(layer_class, initializer, spectral_norm, **options)


def u_net(
    input_shape, output_channels, *, vector_size=0, filters, num_halvings=0, output_activation=None, initializer=None
):
    """From images [batch, *input_shape] to images as large, by strides of 2 down and up again; a `keras.Model`.

    What the decoder makes of each size meets what the encoder had of it, as channels beside its own. Batch
    normalisation in all layers but the first and the last; leaky ReLU down, ReLU up.

    Args:
        input_shape: (side, side, channels).
        output_channels: int.
        vector_size: int; of a vector [batch, vector_size], the second input, each number is a channel of the smallest
            image; 0: there is no such input.
        filters: int, channels after the first convolution.
        num_halvings: int, as for `networks.convolutional_sides`.
        output_activation: str or None, a Keras activation.

    ValueError if the images are not square or have a side that strides of 2 can not make.
    """
    smallest, *sides = sides_of(input_shape, num_halvings)
    convolution = convolutions(keras.layers.Conv2D, 2, initializer)
    transposed = convolutions(keras.layers.Conv2DTranspose, 2, initializer)
    inputs = [keras.Input(input_shape)]
    above, x = [], inputs[0]
    for i, width in enumerate(widths(filters, len(sides))):
        x = applied(hidden(convolution, width, activation="leaky_relu", batch_norm=i > 0), x)
        above.append(x)
    del above[-1]  # the smallest, which is x
    if vector_size:
        inputs.append(keras.Input((vector_size,)))
        everywhere = keras.layers.RepeatVector(smallest**2)(inputs[1])
        plane = keras.layers.Reshape((smallest, smallest, vector_size))(everywhere)
        x = keras.layers.Concatenate()([x, plane])

    def cropped(x, side):  # where the side was rounded up on the way down
        rest = x.shape[1] - side
        return keras.layers.Cropping2D(((0, rest), (0, rest)), data_format="channels_last")(x) if rest else x

    for side, skip in zip(sides, reversed(above), strict=False):
        x = cropped(applied(hidden(transposed, skip.shape[-1], batch_norm=True), x), side)
        x = keras.layers.Concatenate()([x, skip])
    output = transposed(output_channels, activation=output_activation, dtype="float32")(x)
    return keras.Model(inputs if vector_size else inputs[0], cropped(output, sides[-1]))


def patch_discriminator(input_shape, *, filters, num_strides, batch_norm=False, spectral_norm=False, initializer=None):
    """From images [batch, *input_shape] to all hidden layers and, last, a logit of each patch [batch, h, w, 1].

    `num_strides` convolutions of stride 2 and two of stride 1, with leaky ReLUs; the last gives the logits. A patch has
    a side of 16 pixels for one stride of 2, of 34 for two and of 70 for three. `batch_norm` is of hidden layers but the
    first. A `keras.Model` with a list of outputs.
    """
    x = inputs = keras.Input(input_shape)
    outputs = []
    for i, width in enumerate(widths(filters, num_strides + 1)):
        convolution = convolutions(keras.layers.Conv2D, 2 if i < num_strides else 1, initializer, spectral_norm)
        x = applied(hidden(convolution, width, activation="leaky_relu", batch_norm=batch_norm and i > 0), x)
        outputs.append(x)
    logits = convolutions(keras.layers.Conv2D, 1, initializer, spectral_norm)(1, dtype="float32")
    return keras.Model(inputs, [*outputs, logits(x)])
