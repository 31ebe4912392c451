"""Datasets against what is known of them, batches against their contract, and mistakes against their sentence."""

import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from common import cli
from trainers import data

RNG = np.random.RandomState(0)


def fake(num_rows=30, shape=(4, 4, 1), labels=True):
    """Random images whose label is their row."""
    x = RNG.randint(0, 256, (num_rows, *shape)).astype(np.uint8)
    y = np.arange(num_rows) if labels else None
    return data.Data("fake", x, x, y, y, num_rows, "", "")


def steps(dataset, num):
    return list(dataset.take(num).as_numpy_iterator())


def rows(dataset, num):
    """Labels of `num` batches, which are rows of `fake`."""
    return np.concatenate([label for _, label in steps(dataset, num)])


# Batches.


@pytest.mark.parametrize("batch_size", [7, 30])
def test_every_epoch_is_a_permutation_of_its_own_and_batches_are_full(batch_size):
    dataset = data.batches(fake(), batch_size=batch_size, seed=3, with_labels=True)
    assert [tuple(spec.shape) for spec in dataset.element_spec] == [(batch_size, 4, 4, 1), (batch_size,)]
    epochs = rows(dataset, 210 // batch_size).reshape(7, 30)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(30), (7, 1)))
    assert len(np.unique(epochs, axis=0)) == 7


def test_the_order_depends_on_the_seed_and_does_not_come_back():
    def epoch(step, seed=0):
        return tuple(rows(data.batches(fake(), batch_size=30, seed=seed, start_step=step, with_labels=True), 1))

    assert len({epoch(0), epoch(256), epoch(2**16), epoch(0, 256), epoch(0, -1)}) == 5  # 8 bits would be too few


def test_a_label_stays_with_its_image():
    one = fake()
    for x, label in steps(data.batches(one, batch_size=7, seed=0, with_labels=True), 5):
        np.testing.assert_array_equal(x, one.train[label])


@pytest.mark.parametrize("binarize", [False, True])
def test_resumed_is_uninterrupted_and_replicas_share_what_one_would_get(binarize):
    one = fake()

    def run(num, **arguments):
        arguments = {"batch_size": 12, "seed": 1, "data_range": (0, 1), "binarize": binarize, **arguments}
        return np.array(steps(data.batches(one, **arguments), num))

    whole = run(8)
    np.testing.assert_array_equal(whole[5:], run(3, start_step=5))
    np.testing.assert_array_equal(whole, run(24, num_replicas=3).reshape(whole.shape))
    np.testing.assert_array_equal(whole[:, 4:], run(16, num_replicas=3, replica_ids=[1, 2]).reshape(8, 8, 4, 4, 1))


@pytest.mark.parametrize("data_range", [(0, 1), (-1, 1), (-0.5, 0.5), None])
def test_pixels_are_scaled_exactly_at_the_ends(data_range):
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    one = data.Data("ramp", ramp, ramp, None, None, None, "", "")
    (x,) = steps(data.batches(one, batch_size=1, seed=0, data_range=data_range), 1)
    (same,) = steps(data.held_out_batches(one, 1, data_range), 1)
    np.testing.assert_array_equal(x, same)
    if data_range is None:
        np.testing.assert_array_equal(x, ramp)
    else:
        assert x.dtype == np.float32 and (x.min(), x.max()) == data_range
        np.testing.assert_allclose(x.ravel(), np.linspace(*data_range, 256), atol=1e-7)


@pytest.mark.parametrize("data_range", [(-1, 1), None])
def test_binarised_pixels_have_the_mean_of_their_grey_and_are_drawn_anew(data_range):
    grey = np.tile(np.array([0, 1, 64, 128, 254, 255], np.uint8).reshape(1, 6, 1, 1), (2000, 1, 10, 1))
    one = data.Data("grey", grey, grey, None, None, None, "", "")
    low, high = data_range or (0, 255)
    for kind in ("train", "test"):
        if kind == "train":
            first, second = steps(data.batches(one, batch_size=2000, seed=0, data_range=data_range, binarize=True), 2)
            assert (first != second).any()
        else:
            (first,) = steps(data.held_out_batches(one, 2000, data_range, binarize=True), 1)
        assert set(np.unique(first)) == {low, high}
        mean = ((first == high).mean(axis=(0, 2, 3)) - grey[0, :, 0, 0] / 255) * np.sqrt(20_000)
        assert mean[0] == mean[-1] == 0 and np.abs(mean).max() < 4 * 0.5  # standard deviations are at most 1/2


@pytest.mark.parametrize("split", ["train", "test"])
def test_evaluation_sees_every_row_once_in_order_and_always_the_same(split):
    one = fake()
    batches = steps(data.held_out_batches(one, 8, None, with_labels=True, split=split), 9)
    np.testing.assert_array_equal(np.concatenate([label for _, label in batches]), np.arange(30))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), one.test)
    assert [len(x) for x, _ in batches] == [8, 8, 8, 6]
    draws = [np.concatenate(steps(data.held_out_batches(one, size, (0, 1), binarize=True), 30)) for size in (7, 64)]
    np.testing.assert_array_equal(*draws)


