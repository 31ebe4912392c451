"""Puts the export of a measured run into pretrained/, with a small picture, and writes the list pretrained/README.md.

python -m export.pretrained [--add=RUN_DIR] [--name=NAME] [--signatures=sample,decode]
"""

from pathlib import Path

from absl import flags as absl_flags

from common import cli, files, pictures
from common import flags as common_flags
from export.runtimes import Local
from export.sample import classes_of, find_version
from export.tasks import draw, shows_means

ROOT = Path(__file__).parents[1] / "pretrained"
PICTURE = "samples.png"
SIDE, OF_EACH_CLASS = 6, 4  # lines and columns of a picture; columns where each class has a line
INTRODUCTION = """\
# Trained models

Exports of the runs in [docs/results.md](../docs/results.md), each with its model card, which names the flagfile, the
numbers and the licence of the data. This page is written by `python -m export.pretrained`, which with
`--add=runs/NAME` adds one. Each answers without any training:

```sh
python -m export.sample --model_dir=pretrained/NAME --out=samples.png
```
"""


def number_in_picture(num_classes):
    """How many samples a model's small picture shows."""
    return OF_EACH_CLASS * num_classes if num_classes else SIDE**2


def write_picture(rows, num_classes, path):
    """Writes the samples of seeds 0, 1, ..., as `export.tasks.draw` gives them, as one PNG."""
    files.write_atomically(path, lambda temporary: pictures.picture(rows, temporary, num_classes))


def add(run_dir, name, signatures=None, root=None):
    """Exports a run as NAME in `root`, by default pretrained/, in place of what was there, and draws its picture."""
    from export.run import export_run
    from trainers import rundir

    root = root or ROOT
    version = export_run(rundir.load(run_dir), root / name, signatures, keep_versions=1)
    model = Local(version, classes_of(version))
    rows = draw(model, number_in_picture(model.num_classes), 0, means=shows_means(model))
    with cli.writing(root / name):
        write_picture(rows, model.num_classes, root / name / PICTURE)


def render(root=None):
    """The list as Markdown, from what lies in `root`."""
    root = root or ROOT
    lines = ["| model | of | data | size | samples |", "| --- | --- | --- | --- | --- |"]
    for folder in sorted(path.parent for path in root.glob(f"*/{PICTURE}")):
        version = find_version(folder)
        metadata = files.read_json(version / "assets.extra" / "metadata.json", "dataset", "summary", "signatures")
        size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file()) / 1e6
        kind = "means of p(x given z)" if "sample_mean" in metadata["signatures"] else "samples"
        lines.append(
            f"| [`{folder.name}`]({folder.name}/README.md) | {metadata['summary'].partition(chr(10))[0]} | "
            f'{metadata["dataset"]} | {size:.1f} MB | <img src="{folder.name}/{PICTURE}" width="260" alt="{kind}"> |'
        )
    return f"{INTRODUCTION}\n" + "\n".join(lines) + "\n"


def main(argv):
    flags = absl_flags.FlagValues()
    common_flags.define_path(flags, "add", None, "A run that has been measured.")
    absl_flags.DEFINE_string("name", None, "What to call it; default its directory's name.", flag_values=flags)
    common_flags.define_list(flags, "signatures", None, "Signatures to export besides sample; default all.")
    common_flags.parse(flags, argv, __doc__)
    if flags.add is None and (flags.name or flags.signatures):
        raise cli.UserError("--name and --signatures are of the run to --add: give --add=RUN_DIR too.")
    if flags.add:
        with cli.starting_tensorflow():
            from trainers import rundir, tables  # noqa: F401, what `add` needs brings TensorFlow
        add(flags.add, flags.name or tables.name_of(flags.add), flags.signatures)
    with cli.writing(ROOT / "README.md"):
        text = render()
        files.write_atomically(ROOT / "README.md", lambda temporary: temporary.write_text(text))
    print(ROOT / "README.md")


if __name__ == "__main__":
    cli.run(main)
