"""What a user asks an exported model for, wherever it runs: samples, reconstructions and scores.

The commands export.sample and export.client differ in where the model is, and share what is here.
"""

import contextlib
import functools
import io
from pathlib import Path

import numpy as np
import PIL.Image
from absl import flags as absl_flags

from export import pictures
from trainers import cli


def define_flags(own):
    """The flags of every command that asks a model; `own` goes on to absl."""
    define_integer = functools.partial(absl_flags.DEFINE_integer, **own)
    int64 = {"lower_bound": -(2**63), "upper_bound": 2**63 - 1}
    absl_flags.DEFINE_enum("task", "sample", list(TASKS), "Samples, reconstructions of --data, or its scores.", **own)
    define_integer("num", None, "How many samples; default 64, or 8 of each class.", lower_bound=1)
    define_integer("seed", 0, "Seed of the first row; the next has the next seed.", **int64)
    define_integer("label", None, "The class of all rows, for a conditional model; default samples of each.", **int64)
    absl_flags.DEFINE_list("data", None, "Pictures, folders of pictures, or one .npy file, to be asked about.", **own)
    absl_flags.DEFINE_string("out", "grid.png", "Where the picture goes, a file that ends in .png.", **own)


def check_flags(flags):
    """Raises `UserError` for flags that contradict each other."""
    if Path(flags.out).suffix.lower() != ".png":
        raise cli.UserError(f"--out={flags.out} must end in .png.")
    if flags.task == "sample" and flags.data:
        raise cli.UserError("--data is for --task=reconstruct and --task=score: samples need none.")
    if flags.task != "sample" and not flags.data:
        raise cli.UserError(f"--task={flags.task} needs --data: pictures, folders of them, or one .npy file.")
    if flags.task != "sample" and flags.num is not None:
        raise cli.UserError(f"--num={flags.num} is for --task=sample: --task={flags.task} takes all of --data.")


def perform(flags, model):
    """Does what the flags say; prints where the picture is, or the scores.

    Raises:
        UserError: for whatever the model can not do, or a file that can not be read or written.
    """
    TASKS[flags.task](flags, model)


@contextlib.contextmanager
def writing(path):
    """Tells of a picture's path, or of why it can not be written."""
    try:
        yield
    except OSError as error:
        raise cli.UserError(f"--out={path} can not be written: {error.strerror or error}.") from error
    print(path)


def sample(flags, model):
    num_classes = model.num_classes if flags.label is None else None
    num = flags.num or pictures.number_of_images(num_classes)
    rows = draw(model, num, flags.seed, flags.label)
    with writing(flags.out):
        pictures.picture(rows, flags.out, num_classes)


def reconstruct(flags, model):
    data, _ = load(flags.data, model.require("reconstruct"))
    answer = ask_about(model, "reconstruct", data, flags.seed, flags.label)
    with writing(flags.out):
        pictures.comparison(data, next(iter(answer.values())), flags.out)


def score(flags, model):
    name = next((name for name in ("log_prob", "discriminate") if name in model.signatures), "log_prob")
    data, names = load(flags.data, model.require(name))
    answer = ask_about(model, name, data, flags.seed, flags.label)
    print("\t".join(["row", *answer]))
    for row, *values in zip([*names, "mean"], *([*value, value.mean()] for value in answer.values()), strict=True):
        print("\t".join([row, *(f"{value:.6g}" for value in values)]))


TASKS = {"sample": sample, "reconstruct": reconstruct, "score": score}


def draw(model, num, seed, label=None):
    """Rows of data for the seeds `seed`, ..., `seed + num - 1`, as a numpy array.

    Images are float32 in [0, 1]; a server's come as PNG files, rounded to 8 bits. A conditional model draws all of the
    class `label`, or where that is None of the classes `export.pictures.labels_of(num, model.num_classes)`.

    Args:
        model: `export.runtimes.Runtime`.
        num, seed: int.
        label: int or None.

    Raises:
        UserError: if the model draws no samples, or for a label it does not have or does not take.
    """
    name = model.pictures if model.pictures in model.signatures else "sample"
    inputs = {"seed": seeds(seed, num)}
    conditional = "label" in model.require(name).inputs
    if not conditional and label is not None:
        raise cli.UserError(f"--label={label} is given to a model that takes no label: leave it out.")
    if conditional:
        if label is None and model.num_classes is None:
            raise cli.UserError(f"--label is missing: {model} does not say which classes it has.")
        inputs["label"] = np.full(num, label) if label is not None else pictures.labels_of(num, model.num_classes)
    answer = model.ask(name, inputs)
    if not np.all(answer.pop("valid", True)):
        raise cli.UserError(f"--label={label} is not a class of this model: its classes count from 0.")
    (rows,) = answer.values()
    return np.stack([decode_png(row) for row in rows]) if rows.dtype == object else rows


