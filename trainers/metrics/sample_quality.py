"""How good samples are: how far from held-out data, and whether of the class that they were asked for."""

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from scipy import stats

from common import files, pictures
from common.graph import graph
from trainers import classifier, rundir
from trainers.data.files import cache, plain
from trainers.metrics import two_samples
from trainers.metrics.rows import kept_samples, real_rows, require, require_samples, samples_of, share
from trainers.metrics.spaces import Vectors

NUM_SAMPLES = 10_000
SMALLEST_NUM = 8  # of which all measures have errors
NUM_DRAWS = 10  # of training rows, for what a measure gives of data and other data
NUM_LINES = 8  # of a picture of samples over time, or of completions
NUM_COMPLETIONS = 4
NUM_REPETITIONS, NUM_VALUES, NUM_BINS = 100, 10_000, 50


def sample_metric(measure, space):
    """The metric that applies `measure`, of `two_samples.py`, to samples and as many test rows in a `space`.

    `..._floor` is the same measure of training rows in place of samples, mean and standard deviation of 10 draws, which
    may have all test rows each time; it is kept in `$KERAS_HOME/floors`. It is that of the split, not of chance alone:
    the test rows of MNIST are by other writers, and a judge knows the rows that it was trained on, so that training
    rows have a density of .92 for a 1 and can be told from test rows.
    """

    def metric(run, data, options):
        num = min(options.num_model_samples or NUM_SAMPLES, len(data.train), len(data.test))
        require(num >= SMALLEST_NUM, f"{num} rows are too few")
        draws = _draws(data, num)
        samples, vectors = samples_like_data(run, data, num, options), Vectors(space, run, data)

        def measured(x, y):
            return measure(x.astype(np.float64), y.astype(np.float64))

        def floors():
            return [measured(vectors.of("train", rows), vectors.of("test", others)) for rows, others in draws]

        found = measured(vectors(samples), vectors.of("test", draws[0][1]))
        binarized = run.settings.dynamic_binarization
        kept = _kept(data, [measure.__name__, num, binarized, *vectors.facts.values()], floors)
        report = {}
        for name, (value, error) in found.items():
            of_draws = [draw[name][0] for draw in kept]
            report[name] = value
            if error is not None:
                report[f"{name}_standard_error"] = error
            if np.ptp(of_draws):  # what is the same each time is a constant
                report[f"{name}_floor"] = float(np.mean(of_draws))
                report[f"{name}_floor_deviation"] = float(np.std(of_draws, ddof=1))
        return report | vectors.facts | {"num_draws_of_floor": NUM_DRAWS, "num_model_samples": num}

    metric.__doc__ = measure.__doc__
    return metric


def samples_like_data(run, data, num, options):
    """Samples [num, *shape], of a conditional model with labels as frequent as in the training data.

    Images are rounded to 8 bits, as a PNG of them would be: else a classifier could tell them by what lies between.
    """
    labels = data.train_labels[_draws(data, num)[0][0]] if run.model.conditional else None
    samples = samples_of(run, num, options, labels)
    return np.rint(samples * np.float32(255.0)) / np.float32(255.0) if data.train.dtype == np.uint8 else samples


def _draws(data, num):
    """Rows of training and test data, [(of training, of test)], the same for every run."""
    rng = np.random.default_rng(0)
    return [[rng.choice(len(x), num, replace=False) for x in (data.train, data.test)] for _ in range(NUM_DRAWS)]


def _kept(data, what, make):
    """What `make` returns, a value of JSON, from the cache where it is known for these data and this code."""
    code = Path(two_samples.__file__).read_text()
    digest = hashlib.sha256(repr((code, data.checksum, data.shape, NUM_DRAWS, what)).encode()).hexdigest()[:16]
    file = cache("floors", f"{plain(data.name)}_{what[0]}_{digest}.json")
    if (kept := files.read_json(file, "draws")) is None:
        print(f"measuring {what[0]} of training rows, to be kept in {file}")
        kept = {"draws": make()}
        rundir.write_text(file, files.to_json(kept))
    return kept["draws"]


