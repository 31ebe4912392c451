"""GMMN: what each discrepancy can and can not tell, on distributions that are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.steps import train_by_adam
from zoo.implicit.gmmn import GMMN
from zoo.parts import discrepancies


def samples_after_training(points, **arguments):
    keras.utils.set_random_seed(0)
    model = GMMN(data_shape=(points.shape[1],), prior="normal", **arguments)
    train_by_adam(model, tf.constant(points, tf.float32), 400, 100, 0.02)
    return model.sample(tf.range(4000, dtype=tf.int64)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("discrepancy", ["mmd", "energy", "covariance"])
def test_a_linear_generator_finds_mean_and_covariance(discrepancy):
    rng = np.random.default_rng(0)
    points = rng.normal(size=[20_000, 2]) @ np.array([[1.0, 0.0], [0.8, 0.5]]).T + np.array([2.0, -1.0])
    samples = samples_after_training(points, latent_size=2, generator_units=(), discrepancy=discrepancy)
    np.testing.assert_allclose(samples.mean(0), points.mean(0), atol=0.12)
    np.testing.assert_allclose(np.cov(samples.T), np.cov(points.T), atol=0.15)


@pytest.mark.slow
def test_moments_do_not_tell_two_modes_from_one_and_kernels_do():
    """Data at -1 and 1: the share of samples in between."""
    rng = np.random.default_rng(0)
    points = rng.choice([-1.0, 1.0], [20_000, 1]) + 0.1 * rng.normal(size=[20_000, 1])
    between = {}
    for discrepancy in ("covariance", "mmd", "energy"):
        samples = samples_after_training(points, latent_size=1, generator_units=(32, 32), discrepancy=discrepancy)
        between[discrepancy] = np.mean(np.abs(samples) < 0.5)
        assert abs(samples.mean()) < 0.15 and abs(samples.std() - points.std()) < 0.15
    assert between["mmd"] < 0.1 and between["energy"] < 0.1 and between["covariance"] > 0.15


def test_bandwidths_are_in_units_of_the_data():
    """Data ten times as large, and samples with them, have the same discrepancy."""
    model = GMMN(data_shape=(2,), latent_size=2, generator_units=())
    x, z = np.random.default_rng(0).normal(size=[2, 50, 2]).astype(np.float32)
    model.generator.set_weights([np.eye(2), np.ones(2)])
    scale = np.sqrt(2 * x.var(0).sum())
    expected = discrepancies.mmd(z + 1, x, tf.constant(scale * np.array(model.bandwidths), tf.float32))
    np.testing.assert_allclose(model.losses(tf.constant(x), tf.constant(z))["generator"], expected, rtol=1e-4)
    model.generator.set_weights([10 * np.eye(2), 10 * np.ones(2)])
    np.testing.assert_allclose(model.losses(tf.constant(10 * x), tf.constant(z))["generator"], expected, rtol=1e-3)
    differences = x[:, None].astype(np.float64) - x[None]
    np.testing.assert_allclose(scale, np.sqrt(np.square(differences).sum(-1).mean()), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("discrepancy", ["mmd", "energy", "mean", "covariance"])
def test_a_last_minibatch_of_one_row_and_rows_that_are_all_equal_leave_numbers(discrepancy):
    """Compiled by XLA, too; where there is no pair of rows, kernels and distances move nothing."""
    model = GMMN(data_shape=(2,), latent_size=2, generator_units=(3,), discrepancy=discrepancy)
    model.compile({"generator": keras.optimizers.SGD(0.1)}, jit_compile=True)
    for points in (np.random.default_rng(0).normal(size=[5, 2]), np.ones([5, 2])):
        logs = model.fit(points.astype(np.float32), batch_size=2, verbose=0).history
        assert np.isfinite(logs["generator_loss"] + [np.sum(w) for w in model.get_weights()]).all()
    before, _ = model.generator.get_weights()[-2:], model.train_step(tf.ones([1, 2]))
    assert (discrepancy in ("mmd", "energy")) == np.array_equal(before[1], model.generator.get_weights()[-1])
