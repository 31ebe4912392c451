"""What the metrics of samples make of the measures: spaces, floors, labels; and the judge of classes."""

import numpy as np
import pytest
import tensorflow as tf

from common import pictures
from tests.trainers.metrics.made import MODES, class_sampler_of, data_of, keep, model_of, options, run_of, sampler_of
from trainers import classifier
from trainers.data import load
from trainers.metrics import METRICS, sample_quality, two_samples
from trainers.metrics.rows import real_rows
from trainers.metrics.sample_quality import class_accuracy, histogram_kl
from zoo.parts import noise


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


@pytest.mark.parametrize("num, batch_size", [(120, 7), (None, 1000)])
def test_class_accuracy_of_a_mixture(num, batch_size):
    """Samples off by less than half the distance of the modes, but one in ten at another; then all next to the last."""
    data = data_of(MODES, MODES, MODES, 0.1)
    given = options(num_model_samples=num, batch_size=batch_size)
    error = np.sqrt(0.9 * 0.1 / (num or 10_000))
    expected = {"class_accuracy": pytest.approx(0.9), "class_accuracy_standard_error": pytest.approx(error)}
    assert class_accuracy(class_sampler_of(MODES + 1.9), data, given) == expected | {"num_model_samples": num or 10_000}
    assert class_accuracy(class_sampler_of(MODES + 2.1), data, given)["class_accuracy"] == 0.25


class Grey:
    """A judge of images of one grey value for each class, which takes the nearest; their features are their pixels."""

    checksum, accuracy = "abc", 0.75

    def __init__(self, values):
        self.values = values

    def features(self, images):
        return images.reshape(len(images), -1)

    def classes(self, images):
        return np.abs(255 * images[:, 0, 0, :1] - self.values).argmin(1)


def test_class_accuracy_of_images_is_what_the_judge_says(monkeypatch):
    grey = np.array([0, 100, 200], np.uint8)
    images = np.tile(grey[:, None, None, None], [1, 2, 2, 1])
    data = data_of(images, images, labels=(np.arange(3), np.arange(3)))
    monkeypatch.setattr(classifier, "judge_of", lambda given: Grey(grey))
    result = class_accuracy(class_sampler_of(images / 255.0), data, options(num_model_samples=90))
    accuracies = {"class_accuracy": pytest.approx(0.9), "class_accuracy_standard_error": pytest.approx(0.1**0.5 / 10)}
    assert result == {**accuracies, "judge": "abc", "judge_accuracy": 0.75, "num_model_samples": 90}


def shifted(by, name="shift"):
    """A measure of two sets: how far their means are apart."""

    def measure(x, y):
        return {"shift": (float((x - y).mean()) - by, 0.5), "size": (float(x.shape[1]), None)}

    measure.__name__ = name
    return measure


@pytest.mark.parametrize("space, judged", [("data", False), ("features", False), ("features", True)])
def test_a_sample_metric_is_a_measure_of_samples_and_of_training_rows(space, judged, monkeypatch, capsys):
    """Samples are test rows moved by .11, between levels of grey; floors are kept, and made anew for other samples."""
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 200, [num, 2, 2, 1], np.uint8) for num in (60, 40))
    labels = [np.arange(len(x)) % 3 for x in (train, test)] if judged else (None, None)
    data = data_of(train, test, labels=labels)
    monkeypatch.setattr(classifier, "judge_of", lambda given: Grey(0))
    metric = sample_quality.sample_metric(shifted(0.0), space)
    run = sampler_of(test[draws(data)[0][1]] / 255.0 + 0.11)
    found = metric(run, data, options(num_model_samples=None))
    assert "measuring shift of training rows" in capsys.readouterr().out
    assert found["shift"] == pytest.approx(28 / 255, abs=1e-6) and found["shift_standard_error"] == 0.5
    by_hand = [train[a].mean() / 255.0 - test[b].mean() / 255.0 for a, b in draws(data)]
    assert found["shift_floor"] == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert found["shift_floor_deviation"] == pytest.approx(np.std(by_hand, ddof=1), rel=1e-4)
    assert found["size"] == 4 and "size_floor" not in found and "size_standard_error" not in found
    assert found["num_model_samples"] == 40 and found["num_draws_of_floor"] == 10
    assert ({"judge": "abc", "judge_accuracy": 0.75}.items() <= found.items()) == judged
    other = sample_quality.sample_metric(shifted(7.0), space)(run, data, options(num_model_samples=None))
    assert other["shift_floor"] == found["shift_floor"] and "measuring" not in capsys.readouterr().out
    metric(run, data, options(num_model_samples=30))
    assert "measuring" in capsys.readouterr().out


def draws(data):
    return sample_quality._draws(data, min(len(data.train), len(data.test)))


def test_dynamic_binarization_is_of_the_rows_too():
    grey = np.full([30, 2, 2, 1], 128, np.uint8)
    run = sampler_of(np.zeros_like(grey, np.float32))
    run.settings.dynamic_binarization = True
    found = sample_quality.sample_metric(lambda x, y: {"bits": (float(np.mean(y * (1 - y))), None)}, "data")
    assert found(run, data_of(grey, grey), options())["bits"] == 0.0
    assert 0.3 < real_rows(run, data_of(grey, grey), "test").mean() < 0.7


