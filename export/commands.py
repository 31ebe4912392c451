"""What the commands export.sample and export.client share: their flags, and what each --task does.

The two differ in where the model is.
"""

import contextlib
import functools
import sys
from pathlib import Path

import numpy as np
from absl import flags as absl_flags

from common import cli, image_files, pictures
from common import flags as common_flags
from export import tasks
from export.tasks import (
    MISSING,
    ask_about,
    between,
    combine,
    complete,
    data_name,
    draw,
    latents,
    seeds,
    shows_means,
)

POINTS_OF_A_PATH = 100


def define_flags(flags):
    """The flags of every command that asks a model."""
    define_integer = functools.partial(absl_flags.DEFINE_integer, flag_values=flags)
    int64 = {"lower_bound": -(2**63), "upper_bound": 2**63 - 1}
    what = (
        "Samples; translations or reconstructions of --data, or its scores; completions of its missing half; lines of "
        "pictures between latent points, those of seeds or of --data; or A - B + C for three groups of --data."
    )
    common_flags.define_choice(flags, "task", "sample", TASKS, what)
    num = "How many samples (default 64, or 8 of each class), or lines (8, or one of each class)."
    define_integer("num", None, num, lower_bound=1)
    define_integer("seed", 0, "Seed of the first row; the next has the next seed.", **int64)
    define_integer("label", None, "The class of all rows, for a conditional model; default rows of each.", **int64)
    common_flags.define_choice(
        flags, "missing", None, MISSING, "Which half of --data --task=inpaint completes, default lower."
    )
    draws = "Show draws of a model that has means of pixels beside them, not these."
    absl_flags.DEFINE_bool("draws", False, draws, flag_values=flags)
    data = (
        "Pictures, folders or zips of pictures, or one .npy file, to be asked about; for --task=arithmetic three of "
        "them, each a group."
    )
    common_flags.define_list(flags, "data", None, data, paths=True)
    common_flags.define_path(flags, "out", "grid.png", "Where the picture goes, a file that ends in .png.")


def check_flags(flags):
    """Raises `UserError` for flags that contradict each other."""
    if Path(flags.out).suffix.lower() != ".png":
        raise cli.UserError(f"--out={flags.out} must end in .png.")
    if flags.draws and flags.task not in ("sample", "inpaint"):
        raise cli.UserError(f"--draws is for --task=sample and inpaint: --task={flags.task} shows means.")
    if flags.missing and flags.task != "inpaint":
        raise cli.UserError(f"--missing={flags.missing} is for --task=inpaint: --task={flags.task} completes nothing.")
    if flags.task == "sample" and flags.data:
        raise cli.UserError("--data is for the other tasks: samples need none.")
    if flags.task in ("translate", "reconstruct", "score", "inpaint", "arithmetic") and not flags.data:
        raise cli.UserError(f"--task={flags.task} needs --data: pictures, folders of them, or .npy files.")
    if flags.task == "arithmetic" and len(flags.data) != 3:
        raise cli.UserError(
            f"--data={','.join(flags.data)} must name three groups for --task=arithmetic, A,B,C: "
            "each a folder of pictures or one .npy file."
        )
    if flags.num is not None and flags.data and flags.task not in ("inpaint", "arithmetic"):
        raise cli.UserError(f"--num={flags.num} is for seeds: --task={flags.task} takes all of --data.")


def perform(flags, model):
    """Does what the flags say; prints where the picture is, or the scores.

    Raises:
        UserError: for whatever the model can not do, or a file that can not be read or written.
    """
    TASKS[flags.task](flags, model)


@contextlib.contextmanager
def writing(path):
    """Tells of a picture's path, or of why it can not be written."""
    with cli.writing(f"--out={path}"):
        yield
    print(path)


def sample(flags, model):
    num_classes = model.num_classes if flags.label is None else None
    num = flags.num or pictures.number_of_images(num_classes)
    rows = draw(model, num, flags.seed, flags.label, means=not flags.draws)
    with writing(flags.out):
        pictures.picture(rows, flags.out, num_classes)
    if shows_means(model) and not flags.draws:
        print("These are means, not draws, which --draws shows.")


def reconstruct(flags, model):
    data, _ = load(flags.data, model.require("reconstruct"))
    answer = ask_about(model, "reconstruct", data, flags.seed, flags.label)
    with writing(flags.out):
        pictures.comparison(data, next(iter(answer.values())), flags.out)


def translate(flags, model):
    data, _ = load(flags.data, model.require("translate"))
    made = tasks.translate(model, data, flags.seed, flags.label)
    with writing(flags.out):
        pictures.beside(made, flags.out)


def inpaint(flags, model):
    data, _ = load(flags.data, model.require("inpaint"))
    if data.ndim != 4:
        raise cli.UserError(f"--task=inpaint completes halves of pictures, and {model} is of points.")
    num = flags.num or pictures.COLUMNS - 2
    lines = complete(model, data, flags.missing or "lower", num, flags.seed, flags.label, flags.draws)
    with writing(flags.out):
        pictures.lines(lines, flags.out)


def score(flags, model):
    name = next((name for name in ("log_prob", "discriminate") if name in model.signatures), "log_prob")
    data, names = load(flags.data, model.require(name))
    answer = ask_about(model, name, data, flags.seed, flags.label)
    print("\t".join(["row", *answer]))
    for row, *values in zip([*names, "mean"], *([*value, value.mean()] for value in answer.values()), strict=True):
        print("\t".join([row, *(f"{value:.6g}" for value in values)]))


def interpolate(flags, model):
    points = data_name(model.require("interpolate").outputs) == "points"
    data = None
    if flags.data:
        data, _ = load(flags.data, model.require("encode"))
        if len(data) == 1:
            raise cli.UserError(f"--data={','.join(flags.data)} holds one row: a line needs two, its ends.")
        ends = latents(model, data, flags.seed, flags.label)
    else:
        lines = flags.num or (model.num_classes if flags.label is None else None) or pictures.COLUMNS
        ends = model.ask("latent", {"seed": seeds(flags.seed, lines + 1)})["z"]
    lines = between(model, ends, POINTS_OF_A_PATH if points else pictures.COLUMNS, flags.label)
    with writing(flags.out):
        pictures.lines(lines, flags.out, data)


def arithmetic(flags, model):
    model.require("decode")
    groups = [load([path], model.require("encode"))[0] for path in flags.data]
    lines = combine(model, groups, flags.num or pictures.COLUMNS, flags.seed, flags.label)
    with writing(flags.out):
        pictures.lines(lines, flags.out, np.concatenate(groups))


TASKS = {
    "sample": sample,
    "reconstruct": reconstruct,
    "translate": translate,
    "score": score,
    "inpaint": inpaint,
    "interpolate": interpolate,
    "arithmetic": arithmetic,
}


def load(paths, signature):
    """Reads data that a signature takes: float32 [n, ...], and a name for each row; pictures as training reads them.

    Raises:
        UserError: if a file can not be read, or an array's shape is not the signature's.
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
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise cli.UserError(
            f"--data={','.join(paths)}: the model takes no pictures, but rows {shape} in one .npy file."
        )
    found = image_files.read(paths, shape)
    if found.left_out:
        print(f"--data={','.join(paths)}: {found.left_out}", file=sys.stderr)
    return found.images.astype(np.float32) / 255.0, [str(file) for file in found.files]
