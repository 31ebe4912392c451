"""Pictures of samples: grids of images, scatter plots of points. Needs no TensorFlow."""

import math

import numpy as np
import PIL.Image

from common.files import write_atomically

SMALLEST_TILE = 64  # pixels; smaller images are enlarged by a whole factor
GAP = 2
COLUMNS = 8  # of a picture of the default size


def number_of_images(num_classes=None):
    """How many images a picture shows unless it is told: 8 lines of 8, or a line of 8 for each class."""
    return COLUMNS * (num_classes or COLUMNS)


def columns_of(num, num_classes=None):
    """Columns of a grid of `num` images: those of a square, or so few that each class has a line."""
    square = math.ceil(math.sqrt(num))
    return max(1, min(max(COLUMNS, square), num // num_classes)) if num_classes else square


def labels_of(num, num_classes):
    """Labels, int64 [num], that give each line of such a grid one class: 0, 1, ..., and from the start again."""
    return np.arange(num) // columns_of(num, num_classes) % num_classes


def picture(rows, path, num_classes=None, data=None):
    """Writes rows of data, images [n, h, w, c] or points [n, size], as one PNG; points over real `data` where given.

    With `num_classes` the rows have the classes `labels_of(n, num_classes)`: a line or a colour for each.
    """
    if np.ndim(rows) == 4:
        grid(rows, path, columns_of(len(rows), num_classes))
    elif np.shape(rows)[1] == 1:
        histogram(rows, path, data)
    else:
        scatter(rows, path, data=data, labels=num_classes and labels_of(len(rows), num_classes))


def comparison(data, answers, path):
    """Writes rows of data beside a model's answers to them as one PNG: images in pairs, or points over points."""
    if np.ndim(data) == 4:
        beside([data, answers], path)
    elif np.shape(data)[1] == 1:
        histogram(answers, path, data)
    else:
        scatter(answers, path, data=data)


def beside(kinds, path):
    """Writes images of several kinds as one PNG, those of one row side by side.

    Args:
        kinds: list of float arrays [n, height, width, 1 or 3], n >= 1; grey ones may be beside others of colour.
        path: where the PNG goes.
    """
    together = np.stack(np.broadcast_arrays(*kinds), axis=1)
    num, of_row = together.shape[:2]
    grid(together.reshape(-1, *together.shape[2:]), path, of_row * math.ceil(math.sqrt(num / of_row)))


def lines(rows, path, data=None):
    """Writes lines of rows of data as one PNG: images line by line, or points in a colour for each line, over `data`.

    Points of one number are a histogram of all lines.

    Args:
        rows: list of float arrays [n, height, width, 1 or 3] or [n, size], which may differ in n >= 1.
        path: where the PNG goes.
        data: float [m, size] or None, real points.
    """
    lengths = [len(line) for line in rows]
    if np.ndim(rows[0]) == 4:
        columns = max(lengths)
        rest = [np.ones([columns - len(line), *line.shape[1:]]) for line in rows]  # as white as what is between
        grid(np.concatenate([image for pair in zip(rows, rest, strict=True) for image in pair]), path, columns)
    elif np.shape(rows[0])[1] == 1:
        histogram(np.concatenate(rows), path, data)
    else:
        scatter(np.concatenate(rows), path, data=data, labels=np.arange(len(rows)).repeat(lengths))


def grid(images, path, columns=None):
    """Writes images as one PNG, row by row from the top left.

    Args:
        images: float [n, height, width, 1 or 3], n >= 1; values outside [0, 1] are clipped, NaN is black.
        path: where the PNG goes; directories above it are made.
        columns: int or None for a square grid.

    Raises:
        ValueError: if `images` has another shape.
        OSError: if the file can not be written.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise ValueError(f"images must have shape [n, height, width, 1 or 3] with n >= 1, not {images.shape}.")
    pixels = np.round(255.0 * np.clip(np.nan_to_num(images), 0.0, 1.0)).astype(np.uint8)
    factor = math.ceil(SMALLEST_TILE / max(images.shape[1:3]))
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)

    num, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(num))
    lines = math.ceil(num / columns)
    canvas = np.full([lines * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels], 255, np.uint8)
    for i, tile in enumerate(pixels):
        top, left = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = tile
    image = PIL.Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
    write_atomically(path, lambda temporary: image.save(temporary, format="PNG"))


def first_line(path, shape):
    """The images in the first line of a picture that `grid` wrote, float [columns, *shape] in [0, 1]."""
    factor = math.ceil(SMALLEST_TILE / max(shape[:2]))
    height, width = factor * shape[0], factor * shape[1]
    pixels = np.asarray(PIL.Image.open(path))[GAP : GAP + height, GAP:] / 255.0
    tiles = pixels.reshape(height, -1, width + GAP, shape[2])[::factor, :, :width:factor]
    return tiles.swapaxes(0, 1)


def scatter(points, path, data=None, labels=None, symbol="x"):
    """Writes the first two coordinates of points [n, size] as a scatter plot, over real `data` in grey where given.

    Points are coloured by their `labels`, ints [n], where given; `symbol` is what the axes call a point.

    Raises:
        ValueError: if the points have fewer than two coordinates.
        OSError: if the file can not be written.
    """
    from matplotlib.figure import Figure  # slow to import, and grids do without

    if np.ndim(points) != 2 or np.shape(points)[1] < 2:
        raise ValueError(f"points must have shape [n, 2 or more], not {np.shape(points)}.")
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(aspect="equal", adjustable="datalim", xlabel=f"${symbol}_1$", ylabel=f"${symbol}_2$")
    if data is not None:
        axes.scatter(*np.asarray(data)[:, :2].T, s=4, color="0.8", label="data")
    color = "C0" if labels is None else [f"C{label % 10}" for label in labels]
    axes.scatter(*np.asarray(points)[:, :2].T, s=4, color=color, label="samples")
    if data is not None:
        axes.legend()
    save(figure, path)


def histogram(points, path, data=None):
    """Writes points [n, 1] as a histogram, over that of real `data` [m, 1] in grey where given.

    Raises:
        OSError: if the file can not be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    draw_histogram(figure.add_subplot(xlabel="$x$", ylabel="density"), points, data)
    save(figure, path)


def draw_histogram(axes, points, data=None, num_bins=80):
    """The same into matplotlib's `axes`, without those 1 % of all points that are farthest out."""
    everything = np.concatenate([np.ravel(points), *([] if data is None else [np.ravel(data)])])
    bins = np.linspace(*np.quantile(everything, [0.005, 0.995]) + [-1e-6, 1e-6], num_bins + 1)
    if data is not None:
        axes.hist(np.ravel(data), bins, density=True, color="0.8", label="data")
    axes.hist(np.ravel(points), bins, density=True, histtype="step", color="C0", label="samples")
    if data is not None:
        axes.legend()


def save(figure, path):
    """Writes a matplotlib figure as one PNG. Raises `OSError` if it can not be written."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
