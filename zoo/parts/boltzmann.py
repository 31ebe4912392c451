"""Boltzmann machines of units in layers: energies, their statistics, and mean field.

    p(x) = exp(-E(x)) / Z,   E(x) = - sum_{l=1..L} x_{l-1}' W_l x_l - sum_{l=0..L} b_l' x_l   [ + sum v^2 / (2 s^2) ]

x_0 = v is the visible layer and x_1 ... x_L are hidden; one hidden layer is a restricted Boltzmann machine (RBM), more
are a deep one (DBM). Given the layers of odd index, those of even index are independent, and vice versa. Units are
binary, but v may be real numbers: the term in brackets is theirs.

States are lists of L + 1 float tensors [batch, n_l]: of zeros and ones or of means in [0, 1], and v perhaps of reals.
"""

import math
from typing import NamedTuple

import tensorflow as tf


class Machine(NamedTuple):
    """The parameters of a machine; also its sufficient statistics, which have the same shapes.

    weights: list of W_l [n_{l-1}, n_l], l = 1 ... L, so that W_l is `weights[l - 1]`.
    biases: list of b_l [n_l] (or [batch, n_l], where something else acts on the layer), l = 0 ... L.
    precisions: of real visible units a tuple of one, 1 / s^2 [n_0], whose statistic is -v^2 / 2; of binary ones empty.
    """

    weights: list
    biases: list
    precisions: tuple = ()


def gaussian(machine, log_variance):
    """The machine of real visible units in which v ~ N(b_0 + W_1 h, s^2) given h, h being layer 1: Gaussian-Bernoulli.

        E = sum (v - b_0)^2 / (2 s^2) - (v / s^2)' W_1 h - b_1' h - ...,   up to a constant

    Cho, Ilin and Raiko 2011, Improved learning of Gaussian-Bernoulli restricted Boltzmann machines, equation 2.

    Args:
        machine: `Machine` of the W_l and b_l of this formula; more biases may follow.
        log_variance: log s^2 [n_0].
    """
    precision = tf.exp(-log_variance)
    (W, *weights), (b, *biases), _ = machine
    return Machine([precision[:, None] * W, *weights], [precision * b, *biases], (precision,))


def is_real(machine, layer):
    return layer == 0 and bool(machine.precisions)


def mean(machine, logits, layer):
    """The means of the units of a layer by its input [..., n_l], log-odds of binary ones; of real ones s^2 times it."""
    return logits / machine.precisions[0] if is_real(machine, layer) else tf.sigmoid(logits)


def log_normalizer(machine, logits, layer):
    """log sum exp(x logits) over x = 0 and 1 or, of real units, that of the integral of exp(v logits - v^2 / 2s^2)."""
    if not is_real(machine, layer):
        return tf.math.softplus(logits)
    (precision,) = machine.precisions
    return 0.5 * (tf.square(logits) / precision + math.log(2.0 * math.pi) - tf.math.log(precision))


def layer_input(machine, states, layer):
    """b_l + W_l' x_{l-1} + W_{l+1} x_{l+1} [batch, n_l]: the logits of layer l given its neighbours."""
    logits = machine.biases[layer]
    if layer > 0:
        logits += states[layer - 1] @ machine.weights[layer - 1]
    if layer < len(machine.weights):
        logits += tf.matmul(states[layer + 1], machine.weights[layer], transpose_b=True)
    return logits


def energy(machine, states):
    """E(x) [batch]. Of means of binary units it is the expected energy, because none of them acts on itself."""
    below = [0.0, *(x @ W for x, W in zip(states[:-1], machine.weights, strict=True))]
    terms = [x * (b + y) for x, b, y in zip(states, machine.biases, below, strict=True)]
    terms += [-0.5 * precision * tf.square(states[0]) for precision in machine.precisions]
    return -tf.add_n([tf.reduce_sum(term, axis=-1) for term in terms])


def log_marginal(rbm, x):
    """log p*(x) = log sum over h of exp(-E(x, h)) [..., batch] of an RBM, h its layer 1: minus the free energy of x."""
    above = log_normalizer(rbm, layer_input(rbm, [x, None], 1), 1)
    return tf.reduce_sum(above, axis=-1) - energy(rbm._replace(weights=[], biases=rbm.biases[:1]), [x])


def statistics(states, real=False):
    """Sufficient statistics of a batch, as a `Machine`: means of x_{l-1} x_l', of x_l and, if v is `real`, -v^2 / 2."""
    num = tf.cast(tf.shape(states[0])[0], states[0].dtype)
    pairs = [tf.matmul(x, y, transpose_a=True) / num for x, y in zip(states[:-1], states[1:], strict=True)]
    squares = (-0.5 * tf.reduce_mean(tf.square(states[0]), axis=0),) if real else ()
    return Machine(pairs, [tf.reduce_mean(x, axis=0) for x in states], squares)


def inner(machine, statistics):
    """The sum of all parameters times their statistics: minus the mean energy of the batch, a scalar.

    Of machines, or of lists of them.
    """
    pairs = zip(tf.nest.flatten(machine), tf.nest.flatten(statistics), strict=True)
    return tf.add_n([tf.reduce_sum(parameter * statistic) for parameter, statistic in pairs])


