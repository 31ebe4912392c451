"""Files that appear whole or not at all, and directories that one thread or process holds at a time."""

import contextlib
import fcntl
import json
import math
import os
import shutil
import uuid
from pathlib import Path

TEMPORARY = ".tmp-"  # names that start so are not finished: readers of a directory leave them alone


def write_atomically(path, write):
    """Calls `write(temporary_path)` and renames what it wrote to `path`; makes the directories above it.

    Raises:
        OSError: if it can not be written; nothing is left behind then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value, **options):
    """`json.dumps` of nests of plain values; a float that JSON has no number for, NaN or infinite, becomes null."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(value), allow_nan=False, **options)


def sync(path):
    """Waits until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(directory):
    """Holds the lock of a directory, among threads and processes; the system lets go of it when a process dies."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_if_abandoned(folder):
    """Removes a folder that nobody holds the lock of: whoever was filling it has crashed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # finished and renamed in this moment
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
