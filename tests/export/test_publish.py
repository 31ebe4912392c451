"""Versions appear whole or not at all."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from export.publish import publish, versions


def write(folder):
    (folder / "variables").mkdir()
    (folder / "variables" / "data").write_text("weights")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_publish(tmp_path):
    before, version = int(time.time()), publish(tmp_path / "new" / "export", write)
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


def test_publishers_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    num = 8
    barrier = threading.Barrier(num)

    def publish_together(_):
        return publish(tmp_path, lambda folder: (write(folder), barrier.wait()))

    with ThreadPoolExecutor(num) as threads:
        published = list(threads.map(publish_together, range(num)))
    assert len(set(published)) == num and versions(tmp_path) == list(range(1000, 1000 + num))
    assert all(names(version) == ["variables"] for version in published)


CRASHING = """
import os, shutil, sys
from pathlib import Path
from export import publish
where, directory = sys.argv[1:]

def crash(*arguments, **keywords):
    os._exit(7)

def write(folder):
    (folder / "weights").write_text("new")
    if where == "written":
        crash()

if where == "synced":
    publish.time.time = crash
if where == "published":
    publish.sync = lambda path: crash() if path == Path(directory) else None
if where == "withdrawn":
    shutil.rmtree = crash
publish.publish(directory, write, keep_versions=2, conclude=crash if where == "concluded" else None)
"""


@pytest.mark.parametrize("where", ["written", "synced", "published", "withdrawn", "concluded"])
def test_a_crash_leaves_whole_versions_and_the_next_publisher_cleans_up(where, tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "weights").write_text("old")
    crashed = subprocess.run([sys.executable, "-c", CRASHING, where, str(tmp_path)], check=False)
    assert crashed.returncode == 7
    assert len(versions(tmp_path)) == (3 if where == "published" else 2)  # the old ones, or all before one is withdrawn
    assert all((tmp_path / str(number) / "weights").read_text() in ("old", "new") for number in versions(tmp_path))
    publish(tmp_path, write, keep_versions=3)
    assert len(versions(tmp_path)) == 3
    assert names(tmp_path) == sorted(map(str, versions(tmp_path)))  # nothing else is left


def test_versions_that_are_kept(tmp_path):
    for number in ("5", "7", "30"):
        (tmp_path / number).mkdir()
    (tmp_path / "unrelated").mkdir()
    newest = publish(tmp_path, write, keep_versions=2)
    assert names(tmp_path) == sorted(["30", newest.name, "unrelated"])
    newest = publish(tmp_path, write, keep_versions=1)
    assert versions(tmp_path) == [int(newest.name)]
    with pytest.raises(ValueError, match="at least 1"):
        publish(tmp_path, write, keep_versions=0)


PUBLISHING = """
import sys
from common.files import write_atomically
from export.publish import publish
directory, name = sys.argv[1:]
for i in range(20):
    def write(folder):
        for part in ("graph", "weights"):
            (folder / part).write_text(f"{name} {i}")

    def conclude(newest):
        text = (newest / "graph").read_text()
        write_atomically(newest.parent / "README.md", lambda path: path.write_text(f"{newest.name} {text}"))

    print(publish(directory, write, keep_versions=25, conclude=conclude).name, name, i)
"""


def test_processes_that_publish_at_once(tmp_path):
    command = [sys.executable, "-c", PUBLISHING, str(tmp_path)]
    processes = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    published = [line.split() for process in processes for line in process.communicate()[0].splitlines()]
    assert all(process.returncode == 0 for process in processes)
    assert len({number for number, *_ in published}) == len(published) == 40  # none has taken another's number
    kept = sorted(published, key=lambda line: int(line[0]))[-25:]
    assert versions(tmp_path) == [int(number) for number, *_ in kept]
    for number, *author in kept:
        for part in ("graph", "weights"):
            assert (tmp_path / number / part).read_text() == " ".join(author)
    assert (tmp_path / "README.md").read_text() == " ".join(kept[-1])
    assert names(tmp_path) == sorted([*(number for number, *_ in kept), "README.md"])
