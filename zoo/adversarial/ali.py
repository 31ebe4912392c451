"""Adversarially learned inference, and the bidirectional GAN as its case of a deterministic encoder.

    min_G max_D  V(D, G) = E_{q(x)}[log D(x, G_z(x))] + E_{p(z)}[log(1 - D(G_x(z), z))]

Where D is optimal, this G minimises the Jensen-Shannon divergence of two joint distributions of (x, z): the encoder's
q(x) q(z|x) and the decoder's p(z) p(x|z). If they match, so do their marginals, and q(z|x) is the posterior p(z|x).
That is the loss "minimax"; "non_saturating", the default, has the same solution, but its slopes are of no divergence.

With the loss "maximum_likelihood" it minimises KL(q(x) q(z|x) || p(z) p(x|z)) instead, the encoder's loss being the
logit of D: the joint-contrastive inference of Huszar 2017, whose decoder has a likelihood that nobody needs to know.

Notation, beside that of `adversarial_game.py`; k is 1 here, pixels are in [0, 1], and q(x) is the data's distribution:

    epsilon    standard normal noise of the encoder, [m, latent_size]
    G_z, G_x   encoder, z_hat = G_z(x, epsilon) ~ q(z|x); decoder, x_tilde = G_x(z): both together are the generator
    D          discriminator of pairs; D(x, z) = joint(D_x(x), D_z(z)) is a logit: (x, z_hat) is real = 1
    rho        logits of D: rho_q of the encoder's pairs (x, z_hat), rho_p of the decoder's (x_tilde, z)

Departures from Dumoulin et al. 2016: for images, the strided 5x5 convolutions of this zoo instead of convolutions of
stride 1 and 2 in turn, and a decoder that does not start from the data's log-odds; slope 0.2 of leaky ReLUs instead of
0.01 to 0.1; the log-variance of a Gaussian encoder stays within (-8, 8). The networks and the weight decay of
Donahue et al. 2016 are in `bigan.py`.
"""

import functools
import math
from typing import Literal

import keras
import tensorflow as tf

from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.parts import adversarial, networks, noise, penalties
from zoo.parts.layers import as_one_minibatch
from zoo.parts.posteriors import Deterministic, Gaussian, Implicit


