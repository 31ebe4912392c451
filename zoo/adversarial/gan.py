"""The generative adversarial network of Goodfellow et al. 2014: objective and Algorithm 1 are in `adversarial_game.py`.

Departures from the paper: Adam instead of momentum; D is a leaky ReLU network instead of maxout with dropout, unless it
is asked for maxout; G has no sigmoid units and ends in tanh, for images in [-1, 1].

Not in the paper either: G can learn without a gradient through D, and so through pixels that are black or white, by
what D says of perturbed generators (evolution strategies; see `zoo/parts/evolution.py`).
"""

import keras
import tensorflow as tf

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.parts import evolution, networks, noise


class GAN(AdversarialGame):
    """Generative adversarial network with dense layers, for images and for points.

    Args:
        generator_units: tuple of ints, widths of the generator's hidden layers.
        discriminator_units: tuple of ints, widths of the discriminator's hidden layers.
        generator_batch_norm: bool, batch normalisation in the generator's hidden layers.
        discriminator_activation: str, the activation of the discriminator's hidden layers.
        maxout_pieces: int, linear maps behind each of its units, for the activation "maxout".
        num_evolution_pairs: int, antithetic pairs of perturbed generators, by which G's gradient is estimated; 0 for
            backpropagation.
        evolution_scale: float > 0, the standard deviation of these perturbations.
        binary: bool, whether G's pixels are black or white, by a threshold; G then needs `num_evolution_pairs`.

    Example:

        model = GAN(data_shape=(2,), latent_size=2, generator_units=(128, 128), discriminator_units=(128, 128))
        model.compile()
        model.fit(points, batch_size=256, epochs=10)

    Reference:
        I. Goodfellow et al. Generative adversarial nets. NeurIPS 2014. arXiv:1406.2661, algorithm 1.
        I. Goodfellow. NIPS 2016 tutorial: generative adversarial networks. arXiv:1701.00160, section 3.2.
    """

    zero_allowed = (*AdversarialGame.zero_allowed, "num_evolution_pairs")

    def __init__(
        self, *, data_shape, latent_size, prior, loss, loss_parameter, penalty, penalty_weight, penalty_decay,
        weight_constraint, clip_value, packing, minibatch_deviation, num_discriminator_steps, num_unrolled_steps,
        generator_units: tuple[int, ...] = (1200, 1200), discriminator_units: tuple[int, ...] = (240, 240),
        generator_batch_norm: bool = False, discriminator_activation: networks.Activation = "leaky_relu",
        maxout_pieces: int = networks.MAXOUT_PIECES, num_evolution_pairs: int = 0, evolution_scale: float = 0.1,
        binary: bool = False, initial_std, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if self.minibatch_deviation and not self.discriminator_units:
            raise ValueError("minibatch_deviation is seen by D's last hidden layer: give discriminator_units one.")
        if self.binary and not self.num_evolution_pairs:
            raise ValueError("binary pixels have no gradient: give num_evolution_pairs, so that G learns without one.")
        if self.num_evolution_pairs and (self.generator_batch_norm or self.num_unrolled_steps):
            raise ValueError("num_evolution_pairs does not go with generator_batch_norm or num_unrolled_steps.")
        if self.num_evolution_pairs and not self.evolution_scale:
            raise ValueError("evolution_scale must be positive, but is 0.")

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

    @property
    def draws(self):
        return (*super().draws, *(("evolution",) if self.num_evolution_pairs else ()))

    def G(self, z, *y, training=True):
        x = super().G(z, training=training)
        return tf.where(x > 0.0, 1.0, -1.0) if self.binary else x

    def move_generator(self, x, z, *y, key=None):
        if not self.num_evolution_pairs:
            return super().move_generator(x, z, *y, key=key)
        weights = self.weights_of("generator")

        def losses(*theta):  # state of D changes in its own moves only
            with keras.StatelessScope(zip(weights, theta, strict=True)):
                return self.generator_losses(z)

        def loss(*theta):
            return tf.reduce_mean(losses(*theta)["generator"])

        theta = [tf.convert_to_tensor(weight.value) for weight in weights]
        size = sum(weight.shape.num_elements() for weight in theta)
        epsilon = noise.normal(self.key("evolution"), [self.num_evolution_pairs, size])
        self.track(losses(*theta))
        self.descend("generator", evolution.gradient(loss, theta, epsilon, self.evolution_scale))
