"""Pictures of every kind are the same to training and to a model that is asked; what is left out or wrong is told."""

import os
import zipfile

import numpy as np
import PIL.Image
import pytest

from common import image_files
from export import commands
from export.runtimes import Signature
from tests.mistakes import mistake
from trainers import data

RNG = np.random.default_rng(0)
GREY, INDEX = RNG.permuted(np.arange(0, 256, 16, np.uint8)).reshape(4, 4), np.arange(16, dtype=np.uint8).reshape(4, 4)
COLOUR, ALPHA = RNG.integers(0, 256, (4, 4, 3), np.uint8), np.uint8(255) * (INDEX % 3 > 0)
ON_WHITE = np.where(ALPHA[..., None], COLOUR, 255)


def pil(*planes, mode=None):
    image = PIL.Image.fromarray(np.squeeze(np.dstack(planes)))
    return image if mode is None else PIL.Image.frombytes(mode, image.size, image.tobytes())


def palette():
    image = pil(INDEX, mode="P")
    image.putpalette(COLOUR.tobytes())
    return image


def turned(orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


KINDS = {  # name of the file -> PIL image, options of `save`, pixels
    "grey.png": (pil(GREY), {}, GREY),
    "colour.bmp": (pil(COLOUR), {}, COLOUR),
    "colour.PPM": (pil(COLOUR), {}, COLOUR),
    "flat.JFIF": (pil(GREY * 0 + 99), {"format": "JPEG"}, GREY * 0 + 99),
    "one_bit.png": (pil(GREY > 99), {}, np.uint8(255) * (GREY > 99)),
    "16_bits.png": (pil(np.uint16(257) * GREY), {}, GREY),
    "16_bits.tif": (pil(np.uint16(257) * GREY), {}, GREY),
    "16_bits.pgm": (pil(np.int32(257) * GREY), {}, GREY),
    "32_bits.tif": (pil(np.int32(257) * GREY), {}, GREY),
    "float.tif": (pil(GREY / np.float32(255)), {}, GREY),
    "palette.png": (palette(), {}, COLOUR),
    "palette.gif": (palette(), {}, COLOUR),
    "cmyk.tif": (pil(255 - COLOUR, GREY * 0, mode="CMYK"), {}, COLOUR),
    "alpha.png": (pil(COLOUR, ALPHA), {}, ON_WHITE),
    "alpha.webp": (pil(COLOUR, ALPHA), {"lossless": True}, ON_WHITE),
    "grey_alpha.png": (pil(GREY, ALPHA, mode="LA"), {}, np.where(ALPHA, GREY, 255)),
    "palette_alpha.png": (palette(), {"transparency": ALPHA.tobytes()}, ON_WHITE),
    "clear_grey.png": (pil(GREY), {"transparency": 16}, np.where(GREY == 16, 255, GREY)),
    "clear_16_bits.png": (pil(np.uint16(257) * GREY), {"transparency": 257 * 16}, np.where(GREY == 16, 255, GREY)),
    "upside_down.png": (pil(COLOUR), turned(3), COLOUR[::-1, ::-1]),
    "on_its_side.png": (pil(COLOUR), turned(6), np.rot90(COLOUR, -1)),
    "frames.gif": (pil(GREY), {"save_all": True, "append_images": [pil(255 - GREY)]}, GREY),
    "frames.tif": (pil(GREY), {"save_all": True, "append_images": [pil(255 - GREY)]}, GREY),
    "wide.png": (pil(np.pad(COLOUR, [(0, 0), (4, 4), (0, 0)])), {}, COLOUR),
    "high_16_bits.png": (pil(np.pad(np.uint16(257) * GREY, [(4, 4), (0, 0)])), {}, GREY),
    "large.png": (pil(np.full([30, 20, 3], COLOUR[0, 0])), {}, np.full([4, 4, 3], COLOUR[0, 0])),
}


def asked(paths, shape=(4, 4, 3)):
    return commands.load(list(map(str, paths)), Signature({"images": shape}, {}))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_training_and_asking_read_the_same(name, channels, tmp_path):
    image, options, pixels = KINDS[name]
    image.save(tmp_path / name, **options)
    (trained,) = data.load("image_folder", tmp_path, 4, channels).train
    expected = pixels[..., None] if pixels.ndim == 2 else pixels
    if channels == 1 and pixels.ndim == 3:
        expected = expected @ [[0.299], [0.587], [0.114]]
    np.testing.assert_allclose(trained, np.broadcast_to(expected, trained.shape), atol=0 if channels == 3 else 0.6)
    for path in (tmp_path, tmp_path / name):
        rows, names = asked([path], (4, 4, channels))
        np.testing.assert_array_equal(rows, [trained / np.float32(255)])
        assert names == [str(tmp_path / name)]


@pytest.fixture
def tree(tmp_path):
    """A folder of 5 pictures, two behind links, among much else."""
    pictures = "in/cat/a.png", "in/cat/b.JFIF", "in/dog/a.ppm", "elsewhere/a.png", "alone.png"
    others = ".DS_Store", ".git/x.png", "cat/._a.png", "__MACOSX/a.png", "Thumbs.db", "cat/a.h5"
    for file in (*map(tmp_path.joinpath, pictures), *map((tmp_path / "in").joinpath, others)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no picture")
    for name in pictures:
        pil(GREY).save(tmp_path / name, format="JPEG" if name.endswith("F") else None)
    links = {"cat/back": "in", "dog/itself": "in/dog", "dog/other": "elsewhere", "z.png": "alone.png"}
    for link, target in links.items():
        (tmp_path / "in" / link).symlink_to(tmp_path / target)
    return tmp_path / "in"


def test_folders_are_searched_through_links_and_zips_are_the_same(tree, capsys):
    names = ["cat/a.png", "cat/b.JFIF", "dog/a.ppm", "dog/other/a.png", "z.png"]
    found = image_files.read([tree], (4, 4, 3))
    assert found.files == [tree / name for name in names]
    assert found.left_out == (
        "left out 4 hidden (.DS_Store, .git, __MACOSX, cat/._a.png) and "
        "2 without a suffix of pictures (Thumbs.db, cat/a.h5)"
    )
    rows, _ = asked([tree])
    assert capsys.readouterr() == ("", f"--data={tree}: {found.left_out}\n")
    archive = tree.parent / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in reversed(names):
            file.write(tree / name, name)
    zipped, names_there = asked([archive])
    assert names_there == [f"{archive}/{name}" for name in names]
    np.testing.assert_array_equal(zipped, rows)


def test_all_that_can_not_be_read_is_named_at_once(tree, monkeypatch):
    pil(np.float32(2) * GREY).save(tree / "0.tif")
    (tree / "1.png").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "2.png")
    (tree / "3.png").write_bytes(b"no picture")
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listdir(tree / "no" if path.name == "dog" else path))
    reasons = ["0.tif (its pixels lie between 0 and 480, not between 0 and 1)", "1.png (a link that leads nowhere)"]
    reasons += ["2.png (no file)", "3.png (in no format that Pillow knows)", "dog (No such file or directory)"]
    sentence = f"5 of 8 pictures can not be read: {', '.join(f'{tree}/{reason}' for reason in reasons)}; mend or remove"
    for ask in (lambda: asked([tree]), lambda: data.load("image_folder", tree)):
        with mistake(sentence):
            ask()
    for i in range(20):
        (tree / f"{i}.jpg").touch()
    with mistake("25 of 28 pictures can not be read", "15.jpg (in no format that Pillow knows), and 15 more; mend"):
        asked([tree])


@pytest.mark.parametrize("name, content, sentence", [
    ("nowhere", None, "nowhere does not exist: name a folder, a zip or a file of pictures"),
    ("broken.zip", b"PK", "broken.zip can not be read as a zip (File is not a zip file): make or download it again"),
    ("folder", [], "there are no pictures in {path}: name a folder or zip of pictures, such as .png"),
    ("folder", ["a.txt"], "folder (left out 1 without a suffix of pictures (a.txt)): name a folder or zip of pictures"),
])  # fmt: skip
def test_what_holds_no_pictures(name, content, sentence, tmp_path):
    path = tmp_path / name
    if isinstance(content, list):
        path.mkdir()
        for file in content:
            (path / file).touch()
    elif content:
        path.write_bytes(content)
    for ask in (lambda: asked([path]), lambda: data.load("image_folder", path)):
        with mistake(sentence.format(path=path)):
            ask()
