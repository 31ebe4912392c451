"""Files of published datasets: found, verified, downloaded and parsed."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from common.cli import UserError
from tests.trainers.data.made import RNG
from trainers import data
from trainers.data import files


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes())


def amat(images):
    return b"".join(b" ".join(b"1" if p else b"0" for p in image.ravel()) + b"\n" for image in images)


def cifar(images, labels):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
            planes = images[4 * i : 4 * i + 4].transpose(0, 3, 1, 2).reshape(4, -1)
            content = pickle.dumps({b"data": planes, b"labels": labels[4 * i : 4 * i + 4].tolist()}, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """`published(name)` puts 20 + 4 rows in the true format of `name` at a file:// URL: (images, labels, folder)."""

    def publish(name):
        shape = (32, 32, 3) if name == "cifar10" else (28, 28, 1)
        images, labels = RNG.randint(0, 256, (24, *shape)).astype(np.uint8), RNG.randint(0, 10, 24).astype(np.uint8)
        if name == "binarized_mnist":
            images, labels = np.uint8(255) * (images > 127), None
            published = [amat(part) for part in (images[:20], images[20:])]
        elif name == "cifar10":
            published = [cifar(images, labels)]
        else:
            published = map(idx, (images[:20, ..., 0], labels[:20], images[20:, ..., 0], labels[20:]))
        folder, digests = tmp_path / "site" / name, {}
        folder.mkdir(parents=True)
        for file, content in zip(files.SOURCES[name][2], published, strict=True):
            (folder / file).write_bytes(content)
            digests[file] = hashlib.sha256(gzip.decompress(content) if "ubyte" in file else content).hexdigest()
        monkeypatch.setitem(files.SOURCES, name, (folder.as_uri(), "free", digests))
        return images, labels, folder

    return publish


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "binarized_mnist", "cifar10"])
def test_files_are_downloaded_once_verified_and_parsed(name, published, tmp_path):
    images, labels, site = published(name)
    first = data.load(name, tmp_path / "data")
    shutil.rmtree(site)
    for file in (tmp_path / "data" / name).glob("*.amat"):  # packed otherwise than published
        (file.parent / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
        file.unlink()
    for one in (first, data.load(name, tmp_path / "data")):
        np.testing.assert_array_equal(np.concatenate([one.train, one.test]), images)
        if labels is not None:
            np.testing.assert_array_equal(np.concatenate([one.train_labels, one.test_labels]), labels)
            assert one.train_labels.dtype == np.int64 and one.num_classes == 10
        assert (len(one.train), one.train.dtype, one.shape, one.licence) == (20, np.uint8, images.shape[1:], "free")
        assert one.train_labels is not None or one.num_classes is None
        assert one.checksum == first.checksum


@pytest.mark.parametrize("side", [None, 14])
def test_channels_of_a_stack_are_the_images_that_the_digits_of_its_label_say(side, published, tmp_path, monkeypatch):
    _, labels, _ = published("mnist")
    monkeypatch.setattr(data.images, "NUM_STACKED", (600, 50))
    one, mnist = (data.load(name, tmp_path, image_side=side) for name in ("stacked_mnist", "mnist"))
    with pytest.raises(UserError, match="stacked_mnist has 3 channels, each an image of its own: leave image_channels"):
        data.load("stacked_mnist", tmp_path, image_channels=1)
    assert one.num_classes == 1000 and one.channel.checksum == mnist.checksum != one.checksum
    for stacks, label, known, digits in (
        (one.train, one.train_labels, mnist.train, labels[:20]), (one.test, one.test_labels, mnist.test, labels[20:])
    ):  # fmt: skip
        same = (stacks[:, None] == known[None]).all(axis=(2, 3))  # [stack, image, channel]
        assert (same.sum(axis=1) == 1).all()
        np.testing.assert_array_equal(digits[same.argmax(axis=1)] @ np.array([100, 10, 1]), label)
        np.testing.assert_array_equal(one.channel.test, mnist.test)
        counts = np.sum(same, axis=0)  # each channel has each image equally often
        assert stats.chisquare(counts).pvalue.min() > 1e-4
        assert label.dtype == np.int64


@pytest.mark.parametrize("mnist, fashion", [
    ("mnist/{dot}", "fashion_mnist/{dot}.gz"),
    ("mnist/{dash}/{dash}", "fashion_mnist/{dot}/{dash}.gz"),
    ("MNIST/raw/{dash}", "FashionMNIST/raw/{dash}"),
    ("MNIST/raw/{dash}.gz", "Fashion-MNIST/{dot}"),
    ("{dot}", "{dash}.gz"),
    ("raw/{dash}/{dash}", "{dash}"),
    ("mnist/{dash}", "{dash}/{dot}"),
    (None, "{dash}"),  # and downloaded
])  # fmt: skip
def test_the_checksum_decides_and_not_the_name(mnist, fashion, published, tmp_path):
    truth = {}
    for name, layout in (("mnist", mnist), ("fashion_mnist", fashion)):
        truth[name], _, site = published(name)
        for file in site.iterdir() if layout else ():
            dash = file.stem
            path = tmp_path / "data" / layout.format(dash=dash, dot=dash.replace("-idx", ".idx"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read_bytes() if path.suffix == ".gz" else gzip.decompress(file.read_bytes()))
            file.unlink()
    for name, images in truth.items():
        one = data.load(name, tmp_path / "data")
        np.testing.assert_array_equal(np.concatenate([one.train, one.test]), images)


def test_files_are_found_in_the_environment_and_the_keras_cache(published, tmp_path, monkeypatch):
    published("mnist")
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    for variable, folder in (("KERAS_HOME", "datasets/mnist"), ("ZOO_DATA_DIR", "mnist")):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        data.load("mnist")
        assert (tmp_path / variable / folder / "train-labels-idx1-ubyte.gz").is_file()


@pytest.mark.parametrize("file, damage, sentence", [
    ("train-labels", lambda content: content[:-9], "is damaged, .* instead of .*: delete it"),
    ("train-labels", lambda content: idx(np.zeros(20, np.uint8)), "is damaged, .* instead of .*: delete it"),
    ("train-images", None, "is missing .*: put the file there"),
])  # fmt: skip
def test_what_is_wrong_with_which_file(file, damage, sentence, published, tmp_path):
    _, _, site = published("mnist")
    (path,) = site.glob(f"{file}*")
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    with pytest.raises(UserError, match=f"data/mnist/{path.name} {sentence}"):
        data.load("mnist", tmp_path / "data")


def test_a_file_that_can_not_be_read(published, tmp_path, monkeypatch):
    published("mnist")
    data.load("mnist", tmp_path)
    monkeypatch.setattr(Path, "read_bytes", lambda path: os.listdir(tmp_path / "none"))
    with pytest.raises(UserError, match="ubyte.gz can not be read: No such file or directory"):
        data.load("mnist", tmp_path)


REAL = {  # shape, rows, first labels, mean pixel / 255
    "mnist": ((28, 28, 1), (60000, 10000), [5, 0, 4, 1, 9, 2], [7, 2, 1, 0, 4, 1], 0.1307),
    "fashion_mnist": ((28, 28, 1), (60000, 10000), [9, 0, 0, 3, 0, 2], [9, 2, 1, 1, 6, 1], 0.2860),
    "binarized_mnist": ((28, 28, 1), (50000, 10000), None, None, 0.1307),
    "cifar10": ((32, 32, 3), (50000, 10000), [6, 9, 9, 4, 1, 1], [3, 8, 8, 0, 6, 6], 0.4734),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_real_files_are_what_is_known_of_them(name):
    if not (root := os.environ.get("ZOO_DATA_DIR")) or not (Path(root) / name).is_dir():
        pytest.skip(f"no real {name}: ZOO_DATA_DIR names no folder that holds it")
    shape, num_rows, train_labels, test_labels, mean = REAL[name]
    one = data.load(name)
    assert (one.shape, (len(one.train), len(one.test))) == (shape, num_rows)
    assert one.train.mean() / 255 == pytest.approx(mean, abs=2e-4)
    if train_labels is None:
        assert set(np.unique(one.train)) == {0, 255} and one.train_labels is None
    else:
        assert (list(one.train_labels[:6]), list(one.test_labels[:6])) == (train_labels, test_labels)
