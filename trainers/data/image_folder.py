"""The user's own images, out of a folder or a zip: folders in it are their classes, or hold both images of pairs."""

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
    pictures = pictures_in(path, side, channels)
    rows = sorted(zip(pictures.digests, classes_of(pictures.files), range(len(pictures.files)), strict=True))
    digests, classes, order = zip(*rows, strict=True)
    names = sorted(set(classes) - {None})
    label_of = {name: label for label, name in enumerate(names)}
    kinds = f"{len(names)} classes: {image_files.listed(names)}" if names else "no classes"
    print("; ".join(filter(None, [f"read {len(rows)} pictures in {path}, of {kinds}", pictures.left_out])))

    num_test = held_out(digests)
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


def pairs(path, side=32, channels=3):
    """A user's pairs of images, rows [side, 2 * side, channels]: the condition on the left, the target on the right.

    `path` holds two folders, `condition` and `target`, in which the two images of a pair have one name, but for the
    suffix. Their order and the division are those of `read`; prints how many there are, and what was left out.
    """
    pictures = pictures_in(path, side, channels, "image_pairs")
    found, depth = {"condition": {}, "target": {}}, len(common_folder(pictures.files))
    for i, file in enumerate(pictures.files):
        kind, *names = file.with_suffix("").parts[depth:]
        if kind not in found or not names:
            raise UserError(f"{file} is not where pairs are: {path} must hold two folders, condition and target.")
        if "/".join(names) in found[kind]:
            raise UserError(f"{file} has the name of another picture beside it: give each its own, suffixes apart.")
        found[kind]["/".join(names)] = i
    if alone := sorted(found["condition"].keys() ^ found["target"].keys()):
        raise UserError(
            f"{len(alone)} pictures are in one of the folders condition and target of {path} only: "
            f"{image_files.listed(alone)}; give each its partner, of the same name."
        )
    names = sorted(found["target"])
    of_pair = [(found["condition"][name], found["target"][name]) for name in names]
    rows = sorted((sha256(*(pictures.digests[i].encode() for i in pair)), pair) for pair in of_pair)
    digests, of_pair = zip(*rows, strict=True)
    print("; ".join(filter(None, [f"read {len(rows)} pairs of pictures in {path}", pictures.left_out])))
    images = np.concatenate([pictures.images[list(which)] for which in zip(*of_pair, strict=True)], axis=2)
    test, train = np.split(images, [held_out(digests)])
    licence = "The user's images."
    return Data("image_pairs", train, test, None, None, None, sha256(*map(str.encode, digests)), licence)


def pictures_in(path, side, channels, dataset="image_folder"):
    if path is None:
        raise UserError(f"{dataset} needs images: name the folder or zip that holds them by --data_dir.")
    return image_files.read([path], (side, side, channels))


def held_out(digests):
    """How many of the first rows are held out, one in ten, of which none has a copy among the others."""
    num_test = len(digests) // 10
    while num_test and digests[num_test - 1] == digests[num_test]:
        num_test -= 1
    return num_test


def classes_of(files):
    """The class of each file: its folder, at the first level that has several. All None where a file lies there."""
    folders, depth = [file.parts[:-1] for file in files], len(common_folder(files))
    has_classes = min(map(len, folders)) > depth
    return [parts[depth] if has_classes else None for parts in folders]


def common_folder(files):
    """The parts of the path of the deepest folder that has all files in it or below it."""
    return os.path.commonprefix([file.parts[:-1] for file in files])