def class_accuracy(run, data, options):
    """The share of conditional samples, equally many of each class, that are of the class that they were asked for.

    The class of an image is what the judge of the data says, right on a share of `judge_accuracy` of the test rows (on
    fewer once they are binarised: .982 in place of .995 of MNIST); that of a point of a mixture is the nearest mode.
    """
    require(run.model.conditional, "samples are asked for by no class")
    require(data.modes is not None or classifier.has_judge(data), "nothing tells the class of a sample")
    num, report = options.num_model_samples or NUM_SAMPLES, {}
    labels = np.arange(num) % run.model.num_classes
    samples = samples_of(run, num, options, labels)
    if data.modes is not None:
        classes = np.linalg.norm(samples[:, None] - data.modes[None], axis=-1).argmin(axis=1)
    else:
        judge = classifier.judge_of(data)
        classes, report = judge.classes(samples), {"judge": judge.checksum, "judge_accuracy": judge.accuracy}
    return share("class_accuracy", classes == labels) | report | {"num_model_samples": num}


def samples_over_time(run, data, options):
    """RUN_DIR/samples_over_time.png: a line of the images that the run drew at each of some steps, the last of data.

    All lines of samples are of the same seeds.
    """
    require(len(data.shape) == 3, "the data are no images")
    files = sorted((run.path / "samples").glob("step_*.png"))
    require(files, "the run kept no samples")
    chosen = np.unique(np.linspace(0, len(files) - 1, NUM_LINES).round().astype(int))
    lines = [pictures.first_line(files[i], data.shape) for i in chosen]
    some = np.linspace(0, len(data.test) - 1, len(lines[0])).astype(int)  # rows may be sorted by their class
    pictures.lines([*lines, real_rows(run, data, "test", some)], run.path / "samples_over_time.png")
    return {"num_lines": len(lines)}


def completions(run, data, options):
    """RUN_DIR/completions.png: in each line a test image, its upper half, and what the model draws below it, 4 times.

    Of a model that draws pixels in one order, the first draw is also shown when 1/4, 1/2 and 3/4 of it was drawn.
    """
    model, shape = run.model, data.shape
    require("inpaint" in model.signatures(), "the model completes nothing")
    require(len(shape) == 3, "the data are no images")
    some = np.linspace(0, len(data.test) - 1, min(NUM_LINES, len(data.test))).astype(int)
    known = np.broadcast_to(np.arange(shape[0])[:, None, None] < shape[0] // 2, shape)
    images = real_rows(run, data, "test", some)
    rows = images.repeat(NUM_COMPLETIONS, axis=0)
    seeds = np.arange(options.seed, options.seed + len(rows))
    label = {"label": data.test_labels[some].repeat(NUM_COMPLETIONS)} if model.conditional else {}
    found, _ = graph(model.inpaint)(rows, np.broadcast_to(known, rows.shape), tf.constant(seeds), **label)
    found, shown = found.numpy().reshape(len(some), NUM_COMPLETIONS, *shape), [known]
    if len(orders := getattr(model, "orders", ())) == 1:
        place = orders[0].reshape(shape)
        shown += [known | (place < np.quantile(place[~known], part)) for part in (0.25, 0.5, 0.75)]
    parts = [[np.where(seen, draws[0], 0.5) for seen in shown] for draws in found]
    lines = [np.stack([image, *part, *draws]) for image, part, draws in zip(images, parts, found, strict=True)]
    pictures.lines(lines, run.path / "completions.png")
    return {"num_lines": len(lines)}


def histogram_kl(run, data, options):
    """KL(samples || data) in nats between histograms of 10,000 values each, mean and deviation of 100 repetitions.

    Of fewer than 20,000 training rows each has half as many values as there are rows. 50 equal bins over the range of
    the data, and one beyond each end; every count is raised by one, so that no bin is empty. `of_data` is that of data
    and other data, mean and deviation of as many repetitions: what samples of the distribution itself would get.
    RUN_DIR/histogram.png shows the histograms, and mean and width (standard deviation) of the samples that the run drew
    on its way.
    """
    require_samples(run)
    require(data.shape == (1,) and not run.model.conditional, "the data are not of one number, without conditions")
    truth, rng = np.ravel(data.train), np.random.default_rng(options.seed)
    num = min(NUM_VALUES, len(truth) // 2)
    require(num > 0, f"{len(truth)} rows are too few")
    edges = np.concatenate([[-np.inf], np.linspace(truth.min(), truth.max(), NUM_BINS + 1), [np.inf]])
    sample = graph(run.model.sample)

    def distribution(values):
        counts = np.histogram(values, edges)[0] + 1.0
        return counts / counts.sum()

    values, of_samples, of_data = [], [], []
    for i in range(NUM_REPETITIONS):
        first = options.seed + i * NUM_VALUES
        values.append(np.ravel(sample(tf.range(first, first + num, dtype=tf.int64))))
        rows = rng.permutation(len(truth))[: 2 * num]  # no row on both sides
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
