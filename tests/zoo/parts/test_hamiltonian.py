"""Hamiltonian Monte Carlo against a distribution that it leaves alone."""

import numpy as np
import pytest
import tensorflow as tf

from zoo.parts import hamiltonian, noise

COVARIANCE = np.array([[1.0, 0.8], [0.8, 2.0]])
PRECISION = np.linalg.inv(COVARIANCE)


def draws(num):
    return np.random.default_rng(0).multivariate_normal([0, 0], COVARIANCE, num).astype(np.float32)


def log_density(z):
    return -0.5 * tf.reduce_sum(z * tf.tensordot(z, tf.constant(PRECISION, tf.float32), 1), -1)


@pytest.mark.parametrize("step_size, least, most", [(0.01, 0.999, 1.0), (0.6, 0.9, 0.99), (1.4, 0.4, 0.6)])
def test_chains_stay_in_their_distribution(step_size, least, most):
    """Also where many proposals are refused: without the refusals they would spread."""
    z = draws(20_000)
    for i in range(5):
        momentum, uniform = noise.normal([0, i], z.shape), noise.uniform([1, i], [len(z)])
        z, acceptance = hamiltonian.transition(log_density, z, momentum, uniform, tf.fill([len(z)], step_size), 3)
    assert least <= np.mean(acceptance) <= most
    np.testing.assert_allclose(np.mean(z, axis=0), [0, 0], atol=0.05)
    np.testing.assert_allclose(np.cov(np.transpose(z)), COVARIANCE, atol=0.1)


def test_trajectories_are_reversible():
    """From the proposal with the opposite momentum the leapfrog returns to the start (Neal 2011, section 5.2.3)."""
    z, ends = draws(10), []

    def trajectory(z, momentum):
        def recording(z):
            ends.append(z)
            return log_density(z)

        hamiltonian.transition(recording, tf.constant(z), momentum, tf.zeros([10]), tf.fill([10], 0.3), 4)

    trajectory(z, np.random.default_rng(1).normal(size=z.shape).astype(np.float32))
    # The momentum at the end, from the last half steps: p' = (z_4 - z_3) / h + h / 2 * gradient.
    last = (ends[-1] - ends[-2]) / 0.3 - 0.15 * np.asarray(ends[-1]) @ PRECISION
    trajectory(ends[-1], tf.cast(-last, tf.float32))
    np.testing.assert_allclose(ends[-1], z, atol=1e-5)


def test_step_sizes_follow_the_acceptance_rate_within_bounds():
    target, largest = hamiltonian.TARGET_ACCEPTANCE, hamiltonian.LARGEST_STEP_SIZE
    step_size, recent = hamiltonian.adapt(tf.constant([0.1, 0.1, largest]), tf.fill([3], target), [1.0, 0.0, 1.0])
    np.testing.assert_allclose(step_size, [0.102, 0.1 / 1.02, largest], rtol=1e-6)
    np.testing.assert_allclose(recent, [0.9 * target + 0.1, 0.9 * target, 0.9 * target + 0.1], rtol=1e-6)
