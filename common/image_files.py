"""Pictures that people have, in folders, zips or files, as arrays: one reader for training and for asking a model."""

import contextlib
import functools
import io
import os
import zipfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from common import files
from common.cli import UserError

LISTED = 10  # names in a sentence, at most
AT_ONCE = 128  # pictures that are in memory together while many are read
VERSION = 1, PIL.__version__  # the first is raised where `fit` makes other pixels of a picture
# Formats that Pillow registers and can not read: of data, films and documents.
UNREADABLE = {"BUFR", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF"}


@dataclass(frozen=True, slots=True)
class Found:
    """A picture that was found, and is not read yet.

    Attributes:
        root: path of the folder, zip or file that it was looked for in.
        name: str, where it lies in there, parted by "/"; empty where it is the root itself.
        state: tuple of ints, which are others once its contents are: size and times.
        content: function that gives its bytes.
    """

    root: Path
    name: str
    state: tuple
    content: Callable

    @property
    def file(self):
        return self.root / self.name


@dataclass(frozen=True)
class Pictures:
    """Pictures that were read.

    Attributes:
        images: uint8 [n, height, width, channels].
        files: list of n paths; that of a picture in a zip goes on after the zip's.
        left_out: str, how many files were left out and why; empty where none was.
    """

    images: np.ndarray
    files: list
    left_out: str


def read(paths, shape):
    """Reads all pictures that `find` finds, as `Pictures` of one shape: (height, width, channels), as `fit` makes them.

    Raises:
        UserError: as `find` and `each` do.
    """
    found, left_out = find(paths)
    images = list(each(found, lambda picture: decoded(picture.content(), shape)))
    return Pictures(np.stack(images), [picture.file for picture in found], left_out)


def find(paths):
    """Looks for pictures in folders, searched through and through, links included, and zips; single files are some.

    In folders and zips, what is hidden and what has no suffix of a picture is left out; folders are in the order of
    names. A folder that links back to one above it is not entered again.

    Args:
        paths: list of paths.

    Returns:
        (list of `Found`, one at least, what was left out as a sentence, empty where nothing was).

    Raises:
        UserError: if a path does not exist or has no pictures.
    """
    found, left_out = [], defaultdict(list)
    for path in paths:
        path = Path(path).expanduser()
        pictures = list(_pictures_of(path, left_out))
        if not pictures:
            rest = _sentence(left_out)
            raise UserError(
                f"there are no pictures in {path}{rest and f' ({rest})'}: name a folder or zip of pictures, such as "
                ".png or .jpg files."
            )
        found += pictures
    return found, _sentence(left_out)


def each(found, function):
    """Yields `function` of each picture in order, several being worked on at a time.

    Raises:
        UserError: in the end, if the function raised anything of any picture: all are named.
    """

    def attempt(picture):
        try:
            return function(picture), None
        except UnidentifiedImageError:
            return None, "in no format that Pillow knows"
        except Exception as error:  # decoders raise all sorts
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return None, " ".join(reason.split()).rstrip(".")

    bad = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            for picture, (result, reason) in zip(some, pool.map(attempt, some), strict=True):
                if reason is not None:
                    bad.append((picture.file, reason))
                elif not bad:  # else nothing comes of them
                    yield result
    if bad:
        names = listed([f"{file} ({reason})" for file, reason in sorted(bad)])
        raise UserError(f"{len(bad)} of {len(found)} pictures can not be read: {names}; mend or remove them.")


def decoded(content, shape):
    """The bytes of a picture's file as an image, as `fit` makes it."""
    return fit(Image.open(io.BytesIO(content)), shape)


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
    """Yields what was `Found` in a path; puts the names of other files there into `left_out`."""
    if not os.path.exists(path):  # Path.exists raises errors of its own, as do its like
        raise UserError(f"{path} does not exist: name a folder, a zip or a file of pictures.")
    if os.path.isdir(path):
        entries = _files_of_folder(path)
    elif path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        entries = _files_of_zip(path)
    else:
        yield Found(path, "", files.state(path), functools.partial(_content_of, path))
        return
    for name, state, content in entries:
        if any(map(_is_hidden, name.split("/"))):
            left_out["hidden"].append(name)
        elif state is not None and os.path.splitext(name)[1].lower() not in suffixes():
            left_out["without a suffix of pictures"].append(name)
        else:
            yield Found(path, name, state, content)


def _files_of_zip(path):
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} can not be read as a zip ({reason}): make or download it again.") from error
    state = files.state(path)
    for name in sorted(archive.namelist(), key=lambda name: name.split("/")):
        if not name.endswith("/"):
            yield name.lstrip("/"), state, functools.partial(archive.read, name)


def _files_of_folder(path, name="", above=()):
    """Yields (name, state, function that gives the bytes) of files; one is a folder that can not be read."""
    real = path.resolve()
    if real in above:  # a link back
        return
    try:
        entries = sorted(os.listdir(path))
    except OSError:
        yield name, None, functools.partial(os.listdir, path)  # which fails as this did, when the pictures are read
        return
    for entry in entries:
        inner, file = f"{name}/{entry}" if name else entry, f"{path}/{entry}"
        if os.path.isdir(file) and not _is_hidden(entry):
            yield from _files_of_folder(Path(file), inner, (*above, real))
        else:
            state = ()
            with contextlib.suppress(OSError):  # of a link that leads nowhere, as reading will tell
                state = files.state(file)
            yield inner, state, functools.partial(_content_of, file)


def _content_of(file):
    if not os.path.isfile(file):  # a pipe would keep us waiting
        raise OSError("a link that leads nowhere" if os.path.islink(file) else "no file")
    with open(file, "rb") as opened:
        return opened.read()


def _is_hidden(name):
    return name.startswith(".") or name == "__MACOSX"


@functools.cache
def suffixes():
    """The suffixes of files that Pillow reads."""
    return {suffix for suffix, name in Image.registered_extensions().items() if name not in UNREADABLE}
