"""The user's own images, out of a folder or a zip; folders in it are their classes."""

import os

import numpy as np

from common import image_files
from common.cli import UserError
from trainers.data.dataset import Data
from trainers.data.files import sha256


def read(path, side=32, channels=3):
    """A user's images, ordered by digest: as good as shuffled, and no held-out image has a copy in training.

    Prints how many there are, their classes, and what was left out.
    """
    if path is None:
        raise UserError("image_folder needs images: name the folder or zip that holds them by --data_dir.")
    pictures = image_files.read([path], (side, side, channels))
    rows = sorted(zip(pictures.digests, classes_of(pictures.files), range(len(pictures.files)), strict=True))
    digests, classes, order = zip(*rows, strict=True)
    names = sorted(set(classes) - {None})
    label_of = {name: label for label, name in enumerate(names)}
    kinds = f"{len(names)} classes: {image_files.listed(names)}" if names else "no classes"
    print("; ".join(filter(None, [f"read {len(rows)} pictures in {path}, of {kinds}", pictures.left_out])))

    num_test = len(rows) // 10
    while num_test and digests[num_test - 1] == digests[num_test]:
        num_test -= 1
    test, train = np.split(pictures.images[list(order)], [num_test])
    train_labels, test_labels = None, None
    if names:
        test_labels, train_labels = np.split(np.array([label_of[name] for name in classes], np.int64), [num_test])
    return Data(
        "image_folder",
        train,
        test,
        train_labels,
        test_labels,
        len(names) or None,
        sha256(*map(str.encode, [*digests, *filter(None, classes)])),
        "The user's images.",
        class_names=names or None,
    )


def classes_of(files):
    """The class of each file: its folder, at the first level that has several. All None where a file lies there."""
    folders = [file.parts[:-1] for file in files]
    depth = len(os.path.commonprefix(folders))
    has_classes = min(map(len, folders)) > depth
    return [parts[depth] if has_classes else None for parts in folders]