def test_points_stay_as_they_are():
    ring = data.load("ring")
    np.testing.assert_array_equal(steps(data.held_out_batches(ring, 10_000, None), 2), [ring.test])
    (x,) = steps(data.batches(ring, batch_size=64, seed=0), 1)
    assert x.dtype == np.float32 and x.shape == (64, 2)
    corners = data.load("four_points")
    np.testing.assert_array_equal(steps(data.held_out_batches(corners, 10_000, (0, 1)), 2), [corners.test])


# Datasets.


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes())


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
        shape = {"cifar10": (32, 32, 3)}.get(name, (28, 28, 1))
        images, labels = RNG.randint(0, 256, (24, *shape)).astype(np.uint8), RNG.randint(0, 10, 24)
        if name == "binarized_mnist":
            images, labels = np.uint8(255) * (images > 127), None
            lines = [
                "".join("".join(" 1" if p else " 0" for p in row.ravel())[1:] + "\n" for row in part).encode()
                for part in (images[:20], images[20:])
            ]
            contents = dict(zip(data.SOURCES[name][2], lines, strict=True))
        elif name == "cifar10":
            contents = {"cifar-10-python.tar.gz": cifar(images, labels)}
        else:
            parts = [
                part[..., 0] if part.ndim == 4 else part.astype(np.uint8)
                for part in (images[:20], labels[:20], images[20:], labels[20:])
            ]
            contents = dict(zip(data.SOURCES[name][2], map(idx, parts), strict=True))
        folder = tmp_path / "site"
        folder.mkdir()
        for file, content in contents.items():
            (folder / file).write_bytes(content)
        unpacked = {
            file: content if name == "cifar10" or not file.endswith(".gz") else gzip.decompress(content)
            for file, content in contents.items()
        }
        digests = {file: hashlib.sha256(content).hexdigest() for file, content in unpacked.items()}
        monkeypatch.setitem(data.SOURCES, name, (folder.as_uri(), "free", digests))
        return images, labels, folder

    return publish


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "binarized_mnist", "cifar10"])
def test_files_are_downloaded_once_verified_and_parsed(name, published, tmp_path):
    images, labels, site = published(name)
    first = data.load(name, tmp_path / "data")
    shutil.rmtree(site)
    for file in (tmp_path / "data" / name).iterdir():  # packed otherwise than published
        if file.name.endswith("ubyte.gz"):
            file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            file.unlink()
        elif file.suffix == ".amat":
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


def test_files_are_found_in_the_environment_and_the_keras_cache(published, tmp_path, monkeypatch):
    published("mnist")
    for variable, folder in (("KERAS_HOME", tmp_path / "home/datasets"), ("ZOO_DATA_DIR", tmp_path / "zoo")):
        monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
        monkeypatch.setenv(variable, str(tmp_path / {"KERAS_HOME": "home"}.get(variable, "zoo")))
        data.load("mnist")
        assert (folder / "mnist" / "train-labels-idx1-ubyte.gz").is_file()


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: idx(np.zeros(20, np.uint8))])
def test_damaged_files_are_found_out(damage, published, tmp_path):
    _, _, site = published("mnist")
    path = site / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(cli.UserError, match=r"/train-labels-idx1-ubyte.gz is damaged, .* instead of .*: delete it"):
        data.load("mnist", tmp_path / "data")


