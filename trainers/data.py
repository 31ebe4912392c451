"""Datasets: `load` finds, verifies and parses one; `batches` feeds it to training, `held_out_batches` to evaluation.

Images rest in memory as uint8 and are scaled when a batch is made. A training batch is a function of (seed, step): a
resumed run sees what it would have seen, and any number of replicas together see what one would.

To add a dataset, write a loader at the end of this file and a line in `DATASETS`.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import os
import pickle
import tarfile
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import sklearn.datasets
import tensorflow as tf
from PIL import Image, ImageOps
from scipy import special

from common.cli import UserError
from zoo.parts import noise

DATA_REPLICA = 2**12 - 1  # the last that `noise.keys` has room for: no run has it, so no model draws by these keys
TEST_STREAM = 2**62  # test images are binarised from a stream that no model samples from


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset in memory.

    Attributes:
      train, test: uint8 [N, height, width, channels], 0 to 255 (binary images: 0 and 255), or float32 [N, D] points.
      train_labels, test_labels: int64 [N], 0 ... num_classes - 1; None, as is num_classes, in a set without labels.
      checksum: sha256 (hex) over the sha256 of the source files in a fixed order, or over arrays that have no files.
      licence: one line for a model card.
      modes, mode_std: float32 [M, D] centres of a Gaussian mixture, label i being mode i, and its standard deviation.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    num_classes: int | None
    checksum: str
    licence: str
    modes: np.ndarray | None = None
    mode_std: float | None = None

    @property
    def shape(self):
        """Shape of one example: (height, width, channels) or (D,)."""
        return self.train.shape[1:]


def load(name, data_dir=None, image_side=None, image_channels=None):
    """Loads a dataset as `Data`.

    Args:
      name: a key of `DATASETS`.
      data_dir: where the files are, and where a missing one is downloaded to; default `$ZOO_DATA_DIR`, else the Keras
        cache. For `image_folder`: the folder or zip of images itself, searched recursively.
      image_side: crop images to their central square and resize it (bicubic, antialiased) to this side; default: as
        they are, and 32 for `image_folder`.
      image_channels: 1 (grey) or 3 (colour); default: as they are, and 3 for `image_folder`.

    Raises:
      UserError: no such dataset, an impossible size, or a missing, damaged or unreadable file.
    """
    if name not in DATASETS:
        raise UserError(f"there is no dataset {name!r}: choose one of {', '.join(DATASETS)}.")
    if image_side is not None and image_side < 1:
        raise UserError(f"image_side is {image_side}, but an image has 1 pixel a side or more: give a positive number.")
    if image_channels not in (None, 1, 3):
        raise UserError(f"image_channels is {image_channels}: give 1 for grey or 3 for colour.")
    if name == "image_folder":  # its images have no common size until they are resized, hence as they are read
        return _image_folder(data_dir, image_side or 32, image_channels or 3)
    data = DATASETS[name](data_dir)
    if image_side is None and image_channels is None:
        return data
    if len(data.shape) != 3 or name == "binarized_mnist":  # whose pixels would not stay binary
        raise UserError(f"{name} comes in one shape, {data.shape}: leave image_side and image_channels unset.")
    resize = functools.partial(_square, side=image_side or data.shape[0], channels=image_channels or data.shape[2])
    train, test = ([resize(Image.fromarray(x.squeeze())) for x in split] for split in (data.train, data.test))
    return replace(data, train=np.stack(train), test=np.stack(test))


def batches(
    data,
    *,
    batch_size,
    seed,
    start_step=0,
    data_range=None,
    with_labels=False,
    binarize=False,
    split="train",
    num_replicas=1,
    replica_ids=None,
):
    """Training batches without end, those of step s being a function of (seed, s).

    Each epoch is a permutation of its own; a batch may straddle two, so that all are full and nothing is dropped.

    Args:
      batch_size: rows of a step, over all replicas.
      start_step: the first step; a run that resumes at step s passes s.
      data_range: (low, high): images become float32, pixel 0 being low and 255 high, and points must lie within it, as
        they do for a model of probabilities. None: all stay as they are.
      with_labels: yield (x, label).
      binarize: dynamic binarisation: a grey pixel is 255 with probability pixel / 255, else 0, anew at every step.
      split: "train" or "test".
      num_replicas, replica_ids: the batch is divided among the replicas in order; yield the shares of those listed
        (default: all), step by step. Together the shares are the batch of a single replica, bit for bit.

    Returns:
      Infinite `tf.data.Dataset` of x [batch_size / num_replicas, *data.shape], or of (x, label int64).

    Raises:
      UserError: the data can not give what is asked for, or batch_size is larger than the set or not divisible.
    """
    images, labels = _tensors(data, split, data_range, with_labels, binarize)
    num_rows, example_shape = images.shape[0], images.shape[1:]
    if not 1 <= batch_size <= num_rows:
        raise UserError(f"batch_size is {batch_size}, but {data.name} has {num_rows} {split} rows: give that or less.")
    if batch_size % num_replicas:
        raise UserError(f"batch_size is {batch_size}, which {num_replicas} replicas can not share: give a multiple.")
    shares = [num_replicas, batch_size // num_replicas]
    replica_ids = list(range(num_replicas) if replica_ids is None else replica_ids)

    def key(step, use):
        return noise.keys(seed, step, DATA_REPLICA, 2)[use]

    def permutation(epoch):
        # `RandomIndexShuffle` uses as little as 8 bits of each of three words: words that count would soon repeat.
        return tf.cast(noise.uniform(key(epoch, 0), [3]) * 2**23, tf.int64)

    def step_batches(step):
        place = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        epoch = place // num_rows
        words = tf.gather([permutation(epoch[0]), permutation(epoch[0] + 1)], epoch - epoch[0])
        last = np.int64(num_rows - 1)
        row = tf.raw_ops.RandomIndexShuffle(index=place % num_rows, seed=words, max_index=last, rounds=8)
        row = tf.gather(tf.reshape(row, shares), replica_ids)
        # Noise for the whole batch, of which we keep our shares.
        uniform = tf.gather(noise.uniform(key(step, 1), [*shares, *example_shape]), replica_ids) if binarize else None
        x = _pixels(tf.gather(images, row), data_range, uniform)
        return (x, tf.gather(labels, row)) if with_labels else x

    return tf.data.Dataset.counter(start_step).map(step_batches).unbatch().prefetch(2)


def held_out_batches(data, batch_size, data_range, with_labels=False, binarize=False, split="test"):
    """One pass over a split in its own order, each row once, the last batch smaller; otherwise as `batches`.

    `binarize` draws each row once and for all, whatever the batch size.
    """
    images, labels = _tensors(data, split, data_range, with_labels, binarize)
    num_rows = images.shape[0]

    def batch(start):
        stop = tf.minimum(start + batch_size, num_rows)
        uniform = noise.uniform_rows(tf.range(start, stop), images.shape[1:], TEST_STREAM) if binarize else None
        x = _pixels(images[start:stop], data_range, uniform)
        return (x, labels[start:stop]) if with_labels else x

    return tf.data.Dataset.range(0, num_rows, batch_size).map(batch).prefetch(2)


def _tensors(data, split, data_range, with_labels, binarize):
    """(x, labels) of a split as tensors, after the checks that all batches share."""
    x, labels = {"train": (data.train, data.train_labels), "test": (data.test, data.test_labels)}[split]
    if not len(x):
        raise UserError(f"{data.name} has no {split} rows: give at least 10 images, of which one in ten is held out.")
    if with_labels and labels is None:
        raise UserError(f"{data.name} has no labels: choose a dataset that has, or a model that needs none.")
    if binarize and (len(data.shape) != 3 or data.shape[2] != 1):
        raise UserError(f"binarize is for grey images, and {data.name} has shape {data.shape}: leave it off.")
    if data_range is not None and len(data.shape) != 3 and (x.min() < data_range[0] or x.max() > data_range[1]):
        raise UserError(
            f"{data.name} holds points between {x.min():.3g} and {x.max():.3g}, and the model takes those in "
            f"{list(data_range)}: choose other data, or settings that take any, such as a gaussian likelihood."
        )
    with tf.device("CPU"):  # beside the pipeline, also where there is a GPU
        return tf.constant(x), None if labels is None else tf.constant(labels)


def _pixels(x, data_range, uniform=None):
    """Images scaled to `data_range`, where that is given, and binarised by uniform numbers, where those are."""
    low, high = np.array([0, 255], np.uint8) if data_range is None else np.float32(data_range)
    if uniform is not None:
        return tf.where(uniform < tf.cast(x, tf.float32) / 255, high, low)
    is_scaled = data_range is None or x.dtype != tf.uint8
    return x if is_scaled else tf.cast(x, tf.float32) / 255 * (high - low) + low


# Files. name: (URL of the folder, licence, {file: sha256 of the file as published or gunzipped}).
SOURCES = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "MNIST (LeCun, Cortes and Burges): no formal grant; commonly quoted as CC BY-SA 3.0.",
        {
            "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion_mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "Fashion-MNIST (Zalando SE): MIT.",
        {
            "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
    "binarized_mnist": (
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
        "Binarised MNIST (Salakhutdinov and Murray 2008; Larochelle and Murray 2011): none stated.",
        {
            "binarized_mnist_train.amat": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
            "binarized_mnist_test.amat": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
        },
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz",
        "CIFAR-10 (Krizhevsky 2009): no formal grant; cite the technical report.",
        {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
    ),
}


def _contents(name, data_dir):
    """The verified contents of a dataset's files, and what `Data` says about them."""
    cache = Path(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"
    folder = Path(data_dir or os.environ.get("ZOO_DATA_DIR") or cache).expanduser() / name
    url, licence, digests = SOURCES[name]
    contents = [_content(folder, file, f"{url}/{file}", digest) for file, digest in digests.items()]
    return contents, {"name": name, "licence": licence, "checksum": _sha256(*map(str.encode, digests.values()))}


def _content(folder, file, url, digest):
    found = [path for path in map(folder.joinpath, (file, file + ".gz", file.removesuffix(".gz"))) if path.is_file()]
    path = found[0] if found else _download(folder, file, url)
    content = path.read_bytes()
    if _sha256(content) != digest:  # the published bytes are as good when packed otherwise, or not at all
        with contextlib.suppress(OSError, EOFError, zlib.error):
            content = gzip.decompress(content)
    if (actual := _sha256(content)) != digest:
        raise UserError(
            f"{path} is damaged, its sha256 being {actual[:12]}... instead of {digest[:12]}...: delete it, "
            "and it is downloaded again."
        )
    return content


def _download(folder, file, url):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(keras.utils.get_file(file, url, cache_dir=str(folder.parent), cache_subdir=folder.name))
    except Exception as error:  # Keras raises nothing more precise
        raise UserError(
            f"{folder / file} is missing and can not be downloaded ({error}): put the file there, or name "
            f"a folder that holds {folder.name}/{file} by --data_dir or $ZOO_DATA_DIR."
        ) from error


def _sha256(*chunks):
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


# Loaders: data_dir -> Data. Fixed draws come from `RandomState`, whose numbers no version of NumPy changes.


def _digits(data_dir):
    """1,500 + 297 scans in 17 grey levels (Alpaydin and Kaynak 1998), out of scikit-learn, shuffled once."""
    digits = sklearn.datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    images = np.rint(digits.images[order, :, :, None] * (255 / 16)).astype(np.uint8)
    labels = digits.target[order].astype(np.int64)
    return Data(
        "digits",
        images[:1500],
        images[1500:],
        labels[:1500],
        labels[1500:],
        10,
        _sha256(images, labels),
        "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, UCI): CC BY 4.0.",
    )


def _idx(name, data_dir):
    """MNIST's format: two zeros, 8 for uint8, the rank, big-endian sizes, the values."""
    contents, about = _contents(name, data_dir)

    def array(content):
        shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)

    train, train_labels, test, test_labels = map(array, contents)
    return Data(
        train=train[..., None],
        test=test[..., None],
        train_labels=train_labels.astype(np.int64),
        test_labels=test_labels.astype(np.int64),
        num_classes=10,
        **about,
    )


