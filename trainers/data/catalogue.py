"""Datasets of images out of TensorFlow Datasets, whose data sources give any row by its number.

They are read and decoded once, and mapped into memory from then on: see `mapped.py`.
"""

import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from common import files, image_files
from common.cli import UserError, progress, quiet
from trainers.data import mapped
from trainers.data.dataset import Data
from trainers.data.files import sha256

PREFIX = "tfds:"
AT_ONCE = 128  # rows that are in memory together while they are decoded
USUAL_SPLITS = ("train", "test"), ("train", "validation")
PARTS = "{}[:90%]", "{}[90%:]"  # of a single split
VERSION = 1  # raised where rows are read to other arrays


def read(name, data_dir=None, side=None, channels=None, splits=None):
    """The images of a dataset of TensorFlow Datasets, and their labels where it has any.

    Args:
        name: as TensorFlow Datasets has it, NAME, NAME/CONFIG or NAME:VERSION, after `PREFIX`.
        data_dir: the folder of TensorFlow Datasets; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
        side, channels: as of `load`; images of many sizes get the side 32.
        splits: (training rows, test rows), each as TensorFlow Datasets writes splits, such as "train[:90%]"; default
            train and test, or validation; of a single split the last tenth is for tests.

    Raises:
        UserError: if TensorFlow Datasets is missing or has no such dataset, or it has no images or no random access.
    """
    tfds = _tensorflow_datasets(name)
    builder = _prepared(tfds, name, data_dir)
    features, about = builder.info.features, f"{name} ({builder.info.full_name})"
    if not isinstance(features, tfds.features.FeaturesDict):
        raise UserError(f"{about} has no named features, of which one would have to be of images.")
    keys = builder.info.supervised_keys or (None, None)
    image = _the_only(features, tfds.features.Image, keys[0])
    if image is None:
        raise UserError(
            f"{about} has not one feature of images, but {', '.join(sorted(features))}: choose another dataset."
        )
    label = _the_only(features, tfds.features.ClassLabel, keys[1])
    splits = _splits(about, splits, list(builder.info.splits))
    try:
        sources = builder.as_data_source(split=list(splits))
    except NotImplementedError as error:
        raise UserError(
            f"{about} is prepared in {builder.data_dir} as {builder.info.file_format.value}, which gives no row by its "
            f'number: prepare it again by download_and_prepare(file_format="array_record"), or delete that folder, and '
            "it is prepared so."
        ) from error
    except Exception as error:  # of splits
        raise UserError(f"{about}: {_reason(error)}: --splits={','.join(splits)} are no splits of it.") from error

    shape = _shape(features[image].shape, side, channels)
    identity = (builder.info.full_name, tuple(splits), image, label, _digest(builder.data_dir))
    key = (VERSION, image_files.VERSION, shape, identity)
    arrays = mapped.arrays("tfds", key, functools.partial(_decode, about, sources, image, label, shape))
    labels = [np.array(arrays[f"{split}_labels"]) if label else None for split in ("train", "test")]
    if label and min(of.min(initial=0) for of in labels) < 0:
        print(f"{about} keeps labels back, so it is taken to have none")
        labels, label = [None, None], None
    print(f"read {len(arrays['train'])} rows of {splits[0]} and {len(arrays['test'])} of {splits[1]}: {about}")
    of_label = features[label] if label else None
    return Data(
        name,
        arrays["train"],
        arrays["test"],
        *labels,
        of_label.num_classes if label else None,
        sha256(repr(identity).encode()),
        builder.info.redistribution_info.license.strip() or "TensorFlow Datasets states none.",
        class_names=list(of_label.names) if label else None,
        citation=builder.info.citation.strip() or None,
    )


def _tensorflow_datasets(name):
    try:
        with quiet():
            import importlib_resources  # noqa: F401, it comes to need it later
            import tensorflow_datasets as tfds
    except ImportError as error:
        needed = "the packages tensorflow-datasets and importlib-resources"
        raise UserError(f"{name} needs {needed}: {error.name} is missing.") from error
    if not sys.stdout.isatty():
        tfds.disable_progress_bar()
    return tfds


def _prepared(tfds, name, data_dir):
    """The builder of a dataset, which is downloaded and prepared for random access where it is missing."""
    try:
        builder = tfds.builder(name.removeprefix(PREFIX), data_dir=data_dir)
    except Exception as error:  # unknown names, configurations and versions raise all sorts
        place = data_dir or "TensorFlow Datasets' own folder"
        raise UserError(f"there is no dataset {name}, neither in {place} nor to download: {_reason(error)}.") from error
    if not builder.is_prepared():
        print(f"downloading and preparing {name} in {builder.data_dir}")
        try:
            builder.download_and_prepare(file_format="array_record")
        except Exception as error:
            raise UserError(
                f"{name} can not be prepared in {builder.data_dir}: {_reason(error)}; name a folder where it is by "
                "--data_dir."
            ) from error
    return builder


def _reason(error):
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def _the_only(features, kind, key):
    """The name of the feature of a kind: the one that is learned from or for, if it is of it, else the only one."""
    names = [name for name, feature in features.items() if type(feature) is kind]
    return key if key in names else names[0] if len(names) == 1 else None


def _splits(about, splits, names):
    if splits:
        if len(splits) != 2:
            raise UserError(f"--splits={','.join(splits)} must be two, for training and for tests: train,test.")
        return splits
    for usual in USUAL_SPLITS:
        if set(usual) <= set(names):
            return usual
    if len(names) == 1:
        return tuple(part.format(names[0]) for part in PARTS)
    raise UserError(f"{about} has the splits {', '.join(names)}: give --splits=TRAIN,TEST.")


def _shape(shape, side, channels):
    """The shape that images get: their own, unless another is asked for or theirs differ."""
    height, width, own = shape
    known = side or height and width and (height, width) or 32
    sides = (known, known) if isinstance(known, int) else known
    return (*sides, channels or (1 if own == 1 else 3))


def _digest(folder):
    """sha256 over a prepared dataset's files and their names."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    names = [os.fspath(path.relative_to(folder)) for path in paths]
    digests = mapped.digests(folder, names, [files.state(path) for path in paths], lambda: map(mapped.digest, paths))
    return sha256(repr((names, digests)).encode())


def _decode(about, sources, image, label, shape, add):
    """Adds the rows of the sources to the arrays `train` and `test`, and their labels."""
    num = sum(map(len, sources))
    bar = progress(f"decoding {num} images, once for all runs", num, "image")

    def row(source, i):
        found = source[i]
        try:
            return fit(np.asarray(found[image]), shape), found[label] if label else None
        except Exception as error:  # Pillow raises all sorts
            raise UserError(f"image {i} of {about} can not be taken: {_reason(error)}.") from error

    with ThreadPoolExecutor() as pool:
        for split, source in zip(("train", "test"), sources, strict=True):
            add(split, np.empty((0, *shape), np.uint8))
            if label:
                add(f"{split}_labels", np.empty(0, np.int64))
            for start in range(0, len(source), AT_ONCE):
                some = range(start, min(start + AT_ONCE, len(source)))
                images, labels = zip(*pool.map(functools.partial(row, source), some), strict=True)
                add(split, np.stack(images))
                if label:
                    add(f"{split}_labels", np.array(labels, np.int64))
                bar.add(len(some))


def fit(pixels, shape):
    """Pixels [height, width, channels], as TensorFlow Datasets has them, as `image_files.fit` makes images."""
    if pixels.shape == shape and pixels.dtype == np.uint8:
        return pixels
    return image_files.fit(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), shape)
