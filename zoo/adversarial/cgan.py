"""The conditional GAN: the game of `gan.py` in which G and D are told y, such as a class (Mirza and Osindero 2014).

    min_G max_D  V(D, G) = E_data[log D(x|y)] + E_{p(z)}[log(1 - D(G(z|y)|y))]                                    (2)

y being the one-hot vector of the label; other notation is that of `adversarial_game.py`.

The networks of section 4.1: z and y each have a hidden layer of their own, of 200 and 1000 units, before a joint one of
1200, all ReLU; x and y have 240 and 50 maxout units of 5 pieces before 240 of 4 pieces.

Departures from the paper: Adam instead of momentum; dropout in D only, for with it G learns slowly and stays behind; z
is uniform on (-1, 1) instead of (0, 1), which weights and biases of the first layer make good; images in [-1, 1] with
tanh instead of [0, 1] with a sigmoid. `network="convolutional"` is not in the paper: it has the networks of DCGAN, with
y appended to z, and in D the projection of Miyato and Koyama 2018:

    logit D(x|y) = psi(x) + y^T V(x),   (psi, V) being the outputs of one convolutional network
"""

import keras
import tensorflow as tf

from zoo.adversarial import dcgan
from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.conditional import Conditional
from zoo.parts import networks, penalties


class CGAN(Conditional, AdversarialGame):
    """Conditional generative adversarial network, for images and for points with class labels.

    Args:
        num_classes: int, labels are 0 ... num_classes - 1.
        generator_units: tuple of ints, widths of G's hidden layer of z, that of y, and of the joint ones (mlp).
        discriminator_units: tuple of ints, widths of D's hidden layer of x, that of y, and of the joint ones (mlp).
        dropout: float in [0, 1), the share of D's hidden units that is dropped in training (mlp).

    Example:

        model = CGAN(data_shape=(28, 28, 1), num_classes=10, network="convolutional")
        model.compile()
        model.fit(x, label, batch_size=64, epochs=20)  # x: [n, 28, 28, 1] in [0, 1], label: int64 [n]
        images = model.sample(tf.range(64, dtype=tf.int64), label=tf.fill([64], tf.constant(3, tf.int64)))

    Reference:
        M. Mirza and S. Osindero. Conditional generative adversarial nets. 2014. arXiv:1411.1784, sections 3.2 and 4.1.
        T. Miyato and M. Koyama. cGANs with projection discriminator. ICLR 2018. arXiv:1802.05637, section 3.
    """

    def __init__(
        self, *, data_shape, num_classes, latent_size, prior, loss, loss_parameter, penalty, penalty_weight,
        penalty_decay, weight_constraint, clip_value, packing, discriminator_batch_norm, num_discriminator_steps,
        num_unrolled_steps, network, generator_units: tuple[int, ...] = (200, 1000, 1200),
        discriminator_units: tuple[int, ...] = (240, 50, 240), dropout=0.5, filters=64,
        num_halvings, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if self.dropout >= 1.0:
            raise ValueError(f"dropout must be less than 1, but is {self.dropout}.")
        for units in ("generator_units", "discriminator_units"):
            if len(getattr(self, units)) < 2:
                raise ValueError(f"{units} must be two widths or more, not {getattr(self, units)}.")
        if self.network == "convolutional":
            penalties.check(self)

    def make_networks(self):
        spectral_norm = self.weight_constraint == "spectral_norm"
        size, packed_size = self.condition_size, self.packing * self.condition_size
        if self.network == "mlp":
            output_activation = "tanh" if self.data_range else None
            self.generator = joint_mlp(
                [(self.latent_size,), (size,)], self.generator_units, self.data_shape,
                activation="relu", output_activation=output_activation,
            )  # fmt: skip
            self.discriminator = joint_mlp(
                [self.packed_data_shape, (packed_size,)], self.discriminator_units, (1,),
                activation="maxout", dropout=self.dropout, spectral_norm=spectral_norm,
            )  # fmt: skip
        else:
            sides = {"filters": self.filters, "num_halvings": self.num_halvings}
            self.generator = dcgan.generator(self.latent_size + size, self.data_shape, **sides)
            self.discriminator = dcgan.discriminator(
                self.packed_data_shape, 1 + packed_size, **sides,
                batch_norm=self.discriminator_batch_norm, spectral_norm=spectral_norm,
            )  # fmt: skip

    def G(self, z, y, training=True):
        inputs = [z, y] if self.network == "mlp" else tf.concat([z, y], axis=-1)
        return self.generator(inputs, training=training)

    def D_output(self, x, y, training=True):
        if self.network == "mlp":
            return self.discriminator([x, y], training=training)[:, 0]
        output = self.discriminator(x, training=training)
        psi, V = output[:, 0], output[:, 1:]
        return psi + tf.reduce_sum(y * V, axis=-1)


def joint_mlp(input_shapes, units, output_shape, *, output_activation=None, **options):
    """The paper's dense network: each of two inputs has a hidden layer of its own before the joint ones (section 4.1).

    Args:
        input_shapes: two tuples of ints, without the batch.
        units: tuple of two ints or more, widths of the first input's layer, the second's, and the joint ones.
        output_shape, output_activation, **options: as for `networks.mlp`. Maxout units have 5 pieces in the inputs'
            layers, and 4 in the joint ones.
    """
    inputs = [keras.Input(shape) for shape in input_shapes]
    hidden = [
        networks.mlp(x.shape[1:], (width,), None, maxout_pieces=5, **options)(x)
        for x, width in zip(inputs, units[:2], strict=True)
    ]
    options |= {"maxout_pieces": 4, "output_activation": output_activation}
    joint = networks.mlp((sum(units[:2]),), units[2:], output_shape, **options)
    return keras.Model(inputs, joint(keras.layers.concatenate(hidden)))