def test_a_download_that_fails_says_which_file_to_put_where(published, tmp_path):
    _, _, site = published("mnist")
    shutil.rmtree(site)
    with pytest.raises(cli.UserError, match=r"data/mnist/train-images-idx3-ubyte.gz is missing .*: put the file there"):
        data.load("mnist", tmp_path / "data")


REAL = {  # shape, rows, first labels, mean pixel / 255
    "mnist": ((28, 28, 1), (60000, 10000), [5, 0, 4, 1, 9, 2], [7, 2, 1, 0, 4, 1], 0.1307),
    "fashion_mnist": ((28, 28, 1), (60000, 10000), [9, 0, 0, 3, 0, 2], [9, 2, 1, 1, 6, 1], 0.2860),
    "binarized_mnist": ((28, 28, 1), (50000, 10000), None, None, 0.1307),
    "cifar10": ((32, 32, 3), (50000, 10000), [6, 9, 9, 4, 1, 1], [3, 8, 8, 0, 6, 6], 0.4734),
}


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


def test_digits_are_all_of_them_with_their_labels():
    one = data.load("digits")
    assert (one.shape, len(one.train), len(one.test), one.num_classes) == ((8, 8, 1), 1500, 297, 10)
    images, labels = np.concatenate([one.train, one.test]), np.concatenate([one.train_labels, one.test_labels])
    truth = data.sklearn.datasets.load_digits()
    assert images.max() == 255 and np.unique(images).size == 17
    for digit in range(10):  # sums of pixels in 0..16 are a fingerprint that needs no order
        mine = np.sort(np.rint(images[labels == digit] * (16 / 255)).sum(axis=(1, 2, 3)))
        np.testing.assert_array_equal(mine, np.sort(truth.images[truth.target == digit].sum(axis=(1, 2))))


def test_four_points_are_corners_in_equal_shares():
    corners = data.load("four_points")
    for points, labels in ((corners.train, corners.train_labels), (corners.test, corners.test_labels)):
        assert points.dtype == np.float32
        np.testing.assert_array_equal(points, np.eye(4)[labels])
        np.testing.assert_array_equal(points.mean(0), np.full(4, 0.25))


@pytest.mark.parametrize("name, num_modes, std", [("ring", 8, 0.01), ("grid", 25, 0.05), ("line", 3, 0.5)])
def test_mixtures_have_their_moments(name, num_modes, std):
    one, size = data.load(name), 1 if name == "line" else 2
    assert (one.train.shape, one.test.shape, one.mode_std) == ((100_000, size), (10_000, size), std)
    assert one.modes.shape == (num_modes, size) and one.num_classes == num_modes
    if name == "ring":
        np.testing.assert_allclose(np.linalg.norm(one.modes, axis=1), 1, rtol=1e-6)
    elif name == "line":
        np.testing.assert_array_equal(one.modes, [[-2], [0], [2]])
    else:
        assert {tuple(mode) for mode in one.modes} == {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}
    z = (one.train - one.modes[one.train_labels]) / std
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=4 / np.sqrt(1e5))
    np.testing.assert_allclose(np.cov(z.T), np.eye(size) if size > 1 else 1, atol=6 * np.sqrt(2 / 1e5))
    expected = 1e5 / num_modes
    assert ((np.bincount(one.train_labels) - expected) ** 2 / expected).sum() < num_modes + 5 * np.sqrt(2 * num_modes)


@pytest.mark.parametrize("name, truth", [("gaussian", stats.norm(1, 0.5)), ("beta", stats.beta(2, 5))])
def test_points_of_one_dimension_have_their_distributions(name, truth):
    one = data.load(name)
    assert (one.train.shape, one.test.shape, one.train_labels) == ((100_000, 1), (10_000, 1), None)
    for points in (one.train, one.test):
        assert stats.kstest(points[:, 0], truth.cdf).pvalue > 0.01


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


