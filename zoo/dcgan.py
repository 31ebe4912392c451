"""The deep convolutional GAN: the game of `gan.py` with the architecture of Radford et al. 2015.

From z, G projects to a small image of many channels and doubles its side by 5x5 transposed convolutions of stride 2;
D mirrors it. No pooling and no hidden dense layers; batch normalisation everywhere but in G's output and D's input;
ReLU in G with tanh at the end, leaky ReLU of slope 0.2 in D; weights start from N(0, 0.02^2).

Real and fake minibatches are normalised apart, which the paper does not say and its authors' code does. Outside
training D normalises all rows by averages over both kinds, and then forgives fakes more than it did in training: its
logits rank images better than their sign classifies them.

Departures from the paper: any square side that doublings can make (the paper's is 64), with one block per doubling.
From the authors' code: no weight decay (theirs is 1e-5); the projected z is normalised by channel instead of by unit,
scales start from 1 instead of N(1, 0.02^2), and layers without normalisation have biases.
"""

from typing import Literal

import keras

from zoo.game import Game
from zoo.gan import GAN
from zoo.parts import adversarial, distributions, networks, penalties

INITIALIZER = keras.initializers.RandomNormal(stddev=0.02)


class DCGAN(GAN):
    """Deep convolutional generative adversarial network, for square images, grey or colour.

    Args:
        data_shape: tuple of ints, `(side, side, channels)`; side is 4, 5, 6 or 7 times 2, 4, 8, ...
        latent_size: int, the length of z.
        prior: "uniform" on (-1, 1) or "normal", the distribution of each element of z.
        loss: str, the game that is played: "non_saturating" or another pair of `zoo/parts/adversarial.py`.
        loss_parameter: float, alpha of the loss "alpha", or pi of "weighted_jensen_shannon".
        penalty: str, what is added to D's loss against steep slopes: "none" or one of `zoo/parts/penalties.py`.
        penalty_weight: float, its weight. The papers have 10, and Roth et al. 2, falling.
        penalty_decay: float, a factor of the weight for every 1,000 steps.
        weight_constraint: "none"; "clipping", D's weights within `clip_value` (Arjovsky et al. 2017); or
            "spectral_norm", the largest singular value of each of its weight matrices is 1 (Miyato et al. 2018).
        clip_value: float, the largest magnitude of a clipped weight.
        packing: int, samples that D judges together (PacGAN, Lin et al. 2018).
        discriminator_batch_norm: bool, batch normalisation in D, which a penalty can not have.
        num_discriminator_steps: int, discriminator steps for each generator step; each has a fresh minibatch.
        filters: int, channels next to the image, doubled at each halving of the side (64 pixels: 128 to 1024).
        seed: int, the seed of all noise drawn in training.
        name: str or None.

    Raises:
        ValueError: for an argument out of its range, or data that is no square image of such a side.

    Example:

        model = DCGAN(data_shape=(28, 28, 1), filters=64)
        model.compile()
        model.fit(x, batch_size=128, epochs=20)  # x: float32 [n, 28, 28, 1] in [-1, 1]
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        A. Radford, L. Metz and S. Chintala. Unsupervised representation learning with deep convolutional generative
        adversarial networks. ICLR 2016. arXiv:1511.06434, section 3 and figure 1.
    """

    def __init__(
        self,
        *,
        data_shape,
        latent_size: int = 100,
        prior: Literal[tuple(distributions.PRIORS)] = "uniform",
        loss: adversarial.Loss = "non_saturating",
        loss_parameter: float = 0.5,
        penalty: Literal["none", *penalties.PENALTIES] = "none",
        penalty_weight: float = 10.0,
        penalty_decay: float = 1.0,
        weight_constraint: penalties.WeightConstraint = "none",
        clip_value: float = 0.01,
        packing: int = 1,
        discriminator_batch_norm: bool = True,
        num_discriminator_steps: int = 1,
        filters: int = 128,
        seed: int = 0,
        name: str | None = None,
    ):
        Game.__init__(self, data_shape=data_shape, seed=seed, name=name)  # not GAN's, which makes dense networks
        self.set_arguments(locals())
        self.game = adversarial.loss_pair(loss, loss_parameter)
        self.generator = generator(latent_size, self.data_shape, filters)
        penalties.check(self)
        self.discriminator = discriminator(
            adversarial.packed_shape(self.data_shape, packing),
            filters,
            batch_norm=discriminator_batch_norm,
            spectral_norm=weight_constraint == "spectral_norm",
        )
        self.constrain_weights()


def generator(input_size, data_shape, filters):
    """G's network, from vectors [batch, input_size] to images [batch, *data_shape] in [-1, 1]."""
    return networks.convolutional_decoder(
        input_size, data_shape, filters=filters, batch_norm=True, initializer=INITIALIZER, output_activation="tanh"
    )


def discriminator(input_shape, filters, output_size=1, batch_norm=True, spectral_norm=False):
    """D's network, from images [batch, *input_shape] to [batch, output_size]."""
    return networks.convolutional_encoder(
        input_shape,
        output_size,
        filters=filters,
        batch_norm=batch_norm,
        spectral_norm=spectral_norm,
        initializer=INITIALIZER,
        activation="leaky_relu",
    )
