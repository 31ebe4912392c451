"""Distances of samples from data against closed forms and SciPy, and the judge of classes."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from tests.trainers.metrics.made import MODES, class_sampler_of, data_of, keep, model_of, options, run_of, sampler_of
from trainers import classifier
from trainers.data import load
from trainers.metrics.sample_quality import class_accuracy, energy_distance, histogram_kl, sample_energy_distance
from zoo.parts import noise


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 2, 1)])
def test_energy_distance_against_scipy(shape):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=[40, *shape]), 5.0 + rng.gamma(2.0, size=[30, *shape]).astype(np.float32)
    flat_x, flat_y = x.reshape(40, -1), y.reshape(30, -1)
    expected = 2 * cdist(flat_x, flat_y).mean() - pdist(flat_x).mean() - pdist(flat_y).mean()
    np.testing.assert_allclose(energy_distance(x, y), expected, rtol=1e-9)
    if shape == (1,):  # SciPy's is the root of the V-statistic, which counts each sample's distance 0 to itself
        v_statistic = energy_distance(x, y) + pdist(flat_x).mean() / 40 + pdist(flat_y).mean() / 30
        np.testing.assert_allclose(np.sqrt(v_statistic), stats.energy_distance(x[:, 0], y[:, 0]), rtol=1e-6)


def test_energy_distance_is_unbiased_and_exact_for_equal_points():
    rng = np.random.default_rng(0)
    estimates = [energy_distance(rng.normal(size=[5, 2]), rng.normal(size=[3, 2])) for _ in range(2000)]
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(2000) < 0.1 * np.std(estimates)
    assert energy_distance(np.ones([4, 3]) * 1e3, np.ones([2, 3]) * 1e3) == 0.0
    with pytest.raises(ValueError, match="at least 2 rows and 2 rows, not of 1 and 3"):
        energy_distance(np.ones([1, 2]), np.ones([3, 2]))


@pytest.mark.parametrize("num, batch_size", [(120, 7), (None, 1000)])
def test_class_accuracy_of_a_mixture(num, batch_size):
    """Samples off by less than half the distance of the modes, but one in ten at another; then all next to the last."""
    data = data_of(MODES, MODES, MODES, 0.1)
    given = options(num_model_samples=num, batch_size=batch_size)
    expected = {"class_accuracy": pytest.approx(0.9), "num_model_samples": num or 10_000}
    assert class_accuracy(class_sampler_of(MODES + 1.9), data, given) == expected
    assert class_accuracy(class_sampler_of(MODES + 2.1), data, given)["class_accuracy"] == 0.25


def test_class_accuracy_of_images_is_what_the_classifier_says(monkeypatch):
    """Images of one grey value for each class, and a judge that takes the nearest and is wrong on one test image."""
    grey = np.array([0, 100, 200], np.uint8)
    images = np.tile(grey[:, None, None, None], [1, 2, 2, 1])
    labels = np.array([0, 1, 1])
    data = data_of(images, images, labels=(labels, labels))
    monkeypatch.setattr(classifier, "trained", lambda given: given)
    nearest = lambda judge, x: np.abs(255 * x[:, 0, 0, :1] - grey).argmin(1)  # noqa: E731
    monkeypatch.setattr(classifier, "classes_of", nearest)
    result = class_accuracy(class_sampler_of(images / 255.0), data, options(num_model_samples=90))
    accuracies = {"class_accuracy": pytest.approx(0.9), "classifier_test_accuracy": pytest.approx(2 / 3)}
    assert result == {**accuracies, "num_model_samples": 90}


def test_energy_distance_of_a_conditional_model_has_the_classes_of_the_data():
    """Nine of ten training rows are of class 1: a sampler that is right is as near as the training data."""
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.9).astype(np.int64)
    rows = MODES[labels] + 0.01 * rng.normal(size=[400, 2]).astype(np.float32)
    data = data_of(rows, rows[::-1], labels=(labels, labels[::-1]))
    model = model_of(conditional=True, num_classes=2, sample=lambda seeds, label: tf.gather(tf.constant(MODES), label))
    result = sample_energy_distance(run_of(model), data, options(num_model_samples=400))
    assert abs(result["energy_distance"]) < 0.02
    assert energy_distance(MODES[np.arange(400) % 2], rows) > 0.3


def test_sample_energy_distance_serves_images_and_compares_equal_numbers():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, [num, 2, 2, 1], np.uint8) for num in (60, 40))
    result = sample_energy_distance(sampler_of(test / 255.0), data_of(train, test), options())
    assert result["num_model_samples"] == 40
    within = pdist(test.reshape(40, -1) / 255.0).mean()  # the samples are the test set: only the diagonal differs
    np.testing.assert_allclose(result["energy_distance"], -2 * within / 40, rtol=1e-5)
    mean, deviation = result["of_training_data"], result["of_training_data_standard_deviation"]
    assert 0 < deviation < 0.2 * within and abs(mean) < 0.2 * within and result["num_draws_of_training_data"] == 10
    black = sample_energy_distance(sampler_of(np.zeros_like(test)), data_of(train, test), options())
    expected = 2 * np.linalg.norm(test.reshape(40, -1) / 255.0, axis=1).mean() - within
    np.testing.assert_allclose(black["energy_distance"], expected, rtol=1e-5)


@pytest.mark.slow
def test_kl_of_histograms(tmp_path):
    """Samples of the right distribution are as near as other data; those of N(1.2, .5^2) farther by the KL of these."""
    data = load("gaussian")

    def kl(mean):
        model = model_of(sample=lambda seeds: mean + 0.5 * noise.normal_rows(seeds, 1))
        return histogram_kl(run_of(model, tmp_path), data, options())

    keep(tmp_path, {100: np.array([[0.0], [2.0]])})
    right = kl(1.0)
    error = np.hypot(right["standard_deviation"], right["of_data_standard_deviation"]) / np.sqrt(100)
    assert abs(right["kl"] - right["of_data"]) < 2 * error < 0.1 * right["kl"]
    wrong = kl(1.2)
    np.testing.assert_allclose(wrong["kl"] - right["kl"], (0.2 / 0.5) ** 2 / 2, rtol=0.15)
    np.testing.assert_allclose([wrong["mean"], wrong["width"]], [1.2, 0.5], atol=0.005)
    np.testing.assert_allclose([wrong["mean_of_data"], wrong["width_of_data"]], [1.0, 0.5], atol=0.005)
    assert (tmp_path / "histogram.png").stat().st_size > 1000
