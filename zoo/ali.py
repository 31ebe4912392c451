"""Adversarially learned inference, and the bidirectional GAN as its case of a deterministic encoder.

    min_G max_D  V(D, G) = E_{q(x)}[log D(x, G_z(x))] + E_{p(z)}[log(1 - D(G_x(z), z))]

Where D is optimal, G minimises the Jensen-Shannon divergence of two joint distributions of (x, z): the encoder's
q(x) q(z|x) and the decoder's p(z) p(x|z). If they match, so do their marginals, and q(z|x) is the posterior p(z|x).

Notation:

    x          data, [m, *data_shape], pixels in [0, 1], x ~ q(x)
    z          latent, [m, latent_size], z ~ p(z)
    epsilon    standard normal noise of the encoder, [m, latent_size]
    G_z, G_x   encoder, z_hat = G_z(x, epsilon) ~ q(z|x); decoder, x_tilde = G_x(z): both together are the generator
    D          discriminator of pairs; D(x, z) = joint(D_x(x), D_z(z)) is a logit: (x, z_hat) is real = 1
    rho        logits of D: rho_q of the encoder's pairs (x, z_hat), rho_p of the decoder's (x_tilde, z)

Departures from Dumoulin et al. 2016: for images, the strided 5x5 convolutions of this zoo instead of convolutions of
stride 1 and 2 in turn, and a decoder that does not start from the data's log-odds; slope 0.2 of leaky ReLUs instead of
0.01 to 0.1; the log-variance of a Gaussian encoder stays within (-8, 8). From Donahue et al. 2016: z enters D where
`x_discriminator_units` end, as there, but G_x only at its input; one activation for G_z and G_x, and batch
normalisation with scale and offset in all their hidden layers; no weight decay.
"""

import math
from typing import Literal

import keras
import tensorflow as tf

from zoo.game import Game
from zoo.parts import adversarial, distributions, networks, noise, penalties


