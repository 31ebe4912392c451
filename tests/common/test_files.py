"""Files appear whole or not at all, and a directory has one holder at a time."""

import errno
import fcntl
import json
import math
import os
import socket
import subprocess
import sys

import pytest

from common.files import TEMPORARY, claimed, locked, read_json, remove_if_abandoned, to_json, write_atomically


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


def crash_within(holder, path):
    """A process that holds `holder(path)` and ends without a word."""
    code = f"import os, sys, common.files as f; it = f.{holder}(sys.argv[1]); it.__enter__(); os._exit(7)"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 7


def test_a_folder_is_abandoned_when_its_holder_is_gone(tmp_path):
    folder = tmp_path / f"{TEMPORARY}folder"
    folder.mkdir()
    with locked(folder):
        remove_if_abandoned(folder)
        assert folder.exists()
    crash_within("locked", folder)
    remove_if_abandoned(folder)
    assert not folder.exists()
    remove_if_abandoned(folder)  # as another has done it


def test_a_lock_file_names_its_holder_and_is_anyones_when_that_is_gone(tmp_path, monkeypatch):
    path, holder = tmp_path / "lock", f"process {os.getpid()} on {socket.gethostname()}"
    crash_within("claimed", path)
    assert path.read_text().endswith(f" on {socket.gethostname()}\n")
    with claimed(path):
        with pytest.raises(BlockingIOError, match=holder), claimed(path):
            pass
        assert path.read_text() == holder + "\n"
    assert not path.exists()

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)  # a network file system without locks
    with claimed(path), claimed(path):
        pass


@pytest.mark.parametrize("content", [None, "", "{", "[]", "7", '{"a": 1}', b"\xff"])
def test_json_that_is_damaged(content, tmp_path):
    file = tmp_path / "file.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_json(file, "a", "b") is None
    file.write_text('{"a": 1, "b": 2, "c": 3}')
    assert read_json(file, "a", "b") == {"a": 1, "b": 2, "c": 3}
