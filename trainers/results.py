"""Writes the page of results, docs/results.md with its pictures, and the table in README.md, out of results/*.json.

python -m trainers.results --add=RUN_DIR [--name=NAME]

first makes results/NAME.json of a run that has been measured, or of a directory with a run for each of several seeds,
seed_0 and so on, and takes its newest picture of samples. Numbers of papers lie in results/published.json.
"""

import datetime
import json
import math
import re
import shlex
from pathlib import Path

import PIL.Image
from absl import flags as absl_flags

from common import cli, files, provenance
from common import flags as common_flags

ROOT = Path(__file__).parents[1]
MARKS = "<!-- results -->", "<!-- /results -->"
PICTURE_WIDTH = 530  # pixels, that of 8 columns of images
NEEDED = (
    "model",
    "dataset",
    "flagfile",
    "command",
    "machine",
    "commit",
    "date",
    "num_weights",
    "step",
    "picture",
    "runs",
)


def record(path, name):
    """What results/NAME.json holds of a run that has been measured, or of one for each seed.

    Returns:
        dict of the names `NEEDED`; `runs` is a list of dicts of seed, what `training_seconds` returns, and
        what evaluation.json has: `results` and `measured`. No name of this machine and no path on it is among them.

    Raises:
        UserError: if there is no run, or one that has not been measured since it was trained.
    """
    from trainers import callbacks, rundir

    path = Path(path)
    seeds = sorted(path.glob("seed_*"), key=lambda folder: (len(folder.name), folder.name))
    folders = [path] if (path / "config.cfg").exists() or not seeds else seeds
    runs = [rundir.load(folder) for folder in folders]
    if len(steps := {run.step for run in runs}) > 1:
        raise cli.UserError(f"the runs in {path} have done different steps, {', '.join(map(str, sorted(steps)))}.")
    first, facts = runs[0], runs[0].facts
    command, means = portable(facts["command"], f"runs/{name}"), callbacks.shows_means(first.model)
    flagfiles = re.findall(r"--flagfile=(configs/\S+)", command)
    weights = {id(w): math.prod(w.shape) for move in first.model.moves for w in first.model.weights_of(move)}
    return {
        "model": facts["model"],
        "dataset": facts["dataset"],
        "flagfile": flagfiles[-1] if flagfiles else None,
        "command": command,
        **{key: facts.get(key, now) for key, now in provenance.here().items()},  # now only for runs of before
        "date": datetime.date.today().isoformat(),
        "num_weights": sum(weights.values()),
        "step": first.step,
        "picture": ("means of p(x given z)" if means else "samples") if newest_picture(first.path) else None,
        "runs": [_of_one(run, f"runs/{name}" + f"/{run.path.name}" * (run.path != path)) for run in runs],
    }


def _of_one(run, place):
    from trainers import evaluate

    report = evaluate.read(run.path / "evaluation.json", {"step": run.step})
    if not report["results"]:
        raise cli.UserError(
            f"{run.path} has not been measured at step {run.step}: give it to python -m trainers.evaluate first."
        )
    measured = {}
    for metric, how in report["measured"].items():
        options = {name: value for name, value in how["options"].items() if name != "against"}  # a path
        measured[metric] = {**how, "command": portable(how["command"], place), "options": options}
    return {
        "seed": run.settings.seed,
        **training_seconds(run.path / "metrics.jsonl"),
        "results": dict(sorted(report["results"].items())),
        "measured": dict(sorted(measured.items())),
    }


def portable(command, place):
    """A command without what is of this machine only: the run in `place`, flagfiles from configs/ on, data anywhere."""
    words, kept = shlex.split(command), []
    while words:
        flag, equals, value = words.pop(0).partition("=")
        name = flag.lstrip("-") if flag.startswith("-") else ""
        if name in ("run_dir", "data_dir", "flagfile", "initial_weights", "against") and not equals and words:
            value = words.pop(0)
        if name == "run_dir":
            kept.append(f"--run_dir={place}")
        elif name in ("initial_weights", "against"):
            kept.append(f"--{name}=runs/{Path(value).name}")
        elif name == "flagfile":
            parts = Path(value).parts
            kept.append(f"--flagfile={'/'.join(parts[parts.index('configs') :]) if 'configs' in parts else parts[-1]}")
        elif name != "data_dir":
            kept.append(flag + equals + value)
    return shlex.join(kept)


