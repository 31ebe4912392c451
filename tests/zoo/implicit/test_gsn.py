"""Generative stochastic networks of so few pixels that the kernel of their chain is a matrix, against exact chains."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from common.graph import graph
from tests.mistakes import assert_sentence
from tests.zoo.steps import assert_weights, descend, in_float64, train_by_adam
from zoo.implicit.gsn import GSN
from zoo.parts import noise

FIVE = {"data_shape": (1, 1, 1), "likelihood": "categorical", "num_levels": 5}  # five states of one pixel
DATA = np.array([0.4, 0.05, 0.25, 0.1, 0.2])  # their probabilities
NUM = 10_000  # draws


def stationary(kernel):
    """The distribution that a chain converges to, by the power of a matrix [from, to]."""
    return np.linalg.matrix_power(kernel, 2**14)[0]


def posterior(p, corruption):
    """P(x|x~) [x~, x] by Bayes' rule, of p(x) and C(x~|x) [x, x~]."""
    joint = p[:, None] * corruption
    return (joint / joint.sum(axis=0)).T


def best(p, corruption, num_steps, of_theta=lambda P: P):
    """What training comes to: P(x|x~), or what `of_theta` makes of it, x~ being that of each of so many steps alike."""
    P = np.full(corruption.T.shape, 1.0 / len(p))
    for _ in range(200):
        steps = [np.linalg.matrix_power(corruption @ P, k) @ corruption for k in range(num_steps)]
        P = of_theta(posterior(p, sum(steps) / num_steps))
    return P


def states(model):
    """All x, [n, D], in lexicographic order."""
    num = model.num_levels if model.likelihood == "categorical" else 2
    return np.array(list(itertools.product(np.linspace(0, 1, num), repeat=np.prod(model.data_shape))))


def salt_and_pepper(model):
    """C(x~|x) of all states [x, x~], a product over pixels."""
    x, c = states(model), model.corruption
    of_pixels = (1 - c) * (x[:, None] == x) + c / 2 * (x == 0) + c / 2 * (x == 1)
    return of_pixels.prod(axis=-1)


def likelihoods(model, rows):
    """p(x|h_1) of all states x, of a model with one hidden layer for each x~ of rows [n, D], or h_1 = 0: [n, x]."""
    theta, x = model.weights_as(tf.float32), tf.constant(states(model).reshape(-1, *model.data_shape), tf.float32)
    h = (
        model.no_h([[0.0]])
        if rows is None
        else model.sweep(theta[0], [tf.cast(rows, tf.float32), *model.no_h(rows)], [])[1:]
    )
    p = np.exp([model.p(theta, [h[0][i : i + 1]]).log_prob(x) for i in range(len(h[0]))]).astype(np.float64)
    return p / p.sum(axis=1, keepdims=True)  # which rounding has left near to 1


def kernel(model):
    """That of the chain of a model with one hidden layer, [x, next x]."""
    return salt_and_pepper(model) @ likelihoods(model, states(model))


def frequencies(model, rows):
    """Of all states among rows of data."""
    indices = np.abs(np.reshape(rows, [len(rows), 1, -1]) - states(model)).sum(axis=-1).argmin(axis=1)
    return np.bincount(indices, minlength=len(states(model))) / len(rows)


def assert_drawn_from(found, p):
    """By Pearson's statistic of `NUM` draws."""
    assert NUM * np.sum((found - p) ** 2 / np.maximum(p, 1e-12)) < stats.chi2.ppf(1 - 1e-5, len(p) - 1)


def made(seed=0, scale=1.0, **settings):
    model, rng = GSN(**settings), np.random.default_rng(seed)
    for weight in model.transition.trainable_variables:
        weight.assign(rng.normal(size=weight.shape, scale=scale))
    return model


