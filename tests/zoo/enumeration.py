"""Boltzmann machines with so few units that every state is there, and every sum over states, in float64.

States are lists of one array [2 ** units, n_l] for each layer. Weights are a list of W_l, biases one of b_l. With real
visible units a machine is a mixture of Gaussians, one for each state of the hidden units.
"""

import itertools

import numpy as np
import tensorflow as tf
from scipy import special, stats

from zoo.parts import boltzmann
from zoo.parts.boltzmann import Machine


def tensors(arrays):
    return [tf.constant(array, tf.float32) for array in arrays]


def make_machine(sizes, scale=1.0):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape, scale=scale) for shape in itertools.pairwise(sizes)]
    return Machine(tensors(weights), tensors(rng.normal(size=n, scale=scale) for n in sizes))


def all_states(sizes):
    x = np.array(list(itertools.product([0.0, 1.0], repeat=sum(sizes))))
    return np.split(x, np.cumsum(sizes)[:-1], axis=1)


def log_joint(weights, biases):
    """-E of all states, a sum over all pairs of units, from one matrix of all weights."""
    starts = np.cumsum([0, *map(len, biases)])
    J = np.zeros([starts[-1]] * 2)
    for i, W in enumerate(weights):
        J[starts[i] : starts[i + 1], starts[i + 1] : starts[i + 2]] = W
    x = np.concatenate(all_states([len(b) for b in biases]), axis=1)
    return np.sum(x @ J * x, axis=1) + x @ np.concatenate([np.asarray(b, np.float64) for b in biases])


def marginal(values, sizes, layers):
    """log sum exp of values of all states over all but the given layers, one value for each state of these."""
    layer_of = np.repeat(np.arange(len(sizes)), sizes)
    summed = tuple(np.flatnonzero(~np.isin(layer_of, layers)))
    return special.logsumexp(values.reshape([2] * len(layer_of)), axis=summed).ravel()


def expectations(p, states):
    """Means of all x_{l-1} x_l', then of all x_l, over states with probabilities p."""
    states = [np.asarray(x, np.float64) for x in states]
    return [*((p[:, None] * x).T @ y for x, y in itertools.pairwise(states)), *(p @ x for x in states)]


def exact_samples(weights, biases, num):
    values = log_joint(weights, biases)
    rows = np.random.default_rng(0).choice(len(values), num, p=special.softmax(values))
    return [x[rows] for x in all_states([len(b) for b in biases])]


class Mixture:
    """p(v) of a machine of real visible units, v ~ N(b_0 + W_1 h_1, variance) given h: weights, means, and log Z.

    log Z is that of the energy without the constant b_0^2 / (2 variance).
    """

    def __init__(self, weights, biases, variance):
        self.states, self.variance = all_states([len(b) for b in biases[1:]]), variance
        Wh = self.states[0] @ weights[0].T
        self.means = biases[0] + Wh
        log_p = log_joint(weights[1:], biases[1:]) + np.sum((2 * biases[0] * Wh + Wh**2) / (2 * variance), axis=1)
        self.p = special.softmax(log_p)
        constant = np.sum(0.5 * np.log(2 * np.pi * variance) + biases[0] ** 2 / (2 * variance))
        self.log_z = special.logsumexp(log_p) + constant

    def log_prob(self, v):
        log_p = stats.norm.logpdf(v[:, None], self.means, np.sqrt(self.variance)).sum(axis=-1)
        return special.logsumexp(log_p + np.log(self.p), axis=1)

    def draw(self, num):
        """[v, h_1, ...]."""
        rng = np.random.default_rng(0)
        rows = rng.choice(len(self.p), num, p=self.p)
        v = self.means[rows] + np.sqrt(self.variance) * rng.normal(size=[num, self.means.shape[1]])
        return [v, *(h[rows] for h in self.states)]


def make_gaussian(sizes, scale=1.0):
    """A machine of real visible units, and its `Mixture`."""
    (W, b, _), variance = make_machine(sizes, scale), np.linspace(0.5, 1.5, sizes[0])
    mixture = Mixture([w.numpy().astype(np.float64) for w in W], [x.numpy().astype(np.float64) for x in b], variance)
    return boltzmann.gaussian(Machine(W, b), tf.constant(np.log(variance), tf.float32)), mixture


def slopes(function, array, h=1e-4):
    """The derivatives of `function()` by all numbers of a float64 array that it reads, by central differences."""
    found = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        for sign in (1, -1):
            array[index] += sign * h
            found[index] += sign * function() / (2 * h)
            array[index] -= sign * h
    return found


def assert_close(left, right, **tolerance):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, **tolerance)
