"""Progressive growing: G and D begin with images of 4x4 pixels, and layers for twice the side join them step by step.

    D descends  E_{p(z)}[D(G(z))] - E_data[D(x)] + 10 E[(|dD/dx^| - 1)^2] + epsilon_drift E_data[D(x)^2]
    G descends  -E_{p(z)}[D(G(z))]

Notation, beside that of `adversarial_game.py`:

    level    of images of side 4 * 2^level; x is the data, scaled down to it, x^ a point between data and samples
    alpha    how far the level has faded in, from 0 to 1: images, fakes and reals alike, are mixtures of those of the
             level beneath, doubled, and of its own; and D's features of those of the image halved, and of the image
    T        steps of each phase: level 0, then for each level a fade and as many steps after it

What is learned is a function of the step, so that a run resumes in the middle of a fade. At each new level the
optimizers forget what they knew of their steps. Samples, served ones too, are images of the level that training has
reached, enlarged; once the last level has faded in, they are its own.

The layers are the paper's. Kernels start from N(0, 1) and are scaled where they are used (equalised learning rate); z,
and each pixel's features in G, are divided by their root mean square; D sees the deviation of the minibatch.

Departures from the paper: the base side may be 5, 6 or 7, too; moving averages begin anew with each level; `filters`
beside the largest image are to be given, and double at each halving (the paper's are 512 for sides up to 32, 256 for
64, 16 for 1024).
"""

import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.optimizers import start_of
from zoo.parts import networks
from zoo.parts.layers import ACTIVATIONS, HE_GAIN, Equalized, MinibatchDeviation, PixelNormalization

OF_IMAGES = {"data_format": "channels_last"}


class ProgressiveGAN(AdversarialGame):
    """Progressively grown generative adversarial network, for square images, grey or colour.

    Args:
        drift: float, the weight of E_data[D(x)^2], which keeps D's outputs near 0.
        filters: int, channels next to the largest image, doubled at each halving of the side.
        max_filters: int, the largest number of channels.
        phase_steps: int, T, the steps of level 0, and of each further level those of its fade and those after it.

    Example:

        model = ProgressiveGAN(data_shape=(32, 32, 1), latent_size=64, filters=16, max_filters=64, phase_steps=2000)
        model.compile()
        model.fit(x, batch_size=16, epochs=10)  # x: [n, 32, 32, 1], float32 in [0, 1] or uint8
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        T. Karras, T. Aila, S. Laine and J. Lehtinen. Progressive growing of GANs for improved quality, stability, and
        variation. ICLR 2018. arXiv:1710.10196, sections 2 to 4 and appendix A.
    """

    default_optimizers = {
        player: {"optimizer": "adam", "learning_rate": 1e-3, "beta_1": 0.0, "beta_2": 0.99, "epsilon": 1e-8}
        for player in ("discriminator", "generator")
    }
    default_optimizers["generator"] |= {"use_ema": True, "ema_momentum": 0.999}
    minibatch_deviation = True

    def __init__(
        self, *, data_shape, latent_size=512, prior="normal", loss="wasserstein", loss_parameter, penalty="wgan_gp",
        penalty_weight, penalty_decay, drift: float = 0.001, num_discriminator_steps, filters=512,
        max_filters: int = 512, phase_steps: int = 50000, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def make_networks(self):
        self.sides = networks.sides_of(self.data_shape)
        widths = [min(self.filters * 2**i, self.max_filters) for i in reversed(range(len(self.sides)))]
        shapes = [(side, side, width) for side, width in zip(self.sides, widths, strict=True)]
        self.generator = [first_of_generator(self.latent_size, shapes[0])]
        self.discriminator = [last_of_discriminator(shapes[0])]
        for below, shape in itertools.pairwise(shapes):
            self.generator.append(next_of_generator(below, shape))
            self.discriminator.append(next_of_discriminator(shape, below))
        channels = self.data_shape[-1]
        self.to_image, self.from_image = [], []
        for side, _, width in shapes:
            to_image = equalized_convolution(channels, 1, gain=1.0, dtype="float32")
            self.to_image.append(keras.Sequential([keras.Input((side, side, width)), to_image]))
            from_image = convolution_of_discriminator(width, 1)
            self.from_image.append(keras.Sequential([keras.Input((side, side, channels)), *from_image]))

    @property
    def moves(self):
        return {
            "discriminator": [*self.discriminator, *self.from_image],
            "generator": [*self.generator, *self.to_image],
        }

    def compile(self, *arguments, **options):
        super().compile(*arguments, **options)
        starts = [s for move, optimizer in self.optimizers.items() for s in start_of(optimizer, self.weights_of(move))]
        self.optimizer_starts = lambda: starts  # of variables that Keras would take for weights of ours

    # --- Phases ------------------------------------------------------------------------------------------------------

    @property
    def level_steps(self):
        """The steps at which levels 1, 2, ... begin to fade in, int64."""
        return np.arange(1, 2 * len(self.sides) - 1, 2, dtype=np.int64) * self.phase_steps

    def alpha(self, level):
        """How far a level has faded in: a float32 scalar in [0, 1], or 1.0 for that of the first."""
        if level == 0:
            return 1.0
        steps = tf.cast(self.step.value - self.level_steps[level - 1], tf.float32)
        return tf.clip_by_value(steps / self.phase_steps, 0.0, 1.0)

    def at_level(self, losses):
        """(level of this step, functions): `losses(level, alpha)` at each level."""
        level = tf.math.count_nonzero(self.step.value >= self.level_steps, dtype=tf.int32)
        return level, [functools.partial(losses, i, self.alpha(i)) for i in range(len(self.sides))]

    def reals(self, x, level, alpha):
        """The data scaled down to a level, and faded as its samples are."""
        for _ in self.sides[level + 1 :]:
            x = halved(x)
        return mixture(doubled(halved(x)), x, alpha) if level else x

    def G(self, z, level, alpha, training=True):
        """Images [m, side, side, channels] of a level; an alpha that is no tensor is 1."""
        h = z
        for block in self.generator[: level + 1]:
            below, h = h, block(h, training=training)
        x = self.to_image[level](h)
        return mixture(doubled(self.to_image[level - 1](below)), x, alpha) if tf.is_tensor(alpha) else x

    def D_output(self, x, level, alpha, training=True):
        h = self.from_image[level](x)
        if level:
            h = mixture(self.from_image[level - 1](halved(x)), self.discriminator[level](h, training=training), alpha)
        for block in reversed(self.discriminator[: level or 1]):
            h = block(h, training=training)
        return h[:, 0]

    # --- Learning ----------------------------------------------------------------------------------------------------

    def losses_of_D(self, x, z, key=None, training=True):
        losses, options = self.discriminator_losses, {"key": key, "training": training}
        return self.at_level(lambda level, alpha: losses(self.reals(x, level, alpha), z, level, alpha, **options))

    def losses_of_G(self, z, training=True):
        return self.at_level(lambda level, alpha: self.generator_losses(z, level, alpha, training=training))

    def train_step(self, x):
        self.restart(self.optimizer_starts(), tf.reduce_any(self.step.value == self.level_steps))
        k = self.num_discriminator_steps
        for i, minibatch in enumerate(tf.split(x, k)):
            self.minimize(self.losses_of_D(minibatch, self.draw_z(minibatch, i), self.key("penalty", i)))
        self.minimize(self.losses_of_G(self.draw_z(minibatch, k)))
        return self.next_step()

    def test_step(self, x):
        z = self.draw_z(x)
        self.track(self.phase(*self.losses_of_D(x, z, training=False)))
        self.track(self.phase(*self.losses_of_G(z, training=False)))
        return self.logs()

    # --- Serving -----------------------------------------------------------------------------------------------------

    def decode(self, z):
        h = self.generator[0](z, training=False)
        x = self.to_image[0](h)
        for level in range(1, len(self.sides)):
            h = self.generator[level](h, training=False)
            x = mixture(doubled(x), self.to_image[level](h), self.alpha(level))
        return self.to_served(x)


def equalized(layer_class, width, *, gain=HE_GAIN, **options):
    layer = layer_class(width, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0), **options)
    return Equalized(layer, gain, dtype=layer.dtype_policy)


