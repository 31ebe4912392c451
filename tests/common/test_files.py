"""Files appear whole or not at all, and a directory has one holder at a time."""

import json
import math
import subprocess
import sys

import pytest

from common.files import TEMPORARY, locked, remove_if_abandoned, to_json, write_atomically


def test_json_has_no_number_that_is_none():
    text = to_json({"a": [math.nan, 1.5, {"b": -math.inf}], "c": ("x", True, None, 2)}, indent=2)
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, 1.5, {"b": None}], "c": ["x", True, None, 2]}


def test_write_atomically(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        temporary.write_text("half")
        raise ValueError

    with pytest.raises(ValueError):
        write_atomically(path, fail)
    assert path.read_text() == "old" and [file.name for file in path.parent.iterdir()] == ["b.txt"]


def test_a_folder_is_abandoned_when_its_holder_is_gone(tmp_path):
    folder = tmp_path / f"{TEMPORARY}folder"
    folder.mkdir()
    with locked(folder):
        remove_if_abandoned(folder)
        assert folder.exists()
    code = "import os, sys; from common.files import locked; locked(sys.argv[1]).__enter__(); os._exit(7)"
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 7
    remove_if_abandoned(folder)
    assert not folder.exists()
    remove_if_abandoned(folder)  # as another has done it
