"""Datasets: `load` finds, verifies and parses one, `batches` feeds it to training, `test_batches` to evaluation.

Images rest in memory as uint8 and are scaled where a batch is made. Every training batch is a function of (seed, step): a
resumed run sees the batches it would have seen, and any number of replicas together see what one would.

To add a dataset, write one loader below and add one line to `DATASETS`.
"""
import contextlib
import dataclasses
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
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import PIL.ImageOps
import sklearn.datasets
import tensorflow as tf

from trainers.cli import UserError
from zoo.parts import noise

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
DATA_REPLICA = 2**12 - 1  # the last one that `noise.keys` has room for: no run has it, so this is never a model's noise
TEST_STREAM = 2**62  # and test images are binarised from a stream that no model samples from


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A dataset in memory.

    Attributes:
      name: its name in `DATASETS`.
      train, test: uint8 [N, height, width, channels] images, 0 to 255 (binary sets hold 0 and 255 only), or float32 [N, D] points.
      train_labels, test_labels: int64 [N], or None.
      num_classes: the labels are 0 ... num_classes - 1; None without labels.
      checksum: sha256 in hex of the sha256 of each source file, in a fixed order; of the arrays where there are no files.
      licence: one line for a model card.
      modes, mode_std: float32 [M, D] centres and the standard deviation of a mixture's Gaussians, mode i being label i; or None.
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
    """Loads a dataset.

    Args:
      name: a key of `DATASETS`.
      data_dir: where the files are, and where a missing one is downloaded to; default `$ZOO_DATA_DIR`, else the Keras cache.
        For `image_folder` it is the folder or zip of images itself, searched recursively; file names play no part.
      image_side: images are cropped to their central square and resized (bicubic, antialiased) to this side. Default: as they
        are, and 32 for `image_folder`.
      image_channels: 1 (grey) or 3 (colour). Default: as they are, and 3 for `image_folder`.

    Returns:
      `Data`.

    Raises:
      UserError: no such dataset, an impossible size, or a file that is missing, damaged or unreadable.
    """
    if name not in DATASETS:
        raise UserError(f"There is no dataset {name!r}: choose one of {', '.join(DATASETS)}.")
    if image_side is not None and image_side < 1:
        raise UserError(f"image_side is {image_side}, but an image has at least 1 pixel a side: give a positive number.")
    if image_channels not in (None, 1, 3):
        raise UserError(f"image_channels is {image_channels}: give 1 for grey or 3 for colour.")
    if name == "image_folder":  # such images have no common size before they are resized, hence as they are read
        return _image_folder(data_dir, image_side or 32, image_channels or 3)
    data = DATASETS[name](data_dir)
    if len(data.shape) == 3:
        side, channels = image_side or data.shape[0], image_channels or data.shape[2]
        if data.shape == (side, side, channels):
            return data
        if name != "binarized_mnist":  # whose pixels would not stay binary
            train, test = (np.stack([_square(PIL.Image.fromarray(image.squeeze()), side, channels) for image in images])
                           for images in (data.train, data.test))
            return dataclasses.replace(data, train=train, test=test)
    elif image_side is None and image_channels is None:
        return data
    raise UserError(f"{name} comes in one shape, {data.shape}: leave image_side and image_channels unset.")


