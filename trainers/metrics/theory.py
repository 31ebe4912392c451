"""Metrics of models whose outcome theory foretells: what a run gives, beside what it must give."""

import json

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from scipy import special, stats

from common import pictures
from common.graph import graph
from trainers.callbacks import logged_step
from trainers.data import PUSHED
from trainers.metrics.rows import require
from zoo.parts import noise

NUM_DENSITY_SAMPLES = 100_000
OBSERVED = (0.0, 5.0, 8.0, 12.0, 50.0)  # the x of Huszar 2017
EDGES, PARTS = np.linspace(-6.0, 6.0, 61), 4  # of the cells that posteriors are compared on; parts of each


def _path_of(run):
    """Where the players of a game of two numbers were after each step, [steps + 1, 2], and its `linear_map`."""
    model = run.model
    matrix = model.linear_map() if hasattr(model, "linear_map") else None
    log = run.path / "metrics.jsonl"
    lines = log.read_bytes().splitlines() if matrix is not None and log.exists() else []
    require(matrix is not None, "the model is no linear game")
    every = lines and [logged_step(line) for line in lines] == list(range(1, run.step + 1))
    require(every, "the run did not log every step (--log_every=1)")
    lines = [json.loads(line) for line in lines]
    start = [model.x0, model.y0]
    return np.array([start, *([line["position_x"], line["position_y"]] for line in lines)]), matrix


def eigenvalues_against_theory(run, data, options):
    """How fast the players of a game turn and come nearer to its solution, near to it, beside theory.

    Eigenvalues, of the largest imaginary part, or if all are real the largest, of the matrix that fits the last half of
    the path best (least squares) and of the game's own there, as those of a flow: real part and imaginary part of
    (eigenvalue - 1) / rate. Of a run that logged every step (--log_every=1) and whose players have one rate.
    """
    path, matrix = _path_of(run)
    rates = {float(optimizer.learning_rate) for optimizer in run.model.optimizers.values()}
    require(len(rates) == 1, "the players have different rates")
    half = path[len(path) // 2 :]
    fitted = np.linalg.lstsq(half[:-1], half[1:], rcond=None)[0].T
    measured, theory = (
        max((np.linalg.eigvals(m) - 1.0) / min(rates), key=lambda value: (value.imag, value.real))
        for m in (fitted, matrix)
    )
    return {
        "real_part": float(np.real(measured)),
        "real_part_in_theory": float(np.real(theory)),
        "imaginary_part": float(np.imag(measured)),
        "imaginary_part_in_theory": float(np.imag(theory)),
        "distance": float(np.linalg.norm(path[-1])),
    }


def play_against_theory(run, data, options):
    """How the players of a linear game moved, beside the powers of its matrix; as a picture RUN_DIR/path.png.

    Of a run that logged every step (--log_every=1). The picture has the circle of continuous time, too. Of a game that
    is linear near its solution only, the powers hold there only.
    """
    model = run.model
    path, matrix = _path_of(run)
    theory = np.array([np.linalg.matrix_power(matrix, t) @ path[0] for t in range(len(path))])
    _draw_paths(path, theory, model.play, run.path / "path.png")
    distance, distance_in_theory = (float(np.linalg.norm(points[-1])) for points in (path, theory))
    return {
        "distance": distance,
        "distance_in_theory": distance_in_theory,
        "largest_deviation": float(np.linalg.norm(path - theory, axis=1).max()),
        "spectral_radius": float(np.abs(np.linalg.eigvals(matrix)).max()),
        "num_steps": run.step,
    }


def density_against_theory(run, data, options):
    """Samples of one number, and what the sets {h: f(h) <= x} weigh, beside the closed form: RUN_DIR/density.png.

    The distances are those of Kolmogorov and Smirnov, the largest difference of distribution functions: from the closed
    form to samples, to test data, and to the sets, found by trying values of h. The mu and sigma that the run found
    stand beside those that the data were made with.
    """
    model = run.model
    require(hasattr(model, "cdf") and data.shape == (1,), "the model has no distribution function of one number")
    num = options.num_model_samples or NUM_DENSITY_SAMPLES
    samples = model.sample(tf.range(options.seed, options.seed + num, dtype=tf.int64)).numpy()[:, 0]

    def cdf(x):
        return model.cdf(tf.constant(x[:, None], tf.float32)).numpy()[:, 0]

    h = np.linspace(-8.0, 8.0, 200_001)
    f_h = model.decode(tf.constant(h[:, None], tf.float32)).numpy()[:, 0]
    order, weight = np.argsort(f_h), stats.norm.pdf(h) * (h[1] - h[0])
    edges = np.quantile(samples, np.linspace(0.005, 0.995, 201))
    weights = np.concatenate([[0.0], np.cumsum(weight[order])])
    weight_of_sets = weights[np.searchsorted(f_h[order], edges, side="right")]  # Pr(f(h) <= x), x an edge
    _draw_density(model, samples, edges, np.diff(weight_of_sets) / np.diff(edges), run.path / "density.png")
    u = model.u()
    _, mu, sigma = PUSHED.get(data.name, (None, None, None))
    of_data = {} if mu is None else {"mu_of_data": mu, "sigma_of_data": sigma}
    return {
        "distance_of_samples": float(stats.kstest(samples, cdf).statistic),
        "distance_of_test_data": float(stats.kstest(data.test[:, 0], cdf).statistic),
        "distance_of_sets": float(np.abs(weight_of_sets - cdf(edges)).max()),
        "mu": float(u.loc[0]),
        "sigma": float(u.scale[0]),
        **of_data,
        "num_model_samples": num,
    }


def posterior_against_theory(run, data, options):
    """Draws from q(z|x) beside the posterior on a grid, for x of 0, 5, 8, 12 and 50: RUN_DIR/posterior.png.

    KL(q(z|x) || p(z|x)) in nats, of both on square cells of side 0.2: a lower bound of that of the densities, but for a
    bias of less than (number of cells) / draws. Draws beyond the cells, or that are no numbers, count in the outermost.
    """
    model = run.model
    known = hasattr(model, "log_joint") and model.latent_size == 2 and data.shape == (1,) and not model.conditional
    require(known, "the model has no posterior of two numbers that is known")
    num = options.num_model_samples or NUM_DENSITY_SAMPLES
    seeds, report, pairs = tf.range(options.seed, options.seed + num, dtype=tf.int64), {}, []

    @graph
    def drawn(x):  # not what `encode` returns, which of a Gaussian is the mean
        q = model.q(x)
        return q.draw(noise.of_rows(q.noise, seeds, noise.POSTERIOR))[0]

    for x in OBSERVED:
        z = drawn(tf.fill([num, 1], x)).numpy()
        z = np.clip(np.nan_to_num(z, nan=np.inf), EDGES[0], EDGES[-1])  # or they would count as no divergence
        q, p = np.histogram2d(*z.T, bins=[EDGES, EDGES])[0] / num, posterior_on_cells(model, x)
        report[f"kl_at_{x:g}"] = float(np.sum(special.rel_entr(q, p)))
        pairs.append((p, q))
    report["largest_kl"] = max(report.values())
    _draw_posteriors(pairs, run.path / "posterior.png")
    return report | {"num_model_samples": num}


def posterior_on_cells(model, x):
    """p(z|x) of each cell of `EDGES` in both directions, for one number x, by the sum over the middles of its parts."""
    side = (EDGES[1] - EDGES[0]) / PARTS
    middles = np.arange(EDGES[0] + side / 2, EDGES[-1], side)
    z = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).astype(np.float32)
    log_p = model.log_joint(tf.fill([*z.shape[:2], 1], x), tf.constant(z)).numpy().astype(np.float64)
    num = len(EDGES) - 1
    return special.softmax(log_p).reshape(num, PARTS, num, PARTS).sum(axis=(1, 3))


