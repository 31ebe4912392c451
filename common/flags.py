"""Flags of commands: their kinds beyond absl's, and the command line read into them, every mistake in one sentence."""

import difflib
import math
import re
from pathlib import Path

from absl import flags as absl_flags

from common import flagfiles
from common.cli import UserError


class PathParser(absl_flags.ArgumentParser):
    """A path on this machine; `~` is the user's home."""

    syntactic_help = "a path on this machine, where an address such as gs://bucket has to be mounted or copied"

    def parse(self, argument):
        if re.match(r"\w[\w+.-]*://", argument):
            raise ValueError(argument)
        if argument != argument.encode(errors="replace").decode():
            raise UserError(f"the path {argument} is no UTF-8 text, which TensorFlow needs: rename it, or set LANG.")
        return str(Path(argument).expanduser()) if argument.startswith("~") else argument


class FiniteParser(absl_flags.FloatParser):
    """A number that is neither infinite nor NaN."""

    number_name = "finite number"
    syntactic_help = "a finite number"

    def convert(self, argument):
        if not math.isfinite(number := super().convert(argument)):
            raise ValueError(f"{argument} is not finite")
        return number


class ChoiceParser(absl_flags.EnumParser):
    """One of a list of names, in capitals or not, or any name after a prefix."""

    def __init__(self, names, prefix):
        super().__init__(names, case_sensitive=False)
        self.prefix = prefix

    def parse(self, argument):
        known = argument.startswith(self.prefix) and argument != self.prefix
        return argument if known else super().parse(argument)


class TupleParser(absl_flags.ArgumentParser):
    """Comma-separated numbers as a tuple, each of them read by the parser `number`."""

    def __init__(self, number):
        self.number = number
        self.syntactic_help = f"a comma-separated list of {number.number_name}s"

    def parse(self, argument):
        if not isinstance(argument, str):
            return tuple(argument)
        return tuple(self.number.parse(part.strip()) for part in argument.split(",") if part.strip())


class TupleSerializer(absl_flags.ArgumentSerializer):
    def serialize(self, value):
        return ",".join(str(number) for number in value)


class ListFlag(absl_flags.MultiFlag):
    """Values separated by commas, in one flag or in several."""

    def __init__(self, parser, serializer, name, default, help_text):
        super().__init__(parser, serializer, name, default, help_text)
        self.help = help_text  # absl adds a line of its own

    def _parse(self, arguments):
        if isinstance(arguments, str):
            arguments = [part.strip() for part in arguments.split(",") if part.strip()]
        return super()._parse(arguments)

    def serialize(self):
        return f"--{self.name}={','.join(self.value)}"


def define_path(flags, name, default, help_text):
    absl_flags.DEFINE(PathParser(), name, default, help_text, flags, serializer=absl_flags.ArgumentSerializer())


def define_choice(flags, name, default, choices, help_text, prefix=None):
    """One of a list of names, in capitals or not, or where there is a prefix any name after it."""
    if prefix is None:
        absl_flags.DEFINE_enum(name, default, list(choices), help_text, flag_values=flags, case_sensitive=False)
    else:
        parser = ChoiceParser(list(choices), prefix)
        absl_flags.DEFINE(parser, name, default, help_text, flags, serializer=absl_flags.ArgumentSerializer())


def define_float(flags, name, default, help_text, lower_bound=None):
    parser = FiniteParser(lower_bound)
    absl_flags.DEFINE(parser, name, default, help_text, flags, serializer=absl_flags.ArgumentSerializer())


def define_tuple(flags, name, default, help_text, number):
    """Comma-separated numbers of the type `number`, int or float."""
    parser = TupleParser(absl_flags.IntegerParser() if number is int else FiniteParser())
    absl_flags.DEFINE(parser, name, default, help_text, flags, serializer=TupleSerializer())


def define_list(flags, name, default, help_text, choices=None, paths=False):
    """A list of str, separated by commas or given by several flags; of `choices`, or of paths."""
    parser = absl_flags.ArgumentParser()
    if choices:
        parser = absl_flags.EnumParser(list(choices), case_sensitive=False)
    elif paths:
        parser = PathParser()
    serializer = absl_flags.ArgumentSerializer()
    absl_flags.DEFINE_flag(ListFlag(parser, serializer, name, default, help_text), flags)


def parse(flags, argv, title, required=None):
    """Reads the command line into `flags`, an `absl.flags.FlagValues`; `--flagfile=FILE` reads more flags from a file.

    Args:
        flags: the flags, defined.
        argv: list of str, the program and its arguments.
        title: what `--help` prints above the flags.
        required: name of the flag that must be given, or None.

    Raises:
        UserError: for an unknown flag, a wrong value, or a missing flag.
        SystemExit: after `--help`.
    """
    if {"--help", "-h"} & set(argv):
        print(title.strip() + "\n")
        for name in flags:
            print(f"  --{name}: {flags[name].help}")
        raise SystemExit(0)
    read(flags, flagfiles.expand(argv))
    if required and flags[required].value is None:
        raise UserError(f"--{required} is missing; --help lists the flags.")


def read(flags, arguments, known_only=False, of="this command", help_flags="--help"):
    """Reads arguments, the first being the program, without flagfiles; `known_only` leaves out what it does not know.

    Raises:
        UserError: for a flag that is none `of` what has them, `help_flags` listing them; a wrong value; anything else.
    """
    flags.set_gnu_getopt(True)  # else the parser would stop at the first value that stands apart from its flag
    try:
        rest = flags(arguments, known_only=known_only)
    except absl_flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname, list(flags), n=3)
        hint = f"; did you mean --{' or --'.join(close)}?" if close else f"; {help_flags} lists those it has."
        raise UserError(f"--{error.flagname} is not a flag of {of}{hint}") from error
    except absl_flags.Error as error:
        message = " ".join(str(error).removesuffix(f": {error.__context__}").split())
        if value := re.fullmatch(r"flag (--([\w.]+)=.*)", message):
            message = f"{value.group(1)} is not {_expected(flags[value.group(2)].parser)}"
        raise UserError(message.rstrip(".") + ".") from error
    if not known_only and len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag: flags are written --name=value.")


def _expected(parser):
    if isinstance(parser, ChoiceParser):
        return f"one of {', '.join(parser.enum_values)}, or {parser.prefix}NAME"
    if isinstance(parser, absl_flags.EnumParser):
        return f"one of {', '.join(parser.enum_values)}"
    return parser.syntactic_help or {"bool": "true or false"}.get(parser.flag_type(), parser.flag_type())
