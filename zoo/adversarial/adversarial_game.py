"""What all generative adversarial networks have in common, and the schedule of most: Algorithm 1 of Goodfellow et al.

    min_G max_D  V(D, G) = E_data[log D(x)] + E_{p(z)}[log(1 - D(G(z)))]

Notation:

    x      data, [k * m, *data_shape]: the k minibatches of one iteration, one after the other
    y      what G and D are conditioned on, [k * m, size]; games without conditions have none
    z      latent, [m, latent_size], z ~ p(z)
    G      generator
    D      discriminator. Its network's output is the logit of D in the formula, real = 1; in games other than the
           classic ones it is what `loss` takes it for
    k      discriminator steps for each generator step
    K      steps of D that G looks ahead (unrolled GAN; Metz et al. 2017, arXiv:1611.02163)
"""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from zoo.configuration import Argument
from zoo.game import Game
from zoo.optimizers import differentiable, kind_of
from zoo.parts import adversarial, distributions, penalties
from zoo.parts.layers import as_one_minibatch


class AdversarialGame(Game):
    """A generator G and a discriminator D; a subclass has their networks, as `generator` and `discriminator`."""

    shared_arguments = Game.shared_arguments | {
        name: Argument(*argument)
        for name, *argument in [
            ("latent_size", int, 100, "int, the length of z."),
            ("prior", distributions.PriorName, "uniform",
             '"uniform" on (-1, 1), "normal" or "logistic", the distribution of each element of z; or "ring", ten '
             "Gaussians around a circle of the first two, as data of ten kinds may want."),
            ("loss", adversarial.Loss, "non_saturating",
             'str, the game that is played: "non_saturating" or another pair of `zoo/parts/adversarial.py`.'),
            ("loss_parameter", float, 0.5, 'float, alpha of the loss "alpha", or pi of "weighted_jensen_shannon".'),
            ("penalty", penalties.Penalty, "none",
             'str, what is added to D\'s loss against steep slopes: "none" or one of `zoo/parts/penalties.py`.'),
            ("penalty_weight", float, 10.0, "float, its weight. The papers have 10, and Roth et al. 2, falling."),
            ("penalty_decay", float, 1.0, "float, a factor of the weight for every 1,000 steps."),
            ("weight_constraint", penalties.WeightConstraint, "none",
             '"none"; "clipping", D\'s weights within `clip_value` (Arjovsky et al. 2017); or "spectral_norm", the '
             "largest singular value of each of its weight matrices nears 1 over the steps (Miyato et al. 2018; batch "
             "normalisation scales anew)."),
            ("clip_value", float, 0.01, "float, the largest magnitude of a clipped weight."),
            ("packing", int, 1, "int, examples that D judges together (PacGAN, Lin et al. 2018)."),
            ("minibatch_deviation", bool, False,
             "bool, whether D's last hidden layer sees how much the rows of a minibatch differ (Karras et al. 2018). "
             "Then D judges minibatches, and no rows that are served."),
            ("discriminator_batch_norm", bool, True,
             "bool, batch normalisation in D's convolutions but the first, which a penalty can not have."),
            ("num_discriminator_steps", int, 1,
             "int, k, discriminator steps for each generator step; each has a fresh minibatch."),
            ("num_unrolled_steps", int, 0,
             "int, K: G descends its loss against the D that K more steps on the minibatch would make, the gradient "
             "going through these steps (unrolled GAN); 0 for the D that there is."),
            ("initial_std", float, 0.0,
             "float, the standard deviation of initial weights; 0 for Glorot's, which depends on the width."),
            ("conditional", bool, False,
             "bool, whether G and D are told the label of each row, and samples are asked for by labels."),
        ]
    }  # fmt: skip
    zero_allowed = (*Game.zero_allowed, "num_unrolled_steps")
    negative_allowed = ("seed", "loss_parameter")
    # Of models without these arguments.
    num_discriminator_steps, num_unrolled_steps, packing = 1, 0, 1
    prior, minibatch_deviation, weight_constraint, drift = "uniform", False, "none", 0.0
    loss_parameter, penalty = 0.5, "none"
    default_optimizers = {
        player: {"optimizer": "adam", "learning_rate": 2e-4, "beta_1": 0.5} for player in ("discriminator", "generator")
    }

    def __init__(self, arguments):
        super().__init__(arguments)
        self.loss_pair = adversarial.loss_pair(self.loss, self.loss_parameter)
        penalties.check_loss(self)
        distributions.check_prior(self.prior, self.latent_size)
        if self.weight_constraint == "clipping":
            for weight in (w for move in self.moves if kind_of(move) == "discriminator" for w in self.weights_of(move)):
                weight.constraint = penalties.Clip(self.clip_value)

    def compile(self, *arguments, **options):
        super().compile(*arguments, **options)
        if self.num_unrolled_steps:
            differentiable(self.optimizers["discriminator"], self.weights_of("discriminator"))  # refuses others

    @property
    def packed_data_shape(self):
        return (*self.data_shape[:-1], self.packing * self.data_shape[-1])

    @property
    def moves(self):
        return {"discriminator": [self.discriminator], "generator": [self.generator]}

    @property
    def metric_names(self):
        return (*(("accuracy_on_real", "accuracy_on_fake") if self.loss_pair.score else ()), "divergence")

    @property
    def draws(self):
        k = self.num_discriminator_steps
        return (k + 1) * ("z",) + k * ("penalty",)

    @property
    def batches_per_step(self):
        return self.num_discriminator_steps

    @property
    def data_range(self):
        return (-1.0, 1.0) if self.data_name == "images" else None

    @property
    def latent_prior(self):
        return distributions.PRIORS[self.prior]

    def G(self, z, *y, training=True):
        return self.generator(z, training=training)

    def D_output(self, x, *y, training=True):
        """D's output for each example, [m], or where there is packing for each pack of them."""
        return self.discriminator(x, training=training)[:, 0]

    def packed(self, *x):
        return [adversarial.pack(each, self.packing) for each in x]

    def discriminator_losses(self, x, z, *y, key=None, training=True):
        """D's loss per example, and what shows the state of the game. With a key, `penalty` is part of the loss."""
        x_tilde = self.G(z, *y, training=training)
        return self.discriminator_loss(self.D_output, x, x_tilde, *y, key=key, training=training)

    def discriminator_loss(self, D, x, x_tilde, *y, key=None, training=True):
        """The same of any D(x, *y, training=...), for data x and samples x_tilde."""
        x, x_tilde, *y = self.packed(x, x_tilde, *y)

        def D_output(x):
            return D(x, *y, training=training)

        with as_one_minibatch():
            real, fake = D_output(x), D_output(x_tilde)
        loss = self.loss_pair.discriminator(real, fake) + penalties.penalty_of(self, D_output, x, x_tilde, key)
        if self.drift:
            loss += self.drift * tf.square(real)
        return {"discriminator": loss, **adversarial.state_of_game(self.loss_pair, real, fake)}

    def generator_losses(self, z, *y, training=True):
        x_tilde = self.G(z, *y, training=training)
        return {"generator": self.generator_loss(self.D_output, x_tilde, *y, training=training)}

    def generator_loss(self, D, x_tilde, *y, training=True):
        return self.loss_pair.generator(D(*self.packed(x_tilde, *y), training=training))

    def unrolled_losses(self, x, z, *y, key=None):
        """G's loss where D is K steps ahead, on this minibatch: D's answer to x is G's doing, too.

        f_K(G, D) = f(G, D_K),  D_0 = D,  D_{k+1} = D_k - Adam's or SGD's step along the gradient of D's loss at D_k

        (Metz et al. 2017, section 2; f is the loss of G and that of the reals' side: V, in the minimax game). Under a
        strategy each replica's D goes ahead on its own rows.
        """
        x_tilde, weights = self.G(z, *y), self.weights_of("discriminator")
        step, values = differentiable(self.optimizers["discriminator"], weights), [w.value for w in weights]

        def loss(*values):
            with keras.StatelessScope(zip(weights, values, strict=True)):
                return tf.reduce_mean(self.discriminator_loss(self.D_output, x, x_tilde, *y, key=key)["discriminator"])

        for _ in range(self.num_unrolled_steps):
            values = step(values, tfp.math.value_and_gradient(loss, list(values))[1])
        x, x_tilde, *y = self.packed(x, x_tilde, *y)
        with keras.StatelessScope(zip(weights, values, strict=True)) as ahead:
            fake, real = self.D_output(x_tilde, *y), self.D_output(x, *y)
        for count in self._state_of([]):  # of draws, which no later move is to repeat
            if ahead.get_current_value(count) is not None:
                count.assign(ahead.get_current_value(count))
        return {"generator": self.loss_pair.generator(fake) + self.loss_pair.encoder(real)}

    def draw_z(self, x, index=0):
        return self.latent_prior.draw(self.key("z", index), [tf.shape(x)[0], self.latent_size])

    def train_step(self, data):
        k = self.num_discriminator_steps
        minibatches = zip(*(tf.split(each, k) for each in self.of_data(data)), strict=True)
        for i, (x, *y) in enumerate(minibatches):  # for k steps do
            z, key = self.draw_z(x, i), self.key("penalty", i)
            # ascend log D(x|y) + log(1 - D(G(z|y)|y))
            self.minimize(lambda: self.discriminator_losses(x, z, *y, key=key))
        z = self.draw_z(x, k)
        self.move_generator(x, z, *y, key=key)  # descend log(1 - D(G(z|y)|y)), or as `loss` says
        return self.next_step()

    def move_generator(self, x, z, *y, key=None):
        if self.num_unrolled_steps:
            self.minimize(lambda: self.unrolled_losses(x, z, *y, key=key))
        else:
            self.minimize(lambda: self.generator_losses(z, *y))

    def test_step(self, data):
        x, *y = self.of_data(data)
        z = self.draw_z(x)
        self.track(self.discriminator_losses(x, z, *y, training=False) | self.generator_losses(z, *y, training=False))
        return self.logs()

    def decode(self, z, **label):
        return self.to_served(self.G(z, *self.conditions(**label), training=False))

    def discriminate(self, x, **label):
        """Whether served data are real, and of their labels, [batch]: `logits` and `probability`, or a `score`."""
        output = self.D_output(self.from_served(x), *self.conditions(**label), training=False)
        return adversarial.verdict(self.loss_pair, output)

    def signatures(self):
        if self.packing > 1 or self.minibatch_deviation:  # then D does not judge rows
            return super().signatures()

        def discriminate(**inputs):
            return self.discriminate(inputs.pop(self.data_name), **inputs)

        return {**super().signatures(), "discriminate": (discriminate, self.data_spec | self.label_spec)}
