"""The command line of a run: shared flags, and flags made from the signatures of the model and its optimizers.

A model's constructor is its configuration, so its parameters are its flags: the annotation gives the type, the
docstring's `Args:` the help. Each kind of moves has `--KIND.optimizer`, `--KIND.schedule` (a class of
`keras.optimizers.schedules`) and what these two take, as `--KIND.learning_rate` or `--KIND.schedule.decay_steps`.
"""

import inspect
import typing
from dataclasses import dataclass, replace
from pathlib import Path

import keras
from absl import flags as absl_flags

from common.cli import UserError
from common.flagfiles import expand, line_of
from common.flags import define_choice, define_float, define_list, define_path, define_tuple, read
from trainers.data import DATASETS, catalogue
from trainers.data.files import plain
from zoo import MODELS
from zoo.optimizers import OPTIMIZERS

# Flags that say how a run is carried out and not what it computes: they may change when a run is resumed.
OPERATIONAL = {
    "run_dir", "data_dir", "num_steps", "checkpoint_every", "keep_checkpoints", "sample_every", "log_every", "export",
    "metrics", "seeds",
}  # fmt: skip
NOT_KEPT = ("run_dir", "seeds")  # in the config.cfg of a run, which may be moved, and is of one seed
# Flags that change the order of sums, and which replica draws which noise: a resumed run goes on, with other bits.
NUMERICAL = {"jit_compile", "strategy", "num_replicas"}
OF_DATA = {"data_shape", "num_classes", "num_train"}  # arguments of models that the dataset decides
LARGEST_SEED = 2**32 - 1  # that NumPy takes
INTEGER_OPTIMIZER_SETTINGS = {"ema_overwrite_frequency", "gradient_accumulation_steps"}


def define_shared(flags):
    integer, boolean = absl_flags.DEFINE_integer, absl_flags.DEFINE_boolean
    count = {"lower_bound": 1, "flag_values": flags}
    own = {"flag_values": flags}
    define_choice(flags, "model", None, sorted(MODELS), "The model to train.")
    there = f"One of {', '.join(DATASETS)}, or {catalogue.PREFIX}NAME of TensorFlow Datasets."
    define_choice(flags, "dataset", "digits", DATASETS, there, prefix=catalogue.PREFIX)
    where = (
        "Where the data lies; else $ZOO_DATA_DIR, else Keras's cache. image_folder: the images, "
        "or a folder of them for each class; image_pairs: folders condition and target. points: a .npy or .csv file. "
        "tfds: its folder, else its own default."
    )
    define_path(flags, "data_dir", None, where)
    integer("image_side", None, "Resize images to this side.", **count)
    integer("image_channels", None, "1 for grey, 3 for colour (image_folder, image_pairs).", **count)
    splits = "Training and test rows of a tfds dataset, in its own syntax, such as train[:90%],train[90%:]."
    define_list(flags, "splits", None, splits)
    boolean("dynamic_binarization", False, "Draw black or white for each grey pixel anew at every step.", **own)
    where = "Where the run lives; default runs/MODEL_DATASET. An unfinished run there is resumed."
    define_path(flags, "run_dir", None, where)
    where = "A run whose weights, where they fit, this one begins with in place of random ones."
    define_path(flags, "initial_weights", None, where)
    where = "Begin with the log-odds of the mean training row as biases of a decoder's pixels, in place of zeros."
    boolean("initial_bias_of_data", False, where, **own)
    integer("num_steps", 2000, "Steps to train for, counted from the beginning of the run.", **count)
    integer("batch_size", 64, "Examples in a minibatch, over all replicas.", **count)
    seeds = {"lower_bound": 0, "upper_bound": LARGEST_SEED, "flag_values": flags}
    integer("seed", 0, "Seed of the weights, the noise and the order of the data.", **seeds)
    where = "a run for each, RUN_DIR/seed_0 and so on, and RUN_DIR/summary.json of their metrics."
    integer("seeds", None, f"Train with so many seeds from --seed on: {where}", **count)
    compiler = "Compile with XLA; auto: on a GPU, and on a CPU where a few steps of a long run are faster by it."
    define_choice(flags, "jit_compile", "auto", ["auto", "true", "false"], compiler)
    precisions = ["float32", "mixed_bfloat16", "mixed_float16"]
    define_choice(flags, "precision", "float32", precisions, "Keras's dtype policy.")
    strategies = ["none", "mirrored", "multi_worker"]
    how = "How to train on several devices; multi_worker reads TF_CONFIG."
    define_choice(flags, "strategy", "none", strategies, how)
    integer("num_replicas", None, "Devices for mirrored; default all GPUs. Without a GPU the CPU is split.", **count)
    integer("checkpoint_every", 1000, "Steps between checkpoints.", **count)
    integer("keep_checkpoints", 3, "Checkpoints to keep.", **count)
    integer("sample_every", 1000, "Steps between pictures of samples.", **count)
    integer("log_every", 100, "Steps between lines of metrics.jsonl.", **count)
    boolean("export", True, "Export a SavedModel at the end.", **own)
    define_list(flags, "metrics", [], "Measures to take at the end, or all; trainers.evaluate --help lists them.")