@functools.cache
def bayesian():
    """A model of five states whose p(x|h_1) is P(x|x~), by as many hidden units as there are x~, and a linear map."""
    model = made(**FIVE, hidden_units=(5,), corruption=0.5, num_sample_steps=20)
    exact, (_, V) = posterior(DATA, salt_and_pepper(model)), model.weights_as(tf.float64)
    x_tilde = states(model)
    W, b = 80.0 * np.ones([1, 5]), 10.0 - 80.0 * states(model)[:, 0]  # unit j tells whether x~ is state j or above
    V = np.linalg.solve(np.tanh(x_tilde @ W + b), np.log(np.maximum(exact, 1e-7)))
    for name, value in {"W1": W, "b1": b, "V": V, "c": np.zeros(5)}.items():
        getattr(model.transition, name).assign(value)
    np.testing.assert_allclose(likelihoods(model, x_tilde), exact, atol=1e-4)
    return model


def test_the_chain_of_the_exact_posterior_leaves_the_data_as_they_are():
    """Of any corruption; and of that which walkback comes to, a mixture over steps of the chain, if not by it alone."""
    C = np.random.default_rng(0).dirichlet(np.ones(5), 5)
    P = posterior(DATA, C)
    np.testing.assert_allclose(stationary(C @ P), DATA, rtol=1e-6)
    joint = DATA[:, None] * (C @ P)
    np.testing.assert_allclose(joint, joint.T)  # detailed balance
    P = best(DATA, C, num_steps=4)
    assert np.abs(P - posterior(DATA, C)).max() > 0.01
    np.testing.assert_allclose(stationary(C @ P), DATA, rtol=1e-6)


@pytest.mark.slow
def test_a_model_that_knows_the_posterior_draws_data():
    model = bayesian()
    np.testing.assert_allclose(stationary(kernel(model)), DATA, atol=1e-4)
    assert_drawn_from(frequencies(model, graph(model.sample)(tf.range(NUM, dtype=tf.int64))), DATA)


@pytest.mark.parametrize("corruption", [0.2, 0.5, 1.0])
def test_salt_and_pepper_has_the_probabilities_that_it_tells(corruption):
    """Of two pixels, by noise that has each of 20 x 20 pairs of values once."""
    model = GSN(data_shape=(1, 2, 1), hidden_units=(2,), corruption=corruption)
    uniform = np.stack(np.meshgrid(*2 * [(np.arange(20) + 0.5) / 20]), axis=-1).reshape(400, 1, 2, 1)
    for x, expected in zip(states(model), salt_and_pepper(model), strict=True):
        x_tilde = model.corrupt(np.full([400, 1, 2, 1], x.reshape(1, 2, 1), np.float32), uniform.astype(np.float32))
        np.testing.assert_allclose(frequencies(model, x_tilde), expected, atol=1e-7)
    grey = model.corrupt(np.full([400, 1, 2, 1], 0.3, np.float32), uniform.astype(np.float32))
    assert [np.mean(np.isclose(grey, value)) for value in (0, 0.3, 1)] == pytest.approx(
        [corruption / 2, 1 - corruption, corruption / 2]
    )


