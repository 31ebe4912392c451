"""The user's own images, out of a folder or a zip; folders in it are their classes.

They are decoded once, in the order of their digests, and mapped into memory from then on: see `mapped.py`.
"""

import functools
import os

import numpy as np

from common import image_files
from common.cli import UserError, progress
from trainers.data import mapped
from trainers.data.dataset import Data
from trainers.data.files import sha256


def read(path, side=32, channels=3):
    """A user's images, ordered by digest: as good as shuffled, and no held-out image has a copy in training.

    Prints how many there are, their classes, and what was left out.
    """
    if path is None:
        raise UserError("image_folder needs images: name the folder or zip that holds them by --data_dir.")
    found, left_out = image_files.find([path])
    digests, classes = _digests(path, found), classes_of([picture.name for picture in found])
    order = sorted(range(len(found)), key=lambda i: (digests[i], classes[i]))
    found, digests, classes = ([of[i] for i in order] for of in (found, digests, classes))
    num_test = len(found) // 10
    while num_test and digests[num_test - 1] == digests[num_test]:
        num_test -= 1

    shape = (side, side, channels)
    key = (image_files.VERSION, shape, num_test, sha256("".join(digests).encode()))
    decode = functools.partial(_decode, found, digests, shape, num_test)
    arrays = mapped.arrays("image_folder", key, decode)
    names = sorted(set(classes) - {None})
    label_of = {name: label for label, name in enumerate(names)}
    kinds = f"{len(names)} classes: {image_files.listed(names)}" if names else "no classes"
    print("; ".join(filter(None, [f"read {len(found)} pictures in {path}, of {kinds}", left_out])))
    train_labels, test_labels = None, None
    if names:
        test_labels, train_labels = np.split(np.array([label_of[name] for name in classes], np.int64), [num_test])
    return Data(
        "image_folder",
        arrays["train"],
        arrays["test"],
        train_labels,
        test_labels,
        len(names) or None,
        sha256(*map(str.encode, [*digests, *filter(None, classes)])),
        "The user's images.",
        class_names=names or None,
    )


def _digests(path, found):
    """The digest of each picture; "" for one that can not be read, of which decoding tells more."""

    def digest(picture):
        try:
            return sha256(picture.content())
        except Exception:  # archives raise all sorts
            return ""

    def read():
        bar = progress(f"reading {len(found)} pictures", len(found), "picture")
        for each in image_files.each(found, digest):
            bar.add(1)
            yield each

    return mapped.digests(path, [picture.name for picture in found], [picture.state for picture in found], read)


def _decode(found, digests, shape, num_test, add):
    """Adds the pictures found to the array `test`, the first `num_test` of them, and to `train`."""
    bar = progress(f"decoding {len(found)} pictures, once for all runs", len(found), "picture")
    known = dict(zip([picture.name for picture in found], digests, strict=True))

    def decode(picture):
        if sha256(content := picture.content()) != known[picture.name]:
            raise ValueError("it has changed since it was looked at")
        return image_files.decoded(content, shape)

    for split in ("test", "train"):  # either may have none
        add(split, np.empty((0, *shape), np.uint8))
    for i, image in enumerate(image_files.each(found, decode)):
        add("test" if i < num_test else "train", image[None])
        bar.add(1)


def classes_of(names):
    """The class of each file: its folder, at the first level that has several. All None where a file lies there."""
    folders = [name.split("/")[:-1] for name in names]
    depth = len(os.path.commonprefix(folders))
    has_classes = min(map(len, folders)) > depth
    return [parts[depth] if has_classes else None for parts in folders]