def define(flags, name, annotation, default, help_text):
    """Defines one flag of the type that an annotation names."""
    if typing.get_origin(annotation) is typing.Literal:
        define_choice(flags, name, default, typing.get_args(annotation), help_text)
    elif typing.get_origin(annotation) is tuple:
        define_tuple(flags, name, default, help_text, typing.get_args(annotation)[0])
    elif annotation is float:
        define_float(flags, name, default, help_text)
    else:
        makers = {bool: "boolean", int: "integer", str: "string"}
        getattr(absl_flags, f"DEFINE_{makers[annotation]}")(name, default, help_text, flag_values=flags)


def model_arguments(cls):
    """The constructor parameters that are flags: those that no shared flag or dataset decides."""
    return {name: p for name, p in cls.arguments().items() if name not in (*OF_DATA, "seed", "name")}


def _settings_of(callable_, skipped):
    """Dict, name -> (annotation, default, whether it must be given) of the parameters of an optimizer or schedule."""
    settings = {}
    for name, parameter in inspect.signature(callable_).parameters.items():
        if name in skipped or parameter.kind is parameter.VAR_KEYWORD:
            continue
        default = None if parameter.default is parameter.empty else parameter.default
        annotation = type(default) if isinstance(default, (bool, float, str)) else float
        if name in INTEGER_OPTIMIZER_SETTINGS or name.endswith("_steps"):
            annotation = int
        annotation = {"boundaries": tuple[int, ...], "values": tuple[float, ...]}.get(name, annotation)
        settings[name] = (annotation, default, parameter.default is parameter.empty)
    return settings


def optimizer_settings(name):
    return _settings_of(OPTIMIZERS[name], skipped=("name", "loss_scale_factor"))


SCHEDULES = sorted(n for n in dir(keras.optimizers.schedules) if n[0].isupper() and n != "LearningRateSchedule")


def schedule_settings(name):
    return _settings_of(getattr(keras.optimizers.schedules, name), skipped=("name", "initial_learning_rate"))


@dataclass(frozen=True)
class Settings:
    """The resolved flags of a run.

    values: dict, flag -> value, of every flag that the run has.
    lines: list of str, the same as lines of a flagfile, without those in `NOT_KEPT`.
    defaults: set of str, the lines as they were read that would be there if nothing was given.
    """

    values: dict
    lines: list
    defaults: set

    def __getattr__(self, name):
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def having(self, **values):
        """These settings with other values of some flags, that are numbers, text or None."""
        lines = []
        for line in self.lines:
            name = line.removeprefix("--").partition("=")[0]
            lines.append(line_of(name, values[name]) if name in values else line)
        return replace(self, values=self.values | values, lines=lines)

    @property
    def model_class(self):
        return MODELS[self.model]

    @property
    def model_settings(self):
        return {name: self.values[name] for name in model_arguments(self.model_class)} | {"seed": self.seed}

    @property
    def optimizers(self):
        """Dict, kind of moves -> the settings that `zoo.optimizers.make_optimizer` takes."""
        optimizers = {kind: {} for kind in self.model_class.default_optimizers}
        for flag, value in self.values.items():
            kind, dot, setting = flag.partition(".")
            if dot and value is not None:
                owner, setting = optimizers[kind], setting.removeprefix("schedule.")
                if flag.startswith(f"{kind}.schedule"):
                    owner = owner.setdefault("schedule", {})
                owner[setting] = value
        return optimizers


