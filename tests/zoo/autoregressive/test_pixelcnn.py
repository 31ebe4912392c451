"""PixelCNN: what its masks let a pixel see, and draws by what layers keep against draws by full passes."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from common.graph import graph
from zoo import MODELS
from zoo.parts import masks, noise

SMALL = {"filters": 6, "num_blocks": 2, "output_filters": 5, "first_kernel_size": 3}
FOUR_LEVELS = {"likelihood": "categorical", "num_levels": 4}
both_networks = pytest.mark.parametrize("gated", [False, True])


def make(data_shape, name="pixelcnn", weights=lambda rng, shape: 0.5 * rng.normal(size=shape), **settings):
    model, rng = MODELS[name](data_shape=data_shape, **SMALL | settings), np.random.default_rng(0)
    for weight in model.conditionals.trainable_variables:
        weight.assign(weights(rng, weight.shape))
    return model


def parameters_of(model, x, *y):
    """Of flat x [n, D]: [n, num_parameters, D], by a full pass."""
    found = []
    model.of_pixels = lambda x, parameters: found.append(parameters)
    model.log_probs(x, 0, *y)
    del model.of_pixels
    return found[0]


@pytest.mark.parametrize(
    "size, below, above, expected",
    [
        (3, [1], [0], [[1, 1, 1], [1, 0, 0]]),  # mask A
        (3, [0], [0], [[1, 1, 1], [1, 1, 0]]),  # mask B
        (1, [0], [0], [[1]]),
        (2, [0], [0], [[1, 1], [1, 1]]),
    ],
)
def test_masks_are_those_of_the_paper(size, below, above, expected):
    np.testing.assert_array_equal(masks.causal(size, size, below, above)[:, :, 0, 0], expected)


@pytest.mark.parametrize("first, k", [(True, -1), (False, 0)])
def test_colours_see_those_before_them(first, k):
    """Of mask A strictly, of mask B themselves too; all of them see all of other pixels."""
    colours = np.arange(3)
    mask = masks.causal(3, 3, colours + first, colours)
    np.testing.assert_array_equal(mask[1, 1].T, np.tri(3, k=k))
    assert mask[0].all() and mask[1, 0].all() and not mask[1, 2].any()


@both_networks
@pytest.mark.parametrize("channels, height, width, row, column, size, num_blocks", [
    (1, 5, 6, 4, 1, 3, 4), (3, 5, 6, 4, 1, 3, 4), (1, 13, 25, 12, 12, 7, 7),
])  # fmt: skip
def test_what_a_pixel_sees(gated, channels, height, width, row, column, size, num_blocks):
    """Of weights that are all positive, so that no two paths cancel: every number before, in order of the colours too,
    and none after, as far as the first kernel and one of 3 x 3 for each block reach. Without the gates there is a blind
    spot, of pixels further to the right than up, but for what the first kernel sees beside the line above.
    """
    positive = {"weights": lambda rng, shape: 0.2 * rng.random(shape), "num_blocks": num_blocks}
    model = make((height, width, channels), gated=gated, first_kernel_size=size, **positive)
    x = tf.constant(np.random.default_rng(1).random((1, model.size)), tf.float32)
    place = np.arange(model.size)
    line, right = place // (width * channels) - row, place // channels % width - column
    for channel in range(channels):
        at = (row * width + column) * channels + channel
        with tf.GradientTape() as tape:
            tape.watch(x)
            logit = parameters_of(model, x)[0, 0, at]
        blind = (line < 0) & (right > -line + size // 2 - 1) & (not gated)
        near = np.maximum(-line, abs(right)) <= size // 2 + num_blocks
        np.testing.assert_array_equal(tape.gradient(logit, x)[0] != 0.0, (place < at) & ~blind & near)


@pytest.mark.slow
@both_networks
@pytest.mark.parametrize(
    "data_shape, settings",
    [
        ((5, 4, 1), {"kernel_size": 2, "first_kernel_size": 5}),
        ((4, 3, 3), FOUR_LEVELS),
        ((4, 3, 2), {"name": "conditional_pixelcnn", "num_classes": 3, "kernel_size": 5}),
    ],
)
def test_draws_by_what_is_kept_are_those_by_full_passes(gated, data_shape, settings):
    """Of the same uniform numbers, one pass for each number; and their means to 1e-5."""
    model, seeds = make(data_shape, gated=gated, **settings), tf.range(20, dtype=tf.int64)
    y = model.conditions(label=tf.range(20) % 3) if model.conditional else []
    draw, mean = model.draws_in_graph(seeds, *y)
    uniform = noise.uniform_rows(seeds, model.size, noise.stream(noise.LIKELIHOOD))
    x, means = np.zeros([20, model.size], np.float32), np.zeros([20, model.size], np.float32)
    full = graph(lambda x: parameters_of(model, x, *y))
    for i in range(model.size):
        p = model.family.density(full(x)[:, :, i])
        x[:, i] = model.family.quantile(p, uniform[:, i : i + 1])[:, 0]
        means[:, i] = p.mean()[:, 0]
    np.testing.assert_array_equal(draw, x)
    np.testing.assert_allclose(mean, means, atol=1e-5)
    assert x.std(axis=0).min() > 0.0


@both_networks
def test_what_a_draw_keeps_does_not_grow_with_the_height(gated):
    states = [make((height, 4, 1), gated=gated).walk(tf.zeros([2], tf.int32)).start for height in (3, 30)]
    # In the order of names, and Keras may have counted layers from 9 to 10.
    shapes = [sorted(tuple(each.shape) for each in tf.nest.flatten(state)) for state in states]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
@both_networks
def test_each_class_has_a_distribution(gated):
    """That sums to one, has the log_prob that is served, and is not that of another class."""
    model = make((2, 3, 1), "conditional_pixelcnn", num_classes=2, gated=gated)
    x = np.array(list(itertools.product([0.0, 1.0], repeat=6)), np.float32).reshape(-1, 2, 3, 1)
    log_prob = model.signatures()["log_prob"][0]
    p = [np.exp(log_prob(images=x, label=np.full(64, label))["log_prob"]) for label in (0, 1)]
    np.testing.assert_allclose(np.sum(p, axis=1), 1.0, rtol=1e-5)
    assert np.abs(p[0] - p[1]).sum() > 0.1
    model.compile(jit_compile=False)
    logs = model.test_on_batch(x, np.ones(64, int), return_dict=True)
    assert logs["conditionals_loss"] == pytest.approx(-np.log(p[1]).mean(), rel=1e-5)
