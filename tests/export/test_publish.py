"""Versions and files appear whole or not at all."""

import subprocess
import sys
import threading
import time

import pytest

from export.publish import publish, versions, write_atomically


def write(folder):
    (folder / "variables").mkdir()
    (folder / "variables" / "data").write_text("weights")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_publish(tmp_path):
    before = int(time.time())
    version = publish(tmp_path / "new" / "export", write)
    assert before <= int(version.name) <= time.time()
    assert (version / "variables" / "data").read_text() == "weights"
    assert names(version.parent) == [version.name]
    (tmp_path / "plain").mkdir()
    assert version.stat().st_mode == (tmp_path / "plain").stat().st_mode  # a server of another user reads it


def test_numbers_grow_and_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.5)
    (tmp_path / "1002").mkdir()
    (tmp_path / "1002" / "kept").touch()
    (tmp_path / "1004").touch()  # no version, but in the way
    (tmp_path / "99999x").mkdir()
    assert [publish(tmp_path, write).name for _ in range(3)] == ["1003", "1005", "1006"]
    assert names(tmp_path / "1002") == ["kept"]
    assert versions(tmp_path) == [1002, 1003, 1005, 1006]


def test_a_failure_leaves_nothing(tmp_path):
    def fail(folder):
        write(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, fail)
    assert names(tmp_path) == []


def test_a_crash_leaves_no_version(tmp_path):
    code = "import os, sys; from export.publish import publish; publish(sys.argv[1], lambda folder: os._exit(7))"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 7
    assert versions(tmp_path) == [] and names(tmp_path)[0].startswith(".tmp-")
    assert [int(publish(tmp_path, write).name)] == versions(tmp_path)


def test_publishers_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    num = 8
    barrier = threading.Barrier(num)
    published = []

    def write_together(folder):
        write(folder)
        barrier.wait()

    threads = [threading.Thread(target=lambda: published.append(publish(tmp_path, write_together))) for _ in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(published)) == num and versions(tmp_path) == list(range(1000, 1000 + num))
    assert all(names(version) == ["variables"] for version in published)


def test_write_atomically(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        temporary.write_text("half")
        raise ValueError

    with pytest.raises(ValueError):
        write_atomically(path, fail)
    assert path.read_text() == "old" and names(path.parent) == ["b.txt"]
