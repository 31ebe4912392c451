"""Datasets of images. A loader is a function of the data directory that returns `Data`."""

import io
import pickle
import tarfile

import numpy as np
import sklearn.datasets

from trainers.data.dataset import Data
from trainers.data.files import contents, sha256

NUM_STACKED = 128_000, 26_000  # rows that Lin et al. 2018 train by, and samples in which they count modes


def digits(data_dir):
    """1,500 + 297 scans in 17 grey levels (Alpaydin and Kaynak 1998), out of scikit-learn, shuffled once."""
    scans = sklearn.datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(scans.target))
    images = np.rint(scans.images[order, :, :, None] * (255 / 16)).astype(np.uint8)
    labels = scans.target[order].astype(np.int64)
    return Data(
        "digits",
        images[:1500],
        images[1500:],
        labels[:1500],
        labels[1500:],
        10,
        sha256(images, labels),
        "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, UCI): CC BY 4.0.",
    )


def idx(name, data_dir):
    """MNIST's format: two zeros, 8 for uint8, the rank, big-endian sizes, the values."""
    parts, about = contents(name, data_dir)

    def array(content):
        shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)

    train, train_labels, test, test_labels = map(array, parts)
    return Data(
        train=train[..., None],
        test=test[..., None],
        train_labels=train_labels.astype(np.int64),
        test_labels=test_labels.astype(np.int64),
        num_classes=10,
        **about,
    )


def stacked_mnist(data_dir):
    """Three digits of MNIST, drawn with replacement, as the channels of an image: 1,000 modes (Metz et al. 2016).

    As many rows as Lin et al. 2018 (PacGAN, arXiv:1712.04086, section 4.2) have; here no test digit is in the training
    rows. Digits a, b, c of the channels are the label 100 a + 10 b + c.
    """
    mnist, rng = idx("mnist", data_dir), np.random.RandomState(0)

    def stacked(images, labels, num):
        rows = rng.randint(len(images), size=(num, 3))
        stack = np.empty((num, *mnist.shape[:2], 3), np.uint8)
        for channel in range(3):
            stack[..., channel] = images[rows[:, channel], ..., 0]
        return stack, np.ravel_multi_index(labels[rows].T, (10, 10, 10))

    train, train_labels = stacked(mnist.train, mnist.train_labels, NUM_STACKED[0])
    test, test_labels = stacked(mnist.test, mnist.test_labels, NUM_STACKED[1])
    checksum = sha256(mnist.checksum.encode(), train_labels, test_labels)
    return Data("stacked_mnist", train, test, train_labels, test_labels, 1000, checksum, mnist.licence, channel=mnist)


def binarized_mnist(data_dir):
    """The fixed binarisation, lines of "0 1 0 ...", without the 10,000 images for validation, which nobody needs here.

    The rows are not in MNIST's order, and the test images are sorted by digit: never take the first few.
    """
    parts, about = contents("binarized_mnist", data_dir)
    train, test = ((np.frombuffer(text, np.uint8)[::2] & 1).reshape(-1, 28, 28, 1) * np.uint8(255) for text in parts)
    return Data(train=train, test=test, train_labels=None, test_labels=None, num_classes=None, **about)


def cifar10(data_dir):
    """Pickled batches, verified before they are unpickled; pixels are in the order channel, row, column."""
    (content,), about = contents("cifar10", data_dir)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        parts = [
            pickle.load(archive.extractfile(f"cifar-10-batches-py/{part}"), encoding="bytes")
            for part in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
        ]
    images = [part[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for part in parts]
    labels = [np.asarray(part[b"labels"], np.int64) for part in parts]
    return Data(
        train=np.concatenate(images[:5]),
        test=np.ascontiguousarray(images[5]),
        num_classes=10,
        train_labels=np.concatenate(labels[:5]),
        test_labels=labels[5],
        **about,
    )
