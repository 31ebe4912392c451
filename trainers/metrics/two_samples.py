"""How far two sets of rows are apart, as statistics have it: functions of x [n, size] and y [m, size], y the reference.

Each returns a dict, name -> (estimate, its standard error). Where a matrix of n times m numbers is needed, it is never
in memory as a whole.
"""

import numpy as np
from scipy import linalg, stats
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CHUNK = 2**23  # numbers of a matrix in memory at once, 64 MiB
NUM_GROUPS = 10  # of rows, that a jackknife leaves out in turns
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
    return combine(xx.sum(), n, yy.sum(), m, xy.sum()), np.sqrt(variance)


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


def frechet(x, y):
    """|mean - mean'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2), of Gaussians of these moments (Dowson and Landau 1982).

    In features of a classifier it is what Heusel et al. 2017 (arXiv:1706.08500, equation 6) call FID.
    """
    (mean_x, of_x), (mean_y, of_y) = ((rows.mean(0), np.atleast_2d(np.cov(rows, rowvar=False))) for rows in (x, y))
    values, vectors = linalg.eigh(of_y)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    cross = np.sqrt(np.maximum(linalg.eigvalsh(root @ of_x @ root), 0.0)).sum()
    return float(np.square(mean_x - mean_y).sum() + np.trace(of_x) + np.trace(of_y) - 2.0 * cross)


def extrapolated_frechet(x, y):
    """`frechet` for infinitely many rows, of which a bias in 1 / n is gone: twice that of all less that of halves."""
    halves = zip((x[::2], x[1::2]), (y[::2], y[1::2]), strict=True)
    return 2.0 * frechet(x, y) - float(np.mean([frechet(*half) for half in halves]))


def frechet_distance(x, y):
    """`frechet`, too large by a bias of about 1 / n, and without that (Chong and Forsyth 2020, arXiv:1911.07023)."""
    found = {"frechet_distance": frechet, "frechet_distance_extrapolated": extrapolated_frechet}
    return {name: (statistic(x, y), grouped_jackknife(statistic, x, y)) for name, statistic in found.items()}


def grouped_jackknife(statistic, x, y):
    """The standard error of a smooth statistic of x and y, by leaving out one group of their rows after the other."""
    variance = 0.0
    for rows, of in ((x, lambda rest: statistic(rest, y)), (y, lambda rest: statistic(x, rest))):
        group = np.arange(len(rows)) // 2 % min(NUM_GROUPS, len(rows) // 2)  # in pairs: halves stay halves
        values = [of(rows[group != i]) for i in range(group.max() + 1)]
        variance += (len(values) - 1) * np.var(values)
    return float(np.sqrt(variance))


# --- Precision, recall, density, coverage -----------------------------------------------------------------------------


def precision_recall(x, y, k=NUM_NEIGHBOURS):
    """Improved precision and recall, density and coverage (Kynkaanniemi et al. 2019; Naeem et al. 2020, equations 2-6).

    A ball round each row reaches to its k-th neighbour in its own set, itself not counted. precision: share of x in any
    ball of y; recall: share of y in any ball of x; density: balls of y that a row of x lies in, over k, whose
    mean is 1 for equal distributions; coverage: share of the balls of y that hold a row of x, then
    `coverage_of_equal_distributions`. Precision and recall of equal distributions depend on the distribution, and are
    not 1: see their floors. Errors are the spread of the rows that these are means over, with the other set as it is.
    """
    if min(len(x), len(y)) <= k:
        raise ValueError(f"balls that reach to neighbour {k} need more rows than {len(x)} and {len(y)}.")
    of_x, of_y = (NearestNeighbors(n_neighbors=k).fit(rows).kneighbors()[0][:, -1] for rows in (x, y))
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

    Its network is theirs, a hidden layer of 20 units. It learns from one half of as many rows of each. The p-value is
    the share of all ways to hand the labels to the other half that make as many answers right, or more: a permutation
    test, exact under equal distributions, whose sum is known (Fisher's exact test).
    """
    rng, num = np.random.default_rng(seed), min(len(x), len(y)) // 2
    parts = [rows[rng.permutation(len(rows))[: 2 * num]] for rows in (x, y)]
    train, test = (np.concatenate([rows[half::2] for rows in parts]) for half in (0, 1))
    labels = np.arange(2 * num) // num
    network = MLPClassifier((20,), batch_size=min(100, 2 * num), max_iter=50, n_iter_no_change=5, random_state=seed)
    answers = make_pipeline(StandardScaler(), network).fit(train, labels).predict(test)
    table = [[np.sum((answers == answer) & (labels == label)) for label in (0, 1)] for answer in (0, 1)]
    p_value = float(stats.fisher_exact(table, alternative="greater").pvalue)
    accuracy = float(np.mean(answers == labels))
    error = float(np.sqrt(accuracy * (1.0 - accuracy) / len(labels)))
    return {"two_sample_accuracy": (accuracy, error), "two_sample_p_value": (p_value, None)}
