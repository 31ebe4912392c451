"""The command line of a run: shared flags, and flags made from the signatures of the model and its optimizers.

A model's constructor is its configuration, so its parameters are its flags: the annotation gives the type, the
docstring's `Args:` the help. Each kind of moves has `--KIND.optimizer`, `--KIND.schedule` (a class of
`keras.optimizers.schedules`) and what these two take, as `--KIND.learning_rate` or `--KIND.schedule.decay_steps`.
"""

import difflib
import inspect
import re
import typing
from dataclasses import dataclass

import keras
from absl import flags as absl_flags

from common.cli import UserError
from zoo import MODELS
from zoo.optimizers import OPTIMIZERS

# Flags that say how a run is carried out and not what it computes: they may change when a run is resumed.
OPERATIONAL = {
    "run_dir", "data_dir", "num_steps", "checkpoint_every", "keep_checkpoints", "sample_every", "log_every", "export",
    "metrics",
}  # fmt: skip
INTEGER_OPTIMIZER_SETTINGS = {"ema_overwrite_frequency", "gradient_accumulation_steps"}


def define_shared(flags):
    integer, string, boolean = absl_flags.DEFINE_integer, absl_flags.DEFINE_string, absl_flags.DEFINE_boolean
    count = {"lower_bound": 1, "flag_values": flags}
    own = {"flag_values": flags}
    absl_flags.DEFINE_enum("model", None, sorted(MODELS), "The model to train.", **own)
    string(
        "dataset",
        "digits",
        "digits, mnist, fashion_mnist, binarized_mnist, cifar10, image_folder, ring, grid, line, four_points, "
        "gaussian, beta, log_normal, chi_squared or logit_normal.",
        **own,
    )
    string(
        "data_dir",
        None,
        "Where the data lies; else $ZOO_DATA_DIR, else Keras's cache. image_folder: the images, or a folder of them "
        "for each class.",
        **own,
    )
    integer("image_side", None, "Resize images to this side.", **count)
    integer("image_channels", None, "1 for grey, 3 for colour (image_folder).", **count)
    boolean("dynamic_binarization", False, "Draw black or white for each grey pixel anew at every step.", **own)
    string(
        "run_dir", None, "Where the run lives; default runs/MODEL_DATASET. An unfinished run there is resumed.", **own
    )
    integer("num_steps", 2000, "Steps to train for, counted from the beginning of the run.", **count)
    integer("batch_size", 64, "Examples in a minibatch, over all replicas.", **count)
    seeds = {"lower_bound": 0, "upper_bound": 2**32 - 1, "flag_values": flags}  # what NumPy takes
    integer("seed", 0, "Seed of the weights, the noise and the order of the data.", **seeds)
    absl_flags.DEFINE_enum("jit_compile", "auto", ["auto", "true", "false"], "Compile with XLA; auto: on a GPU.", **own)
    precisions = ["float32", "mixed_bfloat16", "mixed_float16"]
    absl_flags.DEFINE_enum("precision", "float32", precisions, "Keras's dtype policy.", **own)
    strategies = ["none", "mirrored", "multi_worker"]
    absl_flags.DEFINE_enum(
        "strategy", "none", strategies, "How to train on several devices; multi_worker reads TF_CONFIG.", **own
    )
    integer("num_replicas", None, "Devices for mirrored; default all GPUs. Without a GPU the CPU is split.", **count)
    integer("checkpoint_every", 1000, "Steps between checkpoints.", **count)
    integer("keep_checkpoints", 3, "Checkpoints to keep.", **count)
    integer("sample_every", 1000, "Steps between pictures of samples.", **count)
    integer("log_every", 100, "Steps between lines of metrics.jsonl.", **count)
    boolean("export", True, "Export a SavedModel at the end.", **own)
    absl_flags.DEFINE_list("metrics", [], "Measures to take at the end; trainers.evaluate --help lists them.", **own)


class _TupleParser(absl_flags.ArgumentParser):
    """Comma-separated numbers as a tuple."""

    def __init__(self, number):
        self.number = number

    def parse(self, argument):
        if not isinstance(argument, str):
            return tuple(argument)
        return tuple(self.number(part) for part in argument.split(",") if part.strip())

    def flag_type(self):
        return f"a comma-separated list of {'integers' if self.number is int else 'numbers'}"


class _TupleSerializer(absl_flags.ArgumentSerializer):
    def serialize(self, value):
        return ",".join(str(number) for number in value)


def define(flags, name, annotation, default, help_text):
    """Defines one flag of the type that an annotation names."""
    own = {"flag_values": flags}
    if typing.get_origin(annotation) is typing.Literal:
        absl_flags.DEFINE_enum(name, default, list(typing.get_args(annotation)), help_text, **own)
    elif typing.get_origin(annotation) is tuple:
        parser = _TupleParser(typing.get_args(annotation)[0])
        absl_flags.DEFINE(parser, name, default, help_text, flags, serializer=_TupleSerializer())
    else:
        makers = {bool: "boolean", int: "integer", float: "float", str: "string"}
        getattr(absl_flags, f"DEFINE_{makers[annotation]}")(name, default, help_text, **own)


def model_arguments(cls):
    """The constructor parameters that are flags: those that no shared flag or dataset decides."""
    return {name: p for name, p in cls.arguments().items() if name not in ("data_shape", "num_classes", "seed", "name")}


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


def optimizer_settings(kind, name):
    if name not in OPTIMIZERS:
        raise UserError(
            f"--{kind}.optimizer={name}: Keras has no optimizer of that name; it has {', '.join(sorted(OPTIMIZERS))}."
        )
    return _settings_of(OPTIMIZERS[name], skipped=("name", "loss_scale_factor"))


