"""The files of published datasets: where they are from, and how they are found, verified and downloaded."""

import contextlib
import gzip
import hashlib
import os
import re
import zlib
from pathlib import Path

import keras

from common.cli import UserError

# name: (URL of the folder, licence, {file: sha256 of the file as published or gunzipped}).
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


def cache(*names):
    """A path in the folder of what is downloaded or made once, Keras's: `$KERAS_HOME`, else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser().joinpath(*names)


def plain(name):
    """A dataset's name as a part of the name of a file."""
    return re.sub(r"[^\w.-]+", "_", name)


def contents(name, data_dir):
    """The verified contents of a dataset's files, and what `Data` says about them.

    The checksum decides whether a file is the right one: it may be packed or not, and its name, that of its folder and
    that of the dataset may be spelled with other signs between the letters, as `MNIST/raw/train-images.idx3-ubyte`.
    """
    root = Path(data_dir or os.environ.get("ZOO_DATA_DIR") or cache("datasets")).expanduser()
    url, licence, digests = SOURCES[name]
    named = [folder for folder in _entries(root) if _plain(folder.name) == _plain(name)]
    places = [place for folder in (root / name, *named, root) for place in (folder, folder / "raw")]
    found = [_content(places, file, f"{url}/{file}", digest) for file, digest in digests.items()]
    return found, {"name": name, "licence": licence, "checksum": sha256(*map(str.encode, digests.values()))}


def _content(places, file, url, digest):
    others = {other for _, _, digests in SOURCES.values() for other in digests.values()}
    damaged = None
    for path in _candidates(places, file):
        content, actual = _unpacked(path, digest)
        if actual == digest:
            return content
        if actual not in others:  # Fashion-MNIST's files have MNIST's names
            damaged = damaged or (path, actual)
    if damaged is None:
        path = _download(places[0], file, url)
        content, actual = _unpacked(path, digest)
        if actual == digest:
            return content
        damaged = path, actual
    path, actual = damaged
    raise UserError(
        f"{path} is damaged, its sha256 being {actual[:12]}... instead of {digest[:12]}...: delete it, "
        "and it is downloaded again."
    )


def _candidates(places, file):
    """Files that may be the one meant: of its name, in one of the places or there in a folder of its name."""
    for place in places:
        for entry in _entries(place):
            if _plain(entry.name) == _plain(file):
                inner = [path for path in _entries(entry) if _plain(path.name) == _plain(file)]
                yield from (path for path in (entry, *inner) if os.path.isfile(path))


def _plain(name):
    return re.sub("[^a-z0-9]", "", name.lower().removesuffix(".gz"))


def _entries(folder):
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _unpacked(path, digest):
    """A file's contents and their sha256, gunzipped unless the file as it is has the digest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can not be read: {error.strerror or error}.") from error
    if sha256(content) != digest:  # the published bytes are as good when packed otherwise, or not at all
        with contextlib.suppress(OSError, EOFError, zlib.error):
            content = gzip.decompress(content)
    return content, sha256(content)


def _download(folder, file, url):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(keras.utils.get_file(file, url, cache_dir=str(folder.parent), cache_subdir=folder.name))
    except Exception as error:  # Keras raises nothing more precise
        raise UserError(
            f"{folder / file} is missing and can not be downloaded ({error}): put the file there, or name "
            f"a folder that holds {folder.name}/{file} by --data_dir or $ZOO_DATA_DIR."
        ) from error


def sha256(*chunks):
    """sha256, in hex, of bytes or arrays one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
