"""Autoregressive models of so few pixels that every state is there."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from common.graph import graph
from zoo import MODELS

LEVELS = {"likelihood": "categorical", "num_levels": 3}
SHAPES = {"bernoulli": (2, 5, 1), "categorical": (2, 2, 1), "discretized_logistic": (2, 2, 1)}
SMALL = {"filters": 6, "num_blocks": 1, "output_filters": 5, "first_kernel_size": 3}
CASES = [
    ("made", {"hidden_units": (12,)}),
    ("made", {"hidden_units": (4, 12, 9), "order": "random", "activation": "tanh"}),
    ("made", {"hidden_units": (12,), "num_masks": 3}),
    ("made", {"hidden_units": (12, 9), "num_masks": 4, "order": "random"}),
    ("made", {"hidden_units": (12, 9), "num_masks": 2, **LEVELS}),
    ("made", {"hidden_units": (6,), **LEVELS, "likelihood": "discretized_logistic"}),
    ("nade", {"hidden_units": 7}),
    ("nade", {"hidden_units": 7, "order": "random"}),
    ("nade", {"hidden_units": 5, **LEVELS}),
    ("pixelrnn", {"recurrence": "row", "data_shape": (3, 3, 1), "num_layers": 2, "hidden_size": 3}),
    ("pixelrnn", {"recurrence": "diagonal", "data_shape": (3, 3, 1), "num_layers": 2, "hidden_size": 3}),
    ("pixelrnn", {"recurrence": "row", "data_shape": (2, 1, 3), "num_layers": 1, "hidden_size": 3, **LEVELS}),
    ("pixelcnn", {**SMALL, "data_shape": (3, 3, 1)}),
    ("pixelcnn", {**SMALL, "data_shape": (3, 3, 1), "gated": True}),
    ("pixelcnn", {**SMALL, "data_shape": (1, 2, 3), **LEVELS}),
    ("pixelcnn", {**SMALL, "data_shape": (2, 1, 3), "gated": True, **LEVELS}),
]
NUM = 5000  # draws


def make(name, **settings):
    model = MODELS[name](**{"data_shape": SHAPES[settings.get("likelihood", "bernoulli")]} | settings)
    rng, scale = np.random.default_rng(0), 0.5 if name.startswith("pixel") else 1.0  # of deep networks
    for weight in model.conditionals.trainable_variables:
        weight.assign(scale * rng.normal(size=weight.shape))
    return model


@functools.cache
def of_case(i):
    """A model, and a function of seeds that gives its samples and their means, flat, and is traced once."""
    name, settings = CASES[i]
    model = make(name, **settings)
    return model, graph(model.draws_and_means, input_signature=[tf.TensorSpec([None], tf.int64)])


of_each_case = pytest.mark.parametrize(
    "i",
    [
        pytest.param(i, id=f"{i}-{name}", marks=[pytest.mark.slow] if name == "pixelrnn" else [])
        for i, (name, _) in enumerate(CASES)
    ],
)


def states(model):
    """All x, flat [n, D], in lexicographic order, and how many values a pixel has."""
    num = 2 if model.support == "binary" else model.num_levels
    values = np.arange(num, dtype=np.float32) / (num - 1)
    return np.array(list(itertools.product(values, repeat=model.size)), np.float32), num


def probabilities(model):
    """p(x) of all of them, float64, and each served."""
    x, _ = states(model)
    return np.exp(model.exact_log_prob(x.reshape(-1, *model.data_shape)).numpy().astype(np.float64))


def frequencies(model, rows):
    _, num = states(model)
    level = np.rint(np.reshape(rows, [len(rows), -1]) * (num - 1)).astype(int)
    return np.bincount(level @ num ** np.arange(model.size)[::-1], minlength=num**model.size) / len(rows)


def assert_drawn_from(found, p, num):
    """Frequencies of `num` draws from p, by a sum of squares of 5 standard errors at most over its expectation."""
    excess = num * np.sum((found - p) ** 2 / np.maximum(p, 1e-12)) - (len(p) - 1)
    variance = 2 * (len(p) - 1) + (np.sum(1 / np.maximum(p, 1e-12)) - len(p) ** 2) / num
    assert excess < 5 * np.sqrt(variance)


@pytest.mark.slow
@of_each_case
def test_probabilities_of_all_states_sum_to_one(i):
    model, _ = of_case(i)
    p = probabilities(model)
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-5)
    assert p.std() > 0.5 * p.mean()  # of weights that matter
    served = model.signatures()["log_prob"][0](images=states(model)[0].reshape(-1, *model.data_shape))["log_prob"]
    np.testing.assert_allclose(np.exp(served), p, rtol=1e-5)


@pytest.mark.slow
@of_each_case
def test_a_pixel_depends_on_those_before_it_alone(i):
    """The parameters of pixel i have no slope at all by pixel j at its own place or later, and on all before."""
    name, settings = CASES[i]
    model = make(name, **settings | ({"activation": "tanh"} if name == "made" else {}))
    x = np.random.default_rng(1).random(model.size).astype(np.float32)
    x = tf.constant(np.tile(x, [model.size, 1]))  # a row for the parameters of each pixel
    reached = np.zeros([model.size] * 2, bool)
    for k, places in enumerate(model.orders):
        found = []
        model.of_pixels = lambda x, parameters: found.append(parameters) or parameters
        with tf.GradientTape() as tape:
            tape.watch(x)
            parameters = tf.linalg.diag_part(tf.reduce_sum(model.log_probs(x, k), axis=1))
        slopes = np.abs(tape.gradient(parameters, x))
        before = places < places[:, None]
        assert np.all(slopes[~before] == 0.0)
        reached |= slopes > 0.0
    if min(np.atleast_1d(settings.get("hidden_units", 0))) >= model.size - 1:
        assert np.all(reached[np.any([p < p[:, None] for p in model.orders], axis=0)])


@pytest.mark.slow
@of_each_case
def test_draws_have_the_probabilities_that_rows_are_scored_by(i):
    """And of bits, by one mask, the means are the probabilities whose product that is."""
    model, draw = of_case(i)
    rows, means = (values.numpy() for values in draw(tf.range(NUM, dtype=tf.int64)))
    assert_drawn_from(frequencies(model, rows), probabilities(model), NUM)
    if model.support == "binary" and model.num_masks == 1:
        log_p = np.log(np.where(rows > 0.5, means, 1.0 - means)).sum(1)
        np.testing.assert_allclose(log_p, model.exact_log_prob(rows.reshape(-1, *model.data_shape)), atol=1e-4)


@pytest.mark.slow
@of_each_case
def test_inpainting_draws_what_is_missing_given_what_is_known(i):
    """From p(missing | known), where the known pixels come first; and of a row with nothing known its sample."""
    (model, draw), (x, _), num = of_case(i), states(of_case(i)[0]), NUM
    first = np.any([places < model.size // 2 for places in model.orders], axis=0)
    if len({tuple(places) for places in model.orders}) > 1:
        first[:] = False  # no pixels come first in all of them, and nothing known is all that is exact
    row = x[len(x) * 2 // 3]
    shape = (num, *model.data_shape)
    known, rows = (np.broadcast_to(each, [num, model.size]).reshape(shape) for each in (first, row))
    hidden = np.where(known, rows, 0.5).astype(np.float32)  # what is not known is not looked at
    inpaint = graph(model.signatures()["inpaint"][0])
    found = inpaint(images=hidden, mask=known.astype(np.float32), seed=tf.range(num, dtype=tf.int64))
    draws, means = (found[key].numpy().reshape(num, -1) for key in ("images", "mean"))
    np.testing.assert_array_equal(draws[:, first], np.tile(row[first], [num, 1]))
    p = probabilities(model) * np.all(x[:, first] == row[first], axis=1)
    p /= p.sum()
    assert_drawn_from(frequencies(model, draws)[p > 0.0], p[p > 0.0], num)
    np.testing.assert_allclose(means.mean(0), p @ x, atol=5 * 0.5 / np.sqrt(num))
    nothing = inpaint(images=hidden, mask=np.zeros(shape, np.float32), seed=tf.range(num, dtype=tf.int64))["images"]
    np.testing.assert_array_equal(np.reshape(nothing, [num, -1]), draw(tf.range(num, dtype=tf.int64))[0])


@pytest.mark.slow
@of_each_case
def test_a_row_is_the_same_in_any_batch(i):
    (_, draw), seeds = of_case(i), tf.range(NUM, dtype=tf.int64)
    together = draw(seeds)[0].numpy()
    for rows in (np.s_[7:8], np.s_[100:103], np.s_[5:38]):
        np.testing.assert_array_equal(draw(seeds[rows])[0], together[rows])


def test_masks_take_turns_and_their_probabilities_are_averaged():
    model = make("made", hidden_units=(12,), num_masks=3, order="random")
    x = states(model)[0][::50]
    of_masks = [tf.reduce_sum(model.log_probs(x, k), axis=1) for k in range(3)]
    images = x.reshape(-1, *model.data_shape)
    expected = special.logsumexp(of_masks, axis=0) - np.log(3)
    np.testing.assert_allclose(model.exact_log_prob(images), expected, rtol=1e-5)
    model.compile({"conditionals": "sgd"}, jit_compile=False)
    for step in range(4):
        loss = -np.mean(tf.reduce_sum(model.log_probs(x, step % 3), axis=1))
        model.reset_metrics()
        np.testing.assert_allclose(model.train_step(images)["conditionals_loss"], loss, rtol=1e-5)


def test_nade_is_the_direct_sum():
    """Of all pixels before for each pixel, O(D^2 H), in float64; and so is its gradient, by differences."""
    model = make("nade", hidden_units=7, order="random")
    W, V, b, c = (w.numpy().astype(np.float64) for w in model.weights_as(tf.float64))
    x, places = np.random.default_rng(2).integers(0, 2, (6, model.size)).astype(np.float64), model.orders[0]

    def direct():
        found = np.zeros(len(x))
        for i in range(model.size):
            h = special.expit(c + sum(x[:, j, None] * W[places[j]] for j in range(model.size) if places[j] < places[i]))
            logit = h @ V[places[i], :, 0] + b[places[i], 0]
            found += special.log_expit(np.where(x[:, i] == 1, logit, -logit))
        return found

    images = tf.constant(x.reshape(-1, *model.data_shape), tf.float32)
    with tf.GradientTape() as tape:
        log_p = model.exact_log_prob(images)
    np.testing.assert_allclose(log_p, direct(), rtol=1e-5)
    weights = [getattr(model.conditionals, name).value for name in "WVbc"]
    for array, slope in zip((W, V, b, c), tape.gradient(log_p, weights), strict=True):
        index, h = tuple(n // 2 for n in array.shape), 1e-5
        array[index] += h
        more = direct().sum()
        array[index] -= 2 * h
        np.testing.assert_allclose(np.asarray(slope)[index], (more - direct().sum()) / (2 * h), rtol=1e-3, atol=1e-4)
        array[index] += h


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("made", {"hidden_units": ()}, "hidden_units must not be empty"),
        ("made", {"activation": "maxout"}, "activation=maxout mixes"),
        ("made", {"num_levels": 1}, "num_levels must be at least 2"),
        ("nade", {"data_shape": (4,), "likelihood": "categorical"}, "points have no grey levels"),
        ("pixelrnn", {"data_shape": (4,)}, "points have no rows of pixels"),
        ("pixelcnn", {"data_shape": (4,)}, "points have no neighbours"),
        ("pixelcnn", {"first_kernel_size": 1}, "first_kernel_size must be at least 2"),
    ],
)
def test_arguments_that_do_not_go_together(name, settings, message):
    with pytest.raises(ValueError, match=message):
        MODELS[name](**{"data_shape": (2, 2, 1)} | settings)
