"""Pictures of shapes: every combination of factors once, and no two that look the same."""

import numpy as np
import pytest

from trainers import data
from trainers.data import shapes

ONE = data.load("shapes")
COUNTS = {"shape": 3, "scale": 4, "orientation": 8, "y": 12, "x": 12}
GRID = ONE.train[..., 0].reshape(*COUNTS.values(), 32, 32) > 0


def test_every_picture_is_another_and_their_factors_are_those_of_a_grid():
    assert ONE.shape == (32, 32, 1) and set(np.unique(ONE.train)) == {0, 255}
    assert len(np.unique(np.packbits(GRID.reshape(13_824, -1), axis=1), axis=0)) == 13_824
    factors = {"shape": ONE.train_labels, **ONE.factors}
    assert list(factors) == list(COUNTS) and ONE.class_names == list(shapes.SHAPES)
    for values, index in zip(factors.values(), np.indices([*COUNTS.values()]), strict=True):
        np.testing.assert_array_equal(values, index.ravel())


def test_factors_do_what_they_say():
    for axis, along in (("y", GRID.any(6)), ("x", GRID.any(5))):  # [*COUNTS, pixel]: a step is of one pixel
        steps = np.diff(along.argmax(-1), axis=list(COUNTS).index(axis))
        assert (steps == 1).all()
    area = GRID[:, :, :, 0, 0].sum((-1, -2)) / np.square(shapes.RADII)[:, None]
    assert np.all(area.std((1, 2)) < 0.12 * area.mean((1, 2)))  # of a shape the same, whatever scale and orientation
    at_centre = shapes.masks()
    np.testing.assert_array_equal(np.rot90(at_centre[:, :, :-2], -1, axes=(3, 4)), at_centre[:, :, 2:])  # clockwise


def test_the_test_rows_are_a_thousand_others_of_the_training_rows():
    rows = {row.tobytes(): label for row, label in zip(ONE.train, ONE.train_labels, strict=True)}
    assert [rows[row.tobytes()] for row in ONE.test] == ONE.test_labels.tolist()
    assert len({row.tobytes() for row in ONE.test}) == 1000


@pytest.mark.parametrize("factor", [1 - 1e-6, 1 + 1e-6])
def test_no_outline_goes_through_the_centre_of_a_pixel(factor, monkeypatch):
    """So that rounding decides no pixel: the same pictures on every machine."""
    before = shapes.masks()
    monkeypatch.setattr(shapes, "RADII", factor * shapes.RADII)
    np.testing.assert_array_equal(shapes.masks(), before)


@pytest.mark.slow
def test_resized_pictures_keep_their_factors():
    small = data.load("shapes", image_side=16)
    assert small.shape == (16, 16, 1) and list(small.factors) == list(ONE.factors)
