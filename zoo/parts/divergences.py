"""The f-divergences of Nowozin et al. 2016 (f-GAN, arXiv:1606.00709, tables 1, 2 and 6), by name in `DIVERGENCES`.

    D_f(P || Q) = E_Q[f(p / q)]  >=  E_P[T(x)] - E_Q[f*(T(x))],   f*(t) = sup_u (u t - f(u)),   equal for T = f'(p / q)

An adversary's output v is any real number; T(v) = g_f(v), rising in v, maps it into the domain of f*.

The authors' table writes some integrals for D_f(Q || P), and that of Jensen-Shannon with a factor of 1/2. Here a name
always means the divergence of the f that is given: "pearson" is E_Q[(p/q - 1)^2], "jensen_shannon" is
KL(P || M) + KL(Q || M) with M = (P + Q) / 2, and so is "gan", log 4 being added for f(1) = 0; the two differ in T.
The supremum is over u > 0, but for "pearson" over all u, as in their table 6. Below T = -2 this f* is larger than that
over u > 0, which is -1; the bound is one all the same, and as tight.

The same f makes a Bregman divergence of the ratio p / q from an estimate r of it (`RATIO_LOSSES`):

    E_Q[f(p / q) - f(r) - f'(r) (p / q - r)]  =  D_f(P || Q)  -  E_P[f'(r)]  +  E_Q[r f'(r) - f(r)]

Only the last two terms depend on r: they are the bound above at T = f'(r), with its sign changed.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

exp, expm1, log, log1p, softplus = tf.math.exp, tf.math.expm1, tf.math.log, tf.math.log1p, tf.math.softplus
sqrt, square = tf.math.sqrt, tf.math.square


class Divergence(NamedTuple):
    """One row of the tables. All functions are elementwise, on floats of any shape.

    f: of u = p / q > 0; convex, f(1) = 0.
    T: the output activation, of v.
    conjugate: f*(T(v)), of v: the composition, in a form that neither overflows nor loses digits before it must, in
        its gradient neither.
    threshold: f'(1), the value of T where p = q.
    """

    f: Callable
    T: Callable
    conjugate: Callable
    threshold: float = 0.0


def log_lambert_w_of_exp(y):
    """log W(e^y), W(e^y) > 0 being the solution w of w + log w = y, for floats of any shape.

    Newton's steps in log w, which converge from everywhere because the equation is convex there (Corless et al. 1996,
    On the Lambert W function, section 5). Only the last one is differentiated; there, it has the exact derivative.
    """
    log_w = tf.stop_gradient(tf.where(y > 1.0, log(tf.maximum(y, 1.0)), y))
    for _ in range(5):
        w = exp(log_w)
        log_w = tf.stop_gradient(log_w - (w + log_w - y) / (w + 1.0))
    w = exp(log_w)
    return log_w - (w + log_w - y) / (w + 1.0)


def jeffrey_conjugate(v):  # w + 1 / w + v - 2
    log_w = log_lambert_w_of_exp(1.0 - v)
    return exp(log_w) + exp(-log_w) + v - 2.0


def log_softplus(v):
    """log log(1 + e^v): v itself in the end, where the softplus and its slope vanish."""
    return tf.where(v < -40.0, v, log(softplus(tf.maximum(v, -40.0))))


def weighted_jensen_shannon(pi):
    """pi KL(P || M) + (1 - pi) KL(Q || M), M = pi P + (1 - pi) Q, for 0 < pi < 1."""
    return Divergence(
        lambda u: pi * u * log(u) - (1.0 - pi + pi * u) * log(1.0 - pi + pi * u),
        lambda v: -pi * math.log(pi) - pi * softplus(-v),
        lambda v: (1.0 - pi) * (math.log(1.0 - pi) + softplus(v)),
    )


def alpha(a):
    """E_Q[(u^a - 1 - a (u - 1)) / (a (a - 1))], u = p / q, for a other than 0 and 1."""

    def f(u):
        return (u**a - 1.0 - a * (u - 1.0)) / (a * (a - 1.0))

    def conjugate_of(log_slope):  # slope = (a - 1) T + 1, whose power a / (a - 1) is u^a
        return expm1(a / (a - 1.0) * log_slope) / a

    def log_slope(v):  # of T = v, for a > 1; below the least slope of f, that at u = 0, f* is constant
        within = v > -1.0 / (a - 1.0)
        return tf.where(within, log1p((a - 1.0) * tf.where(within, v, 0.0)), -math.inf)

    if a > 1.0:
        return Divergence(f, lambda v: v, lambda v: conjugate_of(log_slope(v)))
    return Divergence(
        f, lambda v: 1.0 / (1.0 - a) - softplus(-v), lambda v: conjugate_of(math.log(1.0 - a) + log_softplus(-v))
    )


DIVERGENCES = {
    "total_variation": Divergence(lambda u: 0.5 * abs(u - 1.0), lambda v: 0.5 * tf.tanh(v), lambda v: 0.5 * tf.tanh(v)),
    "kl": Divergence(lambda u: u * log(u), lambda v: v, lambda v: exp(v - 1.0), 1.0),
    "reverse_kl": Divergence(lambda u: -log(u), lambda v: -exp(-v), lambda v: v - 1.0, -1.0),
    "pearson": Divergence(lambda u: square(u - 1.0), lambda v: v, lambda v: 0.25 * square(v) + v),
    "neyman": Divergence(lambda u: square(1.0 - u) / u, lambda v: -expm1(-v), lambda v: -2.0 * expm1(-0.5 * v)),
    "squared_hellinger": Divergence(lambda u: square(sqrt(u) - 1.0), lambda v: -expm1(-v), expm1),
    "jeffrey": Divergence(lambda u: (u - 1.0) * log(u), lambda v: v, jeffrey_conjugate),
    "jensen_shannon": Divergence(
        lambda u: u * log(u) - (u + 1.0) * log(0.5 * (u + 1.0)),
        lambda v: math.log(2.0) - softplus(-v), lambda v: softplus(v) - math.log(2.0),
    ),
    "gan": Divergence(
        lambda u: u * log(u) - (u + 1.0) * log(u + 1.0) + math.log(4.0),
        lambda v: -softplus(-v), lambda v: softplus(v) - math.log(4.0), -math.log(2.0),
    ),
}  # fmt: skip


class RatioLoss(NamedTuple):
    """What a Bregman divergence asks of an estimate r of p / q, as functions of an output v, any real number.

    log_ratio: log r.
    f: f(r), of the f that makes it; its constants are such that f'(1) = 0, but for "logistic".
    slope: f'(r), a term for rows of P.
    conjugate: r f'(r) - f(r), a term for rows of Q.
    """

    log_ratio: Callable
    f: Callable
    slope: Callable
    conjugate: Callable


RATIO_LOSSES = {  # Sugiyama, Suzuki and Kanamori 2012, Density ratio matching under the Bregman divergence, table 1
    # f(u) = u log u - (1 + u) log(1 + u), r = e^v: the loss of a classifier whose logit is v.
    "logistic": RatioLoss(
        lambda v: v, lambda v: -exp(v) * softplus(-v) - softplus(v), lambda v: -softplus(-v), softplus
    ),
    # f(u) = (u - 1)^2, r = softplus(v), as in the next: least-squares importance fitting, twice E_Q[r^2] / 2 - E_P[r]
    # (Kanamori, Hido and Sugiyama 2009).
    "pearson": RatioLoss(
        log_softplus, lambda v: square(softplus(v) - 1.0), lambda v: 2.0 * softplus(v) - 2.0,
        lambda v: square(softplus(v)) - 1.0,
    ),
    # f(u) = u log u - u + 1: E_Q[r] - E_P[log r], Kullback-Leibler importance estimation, which here does not constrain
    # E_Q[r] to 1.
    "kl": RatioLoss(
        log_softplus, lambda v: softplus(v) * (log_softplus(v) - 1.0) + 1.0, log_softplus,
        lambda v: softplus(v) - 1.0,
    ),
}  # fmt: skip
