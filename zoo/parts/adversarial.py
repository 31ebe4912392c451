"""Pairs of losses for an adversary D and its generators, as functions of D's output (larger for what looks real).

In the classic games that is a logit (real = 1), D = sigmoid(logit), and the value (Goodfellow et al. 2014, equation 1)

    V(D, G) = E_data[log D(x)] + E_z[log(1 - D(G(z)))]
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from zoo.parts import divergences

softplus = tf.math.softplus


@dataclasses.dataclass(frozen=True)
class LossPair:
    """What each side of a game minimises; a pair is one object, so that the sides can not disagree.

    discriminator(real, fake): loss per example, from D's outputs [batch] on what is real and on what is fake.
    generator(fake): loss per example of what makes the fakes, from D's outputs [batch] on them.
    encoder(real): the same for what has a part in the reals, as ALI's encoder has.
    divergence(real, fake): what D sees of the difference, per example. Where D judges each row by itself, its mean is
        a lower bound of a divergence (of "wasserstein", where D's slope is at most 1), and equal to it where D is
        optimal; of packs, where it judges packs. A D with minibatch deviation, and in training one with batch
        normalisation, judges whole minibatches, which differ more than their rows do: no bound.
    score(output): positive where D takes it for real, or None where an output has no such sign.
    probability(output): of being real, or None where D does not say.
    """

    discriminator: Callable
    generator: Callable
    encoder: Callable
    divergence: Callable
    score: Callable | None = tf.identity
    probability: Callable | None = None


def cross_entropy(real, fake):
    """J_D = -log D(x) - log(1 - D(G(z))), whose mean is -V(D, G)."""
    return softplus(-real) + softplus(fake)


def jensen_shannon_estimate(real, fake):
    """(log 4 + V(D, G)) / 2 in nats per example: its mean is at most the Jensen-Shannon divergence of data and samples.

    It is equal to it where D is optimal (Goodfellow et al. 2014, theorem 1).
    """
    return 0.5 * (math.log(4.0) - cross_entropy(real, fake))


def least_squares(real, fake):
    return 0.5 * (tf.square(real - 1.0) + tf.square(fake + 1.0))


def hinge(real, fake):
    return tf.nn.relu(1.0 - real) + tf.nn.relu(1.0 + fake)


def f_gan(divergence, non_saturating=False):
    """The pair of a `divergences.Divergence`: D raises E_data[T] - E_fake[f*(T)], and G lowers it.

    Nowozin et al. 2016, equation 6; their algorithm 1 moves both at once, the games here as their `train_step` says.
    Non-saturating: G raises E_fake[T] instead (section 3.2), and an encoder lowers E_real[f*(T)].
    """
    T, conjugate = divergence.T, divergence.conjugate
    return LossPair(
        discriminator=lambda real, fake: conjugate(fake) - T(real),
        generator=lambda fake: -T(fake) if non_saturating else -conjugate(fake),
        encoder=conjugate if non_saturating else T,
        divergence=lambda real, fake: T(real) - conjugate(fake),
        score=lambda output: T(output) - divergence.threshold,
    )


def b_gan(loss):
    """The pair of a `divergences.RatioLoss`: D's output gives r, an estimate of p / q; G lowers E_fake[f(r)], r fixed.

    Uehara et al. 2016 (b-GAN, arXiv:1610.02920). D plays an f-GAN's game, and what it sees is D_f, its bound at f'(r).
    G's loss is D_f(p || q), too, as a number, but not in its gradient, which leaves out that r moves with q: with D
    optimal, G descends 2 KL(p || q) - D_f of "pearson", and KL(p || q) - E_p[log(p / q)^2] / 2 of "kl". Both are
    stationary where p = q, but flat to second order there, and concave where p > q: no divergences. An encoder, which
    the paper does not have, lowers D_f's own E_real[f'(r)].
    """
    return LossPair(
        discriminator=lambda real, fake: loss.conjugate(fake) - loss.slope(real),
        generator=loss.f,
        encoder=loss.slope,
        divergence=lambda real, fake: loss.slope(real) - loss.conjugate(fake),
        score=loss.log_ratio,
    )


# The three games of Goodfellow 2016 (arXiv:1701.00160, section 3.2, there with factors of 1/2) share D's loss and
# differ in G's. An encoder's loss is the other half of the same objective.
game = functools.partial(LossPair, cross_entropy, divergence=jensen_shannon_estimate, probability=tf.sigmoid)
LOSSES = {
    # J_G = -J_D, of which each side keeps the term that it can change: log(1 - D) of fakes, log D of reals.
    "minimax": game(lambda fake: -softplus(fake), lambda real: -softplus(-real)),
    # J_G = -log D of fakes, -log(1 - D) of reals: the labels swapped. The same fixed point, but gradients that do not
    # vanish where D wins (Dumoulin et al. 2016, arXiv:1606.00704, section 2.3).
    "non_saturating": game(lambda fake: softplus(-fake), lambda real: softplus(real)),
    # J_G = -exp(logit D) of fakes, logit D of reals: with D optimal, both descend KL(real || fake). They are the two
    # terms of its variational form (Nowozin et al. 2016, arXiv:1606.00709, table 1).
    "maximum_likelihood": game(lambda fake: -tf.exp(fake), lambda real: real),
    # D's targets are 1 and -1, G's is 0 (Mao et al. 2017, arXiv:1611.04076, equations 2 and 8). With D optimal, it sees
    # Pearson's E_m[(fake / m - 1)^2], m the mean of real and fake densities. With a loss of the reals beside it G's has
    # that value, too, as the authors say, but not its gradient: with D fixed, that loss does not move with G, which
    # descends 2 KL(real || m) less what D sees. That is stationary where both agree, but no f-divergence: concave where
    # real > fake, and less than 0 at some.
    "least_squares": LossPair(
        least_squares, lambda fake: 0.5 * tf.square(fake), lambda real: 0.5 * tf.square(real),
        lambda real, fake: 1.0 - least_squares(real, fake),
    ),
    # Lim and Ye 2017 (arXiv:1705.02894), equations 8 and 9. With D optimal, the sign of real - fake, it sees the total
    # variation, half of sum |real - fake|, and G descends twice that.
    "hinge": LossPair(hinge, lambda fake: -fake, lambda real: real, lambda real, fake: 1.0 - 0.5 * hinge(real, fake)),
    # Arjovsky et al. 2017 (arXiv:1701.07875), equation 2: a distance only if something keeps D's slope in bounds. Any
    # constant may be added to D, so that no sign of an output means real.
    "wasserstein": LossPair(
        lambda real, fake: fake - real, lambda fake: -fake, lambda real: real, lambda real, fake: real - fake, None
    ),
}  # fmt: skip
FAMILIES = {"alpha": divergences.alpha, "weighted_jensen_shannon": divergences.weighted_jensen_shannon}
NON_SATURATING = "_non_saturating"
for row, divergence in divergences.DIVERGENCES.items():
    LOSSES |= {row: f_gan(divergence), row + NON_SATURATING: f_gan(divergence, non_saturating=True)}
LOSSES |= {f"b_gan_{row}": b_gan(divergences.RATIO_LOSSES[row]) for row in ("pearson", "kl")}
Loss = Literal[*LOSSES, *FAMILIES, *(family + NON_SATURATING for family in FAMILIES)]


def loss_pair(name, parameter):
    """The `LossPair` of a name of `Loss`; ValueError for a parameter that its divergence can not have.

    `parameter` is a float, alpha of "alpha" or pi of "weighted_jensen_shannon"; others have none.
    """
    family = name.removesuffix(NON_SATURATING)
    if family not in FAMILIES:
        return LOSSES[name]
    if parameter in (0.0, 1.0) or (family != "alpha" and not 0.0 < parameter < 1.0):
        allowed = "neither 0 nor 1" if family == "alpha" else "between 0 and 1"
        raise ValueError(f"loss_parameter must be {allowed} for the loss {name}, got {parameter}.")
    return f_gan(FAMILIES[family](parameter), non_saturating=name != family)


def pack(x, size):
    """Joins each `size` neighbours on the last axis: [m, ..., c] to [m // size, ..., size * c]; leaves out the rest.

    What D is given instead of single samples, so that it sees a lack of variety (Lin et al. 2018, PacGAN,
    arXiv:1712.04086, section 2). Fewer rows than `size` make one pack, of some of them twice: a mean over none is NaN.
    """
    if size == 1:
        return x
    m = tf.shape(x)[0]
    num, often = tf.maximum(m // size, 1), tf.maximum(-(-size // m), 1)
    rows = tf.tile(x, [often] + [1] * (len(x.shape) - 1))[: num * size]
    members = tf.unstack(tf.reshape(rows, [num, size, *x.shape[1:]]), axis=1)
    return tf.concat(members, axis=-1)


def state_of_game(pair, real, fake):
    """What is logged of a game, per example: the divergence that D sees, and where it judges whether it is right."""
    state = {"divergence": pair.divergence(real, fake)}
    if pair.score:
        state |= {"accuracy_on_real": pair.score(real) > 0.0, "accuracy_on_fake": pair.score(fake) < 0.0}
    return state


def verdict(pair, output):
    """What `discriminate` answers of D's output, each [batch].

    Where D is a classifier, `logits` and the `probability` of real; else a `score`, the larger the more real.
    """
    if pair.probability:
        return {"logits": output, "probability": pair.probability(output)}
    return {"score": output}