def _draw_posteriors(pairs, file):
    """Posteriors on cells, for each of `OBSERVED` the exact one above that of the encoder."""
    figure = Figure(figsize=(2.2 * len(pairs), 4.8), layout="constrained")
    grid = figure.subplots(2, len(pairs), sharex=True, sharey=True)
    for i, (x, pair) in enumerate(zip(OBSERVED, pairs, strict=True)):
        for axes, cells, name in zip(grid[:, i], pair, ("p", "q"), strict=True):
            limits = (EDGES[0], EDGES[-1]) * 2
            axes.imshow(cells.T, origin="lower", extent=limits, vmin=0.0, vmax=pair[0].max(), cmap="Blues")
            axes.set_title(f"${name}(z|x = {x:g})$")
    grid[1, 0].set(xlabel="$z_1$", ylabel="$z_2$")
    pictures.save(figure, file)


def _draw_density(model, samples, edges, numerical, file):
    """Samples [n] as a histogram, the closed form between the edges, and a density [edges - 1] found otherwise."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="$x$", ylabel="density", title=model.function)
    pictures.draw_histogram(axes, samples)
    axes.set_ylim(axes.get_ylim())  # that of a square grows without bound towards 0
    middles = (edges[1:] + edges[:-1]) / 2.0
    density = np.exp(model.log_prob(tf.constant(middles[:, None], tf.float32))["log_prob"])
    axes.plot(middles, density, color="C1", linewidth=2, label="closed form")
    axes.plot(middles, numerical, "k:", linewidth=1, label=r"$\frac{d}{dx}$ Pr($f(h) \leq x$), numerically")
    axes.legend()
    pictures.save(figure, file)


def _draw_paths(path, theory, title, file):
    """A path [T + 1, 2] over that of theory, and the circle through its start."""
    figure = Figure(figsize=(5, 5.5), layout="constrained")
    axes = figure.add_subplot(aspect="equal", adjustable="datalim", xlabel="$x$", ylabel="$y$", title=title)
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    circle = np.linalg.norm(path[0]) * np.array([np.cos(angle), np.sin(angle)])
    axes.plot(*circle, "--", color="C1", linewidth=1, label="continuous time")
    axes.plot(*theory.T, color="0.8", linewidth=4, label="closed form")
    axes.plot(*path.T, "o-", color="C0", markersize=2, linewidth=0.7, label="run")
    axes.plot(*path[0], "o", color="C2", label="start")
    axes.plot(0.0, 0.0, "k+", markersize=12, label="solution")
    figure.legend(loc="outside lower center", ncols=3)
    pictures.save(figure, file)
