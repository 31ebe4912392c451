"""The density of a model of points in the plane, beside the data's where it is known."""

import numpy as np
import tensorflow as tf
from scipy import special

from common import pictures
from common.graph import graph
from trainers.metrics.rows import require, samples_of

CELLS, ROWS = 400, 20_000  # cells of the grid on a side; rows that are scored at once
NUM_SAMPLES = 2000
MARGIN = 0.1  # of the data's width, on each side


def log_densities(model, points):
    """log p(x) of points [n, 2] in nats, float64 [n]."""
    score = graph(model.exact_log_prob)
    parts = [score(tf.constant(points[i : i + ROWS], tf.float32)) for i in range(0, len(points), ROWS)]
    return np.concatenate(parts).astype(np.float64)


def density_map(run, data, options):
    """A picture of p(x) on the plane with samples beside it, RUN_DIR/density_map.png.

    `mass` is the sum of the density over the cells of the picture, which has all data with a margin; above 1 it says
    that the density is narrower than cells are. Of a mixture of Gaussians, whose density is known, `kl` is KL(data ||
    model) in nats by the test rows.
    """
    model = run.model
    require(data.shape == (2,), "the data are not points in the plane")
    require(hasattr(model, "exact_log_prob"), "the model's log p(x) is no closed form")
    low, high = data.test.min(axis=0), data.test.max(axis=0)
    edges = np.linspace(low - MARGIN * (high - low), high + MARGIN * (high - low), CELLS + 1)
    middles = (edges[1:] + edges[:-1]) / 2.0
    grid = np.stack(np.meshgrid(*middles.T), axis=-1).reshape(-1, 2)
    density = np.exp(log_densities(model, grid)).reshape(CELLS, CELLS)
    samples = samples_of(run, NUM_SAMPLES, options)
    _draw(density, edges, samples, data.test[:NUM_SAMPLES], run.path / "density_map.png")
    found = {"mass": float(density.sum() * np.prod(edges[1] - edges[0]))}
    if data.modes is not None:
        gap = mixture_log_density(data, data.test) - log_densities(model, data.test)
        found |= {"kl": float(gap.mean()), "kl_standard_error": float(gap.std(ddof=1) / np.sqrt(len(gap)))}
    return found | {"num_examples": len(data.test)}


def mixture_log_density(data, points):
    """log density in nats [n] of a data set that mixes round Gaussians equally, at points [n, size]."""
    distance = np.linalg.norm(points[:, None].astype(np.float64) - data.modes, axis=-1) / data.mode_std
    log_terms = -0.5 * distance**2 - data.modes.shape[1] * np.log(np.sqrt(2.0 * np.pi) * data.mode_std)
    return special.logsumexp(log_terms, axis=1) - np.log(len(data.modes))


def _draw(density, edges, samples, rows, file):
    """The root of the density, which shows what lies between modes, beside samples and data.

    The 1 % of cells that are densest are black.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 3.5), layout="constrained")
    extent = edges[[0, -1]].T.ravel()
    for i, title in enumerate(("density", "samples", "data")):
        axes = figure.add_subplot(1, 3, i + 1, aspect="equal", title=title, xlabel="$x_1$")
        axes.set(xlim=extent[:2], ylim=extent[2:], ylabel="$x_2$" if i == 0 else "")
        if i == 0:
            root = np.sqrt(density)
            axes.imshow(root, origin="lower", extent=extent, cmap="Greys", vmin=0.0, vmax=np.quantile(root, 0.99))
        else:
            axes.scatter(*(None, samples, rows)[i].T, s=1, color=(None, "C0", "0.5")[i])
    pictures.save(figure, file)
