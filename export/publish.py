"""Versions of a model that a running server may pick up at any moment."""

import contextlib
import os
import shutil
import time
import uuid
from pathlib import Path

from common.files import TEMPORARY, locked, remove_if_abandoned, sync


def versions(export_dir):
    """The integer versions in `export_dir`, oldest first."""
    return sorted(int(path.name) for path in Path(export_dir).iterdir() if path.name.isdecimal() and path.is_dir())


def publish(export_dir, write, keep_versions=None, conclude=None):
    """Calls `write(folder)` on a fresh folder and renames that to the next integer version.

    Servers ignore names that are not integers, so they never see half a version. The number is the unix time, or one
    more than the newest version where that is not smaller; a version that exists is never overwritten, whoever
    publishes at the same time.

    Args:
        export_dir: directory of the versions, made where missing.
        write: function of the folder that fills it.
        keep_versions: int >= 1, how many versions stay, the newest; None for all.
        conclude: None, or function of the newest version's path, for what lies beside the versions. It is called last,
            by one publisher at a time, so that it leaves what belongs to the newest version whoever comes last.

    Returns:
        Path of the version.

    Raises:
        ValueError: if `keep_versions` is less than 1.
        OSError: if it can not be written. After this and any other exception no trace of the folder is left. What a
            crash leaves, the next publisher removes.
    """
    if keep_versions is not None and keep_versions < 1:
        raise ValueError(f"keep_versions must be at least 1, not {keep_versions}.")
    export_dir = Path(export_dir)
    export_dir.mkdir(parents=True, exist_ok=True)
    folder = export_dir / f"{TEMPORARY}{uuid.uuid4().hex}"
    with contextlib.ExitStack() as ours:
        with locked(export_dir):
            for path in export_dir.glob(f"{TEMPORARY}*/"):
                remove_if_abandoned(path)
            folder.mkdir()  # not by `tempfile`, which makes it unreadable for the user that the server runs as
            ours.enter_context(locked(folder))
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
    with locked(export_dir):
        numbers = versions(export_dir)
        for number in numbers[:-keep_versions] if keep_versions else ():
            withdraw(export_dir / str(number))
        if conclude:
            conclude(export_dir / str(numbers[-1]))
    return export_dir / str(version)


def withdraw(version):
    """Deletes a version; a server never sees half of it, because it loses its integer name first."""
    hidden = version.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    os.rename(version, hidden)
    shutil.rmtree(hidden)


def _rename(folder, target):
    """Renames a folder unless `target` is taken, and says whether it did."""
    try:
        os.rename(folder, target)
        return True
    except OSError:
        if target.exists():
            return False
        raise
