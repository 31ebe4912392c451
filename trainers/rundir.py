"""The directory of a run: its settings, its facts, and its checkpoints, written so that a crash can not harm them.

config.cfg        the resolved flagfile; it reruns the run
facts.json        what was trained on what: model, dataset, checksum, licence, versions, machine, commit
metrics.jsonl     one line every --log_every steps
samples/          pictures of samples
tensorboard/      the same for TensorBoard
checkpoints/      step_NNNNNNNN.keras: weights, optimizers and step, as Keras files
export/           SavedModels
evaluation.json   results of trainers.evaluate, and how each was measured; of a run of several seeds summary.json
lock              while it is trained: who trains it
"""

import contextlib
import os
import re
import shlex
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo
from common import files, provenance
from common.cli import UserError, writing
from trainers import flags
from zoo.optimizers import kind_of, make_optimizer, with_loss_scale

LOCK = "lock"


@dataclass(frozen=True)
class Run:
    """A run read back from its directory: a `Game` with its newest weights, their averages where the run kept any.

    `memory` is for what several metrics share of this run, such as samples.
    """

    path: Path
    model: keras.Model
    step: int
    settings: flags.Settings
    facts: dict
    memory: dict = field(default_factory=dict, compare=False, repr=False)


def write_atomically(path, write):
    """Calls `write(temporary_path)` and renames what it wrote to `path`: readers see the old file or the new one.

    Raises:
        UserError: if it can not be written (a full disk, no permission); nothing is left behind then.
    """
    with writing(path):
        files.write_atomically(path, write)


def write_text(path, text):
    write_atomically(path, lambda temporary: temporary.write_text(text))


def facts_of(settings, data, command="trainers.run"):
    """What a model card needs to know of a run that this command begins, JSON-able."""
    return {
        "model": settings.model,
        "dataset": data.name,
        "data_shape": list(data.shape),
        "data_checksum": data.checksum,
        "licence": data.licence,
        "citation": data.citation,
        "num_classes": data.num_classes,
        "num_train": len(data.train),
        "class_names": data.class_names,
        "command": shlex.join(["python", "-m", command, *sys.argv[1:]]),
        **provenance.here(),
        "versions": {package.__name__: package.__version__ for package in (zoo, tf, keras, np)},
    }


def read_facts(path):
    """The facts of a run, or None where they are missing or damaged."""
    return files.read_json(path / "facts.json", "dataset", "data_shape", "data_checksum", "num_classes", "versions")


@contextlib.contextmanager
def claimed(path):
    """Holds a run's directory, made where missing, for the one process that trains it; leaves none that is empty.

    Raises:
        UserError: if another process trains it, or it can not be written.
    """
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    with contextlib.ExitStack() as lock:
        for folder in reversed(made):
            lock.callback(_remove_if_empty, folder)
        try:
            with writing(path):
                path.mkdir(parents=True, exist_ok=True)
                lock.enter_context(files.claimed(path / LOCK))
        except UserError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            holder = error.__cause__.strerror
            raise UserError(f"{path} is being trained by {holder}: wait for it, or give another --run_dir.") from error
        yield


def _remove_if_empty(folder):
    with contextlib.suppress(OSError):
        folder.rmdir()


def check(settings, facts):
    """Checks that the run's directory, where there is one, holds the same run; returns its path. Writes nothing.

    Raises:
        UserError: if it holds a run with other settings or data, or something else.
    """
    path = Path(settings.run_dir)
    config = path / "config.cfg"
    if config.exists():
        found = flags.differences(config.read_text(errors="replace").splitlines(), settings)
        if found.keys() - flags.NUMERICAL:
            raise UserError(
                f"{path} holds a run with other settings ({'; '.join(found.values())}): "
                "give another --run_dir, or delete that directory."
            )
        old = read_facts(path)
        if old and old["data_checksum"] != facts["data_checksum"]:
            raise UserError(f"{path} holds a run on other data of the name {facts['dataset']}: give another --run_dir.")
    elif path.exists() and not path.is_dir():
        raise UserError(f"{path} is not a directory: give another --run_dir.")
    elif path.exists() and {*path.iterdir()} - {path / "facts.json", path / LOCK, *leftovers(path)}:
        raise UserError(f"{path} is not empty and holds no run: give another --run_dir.")
    return path


def other_bits(settings):
    """What makes a run go on with other bits than it began with, as text; "" for nothing."""
    config = Path(settings.run_dir) / "config.cfg"
    found = flags.differences(config.read_text().splitlines() if config.exists() else settings.lines, settings)
    return "; ".join(text for flag, text in found.items() if flag in flags.NUMERICAL)


def check_resumable(path, model):
    """Raises UserError for a run begun when state of networks still changed in moves of others: it would go on anew.

    That is before runs had the zoo's version among their facts.
    """
    facts = read_facts(path)
    has_state = any(network.non_trainable_variables for networks in model.moves.values() for network in networks)
    if facts and "zoo" not in facts["versions"] and has_state:
        raise UserError(
            f"{path} was begun by an older version, which kept the averages of batch normalisation, spectral norms and "
            "dropout otherwise: it can be evaluated and exported, but not be resumed; give another --run_dir."
        )


