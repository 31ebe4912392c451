"""Every pixel of a grid, and what the pictures refuse."""

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from common import pictures
from common.pictures import GAP, columns_of, comparison, grid, labels_of, lines, picture, scatter

RNG = np.random.default_rng(0)
IMAGES, POINTS, WHITE = RNG.uniform(0, 0.9, (15, 8, 8, 1)), RNG.normal(size=[50, 2]), np.ones([1, 8, 8, 1])


def drawn(folder, draw, *arguments, **options):
    """The pixels of a picture."""
    draw(*arguments, folder / "new" / "picture.png", **options)
    return np.asarray(PIL.Image.open(folder / "new" / "picture.png"))


@pytest.mark.parametrize("shape, columns, factor", [
    ((5, 8, 8, 1), None, 8), ((5, 30, 40, 3), 2, 2), ((1, 70, 65, 1), None, 1),
])  # fmt: skip
def test_grid(shape, columns, factor, tmp_path):
    images = RNG.uniform(0, 1, shape)
    found = drawn(tmp_path, grid, images, columns=columns)
    num, height, width = shape[0], factor * shape[1], factor * shape[2]
    columns = columns or int(np.ceil(np.sqrt(num)))
    expected = np.full([GAP + -(-num // columns) * (height + GAP), GAP + columns * (width + GAP), shape[3]], 255)
    for i, image in enumerate(images):
        top, left = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        tile = np.kron(np.round(255 * image), np.ones([factor, factor, 1]))
        expected[top : top + height, left : left + width] = tile
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    line = pictures.first_line(tmp_path / "new" / "picture.png", shape[1:])
    np.testing.assert_allclose(line[: shape[0]], images[:columns], atol=0.5 / 255 + 1e-9)


def test_grid_survives_a_diverged_model(tmp_path):
    pixels = drawn(tmp_path, grid, np.array([np.nan, np.inf, -np.inf, 2.0]).reshape(1, 2, 2, 1))[GAP:-GAP, GAP:-GAP]
    assert pixels[::32, ::32].tolist() == [[0, 255], [0, 255]]


@pytest.mark.slow
@pytest.mark.parametrize("draw, rows, options, same, as_rows, as_options", [
    (picture, IMAGES, {"num_classes": 3}, grid, IMAGES, {"columns": 5}),
    (picture, IMAGES, {"num_classes": 5}, grid, IMAGES, {"columns": 3}),
    (picture, IMAGES, {}, grid, IMAGES, {"columns": 4}),
    (lines, [IMAGES[:2], IMAGES[2:5]], {}, grid, np.concatenate([IMAGES[:2], WHITE, IMAGES[2:5]]), {"columns": 3}),
    (lines, [POINTS[:1], POINTS[1:3]], {"data": POINTS}, scatter, POINTS[:3], {"data": POINTS, "labels": [0, 1, 1]}),
    (picture, POINTS, {"data": POINTS + 1}, scatter, POINTS, {"data": POINTS + 1}),
    (picture, POINTS, {"num_classes": 2}, scatter, POINTS, {"labels": labels_of(50, 2)}),
])  # fmt: skip
def test_pictures_are_grids_and_scatter_plots(draw, rows, options, same, as_rows, as_options, tmp_path):
    np.testing.assert_array_equal(drawn(tmp_path, draw, rows, **options), drawn(tmp_path, same, as_rows, **as_options))


@pytest.mark.slow
def test_colours_of_a_scatter_plot(tmp_path):
    options = {}, {"data": POINTS + 1}, {"labels": [0, 1] * 25}
    plain, beside, classes = (drawn(tmp_path, scatter, POINTS, **more) for more in options)
    assert plain.shape == beside.shape and (plain != beside).any()
    orange = [(pixels[..., :3] == [255, 127, 14]).all(2).any() for pixels in (plain, beside, classes)]
    assert orange == [False, False, True]  # Matplotlib's second colour


def test_histogram():
    """Bars of the data, and outline of the samples, are densities over the same bins."""
    axes = Figure().add_subplot()
    pictures.draw_histogram(axes, RNG.normal(size=[20_000, 1]), RNG.normal(size=[20_000, 1]), num_bins=40)
    bars, outline = axes.patches[:40], axes.patches[40].get_xy()
    middles = np.array([bar.get_x() + bar.get_width() / 2 for bar in bars])
    density = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose([bar.get_height() for bar in bars], density, atol=0.04)
    assert abs(outline[:, 1].max() - density.max()) < 0.04
    assert abs(middles[-1] - 2.576) < 0.2  # 99 % of all


@pytest.mark.parametrize("draw", [
    lambda rows, path: picture(rows, path, data=rows),
    lambda rows, path: picture(rows, path, num_classes=2),
    lambda rows, path: lines([rows[:10], rows[10:]], path),
    lambda rows, path: comparison(rows, rows, path),
])  # fmt: skip
def test_numbers_are_drawn_as_histograms(draw, tmp_path):
    assert drawn(tmp_path, draw, POINTS[:, :1]).shape[:2] == (480, 600)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 8, 10, 25, 100])
@pytest.mark.parametrize("num", [1, 9, 64, 80, 1000, None])
def test_lines_of_one_class(num, num_classes):
    num = num or pictures.number_of_images(num_classes)
    columns, labels = columns_of(num, num_classes), labels_of(num, num_classes)
    assert columns_of(num) == int(np.ceil(np.sqrt(num))) and 1 <= columns <= max(8, columns_of(num))
    for i, line in enumerate(range(0, num, columns)):
        assert (labels[line : line + columns] == i % num_classes).all()
    assert labels.shape == (num,) and set(labels) == set(range(min(num, num_classes)))
    if num == pictures.number_of_images(num_classes):
        assert columns == 8 and (np.bincount(labels) == 8).all()


@pytest.mark.parametrize("draw, shape", [
    (grid, (0, 8, 8, 1)), (grid, (3, 8, 8, 2)), (grid, (8, 8)),
    (scatter, (3, 1)), (scatter, (3,)), (scatter, (1, 2, 3)),
])  # fmt: skip
def test_errors(draw, shape, tmp_path):
    with pytest.raises(ValueError, match="must have shape"):
        draw(np.zeros(shape), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
