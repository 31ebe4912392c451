"""The aggregate posterior and the parts of the KL, against enumeration of minibatches and Gaussians in closed form."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from zoo.parts import aggregate
from zoo.parts.distributions import PRIORS
from zoo.parts.posteriors import Gaussian

N, SIZE = 4, 2
PARAMETERS = np.random.default_rng(0).normal(size=[N, 2 * SIZE]).astype(np.float32)
Q = Gaussian.of(PARAMETERS)
Z = Q.draw(np.random.default_rng(1).normal(size=[N, SIZE]).astype(np.float32))[0].numpy()  # z_n ~ q(z|x_n)
OF_EACH = stats.norm.pdf(Z[:, None], Q.mean(), Q.density.stddev())  # q(z_nj|x_k), [n, k, j]
JOINT, PRODUCT = OF_EACH.prod(-1).mean(1), OF_EACH.mean(1).prod(-1)


def estimates(batch, sampling):
    """Densities that a minibatch of rows gives, [rows, 1 + SIZE]: q(z), then q(z_j) of each."""
    log_weights = aggregate.SAMPLING[sampling](tf.constant(len(batch)), N)
    joint, marginals = aggregate.log_densities(Gaussian.of(PARAMETERS[batch]), Z[batch], log_weights)
    return np.exp(np.column_stack([joint, marginals])), log_weights.numpy()


@pytest.mark.parametrize("num_rows", [2, 3, 4])
def test_stratified_sampling_is_unbiased_over_all_ordered_minibatches(num_rows):
    found = [[] for _ in range(N)]
    for batch in itertools.permutations(range(N), num_rows):
        densities, log_weights = estimates(list(batch), "stratified")
        np.testing.assert_allclose(np.exp(np.diag(log_weights)), 1 / N, rtol=1e-6)
        np.testing.assert_allclose(np.exp(log_weights).sum(1), 1.0, rtol=1e-6)
        for row, density in zip(batch, densities, strict=True):
            found[row].append(density)
    expected = np.column_stack([JOINT, OF_EACH.mean(1)])
    np.testing.assert_allclose(np.mean(found, axis=1), expected, rtol=1e-5)
    assert (np.std(found, axis=1).max() > 0.01) == (num_rows < N)  # of all rows no estimate


def test_stratified_weights_are_the_mean_of_those_of_the_paper():
    m, M = 5, 4  # rows of a minibatch, and of them those beside row i
    total = np.zeros([m, m])
    for shift in range(1, m):  # which row has the odd weight
        for i in range(m):
            weights = np.full(m, 1 / M)
            weights[i], weights[(i + shift) % m] = 1 / 20, (20 - M) / (20 * M)
            total[i] += weights / M
    np.testing.assert_allclose(np.exp(aggregate.stratified(m, 20)), total, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("s, sign", [(0.5, -1), (0.05, 1)])
def test_the_total_correlation_of_a_minibatch_errs_by_the_width_of_posteriors(s, sign):
    """q(z|x) = N(x, s^2 I), x ~ N(0, (1 - s^2) I): too small of wide ones, too large of narrow ones."""
    rng, num, m, size = np.random.default_rng(0), 2000, 32, 10
    x = np.sqrt(1 - s**2) * rng.normal(size=[num, size])
    parameters = np.concatenate([x, np.full_like(x, 8 * np.arctanh(np.log(s**2) / 8))], axis=1).astype(np.float32)
    z, errors = (x + s * rng.normal(size=x.shape)).astype(np.float32), []
    for rows in rng.permutation(num)[: 20 * m].reshape(20, m):
        of_all, of_some = (
            joint - tf.reduce_sum(marginals, axis=-1)
            for joint, marginals in (
                aggregate.log_densities(Gaussian.of(parameters), z[rows], -np.float32(np.log(num))),
                aggregate.log_densities(Gaussian.of(parameters[rows]), z[rows], aggregate.stratified(m, num)),
            )
        )
        errors.append(np.mean(of_some - of_all))
    assert sign * np.mean(errors) > 4 * np.std(errors) / np.sqrt(20)


def test_weighted_sampling_of_all_rows_has_the_bias_that_is_known():
    densities, _ = estimates(list(range(N)), "weighted")
    np.testing.assert_allclose(densities, np.column_stack([JOINT, OF_EACH.mean(1)]) / N, rtol=1e-5)
    log_weights = aggregate.weighted(N, N)
    parts = aggregate.parts_of_kl(Q, Z, Q.log_prob(Z), PRIORS["normal"].density(SIZE), log_weights)
    np.testing.assert_allclose(
        parts["total_correlation"], np.log(JOINT / PRODUCT) + (SIZE - 1) * np.log(N), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("sampling", aggregate.SAMPLING)
def test_parts_add_up_to_the_divergence_of_draws(sampling):
    prior, log_weights = PRIORS["normal"].density(SIZE), aggregate.SAMPLING[sampling](N, 1000)
    z = np.random.default_rng(2).normal(size=[3, N, SIZE]).astype(np.float32)  # three draws at once
    parts = aggregate.parts_of_kl(Q, z, Q.log_prob(z), prior, log_weights)
    assert list(parts) == list(aggregate.PARTS)
    np.testing.assert_allclose(sum(parts.values()), Q.log_prob(z) - prior.log_prob(z), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rho", [0.0, 0.6, -0.9])
def test_parts_of_correlated_gaussians(rho):
    """q(z|x) = N(x, s^2 I), x ~ N(0, C - s^2 I): q(z) = N(0, C), of which every part is known."""
    rng, num, s = np.random.default_rng(0), 1500, 0.25
    C = np.array([[1.0, rho], [rho, 1.0]])
    x = rng.multivariate_normal([0, 0], C - s**2 * np.eye(2), num).astype(np.float32)
    q = Gaussian.of(np.concatenate([x, np.full_like(x, 8 * np.arctanh(np.log(s**2) / 8))], axis=1))
    z, log_qz = q.draw(rng.normal(size=x.shape).astype(np.float32))
    parts = aggregate.parts_of_kl(q, z, log_qz, PRIORS["normal"].density(2), -np.float32(np.log(num)))
    truth = [0.5 * np.log(1 - rho**2) - np.log(s**2), -0.5 * np.log(1 - rho**2), 0.0]
    for part, expected in zip(parts.values(), truth, strict=True):
        assert abs(np.mean(part) - expected) < 4 * np.std(part) / np.sqrt(num) + 0.01
