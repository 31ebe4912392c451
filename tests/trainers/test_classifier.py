"""The judge of conditional samples: how good it is, and that it is trained once."""

from dataclasses import replace

import numpy as np
import pytest

from common.cli import UserError
from trainers import classifier
from trainers.data import load

pytestmark = pytest.mark.slow
DIGITS = load("digits")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path / "classifiers"


def test_it_knows_the_digits_and_is_the_same_when_trained_again(cache, capsys):
    first = classifier.trained(DIGITS, num_steps=150)
    (file,) = cache.iterdir()
    assert f"training a classifier of digits, to be kept in {file}" in capsys.readouterr().out
    classes = classifier.classes_of(first, DIGITS.test / np.float32(255))
    assert classes.shape == (297,) and np.mean(classes == DIGITS.test_labels) >= 0.97
    written = file.read_bytes()
    cached = classifier.trained(DIGITS, num_steps=150)
    assert "training" not in capsys.readouterr().out and list(cache.iterdir()) == [file]
    file.write_bytes(written[: len(written) // 2])
    again = classifier.trained(DIGITS, num_steps=150)
    assert "training" in capsys.readouterr().out
    for other in (cached, again):
        for left, right in zip(first.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)


def test_other_data_have_another_classifier(cache):
    few = replace(DIGITS, train=DIGITS.train[:20], train_labels=DIGITS.train_labels[:20], checksum="few")
    for num, data in enumerate((DIGITS, few, replace(DIGITS, train=DIGITS.train[:, :7, :5]))):
        model = classifier.trained(data, num_steps=1)
        assert model.input_shape == (None, *data.shape) and model.output_shape == (None, 10)
        assert len(list(cache.iterdir())) == num + 1


def test_a_cache_that_can_not_be_written(cache):
    cache.write_text("in the way")
    with pytest.raises(UserError, match="can not be written"):
        classifier.trained(DIGITS, num_steps=1)