def test_images_are_cropped_to_their_centre_turned_upright_and_put_on_white(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 5:25, 0] = 255
    (tmp_path / "a").mkdir()
    Image.fromarray(wide).save(tmp_path / "a" / "wide.png")
    assert (data.load("image_folder", tmp_path / "a", 5).train == [255, 0, 0]).all()
    (tmp_path / "b").mkdir()
    Image.new("RGBA", (6, 6), (0, 0, 0, 0)).save(tmp_path / "b" / "clear.png")
    assert (data.load("image_folder", tmp_path / "b", 5).train == 255).all()
    (tmp_path / "c").mkdir()
    half = Image.fromarray(np.repeat([[0], [255]], 8, axis=0).repeat(16, axis=1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # to be shown upside down
    half.save(tmp_path / "c" / "half.png", exif=exif)
    upright = data.load("image_folder", tmp_path / "c", 4, 1).train[0, :, :, 0]
    assert upright[0].min() == 255 and upright[-1].max() == 0


def test_held_out_images_have_no_copy_in_training(pictures):
    for path in list(pictures.rglob("*.*")):
        if path.name != "notes.txt" and not path.name.startswith("."):
            for i in range(3):
                shutil.copy(path, path.with_stem(f"{path.stem}-copy{i}"))
    one = data.load("image_folder", pictures)
    train, test = ({image.tobytes() for image in images} for images in (one.train, one.test))
    assert len(one.train) + len(one.test) == 160 and 1 <= len(one.test) <= 16
    assert not train & test


def test_other_images_can_be_resized_too():
    small, large = data.load("digits"), data.load("digits", image_side=16, image_channels=3)
    assert large.shape == (16, 16, 3) and large.test.shape == (297, 16, 16, 3) and large.checksum == small.checksum
    assert (large.train[..., 0] == large.train[..., 2]).all()
    assert np.abs(large.train.mean() - small.train.mean()) < 2
    np.testing.assert_array_equal(data.load("digits", image_side=8).train, small.train)


# Mistakes.


def image_folder(tmp_path, **contents):
    for name, content in contents.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    return data.load("image_folder", tmp_path)


def sixteen_bits():
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(stream, "png")
    return stream.getvalue()


def few(tmp_path):
    for i in range(9):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    return data.held_out_batches(data.load("image_folder", tmp_path), 4, (0, 1))


def batches(batch_size=4, one=None, **arguments):
    return data.batches(one or fake(), batch_size=batch_size, seed=0, **arguments)


@pytest.mark.parametrize(
    "mistake, sentence",
    [
        (lambda _: data.load("minst"), "there is no dataset 'minst': choose one of digits, mnist, .*, four_points."),
        (lambda _: data.load("digits", image_side=0), "image_side is 0, .*: give a positive number."),
        (lambda _: data.load("digits", image_channels=2), "image_channels is 2: give 1 for grey or 3 for colour."),
        (lambda _: data.load("ring", image_side=8), r"ring comes in one shape, \(2,\): leave image_side .* unset."),
        (lambda _: data.load("image_folder"), "image_folder needs images: name .* by --data_dir."),
        (
            lambda path: data.load("image_folder", path / "none"),
            "there are no images in .*none: name a folder or zip .*",
        ),
        (lambda path: image_folder(path), "there are no images in .*: name a folder or zip .*"),
        (lambda path: image_folder(path, a=b"?"), "a.png in .* is no readable image .*: mend it or take it out."),
        (lambda path: image_folder(path, a=sixteen_bits()), "a.png in .* I;16, 8 bits .*: mend it or take it out."),
        (few, "image_folder has no test rows: give at least 10 images, .*"),
        (lambda _: batches(31), "batch_size is 31, but fake has 30 train rows: give that or less."),
        (lambda _: batches(0), "batch_size is 0, but fake has 30 train rows: .*"),
        (lambda _: batches(4, num_replicas=3), "batch_size is 4, which 3 replicas can not share: give a multiple."),
        (lambda _: batches(one=fake(labels=False), with_labels=True), "fake has no labels: choose a dataset .*"),
        (lambda _: batches(one=fake(shape=(4, 4, 3)), binarize=True), "binarize is for grey images, .*: leave it off."),
        (lambda _: batches(one=data.load("ring"), binarize=True), "binarize is for grey images, .*: leave it off."),
        (
            lambda _: batches(one=data.load("ring"), data_range=(0, 1)),
            r"ring holds points between -1.0\d and 1.0\d, and the model takes those in \[0, 1\]: choose .* likelihood.",
        ),
    ],
)
def test_a_mistake_gets_one_sentence(mistake, sentence, tmp_path):
    with pytest.raises(cli.UserError) as error:
        mistake(tmp_path)
    assert re.fullmatch(sentence, str(error.value)), error.value
