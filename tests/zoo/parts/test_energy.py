"""Boltzmann machines small enough to enumerate: every state, every transition, every sum."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import io, special
from zoo.parts.energy import Machine

from trainers import data
from zoo.parts import energy, noise

SIZES = [(3, 2), (4, 3, 2), (2, 3, 1, 2)]


def make(sizes, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return tf.constant(rng.normal(size=shape, scale=scale), tf.float32)

    return Machine([normal(m, n) for m, n in itertools.pairwise(sizes)], [normal(n) for n in sizes])


def split(x, sizes):
    return [tf.constant(part, tf.float32) for part in np.split(x, np.cumsum(sizes)[:-1], axis=-1)]


def all_states(sizes):
    return split(np.array(list(itertools.product([0, 1], repeat=sum(sizes)))), sizes)


def log_joint(machine, sizes):
    """-E of all states, a sum over all pairs of units in float64, from a matrix of all weights."""
    starts = np.cumsum([0, *sizes])
    J = np.zeros([starts[-1]] * 2)
    for i, W in enumerate(machine.weights):
        J[starts[i] : starts[i + 1], starts[i + 1] : starts[i + 2]] = W
    x = np.array(list(itertools.product([0.0, 1.0], repeat=starts[-1])))
    pairs = sum(J[i, j] * x[:, i] * x[:, j] for i in range(starts[-1]) for j in range(starts[-1]))
    return pairs + x @ np.concatenate([np.asarray(b, np.float64) for b in machine.biases])


def marginal(values, sizes, layers):
    """log sum exp of values of all states over all but the given layers, one value for each state of these."""
    starts = np.cumsum([0, *sizes])
    kept = [j for i in layers for j in range(starts[i], starts[i + 1])]
    table = values.reshape([2] * starts[-1])
    return special.logsumexp(table, axis=tuple(j for j in range(starts[-1]) if j not in kept)).ravel()


def exact_samples(machine, sizes, num, seed=0):
    values = log_joint(machine, sizes)
    rows = np.random.default_rng(seed).choice(len(values), num, p=special.softmax(values))
    return [tf.gather(x, rows) for x in all_states(sizes)]


@pytest.mark.parametrize("sizes", SIZES)
def test_energy_is_the_sum_over_all_pairs(sizes):
    machine, states = make(sizes), all_states(sizes)
    values = log_joint(machine, sizes)
    np.testing.assert_allclose(energy.energy(machine, states), -values, atol=1e-5)
    np.testing.assert_allclose(energy.inner(machine, energy.statistics(states)), values.mean(), atol=1e-5)
    means = np.random.default_rng(1).random(sum(sizes))
    x = np.concatenate(states, axis=1)
    weights = np.prod(np.where(x == 1, means, 1 - means), axis=1)
    of_means = energy.energy(machine, split(means[None], sizes))
    np.testing.assert_allclose(of_means, [-(weights @ values)], atol=1e-5)
    entropy = energy.entropy(split(means[None], sizes))
    np.testing.assert_allclose(entropy, [-(weights @ np.log(weights))], atol=1e-5)
    np.testing.assert_allclose(energy.entropy([x]), 0.0)


@pytest.mark.parametrize("sizes", SIZES)
def test_centered_step_is_that_of_units_minus_their_means(sizes):
    """-E = sum (x - m)'W(y - m) + sum (b + W'm + ...)'x: a step along the statistics of x - m, with b read off."""
    rng = np.random.default_rng(2)

    def states():
        return [(rng.random([7, n]) < 0.3).astype(np.float32) for n in sizes]

    def step(data, model, means):
        difference = [
            [a - b for a, b in zip(*pair, strict=True)]
            for pair in zip(energy.statistics(data), energy.statistics(model), strict=True)
        ]
        return energy.center(Machine(*difference), means)

    data, model, m = states(), states(), [rng.random(n).astype(np.float32) for n in sizes]
    found = step(data, model, m)

    def pairs(states, i):
        return (states[i] - m[i]).T @ (states[i + 1] - m[i + 1]) / 7

    W = [pairs(data, i) - pairs(model, i) for i in range(len(sizes) - 1)]
    for a, b in zip(found.weights, W, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    for i, a in enumerate(found.biases):
        inputs = (m[i - 1] @ W[i - 1] if i > 0 else 0.0) + (W[i] @ m[i + 1] if i < len(W) else 0.0)
        np.testing.assert_allclose(a + inputs, data[i].mean(0) - model[i].mean(0), atol=1e-6)

    # Calling zeros ones changes signs and nothing else.
    flipped = step(*[[1.0 - x if i == 1 else x for i, x in enumerate(xs)] for xs in (data, model, m)])
    for i, (a, b) in enumerate(zip(found.weights, flipped.weights, strict=True)):
        np.testing.assert_allclose(a, -b if i < 2 else b, atol=1e-6)
    np.testing.assert_allclose(found.biases[1], -flipped.biases[1], atol=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_means_of_odd_layers_keep_the_statistics(sizes):
    machine = make(sizes)
    p = special.softmax(log_joint(machine, sizes))
    states, means = all_states(sizes), energy.odd_means(machine, all_states(sizes))
    for i, (x, mean) in enumerate(zip(states, means, strict=True)):
        assert np.array_equal(x, mean) == (i % 2 == 0)
        np.testing.assert_allclose(p @ x.numpy(), p @ mean.numpy(), atol=1e-6)
    for i in range(len(sizes) - 1):
        exact, found = (np.einsum("s,si,sj->ij", p, xs[i], xs[i + 1]) for xs in (states, means))
        np.testing.assert_allclose(exact, found, atol=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("parity", [0, 1])
def test_log_marginal_sums_out_every_other_layer(sizes, parity):
    machine, values = make(sizes), log_joint(make(sizes), sizes)
    kept = [i for i in range(len(sizes)) if i % 2 == parity]
    part = all_states([sizes[i] for i in kept])
    states = [part[kept.index(i)] if i in kept else None for i in range(len(sizes))]
    np.testing.assert_allclose(energy.log_marginal(machine, states, parity), marginal(values, sizes, kept), atol=1e-5)


# --- Mean field -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 2), (4, 3, 2), (2, 3, 1, 2), (2, 2, 2, 2, 2)])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_mean_field_is_a_fixed_point_below_the_likelihood(sizes, scale):
    machine = make(sizes, scale)
    (v,) = all_states(sizes[:1])
    log_p = marginal(log_joint(machine, sizes), sizes, [0])  # + log Z
    bounds = [energy.bound(machine, v, energy.recognize(machine, v))]
    for steps in (1, 2, 4, 1000):
        mu = energy.mean_field(machine, v, 1e-6, steps)
        bounds.append(energy.bound(machine, v, mu).numpy())
        assert np.all(bounds[-1] >= bounds[-2] - 1e-5)  # coordinate ascent
    assert np.all(bounds[-1] <= log_p + 1e-5)
    for i in range(1, len(sizes)):
        np.testing.assert_allclose(tf.sigmoid(energy.layer_input(machine, [v, *mu], i)), mu[i - 1], atol=1e-5)
    if len(sizes) == 2:
        np.testing.assert_allclose(bounds[-1], log_p, atol=1e-5)
    else:
        assert np.any(bounds[-1] < log_p - 1e-3)


def test_mean_field_rows_do_not_depend_on_each_other():
    machine = make((6, 5, 4), 3.0)
    (v,) = all_states((6,))
    together = energy.mean_field(machine, v, 1e-2, 50)
    sweeps = [energy.mean_field(machine, v, 1e-2, n)[0].numpy() for n in range(8)]
    assert len({tuple(np.all(sweep == together[0], axis=1)) for sweep in sweeps}) > 3  # they stop at different times
    for i in (0, 17, 63):
        alone = energy.mean_field(machine, v[i : i + 1], 1e-2, 50)
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a[0], b[i], atol=1e-6)


def test_recognition_doubles_what_has_a_layer_above():
    """It is exact where copies of the layer below stand in the place of the layer above."""
    (W1, W2, W3), biases = make((3, 2, 2, 3))
    (v,) = all_states((3,))
    mu = energy.recognize(Machine([W1, W2, W3], biases), v)
    x = v
    for i, (W, copies) in enumerate([(W1, 2), (W2, 2), (W3, 1)], start=1):
        stacked = Machine([tf.concat([W] * copies, 0)], [tf.concat([biases[i - 1]] * copies, 0), biases[i]])
        twice = tf.concat([x] * copies, 1)
        x = energy.mean_field(stacked, twice, 1e-6, 10)[0]
        np.testing.assert_allclose(mu[i - 1], x, atol=1e-6)


# --- Gibbs sampling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 2), (2, 2, 1), (2, 1, 2, 1)])
def test_gibbs_blocks_and_sweep_leave_the_distribution_as_it_is(sizes):
    """The exact transition matrix: for all pairs of states, the sweep is made to draw the second from the first."""
    machine, states = make(sizes), all_states(sizes)
    num = len(states[0])
    start, target = ([tf.gather(x, rows) for x in states] for rows in np.indices([num, num]).reshape(2, -1))
    log_p = {}

    def draw(probs, layer):
        log_p[layer] = np.sum(special.xlogy(target[layer], probs) + special.xlog1py(1 - target[layer], -probs), axis=1)
        return target[layer]

    end = energy.gibbs_sweep(machine, start, draw)
    assert list(log_p) == [*range(0, len(sizes), 2), *range(1, len(sizes), 2)]
    np.testing.assert_array_equal(np.concatenate(end, 1), np.concatenate(target, 1))
    p = special.softmax(log_joint(machine, sizes))

    def matrix(parities):
        drawn = [i for i in range(len(sizes)) if i % 2 in parities]
        same = np.ones(num**2, bool)
        for i in set(range(len(sizes))) - set(drawn):
            same &= np.all(start[i] == target[i], axis=1)
        return (same * np.exp(sum(log_p[i] for i in drawn))).reshape(num, num)

    for transition in (matrix([0]), matrix([0]) @ matrix([1]), matrix([1]), matrix([0, 1])):
        np.testing.assert_allclose(transition.sum(1), 1.0, atol=1e-5)
        np.testing.assert_allclose(p @ transition, p, atol=1e-6)
    np.testing.assert_allclose(matrix([0]) @ matrix([1]), matrix([0, 1]), atol=1e-6)


def test_sampler_gives_every_layer_its_own_numbers():
    machine = make((2, 1, 3))
    uniform = tf.constant([[0.0, 0.3, 0.6, 0.9, 0.5, 0.999]])
    draw = energy.sampler(uniform, machine)
    np.testing.assert_array_equal(draw(tf.constant([[0.0, 0.31]]), 0), [[0, 1]])
    np.testing.assert_array_equal(draw(tf.constant([[0.59]]), 1), [[0]])
    ones = draw(tf.constant([[1.0, 0.5, 1.0]], tf.float64), 2)
    np.testing.assert_array_equal(ones, [[1, 0, 1]])
    assert ones.dtype == tf.float64


def test_base_rates_have_the_marginals_of_the_states():
    states = [tf.constant(np.random.default_rng(0).random([98, n]) < 0.3, tf.float32) for n in (4, 2)]
    for x, a in zip(states, energy.base_rates(states), strict=True):
        np.testing.assert_allclose(special.expit(a), (np.sum(x, 0) + 1) / 100, atol=1e-6)


# --- Annealed importance sampling -------------------------------------------------------------------------------------


def test_path_is_that_of_salakhutdinov_and_murray():
    betas = energy.path(14500)
    parts = [np.linspace(0, 0.5, 501), np.linspace(0.5, 0.9, 4001)[1:], np.linspace(0.9, 1, 10001)[1:]]
    np.testing.assert_allclose(betas, np.concatenate(parts), atol=1e-12)
    for num in (1, 2, 5):
        betas = energy.path(num)
        assert len(betas) == num + 1 and betas[0] == 0 and betas[-1] == 1 and np.all(np.diff(betas) > 0)


def anneal(machine, base, betas, states, seed=0):
    shape = [len(states[0]), sum(len(a) for a in base)]

    def draw(k):
        return energy.sampler(noise.uniform(noise.keys(seed, k, 0, 1)[0], shape), machine)

    return energy.anneal(machine, base, betas, states, draw)[0].numpy()


@pytest.mark.parametrize("sizes", SIZES)
def test_annealed_weights_are_unbiased_and_bracket_log_z(sizes):
    """Few and uneven betas, so that the weights vary: their mean is the ratio of partition functions both ways."""
    machine, num = make(sizes), 20000
    base = [tf.constant(a) for a in np.split(np.linspace(-1, 1, sum(sizes)).astype(np.float32), np.cumsum(sizes)[:-1])]
    unweighted = Machine([tf.zeros_like(W) for W in machine.weights], base)
    log_ratio = special.logsumexp(log_joint(machine, sizes)) - special.logsumexp(log_joint(unweighted, sizes))
    betas = np.array([0.0, 0.1, 0.4, 0.6, 1.0])
    forward = anneal(machine, base, betas, exact_samples(unweighted, sizes, num))
    backward = anneal(machine, base, betas[::-1], exact_samples(machine, sizes, num))
    for log_w, expected in ((forward, log_ratio), (backward, -log_ratio)):
        w = np.exp(log_w - expected)
        assert w.std() > 0.1
        assert abs(w.mean() - 1.0) < 5 * w.std() / np.sqrt(num)
    assert forward.mean() < log_ratio < -backward.mean()


def test_float32_keeps_the_digits_of_many_small_steps():
    """On a chain that never moves the log-weight is log p*_1 - log p*_0 of its odd layers."""
    sizes = (784, 500, 10)
    machine, rng = make(sizes, 0.3), np.random.default_rng(0)
    base = [tf.constant(rng.normal(size=n), tf.float32) for n in sizes]
    states = [tf.constant(rng.random([3, n]) < 0.3, tf.float32) for n in sizes]
    run = tf.function(lambda: energy.anneal(machine, base, energy.path(2000), states, lambda k: lambda p, i: states[i]))
    still = run()[0]

    def log_p(*parameters):
        parameters, wide = tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), (parameters, states))
        return energy.log_marginal(Machine(*parameters), wide, 1)

    expected = log_p(*machine) - log_p([tf.zeros_like(W) for W in machine.weights], base)
    assert np.all(abs(expected) > 100)
    np.testing.assert_allclose(still, expected, atol=5e-3)


