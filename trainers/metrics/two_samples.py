"""How far two sets of rows are apart, as statistics have it: functions of x [n, size] and y [m, size], y the reference.

Each returns a dict, name -> (estimate, its standard error). Where a matrix of n times m numbers is needed, it is never
in memory as a whole.
"""

import warnings
from typing import NamedTuple

import numpy as np
from scipy import linalg, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CHUNK = 2**23  # numbers of a matrix in memory at once, 64 MiB
NUM_GROUPS = 10  # of rows, that the jackknife of a Frechet distance leaves out in turns
NUM_NEIGHBOURS = 5


# --- Distances that are means over pairs ------------------------------------------------------------------------------


def minus_distance(x, y):
    """-|x - y| [n, m], the kernel whose `squared_mmd` is the energy distance."""
    squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None] - 2.0 * x @ y.T
    return -np.sqrt(np.maximum(squares, 0.0))


def cubic(x, y):
    """(x'y / size + 1)^3 [n, m]: that of the kernel inception distance (Binkowski et al. 2018, arXiv:1801.01401)."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def squared_mmd(x, y, kernel):
    """E k(X, X') + E k(Y, Y') - 2 E k(X, Y), and its standard error by leaving out each row in turn.

    Means over distinct pairs (Gretton et al. 2012, lemma 6): without bias, so that an estimate can be negative. Where
    both sets are of one distribution the error comes out too large by up to a root of two, as a jackknife's does.

    Args:
        kernel: symmetric function of [n, size] and [m, size] that gives [n, m].

    Raises:
        ValueError: if there are fewer than 3 rows in x or y.
    """
    if min(len(x), len(y)) < 3:
        raise ValueError(f"a mean over pairs, with its error, is of at least 3 rows, not of {len(x)} and {len(y)}.")
    n, m = len(x), len(y)
    xx, yy, (xy, yx) = _sums_of_rows(x, kernel), _sums_of_rows(y, kernel), _sums_of_both(x, y, kernel)

    def combine(sum_xx, n, sum_yy, m, sum_xy):
        return sum_xx / (n * (n - 1)) + sum_yy / (m * (m - 1)) - 2.0 * sum_xy / (n * m)

    without_x = combine(xx.sum() - 2.0 * xx, n - 1, yy.sum(), m, xy.sum() - xy)
    without_y = combine(xx.sum(), n, yy.sum() - 2.0 * yy, m - 1, xy.sum() - yx)
    variance = sum((len(w) - 1) * np.var(w) for w in (without_x, without_y))
    return float(combine(xx.sum(), n, yy.sum(), m, xy.sum())), float(np.sqrt(variance))


def _chunks(num_rows, num_columns):
    size = max(1, CHUNK // num_columns)
    return (slice(start, start + size) for start in range(0, num_rows, size))


def _sums_of_rows(x, kernel):
    """sum_j k(x_i, x_j) over j other than i, [n]."""
    sums = []
    for rows in _chunks(len(x), len(x)):
        matrix = kernel(x[rows], x)
        matrix[np.arange(len(matrix)), np.arange(len(x))[rows]] = 0.0
        sums.append(matrix.sum(1))
    return np.concatenate(sums)


def _sums_of_both(x, y, kernel):
    """sum_j k(x_i, y_j) over j, [n], and over i, [m]."""
    of_x, of_y = [], 0.0
    for rows in _chunks(len(x), len(y)):
        matrix = kernel(x[rows], y)
        of_x.append(matrix.sum(1))
        of_y = of_y + matrix.sum(0)
    return np.concatenate(of_x), of_y


def energy_distance(x, y):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, which is 0 for equal distributions only (Szekely and Rizzo 2013)."""
    center = y.mean(0)  # an offset would cost digits
    return {"energy_distance": squared_mmd(x - center, y - center, minus_distance)}


