"""How a command of the zoo starts and ends: quietly, and if it fails in one sentence. Imports no TensorFlow."""

import contextlib
import errno
import io
import logging
import os
import re
import signal
import sys
import tempfile

import absl.logging  # noqa: F401, it must make its logger itself, before we quieten it


class UserError(Exception):
    """A user's mistake. Its message is one sentence: what was given, what was expected, how to mend it."""


class Stopped(KeyboardInterrupt):
    """A signal, `number`, has ended a command; the message says how far it came."""

    def __init__(self, number, message):
        super().__init__(message)
        self.number = number


# What a machine refuses is no bug, wherever it happens.
REFUSALS = {getattr(errno, name) for name in "EACCES EPERM EROFS ENOSPC EDQUOT EFBIG EIO ENAMETOOLONG".split()}


def run(main):
    """Runs `main(argv)` as a command and exits with what it returns (None is success).

    A `UserError`, or a file that the machine does not let us read or write, becomes `error: MESSAGE` on stderr and exit
    code 2; Ctrl-C one line and 130, SIGTERM one line and 143; a bug keeps its traceback. A standard stream that is
    closed, or whose reader has gone away, takes what is written to it and drops it.
    `main` should import TensorFlow, by `starting_tensorflow()`: only then are there streams for what it says.
    """
    for number in range(3):  # else the next file that is opened would be the standard stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    out, err = _Stream(sys.stdout), _Stream(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _handling(signal.SIGTERM, _terminate):
        code = _exit_code(main)
        out.flush()
        if out.error and out.error.errno != errno.EPIPE and not code:
            code = _fail(f"standard output can not be written: {reason_of(out.error)}.")
        err.flush()
    sys.exit(code)


def _exit_code(main):
    try:
        return main(sys.argv)
    except SystemExit as stop:
        return stop.code
    except UserError as error:
        return _fail(error)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        return _fail(f"{error.filename or 'a file'} can not be read or written: {reason_of(error)}.")
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)


def _fail(message):
    print(f"error: {message}", file=sys.stderr)
    return 2


def _except(kind, error, traceback, usual=sys.excepthook):
    """Ctrl-C while a command still imports its modules is one line, too; Python then exits as it does for Ctrl-C."""
    if issubclass(kind, KeyboardInterrupt) and vars(sys.modules["__main__"]).get("cli") is sys.modules[__name__]:
        print("interrupted", file=sys.stderr)
    else:
        usual(kind, error, traceback)


sys.excepthook = _except


def _terminate(number, frame):
    raise Stopped(number, "terminated")


@contextlib.contextmanager
def _handling(number, handler):
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


class _Stream:
    """A standard stream that nothing can go wrong with: what can not be written is dropped, and `error` says why."""

    def __init__(self, stream):
        self.stream, self.error = open(os.devnull, "w") if stream is None else stream, None
        if isinstance(self.stream, io.TextIOWrapper):
            self.stream.reconfigure(errors="backslashreplace")  # a name that an ASCII terminal can not show

    def write(self, text):
        self._try(self.stream.write, text)
        return len(text)

    def flush(self):
        self._try(self.stream.flush)

    def _try(self, act, *arguments):
        try:
            act(*arguments)
        except OSError as error:
            self.error = error
            nowhere = os.open(os.devnull, os.O_WRONLY)  # also for what waits in buffers, here and in C++
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def reason_of(error):
    """Why a file could not be written, in a few words; None if the error is of another kind.

    TensorFlow's are known by their name: "PLACE; REASON [Op:NAME]".
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if any(cls.__name__ == "OpError" for cls in type(error).__mro__):
        return re.split(r"\n| \[Op:", error.message.rpartition("; ")[2])[0].rstrip(".")
    return None


@contextlib.contextmanager
def writing(what, more=""):
    """Within, nothing is done but to write `what`, by Python or TensorFlow.

    Raises:
        UserError: if it can not be written: a full disk, no permission. `more` ends the sentence.
    """
    try:
        yield
    except Exception as error:
        if (reason := reason_of(error)) is None:
            raise
        raise UserError(f"{what} can not be written: {reason}{more}.") from error


def progress(title, num, unit):
    """A progress bar under a title; its `add` is told how many more are done. No terminal, no bar."""
    import keras  # not before `require_tensorflow`

    print(title)
    return keras.utils.Progbar(num, unit_name=unit, verbose=int(sys.stdout.isatty()))


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


# What TensorFlow and Keras import only to offer what no command asks for: a third of the time that they take to start.
UNUSED = ("jax", "matplotlib", "pandas", "sklearn")


@contextlib.contextmanager
def starting_tensorflow():
    """How a command begins: `with cli.starting_tensorflow(): import what needs TensorFlow`, which is quiet and quick.

    TensorFlow and Keras do not find `UNUSED`, which the command may then import, as measures do. In a session of a user
    who imports the zoo all is there, such as Keras's wrappers for scikit-learn: a command has no use for them.

    Raises:
        UserError: as `require_tensorflow`.
    """
    require_tensorflow()
    with quiet():
        hidden = dict.fromkeys(name for name in UNUSED if name not in sys.modules)
        sys.modules.update(hidden)  # a module that is None can not be imported
        try:
            import keras  # noqa: F401
            import tensorflow_probability  # noqa: F401
        finally:
            for name in hidden:
                del sys.modules[name]
        yield


@contextlib.contextmanager
def quiet():
    """Hides the chatter of what starts within, such as TensorFlow.

    TensorFlow 2.21 heeds `TF_CPP_MIN_LOG_LEVEL` only after it has chattered, hence stderr itself is held back, C++'s
    included, and let out only where the import fails. A level below 3 that the user has set leaves all as it is. Where
    there is no folder for temporary files, nothing is let out.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") < "3":
        yield
        return
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.stderr.flush()
    stderr = os.dup(2)
    with _temporary_file() as held:
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


def _temporary_file():
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")