def ask_about(model, name, data, seed=0, label=None):
    """What a signature says of rows of data: dict of arrays, without `valid`.

    A `z` that it takes besides is what the model's own `encode` gives for the data.

    Args:
        model: `export.runtimes.Runtime`.
        name: str, a signature with an input `images` or `points`.
        data: float32 [n, ...].
        seed: int, seed of the first row, where the signature takes seeds.
        label: int, the class of all rows, where it takes labels.

    Raises:
        UserError: for a label that is missing, not taken or not a class, or rows that the model calls invalid.
    """
    taken = model.require(name).inputs
    if "label" in taken and label is None:
        raise cli.UserError(f"--label is missing: the signature {name} takes the class of its rows.")
    if "label" not in taken and label is not None:
        raise cli.UserError(f"--label={label} is given, but the signature {name} takes no label: leave it out.")
    inputs = {"seed": seeds(seed, len(data)), "label": np.full(len(data), label or 0), data_name(taken): data}
    if "z" in taken:
        inputs["z"] = ask_about(model, "encode", data, seed)["z"]
    answer = model.ask(name, {key: inputs[key] for key in taken})
    valid = answer.pop("valid")
    if not valid.all():
        bad = ", ".join(map(str, np.flatnonzero(~valid)[:10]))
        raise cli.UserError(f"{model} calls rows of --data invalid, counted from 0: {bad}.")
    return answer


def seeds(first, num):
    """The seeds of `num` rows, int64. Raises `UserError` where they pass the largest."""
    if first + num > 2**63:
        raise cli.UserError(f"--seed={first} and {num} rows pass the largest seed, 2^63 - 1.")
    return np.array(range(first, first + num), np.int64)


def data_name(inputs):
    """What a signature calls a row of data."""
    return "images" if "images" in inputs else "points"


def load(paths, signature):
    """Reads data that a signature takes: float32 [n, ...], and a name for each row.

    Raises:
        UserError: if a file can not be read or its shape is not the signature's.
    """
    shape = signature.inputs[data_name(signature.inputs)]
    if len(paths) == 1 and Path(paths[0]).suffix == ".npy":
        try:
            rows = np.load(paths[0], allow_pickle=False)
        except (OSError, ValueError) as error:
            raise cli.UserError(f"--data={paths[0]} can not be read as numpy's .npy file.") from error
        if rows.shape[1:] != shape or not len(rows) or rows.dtype.kind not in "fiu":
            raise cli.UserError(f"--data={paths[0]} holds {rows.dtype} {rows.shape}; the model takes [n, *{shape}].")
        return rows.astype(np.float32), [str(i) for i in range(len(rows))]
    if len(shape) != 3:
        raise cli.UserError(
            f"--data={','.join(paths)}: the model takes no pictures, but rows {shape} in one .npy file."
        )
    files = [file for path in map(Path, paths) for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    if not files:
        raise cli.UserError(f"--data={','.join(paths)} holds no files.")
    return np.stack([load_picture(file, shape) for file in files]), [str(file) for file in files]


def load_picture(file, shape):
    """One picture as float32 (height, width, channels) in [0, 1]. Raises `UserError` where it has another size."""
    try:
        with PIL.Image.open(file) as image:
            pixels = np.asarray(image.convert("L" if shape[2] == 1 else "RGB"), np.float32) / 255.0
    except (OSError, ValueError) as error:
        raise cli.UserError(f"--data: {file} can not be read as a picture.") from error
    if pixels.shape[:2] != shape[:2]:
        raise cli.UserError(f"--data: {file} has {pixels.shape[:2]} pixels; the model takes {shape[:2]}, height first.")
    return pixels.reshape(shape)


def decode_png(png):
    """A PNG file's bytes as float32 (height, width, channels) in [0, 1]."""
    with PIL.Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image, np.float32) / 255.0
    return pixels.reshape(*pixels.shape[:2], -1)