def kernel_distance(x, y):
    """The square of the maximum mean discrepancy by the `cubic` kernel, over all pairs in place of random subsets."""
    return {"kernel_distance": squared_mmd(x, y, cubic)}


# --- The Frechet distance ---------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Of rows: their number, their sum [size], and the sum of their products [size, size]."""

    num: int
    sum: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, rows):
        return cls(len(rows), rows.sum(0), rows.T @ rows)

    @classmethod
    def sum_of(cls, parts):
        return cls(*map(sum, zip(*parts, strict=True)))

    def gaussian(self):
        """Mean and unbiased covariance."""
        mean = self.sum / self.num
        return mean, (self.products - np.outer(self.sum, mean)) / (self.num - 1)


def frechet(x, y):
    """|mean - mean'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2), of Gaussians of these moments (Dowson and Landau 1982).

    In features of a classifier it is what Heusel et al. 2017 (arXiv:1706.08500, equation 6) call FID.

    Args:
        x, y: `Moments`.
    """
    (mean_x, of_x), (mean_y, of_y) = x.gaussian(), y.gaussian()
    values, vectors = linalg.eigh(of_y)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    cross = np.sqrt(np.maximum(linalg.eigvalsh(root @ of_x @ root), 0.0)).sum()
    return float(np.square(mean_x - mean_y).sum() + np.trace(of_x) + np.trace(of_y) - 2.0 * cross)


