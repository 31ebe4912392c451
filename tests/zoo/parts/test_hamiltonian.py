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


def leapfrog(z, momentum, step_size, num_steps):
    """Half a step of the momentum, whole ones of both in turn, and half a one again (Neal 2011, section 5.2.3)."""
    momentum = momentum - 0.5 * step_size * z @ PRECISION
    for i in range(1, num_steps + 1):
        z = z + step_size * momentum
        momentum = momentum - (0.5 if i == num_steps else 1.0) * step_size * z @ PRECISION
    return z, momentum


@pytest.mark.parametrize("step_size, num_steps", [(0.3, 4), (1.0, 1), (1.5, 2)])
def test_transitions_by_a_second_implementation(step_size, num_steps):
    """With proposals that return to the start when the momentum is turned round."""
    z, rng = draws(40).astype(np.float64), np.random.default_rng(1)
    momentum, uniform = rng.normal(size=z.shape), rng.random(40)
    proposal, end = leapfrog(z, momentum, step_size, num_steps)
    back = leapfrog(proposal, -end, step_size, num_steps)
    np.testing.assert_allclose(back, (z, -momentum), atol=1e-12)

    def energy(z, momentum):
        return 0.5 * (z * (z @ PRECISION) + momentum**2).sum(axis=1)

    accepted = np.minimum(1.0, np.exp(energy(z, momentum) - energy(proposal, end)))
    given = [tf.constant(values, tf.float32) for values in (z, momentum, uniform, np.full(40, step_size))]
    after, acceptance = hamiltonian.transition(log_density, *given, num_steps)
    np.testing.assert_allclose(acceptance, accepted, atol=1e-4)
    np.testing.assert_allclose(after, np.where((uniform < accepted)[:, None], proposal, z), atol=1e-4)


def bent(z):
    """A log-density whose leapfrog steps are no linear map."""
    return -tf.reduce_sum(tf.math.softplus(z) - 0.3 * z, -1) - 0.25 * tf.reduce_sum(z, -1) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("step_size, num_steps", [([0.3], 4), ([0.5, 0.2], 3)])
def test_leapfrog_returns_to_its_start_and_keeps_the_volume(step_size, num_steps):
    start, step_size = np.random.default_rng(0).normal(size=[5, 4]), tf.constant(step_size, tf.float64)

    def flow(state, unroll=True):
        return tf.concat(hamiltonian.leapfrog(bent, *tf.split(state, 2, -1), step_size, num_steps, unroll)[:2], -1)

    turned = np.array([1.0, 1.0, -1.0, -1.0])
    np.testing.assert_allclose(turned * flow(turned * flow(tf.constant(start))), start, atol=1e-10)
    with tf.GradientTape() as tape:
        tape.watch(state := tf.constant(start))
        end = flow(state)
    np.testing.assert_allclose(flow(state, unroll=False), end, atol=1e-12)
    jacobian = tape.batch_jacobian(end, state)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian), (np.ones(5), np.zeros(5)), atol=1e-10)


def test_energy_of_leapfrog_errs_by_the_square_of_the_step_size():
    z, v = tf.constant(np.random.default_rng(0).normal(size=[2, 50, 2]))
    errors = []
    for num_steps in (10, 20):
        _, end, (before, after) = hamiltonian.leapfrog(bent, z, v, tf.constant(1.0 / num_steps, tf.float64), num_steps)
        errors.append(np.abs(after - before - 0.5 * np.sum(end**2 - v**2, -1)).max())
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_a_mass_is_another_step_size():
    """Leapfrog of momenta p = sqrt(M) v, with z' = p / M, written out."""
    mass, (z, v) = np.array([4.0, 0.25]), np.random.default_rng(0).normal(size=[2, 7, 2])
    found, end, _ = hamiltonian.leapfrog(
        lambda z: -0.5 * tf.reduce_sum((z @ PRECISION) * z, -1), *map(tf.constant, (z, v)), 0.2 / np.sqrt(mass), 3
    )
    p = np.sqrt(mass) * v
    for _ in range(3):
        p = p - 0.1 * z @ PRECISION
        z = z + 0.2 * p / mass
        p = p - 0.1 * z @ PRECISION
    np.testing.assert_allclose((found, end), (z, p / np.sqrt(mass)), atol=1e-12)


@pytest.mark.parametrize("step_size, acceptance, expected", [
    (0.1, 0.65, 0.1),
    (0.1, 1.0, 0.1 * np.exp(0.07)),
    (0.1, 0.0, 0.1 * np.exp(-0.13)),
    (0.49, 1.0, 0.5),
    (1.1e-4, 0.0, 1e-4),
])  # fmt: skip
def test_step_sizes_follow_the_acceptance_rate_within_bounds(step_size, acceptance, expected):
    np.testing.assert_allclose(hamiltonian.adapt(tf.constant([step_size]), acceptance), [expected], rtol=1e-5)


def test_a_trajectory_that_leaves_the_world_is_refused():
    """Its energy is no number, and an acceptance that were none would be the step size of all transitions to come."""
    z = tf.constant([[1.0], [-2.0]])
    after, acceptance = hamiltonian.transition(
        lambda z: tf.reduce_sum(z**2 - z**4, -1), z, tf.ones_like(z), tf.fill([2], 0.5), tf.fill([2], 10.0), 10
    )
    np.testing.assert_array_equal(after, z)
    np.testing.assert_array_equal(acceptance, [0.0, 0.0])
