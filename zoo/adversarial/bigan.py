"""The bidirectional GAN, with the networks of its authors' experiments on MNIST.

    min_{G, E} max_D  V(D, E, G) = E_data[log D(x, E(x))] + E_{p(z)}[log(1 - D(G(z), z))]

It is ALI with a deterministic encoder, E = G_z and G = G_x, whose notation and step it has (see `ali.py`). G and E
descend the loss with the labels of both sides exchanged, as in the paper's section 3.4: the loss "non_saturating".

The networks are those of the authors' code for permutation-invariant MNIST. Each has two hidden layers; E and D are
leaky, G has ReLUs. No layer has biases. Batch normalisation, without scale and offset, is in all hidden layers but the
first of E and of D, which see x as it is. z enters G again at its second hidden layer, and D there only. D starts as a
coin, as its last layer starts at 0. E ends in tanh(a / 2), which is sigmoid(a) stretched from (0, 1) to (-1, 1).

Departures: the authors' players descend half of the sums that stand here, which for Adam is the same with half the
`epsilon` and half the weight decay; the defaults are twice theirs. They add that epsilon after the correction of Adam's
averages, Keras before, which matters in the first hundreds of steps. They average the statistics of batch normalisation
over 1,000 minibatches, the weights fixed, before they measure; here they are moving averages, of momentum 0.99. Its
epsilon is 1e-5 instead of 1e-8. The rate is constant unless a schedule is given, theirs falls in the second half.
"""

import math

import keras
import tensorflow as tf

from zoo.adversarial.ali import ALI
from zoo.parts import networks
from zoo.parts.layers import ACTIVATIONS, BatchNormalization
from zoo.parts.posteriors import Deterministic


class BiGAN(ALI):
    """Bidirectional generative adversarial network (Donahue et al. 2016), of dense layers, z uniform on (-1, 1).

    Args:
        units: int, the width of all hidden layers.
        weight_decay: float, L2: this times half the sum of squares of a player's weights is in its loss.

    Example:

        model = BiGAN(data_shape=(28, 28, 1))
        model.compile()
        model.fit(x, batch_size=128, epochs=400)  # x: float32 [n, 28, 28, 1] in [0, 1]
        features = model.features(x[:8])

    Reference:
        J. Donahue, P. Kraehenbuehl and T. Darrell. Adversarial feature learning. ICLR 2017. arXiv:1605.09782.
    """

    default_optimizers = {
        player: {"optimizer": "adam", "learning_rate": 2e-4, "beta_1": 0.5, "epsilon": 2e-8}
        for player in ("discriminator", "generator")
    }
    # Of ALI's arguments: what a BiGAN is.
    prior, posterior, network, discriminator_batch_norm = "uniform", "deterministic", "mlp", True

    def __init__(
        self, *, data_shape, latent_size=50, loss, loss_parameter, units: int = 1024, weight_decay: float = 5e-5,
        initial_std=0.02, seed, name,
    ):  # fmt: skip
        super(ALI, self).__init__(locals())

    def make_networks(self):
        size = self.latent_size
        initializer = keras.initializers.RandomNormal(stddev=self.initial_std) if self.initial_std else None
        dense = networks.linear(keras.layers.Dense, initializer, use_bias=False)

        def hidden(activation, batch_norm):
            normalization = [BatchNormalization(center=False, scale=False, momentum=0.99)] if batch_norm else []
            return keras.Sequential([dense(self.units), *normalization, ACTIVATIONS[activation]()])

        def of_data():
            return [keras.Input(self.data_shape), keras.layers.Flatten(), hidden("leaky_relu", batch_norm=False)]

        self.encoder = keras.Sequential([*of_data(), hidden("leaky_relu", batch_norm=True)])
        self.encoder_output = keras.Sequential([keras.Input((self.units,)), dense(size, dtype="float32")])
        z = keras.Input((size,))
        h = keras.layers.Concatenate()([hidden("relu", batch_norm=True)(z), z])
        pixels = {"activation": "sigmoid" if self.data_range else None, "dtype": "float32"}
        x = dense(math.prod(self.data_shape), **pixels)(hidden("relu", batch_norm=True)(h))
        self.decoder = keras.Model(z, keras.layers.Reshape(self.data_shape, dtype="float32")(x))
        self.x_discriminator = keras.Sequential(of_data())
        self.z_discriminator = keras.Sequential([keras.Input((size,)), keras.layers.Identity()])
        logit = dense(1, kernel_initializer="zeros", dtype="float32")
        pair = keras.Input((self.units + size,))
        self.joint_discriminator = keras.Sequential([pair, hidden("leaky_relu", batch_norm=True), logit])

    def z_logits(self, x, training):
        """E(x) before tanh, [m, latent_size]: a space that the authors measure, too."""
        return self.encoder_output(self.hidden(x, None, training))

    def q(self, x, training=True):
        return Deterministic(tf.tanh(0.5 * self.z_logits(x, training)))

    def losses(self, x, z, epsilon, key=None, training=True):
        losses = super().losses(x, z, epsilon, key, training)
        for move in self.moves:
            losses[move] += self.weight_decay * tf.add_n([tf.nn.l2_loss(w) for w in self.weights_of(move)])
        return losses

    def signatures(self):
        """Those of ALI; `features` answers with the `z_logits`, too."""
        signatures = super().signatures()
        _, specs = signatures["features"]

        def features(**inputs):
            x = inputs[self.data_name]
            return {"features": self.features(x), "z_logits": self.z_logits(self.from_served(x), training=False)}

        return signatures | {"features": (features, specs)}
