"""The density on the plane, of Gaussians that are known."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.trainers.metrics.made import MODES, data_of, model_of, options, run_of
from trainers.metrics.densities import density_map, mixture_log_density
from zoo.parts import noise

STD = 0.3
ROWS = np.concatenate([m + STD * np.random.default_rng(i).normal(size=[500, 2]) for i, m in enumerate(MODES)])
DATA = data_of(ROWS.astype(np.float32), ROWS.astype(np.float32), MODES, STD)


def gaussian_run(mean, std, path):
    """Of the model N(mean, std^2 I)."""

    def sample(seeds):
        return mean + std * noise.normal_rows(seeds, 2)

    def exact_log_prob(x):
        return tf.reduce_sum(-0.5 * ((x - mean) / std) ** 2 - np.log(std * np.sqrt(2 * np.pi)), axis=1)

    return run_of(model_of(exact_log_prob=exact_log_prob, sample=sample), path)


def test_mixture_density_is_scipys():
    each = [stats.multivariate_normal(mode, STD**2).pdf(ROWS) for mode in MODES]
    np.testing.assert_allclose(mixture_log_density(DATA, ROWS), np.log(np.mean(each, axis=0)), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("std, mass", [(0.4, 1.0), (3.0, None)])
def test_mass_and_divergence_are_those_of_gaussians(tmp_path, std, mass):
    """From one mode the picture has all of a narrow density, and of a wide one what its sides have."""
    mean = np.array([2.0, 2.0])
    found = density_map(gaussian_run(mean, std, tmp_path), DATA, options())
    low, high = ROWS.min(0) - 0.1 * np.ptp(ROWS, axis=0), ROWS.max(0) + 0.1 * np.ptp(ROWS, axis=0)
    inside = np.prod(stats.norm.cdf(high, mean, std) - stats.norm.cdf(low, mean, std))
    assert found["mass"] == pytest.approx(mass or inside, abs=1e-3)
    truth = stats.multivariate_normal(mean, std**2).logpdf(ROWS)
    assert found["kl"] == pytest.approx(np.mean(mixture_log_density(DATA, ROWS) - truth), rel=1e-4)
    assert found["num_examples"] == len(ROWS) and (tmp_path / "density_map.png").exists()
    assert "kl" not in density_map(gaussian_run(mean, std, tmp_path), data_of(DATA.train, DATA.test), options())
