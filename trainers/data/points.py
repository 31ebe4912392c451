"""Datasets of points, drawn here. A loader is a function of the data directory, which it does not need.

The draws come from `RandomState`, whose numbers no version of NumPy changes.
"""

import numpy as np
from scipy import special

from trainers.data.dataset import Data
from trainers.data.files import sha256

LICENCE = "Generated; needs no licence."


def ring(data_dir):
    """8 Gaussians on the unit circle (Lin et al., "PacGAN", NeurIPS 2018, arXiv:1712.04086)."""
    angle = np.arange(8) * (2 * np.pi / 8)
    return _mixture("ring", np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.01)


def grid(data_dir):
    """25 Gaussians on a square lattice of step 2 (same source)."""
    return _mixture("grid", np.mgrid[-4:5:2, -4:5:2].reshape(2, 25).T, 0.05)


def line(data_dir):
    """3 Gaussians on a line, 4 deviations apart."""
    return _mixture("line", np.array([[-2.0], [0.0], [2.0]]), 0.5)


def _mixture(name, modes, std):
    rng = np.random.RandomState(0)
    labels = rng.randint(len(modes), size=110_000).astype(np.int64)
    points = (modes[labels] + std * rng.randn(110_000, modes.shape[1])).astype(np.float32)
    return Data(
        name,
        points[:100_000],
        points[100_000:],
        labels[:100_000],
        labels[100_000:],
        len(modes),
        sha256(points, labels),
        LICENCE,
        modes.astype(np.float32),
        std,
    )


def four_points(data_dir):
    """The corners (1, 0, 0, 0) .. (0, 0, 0, 1), label i being corner i (Mescheder et al. 2017, arXiv:1701.04722).

    The set is the distribution: its log-likelihood is at most -log 4 under any model.
    """
    train, test = (np.arange(num) % 4 for num in (4000, 1000))
    points = np.eye(4, dtype=np.float32)
    return Data("four_points", points[train], points[test], train, test, 4, sha256(points), LICENCE)


PUSHED = {  # name: (f, mu, sigma) of points f(mu + sigma h), h ~ N(0, 1)
    "log_normal": (np.exp, 0.0, 0.5),
    "chi_squared": (np.square, 0.0, 1.0),  # of one degree of freedom
    "logit_normal": (special.expit, 0.0, 2.0),
}
ONE_DIMENSIONAL = {  # name: draws of one number each
    "gaussian": lambda rng, num: rng.normal(1.0, 0.5, num),
    "beta": lambda rng, num: rng.beta(2.0, 5.0, num),
    "sprinkler": lambda rng, num: np.expm1(np.log(61.0) * rng.rand(num)),  # even on the scale log(1 + x), below 60
    **{
        name: lambda rng, num, f=f, mu=mu, sigma=sigma: f(mu + sigma * rng.randn(num))
        for name, (f, mu, sigma) in PUSHED.items()
    },
}


def one_dimensional(name, data_dir):
    """One number a row, out of a distribution that is known."""
    points = ONE_DIMENSIONAL[name](np.random.RandomState(0), 110_000).astype(np.float32)[:, None]
    return Data(name, points[:100_000], points[100_000:], None, None, None, sha256(points), LICENCE)
