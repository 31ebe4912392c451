"""Pairs of losses for an adversary D and a generator G, as functions of D's logits (real = 1).

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

    discriminator(real, fake): loss per example, from logits [batch] on data and on samples.
    generator(fake): loss per example, from logits [batch] on samples.
    """

    discriminator: Callable
    generator: Callable


def cross_entropy(real, fake):
    """J_D = -log D(x) - log(1 - D(G(z))), whose mean is -V(D, G)."""
    return softplus(-real) + softplus(fake)


# The three games of Goodfellow 2016 (arXiv:1701.00160, section 3.2, there with factors of 1/2) share D's loss and
# differ in G's.
LOSSES = {
    # J_G = -J_D, less the term that G can not change: log(1 - D(G(z))).
    "minimax": LossPair(cross_entropy, lambda fake: -softplus(fake)),
    # J_G = -log D(G(z)): the same fixed point, but gradients that do not vanish where D wins.
    "non_saturating": LossPair(cross_entropy, lambda fake: softplus(-fake)),
    # J_G = -exp(logit D(G(z))): minimises KL(p_data || p_g) where D is optimal.
    "maximum_likelihood": LossPair(cross_entropy, lambda fake: -tf.exp(fake)),
}


def jensen_shannon_estimate(real, fake):
    """(log 4 + V(D, G)) / 2 in nats per example: the Jensen-Shannon divergence of data and samples where D is optimal.

    For any other D its mean is a lower bound of it (Goodfellow et al. 2014, theorem 1).
    """
    return 0.5 * (math.log(4.0) - cross_entropy(real, fake))
