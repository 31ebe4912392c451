"""Datasets: `load` finds, verifies and parses one; `batches` feeds it to training, `held_out_batches` to evaluation.

To add a dataset, write a loader in the file of its kind and a line in `DATASETS`.
"""

import functools
from dataclasses import replace

import numpy as np
from PIL import Image

from common import image_files
from common.cli import UserError
from trainers.data import catalogue, image_folder, images, point_file, points, shapes
from trainers.data.batches import batches, held_out_batches, require_rows
from trainers.data.dataset import Data
from trainers.data.points import PUSHED

__all__ = ["DATASETS", "PUSHED", "Data", "batches", "held_out_batches", "load", "require_rows"]

DATASETS = {
    "digits": images.digits,
    "mnist": functools.partial(images.idx, "mnist"),
    "fashion_mnist": functools.partial(images.idx, "fashion_mnist"),
    "stacked_mnist": images.stacked_mnist,
    "binarized_mnist": images.binarized_mnist,
    "cifar10": images.cifar10,
    "shapes": shapes.shapes,
    "image_folder": image_folder.read,
    "points": point_file.read,
    "image_pairs": image_folder.pairs,
    "ring": points.ring,
    "grid": points.grid,
    "line": points.line,
    **{name: functools.partial(points.one_dimensional, name) for name in points.ONE_DIMENSIONAL},
    "four_points": points.four_points,
}


def load(name, data_dir=None, image_side=None, image_channels=None, splits=None):
    """Loads a dataset as `Data`.

    Args:
      name: a key of `DATASETS`, or `tfds:NAME` of TensorFlow Datasets.
      data_dir: where the files are, and where a missing one is downloaded to; default `$ZOO_DATA_DIR`, else the Keras
        cache. For `image_folder`: the folder or zip of images itself, searched recursively; where all images lie in
        sub-folders, these are their classes. For `image_pairs`: one with two folders, `condition` and `target`. For
        `points`: the .npy or .csv file. For `tfds:NAME`: the folder of TensorFlow Datasets, else its own default.
      image_side: crop images to their central square and resize it (bicubic, antialiased) to this side; default: as
        they are, and 32 for `image_folder` and `image_pairs`.
      image_channels: 1 (grey) or 3 (colour); default: as they are, and 3 for `image_folder` and `image_pairs`.
      splits: of `tfds:NAME`, (training rows, test rows), as TensorFlow Datasets writes them; default: as it has them.

    Raises:
      UserError: no such dataset, an impossible size, or a missing, damaged or unreadable file.
    """
    of_catalogue = name.startswith(catalogue.PREFIX)
    if name not in DATASETS and not of_catalogue:
        raise UserError(f"there is no dataset {name!r}: choose one of {', '.join(DATASETS)}, or tfds:NAME.")
    if splits and not of_catalogue:
        raise UserError(f"--splits={','.join(splits)} is for tfds:NAME, and {name} has its own: leave it unset.")
    if image_side is not None and image_side < 1:
        raise UserError(f"image_side is {image_side}, but an image has 1 pixel a side or more: give a positive number.")
    if image_channels not in (None, 1, 3):
        raise UserError(f"image_channels is {image_channels}: give 1 for grey or 3 for colour.")
    if name in ("image_folder", "image_pairs"):  # whose images have no common size until they are read
        return DATASETS[name](data_dir, image_side or 32, image_channels or 3)
    if of_catalogue:
        return catalogue.read(name, data_dir, image_side, image_channels, splits)
    data = DATASETS[name](data_dir)
    if image_side is None and image_channels is None:
        return data
    if len(data.shape) != 3 or name == "binarized_mnist":  # whose pixels would not stay binary
        raise UserError(f"{name} comes in one shape, {data.shape}: leave image_side and image_channels unset.")
    side, channels = image_side or data.shape[0], image_channels or data.shape[2]
    if (side, side, channels) == data.shape:
        return data
    if data.channel is not None and channels != data.shape[2]:  # each is an image of its own
        raise UserError(f"{name} has {data.shape[2]} channels, each an image of its own: leave image_channels unset.")
    return _resized(data, (side, side, channels))


def _resized(data, shape):
    """A dataset with its images, and those that its channels are drawn from, in another shape."""
    train, test = (
        np.stack([image_files.fit(Image.fromarray(x.squeeze()), shape) for x in split])
        for split in (data.train, data.test)
    )
    channel = data.channel and _resized(data.channel, (*shape[:2], 1))
    return replace(data, train=train, test=test, channel=channel)
