"""What a user asks an exported model for, wherever it runs: samples, walks between latents, what it says of data."""

import io

import numpy as np
import PIL.Image

from common import cli, pictures

AMOUNTS = np.arange(7) / 4  # of A - B that is added to a row of C
MISSING = {  # half of a picture, as an index of (height, width)
    "lower": lambda height, width: np.s_[height // 2 :],
    "upper": lambda height, width: np.s_[: height // 2],
    "left": lambda height, width: np.s_[:, : width // 2],
    "right": lambda height, width: np.s_[:, width // 2 :],
}


def draw(model, num, seed, label=None, means=False):
    """Rows of data for the seeds `seed`, ..., `seed + num - 1`, as a numpy array.

    Images are float32 in [0, 1]; a server's come as PNG files, rounded to 8 bits. With `means` they are those of the
    likelihood, where `shows_means` says that the model has them. A conditional model draws all of the
    class `label`, or where that is None of the classes `common.pictures.labels_of(num, model.num_classes)`.

    Args:
        model: `export.runtimes.Runtime`.
        num, seed: int.
        label: int or None.
        means: bool.

    Raises:
        UserError: if the model draws no samples, or for a label it does not have or does not take.
    """
    kind = "sample_mean" if means and shows_means(model) else "sample"
    name = kind + model.suffix if kind + model.suffix in model.signatures else kind
    rows = generate(model, name, {"seed": seeds(seed, num)}, label, lambda classes: pictures.labels_of(num, classes))
    return np.stack([decode_png(row) for row in rows]) if rows.dtype == object else rows


def shows_means(model):
    """Whether pictures of the model's samples show means in their place: of images that have them, not of points."""
    return "sample_mean" in model.signatures and data_name(model.signatures["sample_mean"].outputs) == "images"


def between(model, ends, num, label=None):
    """Rows of data on the straight lines from each latent point to the next, as Radford et al. 2015, figure 4.

    A conditional model stays in the class `label`, or where that is None in a class for each line: 0, 1, ..., and from
    the start again.

    Args:
        model: `export.runtimes.Runtime`.
        ends: float32 [lines + 1, latent_size].
        num: int >= 2, rows of a line, its two ends included.
        label: int or None.

    Returns:
        array [lines, num, ...].

    Raises:
        UserError: if the model has no `interpolate`, or for a label it does not have or does not take.
    """
    lines = len(ends) - 1
    inputs = {"z_from": ends[:-1].repeat(num, axis=0), "z_to": ends[1:].repeat(num, axis=0)}
    inputs["alpha"] = np.tile(np.linspace(0.0, 1.0, num, dtype=np.float32), lines)
    rows = generate(model, "interpolate", inputs, label, lambda classes: (np.arange(lines) % classes).repeat(num))
    return rows.reshape(lines, num, *rows.shape[1:])


def combine(model, groups, num, seed=0, label=None):
    """Arithmetic of the mean latents of three groups of data (Radford et al. 2015, section 6.3.2).

    Args:
        model: `export.runtimes.Runtime`.
        groups: three arrays A, B and C, float32 [n, ...], n >= 1.
        num: int, how many rows of C are moved, at most.
        seed: int, seed of the first row of A, where the encoder takes seeds; B and C go on from the last of A.
        label: int, the class of all rows, where the model takes labels.

    Returns:
        list of arrays [n, ...]: what is decoded at the means of A, B and C and at A - B + C; and for each of the first
        rows of C what is decoded there plus `AMOUNTS` times A - B.

    Raises:
        UserError: if the model has no `encode` or `decode`, or for a label that is missing, not taken or not a class.
    """
    z = latents(model, np.concatenate(groups), seed, label)
    parts = np.split(z.astype(np.float64), np.cumsum([len(group) for group in groups])[:-1])
    a, b, c = (part.mean(axis=0) for part in parts)
    lines = [np.stack([a, b, c, a - b + c]), *(row + AMOUNTS[:, None] * (a - b) for row in parts[2][:num])]
    rows = generate(model, "decode", {"z": np.concatenate(lines).astype(np.float32)}, label)
    return np.split(rows, np.cumsum([len(line) for line in lines])[:-1])


def complete(model, data, missing, num, seed=0, label=None, draws=False):
    """Pictures with a half left out, and what a model puts there.

    Args:
        model: `export.runtimes.Runtime`.
        data: float32 [n, height, width, channels] in [0, 1].
        missing: str, a half of `MISSING`.
        num: int, completions of each.
        seed: int, seed of the first completion of the first; all others have the next ones.
        label: int, the class of all rows, where the model takes labels.
        draws: bool, draws in place of means of the pixels.

    Returns:
        list of n arrays [2 + num, height, width, channels]: the picture, it with the half in grey, and its completions.

    Raises:
        UserError: if the model has no `inpaint`, or as `ask_about` does.
    """
    known = np.ones(data.shape[1:], np.float32)
    known[MISSING[missing](*data.shape[1:3])] = 0.0
    rows = data.repeat(num, axis=0)
    answer = ask_about(model, "inpaint", rows, seed, label, mask=np.broadcast_to(known, rows.shape))
    found = answer["images" if draws else "mean"].reshape(len(data), num, *data.shape[1:])
    seen = np.where(known, data, 0.5)
    return [np.stack([*pair, *rows]) for *pair, rows in zip(data, seen, found, strict=True)]


def translate(model, data, seed=0, label=None):
    """Pictures, what a model makes their condition, if it tells, and their translations: a list of arrays [n, ...].

    Raises:
        UserError: if the model has no `translate`, or as `ask_about` does.
    """
    answer = ask_about(model, "translate", data, seed, label)
    return [data, *(answer[name] for name in ("condition_images", "images") if name in answer)]


def generate(model, name, inputs, label, default=None):
    """The rows of data that a signature gives for inputs and, where it takes them, for labels as of `labels`.

    Raises:
        UserError: if the model has no such signature, or for a label it does not have or does not take.
    """
    num = len(next(iter(inputs.values())))
    answer = model.ask(name, inputs | labels(model, name, num, label, default))
    if not np.all(answer.pop("valid", True)):
        if label is None:
            raise cli.UserError(f"{model} gives rows that are not finite for the signature {name}.")
        raise cli.UserError(f"--label={label} is not a class of this model: its classes count from 0.")
    (rows,) = answer.values()
    return rows


def labels(model, name, num, label, default=None):
    """The labels of `num` rows as inputs of a signature: an empty dict where it takes none.

    Args:
        model: `export.runtimes.Runtime`.
        name: str, a signature.
        num: int.
        label: int, the class of all rows, or None.
        default: function of the number of classes that gives the labels [num] where `label` is None; None where it
            must not be.

    Raises:
        UserError: for a label that is missing or not taken.
    """
    if "label" not in model.require(name).inputs:
        if label is not None:
            raise cli.UserError(f"--label={label} is given, but the signature {name} takes no label: leave it out.")
        return {}
    if label is not None:
        return {"label": np.full(num, label)}
    if default is None:
        raise cli.UserError(f"--label is missing: the signature {name} takes the class of its rows.")
    if model.num_classes is None:
        raise cli.UserError(f"--label is missing: {model} does not say which classes it has.")
    return {"label": default(model.num_classes)}


def latents(model, data, seed=0, label=None):
    """The z [n, latent_size] that `encode` gives for data, by `ask_about`; without the label if it takes none."""
    takes_label = "label" in model.require("encode").inputs
    return ask_about(model, "encode", data, seed, label if takes_label else None)["z"]


def ask_about(model, name, data, seed=0, label=None, **more):
    """What a signature says of rows of data: dict of arrays, without `valid`.

    A `z` that it takes besides is what the model's own `encode` gives for the data.

    Args:
        model: `export.runtimes.Runtime`.
        name: str, a signature with an input `images` or `points`.
        data: float32 [n, ...].
        seed: int, seed of the first row, where the signature takes seeds.
        label: int, the class of all rows, where it takes labels.
        **more: other inputs of the signature, arrays [n, ...].

    Raises:
        UserError: for a label that is missing, not taken or not a class, or rows that the model calls invalid.
    """
    taken = model.require(name).inputs
    inputs = {"seed": seeds(seed, len(data)), data_name(taken): data, **labels(model, name, len(data), label), **more}
    if "z" in taken:
        inputs["z"] = latents(model, data, seed, label)
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


def data_name(tensors):
    """What a signature with these inputs or outputs calls a row of data."""
    return "images" if "images" in tensors else "points"


def decode_png(png):
    """A PNG file's bytes as float32 (height, width, channels) in [0, 1]."""
    with PIL.Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image, np.float32) / 255.0
    return pixels.reshape(*pixels.shape[:2], -1)