def _binarized_mnist(data_dir):
    """The fixed binarisation, lines of "0 1 0 ...", without the 10,000 images for validation, which nobody needs here.

    The rows are not in MNIST's order, and the test images are sorted by digit: never take the first few.
    """
    contents, about = _contents("binarized_mnist", data_dir)
    train, test = ((np.frombuffer(text, np.uint8)[::2] & 1).reshape(-1, 28, 28, 1) * np.uint8(255) for text in contents)
    return Data(train=train, test=test, train_labels=None, test_labels=None, num_classes=None, **about)


def _cifar10(data_dir):
    """Pickled batches, verified before they are unpickled; pixels are in the order channel, row, column."""
    (content,), about = _contents("cifar10", data_dir)
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


IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def _image_folder(path, side=32, channels=3):
    """A user's images, ordered by digest: as good as shuffled, and no held-out image has a copy in training."""
    if path is None:
        raise UserError("image_folder needs images: name the folder or zip that holds them by --data_dir.")
    path = Path(path).expanduser()
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        files = {name: functools.partial(archive.read, name) for name in archive.namelist()}
    else:
        files = {str(file.relative_to(path)): file.read_bytes for file in path.rglob("*") if file.is_file()}
    names = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and not Path(name).name.startswith(".")]
    if not names:
        raise UserError(f"there are no images in {path}: name a folder or zip of {', '.join(IMAGE_SUFFIXES)} files.")

    def decode(name):
        try:
            content = files[name]()
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
            return _sha256(content), _square(image, side, channels)
        except Exception as error:  # decoders raise all sorts
            raise UserError(f"{name} in {path} is no readable image ({error}): mend it or take it out.") from error

    with ThreadPoolExecutor() as pool:
        digests, images = zip(*sorted(pool.map(decode, names), key=lambda pair: pair[0]), strict=True)
    num_test = len(images) // 10
    while num_test and digests[num_test - 1] == digests[num_test]:
        num_test -= 1
    train, test = np.split(np.stack(images), [num_test])[::-1]
    return Data("image_folder", train, test, None, None, None, _sha256(*map(str.encode, digests)), "The user's images.")


