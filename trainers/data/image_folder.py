"""The user's own images, out of a folder or a zip."""

import functools
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.cli import UserError
from trainers.data.dataset import Data
from trainers.data.files import sha256
from trainers.data.images import square

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def read(path, side=32, channels=3):
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
            return sha256(content), square(image, side, channels)
        except Exception as error:  # decoders raise all sorts
            raise UserError(f"{name} in {path} is no readable image ({error}): mend it or take it out.") from error

    with ThreadPoolExecutor() as pool:
        digests, images = zip(*sorted(pool.map(decode, names), key=lambda pair: pair[0]), strict=True)
    num_test = len(images) // 10
    while num_test and digests[num_test - 1] == digests[num_test]:
        num_test -= 1
    train, test = np.split(np.stack(images), [num_test])[::-1]
    return Data("image_folder", train, test, None, None, None, sha256(*map(str.encode, digests)), "The user's images.")