def equalized_convolution(width, kernel_size=3, **options):
    options |= OF_IMAGES | {"kernel_size": kernel_size, "padding": "same"}
    return equalized(keras.layers.Conv2D, width, **options)


def convolution_of_generator(width):
    return [equalized_convolution(width), ACTIVATIONS["leaky_relu"](), PixelNormalization()]


def convolution_of_discriminator(width, kernel_size=3):
    return [equalized_convolution(width, kernel_size), ACTIVATIONS["leaky_relu"]()]


def first_of_generator(latent_size, shape):
    """From z to the features of the smallest images, [batch, *shape]."""
    dense = equalized(keras.layers.Dense, int(np.prod(shape)), gain=HE_GAIN / 4.0)
    return keras.Sequential([
        keras.Input((latent_size,)), PixelNormalization(), dense, keras.layers.Reshape(shape),
        ACTIVATIONS["leaky_relu"](), PixelNormalization(), *convolution_of_generator(shape[-1]),
    ])  # fmt: skip


def next_of_generator(below, shape):
    """From features [batch, *below] to those for twice the side, [batch, *shape]."""
    doubling = keras.layers.UpSampling2D(**OF_IMAGES)
    convolutions = [*convolution_of_generator(shape[-1]), *convolution_of_generator(shape[-1])]
    return keras.Sequential([keras.Input(below), doubling, *convolutions])


def next_of_discriminator(shape, below):
    """From features [batch, *shape] to those of half the side, [batch, *below]."""
    convolutions = [*convolution_of_discriminator(shape[-1]), *convolution_of_discriminator(below[-1])]
    return keras.Sequential([keras.Input(shape), *convolutions, keras.layers.AveragePooling2D(2, **OF_IMAGES)])


def last_of_discriminator(shape):
    """From the features of the smallest images, [batch, *shape], to D's output, [batch, 1]."""
    return keras.Sequential([
        keras.Input(shape), MinibatchDeviation(), *convolution_of_discriminator(shape[-1]),
        keras.layers.Flatten(**OF_IMAGES), equalized(keras.layers.Dense, shape[-1]), ACTIVATIONS["leaky_relu"](),
        equalized(keras.layers.Dense, 1, gain=1.0, dtype="float32"),
    ])  # fmt: skip


def halved(x):
    """Images of half the side: the means of 2x2 pixels."""
    return tf.nn.avg_pool2d(x, 2, 2, "VALID")


def doubled(x):
    """Images of twice the side: each pixel four times."""
    _, height, width, channels = x.shape
    x = tf.tile(x[:, :, None, :, None], [1, 1, 2, 1, 2, 1])
    return tf.reshape(x, [-1, 2 * height, 2 * width, channels])


def mixture(old, new, alpha):
    """(1 - alpha) old + alpha new."""
    alpha = tf.cast(alpha, new.dtype)
    return (1.0 - alpha) * old + alpha * new
