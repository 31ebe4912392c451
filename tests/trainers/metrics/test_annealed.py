"""Log-likelihoods by annealed importance sampling, by quadrature and against made-up log Z."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.trainers.metrics.made import NUM_ROWS, data_of, model_of, options, run_of
from trainers.metrics.annealed import ais_gap, ais_log_likelihood, ais_nll
from trainers.rundir import Run
from zoo.parts import annealing, distributions
from zoo.variational.vae import VAE


@pytest.mark.slow
@pytest.mark.parametrize("batch_size, num_examples", [(NUM_ROWS, 100), (5, 7)])
def test_ais_nll_by_quadrature(vae, images, truth, batch_size, num_examples):
    """Of all rows, or of some drawn without replacement, in batches whose last one is smaller."""
    more = {"num_ais_examples": num_examples, "num_ais_chains": 40, "num_ais_temperatures": 30}
    given = options(batch_size=batch_size, num_ais_leapfrog_steps=3, **more)
    result = ais_nll(run_of(vae), images, given)
    num = result["num_examples"]
    assert num == min(num_examples, NUM_ROWS)
    rows = np.random.default_rng(0).choice(NUM_ROWS, num, replace=False)
    assert len(set(rows)) == num
    log_px, _ = truth
    np.testing.assert_allclose(result["nll"], -log_px[rows].mean(), atol=0.05)
    np.testing.assert_allclose(result["nll_standard_error"], log_px[rows].std() / np.sqrt(num), rtol=0.2)
    assert 0.5 < result["acceptance_rate"] <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("likelihood, data_shape, kernel, batch_size", [
    ("bernoulli", (2, 2, 1), [2.0, -3.0, 1.0, 0.0], 200),
    ("gaussian", (2, 1, 1), [1.0, -0.3, 1.0, 0.2], 100),  # means and raw log-variances in turn
])  # fmt: skip
def test_ais_gap_by_quadrature(likelihood, data_shape, kernel, batch_size):
    """Over the latent, for the very rows that the model draws, Gaussian ones in any range, in one batch or several."""
    num, few = 200, np.zeros([2, *data_shape], np.float32)
    model = VAE(data_shape=data_shape, latent_size=1, hidden_units=(), likelihood=likelihood)
    model.decoder.set_weights([np.array([kernel]), np.array([0.5, 0.0, -1.0, -1.5])])
    seeds = tf.range(5, 5 + num, dtype=tf.int64)
    x = model.family.rows(model.p(model.latent(seeds)), seeds)
    z = np.linspace(-9, 9, 2001, dtype=np.float32)
    joint = model.p(z[:, None, None]).log_prob(x).numpy() + stats.norm.logpdf(z)[:, None]
    log_px = special.logsumexp(joint, axis=0) + np.log(z[1] - z[0])

    more = {"num_ais_examples": num, "num_ais_chains": 16, "num_ais_leapfrog_steps": 3, "num_ais_temperatures": 4}
    found = ais_gap(run_of(model), data_of(few, few), options(batch_size=batch_size, seed=5, **more))
    lower, upper = found["log_prob_lower_bound"], found["log_prob_upper_bound"]
    assert log_px.mean() - 0.3 < lower < log_px.mean() < upper < log_px.mean() + 0.3
    assert found["gap"] == pytest.approx(upper - lower) and found["gap_standard_error"] < 0.3
    for name in ("log_prob_lower_bound", "log_prob_upper_bound"):
        np.testing.assert_allclose(found[f"{name}_standard_error"], log_px.std() / np.sqrt(num), rtol=0.3)
    assert found["num_examples"] == num and found["num_temperatures"] == 4


@pytest.mark.slow
def test_ais_nll_of_a_generator_that_is_given_a_variance():
    """z ~ N(0, I) and a linear G: p(x) = N(b, W W' + variance I)."""
    W, b, variance = np.array([[0.5, -0.2, 0.1], [0.3, 0.4, -0.6]], np.float32), np.float32(0.2), 0.05
    model = model_of(decode=lambda z: tf.matmul(z, W) + b)
    model.latent_prior, model.latent_size, model.data_shape = distributions.PRIORS["normal"], 2, (3,)
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    run = Run(Path(), model, 1, SimpleNamespace(dynamic_binarization=False), {})
    more = {"num_ais_examples": 20, "num_ais_chains": 20, "num_ais_temperatures": 200, "num_ais_leapfrog_steps": 5}
    found = ais_nll(run, data_of(x, x), options(decoder_variance=variance, **more))
    truth = stats.multivariate_normal(np.full(3, b), W.T @ W + variance * np.eye(3)).logpdf(x)
    assert found["nll"] == pytest.approx(-truth.mean(), abs=0.1)


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_the_error_of_a_likelihood_has_that_of_log_z(spread):
    """Against the spread of estimates of mean bound minus log Z, both made up."""
    rows = np.arange(50.0)[:, None].astype(np.float32)
    log_z = {True: annealing.LogZ(3.0, spread), False: annealing.LogZ(4.0, 2 * spread)}
    parts = {"data_range": None, "unnormalized_bound": lambda x: x[:, 0], "states": lambda x: [x]}
    parts["drawing"] = lambda *_: contextlib.nullcontext()
    model = model_of(**parts, estimate_log_z=lambda samples=None, **_: log_z[samples is None])
    found = ais_log_likelihood(run_of(model), data_of(rows + 7.0, rows), options(num_betas=1, num_runs=2))
    assert found["of_training_rows"] == pytest.approx(found["log_prob_lower_bound"] + 7.0)
    error = found["log_prob_lower_bound_standard_error"]
    assert found["of_training_rows_standard_error"] == pytest.approx(error)
    rng = np.random.default_rng(0)
    means = rng.choice(rows[:, 0], [20000, 50]).mean(1)
    for name, value, error in (("log_prob_lower_bound", 3.0, spread), ("by_backward_log_z", 4.0, 2 * spread)):
        estimates = means - rng.normal(value, error, 20000)
        assert found[name] == pytest.approx(24.5 - value)
        assert found[f"{name}_standard_error"] == pytest.approx(estimates.std(), rel=0.03)
