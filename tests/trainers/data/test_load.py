"""A mistake with data gets one sentence."""

import re

import numpy as np
import pytest
from PIL import Image

from common.cli import UserError
from tests.trainers.data.made import images, numbered
from trainers import data


def few(tmp_path):
    for i in range(9):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    return data.held_out_batches(data.load("image_folder", tmp_path), 4)


def batches(batch_size=4, one=None, **arguments):
    return data.batches(one or numbered(), batch_size=batch_size, seed=0, **arguments)


ANONYMOUS = images(np.zeros((30, 4, 4, 1), np.uint8))


@pytest.mark.parametrize("mistake, sentence", [
    (lambda _: data.load("minst"), "there is no dataset 'minst': choose one of digits, .*, four_points, or tfds:NAME."),
    (lambda _: data.load("digits", image_side=0), "image_side is 0, .*: give a positive number."),
    (lambda _: data.load("digits", image_channels=2), "image_channels is 2: give 1 for grey or 3 for colour."),
    (lambda _: data.load("ring", image_side=8), r"ring comes in one shape, \(2,\): leave image_side .* unset."),
    (lambda _: data.load("image_folder"), "image_folder needs images: name .* by --data_dir."),
    (lambda _: data.load("image_pairs"), "image_pairs needs images: name .* by --data_dir."),
    (few, "image_folder has no test rows: give at least 10 images, .*"),
    (lambda _: batches(31), "batch_size is 31, but made has 30 train rows: give 30 or less."),
    (lambda _: batches(8, batches_per_step=5), "batch_size is 8, a step takes 5 of it, but made .*: give 6 or less."),
    (lambda _: batches(0), "batch_size is 0, but made has 30 train rows: .*"),
    (lambda _: batches(4, num_replicas=3), "batch_size is 4, which 3 replicas can not share: give a multiple."),
    (lambda _: batches(one=ANONYMOUS, with_labels=True), "made has no labels: choose a dataset .*"),
    (lambda _: batches(one=numbered(shape=(4, 4, 3)), binarize=True), "binarize is for grey images, .*: leave it off."),
    (lambda _: batches(one=data.load("ring"), binarize=True), "binarize is for grey images, .*: leave it off."),
])  # fmt: skip
def test_a_mistake_gets_one_sentence(mistake, sentence, tmp_path):
    with pytest.raises(UserError) as error:
        mistake(tmp_path)
    assert re.fullmatch(sentence, str(error.value)), error.value