def test_samples_of_a_conditional_model_have_the_classes_of_the_data():
    """Nine of ten training rows are of class 1: a sampler that is right is as near as the training data."""
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.9).astype(np.int64)
    rows = MODES[labels] + 0.01 * rng.normal(size=[400, 2]).astype(np.float32)
    data = data_of(rows, rows[::-1], labels=(labels, labels[::-1]))
    model = model_of(conditional=True, num_classes=2, sample=lambda seeds, label: tf.gather(tf.constant(MODES), label))
    result = METRICS["sample_energy_distance"](run_of(model), data, options(num_model_samples=400))
    assert abs(result["energy_distance"]) < 0.02
    assert two_samples.energy_distance(MODES[np.arange(400) % 2], rows)["energy_distance"][0] > 0.3


def test_samples_are_drawn_once():
    calls = []
    model = model_of(sample=lambda seeds: calls.append(0) or tf.zeros([tf.size(seeds), 2]))
    run, data = run_of(model), data_of(MODES.repeat(9, 0), MODES.repeat(9, 0))
    for name in ("kernel_distance", "sample_energy_distance"):
        METRICS[name](run, data, options(num_model_samples=10))
    assert len(calls) == 1  # its trace


@pytest.mark.slow
def test_samples_over_time_are_the_first_lines_of_what_the_run_kept(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, [10, 64, 8, 8, 1]) / 255.0
    for step, of_step in enumerate(images):
        pictures.picture(of_step, tmp_path / "samples" / f"step_{step:06d}.png")
    data = data_of(images[0], images[0, :29])
    assert sample_quality.samples_over_time(run_of(None, tmp_path), data, options()) == {"num_lines": 8}
    shown = [*images[[0, 1, 3, 4, 5, 6, 8, 9], :8], images[0, :29:4]]
    pictures.lines(shown, tmp_path / "expected.png")
    assert (tmp_path / "samples_over_time.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("orders, num_seen", [((), 1), (np.arange(64)[None, ::-1], 4), (np.ones([2, 64]), 1)])
def test_completions(orders, num_seen, tmp_path):
    """Draws that are grey levels of their seeds; those in an order, here from the end, also from a part on."""
    images = np.random.default_rng(0).integers(0, 256, [29, 8, 8, 1]).astype(np.uint8)

    def inpaint(x, known, seeds):
        return tf.where(known, x, tf.cast(seeds, tf.float32)[:, None, None, None] / 32.0), None

    run = run_of(model_of(inpaint=inpaint, orders=orders), tmp_path)
    assert sample_quality.completions(run, data_of(images, images), options()) == {"num_lines": 8}
    lines = []
    for i, image in enumerate(images[::4] / np.float32(255)):
        upper, lower = np.split(image, 2)
        draws = [np.concatenate([upper, np.full_like(lower, seed / 32)]) for seed in range(4 * i, 4 * i + 4)]
        seen = [image.copy() for _ in range(num_seen)]
        for num, frame in enumerate(seen):
            frame[4 : 8 - num] = 0.5
            frame[8 - num :] = draws[0][8 - num :]
        lines.append([image, *seen, *draws])
    pictures.lines([np.stack(line) for line in lines], tmp_path / "expected.png")
    assert (tmp_path / "completions.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.slow
def test_kl_of_histograms(tmp_path):
    """Samples of the right distribution are as near as data; those of N(1.2, .4^2) farther by KL(these || data)."""
    data = load("gaussian")

    def kl(mean, width):
        model = model_of(sample=lambda seeds: mean + width * noise.normal_rows(seeds, 1))
        return histogram_kl(run_of(model, tmp_path), data, options())

    keep(tmp_path, {100: np.array([[0.0], [2.0]])})
    right = kl(1.0, 0.5)
    error = np.hypot(right["standard_deviation"], right["of_data_standard_deviation"]) / np.sqrt(100)
    assert abs(right["kl"] - right["of_data"]) < 2 * error < 0.1 * right["kl"]
    wrong = kl(1.2, 0.4)
    expected = np.log(0.5 / 0.4) + (0.4**2 + 0.2**2) / (2 * 0.5**2) - 0.5  # .123; the other way round it is .183
    np.testing.assert_allclose(wrong["kl"] - right["kl"], expected, rtol=0.15)
    np.testing.assert_allclose([wrong["mean"], wrong["width"]], [1.2, 0.4], atol=0.005)
    np.testing.assert_allclose([wrong["mean_of_data"], wrong["width_of_data"]], [1.0, 0.5], atol=0.005)
    assert (tmp_path / "histogram.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("num_rows", [2000, 401])
def test_histograms_of_few_rows_are_of_as_many_samples(num_rows, tmp_path):
    """An odd number of rows has halves, too; samples of their distribution are as near as other rows are."""
    rows = np.random.default_rng(0).normal(size=[num_rows, 1]).astype(np.float32)
    model = model_of(sample=lambda seeds: noise.normal_rows(seeds, 1))
    found = histogram_kl(run_of(model, tmp_path), data_of(rows, rows), options())
    assert found["kl"] == pytest.approx(found["of_data"], rel=0.2)
