"""How a command of the zoo starts and fails: quietly, and in one sentence. Imports no TensorFlow."""

import contextlib
import logging
import os
import sys
import tempfile

import absl.logging  # noqa: F401, it must make its logger itself, before we quieten it
from absl import flags as absl_flags


class UserError(Exception):
    """A user's mistake. Its message is one sentence: what was given, what was expected, how to mend it."""


def run(main):
    """Runs `main(argv)` as a command and exits with what it returns (None is success).

    A `UserError` becomes `error: MESSAGE` on stderr and exit code 2, Ctrl-C one line and 130; a bug keeps its
    traceback.
    `main` should import TensorFlow under `quiet()`.
    """
    try:
        sys.exit(main(sys.argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


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


@contextlib.contextmanager
def quiet():
    """Hides TensorFlow's start-up chatter: `with cli.quiet(): import tensorflow`.

    TensorFlow 2.21 heeds `TF_CPP_MIN_LOG_LEVEL` only after it has chattered, hence stderr itself is held back, C++'s
    included, and let out only where the import fails. A level below 3 that the user has set leaves all as it is.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") < "3":
        yield
        return
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
