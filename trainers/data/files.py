"""The files of published datasets: where they are from, and how they are found, verified and downloaded."""

import contextlib
import gzip
import hashlib
import os
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


def contents(name, data_dir):
    """The verified contents of a dataset's files, and what `Data` says about them."""
    cache = Path(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"
    folder = Path(data_dir or os.environ.get("ZOO_DATA_DIR") or cache).expanduser() / name
    url, licence, digests = SOURCES[name]
    found = [_content(folder, file, f"{url}/{file}", digest) for file, digest in digests.items()]
    return found, {"name": name, "licence": licence, "checksum": sha256(*map(str.encode, digests.values()))}


def _content(folder, file, url, digest):
    found = [path for path in map(folder.joinpath, (file, file + ".gz", file.removesuffix(".gz"))) if path.is_file()]
    path = found[0] if found else _download(folder, file, url)
    content = path.read_bytes()
    if sha256(content) != digest:  # the published bytes are as good when packed otherwise, or not at all
        with contextlib.suppress(OSError, EOFError, zlib.error):
            content = gzip.decompress(content)
    if (actual := sha256(content)) != digest:
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


def sha256(*chunks):
    """sha256, in hex, of bytes or arrays one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
