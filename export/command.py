"""How the commands of this package read their flags."""

from absl import flags as absl_flags

from trainers.cli import UserError


def parse(flags, argv, title, required):
    """Reads the command line into `flags`, an `absl.flags.FlagValues`; `--flagfile=FILE` reads more flags from a file.

    Args:
        flags: the flags, defined.
        argv: list of str, the program and its arguments.
        title: what `--help` prints above the flags.
        required: name of the flag that must be given.

    Raises:
        UserError: for an unknown flag, a wrong value, or a missing flag.
        SystemExit: after `--help`.
    """
    if {"--help", "-h"} & set(argv):
        print(title.strip() + "\n")
        for name in flags:
            print(f"  --{name}: {flags[name].help}")
        raise SystemExit(0)
    try:
        rest = flags(argv)
    except absl_flags.Error as error:
        raise UserError(" ".join(str(error).split()).rstrip(".") + "; --help lists the flags.") from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag: flags are written --name=value.")
    if flags[required].value is None:
        raise UserError(f"--{required} is missing; --help lists the flags.")
