"""The user's own images."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.trainers.data.made import RNG
from trainers import data


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
    def loaded(name, image, side, channels=None, **options):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "image.png", **options)
        return data.load("image_folder", tmp_path / name, side, channels).train

    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 5:25, 0] = 255
    assert (loaded("wide", Image.fromarray(wide), 5) == [255, 0, 0]).all()
    assert (loaded("clear", Image.new("RGBA", (6, 6), (0, 0, 0, 0)), 5) == 255).all()
    half, exif = Image.fromarray(np.uint8([[0], [255]]).repeat(8, axis=0).repeat(16, axis=1)), Image.Exif()
    exif[0x0112] = 3  # to be shown upside down
    upright = loaded("half", half, 4, 1, exif=exif)[0, :, :, 0]
    assert upright[0].min() == 255 and upright[-1].max() == 0


def test_held_out_images_have_no_copy_in_training(pictures):
    for path in list(pictures.rglob("[0-9]*.*")):
        for i in range(3):
            shutil.copy(path, path.with_stem(f"{path.stem}-copy{i}"))
    one = data.load("image_folder", pictures)
    train, test = ({image.tobytes() for image in images} for images in (one.train, one.test))
    assert len(one.train) + len(one.test) == 160 and 1 <= len(one.test) <= 16
    assert not train & test
