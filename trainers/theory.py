"""Metrics of models whose outcome theory foretells: what a run gives, beside what it must give.

Each is one function of (run, data, options), a line of `METRICS` in trainers/evaluate.py.
"""

import json

import numpy as np

from export import pictures


def play_against_theory(run, data, options):
    """How the players of a linear game moved, beside the powers of its matrix; as a picture RUN_DIR/path.png.

    Of a run that logged every step (--log_every=1). The picture has the circle of continuous time, too.
    """
    model = run.model
    matrix = model.linear_map() if hasattr(model, "linear_map") else None
    log = run.path / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if matrix is not None and log.exists() else []
    if not lines or [line["step"] for line in lines] != list(range(1, run.step + 1)):
        return None
    start = np.array([model.x0, model.y0])
    path = np.array([start, *([line["position_x"], line["position_y"]] for line in lines)])
    theory = np.array([np.linalg.matrix_power(matrix, t) @ start for t in range(len(path))])
    _draw_paths(path, theory, model.play, run.path / "path.png")
    distance, distance_in_theory = (float(np.linalg.norm(points[-1])) for points in (path, theory))
    return {
        "distance": distance,
        "distance_in_theory": distance_in_theory,
        "largest_deviation": float(np.linalg.norm(path - theory, axis=1).max()),
        "spectral_radius": float(np.abs(np.linalg.eigvals(matrix)).max()),
        "num_steps": run.step,
    }


def _draw_paths(path, theory, title, file):
    """A path [T + 1, 2] over that of theory, and the circle through its start."""
    from matplotlib.figure import Figure  # slow to import

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
