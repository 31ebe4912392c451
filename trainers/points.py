"""Measures of points in one and two dimensions, and of ratios of their densities, each with a picture in the run.

The metrics here are functions as in `trainers/evaluate.py`, which names them.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure
from scipy import special, stats

from common import pictures
from trainers.data import held_out_batches
from zoo.parts.divergences import DIVERGENCES

NUM_PANELS = 6
NUM_REPETITIONS, NUM_VALUES, NUM_BINS = 100, 10_000, 50
NUM_CALIBRATION_BINS = 15


def count_modes(samples, data):
    """(modes with at least one of the samples [n, size] within 3 standard deviations, the share of such samples)."""
    distance = np.linalg.norm(samples[:, None] - data.modes[None], axis=-1)
    nearest, good = distance.argmin(axis=1), distance.min(axis=1) <= 3.0 * data.mode_std
    return len(np.unique(nearest[good])), float(good.mean())


def kept_samples(run):
    """The samples that a run drew on its way: dict, step -> points [n, size]."""
    files = sorted((run.path / "samples").glob("step_*.npy"))
    samples = {int(file.stem.removeprefix("step_")): np.load(file) for file in files}
    return {step: points for step, points in samples.items() if step <= run.step}


def modes_over_time(run, data, options):
    """Modes found by the samples that the run drew on its way, and RUN_DIR/modes.png: how they came there."""
    samples = kept_samples(run)
    if data.modes is None or data.shape != (2,) or not samples:
        return None
    counts = {step: count_modes(points, data) for step, points in samples.items()}
    steps = np.array(list(counts))
    chosen = steps[np.unique(np.linspace(0, len(steps) - 1, NUM_PANELS).round().astype(int))]
    figure = Figure(figsize=(2.2 * len(chosen), 2.5), layout="constrained")
    radius = 1.4 * np.abs(data.modes).max()
    for axes, step in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        axes.scatter(*data.test[:1000].T, s=3, color="0.75")
        axes.scatter(*samples[step][:1000].T, s=1, color="C0")
        axes.set(xlim=(-radius, radius), ylim=(-radius, radius), xticks=[], yticks=[], aspect="equal")
        found, share = counts[step]
        axes.set_title(f"step {step}: {found} modes, {100 * share:.0f} %", fontsize=8)
    pictures.save(figure, run.path / "modes.png")
    found, share = counts[steps[-1]]
    return {
        "modes_found": found,
        "num_modes": len(data.modes),
        "high_quality_share": share,
        "fewest_modes_in_second_half": min(counts[step][0] for step in steps[len(steps) // 2 :]),
    }


def histogram_kl(run, data, options):
    """KL(samples || data) in nats between histograms of 10,000 values each, mean and deviation of 100 repetitions.

    50 equal bins over the range of the data, and one beyond each end; every count is raised by one, so that no bin is
    empty. `of_data` is that of data and other data, the least that there can be. RUN_DIR/histogram.png shows the
    histograms, and mean and width (standard deviation) of the samples that the run drew on its way.
    """
    if data.shape != (1,) or "sample" not in run.model.signatures() or run.model.conditional:
        return None
    truth, rng = np.ravel(data.train), np.random.default_rng(options.seed)
    edges = np.concatenate([[-np.inf], np.linspace(truth.min(), truth.max(), NUM_BINS + 1), [np.inf]])
    sample = tf.function(run.model.sample)

    def distribution(values):
        counts = np.histogram(values, edges)[0] + 1.0
        return counts / counts.sum()

    values, of_samples, of_data = [], [], []
    for i in range(NUM_REPETITIONS):
        first = options.seed + i * NUM_VALUES
        values.append(np.ravel(sample(tf.range(first, first + NUM_VALUES, dtype=tf.int64))))
        q, other = (distribution(rng.choice(truth, NUM_VALUES, replace=False)) for _ in range(2))
        of_samples.append(stats.entropy(distribution(values[-1]), q))
        of_data.append(stats.entropy(other, q))
    values = np.concatenate(values)
    _draw_histogram_and_history(run, values, truth)
    return {
        "kl": float(np.mean(of_samples)),
        "standard_deviation": float(np.std(of_samples)),
        "of_data": float(np.mean(of_data)),
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


def density_ratio(run, data, options):
    """What an estimated log p / q says of held-out rows of p and of q, and how well S(x) is calibrated.

    For every f-divergence D_f(p || q) the lower bound E_p[f'(r)] - E_q[r f'(r) - f(r)] (Nguyen et al. 2010, equation 9,
    at T = f'(r)), equal for the true r; `kl_plug_in` is E_p[log r]. `calibration_error` is the mean distance between S
    and the share of p among rows of about that S (Guo et al. 2017, equation 5), with p and q equally likely. Where the
    densities are known, `error_of_log_ratio` is the root of its mean squared error on rows of both, and `true_kl` the
    mean of the true log r on the held-out rows of p. RUN_DIR/density_ratio.png shows it.
    """
    model = run.model
    if "log_ratio" not in model.signatures():
        return None
    log_ratio, labels, rows = tf.function(model.log_ratio), data.test_labels, []
    served = (0.0, 1.0) if len(data.shape) == 3 else None
    for x in held_out_batches(data, options.batch_size, served, binarize=run.settings.dynamic_binarization):
        rows.append(log_ratio(x)["log_ratio"].numpy())
    log_r = np.concatenate(rows).astype(np.float64)
    of_p = np.isin(labels, model.numerator)
    if of_p.all() or not of_p.any():
        return None
    report = {"kl_plug_in": float(log_r[of_p].mean())}
    report |= {name: _bound(row.f, log_r[of_p], log_r[~of_p]) for name, row in DIVERGENCES.items()}
    weights = np.where(of_p, 0.5 / of_p.sum(), 0.5 / (~of_p).sum())
    S = special.expit(log_r)
    confidence, share, mass = _reliability(S, of_p, weights)
    report["calibration_error"] = float(np.sum(mass * np.abs(confidence - share)))
    report["accuracy"] = float(np.sum(weights * ((log_r > 0) == of_p)))
    truth = true_log_ratio(data, model.numerator, data.test)
    if truth is not None:
        report["true_kl"] = float(truth[of_p].mean())
        report["error_of_log_ratio"] = float(np.sqrt(np.sum(weights * np.square(log_r - truth))))
        report["largest_error_of_probability"] = float(np.abs(S - special.expit(truth)).max())
    _draw_density_ratio(run, data, S, confidence, share, truth)
    return report | {"num_of_p": int(of_p.sum()), "num_of_q": int((~of_p).sum())}


def _bound(f, of_p, of_q):
    """E_p[f'(r)] - E_q[f*(f'(r))] from the logarithms of r on rows of p and of q."""
    slopes, values = [], []
    for log_r in (of_p, of_q):
        r = tf.exp(tf.constant(log_r, tf.float64))
        value, slope = tfp.math.value_and_gradient(f, r)
        slopes.append(slope)
        values.append(r * slope - value)
    return float(tf.reduce_mean(slopes[0]) - tf.reduce_mean(values[1]))


def _reliability(S, of_p, weights):
    """Of equal bins of S that hold rows: the mean of S, the share of p, and the share of all rows."""
    bins = np.minimum((S * NUM_CALIBRATION_BINS).astype(int), NUM_CALIBRATION_BINS - 1)
    mass, sum_of_s, sum_of_p = (
        np.bincount(bins, weights * values, NUM_CALIBRATION_BINS) for values in (np.ones(len(S)), S, of_p)
    )
    held = mass > 0
    return sum_of_s[held] / mass[held], sum_of_p[held] / mass[held], mass[held]


def true_log_ratio(data, numerator, x):
    """log p(x) / q(x) [n] where the classes are Gaussians of the same width, equally likely; None for other data."""
    if data.modes is None:
        return None
    square = np.sum(np.square(x[:, None].astype(np.float64) - data.modes[None]), axis=-1)
    log_density = -square / (2.0 * data.mode_std**2)
    of_p = np.isin(np.arange(len(data.modes)), numerator)
    of_each = [special.logsumexp(log_density[:, rows], axis=1) - np.log(rows.sum()) for rows in (of_p, ~of_p)]
    return of_each[0] - of_each[1]


def _draw_density_ratio(run, data, S, confidence, share, truth):
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], "0.7", linestyle=":")
    left.plot(confidence, share, "o-")
    left.set(xlabel="$S(x)$", ylabel="share of $p$", aspect="equal")
    if truth is not None and data.shape == (1,):
        x, order = np.ravel(data.test), np.argsort(np.ravel(data.test))
        right.plot(x[order], special.expit(truth)[order], "0.6", linewidth=4, label="$p / (p + q)$")
        right.plot(x[order], S[order], "C0", label="$S$")
        right.set(xlabel="$x$")
        right.legend()
    elif truth is not None:
        right.plot([0, 1], [0, 1], "0.7", linestyle=":")
        right.scatter(special.expit(truth), S, s=2)
        right.set(xlabel="$p / (p + q)$", ylabel="$S$", aspect="equal")
    else:
        right.hist(S, 40, color="C0")
        right.set(xlabel="$S(x)$", ylabel="rows")
    pictures.save(figure, run.path / "density_ratio.png")
