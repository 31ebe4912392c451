"""Boltzmann machines of binary units in layers: energies, mean field, block Gibbs, annealed importance sampling.

    p(x) = exp(-E(x)) / Z,   E(x) = - sum_{l=1..L} x_{l-1}' W_l x_l - sum_{l=0..L} b_l' x_l

x_0 = v is the visible layer and x_1 ... x_L are hidden; one hidden layer is a restricted Boltzmann machine (RBM), more
are a deep one (DBM). Given the layers of odd index, those of even index are independent, and vice versa.

States are lists of L + 1 float tensors [batch, n_l] of zeros and ones, or of means in [0, 1].
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from zoo.parts import noise


class Machine(NamedTuple):
    """The parameters of a machine; also its sufficient statistics, which have the same shapes.

    weights: list of W_l [n_{l-1}, n_l], l = 1 ... L, so that W_l is `weights[l - 1]`.
    biases: list of b_l [n_l] (or [batch, n_l], where something else acts on the layer), l = 0 ... L.
    """

    weights: list
    biases: list


def layer_input(machine, states, layer):
    """b_l + W_l' x_{l-1} + W_{l+1} x_{l+1} [batch, n_l]: the logits of layer l given its neighbours."""
    logits = machine.biases[layer]
    if layer > 0:
        logits += states[layer - 1] @ machine.weights[layer - 1]
    if layer < len(machine.weights):
        logits += tf.matmul(states[layer + 1], machine.weights[layer], transpose_b=True)
    return logits


def energy(machine, states):
    """E(x) [batch]. Of means it is the expected energy of independent units, because no unit acts on itself."""
    below = [0.0, *(x @ W for x, W in zip(states[:-1], machine.weights, strict=True))]
    terms = [x * (b + y) for x, b, y in zip(states, machine.biases, below, strict=True)]
    return -tf.add_n([tf.reduce_sum(term, axis=-1) for term in terms])


def statistics(states):
    """Sufficient statistics of a batch, as a `Machine`: the means of x_{l-1} x_l' and of x_l."""
    num = tf.cast(tf.shape(states[0])[0], states[0].dtype)
    pairs = [tf.matmul(x, y, transpose_a=True) / num for x, y in zip(states[:-1], states[1:], strict=True)]
    return Machine(pairs, [tf.reduce_mean(x, axis=0) for x in states])


def inner(machine, statistics):
    """The sum of all parameters times their statistics: minus the mean energy of the batch, a scalar."""
    pairs = zip([*machine.weights, *machine.biases], [*statistics.weights, *statistics.biases], strict=True)
    return tf.add_n([tf.reduce_sum(parameter * statistic) for parameter, statistic in pairs])


def center(delta, means):
    """The step of this machine that is a step along `delta` of the same machine with units x_l - means_l.

    The gradient then is the same whether ones or zeros are called ones, and weights need not do the work of biases. It
    vanishes where `delta` does. (Montavon and Mueller 2012; Melchior, Fischer and Wiskott 2016, algorithm 1.)

    Args:
        delta: `Machine`, differences of statistics.
        means: list of [n_l].
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


def log_marginal(machine, states, parity):
    """log sum exp(-E) [batch] over the layers of the other parity: parity 0 keeps the even layers, 1 the odd ones.

    For an RBM and parity 0 it is minus the free energy of v. Layers that are summed out are not read.
    """
    layers = range(len(machine.biases))
    kept = [states[i] * machine.biases[i] for i in layers if i % 2 == parity]
    summed = [tf.math.softplus(layer_input(machine, states, i)) for i in layers if i % 2 != parity]
    return tf.add_n([tf.reduce_sum(term, axis=-1) for term in kept + summed])


# --- Mean field -------------------------------------------------------------------------------------------------------


def recognize(machine, v):
    """One pass upwards, [mu_1 ... mu_L]: a layer that has one above it takes twice its input from below.

    Twice, because it stands for the input from above too, which is not known yet (Salakhutdinov and Hinton 2009,
    section 3). Exact for an RBM.
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

    Args:
        machine: `Machine`.
        v: float [batch, n_0] in [0, 1].
        tolerance: float, a row is done when no mean in it moves by more in a sweep. It then stays as it is, so that no
            row depends on the others.
        max_steps: int, sweeps at most.
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


