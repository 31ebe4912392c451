"""The judge of images: how good it is, and that it is trained once."""

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
    return tmp_path / "judges"


def test_it_knows_the_digits_and_is_the_same_when_trained_again(cache, capsys):
    first = classifier.judge_of(DIGITS, num_steps=150)
    (file,) = cache.iterdir()
    assert f"training a classifier of digits, to be kept in {file}" in capsys.readouterr().out
    images = DIGITS.test / np.float32(255)
    classes, probabilities = first.classes(images), first.probabilities(images)
    assert first.accuracy == np.mean(classes == DIGITS.test_labels) >= 0.97
    assert classes.shape == (297,) and np.all(classes == probabilities.argmax(1))
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)
    features = first.features(images)
    assert features.shape == (297, 128) and features.min() == 0.0 < features.std()
    written = file.read_bytes()
    cached = classifier.judge_of(DIGITS, num_steps=150)
    assert "training" not in capsys.readouterr().out and list(cache.iterdir()) == [file]
    file.write_bytes(written[: len(written) // 2])
    again = classifier.judge_of(DIGITS, num_steps=150)
    assert "training" in capsys.readouterr().out
    for other in (cached, again):
        assert (other.checksum, other.accuracy) == (first.checksum, first.accuracy)
        np.testing.assert_array_equal(other.features(images), features)


def test_other_data_have_another_classifier(cache):
    few = replace(DIGITS, train=DIGITS.train[:20], train_labels=DIGITS.train_labels[:20], checksum="few")
    for num, data in enumerate((DIGITS, few, replace(DIGITS, train=DIGITS.train[:, :7, :5]))):
        judge = classifier.judge_of(data, num_steps=1)
        assert judge.probabilities(np.zeros([3, *data.shape], np.float32)).shape == (3, 10)
        assert len(list(cache.iterdir())) == num + 1


def test_a_cache_that_can_not_be_written(cache):
    cache.write_text("in the way")
    with pytest.raises(UserError, match="can not be written"):
        classifier.judge_of(DIGITS, num_steps=1)
