"""Whether samples are copies of training rows: are they nearer to these than to rows that the model never saw?"""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.neighbors import NearestNeighbors

from common import pictures
from trainers.metrics.rows import real_rows, require
from trainers.metrics.sample_quality import NUM_SAMPLES, samples_like_data
from trainers.metrics.spaces import Vectors

NUM_PERMUTATIONS = 9999
NUM_SHOWN = 8


def memorisation(run, data, options):
    """The share of samples whose nearest row, among all training and test rows, is a training row; other numbers.

    `training_share_floor` is that of samples that know nothing of which rows were trained on: training rows among all
    rows; that of copies is 1. `distance_ratio` is that of the mean distance of samples to their nearest training row to
    that of test rows, which Meehan et al. 2020 (arXiv:2004.05675) compare by ranks: near 0 for copies, 1 for the data;
    samples that lie dense or lack detail are below 1 as well, without copying. See `data_copying` for errors.

    Distances are those of features of the judge, where there is one. All rows of both splits count: if only as many
    training rows as there are test rows did, a copy of another would be as near to either. RUN_DIR/nearest.png shows,
    of images, the samples nearest to training rows, each to the right of its row.
    """
    num = min(options.num_model_samples or NUM_SAMPLES, len(data.train), len(data.test))
    require(num > 1, f"{num} rows are too few")
    samples, vectors = samples_like_data(run, data, num, options), Vectors("features", run, data)
    train, test = (vectors.of(split) for split in ("train", "test"))
    found, nearest, distances = data_copying(vectors(samples), train, test)
    if len(data.shape) == 3:
        shown = np.argsort(distances, kind="stable")[:NUM_SHOWN]
        rows = real_rows(run, data, "train", nearest[shown])
        pictures.comparison(rows, samples[shown], run.path / "nearest.png")
    report = {}
    for name, (value, error) in found.items():
        report[name] = float(value)
        if error is not None:
            report[f"{name}_standard_error"] = float(error)
    counts = {"num_train": len(train), "num_test": len(test), "num_model_samples": num}
    return report | vectors.facts | counts | {"num_permutations": NUM_PERMUTATIONS}


def data_copying(x, train, test, seed=0):
    """Of samples x [n, size], training rows [m, size] and test rows [k, size]: what `memorisation` reports.

    A permutation test: if the model depends on training rows no more than on test rows, all ways to call m of the m + k
    rows training rows were as likely, given the samples, however good or bad these are. Only which row is the nearest
    of each sample matters, so that the counts of samples by row give the deviation of the share in closed form, that of
    a sum over rows drawn without replacement, and its permutations as draws of the rows that have equal counts. Ties
    go to a row at random. The p-value, of one side, counts the observed labels among the permutations (Phipson and
    Smyth 2010, arXiv:1603.05766). It is exact where rows of both splits are drawn alike and independently; where they
    are of other writers, say, it is too small: `training_share_of_test_rows`, where each test row stands for a sample
    and is left out, then is below the m / (m + k - 1) of independent rows; of rows that repeat it tells less, as ties
    count half.

    Errors are the spread of samples (and of test rows, in the ratio) with the other rows as they are.

    Returns:
        Dict, name -> (number, standard error or None); for each sample the index of the nearest training row, int [n],
        and the distance to it, [n].
    """
    rng, num = np.random.default_rng(seed), len(train) + len(test)
    place, rows = rng.permutation(num), np.empty([num, x.shape[1]], train.dtype)
    rows[place[: len(train)]], rows[place[len(train) :]] = train, test
    found, distances = pairwise_distances_argmin_min(x, rows)
    nearest = place.argsort()[found]
    of_training = nearest < len(train)
    share = of_training.mean()
    counts, num_rows = np.unique(np.bincount(nearest, minlength=num), return_counts=True)
    permuted = rng.multivariate_hypergeometric(num_rows, len(train), NUM_PERMUTATIONS) @ counts
    p_value = (1 + np.sum(permuted >= of_training.sum())) / (1 + NUM_PERMUTATIONS)
    floor = len(train) / num
    spread = num_rows @ np.square(counts - len(x) / num)
    deviation = np.sqrt(floor * (1.0 - floor) * num / (num - 1) * spread) / len(x)
    if not of_training.all():  # of the others the nearest training row is another
        nearest[~of_training], distances[~of_training] = pairwise_distances_argmin_min(x[~of_training], train)
    of_test = pairwise_distances_argmin_min(test, train)[1]
    of_others = NearestNeighbors(n_neighbors=1).fit(test).kneighbors()[0][:, 0]
    of_test_rows = np.mean((of_test < of_others) + 0.5 * (of_test == of_others))
    found = {
        "training_share": (share, np.sqrt(share * (1.0 - share) / len(x))),
        "training_share_floor": (floor, None),
        "training_share_floor_deviation": (deviation, None),
        "training_share_of_test_rows": (of_test_rows, None),
        "p_value": (p_value, None),
    }
    if (mean_of_test := of_test.mean()) > 0.0:  # not of data that are a few points
        ratio = distances.mean() / mean_of_test
        variance = np.var(distances, ddof=1) / len(x) + np.square(ratio) * np.var(of_test, ddof=1) / len(test)
        found["distance_ratio"] = (ratio, np.sqrt(variance) / mean_of_test)
    return found, nearest, distances
