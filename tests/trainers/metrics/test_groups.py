"""Probes of style and content of Gaussians, whose Bayes accuracy is known, and swaps by pixels that tell the class."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.trainers.metrics.made import data_of, model_of, options, run_of
from trainers import classifier
from trainers.metrics.groups import group_probe, style_content_swaps


def encode_group(x, label):
    """The second number averaged over the rows with the same label; the first is style."""
    same = tf.cast(label[:, None] == label[None], tf.float32)
    return {"style": x[:, :1], "content": same @ x[:, 1:] / tf.reduce_sum(same, axis=1, keepdims=True)}


def test_groups_tell_what_rows_do_not():
    """Content is 0.5 apart: of one row Phi(0.25) are right, of 1000 rows all, and style is that of chance."""
    rng, labels = np.random.default_rng(0), [np.arange(num) % 2 for num in (10_000, 10_000)]
    rows = [(rng.normal(size=[len(y), 2]) + np.outer(y, [0, 0.5])).astype(np.float32) for y in labels]
    found = group_probe(
        run_of(model_of(encode_group=encode_group)), data_of(*rows, labels=labels), options(batch_size=2000)
    )
    for space, expected in (("style", 0.5), ("content", stats.norm.cdf(0.25))):
        assert abs(found[space] - expected) < 3 * found[f"{space}_standard_error"] < 0.02
    assert (found["content_of_group"], found["content_of_group_standard_error"], found["chance"]) == (1.0, 0.0, 0.5)


@pytest.mark.slow
def test_error_of_a_probe_counts_groups():
    """Content of noise: the rows of a group are right or wrong together, so that groups are what is independent."""
    rng, accuracies = np.random.default_rng(0), []
    labels = [np.arange(400) % 2 for _ in ("train", "test")]
    for _ in range(25):
        rows = [rng.normal(size=[400, 2]).astype(np.float32) for _ in labels]
        data = data_of(*rows, labels=labels)
        found = group_probe(run_of(model_of(encode_group=encode_group)), data, options(batch_size=20))
        accuracies.append((found["content_of_group"], found["content_of_group_standard_error"]))
    means, errors = np.array(accuracies).T
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(errors))), means.std(), rtol=0.4)


def test_swaps_are_judged_by_the_row_that_gave_content(tmp_path, monkeypatch):
    """A decoder that heeds content only, and a judge that reads the class off the first pixel."""
    labels = np.arange(60) % 3
    images = np.zeros([60, 2, 2, 1], np.uint8)
    images[:, 0, 0, 0] = 100 * labels
    judge = SimpleNamespace(classes=lambda x: np.rint(x[:, 0, 0, 0] * 2.55).astype(int), checksum="", accuracy=1.0)
    monkeypatch.setattr(classifier, "judge_of", lambda data: judge)
    run = run_of(model_of(swap=lambda style, content: content), tmp_path)
    found = style_content_swaps(run, data_of(images, images, labels=(labels, labels)), options(num_model_samples=60))
    assert found["class_of_content"] == 1.0 and 0.1 < found["class_of_style"] < 0.6
    assert (tmp_path / "swaps.png").exists()
