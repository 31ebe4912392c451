"""Draws samples from an exported model and writes them as one picture. Needs neither the zoo nor Keras.

python -m export.sample --model_dir=EXPORT_DIR [--num=64] [--seed=0] [--label=3] [--out=grid.png]

A conditional model draws the class --label; without it, one class for each line of the picture.
"""

import json
from pathlib import Path

import numpy as np
from absl import flags as absl_flags

from export.pictures import labels_of, number_of_images, picture
from export.publish import versions
from trainers import cli

BATCH = 256  # rows asked for at once: memory does not grow with their number


def find_version(model_dir):
    """The SavedModel that a user means: the directory itself, or the newest version in it.

    Raises:
        UserError: if there is none.
    """
    model_dir = Path(model_dir)
    if not model_dir.is_dir():
        raise cli.UserError(f"--model_dir={model_dir} is no directory: give the export directory of a run.")
    if (model_dir / "saved_model.pb").exists():
        return model_dir
    numbers = versions(model_dir)
    if not numbers or not (model_dir / str(numbers[-1]) / "saved_model.pb").exists():
        raise cli.UserError(f"--model_dir={model_dir} holds no SavedModel: give the export directory of a run.")
    return model_dir / str(numbers[-1])


def classes_of(version):
    """The number of classes of a conditional model, by its metadata.json; None where that names none."""
    try:
        return json.loads((version / "assets.extra" / "metadata.json").read_text())["config"].get("num_classes")
    except (OSError, ValueError, KeyError):
        return None


def draw(version, num, seed, label=None):
    """Rows `seed`, ..., `seed + num - 1` of the model in the directory `version`, as a numpy array.

    A conditional model draws all of the class `label`, or where that is None of the classes
    `export.pictures.labels_of(num, classes_of(version))`.

    Raises:
        UserError: if the model can not be read or draws no samples, or for a label it does not have or does not take.
    """
    with cli.quiet():
        import tensorflow as tf
    try:
        model = tf.saved_model.load(str(version))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise cli.UserError(f"the SavedModel in {version} can not be read: export the model again.") from error
    if "sample" not in model.signatures:
        raise cli.UserError(f"the SavedModel in {version} has no signature named sample: export.run gives it one.")
    sample = model.signatures["sample"]
    conditional = "label" in sample.structured_input_signature[1]
    if not conditional and label is not None:
        raise cli.UserError(f"--label={label} is given to a model that takes no label: leave it out.")
    inputs = {}
    if conditional:
        num_classes = classes_of(version)
        if label is None and num_classes is None:
            raise cli.UserError(f"--label is missing: {version} does not say which classes its model has.")
        inputs["label"] = labels_of(num, num_classes) if label is None else np.full(num, label)

    batches = []
    for first in range(0, num, BATCH):
        last = min(first + BATCH, num)
        seeds = tf.constant(range(seed + first, seed + last), tf.int64)
        rows = sample(seed=seeds, **{name: tf.constant(values[first:last]) for name, values in inputs.items()})
        if not np.all(rows.pop("valid", True)):
            raise cli.UserError(f"--label={label} is not a class of this model: its classes count from 0.")
        batches.extend(value.numpy() for value in rows.values())
    return np.concatenate(batches)


def main(argv):
    flags = absl_flags.FlagValues()
    own = {"flag_values": flags}
    int64 = {"lower_bound": -(2**63), "upper_bound": 2**63 - 1, **own}
    absl_flags.DEFINE_string("model_dir", None, "The export directory of a run, or one version in it.", **own)
    absl_flags.DEFINE_integer("num", None, "How many samples; default 64, or 8 of each class.", lower_bound=1, **own)
    absl_flags.DEFINE_integer("seed", 0, "Seed of the first sample; the next has the next seed.", **int64)
    absl_flags.DEFINE_integer("label", None, "The class to draw, of a conditional model; default each class.", **int64)
    absl_flags.DEFINE_string("out", "grid.png", "Where the picture goes, a file that ends in .png.", **own)
    cli.parse(flags, argv, __doc__, required="model_dir")
    if Path(flags.out).suffix.lower() != ".png":
        raise cli.UserError(f"--out={flags.out} must end in .png.")
    version = find_version(flags.model_dir)
    num_classes = classes_of(version) if flags.label is None else None
    num = flags.num or number_of_images(num_classes)
    if flags.seed + num > 2**63:
        raise cli.UserError(f"--seed={flags.seed} and --num={num} pass the largest seed, 2^63 - 1.")
    rows = draw(version, num, flags.seed, flags.label)
    try:
        picture(rows, flags.out, num_classes)
    except OSError as error:
        raise cli.UserError(f"--out={flags.out} can not be written: {error.strerror or error}.") from error
    print(flags.out)


if __name__ == "__main__":
    cli.run(main)