# --- Sampling ---------------------------------------------------------------------------------------------------------


def sampler(uniform, machine):
    """The `draw(probs, layer)` of one sweep: ones where numbers [batch, sum of n_l], uniform on [0, 1), are below."""
    uniforms = tf.split(uniform, [b.shape[-1] for b in machine.biases], axis=-1)
    return lambda probs, layer: tf.cast(tf.cast(uniforms[layer], probs.dtype) < probs, probs.dtype)


def gibbs_sweep(machine, states, draw, tempered=lambda logits, layer: logits):
    """Draws all even layers given the odd ones, then all odd layers given the even ones.

    Both blocks leave p(x) as it is. What the even layers were makes no difference. (Goodfellow et al. 2016, algorithm
    20.1, Gibbs blocks 1 and 2.)

    Args:
        machine: `Machine`.
        states: list of float [batch, n_l].
        draw: function (probs [batch, n_l], layer) -> zeros and ones.
        tempered: function (logits, layer) -> logits, for another distribution of the same structure.
    """
    states = list(states)
    for i in [*range(0, len(states), 2), *range(1, len(states), 2)]:
        states[i] = draw(tf.sigmoid(tempered(layer_input(machine, states, i), i)), i)
    return states


def odd_means(machine, states):
    """States with means in the place of draws in the odd layers.

    Statistics of these have the same expectation and less variance, as no two odd layers touch.
    """
    return [tf.sigmoid(layer_input(machine, states, i)) if i % 2 else x for i, x in enumerate(states)]


def base_rates(states):
    """Biases whose machine without weights has the marginals of `states`, list [n_l]: log-odds of smoothed means."""
    num = tf.cast(tf.shape(states[0])[0], states[0].dtype)
    ones = [tf.reduce_sum(x, axis=0) for x in states]
    return [tf.math.log(x + 1.0) - tf.math.log(num - x + 1.0) for x in ones]


def path(num_betas):
    """float64 [num_betas + 1], from 0 to 1, densest near 1: 1 / 29 of the steps up to 0.5, 8 / 29 up to 0.9.

    The proportions of Salakhutdinov and Murray 2008, section 6, whose path had 14,500 steps.
    """
    return np.interp(np.linspace(0.0, 29.0, num_betas + 1), [0.0, 1.0, 9.0, 29.0], [0.0, 0.5, 0.9, 1.0])


def anneal(machine, base, betas, states, draw):
    """Annealed importance sampling along the geometric path from a machine without weights to this one, or back.

        p_beta(x) ~ exp(-(1 - beta) E_base(x) - beta E(x))

    The Markov chain lives on the odd layers, for which alone states are given, all even ones being summed out: fewer
    variables, less variance. At each beta the log-weight grows by log p*_beta - log p*_{beta before} of the odd layers,
    and a Gibbs sweep follows that leaves p_beta as it is. (Salakhutdinov and Murray 2008, section 4.1; Salakhutdinov
    and Hinton 2009, section 3.3; Neal 2001.)

    Args:
        machine: `Machine`.
        base: list of biases [n_l] of the machine without weights, as `base_rates` gives them.
        betas: float [K], rising from where the states are drawn, or falling from there.
        states: list of float [num_runs, n_l], a draw from p_{betas[0]}; even layers are not read.
        draw: function k -> `draw` of the sweep at betas[k], k = 1 ... K - 1.

    Returns:
        (log-weights float64 [num_runs], with E[w] = Z_{betas[K-1]} / Z_{betas[0]}; states at betas[K-1])
    """
    odd, even = range(1, len(states), 2), range(0, len(states), 2)
    betas = tf.cast(betas, states[0].dtype)

    def step(k, log_w, states):
        before, after = betas[k - 1], betas[k]

        def tempered(logits, layer, beta=after):
            return base[layer] + beta * (logits - base[layer])

        # Differences unit by unit: sums would lose digits before they are subtracted.
        change = [(after - before) * states[i] * (machine.biases[i] - base[i]) for i in odd]
        for i in even:
            logits = layer_input(machine, states, i)
            change.append(tf.math.softplus(tempered(logits, i)) - tf.math.softplus(tempered(logits, i, before)))
        log_w += tf.add_n([tf.cast(tf.reduce_sum(term, axis=-1), tf.float64) for term in change])
        return k + 1, log_w, gibbs_sweep(machine, states, draw(k), tempered)

    start = (1, tf.zeros(tf.shape(states[0])[:1], tf.float64), list(states))
    _, log_w, states = tf.while_loop(lambda k, *_: k < tf.shape(betas)[0], step, start)
    return log_w, states


