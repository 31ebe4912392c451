"""Which modes of the data the samples reach, and how evenly."""

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from common import pictures
from trainers import classifier
from trainers.metrics.rows import kept_samples, real_rows, require, samples_of, served

NUM_SAMPLES, NUM_OF_MODE = 2500, 26  # as Lin et al. 2018: for mixtures, and for each mode of stacked MNIST
NUM_IMAGES = 10_000  # at least, where the modes are classes; as other metrics of samples have
NUM_DRAWS = 100  # of data in place of samples
NUM_ROWS = 5000  # that a judge sees at once
NUM_PANELS = 6
NONE = -1  # the mode of what is near none


def modes_of(samples, data, judge=None):
    """The mode of each sample [n, *data.shape], int64 [n]: the class that a judge says.

    Without a judge it is the nearest centre of a mixture within 3 standard deviations, or `NONE`.
    """
    if judge is not None:
        starts = range(0, len(samples), NUM_ROWS)
        return np.concatenate([judge.classes(served(samples[start : start + NUM_ROWS])) for start in starts])
    distance = np.linalg.norm(samples[:, None] - data.modes[None], axis=-1)
    return np.where(distance.min(axis=1) <= 3.0 * data.mode_std, distance.argmin(axis=1), NONE)


def coverage_of(modes, num_modes):
    """What is measured of the modes [n] of samples, dict name -> (value, its standard error or None).

    `reverse_kl` is KL(p || uniform) in nats, p the shares of the samples that are near a mode: not finite without any.
    Its error is that of the mean of log p, which near the uniform p says too much by a root of two.
    """
    near = modes[modes != NONE]
    counts = np.bincount(near, minlength=num_modes)
    shares = counts / max(len(near), 1)
    log_shares = np.log(shares[near])
    kl = stats.entropy(shares, np.full(num_modes, 1.0 / num_modes)) if len(near) else np.nan
    share = len(near) / len(modes)
    return {
        "modes_found": (int(np.count_nonzero(counts)), None),
        "reverse_kl": (float(kl), float(log_shares.std() / np.sqrt(len(near))) if len(near) else None),
        "high_quality_share": (share, float(np.sqrt(share * (1.0 - share) / len(modes)))),
    }


def modes_found(run, data, options):
    """Modes with a sample, KL(samples || data) in nats between shares of the modes, and the share of good samples.

    The protocol of Lin et al. 2018 (PacGAN, arXiv:1712.04086, section 4), as their published code has it. In a mixture,
    such as the ring of 8 or the grid of 25 Gaussians, a sample is good within 3 standard deviations of a mode, and no
    other counts. In images with labels, such as stacked MNIST, every sample counts, for the class that the judge says.
    The data's shares are taken to be equal. `..._floor` is the same of rows of data, mean and deviation of 100 draws:
    of training rows of a mixture, else of test rows, which the judge has not learnt from, binarised where the run's
    are. A perfect generator, judged without mistakes, has a `reverse_kl` of about (M - 1) / 2n in n samples of M modes;
    that of a conditional model may be below, and below the floor, for it is asked for each class in turn.
    """
    if data.modes is not None:
        num_modes, num, real, judge, facts = len(data.modes), NUM_SAMPLES, data.train, None, {}
    else:
        require(classifier.has_judge(data), "the data are no mixture, and no images with classes")
        num_modes, judge = data.num_classes, classifier.judge_of(data)
        real = real_rows(run, data, "test") if run.settings.dynamic_binarization else data.test
        num = max(NUM_IMAGES, NUM_OF_MODE * num_modes)
        facts = {"judge": judge.checksum, "judge_accuracy": judge.accuracy}
    num = options.num_model_samples or num
    found = coverage_of(modes_of(samples_of(run, num, options), data, judge), num_modes)
    real, rng = modes_of(real, data, judge), np.random.default_rng(0)
    draws = [coverage_of(_drawn(real, data, num, rng), num_modes) for _ in range(NUM_DRAWS)]
    if judge is not None:
        del found["high_quality_share"]  # there is always a class
    report = {}
    for name, (value, error) in found.items():
        of_draws = [draw[name][0] for draw in draws]
        report[name] = value
        if error is not None:
            report[f"{name}_standard_error"] = error
        report |= {
            f"{name}_floor": float(np.mean(of_draws)),
            f"{name}_floor_deviation": float(np.std(of_draws, ddof=1)),
        }
    report["reverse_kl_of_perfect_generator"] = (num_modes - 1) / (2 * num)
    return report | facts | {"num_modes": num_modes, "num_draws_of_floor": NUM_DRAWS, "num_model_samples": num}


def _drawn(modes, data, num, rng):
    """The modes of `num` rows drawn with replacement; of stacks each channel on its own, as the data were made."""
    if data.channel is None:
        return rng.choice(modes, num)
    sizes = data.shape[2] * (data.channel.num_classes,)
    return np.ravel_multi_index([rng.choice(each, num) for each in np.unravel_index(modes, sizes)], sizes)


def modes_over_time(run, data, options):
    """Modes found by the samples that the run drew on its way, and RUN_DIR/modes.png: how they came there."""
    samples = kept_samples(run)
    require(data.modes is not None and data.shape == (2,), "the data are no mixture in the plane")
    require(samples, "the run kept no samples")
    found = {step: coverage_of(modes_of(points, data), len(data.modes)) for step, points in samples.items()}
    counts = {step: (each["modes_found"][0], *each["high_quality_share"]) for step, each in found.items()}
    steps = np.array(list(counts))
    chosen = steps[np.unique(np.linspace(0, len(steps) - 1, NUM_PANELS).round().astype(int))]
    figure = Figure(figsize=(2.2 * len(chosen), 2.5), layout="constrained")
    radius = 1.4 * np.abs(data.modes).max()
    for axes, step in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        axes.scatter(*data.test[:1000].T, s=3, color="0.75")
        axes.scatter(*samples[step][:1000].T, s=1, color="C0")
        axes.set(xlim=(-radius, radius), ylim=(-radius, radius), xticks=[], yticks=[], aspect="equal")
        found, share, _ = counts[step]
        axes.set_title(f"step {step}: {found} modes, {100 * share:.0f} %", fontsize=8)
    pictures.save(figure, run.path / "modes.png")
    found, share, error = counts[steps[-1]]
    return {
        "modes_found": found,
        "num_modes": len(data.modes),
        "high_quality_share": share,
        "high_quality_share_standard_error": error,
        "fewest_modes_in_second_half": min(counts[step][0] for step in steps[len(steps) // 2 :]),
    }
