"""Distances of two sets of rows: closed forms, SciPy, sums written out, and what equal distributions give."""

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import cdist, pdist, squareform

from trainers.metrics import two_samples

EQUAL = ("energy_distance", "kernel_distance", "frechet_distance_extrapolated")


def normal(seed, num=200, size=3, mean=0.0, scale=1.0):
    return mean + scale * np.random.default_rng(seed).normal(size=[num, size])


def frechet(x, y):
    return two_samples.frechet(two_samples.Moments.of(x), two_samples.Moments.of(y))


def values(found):
    return {name: value for name, (value, _) in found.items()}


@pytest.fixture
def small_chunks(monkeypatch):
    """Matrices come in many pieces, whose number no result depends on."""
    monkeypatch.setattr(two_samples, "CHUNK", 170)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("size", [1, 4])
def test_means_over_pairs_against_sums_written_out(size):
    x, y = normal(0, 40, size), 5.0 + np.random.default_rng(1).gamma(2.0, size=[30, size])
    expected = 2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean()
    np.testing.assert_allclose(values(two_samples.energy_distance(x, y))["energy_distance"], expected, rtol=1e-9)
    k = lambda a, b: (a @ b.T / size + 1.0) ** 3  # noqa: E731
    within = sum(squareform(k(a, a), checks=False).mean() for a in (x, y))
    expected = within - 2 * k(x, y).mean()
    np.testing.assert_allclose(values(two_samples.kernel_distance(x, y))["kernel_distance"], expected, rtol=1e-9)
    if size == 1:  # SciPy's is the root of the V-statistic, which counts each sample's distance 0 to itself
        found = values(two_samples.energy_distance(x, y))["energy_distance"]
        v_statistic = found + pdist(x).mean() / 40 + pdist(y).mean() / 30
        np.testing.assert_allclose(np.sqrt(v_statistic), stats.energy_distance(x[:, 0], y[:, 0]), rtol=1e-6)


@pytest.mark.parametrize("kernel", [two_samples.minus_distance, two_samples.cubic])
def test_error_of_a_mean_over_pairs_is_that_of_leaving_out_each_row(kernel):
    x, y = normal(0, 12), normal(1, 9, mean=1.0)
    _, error = two_samples.squared_mmd(x, y, kernel)
    without_x = [two_samples.squared_mmd(np.delete(x, i, 0), y, kernel)[0] for i in range(12)]
    without_y = [two_samples.squared_mmd(x, np.delete(y, i, 0), kernel)[0] for i in range(9)]
    np.testing.assert_allclose(error, np.sqrt(11 * np.var(without_x) + 8 * np.var(without_y)), rtol=1e-9)


def test_kernel_distance_of_gaussians():
    """Of N(0, 1) and N(1, 1): E (x y + 1)^3 = 1 + 3 m + 3 s + t, of products of the first three moments."""

    def mean(a, b):  # of moments 1, 2, 3
        return 1 + 3 * a[0] * b[0] + 3 * a[1] * b[1] + a[2] * b[2]

    zero, one = (0, 1, 0), (1, 2, 4)
    expected = mean(zero, zero) + mean(one, one) - 2 * mean(zero, one)
    found = [two_samples.kernel_distance(normal(2 * i, 80, 1), normal(2 * i + 1, 80, 1, 1.0)) for i in range(300)]
    estimates = np.array([values(each)["kernel_distance"] for each in found])
    assert abs(estimates.mean() - expected) < 4 * estimates.std() / np.sqrt(300) < 0.2 * expected