def parse(argv):
    """Reads the command line `argv` (its first element is the program) into `Settings`.

    Raises:
        UserError: for no or an unknown model, a flag that the model does not have, or a value of the wrong type.
        SystemExit: after `--help`.
    """
    arguments = [argument for argument in argv if argument not in ("--help", "-h", "--helpfull")]
    wants_help = len(arguments) < len(argv)
    arguments = expand(arguments)

    first = absl_flags.FlagValues()
    define_shared(first)
    read(first, arguments, known_only=True)
    if first.model is None:
        if wants_help:
            _print_help(first, "Flags of every model; --model=NAME --help shows that model's own.")
        raise UserError(f"--model is missing: give one of {', '.join(sorted(MODELS))}, or a --flagfile that does.")
    cls = MODELS[first.model]
    helps = cls.argument_help()

    def define_moves(flags):
        for kind, defaults in cls.default_optimizers.items():
            text = f"The optimizer of the {kind}."
            define_choice(flags, f"{kind}.optimizer", defaults["optimizer"], sorted(OPTIMIZERS), text)
            text = "A learning-rate schedule of Keras, such as CosineDecay."
            define_choice(flags, f"{kind}.schedule", None, SCHEDULES, text)

    second = absl_flags.FlagValues()
    define_moves(second)
    read(second, arguments, known_only=True)

    flags = absl_flags.FlagValues()
    define_shared(flags)
    for name, parameter in model_arguments(cls).items():
        define(flags, name, parameter.annotation, parameter.default, helps.get(name, ""))
    define_moves(flags)
    required = []
    for kind, defaults in cls.default_optimizers.items():
        optimizer, schedule = second[f"{kind}.optimizer"].value, second[f"{kind}.schedule"].value
        defaults = defaults if optimizer == defaults["optimizer"] else {}
        for name, (annotation, default, _) in optimizer_settings(optimizer).items():
            define(flags, f"{kind}.{name}", annotation, defaults.get(name, default), f"Keras's {optimizer}: {name}.")
        for name, (annotation, default, must) in (schedule_settings(schedule) if schedule else {}).items():
            define(flags, f"{kind}.schedule.{name}", annotation, default, f"Keras's {schedule}: {name}.")
            required += [f"{kind}.schedule.{name}"] if must else []
    read(flags, arguments, of=f"the model {first.model}", help_flags=f"--model={first.model} --help")
    if wants_help:
        _print_help(flags, f"{first.model}: {(cls.__doc__ or '').splitlines()[0]}")
    for name in required:
        if flags[name].value is None:
            schedule, _, setting = name.rpartition(".")
            raise UserError(
                f"--{schedule}={flags[schedule].value} has no default for its {setting}: give --{name} too."
            )

    if flags.run_dir is None:
        flags.run_dir = f"runs/{flags.model}_{plain(flags.dataset)}"
    for name in ("data_dir", "initial_weights"):
        if flags[name].value is not None:  # the run may be moved, or be read from another place
            flags[name].value = str(Path(flags[name].value).absolute())
    values = {name: flags[name].value for name in flags}
    lines = {
        name: line_of(name, _text(flags[name])) for name in flags if name not in NOT_KEPT and values[name] is not None
    }
    defaults = {line for name, line in lines.items() if values[name] == flags[name].default}
    return Settings(values, list(lines.values()), defaults)


def _text(flag):
    """The value of a flag as a flagfile holds it."""
    return str(flag.value).lower() if flag.boolean else flag.serialize().partition("=")[2]


def differences(old_lines, settings):
    """What differs between a resolved flagfile and settings: dict, flag -> "flag is OLD there and NEW here".

    Operational flags are left out; those in `NUMERICAL` are in it. A flag that the file does not know, as an older
    version wrote it, had its default.
    """
    old, new, defaults = (
        dict(line.removeprefix("--").split("=", 1) for line in lines if line.startswith("--") and "=" in line)
        for lines in (old_lines, settings.lines, settings.defaults)
    )
    return {
        flag: f"{flag} is {old.get(flag, 'unset')} there and {new.get(flag, 'unset')} here"
        for flag in sorted(old.keys() | new.keys())
        if flag not in OPERATIONAL and old.get(flag, defaults.get(flag)) != new.get(flag)
    }


def _print_help(flags, title):
    print(title)
    for name in flags:
        default = "" if flags[name].value is None else f" (default {_text(flags[name])})"
        print(f"  --{name}: {flags[name].help}{default}")
    raise SystemExit(0)
