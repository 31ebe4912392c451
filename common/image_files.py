"""Pictures that people have, in folders, zips or files, as arrays: one reader for training and for asking a model."""

import functools
import hashlib
import io
import os
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.cli import UserError

LISTED = 10  # names in a sentence, at most
# Formats that Pillow registers and can not read: of data, films and documents.
UNREADABLE = {"BUFR", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF"}


@dataclass(frozen=True)
class Pictures:
    """Pictures that were read.

    Attributes:
        images: uint8 [n, height, width, channels].
        files: list of n paths; that of a picture in a zip goes on after the zip's.
        digests: list of n str, sha256 (hex) of the files.
        left_out: str, how many files were left out and why; empty where none was.
    """

    images: np.ndarray
    files: list
    digests: list
    left_out: str


def read(paths, shape):
    """Reads all pictures of folders, searched through and through, links included, of zips, and of single files.

    In folders and zips, what is hidden and what has no suffix of a picture is left out; folders are in the order of
    names. A folder that links back to one above it is not entered again.

    Args:
        paths: list of paths.
        shape: (height, width, channels), of all images, as `fit` makes them.

    Returns:
        `Pictures`, n >= 1.

    Raises:
        UserError: if a path does not exist or has no pictures, or if any picture can not be read: all are named.
    """
    found, left_out = [], defaultdict(list)
    for path in paths:
        path = Path(path).expanduser()
        files = list(_pictures_of(path, left_out))
        if not files:
            rest = _sentence(left_out)
            raise UserError(
                f"there are no pictures in {path}{rest and f' ({rest})'}: name a folder or zip of pictures, such as "
                ".png or .jpg files."
            )
        found += files

    def decode(item):
        try:
            content = item[1]()
            return fit(Image.open(io.BytesIO(content)), shape), hashlib.sha256(content).hexdigest()
        except UnidentifiedImageError:
            return "in no format that Pillow knows"
        except Exception as error:  # decoders raise all sorts
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return " ".join(reason.split()).rstrip(".")

    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(decode, found))
    bad = [f"{file} ({reason})" for (file, _), reason in zip(found, decoded, strict=True) if isinstance(reason, str)]
    if bad:
        raise UserError(f"{len(bad)} of {len(found)} pictures can not be read: {listed(bad)}; mend or remove them.")
    images, digests = zip(*decoded, strict=True)
    return Pictures(np.stack(images), [file for file, _ in found], list(digests), _sentence(left_out))


def fit(image, shape):
    """A PIL image as uint8 (height, width, channels): its first frame, upright, on white, cropped, resized.

    It is cropped around its centre, and the resizing is bicubic and antialiased. Grey of 16 bits is divided by 257;
    floats are those in [0, 1].

    Args:
        image: `PIL.Image.Image` of any mode.
        shape: (height, width, 1 for grey or 3 for colour).

    Raises:
        ValueError: for pixels that are out of range; Pillow raises other errors for a damaged file.
    """
    height, width, channels = shape
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(shape)


def _eight_bits(image):
    """An image of integers up to 65535 or floats up to 1, which Pillow itself would clip at 255, as 8-bit grey."""
    values, largest = np.asarray(image), 1 if image.mode == "F" else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= largest):  # so that NaN is refused, too
        raise ValueError(f"its pixels lie between {low:.6g} and {high:.6g}, not between 0 and {largest}")
    pixels = np.rint(values * (255 / largest)).astype(np.uint8)
    if (clear := image.info.get("transparency")) is not None:  # one grey value of a PNG
        pixels[values == clear] = 255
    return Image.fromarray(pixels)


def listed(names):
    """At most `LISTED` names as text, and how many more there are."""
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*map(str, names[:LISTED]), *more])


def _sentence(left_out):
    """What was left out as text, empty where nothing was; `left_out` is a dict, reason -> list of names."""
    reasons = [f"{len(names)} {reason} ({listed(names)})" for reason, names in left_out.items()]
    return "left out " + " and ".join(reasons) if reasons else ""


def _pictures_of(path, left_out):
    """Yields (file, function that gives its bytes) for the pictures of a path; puts the others into `left_out`."""
    if not os.path.exists(path):  # Path.exists raises errors of its own, as do its like
        raise UserError(f"{path} does not exist: name a folder, a zip or a file of pictures.")
    if os.path.isdir(path):
        files = _files_of_folder(path)
    elif path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        files = _files_of_zip(path)
    else:
        yield path, functools.partial(_content_of, path)
        return
    for file, content in files:
        name = file.relative_to(path)
        if any(map(_is_hidden, name.parts)):
            left_out["hidden"].append(name)
        elif file.suffix.lower() not in suffixes() and not os.path.isdir(file):  # a folder is one that can not be read
            left_out["without a suffix of pictures"].append(name)
        else:
            yield file, content


def _files_of_zip(path):
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} can not be read as a zip ({reason}): make or download it again.") from error
    for name in sorted(archive.namelist(), key=lambda name: name.split("/")):
        if not name.endswith("/"):
            yield path / name.lstrip("/"), functools.partial(archive.read, name)


def _files_of_folder(path, above=()):
    real = path.resolve()
    if real in above:  # a link back
        return
    try:
        entries = sorted(path / name for name in os.listdir(path))
    except OSError:
        yield path, functools.partial(os.listdir, path)  # which fails as this did, when the pictures are read
        return
    for entry in entries:
        if os.path.isdir(entry) and not _is_hidden(entry.name):
            yield from _files_of_folder(entry, (*above, real))
        else:
            yield entry, functools.partial(_content_of, entry)


def _content_of(file):
    if not os.path.isfile(file):  # a pipe would keep us waiting
        raise OSError("a link that leads nowhere" if file.is_symlink() else "no file")
    return file.read_bytes()


def _is_hidden(name):
    return name.startswith(".") or name == "__MACOSX"


@functools.cache
def suffixes():
    """The suffixes of files that Pillow reads."""
    return {suffix for suffix, name in Image.registered_extensions().items() if name not in UNREADABLE}
