"""Annealed importance sampling against enumerated machines, linear-Gaussian decoders, and a published result."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import io, special, stats

from tests.zoo.enumeration import exact_samples, log_joint, make_gaussian, make_machine, tensors
from trainers import data
from zoo.energy.dbm import DBM
from zoo.parts import annealing, boltzmann, estimators, gibbs, hamiltonian, noise
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
    log_ratio = special.logsumexp(log_joint(*machine[:2])) - special.logsumexp(log_joint(*unweighted[:2]))

    def log_weights(betas, start):
        def draw(k):
            return gibbs.sampler(noise.uniform(noise.key(0, k, 0), [num, sum(sizes)]), machine)

        path = annealing.machine_path(machine, base, betas, draw)
        return annealing.anneal(path, tf.zeros(num, tf.float64), tensors(exact_samples(*start[:2], num)))[0].numpy()

    betas = np.array([0.0, 0.1, 0.4, 0.6, 1.0])
    forward, backward = log_weights(betas, unweighted), log_weights(betas[::-1], machine)
    for log_w, expected in ((forward, log_ratio), (backward, -log_ratio)):
        w = np.exp(log_w - expected)
        assert w.std() > 0.1
        assert abs(w.mean() - 1.0) < 5 * w.std() / np.sqrt(num)
    assert forward.mean() < log_ratio < -backward.mean()


@pytest.mark.slow
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

    expected = log_p(*machine[:2]) - log_p([tf.zeros_like(W) for W in machine.weights], base)
    assert np.all(abs(expected) > 100)
    np.testing.assert_allclose(still, expected, atol=5e-3)


@pytest.mark.slow
@of_sizes
def test_estimates_of_log_z(sizes):
    machine, done = make_machine(sizes), []
    exact, samples = special.logsumexp(log_joint(*machine[:2])), tensors(exact_samples(*machine[:2], 1000))
    base, options = gibbs.base_rates([x[:100] for x in samples]), {"num_betas": 60, "num_runs": 1000, "seed": 0}
    forward = annealing.estimate_log_z(machine, base, **options, progress=done.append)
    backward = annealing.estimate_log_z(machine, base, **options, samples=samples)
    for estimate in (forward, backward):
        assert 1e-5 < estimate.standard_error < 0.03
        assert abs(estimate.value - exact) < 5 * estimate.standard_error
    assert done == [25, 25, 10]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(2, 8), (3, 2, 2)])
def test_estimates_of_log_z_of_real_units(sizes):
    machine, mixture = make_gaussian(sizes)
    samples, options = tensors(mixture.draw(1000)), {"num_betas": 60, "num_runs": 1000, "seed": 0}
    base = gibbs.base_rates(samples, machine.precisions)
    for more in ({}, {"samples": samples}):
        estimate = annealing.estimate_log_z(machine, base, **options, **more)
        assert 1e-5 < estimate.standard_error < 0.03
        assert abs(estimate.value - mixture.log_z) < 5 * estimate.standard_error


@pytest.mark.slow
def test_standard_error_is_the_spread_of_estimates(eagerly, monkeypatch):
    def estimate(seed):
        options = {"num_betas": 3, "num_runs": 400, "seed": seed}
        return annealing.estimate_log_z(make_machine((3, 2)), [tf.zeros(3), tf.zeros(2)], **options)

    estimates = [estimate(seed) for seed in range(20)]
    values, errors = np.array(estimates).T
    assert 0.5 < values.std() / errors.mean() < 1.7
    monkeypatch.setattr(annealing, "CHUNK", 2)
    assert len(set(estimates)) == 20 and estimate(0) == estimates[0]


def test_few_runs_do_not_hide_their_error(monkeypatch):
    """Weights 1 and 3: their mean has the error 1, that of one alone is not known."""
    machine, options = make_machine((3, 2)), {"num_betas": 1, "seed": 0}
    monkeypatch.setattr(annealing, "compiled", lambda path: lambda *_: (tf.constant(np.log([1.0, 3.0])), None))
    log_z = annealing.estimate_log_z(machine, machine.biases, num_runs=2, **options)
    base = np.logaddexp(0, np.concatenate(machine.biases).astype(np.float64)).sum()
    np.testing.assert_allclose(log_z, [base + np.log(2), 0.5], rtol=1e-6)
    with pytest.raises(ValueError, match="give 2 runs or more, not 1"):
        annealing.estimate_log_z(machine, machine.biases, num_runs=1, **options)
    with pytest.raises(ValueError, match="log_z_runs must be 2 or more"):
        DBM(data_shape=(2, 2, 1), hidden_units=(2,), log_z_runs=1)


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
    log_z = annealing.estimate_log_z(machine, base, num_betas=3000, num_runs=50, seed=0)
    assert log_z.standard_error < 0.35
    assert abs(log_z.value - 451.28) < 0.5
    bound = boltzmann.bound(machine, test, boltzmann.recognize(machine, test))  # of an RBM it is log p(v) + log Z
    log_likelihood = np.mean(bound) - log_z.value
    assert abs(log_likelihood + 86.3) < 0.2


# --- Decoders ---------------------------------------------------------------------------------------------------------

KERNEL = np.random.default_rng(0).normal(size=[LATENTS, SIZE])  # p(x|z) = N(z KERNEL, sigma^2 I)


def decoder(sigma, num=EXAMPLES):
    """The log-likelihood as a function of x and z, and `num` draws of p(x, z): x, their log p(x), and z."""
    z, noise_of_x = np.split(np.random.default_rng(1).normal(size=[num, LATENTS + SIZE]), [LATENTS], axis=1)
    x = z @ KERNEL + sigma * noise_of_x
    kernel = tf.constant(KERNEL, tf.float32)

    def log_likelihood(x, z):
        squares = tf.reduce_sum((x - tf.tensordot(z, kernel, 1)) ** 2, -1)
        return -0.5 * squares / sigma**2 - 0.5 * SIZE * np.log(2 * np.pi * sigma**2)

    log_px = stats.multivariate_normal.logpdf(x, cov=KERNEL.T @ KERNEL + sigma**2 * np.eye(SIZE))
    return log_likelihood, x.astype(np.float32), log_px, z.astype(np.float32)


def annealing_of(log_likelihood, **options):
    return annealing.DecoderAnnealing(PRIORS["normal"], log_likelihood, LATENTS, **options)


@pytest.mark.slow
def test_annealing_finds_the_likelihood():
    (log_likelihood, x, log_px, _), num, calls = decoder(0.3), 300, []
    chains = annealing_of(log_likelihood, num_chains=num, num_temperatures=240, num_leapfrog_steps=5)
    step_sizes = chains.step_sizes(x, 0, calls.append)
    assert sum(calls) == chains.num_pilot_transitions == 240
    log_w, acceptance = chains.log_weights(x, step_sizes, 0, progress=calls.append)
    assert sum(calls) == 480 and set(calls) == {annealing.CHUNK, 15} and log_w.shape == (num, EXAMPLES)
    error = np.exp(log_w - log_px).std(axis=0) / np.sqrt(num)
    assert np.all(error < 0.1) and np.all(abs(estimators.iwae(log_w) - log_px) < 4 * error)
    assert abs(np.mean(estimators.iwae(log_w) - log_px)) < 0.05 and 0.6 < acceptance < 0.8
    fewer, other = (chains.log_weights(x[:n], step_sizes[:, :n], 1)[0] for n in (3, EXAMPLES))
    assert fewer.shape == (num, 3) and np.all(other != log_w)  # another batch, other noise
    np.testing.assert_allclose(chains.log_weights(x, step_sizes, 1)[0], other)


@pytest.mark.slow
def test_chains_of_both_directions_agree_and_bracket_the_likelihood():
    """Forward, E[w] = p(x). Backward, 1 / w has tails too long for means, but bounded functions of it have theirs:

        E[h(log w - log p)] forward = E[h(log w + log p)] backward,   h(t) = 1 / (1 + exp(-t)),

    if the chains of one direction are the reverse of the others' (Bennett 1976; Crooks 2000). The examples are
    independent, the chains of one, which set out from the same draw of its posterior, are not.
    """
    num, gaps = 3000, []
    log_likelihood, x, log_px, z = decoder(0.5, num)
    for num_temperatures in (1, 4, 30):
        chains = annealing_of(log_likelihood, num_chains=3, num_temperatures=num_temperatures, num_leapfrog_steps=3)
        step_sizes = tf.constant(np.geomspace(0.8, 0.05, num_temperatures + 1)[:, None] * np.ones(num), tf.float32)
        forward, backward = (chains.log_weights(x, step_sizes, samples=samples)[0].numpy() for samples in (None, z))
        w = np.exp(forward - log_px).mean(axis=0)
        h = (special.expit(forward - log_px) - special.expit(backward + log_px)).mean(axis=0)
        assert abs(w.mean() - 1.0) < 4 * w.std() / np.sqrt(num)
        assert abs(h.mean()) < 4 * h.std() / np.sqrt(num) < 0.05
        lower, upper = estimators.iwae(forward), -estimators.iwae(backward)
        assert np.mean(lower) < np.mean(log_px) < np.mean(upper)
        gaps.append(np.mean(upper - lower))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


@pytest.mark.slow
@pytest.mark.parametrize("adapted_on_the_way", [True, False])
def test_step_sizes_that_chains_did_not_choose_leave_weights_unbiased(adapted_on_the_way, monkeypatch):
    """Those of a single chain that follows its own acceptance have another mean than p(x), here by 10 %."""
    for name, value in (("PILOT_CHAINS", 1), ("PILOT_TRANSITIONS", 1)):
        monkeypatch.setattr(annealing, name, value)
    monkeypatch.setattr(hamiltonian, "ADAPTATION_RATE", 1.0)
    log_likelihood, x, log_px, _ = decoder(0.3)
    num = 20_000
    x, log_px = np.repeat(x[:1], num, axis=0), log_px[0]
    chains = annealing_of(log_likelihood, num_chains=1, num_temperatures=50, num_leapfrog_steps=3)
    if adapted_on_the_way:
        z, step_sizes = noise.normal([0, 0], [1, num, LATENTS]), tf.fill([52, num], hamiltonian.LARGEST_STEP_SIZE)
        log_w = chains._run(chains._pilot, x, 0, z, step_sizes, None)[0]
    else:
        log_w = chains.log_weights(x, chains.step_sizes(x))[0]
    w = np.exp(log_w - log_px)
    deviations = (w.mean() - 1.0) / w.std() * np.sqrt(num)
    assert deviations > 6 if adapted_on_the_way else abs(deviations) < 4


@pytest.mark.slow
@pytest.mark.parametrize("num_temperatures", [3, 300])
def test_step_sizes_meet_the_acceptance_rate_at_every_temperature(num_temperatures):
    """Of exact draws of p(z) p(x|z)^beta, which is Gaussian."""
    sigma, num = 0.1, 100
    log_likelihood, x, _, _ = decoder(sigma, num)
    chains = annealing_of(log_likelihood, num_temperatures=num_temperatures)
    step_sizes = chains.step_sizes(x)
    assert step_sizes.shape == (num_temperatures + 1, num)
    for k in range(num_temperatures, 0, -(num_temperatures // 3)):
        beta = annealing.decoder_betas(num_temperatures)[k]
        covariance = np.linalg.inv(np.eye(LATENTS) + beta * KERNEL @ KERNEL.T / sigma**2)
        normal, uniform = noise.normal([k, 0], [100, num, LATENTS]).numpy(), noise.uniform([k, 1], [100, num])
        z = (beta * x @ KERNEL.T @ covariance / sigma**2 + normal @ np.linalg.cholesky(covariance).T).astype(np.float32)
        momentum = noise.normal([k, 2], z.shape)

        def log_density(z):
            return chains.log_prior(z) + beta * log_likelihood(x, z)

        _, acceptance = hamiltonian.transition(log_density, z, momentum, uniform, step_sizes[k], 10)
        assert 0.55 < np.mean(acceptance) < 0.75
        assert np.std(np.log(step_sizes[k])) < 0.1  # of the examples, whose posteriors are equally wide


@pytest.mark.parametrize("batch", [2, 2**12 + 2])
def test_one_temperature_is_importance_sampling_from_the_prior(batch, eagerly):
    """And from the posterior on the way back."""
    log_likelihood, x, _, z = decoder(0.3)
    chains = annealing_of(log_likelihood, num_chains=5, num_temperatures=1, seed=3)
    step_sizes = tf.fill([2, EXAMPLES], 0.1)
    drawn = noise.normal(noise.key(3, 2 * batch, annealing.FORWARD), [5, EXAMPLES, LATENTS])
    for samples, start, sign in ((None, drawn, 1.0), (z, np.tile(z, [5, 1, 1]), -1.0)):
        log_w, _ = chains.log_weights(x, step_sizes, batch, samples)
        np.testing.assert_allclose(log_w, sign * log_likelihood(x, start), rtol=1e-5)