@pytest.mark.parametrize("sizes", SIZES)
def test_estimates_of_log_z(sizes):
    machine = make(sizes)
    exact = special.logsumexp(log_joint(machine, sizes))
    done = []
    options = {"num_betas": 150, "num_runs": 1000, "seed": 0}
    base = energy.base_rates(exact_samples(machine, sizes, 100))
    forward = energy.estimate_log_z(machine, base, **options, progress=done.append)
    backward = energy.estimate_log_z(machine, base, **options, samples=exact_samples(machine, sizes, 1000))
    for estimate in (forward, backward):
        assert 1e-5 < estimate.standard_error < 0.02
        assert abs(estimate.value - exact) < 5 * estimate.standard_error
    assert done == [100, 150]
    again = energy.estimate_log_z(machine, base, **options)
    assert again == forward != energy.estimate_log_z(machine, base, **{**options, "seed": 1})


def test_standard_error_is_the_spread_of_estimates():
    machine, base = make((3, 2)), [tf.zeros(3), tf.zeros(2)]
    estimates = [energy.estimate_log_z(machine, base, num_betas=3, num_runs=400, seed=s) for s in range(20)]
    values, errors = np.array(estimates).T
    assert 0.5 < values.std() / errors.mean() < 1.7


@pytest.mark.slow
def test_the_published_rbm_has_its_published_log_z():
    """Salakhutdinov and Murray 2008, 500 hidden units by CD-25: log Z = 451.28, -86.34 nats on binarised MNIST."""
    root = Path(os.environ.get("ZOO_DATA_DIR", ""))
    if not (file := root / "rbm_cd25/mnistvh_CD25.mat").exists() or not (root / "binarized_mnist").exists():
        pytest.skip("ZOO_DATA_DIR names no folder that holds rbm_cd25/mnistvh_CD25.mat and binarized_mnist")
    W, b0, b1 = (io.loadmat(file)[name].astype(np.float32) for name in ("vishid", "visbiases", "hidbiases"))
    machine = Machine([tf.constant(W)], [tf.constant(b0[0]), tf.constant(b1[0])])
    images = data.load("binarized_mnist")
    train, test = (tf.reshape(x / np.float32(255), [-1, 784]) for x in (images.train, images.test))

    base = energy.base_rates([train, tf.sigmoid(energy.layer_input(machine, [train, None], 1))])
    log_z = energy.estimate_log_z(machine, base, num_betas=14500, num_runs=50, seed=0)
    assert log_z.standard_error < 0.25
    assert abs(log_z.value - 451.28) < 0.5
    log_likelihood = np.mean(energy.log_marginal(machine, [test, None], 0)) - log_z.value
    assert abs(log_likelihood + 86.3) < 0.2