def test_frechet_distance_of_gaussians():
    """Against SciPy's root of a matrix that is not symmetric; and in closed form where the covariances commute."""
    x, y = normal(0) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0.3, 2.0]]), normal(1, 300, mean=0.5)
    of_x, of_y = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(of_x @ of_y).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(of_x + of_y - 2 * root)
    np.testing.assert_allclose(frechet(x, y), expected, rtol=1e-9)
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-9)
    far = frechet(normal(0, 20_000, 2), normal(1, 20_000, 2, mean=[3.0, 0.0], scale=2.0))
    np.testing.assert_allclose(far, 9.0 + 2 * (2.0 - 1.0) ** 2, rtol=0.02)
    assert frechet(normal(0, 20, 1), normal(0, 20, 1, 2.0)) == pytest.approx(4.0)  # one number a row
    found = two_samples.frechet_distance(x, y)
    assert found["frechet_distance"][0] == pytest.approx(expected, rel=1e-9)
    halves = [np.concatenate(np.array_split(rows, 20)[i::2]) for rows in (x, y) for i in (0, 1)]
    of_halves = np.mean([frechet(halves[i], halves[2 + i]) for i in (0, 1)])
    assert found["frechet_distance_extrapolated"][0] == pytest.approx(2 * expected - of_halves)
    with pytest.raises(ValueError, match="at least 8 rows, not of 7 and 200"):
        two_samples.frechet_distance(y[:7], x)
    rank_1 = np.outer(np.arange(5.0), [1.0, 1.0])
    assert np.isfinite(frechet(rank_1, rank_1 + 1.0))


@pytest.mark.slow
def test_equal_distributions_have_distance_0_on_average_and_errors_are_the_spread():
    """Those without a bias; the jackknife's error of a distance of 0 is a root of two too large."""
    measures = (two_samples.energy_distance, two_samples.kernel_distance, two_samples.frechet_distance)
    found = [
        {k: v for m in measures for k, v in m(normal(2 * i, 60), normal(2 * i + 1, 60)).items()} for i in range(200)
    ]
    for name in EQUAL:
        estimates, errors = np.array([each[name] for each in found]).T
        assert abs(estimates.mean()) < 4 * estimates.std() / np.sqrt(200), name
        assert 1.15 < np.sqrt(np.mean(np.square(errors))) / estimates.std() < 1.75, name
    biased = np.array([each["frechet_distance"][0] for each in found])
    assert biased.mean() > 10 * biased.std() / np.sqrt(200)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["energy_distance", "kernel_distance", "frechet_distance"])
def test_errors_of_distances_that_are_not_0_are_their_spread(name):
    found = [getattr(two_samples, name)(normal(2 * i), normal(2 * i + 1, mean=1.0))[name] for i in range(100)]
    estimates, errors = np.array(found).T
    assert 0.75 < errors.mean() / estimates.std() < 1.35


@pytest.mark.usefixtures("small_chunks")
def test_precision_recall_against_loops():
    x, y, k = normal(0, 60), normal(1, 50, mean=0.7), 3

    def inside(point, centers):
        distances = cdist(centers, centers)
        np.fill_diagonal(distances, np.inf)
        return np.linalg.norm(centers - point, axis=1) <= np.sort(distances, axis=1)[:, k - 1]

    in_y = np.array([inside(point, y) for point in x])
    in_x = np.array([inside(point, x) for point in y])
    expected = {"precision": in_y.any(1), "recall": in_x.any(1), "density": in_y.sum(1) / k, "coverage": in_y.any(0)}
    found = two_samples.precision_recall(x, y, k)
    for name, rows in expected.items():
        np.testing.assert_allclose(found[name], (rows.mean(), rows.std(ddof=1) / np.sqrt(len(rows))))
    with pytest.raises(ValueError, match="neighbour 5 need more rows than 5 and 9"):
        two_samples.precision_recall(np.ones([5, 1]), np.ones([9, 1]))


