"""The user's own points, vectors of any length, out of a .npy or .csv file.

They are read once, and mapped into memory from then on: see `mapped.py`.
"""

import functools
import itertools
from pathlib import Path

import numpy as np

from common import files
from common.cli import UserError, reason_of
from trainers.data import mapped
from trainers.data.dataset import Data

AT_ONCE = 10 * 2**11  # rows
LABEL = "label"  # the column of a .csv file that holds classes
VERSION = 1  # raised where a file is read to other arrays


def read(path):
    """A user's points, float32, in their order; of each ten that follow each other one is held out, by chance.

    A .npy file holds numbers, [n] or [n, D]. A .csv file has a line of numbers for each point, parted by commas; its
    first line may name them, and those named `label` are classes, 0, 1, ...
    """
    if path is None:
        raise UserError("points need a file: name a .npy or .csv file by --data_dir.")
    path = Path(path).expanduser()
    if (suffix := path.suffix.lower()) not in READERS:
        raise UserError(f"{path} is no file of points: name a .npy or .csv file by --data_dir.")
    try:
        (digest,) = mapped.digests(path, [path.name], [files.state(path)], lambda: [mapped.digest(path)])
    except OSError as error:
        raise UserError(f"{path} can not be read: {reason_of(error)}.") from error
    arrays = mapped.arrays("points", (VERSION, suffix, digest), functools.partial(_split, READERS[suffix](path)))
    train, test = arrays["train"], arrays["test"]
    print(f"read {len(train) + len(test)} points of {train.shape[1]} numbers in {path}")
    labels = [np.array(arrays[f"{split}_labels"]) if "train_labels" in arrays else None for split in ("train", "test")]
    num_classes = None if labels[0] is None else int(max(of.max(initial=0) for of in labels)) + 1
    return Data("points", train, test, *labels, num_classes, digest, "The user's points.")


def _split(chunks, add):
    rng = np.random.RandomState(0)
    for arrays in chunks:
        num = len(arrays["points"])
        held_out, tens = np.zeros(num, bool), 10 * np.arange(num // 10)
        held_out[tens + rng.randint(10, size=len(tens))] = True
        for split, rows in (("train", ~held_out), ("test", held_out)):
            add(split, arrays["points"][rows].astype(np.float32))
            if "labels" in arrays:
                add(f"{split}_labels", arrays["labels"][rows].astype(np.int64))


def _npy(path):
    """Yields dicts of some points each."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} can not be read as numpy's .npy file: write it by numpy.save.") from error
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiub" or not array.size:
        raise UserError(f"{path} holds {array.dtype} {list(array.shape)}: points are numbers, [n] or [n, D].")
    for start in range(0, len(array), AT_ONCE):
        some = array[start : start + AT_ONCE]
        yield {"points": some.reshape(len(some), -1)}


def _csv(path):
    """Yields dicts of some points, and where there are any their labels."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        lines = ((number, line.strip()) for number, line in enumerate(file, 1) if line.strip())
        nothing = UserError(f"{path} holds no points: give a line of numbers for each, parted by commas.")
        if (head := next(lines, None)) is None:
            raise nothing
        first = head[1]
        names = [name.strip().strip("\"'") for name in first.split(",")]
        if _numbers([first], len(names)) is not None:  # there are no names
            names, lines = [""] * len(names), itertools.chain([head], lines)
        kept = [i for i, name in enumerate(names) if name.lower() != LABEL]
        labels = [i for i, name in enumerate(names) if name.lower() == LABEL]
        if not kept or len(labels) > 1:
            raise UserError(f"{path} names the columns {first}: give one or more of numbers, and at most one {LABEL}.")
        num = 0
        while some := list(itertools.islice(lines, AT_ONCE)):
            rows = _numbers([line for _, line in some], len(names))
            if rows is None:
                number, line = next((n, line) for n, line in some if _numbers([line], len(names)) is None)
                raise UserError(f"line {number} of {path} is not {len(names)} numbers parted by commas: {line[:40]!r}.")
            arrays = {"points": rows[:, kept]}
            if labels:
                arrays["labels"] = rows[:, labels[0]]
                if (arrays["labels"] != np.clip(np.rint(arrays["labels"]), 0, 2**31)).any():
                    raise UserError(f"{path} has labels that are no classes: give 0, 1, ... in its column {LABEL}.")
            num += len(rows)
            yield arrays
        if not num:
            raise nothing


def _numbers(lines, size):
    """float64 [len(lines), size]; None unless each line has so many numbers."""
    try:
        rows = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    return rows if rows.shape == (len(lines), size) else None


READERS = {".npy": _npy, ".csv": _csv}
