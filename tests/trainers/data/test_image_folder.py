"""The user's own images."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.trainers.data.made import RNG
from trainers import data


@pytest.fixture
def pictures(tmp_path):
    """A folder of 40 pictures of many kinds, and what is not to be read beside them."""
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    for i in range(40):
        mode, suffix = [("RGB", "png"), ("L", "jpg"), ("RGBA", "webp"), ("P", "PNG"), ("1", "bmp")][i % 5]
        noise = RNG.randint(0, 256, (20 + i, 30, 3)).astype(np.uint8)
        Image.fromarray(noise).convert(mode).save(folder / ["", "deep", "deep/er"][i % 3] / f"{i}.{suffix}")
    (folder / "notes.txt").write_text("no picture")
    (folder / "._0.png").write_bytes(b"macOS")
    return folder


@pytest.mark.parametrize("side, channels, shape", [(None, None, (32, 32, 3)), (8, 1, (8, 8, 1))])
def test_folder_and_zip_of_images_are_the_same(side, channels, shape, pictures, tmp_path):
    archive = shutil.make_archive(tmp_path / "archive", "zip", tmp_path, "pictures")
    folder, zipped = (data.load("image_folder", path, side, channels) for path in (pictures, archive))
    assert (folder.shape, folder.train.dtype, len(folder.train), len(folder.test)) == (shape, np.uint8, 36, 4)
    assert folder.checksum == zipped.checksum and folder.train_labels is None
    np.testing.assert_array_equal(folder.train, zipped.train)
    np.testing.assert_array_equal(folder.test, zipped.test)


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
    (["dog/", ""], None, None),
    (["cat/", "cat/"], None, None),
])  # fmt: skip
def test_folders_are_classes(names, classes, labels, tmp_path, capsys):
    folder = folder_of(tmp_path / "in", names)
    for path in (folder, shutil.make_archive(folder, "zip", tmp_path, "in")):
        one = data.load("image_folder", path, 1, 1)
        kinds = f"2 classes: {', '.join(classes)}" if classes else "no classes"
        assert capsys.readouterr().out == f"read {7 * len(names)} pictures in {path}, of {kinds}\n"
        assert (one.class_names, one.num_classes) == (classes, classes and 2)
        for pixels, found in ((one.train, one.train_labels), (one.test, one.test_labels)):
            if classes:
                np.testing.assert_array_equal(found, np.take(labels, pixels.ravel() % len(names)))
                assert found.dtype == np.int64
            else:
                assert found is None


def test_pictures_in_other_classes_are_other_data(tmp_path):
    trees = {"a": ["cat/", "dog/"], "b": ["cat/", "dog/more/"], "c": ["dog/", "cat/"], "d": ["cat/", ""], "e": [""] * 2}
    folders = (folder_of(tmp_path / key, names) for key, names in trees.items())
    a, b, c, d, e = (data.load("image_folder", folder).checksum for folder in folders)
    assert a == b and d == e and len({a, c, d}) == 3


def test_held_out_images_have_no_copy_in_training(pictures):
    for path in list(pictures.rglob("[0-9]*.*")):
        for i in range(3):
            shutil.copy(path, path.with_stem(f"{path.stem}-copy{i}"))
    one = data.load("image_folder", pictures)
    train, test = ({image.tobytes() for image in images} for images in (one.train, one.test))
    assert len(one.train) + len(one.test) == 160 and 1 <= len(one.test) <= 16
    assert not train & test