@pytest.mark.parametrize("offset, size", [(0.0, 3), (1e3, 3), (0.0, 20)])
def test_balls_hold_what_is_equal_to_their_center(offset, size):
    """Six copies of each of ten rows, in balls of radius 0; distances of copies are rounded to 1e-8 rows, say."""
    y = offset + np.random.default_rng(0).gamma(2.0, 5.0, size=[10, size]).repeat(6, axis=0)
    found = values(two_samples.precision_recall(y[::-1].copy(), y))
    expected = {"precision": 1.0, "recall": 1.0, "density": 6 / 5, "coverage": 1.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_row_far_away_does_not_widen_the_balls_of_others():
    """However far a sample has gone, it is in no ball of the data, and its own ball holds the same of them."""
    x, y = 2.0 * normal(0, size=2), normal(1, size=2)
    of_distance = [
        values(two_samples.precision_recall(np.concatenate([x, [[0.6 * d, 0.8 * d]]]), y)) for d in (1e4, 1e6, 1e9)
    ]
    assert 0.5 < of_distance[0]["precision"] < 0.9
    assert of_distance[1] == of_distance[2] == of_distance[0]


@pytest.mark.slow
@pytest.mark.parametrize("num_x, num_y, size, k", [(50, 50, 2, 5), (30, 60, 5, 3), (50, 50, 1, 5)])
def test_density_and_coverage_of_equal_distributions(num_x, num_y, size, k):
    """Their means; and errors that take the balls as given, and are too small, by less than a factor of 2."""
    found = [
        two_samples.precision_recall(normal(2 * i, num_x, size), normal(2 * i + 1, num_y, size), k) for i in range(150)
    ]
    expected = {"density": 1.0, "coverage": two_samples.coverage_of_equal_distributions(num_x, num_y, k)}
    for name, value in expected.items():
        estimates, errors = np.array([each[name] for each in found]).T
        assert abs(estimates.mean() - value) < 4 * estimates.std() / np.sqrt(150) < 0.1, name
        assert 0.5 < np.sqrt(np.mean(np.square(errors))) / estimates.std() < 0.95, name
    assert found[0]["coverage_of_equal_distributions"] == (expected["coverage"], None)


def test_samples_that_vary_too_little_have_more_precision_and_density_than_data_and_less_recall():
    found = [two_samples.precision_recall(normal(0, size=20, scale=s), normal(1, size=20)) for s in (1.0, 0.7)]
    of_data, narrow = map(values, found)
    assert narrow["precision"] > of_data["precision"] + 0.1 and narrow["density"] > 2 * of_data["density"]
    assert narrow["recall"] < of_data["recall"] - 0.4


@pytest.mark.parametrize("num, k, coverage", [(2500, 5, 0.96884), (10_000, 5, 0.96877), (10_000, 3, 0.87504)])
def test_coverage_that_equal_distributions_have(num, k, coverage):
    np.testing.assert_allclose(two_samples.coverage_of_equal_distributions(num, num, k), coverage, atol=1e-5)


@pytest.mark.slow
def test_a_classifier_as_a_test():
    """Bayes accuracy of N(0, 1) and N(d, 1) is Phi(d / 2); without a difference p is uniform, or by ties larger."""
    found = two_samples.two_sample_test(normal(0, 4000, 1), normal(1, 5000, 1, mean=1.0))
    accuracy, error = found["two_sample_accuracy"]
    assert abs(accuracy - stats.norm.cdf(0.5)) < 4 * error < 0.03 and found["two_sample_p_value"][0] < 1e-9
    tests = [two_samples.two_sample_test(normal(2 * i, 60, 2), normal(2 * i + 1, 60, 2), seed=i) for i in range(60)]
    p_values = [each["two_sample_p_value"][0] for each in tests]
    assert stats.kstest(p_values, "uniform", alternative="greater").pvalue > 0.01 and min(p_values) > 0.002
    assert np.mean(p_values) < 0.7


def test_the_p_value_is_that_of_permutations(monkeypatch):
    """Of the answers of a made-up classifier on rows 0, 1 of either set, whose labels are handed out anew."""

    class Sign:
        def __init__(self, *args, **options): ...

        def fit(self, x, labels):
            return self

        def predict(self, x):
            return (x[:, 0] > 0).astype(int)

    monkeypatch.setattr(two_samples, "make_pipeline", lambda scaler, network: Sign())
    x, y = normal(0, 40, 1, -0.3), normal(1, 40, 1, 0.3)
    found = two_samples.two_sample_test(x, y, seed=3)
    rng = np.random.default_rng(3)
    test = np.concatenate([rows[rng.permutation(40)[:40]][1::2] for rows in (x, y)])
    answers, labels = test[:, 0] > 0, np.arange(40) // 20
    right = np.mean(answers == labels)
    assert found["two_sample_accuracy"][0] == pytest.approx(right)
    permuted = np.array([np.mean(answers == rng.permutation(labels)) for _ in range(20_000)])
    assert found["two_sample_p_value"][0] == pytest.approx(np.mean(permuted >= right - 1e-9), abs=0.01)