class LogZ(NamedTuple):
    """An estimate of log Z in nats, and its standard error by the spread of the runs."""

    value: float
    standard_error: float


def estimate_log_z(machine, base, *, num_betas, num_runs, seed, samples=None, progress=None):
    """log Z by annealed importance sampling between `base` and the machine.

    Forward, E[w] = Z / Z_base: log mean w falls short of log Z in expectation (Jensen), and a log-likelihood measured
    with it is too high. Given `samples` of the machine it goes backward, E[w] = Z_base / Z, and errs the other way;
    that is a promise only as far as they are samples, wherefore it sets out with `num_betas` sweeps that leave p(x) as
    it is. (Bidirectional Monte Carlo, Grosse et al. 2015, arXiv:1511.02543.)

    Args:
        machine: `Machine` of float32 or float64 tensors.
        base: list of biases [n_l], of the same type, as `base_rates` gives them.
        num_betas: int, steps of the `path`.
        num_runs: int, chains side by side; as many as there are samples, where these are given.
        seed: int.
        samples: list of float [num_runs, n_l], or None to go forward.
        progress: function of the number of sweeps done so far, or None.

    Returns:
        `LogZ`.
    """
    sizes = [int(b.shape[-1]) for b in base]
    dtype = base[0].dtype

    def draw(k):  # forward and backward have noise of their own
        (key,) = noise.keys(seed, k, 0 if samples is None else 1, 1)
        return sampler(noise.uniform(key, [num_runs, sum(sizes)]), machine)

    def run(first, betas, states):
        return anneal(machine, base, betas, states, lambda k: draw(first + k))

    vector = tf.TensorSpec([None], tf.float64)
    run = tf.function(run, [tf.TensorSpec([], tf.int32), vector, [tf.TensorSpec([num_runs, n], dtype) for n in sizes]])
    betas = path(num_betas)
    states, sign = samples, -1.0
    if samples is None:
        first_draw, sign = draw(0), 1.0
        states = [first_draw(tf.sigmoid(tf.tile(a[None], [num_runs, 1])), i) for i, a in enumerate(base)]
    else:
        betas = np.concatenate([np.ones(num_betas), betas[::-1]])
    log_w = 0.0
    for first in range(0, len(betas) - 1, 100):
        change, states = run(first, betas[first : first + 101], states)
        log_w += change.numpy()
        if progress:
            progress(min(first + 100, len(betas) - 1))
    log_z_base = sum(float(tf.reduce_sum(tf.math.softplus(tf.cast(a, tf.float64)))) for a in base)
    largest = log_w.max()
    w = np.exp(log_w - largest)
    error = w.std() / w.mean() / np.sqrt(num_runs)
    return LogZ(float(log_z_base + sign * (largest + np.log(w.mean()))), float(error))
