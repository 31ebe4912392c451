"""The Laplacian pyramid: exact, and its filters against convolutions."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from zoo.parts import pyramid

BLUR = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
SIDES = [(8, 1), (28, 2), (28, 3), (7, 1), (5, 2)]


def noise_of(side):
    return np.random.default_rng(0).normal(size=[3, side, side, 2]).astype(np.float32)


@pytest.mark.parametrize("side, num_halvings", SIDES)
def test_an_image_is_rebuilt_exactly(side, num_halvings):
    levels = pyramid.images(tf.constant(noise_of(side)), num_halvings)
    h = [lambda l_k, I_k=I_k: I_k - l_k for I_k in levels[:-1]]
    rebuilt = pyramid.rebuilt(levels[-1], [x.shape[1] for x in levels[:-1]], h)
    np.testing.assert_allclose(rebuilt, noise_of(side), atol=1e-6)
    assert len(levels) == num_halvings + 1
    assert [x.shape for x in pyramid.coarser(levels)] == [x.shape for x in levels[:-1]]


@pytest.mark.parametrize("side", [4, 7, 16])
def test_filters_are_convolutions_weighted_anew_at_edges(side):
    def blurred(x):
        return scipy.ndimage.convolve(x, BLUR[None, ..., None], mode="constant")

    x = noise_of(side)
    expected = (blurred(x) / blurred(np.ones_like(x)))[:, ::2, ::2]
    np.testing.assert_allclose(pyramid.down(x), expected, atol=1e-5)
    spread, counted = np.zeros_like(x), np.zeros_like(x)
    spread[:, ::2, ::2], counted[:, ::2, ::2] = expected, 1
    np.testing.assert_allclose(pyramid.up(expected, side), blurred(spread) / blurred(counted), atol=1e-5)