def _square(image, side, channels):
    """The central square of a PIL image as uint8 [side, side, channels], transparency on white."""
    if image.mode[0] in "IF":
        raise ValueError(f"its pixels are of type {image.mode}, 8 bits a channel are expected")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (side, side), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(side, side, channels)


def _ring(data_dir):
    """8 Gaussians on the unit circle (Lin et al., "PacGAN", NeurIPS 2018, arXiv:1712.04086)."""
    angle = np.arange(8) * (2 * np.pi / 8)
    return _mixture("ring", np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.01)


def _grid(data_dir):
    """25 Gaussians on a square lattice of step 2 (same source)."""
    return _mixture("grid", np.mgrid[-4:5:2, -4:5:2].reshape(2, 25).T, 0.05)


def _four_points(data_dir):
    """The corners (1, 0, 0, 0) .. (0, 0, 0, 1), label i being corner i (Mescheder et al. 2017, arXiv:1701.04722).

    The set is the distribution: its log-likelihood is at most -log 4 under any model.
    """
    train, test = (np.arange(num) % 4 for num in (4000, 1000))
    points = np.eye(4, dtype=np.float32)
    licence = "Generated; needs no licence."
    return Data("four_points", points[train], points[test], train, test, 4, _sha256(points), licence)


def _line(data_dir):
    """3 Gaussians on a line, half a deviation from touching."""
    return _mixture("line", np.array([[-2.0], [0.0], [2.0]]), 0.5)