def training_seconds(log):
    """How long the steps in a metrics.jsonl took, pictures and checkpoints included, and how much CPU.

    Returns:
        dict of `training_seconds` and, of all threads, `cpu_seconds`, which other work on the machine lengthens less;
        None each where a line does not say.
    """
    from trainers.callbacks import PACE, logged_step

    totals, before = dict.fromkeys(("training_seconds", "cpu_seconds"), 0.0), 0
    for line in log.read_bytes().splitlines() if log.exists() else []:
        if (step := logged_step(line)) > before:
            speed, cpu = (json.loads(line).get(name) for name in PACE)
            for name, of_a_step in zip(totals, (1.0 / speed if speed else math.nan, cpu or math.nan), strict=True):
                totals[name] += (step - before) * of_a_step
            before = step
    return {name: round(total, 1) if total > 0.0 else None for name, total in totals.items()}


def newest_picture(run_dir):
    """The newest picture of samples in a run's directory, or None."""
    pictures = (Path(run_dir) / "samples").glob("step_*.png")
    return max(pictures, key=lambda file: int(file.stem.removeprefix("step_")), default=None)


def shrink(picture, path):
    """Writes a PNG file anew, at most `PICTURE_WIDTH` pixels wide."""
    with PIL.Image.open(picture) as image:
        image = image.convert("L" if image.mode == "L" else "RGB")
        image.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
    with cli.writing(path):
        files.write_atomically(path, lambda temporary: image.save(temporary, format="PNG", optimize=True))


def add(path, name, root=ROOT):
    """Makes results/NAME.json of a run, and docs/results/NAME.png of its picture. Raises `UserError` as `record`."""
    found = record(path, name)
    file = root / "results" / f"{name}.json"
    with cli.writing(file):
        files.write_atomically(file, lambda temporary: temporary.write_text(files.to_json(found, indent=2) + "\n"))
    picture = newest_picture(path) or newest_picture(next(Path(path).glob("seed_*"), path))
    if picture:
        shrink(picture, root / "docs" / "results" / f"{name}.png")


def load(root=ROOT):
    """What results/*.json hold but the papers' numbers, dict name -> what `record` returned.

    Raises:
        UserError: for a file that is damaged, or of a model that the zoo does not have.
    """
    from zoo import MODELS

    records = {}
    for file in sorted((root / "results").glob("*.json")):
        if file.stem == "published":
            continue
        if (found := files.read_json(file, *NEEDED)) is None or found["model"] not in MODELS:
            what = "is damaged" if found is None else f"is of {found['model']}, which is no model of the zoo"
            raise cli.UserError(f"{file} {what}: make it again by --add, or delete it.")
        records[file.stem] = found
    return records


def texts(root=ROOT):
    """What is to be in the files of the page, dict path -> text.

    Raises:
        UserError: as `load`; if README.md lacks the marks between which its table stands.
    """
    from trainers import page

    records, readme = load(root), root / "README.md"
    parts = re.split("|".join(map(re.escape, MARKS)), readme.read_text())
    if len(parts) != 3:
        raise cli.UserError(f"{readme} must have one {MARKS[0]} and one {MARKS[1]}, between which the table stands.")
    before, _, after = parts
    table = f"{before}{MARKS[0]}\n{page.short(records)}\n{MARKS[1]}{after}"
    return {root / "docs" / "results.md": page.render(records), readme: table}


def write(root=ROOT):
    """Writes the page, its plots and README's table. Raises `UserError` as `texts`."""
    from trainers import page

    for file, text in texts(root).items():
        with cli.writing(file):
            files.write_atomically(file, lambda temporary, text=text: temporary.write_text(text))
    records, pictures = load(root), root / "docs" / "results"
    page.draw_likelihoods(records, pictures / "likelihoods.png")
    page.draw_tradeoffs(records, pictures / "likelihood_and_speed.png")


def main(argv):
    flags = absl_flags.FlagValues()
    common_flags.define_path(flags, "add", None, "A run that has been measured, or a directory of one for each seed.")
    absl_flags.DEFINE_string("name", None, "What to call it; default its directory's name.", flag_values=flags)
    common_flags.parse(flags, argv, __doc__)
    if flags.name is not None and flags.add is None:
        raise cli.UserError(f"--name={flags.name} is what to call the run of --add=RUN_DIR: give that too.")
    with cli.starting_tensorflow():
        from trainers import page, tables  # noqa: F401, the page brings TensorFlow
    if flags.add is not None:
        name = flags.name or tables.name_of(flags.add)
        if not re.fullmatch(r"\w[\w-]*", name) or name == "published":
            raise cli.UserError(f"--name={name} must be letters, digits, _ and -, and not published.")
        add(flags.add, name, ROOT)
        print(f"results/{name}.json")
    write(ROOT)
    print("docs/results.md")


if __name__ == "__main__":
    cli.run(main)
