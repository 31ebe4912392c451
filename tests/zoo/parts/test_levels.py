"""Likelihoods of grey levels against SciPy's probabilities in float64."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from common.graph import graph
from export import gate
from zoo.parts import distributions, levels, noise

SIZE = 2  # pixels of one row, of two channels


def logistic(p, n):
    edges = (np.arange(n) + 0.5) / n
    law = stats.logistic(p[0], np.exp(8 * np.tanh(p[1] / 8)))
    below, above = np.array([0.0, *law.cdf(edges), 1.0]), np.array([1.0, *law.sf(edges), 0.0])
    return np.log(np.where(below[:-1] < 0.5, np.diff(below), -np.diff(above)))  # in the tail where digits are


LOG_MASSES = {  # of the parameters [num_parameters] of a pixel, for 0 ... n
    "binomial": lambda p, n: stats.binom(n, special.expit(p[0])).logpmf(np.arange(n + 1)),
    "poisson": lambda p, n: special.log_softmax(stats.poisson(np.exp(p[0])).logpmf(np.arange(n + 1))),
    "discretized_logistic": logistic,
    "categorical": lambda p, n: special.log_softmax(p),
}
every_family = pytest.mark.parametrize("name", levels.FAMILIES)


def made(name, num_levels, num_rows=3, scale=1.0):
    """A likelihood, parameters [rows, 1, 1, ...] of so many different rows, and log masses [rows, SIZE, num_levels]."""
    family = distributions.likelihood(name, num_levels)
    rng = np.random.default_rng(0)
    by_parameter = rng.normal(0, scale, [num_rows, family.num_parameters, SIZE]).astype(np.float32)
    of_pixels = by_parameter.astype(np.float64).swapaxes(1, 2)
    truth = np.array([[LOG_MASSES[name](p, num_levels - 1) for p in row] for row in of_pixels])
    return family, tf.constant(by_parameter.reshape(num_rows, 1, 1, -1)), truth


@pytest.mark.parametrize("num_levels", [2, 17, 256])
@every_family
def test_probabilities_are_scipys_and_sum_to_one(name, num_levels):
    """Of each level by itself, of many draws of parameters at once, and in the mean."""
    family, parameters, truth = made(name, num_levels)
    p, values = family.density(parameters, 3), np.arange(num_levels) / (num_levels - 1)
    assert p.event_shape == (1, 1, SIZE) and p.batch_shape == (3,)
    of_levels = family.density(tf.tile(parameters, [num_levels, 1, 1, 1]), 0)
    x = np.repeat(values, 3).astype(np.float32).reshape(-1, 1, 1, 1) * np.ones([1, 1, 1, SIZE], np.float32)
    log_p = np.reshape(of_levels.log_prob(x), [num_levels, 3, SIZE]).astype(np.float64)
    np.testing.assert_allclose(np.exp(log_p).sum(0), 1.0, atol=1e-4)
    expected = np.moveaxis(truth, -1, 0)
    np.testing.assert_allclose(log_p, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.reshape(p.mean(), [3, SIZE]), np.exp(truth) @ values, rtol=1e-4, atol=1e-5)
    some = p.log_prob(x[3 : 3 * 2])  # a row for each
    np.testing.assert_allclose(some, expected[1].sum(-1), rtol=1e-4, atol=1e-4)
    stacked = family.density(tf.stack([parameters] * 2), 3).log_prob(x[3 : 3 * 2])
    np.testing.assert_allclose(stacked, [some] * 2, rtol=1e-5)


@pytest.mark.parametrize("num_levels", [2, 17])
@every_family
def test_draws_have_the_probabilities_and_come_of_their_own_seeds(name, num_levels):
    """By a chi-squared test of the levels of expectation 5 or more, and beside the latent point of the same seed."""
    family, parameters, truth = made(name, num_levels, num_rows=1)
    num, seeds = 6000, tf.range(6000, dtype=tf.int64)
    x = family.rows(family.density(tf.tile(parameters, [num, 1, 1, 1]), 3), seeds).numpy()
    assert x.shape == (num, 1, 1, SIZE) and x.dtype == np.float32
    level = np.rint(x.reshape(num, SIZE) * (num_levels - 1)).astype(int)
    np.testing.assert_allclose(x.reshape(num, SIZE), level / (num_levels - 1), atol=1e-6)
    for c in range(SIZE):
        counts, expected = np.bincount(level[:, c], minlength=num_levels), num * np.exp(truth[0, c])
        often = expected >= 5
        found, wanted = ([*v[often], v[~often].sum()] for v in (counts, expected))
        if wanted[-1] < 5:
            found, wanted = [found[0] + found[-1], *found[1:-1]], [wanted[0] + wanted[-1], *wanted[1:-1]]
        assert len(found) < 2 or stats.chisquare(found, wanted, sum_check=False).pvalue > 1e-3
    latent = noise.normal_rows(seeds, SIZE).numpy()
    assert abs(np.corrcoef(latent[:, 0], level[:, 0])[0, 1]) < 4 / np.sqrt(num)
    np.testing.assert_array_equal(family.rows(family.density(parameters, 3), seeds[4:5])[0], x[4])


EXTREMES = [-1e30, -1e3, 0.0, 1e3, 1e30]


@pytest.mark.slow
@every_family
def test_scores_and_gradients_at_extremes_are_numbers(name):
    """Of the first parameter and of all others; under XLA, too, where draws are the same."""
    family = distributions.likelihood(name, 17)
    rows = [[first, *[other] * (family.num_parameters - 1)] for first in EXTREMES for other in EXTREMES]
    parameters = tf.repeat(tf.constant(rows)[:, None, None], 3, axis=0)
    x = tf.tile(tf.constant([0.0, 0.5, 1.0])[:, None, None, None], [len(rows), 1, 1, 1])

    def score(parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_p = family.density(parameters, 3).log_prob(x)
        return log_p, tape.gradient(log_p, parameters), family.rows(family.density(parameters, 3), tf.range(len(x)))

    log_p, slopes, drawn = (part.numpy() for part in score(parameters))
    assert not np.isnan(log_p).any() and log_p.max() <= 1e-6 and np.isfinite(slopes).all()
    assert np.all((drawn >= 0) & (drawn <= 1))
    for eager, compiled in zip((log_p, slopes, drawn), graph(score, jit_compile=True)(parameters), strict=True):
        np.testing.assert_allclose(eager, compiled, rtol=1e-5, atol=1e-5)


@every_family
def test_servers_and_other_runtimes_have_every_operation(name):
    """In batches of any size."""
    family = distributions.likelihood(name, 17)

    @tf.function(input_signature=[tf.TensorSpec([None, 1, 1, family.num_parameters]), tf.TensorSpec([None, 1, 1, 1])])
    def serve(parameters, x):
        p = family.density(parameters, 3)
        return p.mean(), p.log_prob(x), family.rows(p, tf.range(tf.shape(x)[0]))

    found = serve.get_concrete_function().graph.as_graph_def()
    nodes = [*found.node, *(node for function in found.library.function for node in function.node_def)]
    assert len(nodes) > 20 and not {node.op for node in nodes} & {*gate.REFUSED, "Expm1"}


@pytest.mark.parametrize("pixel", [0, 1, 128, 254, 255])
def test_dequantised_pixels_lie_strictly_within_their_level(pixel):
    """Whatever the uniform number is, so that log x and log(1 - x) are finite."""
    for uniform in (0.0, 0.3, 1.0 - 2.0**-24):
        x = levels.dequantized(np.float32(pixel / 255), np.float32(uniform)).numpy().astype(np.float64)
        assert pixel < 256 * x < pixel + 1 and abs(256 * x - pixel - uniform) < 1 / 4096


@pytest.mark.parametrize("num_levels, pixels, expected", [
    (256, np.arange(256), True),
    (2, np.array([0, 255]), True),
    (2, np.array([0, 254]), False),
    (3, np.array([0, 127, 255, 127]), True),  # 127.5, as nearly as 8 bits can tell
    (3, np.array([0, 128, 255, 128]), True),
    (3, np.array([0, 127, 128, 255]), False),  # of two different ones, one level
    (171, np.arange(256), False),  # so 256 of them, each within half a step of 1.5
    (255, np.arange(256), False),
    (17, np.rint(np.arange(17) * 255 / 16), True),
    (17, np.arange(256), False),
    (1000, np.arange(256), True),
])  # fmt: skip
def test_pixels_that_are_levels(num_levels, pixels, expected):
    assert levels.at_levels(pixels.astype(np.uint8), num_levels) == expected