class ALI(Game):
    """Adversarially learned inference (Dumoulin et al. 2016) and bidirectional GAN (Donahue et al. 2016).

    Args:
        data_shape: tuple of ints, `(height, width, channels)` of an image or `(size,)` of a point.
        latent_size: int, the length of z.
        prior: "normal", or "uniform" on (-1, 1), where the encoder ends in tanh: the distribution of each element of z.
        posterior: what q(z|x) is: "gaussian", z = mu(x) + sigma(x) epsilon; "implicit", epsilon is an input of the
            encoder beside x (mlp); or "deterministic", as in BiGAN.
        loss: str, the game that is played: "non_saturating" or another pair of `zoo/parts/adversarial.py`.
        loss_parameter: float, alpha of the loss "alpha", or pi of "weighted_jensen_shannon".
        penalty: str, what is added to D's loss against steep slopes: "none" or one of `zoo/parts/penalties.py`; the
            slope is that by x and z.
        penalty_weight: float, its weight. The papers have 10, and Roth et al. 2, falling.
        penalty_decay: float, a factor of the weight for every 1,000 steps.
        weight_constraint: "none"; "clipping", D's weights within `clip_value` (Arjovsky et al. 2017); or
            "spectral_norm", the largest singular value of each of its weight matrices is 1 (Miyato et al. 2018).
        clip_value: float, the largest magnitude of a clipped weight.
        packing: int, pairs that D judges together (PacGAN, Lin et al. 2018).
        network: "mlp", or "convolutional" for square images.
        encoder_units: tuple of ints, widths of the encoder's hidden layers (mlp).
        decoder_units: tuple of ints, widths of the decoder's hidden layers (mlp).
        x_discriminator_units: tuple of ints, widths of the layers of D that see x only (mlp).
        z_discriminator_units: tuple of ints, widths of the layers of D that see z only.
        joint_discriminator_units: tuple of ints, widths of the hidden layers of D that see both.
        filters: int, channels at the image's end of all networks, doubled at each halving (convolutional).
        activation: str, the activation of hidden layers of the encoder and the decoder.
        discriminator_activation: str, the activation of hidden layers of D.
        maxout_pieces: int, linear maps behind each hidden unit of D if its activation is "maxout".
        dropout: float in [0, 1), the share of hidden units of D that is dropped in training.
        discriminator_batch_norm: bool, batch normalisation in D: in joint layers, and in convolutions but the first.
        initial_std: float, the standard deviation of initial weights; 0 for Glorot's, which depends on the width.
        seed: int, the seed of all noise drawn in training.
        name: str or None.

    Raises:
        ValueError: for an argument out of its range, convolutions of what is no square image or with an implicit
            posterior, or a Gaussian posterior under the uniform prior, whose support it would leave.

    Example:

        model = ALI(data_shape=(28, 28, 1), network="convolutional", z_discriminator_units=(128, 128))
        model.compile()
        model.fit(x, batch_size=100, epochs=20)  # x: float32 [n, 28, 28, 1] in [0, 1]
        z = model.encode(x[:8])["z"]

    Reference:
        V. Dumoulin et al. Adversarially learned inference. ICLR 2017. arXiv:1606.00704, algorithm 1.
        J. Donahue, P. Kraehenbuehl and T. Darrell. Adversarial feature learning. ICLR 2017. arXiv:1605.09782.
    """

    default_optimizers = {
        "discriminator": {"optimizer": "adam", "learning_rate": 1e-4, "beta_1": 0.5},
        "generator": {"optimizer": "adam", "learning_rate": 1e-4, "beta_1": 0.5},
    }
    metric_names = ("accuracy_on_real", "accuracy_on_fake", "divergence")

    def __init__(
        self,
        *,
        data_shape,
        latent_size: int = 64,
        prior: Literal["normal", "uniform"] = "normal",
        posterior: Literal["gaussian", "implicit", "deterministic"] = "gaussian",
        loss: adversarial.Loss = "non_saturating",
        loss_parameter: float = 0.5,
        penalty: Literal["none", *penalties.PENALTIES] = "none",
        penalty_weight: float = 10.0,
        penalty_decay: float = 1.0,
        weight_constraint: penalties.WeightConstraint = "none",
        clip_value: float = 0.01,
        packing: int = 1,
        network: Literal["mlp", "convolutional"] = "mlp",
        encoder_units: tuple[int, ...] = (400, 400),
        decoder_units: tuple[int, ...] = (400, 400, 400, 400),
        x_discriminator_units: tuple[int, ...] = (),
        z_discriminator_units: tuple[int, ...] = (),
        joint_discriminator_units: tuple[int, ...] = (200, 200, 200),
        filters: int = 32,
        activation: networks.Activation = "relu",
        discriminator_activation: networks.Activation = "maxout",
        maxout_pieces: int = 5,
        dropout: float = 0.0,
        discriminator_batch_norm: bool = False,
        initial_std: float = 0.02,
        seed: int = 0,
        name: str | None = None,
    ):
        super().__init__(data_shape=data_shape, seed=seed, name=name)
        self.set_arguments(locals())
        self.game = adversarial.loss_pair(loss, loss_parameter)
        if (posterior, prior) == ("gaussian", "uniform"):
            raise ValueError("a Gaussian posterior leaves the support of the uniform prior: choose another of the two.")
        if (posterior, network) == ("implicit", "convolutional"):
            raise ValueError("an implicit posterior is for the network mlp: its noise is no image to convolve.")
        penalties.check(self)

        initializer = keras.initializers.RandomNormal(stddev=initial_std) if initial_std else None
        options = {"activation": activation, "batch_norm": True, "initializer": initializer}
        output_activation = "sigmoid" if self.data_range else None
        d_layers = {
            "activation": discriminator_activation,
            "maxout_pieces": maxout_pieces,
            "spectral_norm": weight_constraint == "spectral_norm",
            "dropout": dropout,
            "initializer": initializer,
        }
        self.packed_data_shape = adversarial.packed_shape(self.data_shape, packing)
        d_layers_normalized = {"batch_norm": discriminator_batch_norm, **d_layers}
        if network == "mlp":
            size = math.prod(self.data_shape)
            encoder_input = (size + latent_size,) if posterior == "implicit" else self.data_shape
            self.encoder = networks.mlp(encoder_input, encoder_units, None, **options)
            self.decoder = networks.mlp(
                (latent_size,), decoder_units, self.data_shape, output_activation=output_activation, **options
            )
            self.x_discriminator = networks.mlp(self.packed_data_shape, x_discriminator_units, None, **d_layers)
        else:
            self.encoder = networks.convolutional_encoder(self.data_shape, None, filters=filters, **options)
            self.decoder = networks.convolutional_decoder(
                latent_size, self.data_shape, filters=filters, output_activation=output_activation, **options
            )
            self.x_discriminator = networks.convolutional_encoder(
                self.packed_data_shape, None, filters=filters, **d_layers_normalized
            )
        num_parameters = 2 * latent_size if posterior == "gaussian" else latent_size
        self.encoder_output = networks.mlp(
            self.encoder.output_shape[1:], (), (num_parameters,), initializer=initializer
        )
        self.z_discriminator = networks.mlp((packing * latent_size,), z_discriminator_units, None, **d_layers)
        joint_size = self.x_discriminator.output_shape[1] + self.z_discriminator.output_shape[1]
        self.joint_discriminator = networks.mlp((joint_size,), joint_discriminator_units, (1,), **d_layers_normalized)
        if weight_constraint == "clipping":
            penalties.clip_weights(self.players["discriminator"], clip_value)

    @property
    def players(self):
        return {
            "discriminator": [self.x_discriminator, self.z_discriminator, self.joint_discriminator],
            "generator": [self.encoder, self.encoder_output, self.decoder],
        }

    @property
    def latent_prior(self):
        return distributions.PRIORS[self.prior]

    def hidden(self, x, epsilon, training):
        """The encoder's last hidden layer, [m, size]."""
        if self.posterior == "implicit":
            x = tf.concat([tf.reshape(x, [-1, math.prod(self.data_shape)]), epsilon], axis=1)
        return self.encoder(x, training=training)

    def z_hat(self, parameters, epsilon):
        """z_hat ~ q(z|x), from the encoder's output and noise (equation 2)."""
        if self.posterior == "gaussian":
            return distributions.reparameterize(distributions.gaussian(parameters), epsilon)
        return tf.tanh(parameters) if self.prior == "uniform" else parameters

    def G_z(self, x, epsilon, training=True):
        return self.z_hat(self.encoder_output(self.hidden(x, epsilon, training)), epsilon)

    def G_x(self, z, training=True):
        return self.decoder(z, training=training)

    def D(self, x, z, training=True):
        halves = [self.x_discriminator(x, training=training), self.z_discriminator(z, training=training)]
        return self.joint_discriminator(tf.concat(halves, axis=1), training=training)[:, 0]

    def losses(self, x, z, epsilon, key=None, training=True):
        """Losses of both players per example, and what shows the state of the game; with a key, `penalty` is in D's."""
        z_hat, x_tilde = self.G_z(x, epsilon, training), self.G_x(z, training)  # sample from the conditionals
        q_pairs, p_pairs = self.pairs(x, z_hat), self.pairs(x_tilde, z)

        def D(pairs):
            x, z = tf.split(pairs, [math.prod(self.packed_data_shape), self.packing * self.latent_size], axis=1)
            return self.D(tf.reshape(x, [-1, *self.packed_data_shape]), z, training)

        rho_q, rho_p = D(q_pairs), D(p_pairs)
        return {
            "discriminator": self.game.discriminator(rho_q, rho_p)
            + penalties.penalty_of(self, D, q_pairs, p_pairs, key),
            "generator": self.game.encoder(rho_q) + self.game.generator(rho_p),
            **adversarial.state_of_game(self.game, rho_q, rho_p),
        }

    def pairs(self, x, z):
        """(x, z) in one vector each, or where there is packing the pairs of a pack."""
        x, z = adversarial.pack(x, self.packing), adversarial.pack(z, self.packing)
        return tf.concat([tf.reshape(x, [-1, math.prod(self.packed_data_shape)]), z], axis=1)

    def draw(self, x):
        """z ~ p(z) and the encoder's noise, one row for each of x, and a key for the penalty."""
        keys, shape = self.keys(3), [tf.shape(x)[0], self.latent_size]
        return self.latent_prior.draw(keys[0], shape), noise.normal(keys[1], shape), keys[2]

    def train_step(self, x):
        z, epsilon, key = self.draw(x)
        self.minimize(lambda: self.losses(x, z, epsilon, key))  # theta_d and theta_g move at once
        return self.next_step()

    def test_step(self, x):
        z, epsilon, _ = self.draw(x)
        self.track(self.losses(x, z, epsilon, training=False))
        return self.logs()

    def decode(self, z):
        return self.to_served(self.G_x(z, training=False))

    def served_hidden(self, x, seeds):
        """`hidden` of served data, and the noise of an implicit posterior, row i of which is that of seeds[i] alone."""
        epsilon = noise.normal_rows(seeds, self.latent_size, stream=1) if self.posterior == "implicit" else 0.0
        return self.hidden(self.from_served(x), epsilon, training=False), epsilon

    def encode(self, x, seeds=None):
        """z ~ q(z|x) for served data x; of a Gaussian posterior its mean, and its log-variance."""
        hidden, epsilon = self.served_hidden(x, seeds)
        parameters = self.encoder_output(hidden)
        z = {"z": self.z_hat(parameters, epsilon)}
        if self.posterior == "gaussian":
            z["z_log_var"] = tf.math.log(distributions.gaussian(parameters).variance())
        return z

    def features(self, x, seeds=None):
        """The encoder's last hidden layer for served data, [batch, size]: what BiGAN is trained for."""
        return tf.cast(self.served_hidden(x, seeds)[0], tf.float32)

    def discriminate(self, x, z):
        """D's output for served pairs (real: from the encoder), [batch], and, of a logit, the probability of real."""
        return adversarial.verdict(self.game, self.D(self.from_served(x), z, training=False))

    def signatures(self):
        name, data = self.data_name, self.data_spec
        pair = {**data, "z": tf.TensorSpec([None, self.latent_size], tf.float32)}
        row = {**data, "seed": tf.TensorSpec([None], tf.int64)} if self.posterior == "implicit" else data

        def encode(seed=None, **inputs):
            return self.encode(inputs[name], seed)

        def discriminate(z, **inputs):
            return self.discriminate(inputs[name], z)

        return {
            **super().signatures(),
            "encode": (encode, row),
            "features": (lambda seed=None, **inputs: {"features": self.features(inputs[name], seed)}, row),
            "reconstruct": (lambda **inputs: {name: self.decode(encode(**inputs)["z"])}, row),
            **({"discriminate": (discriminate, pair)} if self.packing == 1 else {}),  # packs are no rows
        }
