"""Asks an exported model for samples, reconstructions, scores or latent arithmetic. Needs neither the zoo nor Keras.

python -m export.sample --model_dir=EXPORT_DIR [--num=64] [--seed=0] [--label=3] [--draws] [--out=grid.png]
python -m export.sample --model_dir=EXPORT_DIR --task=reconstruct --data=PICTURES [--out=grid.png]
python -m export.sample --model_dir=EXPORT_DIR --task=score --data=PICTURES
python -m export.sample --model_dir=EXPORT_DIR --task=inpaint --data=PICTURES [--missing=lower] [--num=6] [--draws]
python -m export.sample --model_dir=EXPORT_DIR --task=interpolate [--data=PICTURES] [--num=8]
python -m export.sample --model_dir=EXPORT_DIR --task=arithmetic --data=A,B,C

A conditional model draws the class --label; without it, one class for each line of the picture. Of a model that has a
likelihood p(x|z), pictures show its means at the samples' latent points, and with --draws the samples themselves.

--task=inpaint shows a line for each picture: the picture, what is left of it, and completions by the next seeds.

--task=interpolate walks straight through the latent space, a line of the picture for each walk: from the latent point
of one seed to that of the next, or with --data from the encoding of one picture to that of the next. --task=arithmetic
takes three groups, each a folder of pictures or one .npy file, and shows in the first line what the means of their
encodings decode to, and A - B + C; then some pictures of C, moved by 0, 1/4, ..., 3/2 of A - B.
"""

from pathlib import Path

from absl import flags as absl_flags

from common import cli
from common import flags as common_flags
from common.files import read_json
from export import commands, tasks
from export.publish import versions
from export.runtimes import Local


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
    config = (read_json(version / "assets.extra" / "metadata.json") or {}).get("config")
    return config.get("num_classes") if isinstance(config, dict) else None


def draw(version, num, seed, label=None):
    """`export.tasks.draw` of the model in the directory `version`."""
    return tasks.draw(Local(version, classes_of(version)), num, seed, label)


def main(argv):
    flags = absl_flags.FlagValues()
    common_flags.define_path(flags, "model_dir", None, "The export directory of a run, or one version in it.")
    commands.define_flags(flags)
    common_flags.parse(flags, argv, __doc__, required="model_dir")
    commands.check_flags(flags)
    version = find_version(flags.model_dir)
    commands.perform(flags, Local(version, classes_of(version)))


if __name__ == "__main__":
    cli.run(main)
