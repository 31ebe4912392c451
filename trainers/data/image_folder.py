"""The user's own images, out of a folder or a zip: folders in it are their classes, or hold both images of pairs.

They are decoded once, in the order of their digests, and mapped into memory from then on: see `mapped.py`.
"""

import functools
import os
from pathlib import PurePosixPath

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
    found, digests, left_out = pictures_in(path)
    classes = classes_of([picture.name for picture in found])
    order = sorted(range(len(found)), key=lambda i: (digests[i], classes[i]))
    found, digests, classes = ([of[i] for i in order] for of in (found, digests, classes))
    num_test = held_out(digests)
    arrays = images_of(
        "image_folder", zip(found, strict=True), zip(digests, strict=True), num_test, (side, side, channels)
    )
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


def pairs(path, side=32, channels=3):
    """A user's pairs of images, rows [side, 2 * side, channels]: the condition on the left, the target on the right.

    `path` holds two folders, `condition` and `target`, in which the two images of a pair have one name, but for the
    suffix. Their order and the division are those of `read`; prints how many there are, and what was left out.
    """
    found, digests, left_out = pictures_in(path, "image_pairs")
    sides, depth = {"condition": {}, "target": {}}, len(common_folder([picture.name for picture in found]))
    for i, picture in enumerate(found):
        kind, *names = PurePosixPath(picture.name).with_suffix("").parts[depth:]
        if kind not in sides or not names:
            raise UserError(
                f"{picture.file} is not where pairs are: {path} must hold two folders, condition and target."
            )
        if "/".join(names) in sides[kind]:
            raise UserError(
                f"{picture.file} has the name of another picture beside it: give each its own, suffixes apart."
            )
        sides[kind]["/".join(names)] = i
    if alone := sorted(sides["condition"].keys() ^ sides["target"].keys()):
        raise UserError(
            f"{len(alone)} pictures are in one of the folders condition and target of {path} only: "
            f"{image_files.listed(alone)}; give each its partner, of the same name."
        )
    of_pair = [tuple(side[name] for side in sides.values()) for name in sorted(sides["target"])]
    of_pair.sort(key=lambda pair: (pair_digest(digests, pair), pair))
    pair_digests = [pair_digest(digests, pair) for pair in of_pair]
    print("; ".join(filter(None, [f"read {len(of_pair)} pairs of pictures in {path}", left_out])))
    rows, known = ([[of[i] for i in pair] for pair in of_pair] for of in (found, digests))
    arrays = images_of("image_pairs", rows, known, held_out(pair_digests), (side, side, channels))
    checksum = sha256(*map(str.encode, pair_digests))
    return Data("image_pairs", arrays["train"], arrays["test"], None, None, None, checksum, "The user's images.")


def pair_digest(digests, pair):
    return sha256(*(digests[i].encode() for i in pair))


def pictures_in(path, dataset="image_folder"):
    """(pictures, their digests, what was left out) of what `image_files.find` finds."""
    if path is None:
        raise UserError(f"{dataset} needs images: name the folder or zip that holds them by --data_dir.")
    found, left_out = image_files.find([path])
    return found, _digests(path, found), left_out


def held_out(digests):
    """How many of the first rows are held out, one in ten, of which none has a copy among the others."""
    num_test = len(digests) // 10
    while num_test and digests[num_test - 1] == digests[num_test]:
        num_test -= 1
    return num_test


def images_of(name, rows, digests, num_test, shape):
    """Mapped arrays `train` and `test`, the first `num_test`, of rows of pictures of one shape, beside each other.

    Args:
        rows, digests: of each row a tuple of `image_files.Found`, and of their digests.
    """
    rows, digests = list(rows), list(digests)
    key = (image_files.VERSION, shape, num_test, sha256("".join(map("".join, digests)).encode()))
    return mapped.arrays(name, key, functools.partial(_decode, rows, digests, shape, num_test))


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


def _decode(rows, digests, shape, num_test, add):
    """Adds the rows of pictures to the array `test`, the first `num_test` of them, and to `train`."""
    found = [picture for row in rows for picture in row]
    known = dict(zip([picture.name for picture in found], [one for row in digests for one in row], strict=True))
    bar = progress(f"decoding {len(found)} pictures, once for all runs", len(found), "picture")

    def decode(picture):
        if sha256(content := picture.content()) != known[picture.name]:
            raise ValueError("it has changed since it was looked at")
        return image_files.decoded(content, shape)

    height, width, channels = shape
    for split in ("test", "train"):  # either may have none
        add(split, np.empty((0, height, len(rows[0]) * width, channels), np.uint8))
    images = image_files.each(found, decode)
    for i, row in enumerate(zip(*[images] * len(rows[0]), strict=True)):
        add("test" if i < num_test else "train", np.concatenate(row, axis=1)[None])
        bar.add(len(row))


def classes_of(names):
    """The class of each file: its folder, at the first level that has several. All None where a file lies there."""
    folders, depth = [name.split("/")[:-1] for name in names], len(common_folder(names))
    has_classes = min(map(len, folders)) > depth
    return [parts[depth] if has_classes else None for parts in folders]


def common_folder(names):
    """The parts of the path of the deepest folder that has all files in it or below it."""
    return os.path.commonprefix([name.split("/")[:-1] for name in names])