def batches(data, *, batch_size, seed, start_step=0, data_range=None, with_labels=False, binarize=False, split="train",
            num_replicas=1, replica_ids=None):
    """Training batches without end; those of step s are a function of (seed, s).

    Each epoch is a permutation of its own. A batch may straddle two epochs, so that all are full and no example is dropped.

    Args:
      data: `Data`.
      batch_size: rows in a step, over all replicas.
      seed: int.
      start_step: the first step; a run resumed at step s passes s.
      data_range: (low, high) to scale images to, pixel 0 becoming low and 255 high; None leaves them uint8, and points must stay
        as they are.
      with_labels: yield (x, label).
      binarize: dynamic binarisation of grey images: a pixel is 255 with probability pixel / 255, else 0, anew in every step.
      split: "train" or "test".
      num_replicas, replica_ids: the batch is divided among this many replicas, in order; yield the shares of those in the list
        (default: all), step by step. Together they are the batch that one replica would get, binarisation noise included.

    Returns:
      Infinite `tf.data.Dataset` of x, float32 (or uint8) [batch_size / num_replicas, *data.shape], or (x, label int64 [...]).

    Raises:
      UserError: `data` can not give what was asked for, or `batch_size` is larger than the set or not divisible.
    """
    images, labels = _tensors(data, split, data_range, with_labels, binarize)
    num_rows, example_shape = images.shape[0], images.shape[1:]
    if not 1 <= batch_size <= num_rows:
        raise UserError(f"batch_size is {batch_size}, but {data.name} has {num_rows} {split} rows: give 1 to {num_rows}.")
    if batch_size % num_replicas:
        raise UserError(f"batch_size is {batch_size}, which {num_replicas} replicas can not share: give a multiple.")
    shares = [num_replicas, batch_size // num_replicas]
    replica_ids = list(range(num_replicas)) if replica_ids is None else list(replica_ids)

    def permutation(epoch):
        # Of each of the three words `RandomIndexShuffle` uses 8 bits where num_rows <= 2**16: words that count would soon repeat.
        key, _ = noise.keys(seed, epoch, DATA_REPLICA, 2)
        return tf.cast(noise.uniform(key, [3]) * 2**23, tf.int64)

    def step_batches(step):
        position = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        epoch = position // num_rows
        words = tf.gather([permutation(epoch[0]), permutation(epoch[0] + 1)], epoch - epoch[0])
        row = tf.raw_ops.RandomIndexShuffle(index=position % num_rows, seed=words, max_index=np.int64(num_rows - 1), rounds=8)
        row = tf.gather(tf.reshape(row, shares), replica_ids)
        x = tf.gather(images, row)
        if binarize:  # noise for the whole batch, of which we keep our shares
            _, key = noise.keys(seed, step, DATA_REPLICA, 2)
            x = _binarized(x, tf.gather(noise.uniform(key, [*shares, *example_shape]), replica_ids))
        x = _scaled(x, data_range)
        return (x, tf.gather(labels, row)) if with_labels else x

    return tf.data.Dataset.counter(start_step).map(step_batches).unbatch().prefetch(2)


def test_batches(data, batch_size, data_range, with_labels=False, binarize=False, split="test"):
    """One pass over a split in its own order, every row once; the last batch may be smaller. Arguments as for `batches`.

    `binarize` draws each row once and for all: always the same, whatever the batch size.

    Returns:
      Finite `tf.data.Dataset` of x, float32 (or uint8) [rows, *data.shape], or (x, label int64 [rows]).

    Raises:
      UserError: `data` can not give what was asked for.
    """
    images, labels = _tensors(data, split, data_range, with_labels, binarize)
    num_rows = images.shape[0]

    def batch(start):
        stop = tf.minimum(start + batch_size, num_rows)
        x = images[start:stop]
        if binarize:
            x = _binarized(x, noise.uniform_rows(tf.range(start, stop), images.shape[1:], TEST_STREAM))
        x = _scaled(x, data_range)
        return (x, labels[start:stop]) if with_labels else x

    return tf.data.Dataset.range(0, num_rows, batch_size).map(batch).prefetch(2)


def _tensors(data, split, data_range, with_labels, binarize):
    """A split as tensors (x, labels or None), after the checks that training and test batches share."""
    x, labels = {"train": (data.train, data.train_labels), "test": (data.test, data.test_labels)}[split]
    is_image = len(data.shape) == 3
    if not len(x):
        raise UserError(f"{data.name} has no {split} rows: give at least 10 images, of which one in ten is held out.")
    if with_labels and labels is None:
        raise UserError(f"{data.name} has no labels: choose a labelled dataset or a model that needs none.")
    if binarize and not (is_image and data.shape[2] == 1):
        raise UserError(f"binarize is for grey images, and {data.name} has shape {data.shape}: leave it off.")
    if data_range is not None and not is_image:
        raise UserError(f"data_range is for images, and {data.name} holds points, which stay as they are: leave it None.")
    with tf.device("CPU"):  # the set lives beside its pipeline, also where there is a GPU
        return tf.constant(x), None if labels is None else tf.constant(labels)


def _binarized(x, uniform):
    return tf.where(uniform < tf.cast(x, tf.float32) / 255, np.uint8(255), np.uint8(0))


def _scaled(x, data_range):
    if data_range is None:
        return x
    low, high = data_range
    return tf.cast(x, tf.float32) / 255 * (high - low) + low


# Finding files.


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a dataset is published: URL of the folder, file name -> sha256 as published or after gunzip, licence."""

    url: str
    files: dict
    licence: str


SOURCES = {
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        {"train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
         "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
         "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
         "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
        "MNIST (LeCun, Cortes and Burges): no formal grant; commonly quoted as CC BY-SA 3.0."),
    "fashion_mnist": Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        {"train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
         "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
         "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
         "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"},
        "Fashion-MNIST (Zalando SE): MIT."),
    "binarized_mnist": Source(
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
        {"binarized_mnist_train.amat": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
         "binarized_mnist_test.amat": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"},
        "Binarized MNIST (Salakhutdinov and Murray; Larochelle and Murray): none stated."),
    "cifar10": Source(
        "https://www.cs.toronto.edu/~kriz",
        {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
        "CIFAR-10 (Krizhevsky, 2009): no formal grant; cite the technical report."),
}


def _contents(name, data_dir):
    """The verified contents of a dataset's files, gunzipped or as published, and `Data`'s keywords about them."""
    cache = Path(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"
    folder = Path(data_dir or os.environ.get("ZOO_DATA_DIR") or cache).expanduser() / name
    source = SOURCES[name]
    contents = [_content(folder, file, f"{source.url}/{file}", digest) for file, digest in source.files.items()]
    return contents, {"name": name, "checksum": _sha256(*map(str.encode, source.files.values())), "licence": source.licence}


def _content(folder, file, url, digest):
    found = [path for path in (folder / file, folder / (file + ".gz"), folder / file.removesuffix(".gz")) if path.is_file()]
    path = found[0] if found else _download(folder, file, url)
    content = path.read_bytes()
    if _sha256(content) != digest:  # as published; the same bytes packed by another gzip, or not at all, are as good
        with contextlib.suppress(OSError, EOFError, zlib.error):
            content = gzip.decompress(content)
    if (actual := _sha256(content)) != digest:
        raise UserError(f"{path} is damaged, its sha256 being {actual[:12]}... instead of {digest[:12]}...: delete it, and it "
                        "is downloaded again.")
    return content


def _download(folder, file, url):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(keras.utils.get_file(file, url, cache_dir=str(folder.parent), cache_subdir=folder.name))
    except Exception as error:  # Keras raises bare exceptions
        raise UserError(f"{folder / file} is missing and can not be downloaded ({error}): put the file there, or name the "
                        f"folder that holds {folder.name}/{file} by --data_dir or $ZOO_DATA_DIR.") from error


def _sha256(*chunks):
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


# Loaders: data_dir -> Data.


def _digits(data_dir):
    """1,500 + 297 scans of 8x8 pixels and 17 grey levels (Alpaydin and Kaynak, 1998), from scikit-learn, shuffled once."""
    digits = sklearn.datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))  # RandomState, whose numbers NumPy never changes
    images = np.rint(digits.images[order, :, :, None] * (255 / 16)).astype(np.uint8)
    labels = digits.target[order].astype(np.int64)
    return Data("digits", images[:1500], images[1500:], labels[:1500], labels[1500:], 10, _sha256(images, labels),
                "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI): CC BY 4.0.")


def _idx(name, data_dir):
    """MNIST's format: two zeros, type 8 (uint8), rank, big-endian sizes, values."""
    contents, about = _contents(name, data_dir)
    arrays = []
    for content in contents:
        rank = content[3]
        arrays.append(np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(np.frombuffer(content, ">u4", rank, 4)))
    train, train_labels, test, test_labels = arrays
    return Data(train=train[..., None], test=test[..., None], train_labels=train_labels.astype(np.int64),
                test_labels=test_labels.astype(np.int64), num_classes=10, **about)


def _binarized_mnist(data_dir):
    """The fixed binarisation: 50,000 + 10,000 images (the 10,000 for validation are not used), each a line of "0 1 0 ...".

    Neither in MNIST's order nor labelled, and the test images are sorted by digit: never take the first few.
    """
    contents, about = _contents("binarized_mnist", data_dir)
    train, test = ((np.frombuffer(content, np.uint8)[::2] & 1).reshape(-1, 28, 28, 1) * np.uint8(255) for content in contents)
    return Data(train=train, test=test, train_labels=None, test_labels=None, num_classes=None, **about)


def _cifar10(data_dir):
    """Five training batches and a test batch, pickled dictionaries in one archive; pixels are in the order channel, row, column."""
    (content,), about = _contents("cifar10", data_dir)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        parts = [pickle.load(archive.extractfile(f"cifar-10-batches-py/{part}"), encoding="bytes")
                 for part in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
    images = [part[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for part in parts]
    labels = [np.asarray(part[b"labels"], np.int64) for part in parts]
    return Data(train=np.concatenate(images[:5]), test=np.ascontiguousarray(images[5]), train_labels=np.concatenate(labels[:5]),
                test_labels=labels[5], num_classes=10, **about)


def _image_folder(path, side=32, channels=3):
    """A user's images, in the order of their digests: as good as shuffled, and the tenth held out has no copy in training."""
    if path is None:
        raise UserError("image_folder needs images: name the folder or zip that holds them by --data_dir.")
    path = Path(path).expanduser()
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        files = {name: functools.partial(archive.read, name) for name in archive.namelist()}
    else:
        files = {str(file.relative_to(path)): file.read_bytes for file in path.rglob("*") if file.is_file()}
    # A leading dot is how macOS names the shadow files that it adds to folders and zips.
    files = {name: read for name, read in files.items()
             if Path(name).suffix.lower() in IMAGE_SUFFIXES and not Path(name).name.startswith(".")}
    if not files:
        raise UserError(f"No images in {path}: name a folder or zip with {', '.join(sorted(IMAGE_SUFFIXES))} files in it.")

    def decode(name):
        try:
            content = files[name]()
            return _sha256(content), _square(PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(content))), side, channels)
        except Exception as error:  # image decoders raise all sorts
            raise UserError(f"{name} in {path} can not be read as an image ({error}): mend it or take it out.") from error

    with ThreadPoolExecutor() as pool:
        digests, images = zip(*sorted(pool.map(decode, files), key=lambda pair: pair[0]))
    num_test = len(images) // 10
    while 0 < num_test < len(images) and digests[num_test - 1] == digests[num_test]:
        num_test -= 1
    return Data("image_folder", np.stack(images[num_test:]), np.stack(images)[:num_test], None, None, None,
                _sha256(*map(str.encode, digests)), "The user's own images.")


def _square(image, side, channels):
    """The central square of a PIL image as uint8 [side, side, channels], transparency on white."""
    if image.mode[0] in "IF":
        raise ValueError(f"pixels of type {image.mode}, expected 8 bits a channel")
    if image.has_transparency_data:
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = PIL.ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (side, side), PIL.Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(side, side, channels)


def _ring(data_dir):
    """8 Gaussians on the unit circle (Lin et al., "PacGAN", NeurIPS 2018, arXiv:1712.04086, section 4.1)."""
    angle = np.arange(8) * (2 * np.pi / 8)
    return _mixture("ring", np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.01)


def _grid(data_dir):
    """25 Gaussians on a square lattice of step 2 (same source)."""
    return _mixture("grid", np.mgrid[-4:5:2, -4:5:2].reshape(2, 25).T, 0.05)


def _mixture(name, modes, std):
    rng = np.random.RandomState(0)
    labels = rng.randint(len(modes), size=110_000).astype(np.int64)
    points = (modes[labels] + std * rng.randn(110_000, 2)).astype(np.float32)
    return Data(name, points[:100_000], points[100_000:], labels[:100_000], labels[100_000:], len(modes),
                _sha256(points, labels), "Generated; no licence needed.", modes.astype(np.float32), std)


DATASETS = {
    "digits": _digits,
    "mnist": functools.partial(_idx, "mnist"),
    "fashion_mnist": functools.partial(_idx, "fashion_mnist"),
    "binarized_mnist": _binarized_mnist,
    "cifar10": _cifar10,
    "image_folder": _image_folder,
    "ring": _ring,
    "grid": _grid,
}
