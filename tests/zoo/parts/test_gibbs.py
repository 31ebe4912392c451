"""Gibbs sampling against exact transition matrices: every pair of states."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests.zoo.enumeration import (
    all_states,
    assert_close,
    expectations,
    log_joint,
    make_gaussian,
    make_machine,
    tensors,
)
from zoo.parts import gibbs, noise
from zoo.parts.boltzmann import Machine


@pytest.mark.parametrize("sizes", [(3, 2), (4, 3, 2), (2, 3, 1, 2)])
def test_means_of_odd_layers_keep_the_statistics(sizes):
    machine, states = make_machine(sizes), tensors(all_states(sizes))
    p, means = special.softmax(log_joint(*machine[:2])), gibbs.odd_means(machine, states)
    for i, (x, mean) in enumerate(zip(states, means, strict=True)):
        assert np.array_equal(x, mean) == (i % 2 == 0)
    assert_close(expectations(p, states), expectations(p, means), atol=1e-6)


@pytest.mark.parametrize("sizes", [(3, 2), (2, 2, 1), (2, 1, 2, 1)])
def test_blocks_and_sweep_leave_the_distribution_as_it_is(sizes):
    """The exact transition matrix: for all pairs of states, the sweep is made to draw the second from the first."""
    machine, states = make_machine(sizes), tensors(all_states(sizes))
    num, log_p = len(states[0]), {}
    start, target = ([tf.gather(x, rows) for x in states] for rows in np.indices([num, num]).reshape(2, -1))

    def draw(probs, layer):
        log_p[layer] = np.sum(special.xlogy(target[layer], probs) + special.xlog1py(1 - target[layer], -probs), axis=1)
        return target[layer]

    end = gibbs.sweep(machine, start, draw)
    assert list(log_p) == [*range(0, len(sizes), 2), *range(1, len(sizes), 2)]
    np.testing.assert_array_equal(np.concatenate(end, 1), np.concatenate(target, 1))
    p = special.softmax(log_joint(*machine[:2]))

    def matrix(*parities):
        drawn = [i for i in range(len(sizes)) if i % 2 in parities]
        kept = [np.all(start[i] == target[i], axis=1) for i in range(len(sizes)) if i not in drawn]
        return (np.all([np.ones(num**2), *kept], axis=0) * np.exp(sum(log_p[i] for i in drawn))).reshape(num, num)

    for transition in (matrix(0), matrix(1), matrix(0, 1)):
        np.testing.assert_allclose(transition.sum(1), 1.0, atol=1e-5)
        np.testing.assert_allclose(p @ transition, p, atol=1e-6)
    np.testing.assert_allclose(matrix(0) @ matrix(1), matrix(0, 1), atol=1e-6)


def test_sampler_gives_every_layer_its_own_numbers():
    draw = gibbs.sampler(tf.constant([[0.0, 0.3, 0.6, 0.9, 0.5, 0.999]]), make_machine((2, 1, 3)))
    np.testing.assert_array_equal(draw(tf.constant([[0.0, 0.31]]), 0), [[0, 1]])
    np.testing.assert_array_equal(draw(tf.constant([[0.59]]), 1), [[0]])
    ones = draw(tf.constant([[1.0, 0.5, 1.0]], tf.float64), 2)
    np.testing.assert_array_equal(ones, [[1, 0, 1]])
    assert ones.dtype == tf.float64


def test_base_rates_have_the_marginals_of_the_states():
    states = tensors(np.random.default_rng(0).random([98, n]) < 0.3 for n in (4, 2))
    base = gibbs.base_rates(states)
    for probs in (map(special.expit, base), gibbs.independent(Machine([], base), lambda means, layer: means)):
        assert_close(probs, [(np.sum(x, 0) + 1) / 100 for x in states], atol=1e-6)


@pytest.mark.parametrize("sizes", [(2, 3), (2, 2, 2)])
def test_a_sweep_of_real_units_keeps_their_distribution(sizes):
    """Exact samples stay exact, by the moments of v, h_1, v h_1 and v^2."""
    (machine, mixture), num = make_gaussian(sizes), 40000
    drawn = noise.of_keys(gibbs.noise_of(machine), [num], lambda j: noise.key(0, 0, 0, j))
    states = gibbs.sweep(machine, tensors(mixture.draw(num)), gibbs.sampler(drawn, machine))
    v, h, p = states[0].numpy(), states[1].numpy(), mixture.p[:, None]
    assert set(np.unique(h)) == {0.0, 1.0}
    pairs = [(v, mixture.means), (h, mixture.states[0]), (v**2, mixture.means**2 + mixture.variance)]
    pairs += [(v[:, :1] * h, mixture.means[:, :1] * mixture.states[0])]
    for found, expected in pairs:
        assert np.all(abs(found.mean(0) - np.sum(p * expected, 0)) < 5 * found.std(0) / np.sqrt(num))


def test_contrastive_divergence_of_real_units_with_copies():
    """The mean of two copies of v, of doubled parameters, has the mean of one and half its variance; s^2 learns from
    the square of one.
    """
    (machine, mixture), num = make_gaussian((2, 3)), 40000
    h = tensors(mixture.draw(num))[1]
    (W,), (b, c), (precision,) = machine
    rbm = Machine([2.0 * W], [2.0 * b, c], (2.0 * precision,))
    options = {"keys": [(noise.key(0, 0, 0, 0), noise.key(0, 0, 0, 1))], "copies": (2, 1)}
    delta, (x, _), _ = gibbs.rbm_step(rbm, tf.zeros([1, 2]), h[:1], start=h, **options)
    residual = (x - (b + h @ tf.transpose(W)) / precision).numpy()
    np.testing.assert_allclose(residual.mean(0), 0.0, atol=0.03)
    np.testing.assert_allclose(residual.var(0), mixture.variance / 2, rtol=0.05)
    squares = mixture.p @ mixture.means**2 + mixture.variance
    np.testing.assert_allclose(delta.precisions[0], 0.5 * squares, rtol=0.03)
