"""Measures of points against distributions and models that are known exactly."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from scipy import special, stats

from trainers import points
from trainers.data import load
from zoo.parts import noise
from zoo.parts.divergences import DIVERGENCES


def run_of(path, **model):
    model = {"conditional": False, "labelled": False, **model}
    signatures = [name for name in ("sample", "log_ratio") if name in model]
    model = SimpleNamespace(**model, signatures=lambda: dict.fromkeys(signatures))
    return SimpleNamespace(model=model, path=path, step=300, settings=SimpleNamespace(dynamic_binarization=False))


OPTIONS = SimpleNamespace(seed=0, batch_size=1000)


def keep(path, samples):
    (path / "samples").mkdir()
    for step, rows in samples.items():
        np.save(path / "samples" / f"step_{step:06d}.npy", rows.astype(np.float32))


def test_modes_over_time(tmp_path):
    ring = load("ring")
    samples = {
        100: np.repeat(ring.modes[:3], 10, axis=0),
        200: np.concatenate([ring.modes[:2], np.zeros([6, 2])]),
        300: ring.modes,
        400: ring.modes[:1],  # after the checkpoint: of a run that was interrupted
    }
    keep(tmp_path, samples)
    found = points.modes_over_time(run_of(tmp_path), ring, OPTIONS)
    assert found == {"modes_found": 8, "num_modes": 8, "high_quality_share": 1.0, "fewest_modes_in_second_half": 2}
    assert (tmp_path / "modes.png").stat().st_size > 1000
    assert points.modes_over_time(run_of(tmp_path), load("digits"), OPTIONS) is None


def test_kl_of_histograms(tmp_path):
    """Samples of the right distribution are as near as other data; those of N(1.2, .5^2) farther by the KL of these."""
    data = load("gaussian")

    def sampler(mean, std=0.5):
        return lambda seeds: mean + std * noise.normal_rows(seeds, 1)

    keep(tmp_path, {100: np.array([[0.0], [2.0]])})
    right = points.histogram_kl(run_of(tmp_path, sample=sampler(1.0)), data, OPTIONS)
    np.testing.assert_allclose(right["kl"], right["of_data"], rtol=0.1)
    wrong = points.histogram_kl(run_of(tmp_path, sample=sampler(1.2)), data, OPTIONS)
    np.testing.assert_allclose(wrong["kl"] - right["kl"], (0.2 / 0.5) ** 2 / 2, rtol=0.15)
    np.testing.assert_allclose([wrong["mean"], wrong["width"]], [1.2, 0.5], atol=0.005)
    np.testing.assert_allclose([wrong["mean_of_data"], wrong["width_of_data"]], [1.0, 0.5], atol=0.005)
    assert (tmp_path / "histogram.png").stat().st_size > 1000
    assert points.histogram_kl(run_of(tmp_path), load("ring"), OPTIONS) is None


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

    return {"log_ratio": log_ratio, "numerator": numerator}


def test_density_ratio_of_a_model_that_knows_it(tmp_path):
    """Every bound is the divergence itself, by quadrature; the plug-in KL is the true one; calibration is right."""
    data = load("line")
    found = points.density_ratio(run_of(tmp_path, **exact(data, (1,))), data, OPTIONS)
    x = np.linspace(-5, 5, 20001)
    p, q = stats.norm.pdf(x, 0, 0.5), 0.5 * (stats.norm.pdf(x, -2, 0.5) + stats.norm.pdf(x, 2, 0.5))
    for name in ("total_variation", "squared_hellinger", "jensen_shannon"):  # the others' variance is large
        expected = np.trapezoid(q * DIVERGENCES[name].f(tf.constant(p / q)), x)
        np.testing.assert_allclose(found[name], expected, rtol=0.02, err_msg=name)
    np.testing.assert_allclose(found["kl_plug_in"], found["true_kl"], rtol=1e-4)
    np.testing.assert_allclose(found["true_kl"], np.trapezoid(p * np.log(p / q), x), rtol=0.03)
    assert found["calibration_error"] < 0.01 and found["error_of_log_ratio"] < 1e-3
    assert found["num_of_p"] == np.sum(data.test_labels == 1) and (tmp_path / "density_ratio.png").exists()
    wrong = points.density_ratio(run_of(tmp_path, **exact(data, (1,), shift=1.0)), data, OPTIONS)
    np.testing.assert_allclose(wrong["error_of_log_ratio"], 1.0, rtol=1e-3)
    assert wrong["calibration_error"] > found["calibration_error"] and wrong["jensen_shannon"] < found["jensen_shannon"]


def test_reliability_of_known_probabilities():
    S = np.array([0.01, 0.02, 0.5, 0.5, 0.99])
    confidence, share, mass = points._reliability(S, np.array([0, 1, 1, 1, 1]), np.full(5, 0.2))
    np.testing.assert_allclose(confidence, [0.015, 0.5, 0.99])
    np.testing.assert_allclose(share, [0.5, 1.0, 1.0])
    np.testing.assert_allclose(mass, [0.4, 0.4, 0.2])


def test_true_ratio_of_a_mixture():
    data = load("grid")
    x = np.random.default_rng(0).normal(size=[10, 2]) * 0.1
    densities = [stats.multivariate_normal(mode, data.mode_std**2).pdf(x) for mode in data.modes]
    p, q = np.mean(densities[:13], axis=0), np.mean(densities[13:], axis=0)
    found = points.true_log_ratio(data, range(13), x)
    np.testing.assert_allclose(special.expit(found), p / (p + q), rtol=1e-6)
