"""What keeps the slope of an adversary in bounds: penalties, added to its loss with a weight, and clipped weights.

Each penalty is a function of (D, real, fake, key) that returns float32 [batch]:

    D: function x [batch, ...] -> outputs [batch], each of its own row alone, which batch normalisation would spoil.
        With minibatch deviation dD/dx is the slope of all outputs' sum, as in the code of Karras et al. 2018.
    real, fake: float32 [batch, ...], data and samples.
    key: of `noise.key`, for those penalties that draw where to look.
"""

import warnings
from typing import Literal

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from zoo.parts import noise


def slope(D, x):
    """(D(x), |dD/dx|^2), float32 [batch] both, the square summed over all elements of a row."""
    output, gradient = tfp.math.value_and_gradient(D, x)
    square = tf.square(tf.cast(gradient, tf.float32))
    return tf.cast(output, tf.float32), tf.reduce_sum(tf.reshape(square, [tf.shape(x)[0], -1]), axis=1)


def distance_from_one(D, x):
    """(|dD/dx| - 1)^2 [batch]; where the slope is 0, so is the gradient of this, and not the NaN of a root's."""
    return tf.square(tf.sqrt(tf.maximum(slope(D, x)[1], 1e-12)) - 1.0)


def wgan_gp(D, real, fake, key):
    """(|dD/dx| - 1)^2 at a uniform point between each real and its fake (Gulrajani et al. 2017, equation 3)."""
    epsilon = noise.uniform(key, [tf.shape(real)[0]] + [1] * (len(real.shape) - 1))
    return distance_from_one(D, epsilon * real + (1.0 - epsilon) * fake)


def dragan(D, real, fake, key):
    """(|dD/dx| - 1)^2 around the data (Kodali et al. 2017, arXiv:1705.07215, DRAGAN).

    At x + delta, delta Gaussian as in the paper, with a sixth of the standard deviation that all elements of the
    minibatch have. That is the root mean square of the noise in the authors' code, half of that deviation times two
    uniform numbers: one of each element, one of each row.
    """
    return distance_from_one(D, real + tf.math.reduce_std(real) / 6.0 * noise.normal(key, tf.shape(real)))


def r1(D, real, fake, key):
    """|dD/dx|^2 / 2 on the data (Mescheder et al. 2018, arXiv:1801.04406, equation 9)."""
    return 0.5 * slope(D, real)[1]


def r2(D, real, fake, key):
    """|dD/dx|^2 / 2 on the samples (Mescheder et al. 2018, equation 10)."""
    return 0.5 * slope(D, fake)[1]


def roth(D, real, fake, key):
    """((1 - s(D))^2 |dD/dx|^2 on the data + s(D)^2 |dD/dx|^2 on the samples) / 2, s the sigmoid and D a logit.

    What noise added to data and samples does to the Jensen-Shannon game where D is optimal, to first order in its
    variance, which is the weight (Roth et al. 2017, arXiv:1705.09367); elsewhere there are terms of D's curvature, too.
    """
    (logit, of_real), (fake_logit, of_fake) = slope(D, real), slope(D, fake)
    return 0.5 * (tf.square(tf.sigmoid(-logit)) * of_real + tf.square(tf.sigmoid(fake_logit)) * of_fake)


PENALTIES = {"wgan_gp": wgan_gp, "dragan": dragan, "r1": r1, "r2": r2, "roth": roth}


def penalty_of(game, D, real, fake, key):
    """The penalty that the arguments of a game ask for, times its weight: float32 [batch], or 0.0 for none.

    The weight is `penalty_weight`, times `penalty_decay` for every 1,000 steps; without a key there is no penalty.
    """
    if game.penalty == "none" or key is None:
        return 0.0
    weight = game.penalty_weight * game.penalty_decay ** (tf.cast(game.step.value, tf.float32) / 1000.0)
    return weight * PENALTIES[game.penalty](D, real, fake, key)


Penalty = Literal["none", *PENALTIES]
WeightConstraint = Literal["none", "clipping", "spectral_norm"]


class Clip(keras.constraints.Constraint):
    """Keeps weights in [-value, value], after each step of their optimizer (Arjovsky et al. 2017, algorithm 1)."""

    def __init__(self, value):
        self.value = value

    def __call__(self, weights):
        return tf.clip_by_value(tf.convert_to_tensor(weights), -self.value, self.value)


def check_loss(game):
    """Raises ValueError for what does not go with a game's loss, and warns of a critic that nothing keeps in bounds."""
    if game.penalty == "roth" and not game.loss_pair.probability:
        raise ValueError(
            f"the penalty roth takes D's output for a logit, which the loss {game.loss} does not: choose another "
            "penalty, or the loss non_saturating, minimax or maximum_likelihood."
        )
    if game.weight_constraint == "clipping" and not game.clip_value:
        raise ValueError("clip_value must be positive for the weight_constraint clipping: all weights of D would be 0.")
    if game.loss == "wasserstein" and game.penalty == game.weight_constraint == "none":
        warnings.warn(
            "nothing keeps the critic of the loss wasserstein in bounds, so that it grows for ever: give it a penalty, "
            "such as wgan_gp, or a weight_constraint.",
            stacklevel=4,  # whoever calls the constructor
        )


def check(game):
    """Raises ValueError for a penalty beside batch normalisation in D."""
    if game.penalty != "none" and game.discriminator_batch_norm:
        raise ValueError(
            f"the penalty {game.penalty} is on D's slope for one example alone: set discriminator_batch_norm to false."
        )
