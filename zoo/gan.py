"""The generative adversarial network: Algorithm 1 of Goodfellow et al. 2014, with a choice of three games.

    min_G max_D  V(D, G) = E_data[log D(x)] + E_{p(z)}[log(1 - D(G(z)))]

Notation:

    x      data, [k * m, *data_shape]: the k minibatches of one iteration, one after the other
    z      latent, [m, latent_size], z ~ p(z)
    D, G   discriminator and generator; D returns a logit, real = 1
    k      discriminator steps for each generator step

Departures from the paper: Adam instead of momentum; D is a leaky ReLU network instead of maxout with dropout, unless it
is asked for maxout; G has no sigmoid units and ends in tanh, for images in [-1, 1].
"""

from typing import Literal

import keras
import tensorflow as tf

from zoo.game import Game
from zoo.parts import adversarial, distributions, networks, penalties


class GAN(Game):
    """Generative adversarial network with dense layers, for images and for points.

    Args:
        data_shape: tuple of ints, `(height, width, channels)` of an image or `(size,)` of a point.
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
        num_discriminator_steps: int, k in Algorithm 1; each has a fresh minibatch.
        generator_units: tuple of ints, widths of the generator's hidden layers.
        discriminator_units: tuple of ints, widths of the discriminator's hidden layers.
        generator_batch_norm: bool, batch normalisation in the generator's hidden layers.
        discriminator_activation: str, the activation of the discriminator's hidden layers.
        maxout_pieces: int, linear maps behind each of its units, for the activation "maxout".
        initial_std: float, the standard deviation of initial weights; 0 for Glorot's, which depends on the width.
        seed: int, the seed of all noise drawn in training.
        name: str or None.

    Raises:
        ValueError: for an argument out of its range.

    Example:

        model = GAN(data_shape=(2,), latent_size=2, generator_units=(128, 128), discriminator_units=(128, 128))
        model.compile()
        model.fit(points, batch_size=256, epochs=10)

    Reference:
        I. Goodfellow et al. Generative adversarial nets. NeurIPS 2014. arXiv:1406.2661, algorithm 1.
        I. Goodfellow. NIPS 2016 tutorial: generative adversarial networks. arXiv:1701.00160, section 3.2.
    """

    default_optimizers = {
        "discriminator": {"optimizer": "adam", "learning_rate": 2e-4, "beta_1": 0.5},
        "generator": {"optimizer": "adam", "learning_rate": 2e-4, "beta_1": 0.5},
    }
    metric_names = ("accuracy_on_real", "accuracy_on_fake", "divergence")

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
        num_discriminator_steps: int = 1,
        generator_units: tuple[int, ...] = (1200, 1200),
        discriminator_units: tuple[int, ...] = (240, 240),
        generator_batch_norm: bool = False,
        discriminator_activation: networks.Activation = "leaky_relu",
        maxout_pieces: int = networks.MAXOUT_PIECES,
        initial_std: float = 0.0,
        seed: int = 0,
        name: str | None = None,
    ):
        super().__init__(data_shape=data_shape, seed=seed, name=name)
        self.set_arguments(locals())
        self.game = adversarial.loss_pair(loss, loss_parameter)
        initializer = keras.initializers.RandomNormal(stddev=initial_std) if initial_std else None
        self.generator = networks.mlp(
            (latent_size,),
            generator_units,
            self.data_shape,
            batch_norm=generator_batch_norm,
            output_activation="tanh" if self.data_range else None,
            initializer=initializer,
        )
        self.discriminator = networks.mlp(
            adversarial.packed_shape(self.data_shape, packing),
            discriminator_units,
            (1,),
            activation=discriminator_activation,
            maxout_pieces=maxout_pieces,
            spectral_norm=weight_constraint == "spectral_norm",
            initializer=initializer,
        )
        self.constrain_weights()

    def constrain_weights(self):
        if self.weight_constraint == "clipping":
            penalties.clip_weights(self.players["discriminator"], self.clip_value)

    @property
    def players(self):
        return {"discriminator": [self.discriminator], "generator": [self.generator]}

    @property
    def batches_per_step(self):
        return self.num_discriminator_steps

    @property
    def data_range(self):
        return (-1.0, 1.0) if self.data_name == "images" else None

    @property
    def latent_prior(self):
        return distributions.PRIORS[self.prior]

    def G(self, z, training=True):
        return self.generator(z, training=training)

    def D(self, x, training=True):
        """A logit for each example, or where there is packing for each pack of them."""
        return self.discriminator(x, training=training)[:, 0]

    def packed(self, *x):
        return [adversarial.pack(each, self.packing) for each in x]

    def discriminator_losses(self, x, z, *y, key=None, training=True):
        """D's loss per example, and what shows the state of the game; y is there where D and G are conditional.

        With a key, `penalty` is part of the loss.
        """
        x, x_tilde, *packed_y = self.packed(x, self.G(z, *y, training=training), *y)

        def D(x):
            return self.D(x, *packed_y, training=training)

        real, fake = D(x), D(x_tilde)
        loss = self.game.discriminator(real, fake) + penalties.penalty_of(self, D, x, x_tilde, key)
        return {"discriminator": loss, **adversarial.state_of_game(self.game, real, fake)}

    def generator_losses(self, z, *y, training=True):
        fake = self.D(*self.packed(self.G(z, *y, training=training), *y), training=training)
        return {"generator": self.game.generator(fake)}

    def draw_z(self, key, x):
        return self.latent_prior.draw(key, [tf.shape(x)[0], self.latent_size])

    def train_step(self, x):
        k = self.num_discriminator_steps
        minibatches = tf.split(x, k)
        keys = self.keys(2 * k + 1)
        for i in range(k):  # for k steps do
            x, z = minibatches[i], self.draw_z(keys[i], minibatches[i])
            key = keys[k + 1 + i]
            self.minimize(lambda: self.discriminator_losses(x, z, key=key))  # ascend log D(x) + log(1 - D(G(z)))
        z = self.draw_z(keys[k], minibatches[0])
        self.minimize(lambda: self.generator_losses(z))  # descend log(1 - D(G(z))), or what `loss` puts in its place
        return self.next_step()

    def test_step(self, x):
        z = self.draw_z(*self.keys(1), x)
        self.track(self.discriminator_losses(x, z, training=False) | self.generator_losses(z, training=False))
        return self.logs()

    def decode(self, z, *y):
        return self.to_served(self.G(z, *y, training=False))

    def discriminate(self, x, *y):
        """D's output for served data, [batch], and the probability of being real where the loss makes it a logit."""
        return adversarial.verdict(self.game, self.D(self.from_served(x), *y, training=False))

    def signatures(self):
        if self.packing > 1:  # then D does not judge rows
            return super().signatures()

        def discriminate(**inputs):
            x = inputs.pop(self.data_name)
            return self.discriminate(x, **inputs)

        return {**super().signatures(), "discriminate": (discriminate, {**self.data_spec, **self.label_spec})}
