"""The generative adversarial network of Goodfellow et al. 2014: objective and Algorithm 1 are in `adversarial_game.py`.

Departures from the paper: Adam instead of momentum; D is a leaky ReLU network instead of maxout with dropout, unless it
is asked for maxout; G has no sigmoid units and ends in tanh, for images in [-1, 1].
"""

import keras

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.parts import networks


class GAN(AdversarialGame):
    """Generative adversarial network with dense layers, for images and for points.

    Args:
        generator_units: tuple of ints, widths of the generator's hidden layers.
        discriminator_units: tuple of ints, widths of the discriminator's hidden layers.
        generator_batch_norm: bool, batch normalisation in the generator's hidden layers.
        discriminator_activation: str, the activation of the discriminator's hidden layers.
        maxout_pieces: int, linear maps behind each of its units, for the activation "maxout".

    Example:

        model = GAN(data_shape=(2,), latent_size=2, generator_units=(128, 128), discriminator_units=(128, 128))
        model.compile()
        model.fit(points, batch_size=256, epochs=10)

    Reference:
        I. Goodfellow et al. Generative adversarial nets. NeurIPS 2014. arXiv:1406.2661, algorithm 1.
        I. Goodfellow. NIPS 2016 tutorial: generative adversarial networks. arXiv:1701.00160, section 3.2.
    """

    def __init__(
        self, *, data_shape, latent_size, prior, loss, loss_parameter, penalty, penalty_weight, penalty_decay,
        weight_constraint, clip_value, packing, minibatch_deviation, num_discriminator_steps,
        generator_units: tuple[int, ...] = (1200, 1200), discriminator_units: tuple[int, ...] = (240, 240),
        generator_batch_norm: bool = False, discriminator_activation: networks.Activation = "leaky_relu",
        maxout_pieces: int = networks.MAXOUT_PIECES, initial_std, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if self.minibatch_deviation and not self.discriminator_units:
            raise ValueError("minibatch_deviation is seen by D's last hidden layer: give discriminator_units one.")

    def make_networks(self):
        initializer = keras.initializers.RandomNormal(stddev=self.initial_std) if self.initial_std else None
        self.generator = networks.mlp(
            (self.latent_size,), self.generator_units, self.data_shape, batch_norm=self.generator_batch_norm,
            output_activation="tanh" if self.data_range else None, initializer=initializer,
        )  # fmt: skip
        self.discriminator = networks.mlp(
            self.packed_data_shape, self.discriminator_units, (1,), activation=self.discriminator_activation,
            maxout_pieces=self.maxout_pieces, spectral_norm=self.weight_constraint == "spectral_norm",
            minibatch_deviation=self.minibatch_deviation, initializer=initializer,
        )  # fmt: skip
