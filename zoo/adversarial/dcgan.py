"""The deep convolutional GAN: the game of `gan.py` with the architecture of Radford et al. 2015.

From z, G projects to a small image of many channels and doubles its side by 5x5 transposed convolutions of stride 2;
D mirrors it. No pooling and no hidden dense layers; batch normalisation everywhere but in G's output and D's input;
ReLU in G with tanh at the end, leaky ReLU of slope 0.2 in D; weights start from N(0, 0.02^2).

Real and fake minibatches are normalised apart, which the paper does not say and its authors' code does. Outside
training D normalises every row by moments of both kinds together, and tells them apart less well than in training,
where the company of a row gives its kind away.

Departures from the paper: any square side that doublings can make (the paper's is 64), with one block per doubling.
From the authors' code: no weight decay (theirs is 1e-5); the projected z is normalised by channel instead of by unit,
scales start from 1 instead of N(1, 0.02^2), and layers without normalisation have biases.
"""

import keras

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.parts import networks, penalties

INITIALIZER = keras.initializers.RandomNormal(stddev=0.02)


class DCGAN(AdversarialGame):
    """Deep convolutional generative adversarial network, for square images, grey or colour.

    Args:
        filters: int, channels next to the image, doubled at each halving of the side (64 pixels: 128 to 1024).

    Example:

        model = DCGAN(data_shape=(28, 28, 1), filters=64)
        model.compile()
        model.fit(x, batch_size=128, epochs=20)  # x: [n, 28, 28, 1], float32 in [0, 1] or uint8
        images = model.sample(tf.range(64, dtype=tf.int64))

    Reference:
        A. Radford, L. Metz and S. Chintala. Unsupervised representation learning with deep convolutional generative
        adversarial networks. ICLR 2016. arXiv:1511.06434, section 3 and figure 1.
    """

    def __init__(
        self, *, data_shape, latent_size, prior, loss, loss_parameter, penalty, penalty_weight, penalty_decay,
        weight_constraint, clip_value, packing, minibatch_deviation, discriminator_batch_norm,
        num_discriminator_steps, num_unrolled_steps, filters=128, num_halvings, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        penalties.check(self)

    def make_networks(self):
        size = {"filters": self.filters, "num_halvings": self.num_halvings}
        self.generator = generator(self.latent_size, self.data_shape, **size)
        spectral_norm = self.weight_constraint == "spectral_norm"
        self.discriminator = discriminator(
            self.packed_data_shape, **size, batch_norm=self.discriminator_batch_norm, spectral_norm=spectral_norm,
            minibatch_deviation=self.minibatch_deviation,
        )  # fmt: skip


def generator(input_size, data_shape, **size):
    """G's network, from vectors [batch, input_size] to images [batch, *data_shape] in [-1, 1]."""
    return networks.convolutional_decoder(
        input_size, data_shape, **size, batch_norm=True, initializer=INITIALIZER, output_activation="tanh"
    )


def discriminator(input_shape, output_size=1, **options):
    """D's network, from images [batch, *input_shape] to [batch, output_size]; options of `convolutional_encoder`."""
    options |= {"initializer": INITIALIZER, "activation": "leaky_relu"}
    return networks.convolutional_encoder(input_shape, output_size, **options)
