"""Boltzmann machines against sums over all their states."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.zoo.enumeration import all_states, assert_close, log_joint, make_gaussian, make_machine, marginal, tensors
from zoo.parts import boltzmann
from zoo.parts.boltzmann import Machine

SIZES = [(3, 2), (4, 3, 2), (2, 3, 1, 2)]
of_sizes = pytest.mark.parametrize("sizes", SIZES)


@of_sizes
def test_energy_is_the_sum_over_all_pairs(sizes):
    machine, states = make_machine(sizes), tensors(all_states(sizes))
    values = log_joint(*machine[:2])
    np.testing.assert_allclose(boltzmann.energy(machine, states), -values, atol=1e-5)
    np.testing.assert_allclose(boltzmann.inner(machine, boltzmann.statistics(states)), values.mean(), atol=1e-5)
    means = np.random.default_rng(1).random(sum(sizes))
    weights = np.prod(np.where(np.concatenate(states, axis=1) == 1, means, 1 - means), axis=1)
    of_means = tensors(np.split(means[None], np.cumsum(sizes)[:-1], axis=1))
    np.testing.assert_allclose(boltzmann.energy(machine, of_means), [-(weights @ values)], atol=1e-5)
    np.testing.assert_allclose(boltzmann.entropy(of_means), [-(weights @ np.log(weights))], atol=1e-5)
    np.testing.assert_allclose(boltzmann.entropy(states), 0.0)


@of_sizes
def test_centered_step_is_that_of_units_minus_their_means(sizes):
    """-E = sum (x - m)'W(y - m) + sum (b + W'm + ...)'x: a step along the statistics of x - m, with b read off."""
    rng = np.random.default_rng(2)
    data, model = ([(rng.random([7, n]) < 0.3).astype(np.float32) for n in sizes] for _ in range(2))
    m = [rng.random(n).astype(np.float32) for n in sizes]

    def step(data, model, means):
        difference = boltzmann.difference(boltzmann.statistics(data), boltzmann.statistics(model))
        return boltzmann.center(difference, means)

    def pairs(states, i):
        return (states[i] - m[i]).T @ (states[i + 1] - m[i + 1]) / 7

    found, W = step(data, model, m), [pairs(data, i) - pairs(model, i) for i in range(len(sizes) - 1)]
    assert_close(found.weights, W, atol=1e-6)
    for i, a in enumerate(found.biases):
        inputs = (m[i - 1] @ W[i - 1] if i > 0 else 0.0) + (W[i] @ m[i + 1] if i < len(W) else 0.0)
        np.testing.assert_allclose(a + inputs, data[i].mean(0) - model[i].mean(0), atol=1e-6)

    # Calling zeros ones changes signs and nothing else.
    flipped = step(*[[1.0 - x if i == 1 else x for i, x in enumerate(xs)] for xs in (data, model, m)])
    assert_close(found.weights, [-W if i < 2 else W for i, W in enumerate(flipped.weights)], atol=1e-6)
    np.testing.assert_allclose(found.biases[1], -flipped.biases[1], atol=1e-6)


@pytest.mark.parametrize("sizes", [*SIZES, (2, 2, 2, 2, 2)])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_mean_field_is_a_fixed_point_below_the_likelihood(sizes, scale):
    machine, (v,) = make_machine(sizes, scale), tensors(all_states(sizes[:1]))
    log_p = marginal(log_joint(*machine[:2]), sizes, [0])  # + log Z
    bounds = [boltzmann.bound(machine, v, boltzmann.recognize(machine, v))]
    for steps in (1, 2, 4, 1000):
        mu = boltzmann.mean_field(machine, v, 1e-6, steps)
        bounds.append(boltzmann.bound(machine, v, mu).numpy())
        assert np.all(bounds[-1] >= bounds[-2] - 1e-5)  # coordinate ascent
    assert np.all(bounds[-1] <= log_p + 1e-5)
    for i in range(1, len(sizes)):
        np.testing.assert_allclose(tf.sigmoid(boltzmann.layer_input(machine, [v, *mu], i)), mu[i - 1], atol=1e-5)
    if len(sizes) == 2:
        np.testing.assert_allclose(bounds[-1], log_p, atol=1e-5)
    else:
        assert np.any(bounds[-1] < log_p - 1e-3)


@pytest.mark.parametrize("sizes", [(1, 3), (2, 8), (3, 2)])
def test_a_machine_of_real_units_is_a_mixture_of_gaussians(sizes):
    machine, mixture = make_gaussian(sizes)
    v = np.linspace(-15, 15, 3001)[:, None] * np.ones(sizes[0])
    x = tf.constant(v, tf.float32)
    mu = boltzmann.recognize(machine, x)
    log_p = boltzmann.bound(machine, x, mu).numpy().astype(np.float64)  # + log Z
    np.testing.assert_allclose(log_p - mixture.log_z, mixture.log_prob(v), rtol=1e-5, atol=1e-3)
    if sizes[0] == 1:
        np.testing.assert_allclose(np.log(np.trapezoid(np.exp(log_p), v[:, 0])), mixture.log_z, atol=1e-4)
    data = boltzmann.statistics([x, *mu], real=True)
    found = boltzmann.objectives(machine, [x, *mu], data)
    np.testing.assert_allclose(tf.reduce_mean(found["unnormalized_bound"]), log_p.mean(), rtol=1e-5)
    means, deviations = boltzmann.layer_input(machine, [x, *mu], 0) / machine.precisions[0], np.sqrt(mixture.variance)
    expected = -stats.norm.logpdf(v, means, deviations).sum(axis=1)
    np.testing.assert_allclose(found["reconstruction"], expected, rtol=1e-4)
    doubled = Machine(
        [2 * machine.weights[0]], [2 * machine.biases[0], machine.biases[1]], (2 * machine.precisions[0],)
    )
    copies = boltzmann.objectives(doubled, [x, *mu], data, (2, 1))["reconstruction"]  # that of one of two copies
    np.testing.assert_allclose(copies, expected, rtol=1e-4)


def test_mean_field_rows_do_not_depend_on_each_other():
    machine, (v,) = make_machine((6, 5, 4), 3.0), tensors(all_states((6,)))
    together = boltzmann.mean_field(machine, v, 1e-2, 50)
    sweeps = [boltzmann.mean_field(machine, v, 1e-2, n)[0].numpy() for n in range(8)]
    assert len({tuple(np.all(sweep == together[0], axis=1)) for sweep in sweeps}) > 3  # they stop at different times
    for i in (0, 17, 63):
        alone = boltzmann.mean_field(machine, v[i : i + 1], 1e-2, 50)
        assert_close(alone, [mu[i : i + 1] for mu in together], atol=1e-6)


def test_recognition_doubles_what_has_a_layer_above():
    """It is exact where copies of the layer below stand in the place of the layer above."""
    (weights, biases, _), (v,) = make_machine((3, 2, 2, 3)), tensors(all_states((3,)))
    x, found = v, boltzmann.recognize(Machine(weights, biases), v)
    for i, (W, copies) in enumerate(zip(weights, (2, 2, 1), strict=True)):
        stacked = Machine([tf.concat([W] * copies, 0)], [tf.concat([biases[i]] * copies, 0), biases[i + 1]])
        x = boltzmann.mean_field(stacked, tf.concat([x] * copies, 1), 1e-6, 10)[0]
        np.testing.assert_allclose(found[i], x, atol=1e-6)
