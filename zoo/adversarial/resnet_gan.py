"""The residual GAN with R1: the non-saturating game of `gan.py`, whose D pays for its slope on the data.

    D descends  -E_data[log D(x|y)] - E_{p(z)}[log(1 - D(G(z|y)|y))] + gamma / 2 E_data[|d logit D(x|y) / dx|^2]    (9)

y is the one-hot vector of the label; other notation is that of `adversarial_game.py`. The 1/2 is the paper's equation
9, and gamma = 10 its value for images, here the `penalty_weight`. The authors' code has no 1/2: its 10 is our 20.

The networks are those of the authors' code. A residual block is

    x + 0.1 conv(f(conv(f(x)))),   f leaky ReLU of slope 0.2, a 1x1 convolution of x where the channels change

without any normalisation, so that networks of 50 layers train (Roth et al. 2017 have such, with the penalty "roth"). G
has blocks at each resolution and doubles the side between; D mirrors it, with overlapping means of 3x3 pixels. G sees y
as a vector of unit length beside z; D has an output for each class, and takes that of y:

    logit D(x|y) = y^T psi(x)

Departures from the paper: weights start by Glorot's rule instead of PyTorch's; sides other than 4 * 2^n are halved
rounded up, and cropped when they are doubled.
"""

import keras
import tensorflow as tf

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.conditional import Conditional
from zoo.parts import networks
from zoo.parts.layers import ACTIVATIONS, MinibatchDeviation

MOST_FILTERS = {"generator": 512, "discriminator": 1024}
OF_IMAGES = {"data_format": "channels_last"}
f = ACTIVATIONS["leaky_relu"]


class ResNetGAN(Conditional, AdversarialGame):
    """Generative adversarial network of residual blocks, with or without labels, for square images, grey or colour.

    Args:
        num_classes: int, labels are 0 ... num_classes - 1; None without labels.
        embedding_size: int, the length of the vector by which G sees it.
        filters: int, channels next to the image, doubled at each halving of the side, up to 512 in G and 1024 in D.
        num_blocks: int, residual blocks at each resolution. 6 make 50 layers of each player at a side of 32.

    Example:

        model = ResNetGAN(data_shape=(32, 32, 3), num_classes=10, filters=32)
        model.compile()
        model.fit(x, label, batch_size=64, epochs=20)  # x: [n, 32, 32, 3] in [0, 1], label: int64 [n]
        images = model.sample(tf.range(64, dtype=tf.int64), label=tf.fill([64], tf.constant(3, tf.int64)))

    Reference:
        L. Mescheder, A. Geiger and S. Nowozin. Which training methods for GANs do actually converge? ICML 2018.
        arXiv:1801.04406, sections 4.1 and 6.
        K. Roth, A. Lucchi, S. Nowozin and T. Hofmann. Stabilizing training of generative adversarial networks through
        regularization. NeurIPS 2017. arXiv:1705.09367.
    """

    # Theirs adds 1e-8 to the root of the mean square; Keras adds what is under the root.
    default_optimizers = {
        player: {"optimizer": "rmsprop", "learning_rate": 1e-4, "rho": 0.99, "epsilon": 1e-16}
        for player in ("discriminator", "generator")
    }
    default_optimizers["generator"] |= {"use_ema": True, "ema_momentum": 0.999}

    def __init__(
        self, *, data_shape, num_classes=None, conditional=True, latent_size=256, prior="normal", loss,
        loss_parameter, penalty="r1", penalty_weight, penalty_decay, packing, minibatch_deviation,
        num_discriminator_steps, embedding_size: int = 256, filters=64, num_blocks: int = 1, num_halvings, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def make_networks(self):
        size = {"num_halvings": self.num_halvings, "filters": self.filters, "num_blocks": self.num_blocks}
        num_classes = self.condition_size if self.conditional else 0
        self.generator = generator(self.latent_size, self.data_shape, num_classes, self.embedding_size, **size)
        self.discriminator = discriminator(
            self.packed_data_shape, max(1, self.packing * num_classes), self.minibatch_deviation, **size
        )

    def G(self, z, *y, training=True):
        return self.generator([z, *y], training=training)

    def D_output(self, x, *y, training=True):
        psi = self.discriminator(x, training=training)
        return tf.reduce_sum(psi * y[0], axis=-1) if y else psi[:, 0]


def convolution(filters, kernel_size=3, **options):
    return keras.layers.Conv2D(filters, kernel_size, padding="same", **OF_IMAGES, **options)


def residual_block(x, filters):
    """x + 0.1 conv(f(conv(f(x)))) of images x [batch, height, width, channels], with `filters` channels after it."""
    h = convolution(min(x.shape[-1], filters))(f()(x))
    h = convolution(filters)(f()(h))
    shortcut = x if x.shape[-1] == filters else convolution(filters, 1, use_bias=False)(x)
    return shortcut + 0.1 * h


def widths(most, num_halvings, data_shape, filters):
    """(sides, channels) at each resolution, from the image to the smallest."""
    sides = networks.sides_of(data_shape, num_halvings)[::-1]
    return sides, [min(filters * 2**i, most) for i in range(len(sides))]


def generator(latent_size, data_shape, num_classes, embedding_size, *, filters, num_blocks, num_halvings):
    """G's network, from [z, y], or [z] without classes, to images [batch, *data_shape] in [-1, 1]."""
    sides, channels = (w[::-1] for w in widths(MOST_FILTERS["generator"], num_halvings, data_shape, filters))
    inputs = [keras.Input((size,)) for size in (latent_size, *([num_classes] if num_classes else []))]
    told = inputs[:1]
    for y in inputs[1:]:
        normal = keras.initializers.RandomNormal(stddev=1.0)
        embedding = keras.layers.Dense(embedding_size, use_bias=False, kernel_initializer=normal)(y)
        told.append(keras.layers.UnitNormalization()(embedding))
    h = keras.layers.concatenate(told) if num_classes else told[0]
    h = keras.layers.Dense(sides[0] ** 2 * channels[0])(h)
    h = keras.layers.Reshape((sides[0], sides[0], channels[0]))(h)
    for i, side in enumerate(sides):
        if i:
            h = keras.layers.UpSampling2D(**OF_IMAGES)(h)
            if rest := h.shape[1] - side:
                h = keras.layers.Cropping2D(((0, rest), (0, rest)), **OF_IMAGES)(h)
        for _ in range(num_blocks - 1):
            h = residual_block(h, channels[i])
        h = residual_block(h, (channels[1:] + channels[-1:])[i])
    return keras.Model(inputs, convolution(data_shape[-1], activation="tanh", dtype="float32")(f()(h)))


def discriminator(input_shape, output_size, minibatch_deviation, *, filters, num_blocks, num_halvings):
    """D's network, from images [batch, *input_shape] to [batch, output_size]."""
    sides, channels = widths(MOST_FILTERS["discriminator"], num_halvings, input_shape, filters)
    x = keras.Input(input_shape)
    h = convolution(filters)(x)
    for i in range(len(sides)):
        if i:
            h = keras.layers.ZeroPadding2D(1, **OF_IMAGES)(h)
            h = keras.layers.AveragePooling2D(3, strides=2, **OF_IMAGES)(h)
        for j in range(num_blocks):
            if minibatch_deviation and (i, j) == (len(sides) - 1, num_blocks - 1):
                h = MinibatchDeviation()(h)
            h = residual_block(h, channels[i])
    h = keras.layers.Flatten(**OF_IMAGES)(f()(h))
    return keras.Model(x, keras.layers.Dense(output_size, dtype="float32")(h))