def frechet_distance(x, y):
    """`frechet`, too large by a bias that falls as 1 / n, and without that: twice that of all, less the mean of halves.

    (Extrapolation to infinitely many rows: Chong and Forsyth 2020, arXiv:1911.07023. What is left is of order 1 / n^2,
    and small where each half has more rows than numbers in a row.) Errors are those of a jackknife that leaves out a
    tenth of x and of y at a time.
    """
    center, num_groups = y.mean(0), min(NUM_GROUPS, len(x) // 4, len(y) // 4)
    if num_groups < 2:
        raise ValueError(f"the Frechet distance, with its error, is of at least 8 rows, not of {len(x)} and {len(y)}.")
    pieces = [[Moments.of(part) for part in np.array_split(rows - center, 2 * num_groups)] for rows in (x, y)]

    def distances(group=None):  # without the group, of which a piece is in each half
        halves = [[], []]
        for of_set in pieces:
            for i, half in enumerate(halves):
                kept = [piece for j, piece in enumerate(of_set[i::2]) if j != group]
                half.append(Moments.sum_of(kept))
        everything = [Moments.sum_of(parts) for parts in zip(*halves, strict=True)]
        distance = frechet(*everything)
        return distance, 2.0 * distance - (frechet(*halves[0]) + frechet(*halves[1])) / 2.0

    without = [distances(group) for group in range(num_groups)]
    errors = np.sqrt((num_groups - 1) * np.var(without, axis=0))
    names = ("frechet_distance", "frechet_distance_extrapolated")
    return {name: (value, float(error)) for name, value, error in zip(names, distances(), errors, strict=True)}


# --- Precision, recall, density, coverage -----------------------------------------------------------------------------


def precision_recall(x, y, k=NUM_NEIGHBOURS):
    """Improved precision and recall, density and coverage (Kynkaanniemi et al. 2019; Naeem et al. 2020, equations 2-6).

    A ball round each row reaches to its k-th neighbour in its own set, itself not counted. precision: share of x in any
    ball of y; recall: share of y in any ball of x; density: balls of y that a row of x lies in, over k; coverage: share
    of the balls of y that hold a row of x. Of equal continuous distributions the mean of density is 1, and that of
    coverage `coverage_of_equal_distributions`; with ties both are larger. Precision and recall of equal distributions
    depend on the distribution, and are not 1: see their floors. In many dimensions, rows of x that vary less than those
    of y have more precision and density, and less recall.

    Errors are the spread of the rows that these are means over, as if the balls were given. They are not: over other
    rows in both sets, as many of each, the numbers of equal distributions spread up to twice as wide, and wider by far
    where a few balls of outliers hold many rows: precision and recall of N(0, I) and N((2, 2), I), 1000 rows of each in
    the plane, spread eight times as wide.
    """
    if min(len(x), len(y)) <= k:
        raise ValueError(f"balls that reach to neighbour {k} need more rows than {len(x)} and {len(y)}.")
    center = y.mean(0)
    x, y = x - center, y - center  # an offset would cost digits
    reach = [NearestNeighbors(n_neighbors=k).fit(rows).kneighbors()[0][:, -1] for rows in (x, y)]
    # Squares of distances, such as of copies, are rounded by a part of that of the row's own length.
    of_x, of_y = (np.hypot(r, 1e-7 * np.linalg.norm(rows, axis=1)) for r, rows in zip(reach, (x, y), strict=True))
    counts, covered, recalled = [], np.zeros(len(y), bool), np.zeros(len(y), bool)

    def balls(distances, start):
        in_y = distances <= of_y
        covered[:] |= in_y.any(0)
        recalled[:] |= (distances <= of_x[start : start + len(distances), None]).any(0)
        return in_y.sum(1)

    for chunk in pairwise_distances_chunked(x, y, reduce_func=balls, working_memory=CHUNK * 8 / 2**20):
        counts.append(chunk)
    counts = np.concatenate(counts)
    means = {"precision": counts > 0, "recall": recalled, "density": counts / k, "coverage": covered}
    found = {name: (float(np.mean(values)), _error_of_mean(values)) for name, values in means.items()}
    return found | {"coverage_of_equal_distributions": (coverage_of_equal_distributions(len(x), len(y), k), None)}


def coverage_of_equal_distributions(num_x, num_y, k=NUM_NEIGHBOURS):
    """The expectation of coverage where x and y have one continuous distribution.

    A ball of y misses all x if its k neighbours are the nearest of the num_x + num_y - 1 other rows, whose ranks are
    exchangeable: 1 - prod_{j=1..k} (num_y - j) / (num_x + num_y - j).
    """
    j = np.arange(1, k + 1)
    return float(1.0 - np.prod((num_y - j) / (num_x + num_y - j)))


def _error_of_mean(values):
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


# --- A classifier as a test -------------------------------------------------------------------------------------------


def two_sample_test(x, y, seed=0):
    """Held-out accuracy of a classifier that tells x from y (Lopez-Paz and Oquab 2017, arXiv:1610.06545).

    Its network is theirs, a hidden layer of 20 units, but learns for 50 epochs at most in place of their 100, from one
    half of as many rows of each. The p-value is the share of all ways to hand the labels to the other half that make as
    many answers right, or more: a permutation test, exact under equal distributions, whose sum is known (Fisher's exact
    test). The error of the accuracy is that of the rows that are asked, with the network as it is. Its inputs are
    standardised by all rows: a few that are ten thousand times as far away as the rest make it blind to these.
    """
    rng, num = np.random.default_rng(seed), min(len(x), len(y)) // 2
    parts = [rows[rng.permutation(len(rows))[: 2 * num]] for rows in (x, y)]
    train, test = (np.concatenate([rows[half::2] for rows in parts]) for half in (0, 1))
    labels = np.arange(2 * num) // num
    network = MLPClassifier((20,), batch_size=min(100, 2 * num), max_iter=50, n_iter_no_change=5, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 50 epochs are what is meant
        answers = make_pipeline(StandardScaler(), network).fit(train, labels).predict(test)
    table = [[np.sum((answers == answer) & (labels == label)) for label in (0, 1)] for answer in (0, 1)]
    p_value = float(stats.fisher_exact(table, alternative="greater").pvalue)
    accuracy = float(np.mean(answers == labels))
    error = float(np.sqrt(accuracy * (1.0 - accuracy) / len(labels)))
    return {"two_sample_accuracy": (accuracy, error), "two_sample_p_value": (p_value, None)}
