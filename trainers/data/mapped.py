"""Arrays that are made once and then mapped into memory, out of files: a set may be larger than memory.

They lie in `$KERAS_HOME/mapped` (default `~/.keras`), in a folder whose name holds a digest of what they were made of:

NAME.npy      the arrays, as numpy keeps them
facts.json    for each its sha256, and the size and times of the file that had it

Any of it can be deleted: it is made again. What a damaged file holds is made again, too.
"""

import contextlib
import functools
import hashlib
import mmap
import os
import shutil
import sys
import uuid

import numpy as np
import tensorflow as tf

from common import files
from common.cli import writing
from trainers.data.files import cache, sha256

FACTS = "facts.json"
MEND = ": make room there, or name another folder by $KERAS_HOME"


def arrays(name, key, make):
    """Mapped arrays, read only, by their names: those that were made before under this key, else what is made now.

    Args:
        name: str, what the name of their folder begins with.
        key: what decides their contents; its `repr` is digested.
        make: function of `add(name, rows)`, which appends rows [k, ...] to the array of a name.

    Returns:
        Dict, name -> `np.memmap`.

    Raises:
        UserError: if they can not be written, or what `make` raises; nothing is left behind then.
    """
    folder = cache("mapped", f"{name}_{sha256(repr(key).encode())[:16]}")
    if (names := whole(folder)) is None:
        with writing(folder, MEND):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(folder.parent):  # of several processes that come for the same, one makes it
            if (names := whole(folder)) is None:
                names = _make(folder, make)
    return {name.removesuffix(".npy"): np.load(folder / name, mmap_mode="r") for name in names}


def _make(folder, make):
    if folder.exists():
        print(f"{folder} is damaged; it is made anew.", file=sys.stderr)
    for left in folder.parent.glob(f"{files.TEMPORARY}*/"):  # by a crash: we hold the lock
        shutil.rmtree(left)
    temporary = folder.with_name(f"{files.TEMPORARY}{uuid.uuid4().hex}")
    try:
        with writing(folder, MEND):
            temporary.mkdir()
        with contextlib.ExitStack() as stack:
            growing = {}

            def add(name, rows):
                with writing(folder, MEND):
                    if name not in growing:
                        file = stack.enter_context(open(temporary / f"{name}.npy", "wb"))
                        growing[name] = Growing(file, rows.shape[1:], rows.dtype)
                    growing[name].add(rows)

            make(add)
            with writing(folder, MEND):
                for array in growing.values():
                    array.finish()
        with writing(folder, MEND):
            names = _note(temporary, {file.name: digest(file) for file in sorted(temporary.glob("*.npy"))})
            shutil.rmtree(folder, ignore_errors=True)  # whoever has it mapped keeps what he has
            os.replace(temporary, folder)
        return names
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class Growing:
    """An array that is written into a .npy file some rows at a time."""

    def __init__(self, file, shape, dtype):
        self.file, self.shape, self.dtype, self.num = file, shape, dtype, 0
        self._write_header()

    def _write_header(self):
        shape = (self.num, *self.shape)  # numpy leaves room for a number of any length
        header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(self.dtype)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def add(self, rows):
        self.file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
        self.num += len(rows)

    def finish(self):
        self.file.seek(0)
        self._write_header()
        self.file.flush()
        os.fsync(self.file.fileno())


def whole(folder):
    """Names of a folder's arrays if they are what was written, else None. Only files with other times are read."""
    with contextlib.suppress(FileNotFoundError, KeyError, TypeError, AttributeError):
        facts = files.read_json(folder / FACTS)
        changed = [name for name, known in facts.items() if tuple(known["state"]) != files.state(folder / name)]
        if all(digest(folder / name) == facts[name]["sha256"] for name in changed):
            if changed:  # copied or moved
                with contextlib.suppress(OSError):
                    _note(folder, {name: known["sha256"] for name, known in facts.items()})
            return list(facts) or None


def _note(folder, digests):
    facts = {name: {"sha256": known, "state": files.state(folder / name)} for name, known in digests.items()}
    files.write_atomically(folder / FACTS, lambda path: path.write_text(files.to_json(facts, indent=2) + "\n"))
    return list(facts)


def digest(file):
    """sha256 of a file, in hex."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digests(source, names, states, read):
    """sha256 of each file of a source, out of the cache where all have the names, sizes and times that they had then.

    Args:
        source: path, under whose name they are kept.
        names, states: lists of str, and of tuples of ints that are others once a file's contents are.
        read: function that yields the digests now.

    Returns:
        List of str.
    """
    listing = sha256(repr((names, states)).encode())
    memory = cache("mapped", f"digests_{sha256(os.path.abspath(source).encode())[:16]}.json")
    known = files.read_json(memory, "listing", "digests")
    if known and known["listing"] == listing and len(known["digests"]) == len(names):
        return known["digests"]
    found = list(read())
    if all(found):
        content = files.to_json({"listing": listing, "digests": found})
        with writing(memory, MEND):
            files.write_atomically(memory, lambda path: path.write_text(content))
    return found


def gather(array):
    """A function of TensorFlow that takes rows by their numbers, int64 [...], out of an array, mapped or in memory.

    Pages of a mapped file that were read do not count as memory of this process any longer.
    """
    if not isinstance(array, np.memmap):
        with tf.device("CPU"):  # beside the pipeline, also where there is a GPU
            tensor = tf.constant(array)
        return functools.partial(tf.gather, tensor)

    def read(rows):
        found = array[rows]
        array._mmap.madvise(mmap.MADV_DONTNEED)  # numpy has no public name for it
        return found

    def rows_of(rows):
        found = tf.numpy_function(read, [rows], array.dtype)
        return tf.ensure_shape(found, [*rows.shape, *array.shape[1:]])

    return rows_of
