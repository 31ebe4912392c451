"""How a command starts and fails."""

import contextlib
import os

import pytest

from common import cli
from tests.mistakes import mistake


@pytest.mark.parametrize(
    "error, code, said",
    [(None, None, ""), (cli.UserError("a is b."), 2, "error: a is b.\n"), (KeyboardInterrupt(), 130, "interrupted\n")],
)
def test_a_command_fails_in_one_line(error, code, said, capsys):
    def main(argv):
        if error:
            raise error

    with pytest.raises(SystemExit) as caught:
        cli.run(main)
    assert (caught.value.code, capsys.readouterr().err) == (code, said)


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


def test_chatter_is_hidden_unless_the_import_fails_or_the_user_wants_it(monkeypatch, capfd):
    def start(level, error=None):
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
        with contextlib.suppress(ImportError), cli.quiet():
            os.write(2, b"chatter")
            if error:
                raise error
        return capfd.readouterr().err

    assert (start("3"), start("3", ImportError()), start("0")) == ("", "chatter", "chatter")