def schedule_settings(kind, name):
    schedules = sorted(n for n in dir(keras.optimizers.schedules) if n[0].isupper() and n != "LearningRateSchedule")
    if name not in schedules:
        raise UserError(f"--{kind}.schedule={name}: Keras has no schedule of that name; it has {', '.join(schedules)}.")
    return _settings_of(getattr(keras.optimizers.schedules, name), skipped=("name", "initial_learning_rate"))


@dataclass(frozen=True)
class Settings:
    """The resolved flags of a run.

    values: dict, flag -> value, of every flag that the run has.
    lines: list of str, the same as lines of a flagfile, without `--run_dir`.
    """

    values: dict
    lines: list

    def __getattr__(self, name):
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

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

    first = absl_flags.FlagValues()
    define_shared(first)
    _parse(first, arguments, known_only=True)
    if first.model is None:
        if wants_help:
            _print_help(first, "Flags of every model; --model=NAME --help shows that model's own.")
        raise UserError(f"--model is missing: give one of {', '.join(sorted(MODELS))}, or a --flagfile that does.")
    cls = MODELS[first.model]
    helps = cls.argument_help()

    def define_moves(flags):
        for kind, defaults in cls.default_optimizers.items():
            define(flags, f"{kind}.optimizer", str, defaults["optimizer"], f"The optimizer of the {kind}.")
            define(flags, f"{kind}.schedule", str, None, "A learning-rate schedule of Keras, such as CosineDecay.")

    second = absl_flags.FlagValues()
    define_moves(second)
    _parse(second, arguments, known_only=True)

    flags = absl_flags.FlagValues()
    define_shared(flags)
    for name, parameter in model_arguments(cls).items():
        define(flags, name, parameter.annotation, parameter.default, helps.get(name, ""))
    define_moves(flags)
    required = []
    for kind, defaults in cls.default_optimizers.items():
        optimizer, schedule = second[f"{kind}.optimizer"].value, second[f"{kind}.schedule"].value
        defaults = defaults if optimizer == defaults["optimizer"] else {}
        for name, (annotation, default, _) in optimizer_settings(kind, optimizer).items():
            define(flags, f"{kind}.{name}", annotation, defaults.get(name, default), f"Keras's {optimizer}: {name}.")
        for name, (annotation, default, must) in (schedule_settings(kind, schedule) if schedule else {}).items():
            define(flags, f"{kind}.schedule.{name}", annotation, default, f"Keras's {schedule}: {name}.")
            required += [f"{kind}.schedule.{name}"] if must else []
    _parse(flags, arguments, known_only=False, model=first.model)
    if wants_help:
        _print_help(flags, f"{first.model}: {(cls.__doc__ or '').splitlines()[0]}")
    for name in required:
        if flags[name].value is None:
            schedule, _, setting = name.rpartition(".")
            raise UserError(
                f"--{schedule}={flags[schedule].value} has no default for its {setting}: give --{name} too."
            )

    if flags.run_dir is None:
        flags.run_dir = f"runs/{flags.model}_{flags.dataset}"
    values = {name: flags[name].value for name in flags}
    lines = [f"--{name}={_text(flags[name])}" for name in flags if name != "run_dir" and values[name] is not None]
    return Settings(values, lines)


def _text(flag):
    """The value of a flag as a flagfile holds it."""
    return str(flag.value).lower() if flag.boolean else flag.serialize().partition("=")[2]


def differences(old_lines, new_lines):
    """What differs between two resolved flagfiles, operational flags aside: list of "flag: old there, new here"."""
    old, new = (
        dict(line.removeprefix("--").split("=", 1) for line in lines if line.startswith("--") and "=" in line)
        for lines in (old_lines, new_lines)
    )
    return [
        f"{flag} is {old.get(flag, 'unset')} there and {new.get(flag, 'unset')} here"
        for flag in sorted(old.keys() | new.keys())
        if flag not in OPERATIONAL and old.get(flag) != new.get(flag)
    ]


def _parse(flags, arguments, known_only, model=None):
    flags.set_gnu_getopt(True)  # else the parser would stop at the first value that stands apart from its flag
    try:
        rest = flags(arguments, known_only=known_only)
    except absl_flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname, list(flags), n=3)
        hint = f"; did you mean --{' or --'.join(close)}?" if close else ""
        more = "" if hint else f"; --model={model} --help lists those it has."
        raise UserError(f"--{error.flagname} is not a flag of the model {model}{hint}{more}") from error
    except absl_flags.CantOpenFlagFileError as error:
        reason = error.__context__  # the OSError
        raise UserError(f"the flagfile {reason.filename} can not be read: {reason.strerror}.") from error
    except absl_flags.Error as error:
        message = " ".join(str(error).removesuffix(f": {error.__context__}").split())
        if value := re.fullmatch(r"flag (--([\w.]+)=.*)", message):
            message = f"{value.group(1)} is not {_expected(flags[value.group(2)].parser)}"
        raise UserError(message.rstrip(".") + ".") from error
    if not known_only and len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag: flags are written --name=value.")


def _expected(parser):
    if isinstance(parser, absl_flags.EnumParser):
        return f"one of {', '.join(parser.enum_values)}"
    return parser.syntactic_help or {"bool": "true or false"}.get(parser.flag_type(), parser.flag_type())


def _print_help(flags, title):
    print(title)
    for name in flags:
        default = "" if flags[name].value is None else f" (default {_text(flags[name])})"
        print(f"  --{name}: {flags[name].help}{default}")
    raise SystemExit(0)
