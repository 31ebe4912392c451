"""The user's own points, out of numpy's files and out of text."""

import numpy as np
import pytest

from tests.mistakes import mistake
from tests.trainers.data.made import RNG
from trainers import data
from trainers.data import point_file


def text(rows, header=""):
    return header + "".join(",".join(map(repr, map(float, row))) + "\n" for row in rows)


@pytest.mark.parametrize("size", [1, 3, 200])
@pytest.mark.parametrize("suffix", [".npy", ".csv", ".CSV"])
def test_every_row_is_in_one_split_in_its_order(suffix, size, tmp_path, monkeypatch):
    monkeypatch.setattr(point_file, "AT_ONCE", 30)
    rows, file = RNG.randn(137, size), tmp_path / f"points{suffix}"
    np.save(file, rows[:, 0] if size == 1 else rows) if suffix == ".npy" else file.write_text(text(rows))
    one = data.load("points", file)
    assert (one.shape, len(one.train), len(one.test), one.train_labels) == ((size,), 124, 13, None)
    number = {row.tobytes(): i for i, row in enumerate(rows.astype(np.float32))}
    train, test = ([number[row.tobytes()] for row in split] for split in (one.train, one.test))
    assert train == sorted(train) and set(train) | set(test) == set(range(137))
    assert [i // 10 for i in test] == list(range(13))  # one of each ten
    assert len({i % 10 for i in test}) > 3  # by chance
    assert one.checksum == data.load("points", file).checksum


@pytest.mark.parametrize("header, rows, points, labels", [
    ("x, y\n", [[1, 2]], [[1, 2]], None),
    ('\ufeffx,"label"\n', [[1, 0], [3, 2]], [[1], [3]], [0, 2]),
    ("\nLabel,x,y\n\n", [[1, 2, 3]], [[2, 3]], [1]),
    ("", [[1e9, -2.5]], [[1e9, -2.5]], None),
])  # fmt: skip
def test_columns_and_their_names(header, rows, points, labels, tmp_path):
    (tmp_path / "a.csv").write_text(text(rows, header), encoding="utf-8")
    one = data.load("points", tmp_path / "a.csv")
    np.testing.assert_array_equal(one.train, np.float32(points), strict=True)
    assert len(one.test) == 0 and one.num_classes == (None if labels is None else max(labels) + 1)
    np.testing.assert_array_equal(one.train_labels, labels)
    assert labels is None or one.train_labels.dtype == np.int64


@pytest.mark.parametrize("name, content, sentence", [
    ("a.txt", "1", "a.txt is no file of points: name a .npy or .csv file by --data_dir"),
    ("none.csv", None, "none.csv can not be read: No such file or directory"),
    ("a.npy", "1", "a.npy can not be read as numpy's .npy file"),
    ("a.npy", np.zeros((2, 3, 4)), "a.npy holds float64 [2, 3, 4]: points are numbers, [n] or [n, D]"),
    ("a.npy", np.array(["a"]), "a.npy holds <U1 [1]: points are numbers"),
    ("a.csv", "\n", "a.csv holds no points: give a line of numbers for each, parted by commas"),
    ("a.csv", "x,y\n", "a.csv holds no points: give a line of numbers for each"),
    ("a.csv", "label\n1\n", "a.csv names the columns label: give one or more of numbers, and at most one label"),
    ("a.csv", "x,y\n1,2\n\n3,four\n", "line 4 of {path} is not 2 numbers parted by commas: '3,four'"),
    ("a.csv", "1,2\n3\n", "line 2 of {path} is not 2 numbers parted by commas: '3'"),
    ("a.csv", "x,label\n1,0.5\n", "a.csv has labels that are no classes: give 0, 1, ... in its column label"),
    ("a.csv", "x,label\n1,-1\n", "a.csv has labels that are no classes"),
])  # fmt: skip
def test_what_is_no_file_of_points(name, content, sentence, tmp_path):
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        np.save(path, content)
    with mistake(sentence.format(path=path)):
        data.load("points", path)
