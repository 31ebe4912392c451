"""Every pixel of a grid, and what the pictures refuse."""

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from common import pictures
from common.pictures import GAP, columns_of, comparison, grid, labels_of, lines, picture, scatter


@pytest.mark.parametrize("shape, columns, factor", [
    ((5, 8, 8, 1), None, 8), ((5, 30, 40, 3), 2, 2), ((1, 70, 65, 1), None, 1),
])  # fmt: skip
def test_grid(shape, columns, factor, tmp_path):
    images = np.random.default_rng(0).uniform(0, 1, shape)
    grid(images, tmp_path / "new" / "grid.png", columns=columns)
    picture = np.asarray(PIL.Image.open(tmp_path / "new" / "grid.png"))
    num, height, width = shape[0], factor * shape[1], factor * shape[2]
    columns = columns or int(np.ceil(np.sqrt(num)))
    assert picture.shape[:2] == (GAP + -(-num // columns) * (height + GAP), GAP + columns * (width + GAP))
    seen = np.zeros(picture.shape[:2], bool)
    for i, image in enumerate(images):
        top, left = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        tile = (slice(top, top + height), slice(left, left + width))
        expected = np.kron(np.round(255 * image), np.ones([factor, factor, 1]))
        np.testing.assert_array_equal(picture[tile].reshape(expected.shape), expected)
        seen[tile] = True
    assert (picture[~seen] == 255).all()


def test_grid_survives_a_diverged_model(tmp_path):
    grid(np.array([np.nan, np.inf, -np.inf, 2.0]).reshape(1, 2, 2, 1), tmp_path / "grid.png")
    pixels = np.asarray(PIL.Image.open(tmp_path / "grid.png"))[GAP:-GAP, GAP:-GAP]
    assert pixels[::32, ::32].tolist() == [[0, 255], [0, 255]]


def test_scatter(tmp_path):
    points = np.random.default_rng(0).normal(size=(50, 2))
    picture(points, tmp_path / "one.png")
    scatter(points, tmp_path / "two.png", data=points + 1)
    one, two = (np.asarray(PIL.Image.open(tmp_path / name)) for name in ("one.png", "two.png"))
    assert one.shape == two.shape and (one != two).any()


def test_histogram():
    """Bars of the data, and outline of the samples, are densities over the same bins."""
    rng = np.random.default_rng(0)
    axes = Figure().add_subplot()
    pictures.draw_histogram(axes, rng.normal(size=[20_000, 1]), rng.normal(size=[20_000, 1]), num_bins=40)
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
    draw(np.random.default_rng(0).normal(size=[50, 1]), tmp_path / "picture.png")
    assert PIL.Image.open(tmp_path / "picture.png").size == (600, 480)


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


def test_pictures_of_classes(tmp_path):
    images = np.random.default_rng(0).uniform(0, 1, (15, 8, 8, 1))
    for num_classes, columns in ((3, 5), (5, 3), (None, 4)):
        picture(images, tmp_path / "classes.png", num_classes)
        grid(images, tmp_path / "columns.png", columns=columns)
        assert (tmp_path / "classes.png").read_bytes() == (tmp_path / "columns.png").read_bytes()
    points = np.random.default_rng(0).normal(size=(50, 2))
    picture(points, tmp_path / "plain.png")
    picture(points, tmp_path / "classes.png", 2)
    plain, classes = (np.asarray(PIL.Image.open(tmp_path / f"{name}.png")) for name in ("plain", "classes"))
    orange = [255, 127, 14]  # Matplotlib's second colour
    assert (classes[..., :3] == orange).all(2).any() and not (plain[..., :3] == orange).all(2).any()


def test_lines(tmp_path):
    rng = np.random.default_rng(0)
    short, long = rng.uniform(0, 0.9, (2, 8, 8, 3)), rng.uniform(0, 0.9, (3, 8, 8, 3))
    lines([short, long], tmp_path / "lines.png")
    grid(np.concatenate([short, np.ones([1, 8, 8, 3]), long]), tmp_path / "grid.png", columns=3)
    assert (tmp_path / "lines.png").read_bytes() == (tmp_path / "grid.png").read_bytes()
    points = rng.normal(size=(5, 2))
    lines([points[:2], points[2:]], tmp_path / "lines.png", data=points + 1)
    scatter(points, tmp_path / "scatter.png", data=points + 1, labels=[0, 0, 1, 1, 1])
    assert (tmp_path / "lines.png").read_bytes() == (tmp_path / "scatter.png").read_bytes()


@pytest.mark.parametrize("draw, shape", [
    (grid, (0, 8, 8, 1)), (grid, (3, 8, 8, 2)), (grid, (8, 8)),
    (scatter, (3, 1)), (scatter, (3,)), (scatter, (1, 2, 3)),
])  # fmt: skip
def test_errors(draw, shape, tmp_path):
    with pytest.raises(ValueError, match="must have shape"):
        draw(np.zeros(shape), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
