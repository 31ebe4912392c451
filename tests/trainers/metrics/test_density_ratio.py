"""Ratios of densities that are known."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.trainers.metrics.made import model_of, options, run_of
from trainers.data import load
from trainers.metrics import density_ratio
from zoo.parts.divergences import DIVERGENCES


def exact(data, numerator, shift=0.0):
    """A model that knows the ratio, or is wrong by a constant."""

    def log_ratio(x):
        square = tf.reduce_sum(tf.square(x[:, None] - data.modes[None]), axis=-1) / (2 * data.mode_std**2)
        of_p = np.isin(np.arange(len(data.modes)), numerator)
        each = [
            tf.reduce_logsumexp(tf.boolean_mask(-square, rows, axis=1), axis=1) - np.log(rows.sum())
            for rows in (of_p, ~of_p)
        ]
        return {"log_ratio": each[0] - each[1] + shift}

    return model_of(log_ratio=log_ratio, numerator=numerator)


@pytest.mark.slow
def test_density_ratio_of_a_model_that_knows_it(tmp_path):
    """Every bound is the divergence itself, by quadrature; the plug-in KL is the true one; calibration is right."""
    data = load("line")
    found = density_ratio.density_ratio(run_of(exact(data, (1,)), tmp_path), data, options(batch_size=1000))
    x = np.linspace(-5, 5, 20001)
    p, q = stats.norm.pdf(x, 0, 0.5), 0.5 * (stats.norm.pdf(x, -2, 0.5) + stats.norm.pdf(x, 2, 0.5))
    for name in ("total_variation", "squared_hellinger", "jensen_shannon"):  # the others' variance is large
        expected = np.trapezoid(q * DIVERGENCES[name].f(tf.constant(p / q)), x)
        np.testing.assert_allclose(found[name], expected, rtol=0.02, err_msg=name)
    np.testing.assert_allclose(found["kl_plug_in"], found["true_kl"], rtol=1e-4)
    np.testing.assert_allclose(found["true_kl"], np.trapezoid(p * np.log(p / q), x), rtol=0.03)
    assert found["calibration_error"] < 0.01 and found["error_of_log_ratio"] < 1e-3
    assert found["num_of_p"] == np.sum(data.test_labels == 1) and (tmp_path / "density_ratio.png").exists()
    wrong = density_ratio.density_ratio(run_of(exact(data, (1,), shift=1.0), tmp_path), data, options(batch_size=1000))
    np.testing.assert_allclose(wrong["error_of_log_ratio"], 1.0, rtol=1e-3)
    assert wrong["calibration_error"] > found["calibration_error"] and wrong["jensen_shannon"] < found["jensen_shannon"]


def test_reliability_of_known_probabilities():
    S = np.array([0.01, 0.02, 0.5, 0.5, 0.99])
    confidence, share, mass = density_ratio._reliability(S, np.array([0, 1, 1, 1, 1]), np.full(5, 0.2))
    np.testing.assert_allclose(confidence, [0.015, 0.5, 0.99])
    np.testing.assert_allclose(share, [0.5, 1.0, 1.0])
    np.testing.assert_allclose(mass, [0.4, 0.4, 0.2])


def test_true_ratio_of_a_mixture():
    data = load("grid")
    x = np.random.default_rng(0).normal(size=[10, 2]) * 0.1
    densities = [stats.multivariate_normal(mode, data.mode_std**2).pdf(x) for mode in data.modes]
    p, q = np.mean(densities[:13], axis=0), np.mean(densities[13:], axis=0)
    found = density_ratio.true_log_ratio(data, range(13), x)
    np.testing.assert_allclose(special.expit(found), p / (p + q), rtol=1e-6)
