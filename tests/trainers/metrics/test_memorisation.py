"""Copies of training rows, and samples that are none."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from tests.trainers.metrics.made import class_sampler_of, data_of, options, run_of, sampler_of
from trainers.metrics.memorisation import data_copying, memorisation


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):  # for few rows, threads take longer to meet than to work
        yield


def numbers(x, train, test, seed=0):
    return {name: value for name, (value, _) in data_copying(x, train, test, seed)[0].items()}


def three(seed, *nums):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=[num, 2]).astype(np.float32) for num in nums]


@pytest.mark.parametrize("num_test", [100, 30])
@pytest.mark.parametrize("jitter, p_value", [(0.0, 1e-4), (1e-3, 1e-4)])
def test_copies(num_test, jitter, p_value):
    x, train, test = three(0, 100, 100, num_test)
    found = numbers(train + jitter * x, train, test)
    assert found["training_share"] > 0.98 and found["p_value"] == p_value
    assert found["distance_ratio"] < 0.05 and found["training_share_floor"] == 100 / (100 + num_test)
    assert numbers(test + jitter * x[:num_test], train, test)["p_value"] > 0.999  # copies of test rows


@pytest.mark.parametrize("num_train, scale", [(60, 1.0), (180, 0.5)])  # of another distribution: bad, but no copies
def test_p_values_without_copying_are_uniform(num_train, scale):
    found = []
    for seed in range(40):
        x, train, test = three(seed, 150, num_train, 60)
        found.append(numbers(scale * x, train, test, seed))
    of = {name: np.array([each[name] for each in found]) for name in found[0]}
    assert stats.kstest(of["p_value"], "uniform").pvalue > 0.05
    z = (of["training_share"] - num_train / (num_train + 60)) / of["training_share_floor_deviation"]
    assert abs(z.mean()) < 3 / np.sqrt(40) and 0.7 < z.std() < 1.3
    held_out = of["training_share_of_test_rows"]
    assert abs(held_out.mean() - num_train / (num_train + 59)) < 3 * held_out.std() / np.sqrt(40)
    assert (abs(of["distance_ratio"].mean() - 1.0) < 0.05) == (scale == 1.0)


def test_data_copying_against_permutations_of_all_rows():
    x, train, test = three(0, 40, 30, 20)
    x = x + 0.1
    nearest, of_training = cdist(x, np.concatenate([train, test])).argmin(1), np.arange(50) < 30
    share = of_training[nearest].mean()
    rng = np.random.default_rng(1)
    permuted = np.array([rng.permutation(of_training)[nearest].mean() for _ in range(20_000)])
    found, index, distances = data_copying(x, train, test)
    assert found["training_share"] == (share, pytest.approx(np.std(of_training[nearest]) / np.sqrt(40)))
    np.testing.assert_allclose(found["training_share_floor_deviation"][0], permuted.std(), rtol=0.02)
    np.testing.assert_allclose(found["p_value"][0], np.mean(permuted >= share), atol=0.02)
    np.testing.assert_array_equal(index, cdist(x, train).argmin(1))
    of_test, others = cdist(test, train).min(1), (cdist(test, test) + 99 * np.eye(20)).min(1)
    np.testing.assert_allclose(found["training_share_of_test_rows"][0], np.mean(of_test < others))
    np.testing.assert_allclose(found["distance_ratio"][0], distances.mean() / of_test.mean(), rtol=1e-6)
    means = [rng.choice(d, [5000, len(d)]).mean(1) for d in (distances, of_test)]  # a bootstrap
    np.testing.assert_allclose(found["distance_ratio"][1], np.std(means[0] / means[1]), rtol=0.1)


def test_ties_tell_nothing():
    """Four points, each in both splits three and one times."""
    points = np.eye(4, dtype=np.float32)
    found = [numbers(points.repeat(50, 0), points.repeat(3, 0), points, seed) for seed in range(60)]
    shares = [each["training_share"] for each in found]
    assert abs(np.mean(shares) - 0.75) < 3 * np.std(shares) / np.sqrt(60)
    assert min(each["p_value"] for each in found) > 0.2


@pytest.mark.parametrize("sampler", [sampler_of, class_sampler_of])
def test_memorisation_of_images_and_its_picture(sampler, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, [num, 4, 4, 1], np.uint8) for num in (50, 40))
    labels = (np.arange(50), np.arange(40))
    data = data_of(train, test, labels=(None, None) if sampler is sampler_of else labels)
    monkeypatch.setattr("trainers.classifier.has_judge", lambda data: False)
    run = run_of(sampler(train / 255.0 + 1e-3).model, tmp_path)  # rounded, they are the same
    found = memorisation(run, data, options())
    assert found["training_share"] == 1.0 and found["training_share_standard_error"] == 0.0
    assert found["distance_ratio"] < 1e-6 and found["p_value"] < 0.001
    assert (found["num_train"], found["num_test"], found["num_model_samples"]) == (50, 40, 40)
    assert (tmp_path / "nearest.png").stat().st_size > 1000