class ALI(AdversarialGame):
    """Adversarially learned inference (Dumoulin et al. 2016) and bidirectional GAN (Donahue et al. 2016).

    Args:
        prior: "normal", or "uniform" on (-1, 1), where the encoder ends in tanh: the distribution of each element of z.
        posterior: what q(z|x) is: "gaussian", z = mu(x) + sigma(x) epsilon, for the normal prior, as the uniform one
            has a support that it would leave; "implicit", epsilon is an input of the encoder beside x (mlp); or
            "deterministic", as in BiGAN.
        encoder_units: tuple of ints, widths of the encoder's hidden layers (mlp).
        decoder_units: tuple of ints, widths of the decoder's hidden layers (mlp).
        x_discriminator_units: tuple of ints, widths of the layers of D that see x only (mlp).
        z_discriminator_units: tuple of ints, widths of the layers of D that see z only.
        joint_discriminator_units: tuple of ints, widths of the hidden layers of D that see both.
        activation: str, the activation of hidden layers of the encoder and the decoder.
        discriminator_activation: str, the activation of hidden layers of D.
        maxout_pieces: int, linear maps behind each hidden unit of D if its activation is "maxout".
        dropout: float in [0, 1), the share of hidden units of D that is dropped in training.
        discriminator_batch_norm: bool, batch normalisation in D: in joint layers, and in convolutions but the first.

    Example:

        model = ALI(data_shape=(28, 28, 1), network="convolutional", z_discriminator_units=(128, 128))
        model.compile()
        model.fit(x, batch_size=100, epochs=20)  # x: float32 [n, 28, 28, 1] in [0, 1]
        z = model.encode(x[:8])["z"]

    Reference:
        V. Dumoulin et al. Adversarially learned inference. ICLR 2017. arXiv:1606.00704, algorithm 1.
        J. Donahue, P. Kraehenbuehl and T. Darrell. Adversarial feature learning. ICLR 2017. arXiv:1605.09782.
        F. Huszar. Variational inference using implicit distributions. 2017. arXiv:1702.08235, algorithm 2.
    """

    default_optimizers = {
        player: {"optimizer": "adam", "learning_rate": 1e-4, "beta_1": 0.5} for player in ("discriminator", "generator")
    }
    draws = ("z", "epsilon", "penalty")
    batches_per_step = 1

    def __init__(
        self, *, data_shape, latent_size=64, prior: Literal["normal", "uniform"] = "normal",
        posterior: Literal["gaussian", "implicit", "deterministic"] = "gaussian",
        loss, loss_parameter, penalty, penalty_weight, penalty_decay, weight_constraint, clip_value, packing, network,
        encoder_units: tuple[int, ...] = (400, 400), decoder_units: tuple[int, ...] = (400, 400, 400, 400),
        x_discriminator_units: tuple[int, ...] = (), z_discriminator_units: tuple[int, ...] = (),
        joint_discriminator_units: tuple[int, ...] = (200, 200, 200), filters=32, activation="relu",
        discriminator_activation: networks.Activation = "maxout", maxout_pieces: int = 5, dropout,
        discriminator_batch_norm=False, initial_std=0.02, seed, name,
    ):  # fmt: skip
        super().__init__(locals())

    def check_arguments(self):
        if (self.posterior, self.prior) == ("gaussian", "uniform"):
            raise ValueError("a Gaussian posterior leaves the support of the uniform prior: choose another of the two.")
        if (self.posterior, self.network) == ("implicit", "convolutional"):
            raise ValueError("an implicit posterior is for the network mlp: its noise is no image to convolve.")
        penalties.check(self)

    def make_networks(self):
        initializer = keras.initializers.RandomNormal(stddev=self.initial_std) if self.initial_std else None
        options = {"activation": self.activation, "batch_norm": True, "initializer": initializer}
        to_data = {"output_activation": "sigmoid" if self.data_range else None, **options}
        d_layers = {
            "activation": self.discriminator_activation, "maxout_pieces": self.maxout_pieces, "dropout": self.dropout,
            "spectral_norm": self.weight_constraint == "spectral_norm", "initializer": initializer,
        }  # fmt: skip
        d_layers_normalized = {"batch_norm": self.discriminator_batch_norm, **d_layers}
        size, packed_shape = self.latent_size, self.packed_data_shape
        if self.network == "mlp":
            pair = (math.prod(self.data_shape) + size,)
            encoder_input = pair if self.posterior == "implicit" else self.data_shape
            self.encoder = networks.mlp(encoder_input, self.encoder_units, None, **options)
            self.decoder = networks.mlp((size,), self.decoder_units, self.data_shape, **to_data)
            self.x_discriminator = networks.mlp(packed_shape, self.x_discriminator_units, None, **d_layers)
        else:
            encoder = functools.partial(networks.convolutional_encoder, filters=self.filters)
            self.encoder = encoder(self.data_shape, None, **options)
            self.decoder = networks.convolutional_decoder(size, self.data_shape, filters=self.filters, **to_data)
            self.x_discriminator = encoder(packed_shape, None, **d_layers_normalized)
        num_parameters = 2 * size if self.posterior == "gaussian" else size
        features = self.encoder.output_shape[1:]
        self.encoder_output = networks.mlp(features, (), (num_parameters,), initializer=initializer)
        self.z_discriminator = networks.mlp((self.packing * size,), self.z_discriminator_units, None, **d_layers)
        joint = (self.x_discriminator.output_shape[1] + self.z_discriminator.output_shape[1],)
        self.joint_discriminator = networks.mlp(joint, self.joint_discriminator_units, (1,), **d_layers_normalized)

    @property
    def moves(self):
        return {
            "discriminator": [self.x_discriminator, self.z_discriminator, self.joint_discriminator],
            "generator": [self.encoder, self.encoder_output, self.decoder],
        }

    @property
    def data_range(self):
        return (0.0, 1.0) if self.data_name == "images" else None

    def hidden(self, x, epsilon, training):
        """The encoder's last hidden layer, [m, size]; of an implicit posterior, that of x and noise."""
        if self.posterior == "implicit":
            x = tf.concat([tf.reshape(x, [-1, math.prod(self.data_shape)]), epsilon], axis=1)
        return self.encoder(x, training=training)

    def q(self, x, training=True):
        """The posterior q(z|x), whose draws are G_z(x, epsilon)."""

        def output(epsilon=None):
            z = self.encoder_output(self.hidden(x, epsilon, training))
            return tf.tanh(z) if self.prior == "uniform" else z  # in the support of the prior

        if self.posterior == "implicit":
            return Implicit(output, (self.latent_size,))
        return Gaussian.of(output()) if self.posterior == "gaussian" else Deterministic(output())

    def G_z(self, x, epsilon, training=True):
        """z_hat ~ q(z|x), [m, latent_size] (equation 2)."""
        return self.q(x, training).draw(epsilon)[0]

    def G_x(self, z, training=True):
        return self.decoder(z, training=training)

    def D_output(self, x, z, training=True):
        halves = [self.x_discriminator(x, training=training), self.z_discriminator(z, training=training)]
        return self.joint_discriminator(tf.concat(halves, axis=1), training=training)[:, 0]

    def losses(self, x, z, epsilon, key=None, training=True):
        """Losses of both players per example, and what shows the state of the game; with a key, `penalty` is in D's."""
        z_hat, x_tilde = self.G_z(x, epsilon, training), self.G_x(z, training)  # sample from the conditionals
        q_pairs, p_pairs = self.pairs(x, z_hat), self.pairs(x_tilde, z)

        def D_output(pairs):
            x, z = tf.split(pairs, [math.prod(self.packed_data_shape), self.packing * self.latent_size], axis=1)
            return self.D_output(tf.reshape(x, [-1, *self.packed_data_shape]), z, training)

        with as_one_minibatch():
            rho_q, rho_p = D_output(q_pairs), D_output(p_pairs)
        penalty = penalties.penalty_of(self, D_output, q_pairs, p_pairs, key)
        return {
            "discriminator": self.loss_pair.discriminator(rho_q, rho_p) + penalty,
            "generator": self.loss_pair.encoder(rho_q) + self.loss_pair.generator(rho_p),
            **adversarial.state_of_game(self.loss_pair, rho_q, rho_p),
        }

    def pairs(self, x, z):
        """(x, z) in one vector each, or where there is packing the pairs of a pack."""
        x, z = self.packed(x, z)
        return tf.concat([tf.reshape(x, [-1, math.prod(self.packed_data_shape)]), z], axis=1)

    def draw(self, x):
        """z ~ p(z) and the encoder's noise, one row for each of x."""
        return self.draw_z(x), noise.normal(self.key("epsilon"), [tf.shape(x)[0], self.latent_size])

    def train_step(self, x):
        (z, epsilon), key = self.draw(x), self.key("penalty")
        self.minimize(lambda: self.losses(x, z, epsilon, key))  # theta_d and theta_g move at once
        return self.next_step()

    def test_step(self, x):
        self.track(self.losses(x, *self.draw(x), training=False))
        return self.logs()

    def decode(self, z):
        return self.to_served(self.G_x(z, training=False))

    @property
    def encodes_by_draws(self):
        return self.posterior == "implicit"

    def encode(self, x, seeds=None):
        """z ~ q(z|x) for served data x; of a Gaussian posterior its mean, and its log-variance."""
        return self.q(self.from_served(x), training=False).encoding(seeds)

    def features(self, x, seeds=None):
        """The encoder's last hidden layer for served data, [batch, size]: what BiGAN is trained for."""
        epsilon = seeds if seeds is None else noise.normal_rows(seeds, self.latent_size, noise.stream(noise.POSTERIOR))
        return tf.cast(self.hidden(self.from_served(x), epsilon, training=False), tf.float32)

    def discriminate(self, x, z):
        """Whether served pairs are real, from the encoder, [batch]: `logits` and `probability`, or a `score`."""
        return adversarial.verdict(self.loss_pair, self.D_output(self.from_served(x), z, training=False))

    def signatures(self):
        encoding = self.encoder_signatures(draws=self.encodes_by_draws)
        _, specs = encoding["encode"]

        def features(seed=None, **inputs):
            return {"features": self.features(inputs[self.data_name], seed)}

        signatures = {**super().signatures(), **encoding, "features": (features, specs)}
        if "discriminate" in signatures:  # of pairs, not of data alone
            function, specs = signatures["discriminate"]
            signatures["discriminate"] = (function, specs | {"z": tf.TensorSpec([None, self.latent_size], tf.float32)})
        return signatures
