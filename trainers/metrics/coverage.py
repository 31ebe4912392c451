"""Which modes of a mixture the samples reach."""

import numpy as np
from matplotlib.figure import Figure

from common import pictures
from trainers.metrics.rows import kept_samples, require, samples_of, share

NUM_PANELS = 6
NUM_SAMPLES = 2500  # as Lin et al. 2018


def count_modes(samples, data):
    """Modes with at least one of the samples [n, size] within 3 standard deviations, and the share of such samples."""
    distance = np.linalg.norm(samples[:, None] - data.modes[None], axis=-1)
    nearest, good = distance.argmin(axis=1), distance.min(axis=1) <= 3.0 * data.mode_std
    found = {"modes_found": len(np.unique(nearest[good])), "num_modes": len(data.modes)}
    return found | share("high_quality_share", good)


def modes_found(run, data, options):
    """Modes with at least one sample within 3 standard deviations, and the share of such samples.

    The protocol of Lin et al. 2018 (PacGAN, arXiv:1712.04086) for the ring of 8 and the grid of 25 Gaussians.
    """
    require(data.modes is not None, "the data are no mixture")
    samples = samples_of(run, options.num_model_samples or NUM_SAMPLES, options)
    return count_modes(samples, data) | {"num_model_samples": len(samples)}


def modes_over_time(run, data, options):
    """Modes found by the samples that the run drew on its way, and RUN_DIR/modes.png: how they came there."""
    samples = kept_samples(run)
    require(data.modes is not None and data.shape == (2,), "the data are no mixture in the plane")
    require(samples, "the run kept no samples")
    counts = {step: count_modes(points, data) for step, points in samples.items()}
    steps = np.array(list(counts))
    chosen = steps[np.unique(np.linspace(0, len(steps) - 1, NUM_PANELS).round().astype(int))]
    figure = Figure(figsize=(2.2 * len(chosen), 2.5), layout="constrained")
    radius = 1.4 * np.abs(data.modes).max()
    for axes, step in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        axes.scatter(*data.test[:1000].T, s=3, color="0.75")
        axes.scatter(*samples[step][:1000].T, s=1, color="C0")
        axes.set(xlim=(-radius, radius), ylim=(-radius, radius), xticks=[], yticks=[], aspect="equal")
        good = counts[step]["high_quality_share"]
        axes.set_title(f"step {step}: {counts[step]['modes_found']} modes, {100 * good:.0f} %", fontsize=8)
    pictures.save(figure, run.path / "modes.png")
    fewest = min(counts[step]["modes_found"] for step in steps[len(steps) // 2 :])
    return counts[steps[-1]] | {"fewest_modes_in_second_half": fewest}
