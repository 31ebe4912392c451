"""How a command of the zoo starts and fails: quietly, and in one sentence. Imports no TensorFlow."""

import contextlib
import logging
import os
import sys
import tempfile

import absl.logging  # noqa: F401, it must make its logger itself, before we quieten it


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


def require_tensorflow():
    """Has Keras run on TensorFlow, whatever keras.json says; to be called before Keras is imported.

    Raises:
        UserError: if the environment asks for another backend, or Keras runs on another by now.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend == "tensorflow" and "keras" in sys.modules:
        backend = sys.modules["keras"].config.backend()
    if backend != "tensorflow":
        raise UserError(f"Keras is to run on {backend}, the zoo runs on TensorFlow: set KERAS_BACKEND=tensorflow.")


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
