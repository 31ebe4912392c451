"""Files that appear whole or not at all, and versions of a model that a running server may pick up at any moment."""

import os
import shutil
import time
import uuid
from pathlib import Path


def versions(export_dir):
    """The integer versions in `export_dir`, oldest first."""
    return sorted(int(path.name) for path in Path(export_dir).iterdir() if path.name.isdecimal() and path.is_dir())


def publish(export_dir, write):
    """Calls `write(folder)` on a fresh folder and renames that to the next integer version.

    Servers ignore names that are not integers, so they never see half a version. The number is the unix time, or one
    more than the newest version where that is not smaller; a version that exists is never overwritten, whoever
    publishes at the same time.

    Returns:
        Path of the version.

    Raises:
        OSError: if it can not be written. After this and any other exception no trace of the folder is left.
    """
    export_dir = Path(export_dir)
    export_dir.mkdir(parents=True, exist_ok=True)
    folder = export_dir / f".tmp-{uuid.uuid4().hex}"
    folder.mkdir()  # not by `tempfile`, which makes it unreadable for the user that the server runs as
    try:
        write(folder)
        for path in [*folder.rglob("*"), folder]:
            sync(path)
        version = max([int(time.time()), *(number + 1 for number in versions(export_dir))])
        while not _rename(folder, export_dir / str(version)):
            version += 1
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync(export_dir)
    return export_dir / str(version)


def write_atomically(path, write):
    """Calls `write(temporary_path)` and renames what it wrote to `path`; makes the directories above it.

    Raises:
        OSError: if it can not be written; nothing is left behind then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path):
    """Waits until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(folder, target):
    """Renames a folder unless `target` is taken, and says whether it did."""
    try:
        os.rename(folder, target)
        return True
    except OSError:
        if target.exists():
            return False
        raise