CASES = {
    "one layer": ({"data_shape": (2, 2, 1)}, (5,)),
    "two layers": ({"data_shape": (2, 2, 1)}, (5, 4)),
    "four layers": ({"data_shape": (2, 2, 1)}, (5, 4, 3, 2)),
    "levels": ({"data_shape": (2, 1, 2), "likelihood": "categorical", "num_levels": 3}, (5, 4)),
    "reals": ({"data_shape": (3,), "likelihood": "gaussian"}, (5, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_climbs_the_sum_of_log_probabilities_along_the_chain(name):
    """Against the definition, layer by layer in float64, on the same noise; x of a chain is no function of theta."""
    settings, hidden_units = CASES[name]
    model = made(
        scale=0.7, **settings, hidden_units=hidden_units, num_walkback_steps=3, hidden_noise=0.5, corruption=0.3
    )
    x_0 = np.random.default_rng(1).integers(0, 3, [6, *model.data_shape]).astype(np.float32) / 2
    x_0 = np.round(x_0) if model.likelihood == "bernoulli" else x_0
    (theta,) = in_float64(model, 0.1)
    names = [weight.name for weight in model.transition.trainable_variables]
    draws, at = [], 0
    with model.drawing(noise.TRAINING, 0):
        for _ in range(3):
            num = 2 + len(hidden_units) - 1
            draws.append(noise.of_keys(model.noise_of_step, [6], lambda j: model.key("step", at + j)))
            at += num

    def second():
        of = dict(zip(names, theta, strict=True))
        W, b = ([of[f"{letter}{i}"] for i in range(1, len(hidden_units) + 1)] for letter in "Wb")
        x, h, total, last = x_0, [np.zeros([6, n]) for n in hidden_units], 0.0, len(hidden_units)
        for each in draws:
            u = each.x_tilde.numpy()
            x_tilde = x + 0.3 * u if model.likelihood == "gaussian" else np.select([u < 0.15, u >= 0.85], [0, 1], x)
            below = np.reshape(x_tilde, [6, -1]).astype(np.float64)
            for parity in (1, 0):
                for i in range(last):
                    if (i + 1) % 2 == parity:
                        a = b[i] + (h[i - 1] if i else below) @ W[i]
                        a += h[i + 1] @ tf.transpose(W[i + 1]) if i + 1 < last else 0.0
                        eta = each.h[i - 1].numpy().astype(np.float64) if i else np.zeros([6, 2, 1])
                        h[i] = tf.tanh(a + 0.5 * eta[:, 0]) + 0.5 * eta[:, 1]
            parameters = tf.reshape(h[0] @ of["V"] + of["c"], [6, *model.data_shape[:-1], -1])
            log_p, x = densities(model, parameters, x_0, each.x)
            total += tf.reduce_sum(log_p, axis=[*range(1, log_p.shape.rank)])
        return -total

    expected = tf.reduce_mean(second())
    descend(0.1, (theta, second))
    logs = model.train_step(tf.constant(x_0))
    np.testing.assert_allclose(logs["transition_loss"], expected, rtol=1e-5)
    assert_weights(model, [theta])


def densities(model, parameters, x, noise):
    """log p of all numbers in x by float64 parameters, and a draw, by SciPy's formulas."""
    noise = noise.numpy().astype(np.float64)
    if model.likelihood == "bernoulli":
        draw = noise < special.expit(parameters)
        return -tf.nn.sigmoid_cross_entropy_with_logits(tf.constant(x, tf.float64), parameters), draw.astype(float)
    if model.likelihood == "gaussian":
        mean, raw = tf.split(parameters, 2, axis=-1)
        log_s = 4.0 * tf.tanh(raw / 8.0)
        log_p = -0.5 * ((x - mean) / tf.exp(log_s)) ** 2 - log_s - 0.5 * np.log(2 * np.pi)
        return log_p, (mean + tf.exp(log_s) * noise).numpy()
    logits = tf.reshape(parameters, [*parameters.shape[:-1], model.num_levels, x.shape[-1]])  # parameters side by side
    log_p = tf.nn.log_softmax(logits, axis=-2)
    below = np.cumsum(np.exp(log_p), axis=-2)[..., :-1, :] <= noise[..., None, :]
    chosen = np.arange(model.num_levels)[:, None] == np.rint(x * (model.num_levels - 1))[..., None, :]
    return tf.reduce_sum(log_p * chosen, axis=-2), below.sum(axis=-2) / (model.num_levels - 1)


@pytest.mark.slow
@pytest.mark.parametrize("known", [None, (True, False, False), (True, False, True)])
def test_a_served_chain_has_the_distribution_of_its_last_step(known):
    """From p(x|h_1 = 0), four steps of the enumerated kernel; what is known is put back before each."""
    model = made(data_shape=(1, 3, 1), hidden_units=(4,), corruption=0.3, num_sample_steps=4)
    seeds, x = tf.range(NUM, dtype=tf.int64), states(model)
    hold = np.eye(8)
    if known is not None:
        given = np.where(known, [1.0, 0.0, 0.0], x)
        hold = (given[:, None] == x).all(axis=-1).astype(float)
    p = likelihoods(model, None)[0] @ hold @ np.linalg.matrix_power(kernel(model) @ hold, 4)
    if known is None:
        draw, mean = graph(lambda: (model.sample(seeds), model.sample_mean(seeds)))()
    else:
        rows, mask = (np.tile(np.reshape(row, [1, 1, 3, 1]), [NUM, 1, 1, 1]) for row in ([1.0, 0.0, 0.0], known))
        draw, mean = graph(model.inpaint)(tf.constant(rows, tf.float32), tf.constant(mask), seeds)
    assert_drawn_from(frequencies(model, draw), p)
    error = np.sqrt(np.sum(mean * (1 - mean), axis=0)) / NUM
    assert np.all(np.abs(np.mean(draw - mean, axis=0)) <= 5 * error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings, num_steps, bias",
    [
        ({**FIVE, "corruption": 0.5}, 1, 1e-6),
        ({**FIVE, "corruption": 0.5}, 3, 1e-6),
        ({"data_shape": (1, 3, 1), "corruption": 0.1}, 1, 0.035),
        ({"data_shape": (1, 3, 1), "corruption": 0.1}, 3, 0.13),
    ],
)
def test_training_finds_the_chain_of_the_data(settings, num_steps, bias):
    """Total variation of stationary distributions: of the learned chain from the best one, and of that from the data.

    Of three pixels, which p(x|h_1) has independent, the best is not the data's, the less so the more x is corrupted.
    """
    model = GSN(**settings, hidden_units=(20,), num_walkback_steps=num_steps)
    x, C = states(model), salt_and_pepper(model)
    p = DATA if len(x) == 5 else np.random.default_rng(1).dirichlet(np.ones(8))

    def independent(P):
        return np.prod(np.where(x, (P @ x)[:, None], 1 - (P @ x)[:, None]), axis=-1)

    goal = stationary(C @ best(p, C, num_steps, independent if len(x) == 8 else lambda P: P))
    rows = x[np.random.default_rng(0).choice(len(x), 200_000, p=p)].reshape(-1, *model.data_shape)
    train_by_adam(model, tf.constant(rows, tf.float32), 1000, 1000, 0.02)
    assert np.abs(stationary(kernel(model)) - goal).sum() / 2 < 0.02
    assert np.abs(goal - p).sum() / 2 < bias


@pytest.mark.slow
def test_a_chain_of_real_numbers_finds_mean_and_deviation():
    settings = {"hidden_units": (20,), "corruption": 0.5, "num_walkback_steps": 1, "num_sample_steps": 50}
    model = GSN(data_shape=(1,), likelihood="gaussian", **settings)
    points = np.random.default_rng(0).normal(1.0, 0.5, [100_000, 1])
    train_by_adam(model, tf.constant(points, tf.float32), 500, 500, 0.02)
    x = graph(model.sample)(tf.range(5000, dtype=tf.int64)).numpy()
    np.testing.assert_allclose([x.mean(), x.std()], [1.0, 0.5], atol=0.04)


@pytest.mark.parametrize(
    "settings, parts",
    [
        ({"data_shape": (2,), "likelihood": "binomial"}, ["binomial", "choose gaussian"]),
        ({"hidden_units": ()}, ["hidden_units"]),
        ({"corruption": 0.0}, ["corruption", "positive", "at most 1", "not 0."]),
        ({"corruption": 1.5}, ["corruption", "at most 1", "not 1.5."]),
        ({"corruption": 0.0, "likelihood": "gaussian"}, ["corruption must be positive, not 0."]),
    ],
)
def test_a_mistake_is_told_in_one_sentence(settings, parts):
    with pytest.raises(ValueError) as error:
        GSN(**{"data_shape": (2, 2, 1), **settings})
    assert_sentence(str(error.value), *parts)
