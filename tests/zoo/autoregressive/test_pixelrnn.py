"""PixelRNN beside loops over single pixels, and the pixels that each of its outputs sees."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from common.graph import graph
from zoo.autoregressive import pixelrnn
from zoo.autoregressive.pixelrnn import PixelRNN

OFFSETS = {"row": [(-1, -1), (-1, 0), (-1, 1)], "diagonal": [(-1, 0), (0, -1)]}  # of pixels that K_ss sees


def by_pixel(x, K, offsets):
    """States [batch, height, width, h] of x [batch, height, width, 4 h] by equation 3, one pixel after the other.

    c comes from the last but one of the offsets of a row, the pixel above, and from the last of a diagonal.
    """
    batch, height, width, size = x.shape
    h, c = (np.zeros([batch, height + 2, width + 2, size // 4]) for _ in range(2))  # with a border of zeros
    carried = (-1, 0) if len(offsets) == 3 else (0, -1)
    for i in range(height):
        for j in range(width):
            seen = np.concatenate([h[:, 1 + i + down, 1 + j + right] for down, right in offsets], axis=-1)
            o, f, i_, g = np.split(x[:, i, j] + seen @ K, 4, axis=-1)
            before = c[:, 1 + i + carried[0], 1 + j + carried[1]]
            c[:, 1 + i, 1 + j] = expit(f) * before + expit(i_) * np.tanh(g)
            h[:, 1 + i, 1 + j] = expit(o) * np.tanh(c[:, 1 + i, 1 + j])
    return h[:, 1:-1, 1:-1]


@pytest.mark.slow
@pytest.mark.parametrize("shape, jit_compile", [((3, 5), True), ((4, 2), False), ((1, 3), False)])
def test_recurrences_are_those_of_loops_over_pixels(shape, jit_compile):
    rng, size = np.random.default_rng(0), 2
    x, K = rng.normal(size=[2, *shape, 8 * size]), rng.normal(size=[2, 3 * size, 4 * size])
    above = np.zeros([2, 2, shape[1], size])
    row_lstm, diagonal_bilstm = (
        graph(function, jit_compile=jit_compile) for function in (pixelrnn.row_lstm, pixelrnn.diagonal_bilstm)
    )
    found, _ = row_lstm(tf.constant(x[..., : 4 * size]), tf.constant(K[:1]), tf.constant(above))
    np.testing.assert_allclose(found, by_pixel(x[..., : 4 * size], K[0], OFFSETS["row"]), rtol=1e-10)
    left, right = np.split(x, 2, axis=-1)
    K = K[:, : 2 * size]
    expected = by_pixel(left, K[0], OFFSETS["diagonal"])
    expected[:, 1:] += by_pixel(right[:, :, ::-1], K[1], OFFSETS["diagonal"])[:, :-1, ::-1]
    found, _ = diagonal_bilstm(tf.constant(x), tf.constant(K), tf.constant(above))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_skewed_image_has_its_diagonals_as_columns():
    x = np.random.default_rng(0).normal(size=[2, 3, 4, 2]).astype(np.float32)
    skewed = pixelrnn.skew(tf.constant(x))
    assert skewed.shape == (2, 3, 6, 2)
    for i in range(3):
        np.testing.assert_array_equal(skewed[:, i, i : i + 4], x[:, i])
    np.testing.assert_array_equal(pixelrnn.unskew(skewed), x)


def slopes(model):
    """Of every first parameter by every pixel, [D, D], of random weights."""
    rng = np.random.default_rng(0)
    for weight in model.conditionals.trainable_variables:
        weight.assign(rng.normal(size=weight.shape, scale=0.3))
    x = tf.constant(np.tile(rng.random(model.size), [model.size, 1]))  # a row for each parameter
    with tf.GradientTape() as tape:
        tape.watch(x)
        parameters = tf.linalg.diag_part(model.parameters(x)[..., 0])
    return tape.gradient(parameters, x)


def in_triangle(down, right, num_layers):
    """Of a row LSTM: K_in, and a place more on each side with every row, and on the left, by K_is, with every layer."""
    left = -right <= down + 3 + num_layers
    return left & ((down == 0) & (right < 0) | (down > 0) & (right <= down + 2))


def everything(down, right, num_layers):
    return (down > 0) | (down == 0) & (right < 0)


@pytest.mark.slow
@pytest.mark.parametrize("recurrence, num_layers, shape, field", [
    ("row", 1, (3, 13, 1), in_triangle),
    ("row", 2, (3, 13, 1), in_triangle),
    ("row", 1, (2, 7, 3), in_triangle),
    ("diagonal", 1, (3, 13, 1), everything),
    ("diagonal", 1, (2, 7, 3), everything),
])  # fmt: skip
def test_an_output_sees_all_of_its_field_and_nothing_else(recurrence, num_layers, shape, field):
    """Of images so wide that the first pixel of a row sees the last of the row above by the recurrence alone."""
    model = PixelRNN(data_shape=shape, recurrence=recurrence, num_layers=num_layers, hidden_size=18)
    down, right, channel = (of[:, None] - of for of in np.unravel_index(np.arange(model.size), shape))
    expected = field(down, -right, num_layers) | (down == 0) & (right == 0) & (channel > 0)
    np.testing.assert_array_equal(slopes(model) != 0.0, expected)


@pytest.mark.slow
def test_without_a_column_beside_it_the_last_pixel_of_a_row_is_hidden_from_the_next(monkeypatch):
    monkeypatch.setattr(PixelRNN, "beside", 0)
    model = PixelRNN(data_shape=(2, 13, 1), num_layers=2, hidden_size=18)
    expected = np.tri(26, k=-1, dtype=bool)
    expected[13:22, 12] = False  # which K_in, three columns to each side, does not reach it from
    np.testing.assert_array_equal(slopes(model) != 0.0, expected)
