"""Huszar's sprinkler: the posterior on cells against quadrature, and what each method finds of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import Adam
from keras.optimizers.schedules import CosineDecay
from scipy import integrate, stats

from tests.trainers.metrics.made import data_of, options, run_of
from tests.zoo.steps import train
from trainers import data as datasets
from trainers.metrics import theory
from zoo.studies.sprinkler import Sprinkler

DATA = data_of(np.ones([2, 1]), np.ones([2, 1]))


def test_cells_of_the_posterior_are_those_of_quadrature():
    """The prior's deviation is sqrt 2, and the exponential's mean 3 and the cubes of what is positive."""

    def joint(z_2, z_1, x=12.0):
        mean = 3.0 + max(z_1, 0.0) ** 3 + max(z_2, 0.0) ** 3
        return stats.norm.pdf(z_1, 0, 2**0.5) * stats.norm.pdf(z_2, 0, 2**0.5) * stats.expon.pdf(x, scale=mean)

    cells, edges = theory.posterior_on_cells(Sprinkler(data_shape=(1,)), 12.0), theory.EDGES
    whole = integrate.dblquad(joint, -6, 6, -6, 6, epsabs=1e-5, epsrel=1e-4)[0]
    for i, j in ((30, 42), (20, 35), (39, 39)):
        share = integrate.dblquad(joint, *edges[[i, i + 1]], *edges[[j, j + 1]])[0] / whole
        np.testing.assert_allclose(cells[i, j], share, rtol=1e-2)
    np.testing.assert_allclose(cells.sum(), 1.0, rtol=1e-6)


@pytest.mark.parametrize("z", [9.0, -1e30, np.nan])
def test_draws_beyond_the_cells_are_far_from_the_posterior(z, tmp_path):
    model = Sprinkler(data_shape=(1,))
    model.encode = lambda x, seeds: {"z": tf.fill([100, 2], z)}
    found = theory.posterior_against_theory(run_of(model, tmp_path), DATA, options(num_model_samples=100))
    assert found["kl_at_0"] > 5.0


@pytest.mark.slow
@pytest.mark.parametrize("method, largest", [("prior_contrastive", 0.3), ("joint_contrastive", 0.6), ("denoiser", 0.6)])
def test_each_method_finds_the_posterior(method, largest, tmp_path):
    """Its KL at 0, 5, 8 and 12; a Gaussian can not have both arms, and an untrained encoder is far away."""
    keras.utils.set_random_seed(0)
    model, data, num_steps = Sprinkler(data_shape=(1,), method=method), datasets.load("sprinkler"), 2000
    rates = {"encoder": CosineDecay(2e-3, num_steps), "estimator": CosineDecay(5e-3, num_steps, alpha=0.1)}
    model.compile({move: Adam(rate, beta_1=0.5) for move, rate in rates.items()}, jit_compile=False)

    def largest_kl():
        chosen = options(num_model_samples=20_000)
        found = theory.posterior_against_theory(run_of(model, tmp_path), data, chosen)
        assert (tmp_path / "posterior.png").exists()
        return max(found[f"kl_at_{x}"] for x in (0, 5, 8, 12))

    assert largest_kl() > 2.0
    train(model, tf.constant(data.train), num_steps, 256)
    assert largest_kl() < largest
