"""Image-to-image translation: a conditional GAN whose condition and target are images (pix2pix; Isola et al. 2017).

    min_G max_D  E[log D(c, x)] + E[log(1 - D(c, G(c, z)))] + lambda E|x - G(c, z)|                                  (4)

D judges patches: its objective is the mean over them, so that it minds what is sharp, and the absolute difference, a
mean over pixels, minds the rest. On request G matches D's features, too (Wang et al. 2018, equation 4, by D's hidden
layers i of N_i units):

    + lambda_FM E sum_i |D_i(c, x) - D_i(c, G(c, z))|_1 / N_i

Notation, beside that of `adversarial_game.py`:

    x      the target, [m, side, side, channels]
    c      the condition, an image of the same size: what a corruption leaves of x, or the other image of a pair
    D      its outputs are of the patches of (c, x), [m, number of patches]

Departures from Isola et al.: z is noise beside the smallest image of G's encoder, instead of dropout in its decoder,
so that a served row is a function of its seed; that image has 4 to 7 pixels a side, or what `num_halvings` leaves,
instead of 1; batch normalisation outside training is by averages, not by the moments of a batch of one; D's objective
is not halved, which its Adam would not notice. From Wang et al.: one D, not one for each of three scales, and one G.
"""

from typing import Literal

import keras
import tensorflow as tf

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.parts import adversarial, u_nets
from zoo.parts.corruptions import CORRUPTIONS

INITIALIZER = keras.initializers.RandomNormal(stddev=0.02)


