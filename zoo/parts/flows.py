"""Normalizing flows: invertible maps of vectors, of which log |det| of the Jacobian is known.

A draw z = f(z_0) of known density q_0(z_0) has the density (Rezende and Mohamed 2015, arXiv:1505.05770, equation 5)

    log q(z) = log q_0(z_0) - log |det df/dz_0|

A `Bijection` is such a map with its parameters; `FLOWS` makes several of them, one after the other, whose parameters
are functions of the data: numbers [batch, num_parameters] that an encoder gives, and networks of these.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from zoo.parts import masks, networks, noise

TINY = 1e-20  # beside a squared distance, whose root has no slope at 0
GATE = 2.0  # where the gates of autoregressive flows begin: sigmoid(2) = 0.88 of z is kept at first


class Bijection(NamedTuple):
    """An invertible map of z [..., size].

    forward(z): f(z) [..., size], and log |det df/dz| [...].
    inverse(z): the same of the inverse function; None where it has no closed form.
    """

    forward: Callable
    inverse: Callable | None = None


def compose(steps):
    """The bijection of a list of them, the first of which comes first."""

    def through(functions, z):
        log_det = tf.zeros_like(z[..., 0])
        for function in functions:
            z, of_step = function(z)
            log_det += of_step
        return z, log_det

    functions = [step.forward for step in steps], [step.inverse for step in reversed(steps)]
    forward, inverse = (functools.partial(through, each) for each in functions)
    return Bijection(forward, None if None in functions[1] else inverse)


def dot(a, b):
    return tf.reduce_sum(a * b, axis=-1, keepdims=True)


# --- Steps -----------------------------------------------------------------------------------------------------------


def planar(w, u, b):
    """f(z) = z + u_hat tanh(w'z + b), for w and u [..., size] and b [..., 1], any real numbers.

    u_hat = u + (softplus(w'u + log(e - 1)) - 1 - w'u) w / ||w||^2 has w'u_hat > -1, without which f has no inverse, and
    u_hat = 0 where u = 0. (Rezende and Mohamed 2015, equations 10 to 12 and appendix A.1, where log(e - 1) is missing:
    there u_hat grows as 1 / ||w|| for small w and any u, and with b so does the step that f makes.)
    """
    wu, squared = dot(w, u), dot(w, w)
    slope = tf.nn.softplus(wu + math.log(math.e - 1.0))  # 1 + w'u_hat, 1 at w'u = 0
    u_hat = u + tf.math.divide_no_nan(slope - 1.0 - wu, squared) * w

    def forward(z):
        t = tf.tanh(dot(w, z) + b)
        det = tf.square(t) + (1.0 - tf.square(t)) * slope  # 1 + (1 - t^2) w'u_hat, from what is positive
        return z + u_hat * t, tf.math.log(det)[..., 0]

    return Bijection(forward)


def radial(centre, alpha, beta):
    """f(z) = z + beta_hat (z - centre) / (alpha_hat + r), r = ||z - centre||, for a centre [..., size].

    alpha and beta are any real numbers [..., 1]; alpha_hat = softplus(alpha) > 0 and beta_hat = -alpha_hat +
    softplus(beta), so that f has an inverse (Rezende and Mohamed 2015, equation 14 and appendix A.2).
    """
    alpha, slope = tf.nn.softplus(alpha), tf.nn.softplus(beta)  # slope: alpha_hat + beta_hat

    def forward(z):
        r = tf.sqrt(dot(z - centre, z - centre) + TINY)
        across = (r + slope) / (alpha + r)  # 1 + beta h, h = 1 / (alpha + r)
        along = (tf.square(r) + alpha * (2.0 * r + slope)) / tf.square(alpha + r)  # 1 + beta (h + h' r)
        log_det = (z.shape[-1] - 1) * tf.math.log(across) + tf.math.log(along)
        return z + (slope - alpha) / (alpha + r) * (z - centre), log_det[..., 0]

    return Bijection(forward)


def householder(v):
    """f(z) = z - 2 v v'z / ||v||^2, the reflection that turns v [..., size] round.

    Tomczak and Welling 2016, arXiv:1611.09630.
    """

    def reflect(z):
        return z - 2.0 * tf.math.divide_no_nan(dot(v, z), dot(v, v)) * v, tf.zeros_like(z[..., 0])

    return Bijection(reflect, reflect)


def coupling(kept, affine):
    """f(z) = z where `kept`, elsewhere z exp(s) + t, in which s and t are functions of what is kept.

    NICE (Dinh et al. 2015, arXiv:1410.8516), where s = 0, and RealNVP (Dinh et al. 2017, arXiv:1605.08803).

    Args:
        kept: bool [size].
        affine: function of z [..., size], zero where it is not kept, that returns t and s [..., size].
    """

    def coupled(z, inverse):
        t, s = affine(tf.where(kept, z, tf.zeros_like(z)))
        moved, sign = ((z - t) * tf.exp(-s), -1.0) if inverse else (z * tf.exp(s) + t, 1.0)
        return tf.where(kept, z, moved), sign * tf.reduce_sum(tf.where(kept, tf.zeros_like(s), s), axis=-1)

    return Bijection(*(functools.partial(coupled, inverse=inverse) for inverse in (False, True)))


def scaling(log_scale):
    """f(z) = exp(s) z, s [size]: the last step of NICE, without which additive couplings keep the volume."""

    def scaled(z, sign):
        return z * tf.exp(sign * log_scale), tf.broadcast_to(sign * tf.reduce_sum(log_scale), tf.shape(z)[:-1])

    return Bijection(*(functools.partial(scaled, sign=sign) for sign in (1.0, -1.0)))


def logit():
    """f(z) = log z - log(1 - z), z in (0, 1)."""

    def forward(z):
        return tf.math.log(z) - tf.math.log(1.0 - z), -tf.reduce_sum(tf.math.log(z) + tf.math.log(1.0 - z), axis=-1)

    def inverse(z):
        return tf.sigmoid(z), tf.reduce_sum(tf.math.log_sigmoid(z) + tf.math.log_sigmoid(-z), axis=-1)

    return Bijection(forward, inverse)


def inverse_autoregressive(gates):
    """f(z) = sigma z + (1 - sigma) m, sigma = sigmoid(s) (Kingma et al. 2016, arXiv:1606.04934, algorithm 1).

    `gates` is a function of z [..., size] that returns m and s [..., size], z_i of which are functions of the z that
    come before in some order. The inverse finds one number after the other, by `size` calls of it.
    """

    def forward(z):
        m, s = gates(z)
        sigma = tf.sigmoid(s)
        return sigma * z + (1.0 - sigma) * m, tf.reduce_sum(tf.math.log_sigmoid(s), axis=-1)

    def inverse(z):
        found = z
        for _ in range(z.shape[-1]):  # each time one more is right
            m, s = gates(found)
            sigma = tf.sigmoid(s)
            found = (z - (1.0 - sigma) * m) / sigma
        return found, -tf.reduce_sum(tf.math.log_sigmoid(s), axis=-1)

    return Bijection(forward, inverse)


# --- Several steps, of which an encoder decides ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Amortized:
    """Several steps whose parameters depend on the data: those of amortised inference.

    num_parameters: int, numbers that an encoder gives for each row.
    networks: list of Keras models, to be trained with the encoder.
    bijection(parameters): the `Bijection` of z [..., batch, size] by these numbers [batch, num_parameters].
    """

    num_parameters: int
    networks: list
    bijection: Callable


def of_parameters(step, sizes, size, num_steps, hidden_units):
    """Steps each of which takes parameters of its own from the encoder; `sizes(size)` are their lengths."""

    def bijection(parameters):
        of_steps = tf.split(parameters, num_steps, axis=-1)
        return compose([step(*tf.split(of_step, sizes(size), axis=-1)) for of_step in of_steps])

    return Amortized(num_steps * sum(sizes(size)), [], bijection)


def householders(size, num_steps, hidden_units):
    """The encoder gives the first v; each other one is a linear map of that before."""
    maps = [networks.mlp((size,), (), (size,)) for _ in range(num_steps - 1)]

    def bijection(v):
        vectors = [v]
        for linear in maps:
            vectors.append(linear(vectors[-1]))
        return compose([householder(v) for v in vectors])

    return Amortized(size, maps, bijection)


def couplings(size, num_steps, hidden_units):
    """Additive couplings with halves drawn at random, the second of two steps with those of the first exchanged.

    t is a network of what is kept and of `size` numbers that the encoder gives.
    """
    shifts = [networks.mlp((2 * size,), hidden_units, (size,), activation="elu") for _ in range(num_steps)]
    keys = [noise.key(0, step // 2, noise.HALVES) for step in range(num_steps)]
    halves = [noise.permutation(key, size) < size // 2 for key in keys]
    kept = [half if step % 2 == 0 else ~half for step, half in enumerate(halves)]

    def bijection(context):
        def affine(shift, z):
            t = with_context(shift, z, context)
            return t, tf.zeros_like(t)

        return compose([coupling(k, functools.partial(affine, shift)) for k, shift in zip(kept, shifts, strict=True)])

    return Amortized(size, shifts, bijection)


def inverse_autoregressives(size, num_steps, hidden_units):
    """Of networks of z and of `size` numbers that the encoder gives; the order of z is reversed from step to step."""
    options = {"context_size": size, "activation": "elu"}
    orders = [np.arange(size)[:: 1 if i % 2 == 0 else -1] for i in range(num_steps)]
    degrees = [masks.spread(units, 0, size) for units in hidden_units]  # that of 0 sees the context alone
    autoregressors = [networks.autoregressive_mlp(order, degrees, 2, **options) for order in orders]

    def bijection(context):
        def gates(network, z):
            m, s = tf.unstack(with_context(network, z, context), axis=-2)
            return m, s + GATE

        return compose([inverse_autoregressive(functools.partial(gates, network)) for network in autoregressors])

    return Amortized(size, autoregressors, bijection)


def with_context(network, z, context):
    """A network of vectors applied to z [..., batch, size] beside a context [batch, length]."""
    context = tf.broadcast_to(context, tf.concat([tf.shape(z)[:-1], [context.shape[-1]]], axis=0))
    return networks.over_leading_axes(network, tf.concat([z, context], axis=-1))


FLOWS = {  # name: function of the length of z, the number of steps, and widths of hidden layers, where there are any
    "planar": functools.partial(of_parameters, planar, lambda size: (size, size, 1)),
    "radial": functools.partial(of_parameters, radial, lambda size: (size, 1, 1)),
    "householder": householders,
    "coupling": couplings,
    "iaf": inverse_autoregressives,
}
