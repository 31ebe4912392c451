"""How near the posterior that a model infers is to that of its own decoder, where latents are two numbers."""

import numpy as np
import tensorflow as tf

from common import pictures
from common.graph import graph
from trainers.metrics.likelihood import is_density, nll_name, require_density
from trainers.metrics.rows import held_out, require
from zoo.parts import estimators, noise
from zoo.parts.distributions import PRIORS

NUM_ROWS = 100  # at most, of the test set
NUM_DRAWS, NUM_DOTS, NUM_PATHS = 1000, 300, 12  # for each of them: measured, drawn, and drawn with their paths
EDGES = np.linspace(-5.0, 5.0, 401, dtype=np.float32)  # of the grid: beyond it lies a millionth of N(0, I)


def posterior_map(run, data, options):
    """log p(x) by quadrature over both latents, how far the ELBO is below, and posteriors, RUN_DIR/posteriors.png.

    `gap` is how far the ELBO of draws falls short of log p(x), in nats: KL(q(z|x) || p(z|x)), and what auxiliary
    variables cost; its error is that of the draws, the rows being given. The picture has p(z|x), darker where it is
    denser, of the first test rows that differ, draws of q(z|x) over it, and the paths of some draws of a model whose
    latents move.
    """
    model = run.model
    require(getattr(model, "latent_size", None) == 2, "latents are not of 2 numbers")
    require(hasattr(model, "p"), "the model has no likelihood p(x|z)")
    require(not model.conditional, "the model's posterior is told the class of a row")
    require(getattr(model, "has_proposal", False) and model.proposes_by_q, "q(z|x) has no density that is known")
    require(model.latent_prior == PRIORS["normal"], "the prior of latents is not N(0, I)")  # others leave the grid
    require_density(run, data)
    middles = (EDGES[1:] + EDGES[:-1]) / 2.0
    grid = tf.constant(np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 1, 2))
    log_area = 2.0 * np.log(EDGES[1] - EDGES[0])

    @graph
    def log_joint(x):
        return (model.p(grid).log_prob(x) + model.prior.log_prob(grid))[:, 0]

    @graph
    def log_weights(x):
        with model.drawing(noise.EVALUATION, 0, options.seed):
            return model.log_weights(x, NUM_DRAWS)

    (x,) = held_out(run, data, NUM_ROWS, with_labels=False, dequantize=is_density(model)).take(1)
    log_joints = np.stack([log_joint(row[None]).numpy().astype(np.float64) for row in x])  # one by one, for memory
    log_p = np.logaddexp.reduce(log_joints, axis=1) + log_area
    log_w = log_weights(x).numpy().astype(np.float64)
    _draw(model, x, np.exp(log_joints + log_area - log_p[:, None]), options.seed, run.path / "posteriors.png")
    gap = log_p - estimators.elbo(log_w).numpy()
    return {
        nll_name(run, data): -float(log_p.mean()),
        "gap": float(gap.mean()),
        "gap_standard_error": float(np.sqrt(np.sum(log_w.var(axis=0, ddof=1) / NUM_DRAWS)) / len(gap)),
        "num_draws": NUM_DRAWS,
        "num_examples": len(gap),
    }


def _draw(model, x, masses, seed, file):
    """Masses [n, cells] of p(z|x) on the grid, for the first four different rows of x, beneath draws of q."""
    from matplotlib.figure import Figure

    different = np.sort(np.unique(x.numpy().reshape(len(x), -1), axis=0, return_index=True)[1])[:4]
    x, size = tf.gather(x, different), len(EDGES) - 1
    q = model.q(x)
    with model.drawing(noise.EVALUATION, 1, seed):
        epsilon = model.draw_noise(q, [NUM_DRAWS, len(different)])
    draws = q.draw(epsilon)[0].numpy()
    few = tf.nest.map_structure(lambda leaf: leaf[:NUM_PATHS], epsilon)
    paths = model.trajectory(x, few).numpy() if hasattr(model, "trajectory") else None
    figure = Figure(figsize=(2.6 * len(different), 3.0), layout="constrained")
    for i, row in enumerate(different):
        axes = figure.add_subplot(1, len(different), i + 1, aspect="equal", xlabel="$z_1$")
        axes.imshow(masses[row].reshape(size, size).T, origin="lower", extent=EDGES[[0, -1, 0, -1]], cmap="Greys")
        axes.plot(*draws[:NUM_DOTS, i].T, ".", color="C0", markersize=2)
        if paths is not None:
            for j in range(NUM_PATHS):
                axes.plot(*paths[:, j, i].T, "-", color="C1", linewidth=0.8)
                axes.plot(*paths[0, j, i], "o", color="C1", markersize=2.5)
        axes.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5))
    figure.axes[0].set_ylabel("$z_2$")
    pictures.save(figure, file)