def difference(data, model, targets=(), cost=0.0):
    """Statistics of the data minus those of the model; where there are targets, minus the slope of a sparsity penalty.

    It is cost times (mean - target), by the mean input from below: of a single row, the gradient of a cross-entropy
    between target and mean (Hinton 2010, A practical guide to training restricted Boltzmann machines, section 11).
    Targets, in [0, 1], are the means that units of the hidden layers are to have, from below.
    """
    delta = tf.nest.map_structure(tf.subtract, data, model)
    for i, target in enumerate(targets):
        excess = cost * (data.biases[i + 1] - target)
        delta.weights[i] -= data.biases[i][:, None] * excess
        delta.biases[i + 1] -= excess
    return delta


def center(delta, means):
    """The step of this machine that is a step along `delta` of the same machine with units x_l - means_l.

    It is the same whether ones or zeros are called ones, and weights need not do the work of biases. It vanishes where
    `delta` does. All units are binary. (Montavon and Mueller 2012; Melchior, Fischer and Wiskott 2016, algorithm 1.)
    """
    weights = [
        W - means[i][:, None] * delta.biases[i + 1] - delta.biases[i][:, None] * means[i + 1]
        for i, W in enumerate(delta.weights)
    ]
    biases = list(delta.biases)
    for i, W in enumerate(weights):
        biases[i] -= tf.linalg.matvec(W, means[i + 1])
        biases[i + 1] -= tf.linalg.matvec(W, means[i], transpose_a=True)
    return Machine(weights, biases)


# --- Mean field -------------------------------------------------------------------------------------------------------


def recognize(machine, v):
    """One pass upwards, [mu_1 ... mu_L], exact for an RBM (Salakhutdinov and Hinton 2009, section 3).

    A layer that has one above it takes twice its input from below, for want of that from above.
    """
    mu = [v]
    for i, W in enumerate(machine.weights, start=1):
        up = 2.0 if i < len(machine.weights) else 1.0
        mu.append(tf.sigmoid(up * (mu[-1] @ W) + machine.biases[i]))
    return mu[1:]


def mean_field(machine, v, tolerance, max_steps):
    """The factorial posterior q(h|v) = prod Bernoulli(mu) that minimises KL(q || p(h|v)), as [mu_1 ... mu_L].

    Sweeps over the odd and then the even layers: each is a coordinate ascent of `bound`, which never falls. It starts
    from `recognize`. (Salakhutdinov and Hinton 2009, equation 8; Goodfellow et al. 2016, equations 20.33 and 20.34.)

    A row of v [batch, n_0] is done when no mean in it moves by more than `tolerance` in a sweep, or after `max_steps`.
    It then stays as it is, so that no row depends on the others.
    """
    mu = recognize(machine, v)
    if len(mu) == 1:
        return mu
    # Given v, the hidden layers are a machine of their own.
    hidden = Machine(machine.weights[1:], [machine.biases[1] + v @ machine.weights[0], *machine.biases[2:]])

    def sweep(moving, mu):
        new = list(mu)
        for i in [*range(0, len(mu), 2), *range(1, len(mu), 2)]:
            new[i] = tf.sigmoid(layer_input(hidden, new, i))
        new = [tf.where(moving[:, None], a, b) for a, b in zip(new, mu, strict=True)]
        changes = [tf.reduce_max(tf.abs(a - b), axis=-1) for a, b in zip(new, mu, strict=True)]
        return tf.reduce_max(tf.stack(changes), axis=0) > tolerance, new

    start = (tf.fill(tf.shape(v)[:1], True), mu)
    return tf.while_loop(lambda moving, mu: tf.reduce_any(moving), sweep, start, maximum_iterations=max_steps)[1]


def entropy(mu):
    """H(q) [batch] in nats of independent units with the means of the list mu."""
    terms = [-tf.math.xlogy(m, m) - tf.math.xlog1py(1.0 - m, -m) for m in mu]
    return tf.add_n([tf.reduce_sum(term, axis=-1) for term in terms])


def bound(machine, v, mu):
    """-E(v, mu) + H(mu) <= log p(v) + log Z, [batch] in nats; equal for an RBM and its exact mu."""
    return entropy(mu) - energy(machine, [v, *mu])


def objectives(machine, states, data, copies=(1, 1)):
    """`reconstruction`, -log p [batch] of the lowest layer given the next, and `unnormalized_bound`, in nats.

    The former is a cross-entropy where there are greys. The mean of the latter is that of `bound`. `states` are the
    lowest layer and the means of the others given it, `data` their `statistics`, `copies` is that of
    `gibbs.contrastive_divergence`.
    """
    logits = layer_input(machine, states, 0) / copies[0]
    if is_real(machine, 0):
        one = machine._replace(precisions=(machine.precisions[0] / copies[0],))
        loss = log_normalizer(one, logits, 0) - states[0] * logits + 0.5 * one.precisions[0] * tf.square(states[0])
    else:
        loss = tf.nn.sigmoid_cross_entropy_with_logits(states[0], logits)
    bounds = inner(machine, data) + copies[1] * entropy(states[1:])
    return {"reconstruction": tf.reduce_sum(loss, axis=-1), "unnormalized_bound": bounds}
