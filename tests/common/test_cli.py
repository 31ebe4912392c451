"""How a command starts and fails."""

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import tensorflow as tf

from common import cli
from tests.mistakes import mistake


def raising(error):
    raise error


@pytest.mark.parametrize("act, code, said", [
    (lambda: None, None, ""),
    (lambda: 3, 3, ""),
    (lambda: raising(SystemExit(0)), 0, ""),
    (lambda: raising(cli.UserError("a is b.")), 2, "error: a is b.\n"),
    (lambda: os.mkdir("/proc/none/a/"), FileNotFoundError, ""),
    (lambda: raising(OSError(errno.EACCES, "Denied", "a")), 2, "error: a can not be read or written: Denied.\n"),
    (lambda: open("a" * 300), 2, f"error: {'a' * 300} can not be read or written: File name too long.\n"),
    (lambda: signal.raise_signal(signal.SIGINT), 130, "interrupted\n"),
    (lambda: signal.raise_signal(signal.SIGTERM), 143, "terminated\n"),
    (lambda: raising(cli.Stopped(signal.SIGINT, "stopped at a")), 130, "stopped at a\n"),
])  # fmt: skip
def test_a_command_ends_in_one_line(act, code, said, capsys):
    before = sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM)
    with pytest.raises(code if isinstance(code, type) else SystemExit) as caught:
        cli.run(lambda argv: act())
    assert isinstance(code, type) or caught.value.code == code
    assert capsys.readouterr().err == said
    assert (sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM)) == before


def without_a_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


STREAMS = {  # what a standard stream may be, and how a command that writes to it ends
    "none": (lambda: None, None),
    "without a reader": (without_a_reader, None),
    "full": (lambda: open("/dev/full", "w"), 2),
    "ascii": (lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii"), None),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_stream_that_takes_nothing_stops_no_command(name, size, monkeypatch):
    make, code = STREAMS[name]
    out, err, done = make(), make(), []

    def main(argv):
        for file in (None, sys.stderr):
            print("ü" * size, file=file, flush=True)
        done.append(1)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        cli.run(main)
    assert (caught.value.code, done) == (code, [1])
    if name == "ascii":
        assert out.buffer.getvalue() == rb"\xfc" * size + b"\n"


def start(code, *arguments, closed=False):
    command = [sys.executable, "-c", f"import os, sys; from common import cli; {code}", *arguments]
    close = (lambda: [os.close(number) for number in range(3)]) if closed else None
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=close, cwd=Path(__file__).parents[2])


def test_closed_streams_are_no_files(tmp_path):
    """Else the next file that is opened would be standard output."""
    file = tmp_path / "file"
    code = "cli.run(lambda argv: (file := open(argv[1], 'w'), os.write(1, b'chatter'), file.write('content')) and None)"
    assert start(code, str(file), closed=True).returncode == 0 and file.read_text() == "content"


def test_ctrl_c_among_the_imports_is_one_line():
    done = start("os.kill(os.getpid(), 2)")
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "interrupted\n")


OP_ERROR = tf.errors.UnknownError(None, None, "{{node a}} /b/c; No space left on device [Op:SaveV2] name: ")


@pytest.mark.parametrize("error, reason", [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
    (OSError("no room"), "no room"),
    (OP_ERROR, "No space left on device"),
    (ValueError("a bug"), None),
])  # fmt: skip
def test_what_can_not_be_written(error, reason):
    told = mistake(f"a can not be written: {reason}; so.") if reason else pytest.raises(ValueError)
    with told, cli.writing("a", "; so"):
        raise error


def test_keras_runs_on_tensorflow_or_a_sentence_is_said(monkeypatch):
    for asked in (None, "tensorflow"):
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        if asked:
            monkeypatch.setenv("KERAS_BACKEND", asked)
        cli.require_tensorflow()
        assert os.environ["KERAS_BACKEND"] == "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with mistake("Keras is to run on jax", "set KERAS_BACKEND=tensorflow."):
        cli.require_tensorflow()


def test_a_command_starts_without_what_it_does_not_ask_for_and_can_have_it_after():
    code = """
import sys
from common import cli
with cli.starting_tensorflow():
    import zoo
print([name for name in cli.UNUSED if name in sys.modules])
import matplotlib, sklearn  # those of `UNUSED` that are always installed
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("has_folder", [True, False])
def test_chatter_is_hidden_unless_the_import_fails_or_the_user_wants_it(has_folder, monkeypatch, capfd):
    def start(level, error=None):
        with contextlib.suppress(ImportError), monkeypatch.context() as patch:
            patch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
            if not has_folder:  # for temporary files
                patch.setattr(tempfile, "tempdir", "/none")
            with cli.quiet():
                os.write(2, b"chatter")
                if error:
                    raise error
        return capfd.readouterr().err

    kept = "chatter" if has_folder else ""
    assert (start("3"), start("3", ImportError()), start("0")) == ("", kept, "chatter")
