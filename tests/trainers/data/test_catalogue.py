"""Datasets of TensorFlow Datasets, built here and mocked, against what its own data sources give."""

import importlib.util
import sys

import numpy as np
import pytest
from PIL import Image

from common import image_files
from tests.mistakes import mistake
from tests.trainers.data.made import RNG
from trainers import data, flags, run
from trainers.data import catalogue

needs_tfds = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None, reason="TensorFlow Datasets (extra tfds) is not installed"
)
slow = pytest.mark.slow
CITATION = "@misc{made,\n  title={Made up}\n}"


def store(folder, splits, features=("image", "label"), shape=(8, 8, 1), keys=None, file_format="array_record"):
    """Prepares a dataset `made`: splits is a dict, name -> number of rows; features are images, but for `label`."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.dataset_builders.adhoc_builder import AdhocBuilder

    kinds = {"label": tfds.features.ClassLabel(names=["cat", "dog"]), "id": np.int64}
    spec = {name: kinds.get(name) or tfds.features.Image(shape=shape) for name in features}

    class Builder(AdhocBuilder, skip_registration=True):
        def _info(self):
            about = {"license": "CC0", "citation": CITATION, "supervised_keys": keys}
            return tfds.core.DatasetInfo(builder=self, features=self._feature_spec, **about)

    def row(i):
        size = [RNG.randint(20, 60) if size is None else size for size in shape]
        return {name: i % 2 if name in kinds else RNG.randint(0, 256, size).astype(np.uint8) for name in features}

    rows = {split: [(i, row(i)) for i in range(num)] for split, num in splits.items()}
    of = {"name": "made", "version": "1.0.0", "data_dir": folder, "features": tfds.features.FeaturesDict(spec)}
    builder = Builder(**of, split_datasets=rows)
    builder.download_and_prepare(file_format=file_format)
    return builder


def fitted(pixels, shape):
    return pixels if pixels.shape == shape else image_files.fit(Image.fromarray(pixels), shape)


@slow
@needs_tfds
@pytest.mark.parametrize("splits, given, taken, shape, side, expected", [
    ({"train": 23, "test": 7}, None, ["train", "test"], (8, 8, 1), None, (8, 8, 1)),
    ({"train": 20, "validation": 3, "extra": 1}, None, ["train", "validation"], (None, None, 3), None, (32, 32, 3)),
    ({"only": 20}, None, ["only[:90%]", "only[90%:]"], (9, 7, 3), None, (9, 7, 3)),
    ({"train": 20, "test": 2}, ["train[:50%]+test", "train[50%:]"], None, (9, 7, 3), 5, (5, 5, 3)),
], ids=str)  # fmt: skip
def test_rows_are_those_of_the_data_source(splits, given, taken, shape, side, expected, tmp_path, monkeypatch):
    builder = store(tmp_path, splits, shape=shape)
    one = data.load("tfds:made", tmp_path, image_side=side, splits=given)
    for x, labels, source in zip(
        (one.train, one.test), (one.train_labels, one.test_labels), builder.as_data_source(taken or given), strict=True
    ):
        rows = list(source)
        np.testing.assert_array_equal(x, np.stack([fitted(row["image"], expected) for row in rows]), strict=True)
        np.testing.assert_array_equal(labels, [row["label"] for row in rows])
        assert labels.dtype == np.int64 and isinstance(x, np.memmap)
    assert (one.num_classes, one.class_names, one.licence, one.citation) == (2, ["cat", "dog"], "CC0", CITATION)
    monkeypatch.setattr(catalogue, "_decode", lambda *_: pytest.fail("decoded again"))
    again = data.load("tfds:made:1.0.0", tmp_path, image_side=side, splits=given)
    assert again.checksum == one.checksum
    np.testing.assert_array_equal(again.train, one.train)


@slow
@needs_tfds
def test_mocked_data_have_random_access():
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=20, policy=tfds.testing.MockPolicy.USE_CODE):
        one = data.load("tfds:mnist", splits=["train", "test"])
        rows = list(tfds.builder("mnist").as_data_source(split="train"))
    np.testing.assert_array_equal(one.train, [row["image"] for row in rows])
    np.testing.assert_array_equal(one.train_labels, [row["label"] for row in rows])
    assert one.shape == (28, 28, 1) and one.num_classes == 10 and "LeCun" in one.citation


@slow
@needs_tfds
@pytest.mark.parametrize("options, given, sentence", [
    ({"file_format": "tfrecord"}, None, (
        "tfds:made (made/1.0.0) is prepared in", "as tfrecord, which gives no row by its number: prepare it again by "
        'download_and_prepare(file_format="array_record"), or delete that folder'
    )),
    ({"features": ["id"]}, None, ["tfds:made (made/1.0.0) has not one feature of images, but id: choose another"]),
    ({"features": ["a", "b"]}, None, ["has not one feature of images, but a, b"]),
    ({"splits": {"a": 1, "b": 1}}, None, ["tfds:made (made/1.0.0) has the splits a, b: give --splits=TRAIN,TEST"]),
    ({}, ["train"], ["--splits=train must be two, for training and for tests"]),
    ({}, ["train", "tset"], ["tset", "--splits=train,tset are no splits of it"]),
], ids=str)  # fmt: skip
def test_what_can_not_be_taken(options, given, sentence, tmp_path):
    store(tmp_path, **{"splits": {"train": 2, "test": 2}} | options)
    with mistake(*sentence):
        data.load("tfds:made", tmp_path, splits=given)


@slow
@needs_tfds
def test_the_image_that_is_learned_from_is_taken_and_labels_are_for_those_that_have_them(tmp_path):
    builder = store(tmp_path, {"train": 12}, ["mask", "photo"], keys=("photo", "mask"))
    one = data.load("tfds:made", tmp_path)
    assert (one.train_labels, one.num_classes, one.class_names) == (None, None, None)
    np.testing.assert_array_equal(one.train, [row["photo"] for row in builder.as_data_source("train[:90%]")])
    with mistake("there is no dataset tfds:mode, neither in", "nor to download: "):
        data.load("tfds:mode", tmp_path)


@slow
@needs_tfds
def test_a_run_keeps_licence_and_citation_in_the_card(tmp_path):
    store(tmp_path / "tfds", {"train": 40, "test": 10})
    arguments = ["--model=gan", "--generator_units=4", "--discriminator_units=4", "--num_steps=2", "--batch_size=8"]
    arguments += ["--dataset=tfds:made", "--splits=train,test[:50%]", f"--data_dir={tmp_path / 'tfds'}"]
    run.train(flags.parse(["trainers.run", *arguments, f"--run_dir={tmp_path / 'run'}", "--jit_compile=false"]))
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert "- Licence of the data: CC0\n" in card and f"asked to cite:\n\n```\n{CITATION}\n```\n" in card
    assert "--splits=train,test[:50%]\n" in (tmp_path / "run" / "config.cfg").read_text()


def test_without_tensorflow_datasets_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with mistake("tfds:mnist needs the packages tensorflow-datasets and importlib-resources: ", " is missing"):
        data.load("tfds:mnist")
    settings = flags.parse(["trainers.run", "--model=vae", "--dataset=tfds:mnist/a:1.0.0"])
    assert settings.run_dir == "runs/vae_tfds_mnist_a_1.0.0" and settings.dataset == "tfds:mnist/a:1.0.0"
    with mistake("--dataset=tfds: is not one of digits, mnist,", ", or tfds:NAME"):
        flags.parse(["trainers.run", "--model=vae", "--dataset=tfds:"])
    with mistake("--splits=a,b is for tfds:NAME, and mnist has its own: leave it unset"):
        data.load("mnist", splits=["a", "b"])
