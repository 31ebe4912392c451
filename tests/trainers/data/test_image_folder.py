"""The user's own images."""

import shutil

import numpy as np
import pytest
from PIL import Image

from common import image_files
from tests.mistakes import mistake
from trainers import data
from trainers.data import image_folder


def folder_of(path, names):
    """A folder of 7 pictures of each name, of the grey 0, 1, ... counted over all."""
    for grey, name in enumerate(names * 7):
        file = path / f"{name}{grey}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (1, 1), grey).save(file)
    return path


@pytest.mark.parametrize("names, classes, labels", [
    (["dog/", "cat/", "dog/more/"], ["cat", "dog"], [1, 0, 1]),
    (["all/9/", "all/10/more/"], ["10", "9"], [1, 0]),
    (["dog/", "", ""], None, None),
    (["cat/", "cat/"], None, None),
])  # fmt: skip
def test_folders_and_those_of_a_zip_are_classes(names, classes, labels, tmp_path, capsys):
    num, kinds = 7 * len(names), f"2 classes: {', '.join(classes)}" if classes else "no classes"
    paths = folder_of(tmp_path / "in", names), shutil.make_archive(tmp_path / "in", "zip", tmp_path, "in")
    both = [data.load("image_folder", path, 1, 1) for path in paths]
    out = capsys.readouterr().out
    assert all(f"\nread {num} pictures in {path}, of {kinds}\n" in out for path in paths)
    assert out.count("decoding") <= 1  # once for the same pictures, wherever they lie
    assert both[0].checksum == both[1].checksum
    for one in both:
        assert (one.class_names, one.num_classes, len(one.test)) == (classes, classes and 2, num // 10)
        assert set(np.concatenate([one.train, one.test]).ravel()) == set(range(num)) and one.train.dtype == np.uint8
        for x, found in ((one.train, one.train_labels), (one.test, one.test_labels)):
            np.testing.assert_array_equal(found, np.take(labels, x.ravel() % len(names)) if classes else None)


def test_pictures_in_other_classes_are_other_data(tmp_path):
    trees = {"a": ["cat/", "dog/"], "b": ["cat/", "dog/more/"], "c": ["dog/", "cat/"], "d": ["cat/", ""], "e": [""] * 2}
    folders = (folder_of(tmp_path / key, names) for key, names in trees.items())
    a, b, c, d, e = (data.load("image_folder", folder).checksum for folder in folders)
    assert a == b and d == e and len({a, c, d}) == 3


def test_held_out_images_have_no_copy_in_training(tmp_path):
    for copy in "abcd":
        folder_of(tmp_path / copy, ["", "more/"] * 3)
    one = data.load("image_folder", tmp_path)
    assert one.shape == (32, 32, 3)
    train, test = ({image.tobytes() for image in images} for images in (one.train, one.test))
    assert len(one.train) + len(one.test) == 168 and len(one.test) == 16 and len(train) == 38
    assert not train & test


def test_a_second_start_reads_no_picture_unless_one_has_changed(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "in", ["cat/", "dog/"])
    first = data.load("image_folder", folder, 4)
    each = image_files.each
    monkeypatch.setattr(image_files, "each", lambda found, function: pytest.fail(f"{function} is called"))
    for one in (data.load("image_folder", folder, 4), data.load("image_folder", folder, 4)):
        assert one.checksum == first.checksum and isinstance(one.train, np.memmap)
        np.testing.assert_array_equal(one.train, first.train)
        np.testing.assert_array_equal(one.train_labels, first.train_labels)
    monkeypatch.setattr(image_files, "each", each)
    Image.new("L", (1, 1), 99).save(folder / "cat" / "0.png")  # of the same size as a file
    other = data.load("image_folder", folder, 4)
    assert other.checksum != first.checksum
    assert set(np.concatenate([other.train, other.test])[:, 0, 0, 0]) == {99, *range(1, 14)}
    assert data.load("image_folder", folder, 2).shape == (2, 2, 3)


def test_a_picture_that_changes_while_it_is_decoded(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "in", [""])
    monkeypatch.setattr(image_folder.mapped, "digests", lambda source, names, states, read: ["0"] * len(names))
    with mistake("7 of 7 pictures can not be read", "0.png (it has changed since it was looked at), "):
        data.load("image_folder", folder)


def pairs_of(path, names):
    """Conditions of the grey 0, 1, ..., and targets of 100 more, as other files."""
    for kind, first, suffix in (("condition", 0, "png"), ("target", 100, "bmp")):
        for grey, name in enumerate(names):
            file = path / kind / f"{name}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2), first + grey % 20).save(file)
    return path


def test_pairs_of_images_have_one_name(tmp_path, capsys):
    folder = pairs_of(tmp_path / "in", [f"{'more/' * (i % 2)}{i}" for i in range(20)])
    both = [data.load("image_pairs", path, 2, 1) for path in (folder, shutil.make_archive(folder, "zip", folder))]
    assert both[0].checksum == both[1].checksum and "read 20 pairs of pictures in" in capsys.readouterr().out
    for one in both:
        assert one.shape == (2, 4, 1) and (len(one.train), len(one.test)) == (18, 2) and one.train_labels is None
        rows = np.concatenate([one.train, one.test])[..., 0].astype(int)
        assert set(rows[:, 0, 0]) == set(range(20))
        np.testing.assert_array_equal(rows[:, :, 2:], rows[:, :, :2] + 100)


def test_held_out_pairs_have_no_copy_in_training(tmp_path):
    one = data.load("image_pairs", pairs_of(tmp_path, [f"{copy}{i}" for copy in "abc" for i in range(20)]), 2, 1)
    train, test = ({row.tobytes() for row in rows} for rows in (one.train, one.test))
    assert len(one.test) == 6 and not train & test


@pytest.mark.parametrize("name, sentence", [
    ("condition/alone.png", "only: alone; give each its partner, of the same name."),
    ("else/1.png", "else/1.png is not where pairs are: "),
    ("1.png", "1.png is not where pairs are: "),
    ("condition/1.jpg", "has the name of another picture beside it: give each its own, suffixes apart."),
])  # fmt: skip
def test_pictures_without_a_partner(name, sentence, tmp_path):
    pairs_of(tmp_path, range(3))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.new("L", (2, 2)).save(tmp_path / name)
    with mistake(sentence):
        data.load("image_pairs", tmp_path)
