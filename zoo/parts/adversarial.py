"""Pairs of losses for an adversary D and its generators, as functions of D's logits (real = 1).

Value of the game (Goodfellow et al. 2014, equation 1), D = sigmoid(logit):

    V(D, G) = E_data[log D(x)] + E_z[log(1 - D(G(z)))]
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

softplus = tf.math.softplus


@dataclasses.dataclass(frozen=True)
class LossPair:
    """What each side of a game minimises; a pair is one object, so that the sides can not disagree.

    discriminator(real, fake): loss per example, from logits [batch] on what is real and on what is fake.
    generator(fake): loss per example of what makes the fakes, from their logits [batch].
    encoder(real): the same for what has a part in the reals, as ALI's encoder has, from their logits [batch].
    """

    discriminator: Callable
    generator: Callable
    encoder: Callable


def cross_entropy(real, fake):
    """J_D = -log D(x) - log(1 - D(G(z))), whose mean is -V(D, G)."""
    return softplus(-real) + softplus(fake)


# The three games of Goodfellow 2016 (arXiv:1701.00160, section 3.2, there with factors of 1/2) share D's loss and
# differ in G's. An encoder's loss is the other half of the same objective.
LOSSES = {
    # J_G = -J_D, of which each side keeps the term that it can change: log(1 - D) of fakes, log D of reals.
    "minimax": LossPair(cross_entropy, lambda fake: -softplus(fake), lambda real: -softplus(-real)),
    # J_G = -log D of fakes, -log(1 - D) of reals: the labels swapped. The same fixed point, but gradients that do not
    # vanish where D wins (Dumoulin et al. 2016, arXiv:1606.00704, section 2.3).
    "non_saturating": LossPair(cross_entropy, lambda fake: softplus(-fake), lambda real: softplus(real)),
    # J_G = -exp(logit D) of fakes, logit D of reals: with D optimal, both descend KL(real || fake). They are the two
    # terms of its variational form (Nowozin et al. 2016, arXiv:1606.00709, table 1).
    "maximum_likelihood": LossPair(cross_entropy, lambda fake: -tf.exp(fake), lambda real: real),
}


def jensen_shannon_estimate(real, fake):
    """(log 4 + V(D, G)) / 2 in nats per example: the Jensen-Shannon divergence of data and samples where D is optimal.

    For any other D its mean is a lower bound of it (Goodfellow et al. 2014, theorem 1).
    """
    return 0.5 * (math.log(4.0) - cross_entropy(real, fake))


def state_of_game(real, fake):
    """What is logged of a game, per example: whether D is right on each side, and the divergence it sees."""
    return {
        "accuracy_on_real": real > 0.0,
        "accuracy_on_fake": fake < 0.0,
        "jensen_shannon": jensen_shannon_estimate(real, fake),
    }
