"""Corruptions against pixels that are known, and what all of them promise."""

import numpy as np
import pytest
import tensorflow as tf

from zoo.parts import noise
from zoo.parts.corruptions import CORRUPTIONS

STEP = np.zeros([1, 6, 6, 1], np.float32)
STEP[:, :, 3:] = 1.0
EDGE = np.zeros_like(STEP)
EDGE[:, :, 2:4] = 1.0
RAMP = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1) / 36
BLOCKS = [[10.5, 13.5], [28.5, 31.5]]  # means of rows 0 to 3 and 4 to 5, and of the same columns, times 36
HALF = RAMP.copy()
HALF[:, 3:] = 0.5


@pytest.mark.parametrize("name, x, expected", [
    ("edges", STEP, EDGE),
    ("edges", np.swapaxes(STEP, 1, 2), np.swapaxes(EDGE, 1, 2)),
    ("edges", 0.25 * STEP, 0.25 * EDGE),
    ("edges", np.ones_like(STEP), 0.0 * STEP),
    ("coarse", RAMP, np.repeat(np.repeat(BLOCKS, [4, 2], 0), [4, 2], 1)[None, ..., None] / 36),
    ("masked_half", RAMP, HALF),
    ("grey", np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3), np.reshape([0.299, 0.587, 0.114], [1, 1, 3, 1])),
])  # fmt: skip
def test_known_images(name, x, expected):
    np.testing.assert_allclose(CORRUPTIONS[name].function(tf.constant(x)), expected, atol=1e-6)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 7, 3)])
def test_rows_stay_in_their_range(name, shape):
    x = noise.uniform([0, 1], [5, *shape])
    function, is_grey = CORRUPTIONS[name]
    y = function(x)
    assert y.shape == (5, *shape[:2], 1 if is_grey else shape[2]) and 0.0 <= np.min(y) <= np.max(y) <= 1.0
    np.testing.assert_allclose(function(x[2:3])[0], y[2], atol=1e-6)