def prepare(settings, facts):
    """Writes the settings and, unless they are there, the facts of a run; removes what a crash has left.

    Raises:
        UserError: if the directory can not be written.
    """
    path = Path(settings.run_dir)
    if not (path / "config.cfg").exists():
        write_text(path / "facts.json", files.to_json(facts, indent=2) + "\n")
    elif read_facts(path) is None:  # no reason to give up whole checkpoints
        print(f"{path / 'facts.json'} is damaged; it is written anew.", file=sys.stderr)
        write_text(path / "facts.json", files.to_json(facts, indent=2) + "\n")
    write_text(path / "config.cfg", "\n".join(settings.lines) + "\n")
    for file in leftovers(path):
        file.unlink()


def leftovers(path):
    """Temporary files that a crash has left in a run's directory."""
    return [file for pattern in (".tmp-*", "*/.tmp-*") for file in Path(path).glob(pattern) if file.is_file()]


def checkpoints(path):
    """The checkpoints in a run's directory: list of (step, file), oldest first."""
    files = (Path(path) / "checkpoints").glob("step_*.keras")
    steps = [(re.fullmatch(r"step_(\d+)\.keras", file.name), file) for file in files]
    return sorted((int(match.group(1)), file) for match, file in steps if match)


def save(model, path, step, keep):
    """Writes the checkpoint of a step and deletes all but the newest `keep`.

    Raises:
        UserError: if it can not be written; those before stay.
        FloatingPointError: if a weight is not finite; those before stay.
    """
    for move in model.moves:
        for weight in model.weights_of(move):
            if not np.all(np.isfinite(weight.numpy())):
                raise FloatingPointError(f"the weight {weight.path} of the {move} is not finite at step {step}")
    file = Path(path) / "checkpoints" / f"step_{step:08d}.keras"

    def write(temporary):
        partial = temporary.with_suffix(".keras")  # Keras insists on it
        try:
            model.save(partial)
            os.replace(partial, temporary)
        finally:
            partial.unlink(missing_ok=True)

    write_atomically(file, write)
    kept = [old for at, old in checkpoints(path) if at <= step][-keep:]  # later ones were damaged: we began before them
    for _, old in checkpoints(path):
        if old not in kept:
            old.unlink()


def newest(path):
    """The newest undamaged checkpoint in a run's directory: its step and file, or 0 and None if there is none.

    A damaged checkpoint is named on stderr, and the one before it is taken.
    """
    for step, file in reversed(checkpoints(path)):
        if not file.exists():  # a training that goes on has deleted it
            continue
        if is_whole(file):
            return step, file
        print(f"checkpoint {file} is damaged; the one before it is taken.", file=sys.stderr)
    return 0, None


def is_whole(file):
    """Whether every byte of a checkpoint's contents agrees with their checksums.

    Raises:
        OSError: if it can not be read, which is no damage.
    """
    with open(file, "rb") as content:
        try:
            with zipfile.ZipFile(content) as archive:
                return archive.testzip() is None and "model.weights.h5" in archive.namelist()
        except Exception:  # a damaged directory of the archive can raise anything
            return False


def configure_keras(precision):
    """Sets Keras's dtype policy, and to its default what keras.json may have changed: no run depends on that."""
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy(precision)


def load(run_dir):
    """Reads a run back, for evaluation and export.

    Raises:
        UserError: if the directory holds no run, or no undamaged checkpoint.
    """
    path = Path(run_dir)
    if not (path / "config.cfg").exists():
        raise UserError(f"{path} holds no run: give the --run_dir of trainers.run, which has a config.cfg.")
    settings = flags.parse(["trainers.run", f"--flagfile={path / 'config.cfg'}", f"--run_dir={path}"])
    if (facts := read_facts(path)) is None:
        raise UserError(f"{path / 'facts.json'} is damaged: the same trainers.run again writes it anew.")
    step, checkpoint = newest(path)
    if checkpoint is None:
        raise UserError(f"{path} holds no checkpoint yet: let trainers.run reach one (--checkpoint_every) first.")
    configure_keras("float32")  # weights are float32 in any precision
    model = make_model(settings, facts)
    model.load_weights(checkpoint)
    model.keep_averages()
    return Run(path, model, step, settings, facts)


def make_model(settings, facts, **compile_options):
    """The compiled model of a run, with fresh weights from its seed.

    Raises:
        UserError: for a setting out of its range, or data that the model can not take, such as those without labels.
    """
    keras.utils.set_random_seed(settings.seed)
    arguments = {name: facts[name] for name in settings.model_class.arguments() if name in flags.OF_DATA & facts.keys()}
    if arguments.get("num_classes", 0) is None and settings.model_settings.get("conditional", True):
        raise UserError(
            f"{facts['dataset']} has no labels: choose a dataset that has, such as an image_folder with a "
            "sub-folder for each class, or a model that needs none."
        )
    try:
        model = settings.model_class(**arguments, **settings.model_settings)
        optimizers = {move: make_optimizer(**settings.optimizers[kind_of(move)]) for move in model.moves}
        if settings.precision == "mixed_float16":  # also where the weights are read back in another precision
            optimizers = {move: with_loss_scale(optimizer) for move, optimizer in optimizers.items()}
    except ValueError as error:
        message = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"--model={settings.model} --dataset={settings.dataset}: {message}.") from error
    model.compile(optimizers, **compile_options)
    return model