PUSHED = {  # name: (f, mu, sigma) of points f(mu + sigma h), h ~ N(0, 1)
    "log_normal": (np.exp, 0.0, 0.5),
    "chi_squared": (np.square, 0.0, 1.0),  # of one degree of freedom
    "logit_normal": (special.expit, 0.0, 2.0),
}
ONE_DIMENSIONAL = {  # name: draws of one number each
    "gaussian": lambda rng, num: rng.normal(1.0, 0.5, num),
    "beta": lambda rng, num: rng.beta(2.0, 5.0, num),
    **{
        name: lambda rng, num, f=f, mu=mu, sigma=sigma: f(mu + sigma * rng.randn(num))
        for name, (f, mu, sigma) in PUSHED.items()
    },
}


def _one_dimensional(name, data_dir):
    points = ONE_DIMENSIONAL[name](np.random.RandomState(0), 110_000).astype(np.float32)[:, None]
    licence = "Generated; needs no licence."
    return Data(name, points[:100_000], points[100_000:], None, None, None, _sha256(points), licence)


def _mixture(name, modes, std):
    rng = np.random.RandomState(0)
    labels = rng.randint(len(modes), size=110_000).astype(np.int64)
    points = (modes[labels] + std * rng.randn(110_000, modes.shape[1])).astype(np.float32)
    return Data(
        name,
        points[:100_000],
        points[100_000:],
        labels[:100_000],
        labels[100_000:],
        len(modes),
        _sha256(points, labels),
        "Generated; needs no licence.",
        modes.astype(np.float32),
        std,
    )


DATASETS = {
    "digits": _digits,
    "mnist": functools.partial(_idx, "mnist"),
    "fashion_mnist": functools.partial(_idx, "fashion_mnist"),
    "binarized_mnist": _binarized_mnist,
    "cifar10": _cifar10,
    "image_folder": _image_folder,
    "ring": _ring,
    "grid": _grid,
    "line": _line,
    **{name: functools.partial(_one_dimensional, name) for name in ONE_DIMENSIONAL},
    "four_points": _four_points,
}