class ImageToImage(AdversarialGame):
    """Image-to-image conditional GAN, from corrupted images or the first of a pair, for square images.

    Args:
        condition: what c is, of images x: "edges", slopes of their brightness; "coarse", blocks of 4x4 pixels; "grey",
            of colours; or "masked_half", the upper half (`zoo/parts/corruptions.py`). "pairs": data are rows
            [side, 2 * side, channels], c on the left and x on the right.
        latent_size: int, the length of z; 0 makes G a function of c alone.
        l1_weight: float, lambda.
        feature_matching_weight: float, lambda_FM; Wang et al. have 10.
        num_strides: int, convolutions of stride 2 in D: 1, 2 or 3 for patches of 16, 34 or 70 pixels a side.
        num_halvings: int, halvings of the side in G, each rounded up, as 28 by 3 to 4 pixels; 0 for as many as go
            evenly, to 4 to 7 pixels.
        filters: int, channels of the first convolution of G and of D; they double up to eight times as many.

    Example:

        model = ImageToImage(data_shape=(28, 28, 1), condition="edges", num_strides=1)
        model.compile()
        model.fit(x, batch_size=64, epochs=5)  # x: [n, 28, 28, 1], float32 in [0, 1] or uint8
        images = model.translate(x[:8], tf.range(8, dtype=tf.int64))["images"]

    Reference:
        P. Isola, J.-Y. Zhu, T. Zhou and A. A. Efros. Image-to-image translation with conditional adversarial networks.
        CVPR 2017. arXiv:1611.07004, section 3.
        T.-C. Wang, M.-Y. Liu, J.-Y. Zhu, A. Tao, J. Kautz and B. Catanzaro. High-resolution image synthesis and
        semantic manipulation with conditional GANs. CVPR 2018. arXiv:1711.11585, equation 4.
    """

    exceptions = {
        "I11": "it draws no samples, but translates images",
        "I13": "the same; tests/zoo/adversarial/test_image_to_image.py says how near it comes to its targets",
    }
    zero_allowed = (*AdversarialGame.zero_allowed, "latent_size")
    sample = None
    packing, penalty = 1, "none"  # the slope of a penalty would be that of each patch

    def __init__(
        self, *, data_shape, condition: Literal[*CORRUPTIONS, "pairs"] = "edges", latent_size=8, prior, loss,
        loss_parameter, l1_weight: float = 100.0, feature_matching_weight: float = 0.0, weight_constraint, clip_value,
        discriminator_batch_norm, num_discriminator_steps, num_strides: int = 3, filters=64, num_halvings, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if len(self.data_shape) != 3:
            raise ValueError(f"it translates images, and data of shape {self.data_shape} are points.")
        height, width, channels = self.data_shape
        if self.condition == "pairs" and width != 2 * height:
            raise ValueError(f"rows of pairs are twice as wide as high, two square images, not {height} x {width}.")
        if self.condition != "pairs" and width != height:
            raise ValueError(f"it translates square images, not {height} x {width}: of rows of pairs, say so.")
        if self.condition == "grey" and channels == 1:
            raise ValueError('grey images have no colours that the condition "grey" could take: choose another.')

    def make_networks(self):
        side, _, channels = self.data_shape
        num_told = 1 if self.condition != "pairs" and CORRUPTIONS[self.condition].is_grey else channels
        sides = {"filters": self.filters, "initializer": INITIALIZER}
        self.generator = u_nets.u_net(
            (side, side, num_told), channels,
            vector_size=self.latent_size, num_halvings=self.num_halvings, output_activation="tanh", **sides,
        )  # fmt: skip
        self.discriminator = u_nets.patch_discriminator(
            (side, side, num_told + channels),
            num_strides=self.num_strides, batch_norm=self.discriminator_batch_norm,
            spectral_norm=self.weight_constraint == "spectral_norm", **sides,
        )  # fmt: skip

    @property
    def metric_names(self):
        return (*super().metric_names, "l1", *(["feature_matching"] if self.feature_matching_weight else []))

    def of_data(self, x):
        """[x, c, x]: beside c, G's loss is told its target."""
        if self.condition == "pairs":
            c, x = tf.split(x, 2, axis=2)
        else:
            c = self.from_served(CORRUPTIONS[self.condition].function(self.to_served(x)))
        return [x, c, x]

    def G(self, z, c, *_, training=True):
        return self.generator([c, z] if self.latent_size else c, training=training)

    def D(self, x, c, training=True):
        """The hidden layers of D, a list, and its outputs of all patches, [m, number of patches]."""
        *hidden, output = self.discriminator(tf.concat([c, x], axis=-1), training=training)
        return hidden, tf.reshape(output, [tf.shape(x)[0], -1])

    def D_output(self, x, c, *_, training=True):
        return self.D(x, c, training)[1]

    def generator_losses(self, z, c, x, training=True):
        x_tilde = self.G(z, c, training=training)
        features, output = self.D(x_tilde, c, training)
        differences = {"l1": of_rows(tf.abs(x - x_tilde))}
        if self.feature_matching_weight:
            of_target, _ = self.D(x, c, training)
            pairs = zip(of_target, features, strict=True)
            differences["feature_matching"] = tf.add_n([of_rows(tf.abs(real - fake)) for real, fake in pairs])
        weights = {"l1": self.l1_weight, "feature_matching": self.feature_matching_weight}
        matched = tf.add_n([weights[name] * values for name, values in differences.items()])
        return {"generator": of_rows(self.loss_pair.generator(output)) + matched, **differences}

    def translate(self, x, seeds=None):
        """Draws of the targets, `images`, and what they were made from: `condition_images`, where these are no input.

        `x` are served images, raw ones that are corrupted here, or of a model of pairs the conditions themselves;
        `seeds` are int64 [batch], of a model whose `latent_size` is 0 None.
        """
        x = self.from_served(x)
        c = x if self.condition == "pairs" else self.of_data(x)[1]
        images = {"images": self.from_condition(c, seeds)}
        return images if self.condition == "pairs" else images | {"condition_images": self.to_served(c)}

    def from_condition(self, c, seeds):
        return self.to_served(self.G(self.latent(seeds) if self.latent_size else None, c, training=False))

    def translations(self, x, seeds):
        """Of rows of served data their conditions, draws of their targets, and the targets, served images all."""
        x, c, _ = self.of_data(self.from_served(x))
        return self.to_served(c), self.from_condition(c, seeds), self.to_served(x)

    def discriminate(self, x):
        """Whether served data are real, given their conditions, means over patches [batch]."""
        x, c, _ = self.of_data(self.from_served(x))
        answer = adversarial.verdict(self.loss_pair, self.D_output(x, c, training=False))
        return {name: of_rows(values) for name, values in answer.items()}

    def signatures(self):
        side, _, channels = self.data_shape
        specs = {"images": tf.TensorSpec([None, side, side, channels], tf.float32)}
        return {
            "translate": (
                lambda images, seed=None: self.translate(images, seed),
                specs | (self.seed_spec if self.latent_size else {}),
            ),
            "discriminate": (lambda images: self.discriminate(images), self.data_spec),
        }


def of_rows(x):
    """The mean over all axes but the first, float32."""
    return tf.reduce_mean(tf.reshape(tf.cast(x, tf.float32), [tf.shape(x)[0], -1]), axis=1)
