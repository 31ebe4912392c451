"""Arrays that are made once: mapped from then on, made again where damaged, and the same to training as in memory."""

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.mistakes import files_no_larger_than, mistake
from tests.trainers.data.made import RNG, images, numbered, steps
from trainers import data
from trainers.data import mapped

A, B = RNG.randint(0, 256, (40, 3, 2)).astype(np.uint8), np.arange(5.0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "cache", tmp_path.joinpath)


def made(calls, key="key"):
    """Arrays a, b and one without rows; `calls` gets an item for each time that they are made."""

    def make(add):
        calls.append(key)
        for start in range(0, 40, 7):
            add("a", A[start : start + 7])
        add("b", B[:2])
        add("none", np.empty((0, 4), np.float32))
        add("b", B[2:])

    found = mapped.arrays("made", key, make)
    np.testing.assert_array_equal(found["a"], A, strict=True)
    np.testing.assert_array_equal(found["b"], B, strict=True)
    assert found["none"].shape == (0, 4) and not found["a"].flags.writeable
    return found


def test_each_key_is_made_once(tmp_path):
    calls = []
    for key in ("x", "x", "y", "x", "y"):
        made(calls, key)
    assert calls == ["x", "y"] and len(list(tmp_path.glob("mapped/made_*/a.npy"))) == 2
    (file, _) = tmp_path.glob("mapped/made_*/a.npy")
    np.testing.assert_array_equal(np.load(file), A)  # plain files of numpy


def test_of_several_that_come_at_once_one_makes_it():
    calls = []
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(made, [calls] * 4))) == 4
    assert len(calls) == 1


def flip(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def copy(file):
    shutil.copytree(file.parent, file.parent.with_name("copy"))
    shutil.rmtree(file.parent)
    file.parent.with_name("copy").rename(file.parent)


@pytest.mark.parametrize("name, damage, times", [
    ("a.npy", lambda file: os.truncate(file, 300), 2),
    ("a.npy", flip, 2),
    ("b.npy", Path.unlink, 2),
    ("facts.json", Path.unlink, 2),
    ("facts.json", lambda file: file.write_text('{"a.npy": 1}'), 2),
    ("facts.json", lambda file: file.write_text("{}"), 2),
    ("a.npy", copy, 1),  # no damage: other times, and the same contents
    ("a.npy", os.utime, 1),
])  # fmt: skip
def test_what_is_damaged_is_made_again(name, damage, times, tmp_path, capsys):
    calls = []
    before = made(calls)
    (file,) = tmp_path.glob(f"mapped/made_*/{name}")
    damage(file)
    made(calls)
    made(calls)
    assert len(calls) == times and not list(tmp_path.rglob(".tmp-*"))
    assert capsys.readouterr().err == f"{file.parent} is damaged; it is made anew.\n" * (times - 1)
    if name != "a.npy" and times == 2:  # who has the old file mapped keeps it
        np.testing.assert_array_equal(before["a"], A)


def test_nothing_is_left_of_what_fails_or_of_a_crash(tmp_path):
    (tmp_path / "mapped" / ".tmp-crash").mkdir(parents=True)

    def fail(add):
        add("a", A)
        raise KeyError("in between")

    with pytest.raises(KeyError):
        mapped.arrays("made", "key", fail)
    with mistake("made_", "can not be written: File too large: make room there, or name another folder by $KERAS_HOME"):
        with files_no_larger_than(4096):
            mapped.arrays("made", "key", lambda add: add("a", np.zeros(10_000)))
    assert not list((tmp_path / "mapped").iterdir())
    made([])


def mapped_copy(one):
    arrays = mapped.arrays("copy", 0, lambda add: add("x", one.train))
    return images(arrays["x"], one.train_labels, one.num_classes)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [
    {}, {"with_labels": True}, {"binarize": True}, {"start_step": 5, "batches_per_step": 2},
    {"num_replicas": 3, "replica_ids": [2, 0]},
], ids=str)  # fmt: skip
def test_batches_are_those_of_data_in_memory(arguments):
    one, arguments = numbered(), {"batch_size": 6, "seed": 1, **arguments}
    other = mapped_copy(one)
    specs = [data.batches(of, **arguments).element_spec for of in (one, other)]
    assert specs[0] == specs[1]
    for a, b in zip(*(steps(data.batches(of, **arguments), 12) for of in (one, other)), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[-1], b[-1])
    for a, b in zip(*(steps(data.held_out_batches(of, 8, rows=[5, 29, 1]), 1) for of in (one, other)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_worker_reads_the_rows_of_its_own_replicas_only(monkeypatch):
    other, usual, seen = mapped_copy(numbered()), mapped.tf.numpy_function, []

    def watched(read, inputs, dtype):
        return usual(lambda rows: seen.append(rows.size) or read(rows), inputs, dtype)

    monkeypatch.setattr(mapped.tf, "numpy_function", watched)
    steps(data.batches(other, batch_size=6, seed=0, num_replicas=3, replica_ids=[1]), 4)
    assert len(seen) >= 4 and set(seen) == {2}


@pytest.mark.slow
def test_memory_does_not_grow_with_what_was_read():
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not say what a process has mapped")

    def mapped_bytes():
        return 1024 * int(re.search(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

    one = mapped.arrays("large", 0, lambda add: [add("x", np.zeros((256, 256, 256, 1), np.uint8)) for _ in range(4)])
    batches = iter(data.batches(images(one["x"]), batch_size=64, seed=0))
    next(batches)
    before = mapped_bytes()
    for _ in range(16):
        next(batches)
    assert mapped_bytes() - before < one["x"].nbytes / 8
