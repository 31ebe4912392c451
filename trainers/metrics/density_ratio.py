"""What an estimated ratio of two densities is worth."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure
from scipy import special

from common import pictures
from common.graph import graph
from trainers.metrics.rows import require, served_batches
from zoo.parts.divergences import DIVERGENCES

NUM_CALIBRATION_BINS = 15


def density_ratio(run, data, options):
    """What an estimated log p / q says of held-out rows of p and of q, and how well S(x) is calibrated.

    For every f-divergence D_f(p || q) the lower bound E_p[f'(r)] - E_q[r f'(r) - f(r)] (Nguyen et al. 2010, equation 9,
    at T = f'(r)), equal for the true r, by means over rows, which can lie above; `kl_plug_in` is E_p[log r].
    `calibration_error` is the mean distance between S and the share of p among rows of about that S (Guo et al. 2017,
    equation 3), with p and q equally likely. Where the
    densities are known, `error_of_log_ratio` is the root of its mean squared error on rows of both, and `true_kl` the
    mean of the true log r on the held-out rows of p. RUN_DIR/density_ratio.png shows it.
    """
    model = run.model
    require("log_ratio" in model.signatures(), "the model estimates no ratio of densities")
    log_ratio, labels, rows = graph(model.log_ratio), data.test_labels, []
    for x in served_batches(run, data, options):
        rows.append(log_ratio(x)["log_ratio"].numpy())
    log_r = np.concatenate(rows).astype(np.float64)
    of_p = np.isin(labels, model.numerator)
    require(of_p.any() and not of_p.all(), "the test rows are not of both classes")
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
