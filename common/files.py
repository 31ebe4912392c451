"""Files that appear whole or not at all, and directories that one thread or process holds at a time."""

import contextlib
import fcntl
import json
import math
import os
import shutil
import socket
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


def read_json(file, *names):
    """The dict with these names that a JSON file holds; None where the file is missing or damaged."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        content = json.loads(file.read_bytes())
        if isinstance(content, dict) and content.keys() >= set(names):
            return content


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


def state(path):
    """What is other once a file's contents are, unless somebody sets the clock: its size and times, a tuple of ints."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextlib.contextmanager
def locked(directory):
    """Holds the lock of a directory, among threads and processes; the system lets go of it when a process dies."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def claimed(path):
    """Holds the lock file `path`, which says who holds it, and removes it in the end.

    The lock is the system's, so it goes with its process however that ends, and what a crash leaves of the file is in
    nobody's way. Network file systems lock among hosts, too; one that knows no locks keeps nobody out.

    Raises:
        BlockingIOError: if it is held; its `strerror` is the holder, such as "process 7 on HOST".
        OSError: if the file can not be made.
    """
    path = Path(path)
    while True:
        with open(path, "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:  # the second on some network file systems
                file.seek(0)
                raise BlockingIOError(error.errno, file.read().strip() or "another process") from error
            except OSError:
                pass
            if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
                continue  # its last holder has removed it since we opened it
            try:
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
                yield
            finally:
                path.unlink(missing_ok=True)
            return


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
