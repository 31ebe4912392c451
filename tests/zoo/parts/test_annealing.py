"""Annealed importance sampling against enumerated machines, linear-Gaussian decoders, and a published result."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import io, special, stats

from tests.zoo.enumeration import exact_samples, log_joint, make_machine, tensors
from trainers import data
from zoo.parts import annealing, boltzmann, estimators, gibbs, noise
from zoo.parts.boltzmann import Machine
from zoo.parts.distributions import PRIORS

of_sizes = pytest.mark.parametrize("sizes", [(3, 2), (4, 3, 2), (2, 3, 1, 2)])
EXAMPLES, SIZE, LATENTS = 4, 6, 3


@pytest.fixture
def eagerly():
    """Few steps take less time than a trace."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("num", [1, 2, 7, 1000])
def test_betas(num):
    for make in (annealing.machine_betas, annealing.decoder_betas):
        betas = make(num)
        assert len(betas) == num + 1 and betas[0] == 0 and betas[-1] == 1 and np.all(np.diff(betas) > 0)
    steps = np.diff(annealing.decoder_betas(num))
    np.testing.assert_allclose(steps, steps[::-1], rtol=1e-3, atol=1e-7)  # as fast at both ends, fastest midway
    assert np.argmax(steps) in (num // 2, (num - 1) // 2)
    parts = [np.linspace(0, 0.5, 501), np.linspace(0.5, 0.9, 4001)[1:], np.linspace(0.9, 1, 10001)[1:]]
    np.testing.assert_allclose(annealing.machine_betas(14500), np.concatenate(parts), atol=1e-12)  # as published


@of_sizes
def test_weights_are_unbiased_and_bracket_log_z(sizes):
    """Few and uneven betas, so that the weights vary: their mean is the ratio of partition functions both ways."""
    machine, num = make_machine(sizes), 20000
    base = tensors(np.split(np.linspace(-1, 1, sum(sizes)), np.cumsum(sizes)[:-1]))
    unweighted = Machine([tf.zeros_like(W) for W in machine.weights], base)
    log_ratio = special.logsumexp(log_joint(*machine)) - special.logsumexp(log_joint(*unweighted))

    def log_weights(betas, start):
        def draw(k):
            return gibbs.sampler(noise.uniform(noise.key(0, k, 0), [num, sum(sizes)]), machine)

        path = annealing.machine_path(machine, base, betas, draw)
        return annealing.anneal(path, tf.zeros(num, tf.float64), tensors(exact_samples(*start, num)))[0].numpy()

    betas = np.array([0.0, 0.1, 0.4, 0.6, 1.0])
    forward, backward = log_weights(betas, unweighted), log_weights(betas[::-1], machine)
    for log_w, expected in ((forward, log_ratio), (backward, -log_ratio)):
        w = np.exp(log_w - expected)
        assert w.std() > 0.1
        assert abs(w.mean() - 1.0) < 5 * w.std() / np.sqrt(num)
    assert forward.mean() < log_ratio < -backward.mean()


def test_float32_keeps_the_digits_of_many_small_steps():
    """On a chain that never moves the log-weight is log p*_1 - log p*_0 of its odd layers."""
    sizes, rng = (784, 200, 10), np.random.default_rng(0)
    machine, base = make_machine(sizes, 0.3), tensors(rng.normal(size=n) for n in sizes)
    states = tensors(rng.random([3, n]) < 0.3 for n in sizes)
    path = annealing.machine_path(machine, base, annealing.machine_betas(2000), lambda k: lambda p, i: states[i])
    still = tf.function(lambda: annealing.anneal(path, tf.zeros(3, tf.float64), states))()[0]

    def log_p(weights, biases):  # the even layers summed out
        h, W, b = tf.nest.map_structure(lambda x: np.asarray(x, np.float64), (states[1], weights, biases))
        inputs = np.concatenate([h @ W[0].T + b[0], h @ W[1] + b[2]], axis=1)
        return h @ b[1] + np.logaddexp(0.0, inputs).sum(axis=1)

    expected = log_p(*machine) - log_p([tf.zeros_like(W) for W in machine.weights], base)
    assert np.all(abs(expected) > 100)
    np.testing.assert_allclose(still, expected, atol=5e-3)


@of_sizes
def test_estimates_of_log_z(sizes):
    machine, done = make_machine(sizes), []
    exact, samples = special.logsumexp(log_joint(*machine)), tensors(exact_samples(*machine, 1000))
    base, options = gibbs.base_rates([x[:100] for x in samples]), {"num_betas": 60, "num_runs": 1000, "seed": 0}
    forward = annealing.estimate_log_z(machine, base, **options, progress=done.append)
    backward = annealing.estimate_log_z(machine, base, **options, samples=samples)
    for estimate in (forward, backward):
        assert 1e-5 < estimate.standard_error < 0.03
        assert abs(estimate.value - exact) < 5 * estimate.standard_error
    assert done == [25, 50, 60]


def test_standard_error_is_the_spread_of_estimates(eagerly, monkeypatch):
    def estimate(seed):
        options = {"num_betas": 3, "num_runs": 400, "seed": seed}
        return annealing.estimate_log_z(make_machine((3, 2)), [tf.zeros(3), tf.zeros(2)], **options)

    estimates = [estimate(seed) for seed in range(20)]
    values, errors = np.array(estimates).T
    assert 0.5 < values.std() / errors.mean() < 1.7
    monkeypatch.setattr(annealing, "CHUNK", 2)
    assert len(set(estimates)) == 20 and estimate(0) == estimates[0]


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

    base = gibbs.base_rates([train, tf.sigmoid(boltzmann.layer_input(machine, [train, None], 1))])
    log_z = annealing.estimate_log_z(machine, base, num_betas=14500, num_runs=50, seed=0)
    assert log_z.standard_error < 0.25
    assert abs(log_z.value - 451.28) < 0.5
    bound = boltzmann.bound(machine, test, boltzmann.recognize(machine, test))  # of an RBM it is log p(v) + log Z
    log_likelihood = np.mean(bound) - log_z.value
    assert abs(log_likelihood + 86.3) < 0.2


# --- Decoders ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear_gaussian():
    """p(x|z) = N(W z, 0.3^2 I): its log-likelihood as a function of x and z, some x, and their log p(x)."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=[SIZE, LATENTS])
    covariance = W @ W.T + 0.09 * np.eye(SIZE)
    x = rng.multivariate_normal(np.zeros(SIZE), covariance, EXAMPLES).astype(np.float32)
    kernel = tf.constant(W.T, tf.float32)

    def log_likelihood(x, z):
        squares = tf.reduce_sum((x - tf.tensordot(z, kernel, 1)) ** 2, -1)
        return -0.5 * squares / 0.09 - 0.5 * SIZE * np.log(2 * np.pi * 0.09)

    return log_likelihood, x, stats.multivariate_normal.logpdf(x, cov=covariance)


@pytest.mark.slow
def test_annealing_finds_the_likelihood(linear_gaussian):
    (log_likelihood, x, log_px), num, calls = linear_gaussian, 300, []

    def log_weights(num_temperatures):
        options = {"num_chains": num, "num_temperatures": num_temperatures, "num_leapfrog_steps": 5}
        return annealing.decoder_log_weights(PRIORS["normal"], log_likelihood, LATENTS, **options)

    annealed = log_weights(240)
    log_w, acceptance = annealed(x, 0, calls.append)
    assert calls[0] == annealing.CHUNK and calls[-1] == 240 and log_w.shape == (num, EXAMPLES)
    error = np.exp(log_w - log_px).std(axis=0) / np.sqrt(num)
    assert np.all(error < 0.1) and np.all(abs(estimators.iwae(log_w) - log_px) < 4 * error)
    assert abs(np.mean(estimators.iwae(log_w) - log_px)) < 0.05 and 0.6 < acceptance < 0.8
    short = log_weights(10)(x)[0]
    assert np.mean(short) < np.mean(log_w) - 0.1  # the bound E[log w] rises with the number of temperatures
    fewer, other = annealed(x[:3], 1)[0], annealed(x, 1)[0]
    assert fewer.shape == (num, 3) and np.all(other != log_w)  # another batch, other noise
    np.testing.assert_allclose(annealed(x, 1)[0], other)


@pytest.mark.parametrize("batch", [2, 2**12 + 2])
def test_one_temperature_is_importance_sampling_from_the_prior(linear_gaussian, batch, eagerly):
    log_likelihood, x, _ = linear_gaussian
    options = {"num_chains": 5, "num_temperatures": 1, "seed": 3}
    log_weights = annealing.decoder_log_weights(PRIORS["normal"], log_likelihood, LATENTS, **options)
    z = noise.normal(noise.key(3, 2 * batch, annealing.DECODER), [5, EXAMPLES, LATENTS])
    np.testing.assert_allclose(log_weights(x, batch)[0], log_likelihood(x, z), rtol=1e-5)
