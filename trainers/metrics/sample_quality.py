"""How near samples are to the data, and whether they are of the class that they were asked for."""

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from scipy import stats

from common import pictures
from common.graph import graph
from trainers import classifier
from trainers.metrics.rows import NUM_MODEL_SAMPLES, kept_samples, samples_of, served

NUM_REPETITIONS, NUM_VALUES, NUM_BINS = 100, 10_000, 50
NUM_DRAWS = 10  # of data, for what a measure gives of data and other data


def energy_distance(x, y):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, at least 0, and 0 for equal distributions only.

    Szekely and Rizzo 2013 (Energy statistics), with unbiased means over distinct pairs: an estimate can be negative.

    Args:
        x, y: float arrays [n, ...] and [m, ...]; rows are flattened.

    Raises:
        ValueError: if n or m is below 2.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"the energy distance is of at least 2 rows and 2 rows, not of {len(x)} and {len(y)}.")
    x, y = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (x, y))
    x, y = x - (center := y.mean(0)), y - center  # an offset would cost digits

    def mean_distance(a, b, num_pairs):
        squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2.0 * a @ b.T
        if a is b:
            np.fill_diagonal(squares, 0.0)  # but for rounding, whose root is no longer small
        return np.sqrt(np.maximum(squares, 0.0)).sum() / num_pairs

    within = sum(mean_distance(a, a, len(a) * (len(a) - 1)) for a in (x, y))
    return float(2.0 * mean_distance(x, y, len(x) * len(y)) - within)


def sample_energy_distance(run, data, options):
    """`energy_distance` between samples and test data, where there are two of each.

    `of_training_data` is that between training and test data, which is 0 in expectation where both have one
    distribution: mean and standard deviation of 10 draws of as many rows, which may be all of the test set each time.
    """
    num = min(options.num_model_samples or NUM_MODEL_SAMPLES, len(data.test), len(data.train))
    if "sample" not in run.model.signatures() or num < 2:
        return None
    rng = np.random.default_rng(options.seed)
    rows = [[rng.choice(len(x), num, replace=False) for x in (data.test, data.train)] for _ in range(NUM_DRAWS)]
    labels = data.train_labels[rows[0][1]] if run.model.conditional else None  # as frequent as in the data
    of_data = [energy_distance(served(data.train[train]), served(data.test[test])) for test, train in rows]
    return {
        "energy_distance": energy_distance(samples_of(run, num, options, labels), served(data.test[rows[0][0]])),
        "of_training_data": float(np.mean(of_data)),
        "of_training_data_standard_deviation": float(np.std(of_data, ddof=1)),
        "num_draws_of_training_data": NUM_DRAWS,
        "num_model_samples": num,
    }


def class_accuracy(run, data, options):
    """The share of conditional samples, equally many of each class, that are of the class that they were asked for.

    The class of an image is what a classifier says that was trained on the same data and agrees with a share of
    `classifier_test_accuracy` of the test labels; that of a point of a mixture is the nearest mode.
    """
    if not run.model.conditional or (data.modes is None and len(data.shape) != 3):
        return None
    num, report = options.num_model_samples or 10_000, {}
    labels = np.arange(num) % run.model.num_classes
    samples = samples_of(run, num, options, labels)
    if data.modes is not None:
        classes = np.linalg.norm(samples[:, None] - data.modes[None], axis=-1).argmin(axis=1)
    else:
        judge = classifier.trained(data)
        classes, test_classes = (classifier.classes_of(judge, x) for x in (samples, served(data.test)))
        report["classifier_test_accuracy"] = float(np.mean(test_classes == data.test_labels))
    return {"class_accuracy": float(np.mean(classes == labels)), **report, "num_model_samples": num}


def histogram_kl(run, data, options):
    """KL(samples || data) in nats between histograms of 10,000 values each, mean and deviation of 100 repetitions.

    50 equal bins over the range of the data, and one beyond each end; every count is raised by one, so that no bin is
    empty. `of_data` is that of data and other data, mean and deviation of as many repetitions: what samples of the
    distribution itself would get. RUN_DIR/histogram.png shows the histograms, and mean and width (standard deviation)
    of the samples that the run drew on its way.
    """
    if data.shape != (1,) or "sample" not in run.model.signatures() or run.model.conditional:
        return None
    truth, rng = np.ravel(data.train), np.random.default_rng(options.seed)
    edges = np.concatenate([[-np.inf], np.linspace(truth.min(), truth.max(), NUM_BINS + 1), [np.inf]])
    sample = graph(run.model.sample)

    def distribution(values):
        counts = np.histogram(values, edges)[0] + 1.0
        return counts / counts.sum()

    values, of_samples, of_data = [], [], []
    for i in range(NUM_REPETITIONS):
        first = options.seed + i * NUM_VALUES
        values.append(np.ravel(sample(tf.range(first, first + NUM_VALUES, dtype=tf.int64))))
        rows = rng.permutation(len(truth))[: 2 * NUM_VALUES]  # no row on both sides
        q, other = (distribution(truth[half]) for half in np.split(rows, 2))
        of_samples.append(stats.entropy(distribution(values[-1]), q))
        of_data.append(stats.entropy(other, q))
    values = np.concatenate(values)
    _draw_histogram_and_history(run, values, truth)
    return {
        "kl": float(np.mean(of_samples)),
        "standard_deviation": float(np.std(of_samples, ddof=1)),
        "of_data": float(np.mean(of_data)),
        "of_data_standard_deviation": float(np.std(of_data, ddof=1)),
        "mean": float(values.mean()),
        "mean_of_data": float(truth.mean()),
        "width": float(values.std()),
        "width_of_data": float(truth.std()),
    }


def _draw_histogram_and_history(run, values, truth):
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    pictures.draw_histogram(left, values, truth)
    left.set(xlabel="$x$", ylabel="density")
    if samples := kept_samples(run):
        for color, name, of in (("C0", "mean", np.mean), ("C1", "width", np.std)):
            right.plot(list(samples), [of(points) for points in samples.values()], color, label=name)
            right.axhline(of(truth), color=color, linestyle=":")
        right.set(xlabel="step (dotted: the data)")
        right.legend()
    pictures.save(figure, run.path / "histogram.png")
