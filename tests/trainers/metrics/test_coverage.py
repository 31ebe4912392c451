"""Modes found by hand-made samples, and how evenly; what is measured of data against simulation and theory."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from tests.trainers.metrics.made import MODES, data_of, keep, model_of, options, run_of, sampler_of
from trainers import classifier
from trainers.data import load
from trainers.metrics import coverage


@pytest.mark.parametrize("samples, modes_found, share", [
    ([[0, 0]] * 6, 1, 1.0),
    ([[0.29, 0], [4, 0.31], [4.1, 4.1], [4, 4], [2, 2], [0, 4.22]], 3, 4 / 6),  # 0.31 is beyond three deviations
    ([[9, 9], [2, 2], [-5, 0]], 0, 0.0),
    ([[0, 0], [4, 0], [0, 4], [4, 4.25], [4.25, 4]], 4, 1.0),
])  # fmt: skip
@pytest.mark.parametrize("batch_size", [2, 100])
def test_modes_found(samples, modes_found, share, batch_size):
    data = data_of(MODES, MODES, MODES, 0.1)
    given = options(num_model_samples=len(samples), batch_size=batch_size)
    found = coverage.modes_found(sampler_of(samples), data, given)
    assert found["modes_found"] == modes_found and found["num_modes"] == 4
    assert found["num_model_samples"] == len(samples)
    np.testing.assert_allclose(found["high_quality_share"], share)
    np.testing.assert_allclose(found["high_quality_share_standard_error"], np.sqrt(share * (1 - share) / len(samples)))


@pytest.mark.parametrize("counts", [[5, 3, 2, 0], [4, 4, 4, 4], [0, 0, 7, 0], [0, 0, 0, 0]])
def test_reverse_kl_is_that_of_shares_of_good_samples_from_equal_ones(counts):
    samples = np.concatenate([np.repeat(MODES, counts, axis=0), [[2, 2]] * 3])  # the last are near no mode
    found = coverage.modes_found(
        sampler_of(samples), data_of(MODES, MODES, MODES, 0.1), options(num_model_samples=len(samples))
    )
    p = [count / sum(counts) for count in counts if count]
    expected = sum(share * np.log(4 * share) for share in p) if p else np.nan
    np.testing.assert_allclose(found["reverse_kl"], expected, atol=1e-12)
    if p:  # the variance of log p under p
        error = np.sqrt((np.dot(p, np.log(p) ** 2) - np.dot(p, np.log(p)) ** 2).clip(0) / sum(counts))
        np.testing.assert_allclose(found["reverse_kl_standard_error"], error, atol=1e-8)


@pytest.mark.parametrize("shares, ratio", [(np.full(8, 1 / 8), 2**0.5), (np.array([4, 2, 1, 1]) / 8, 1.0)])
def test_the_error_of_the_reverse_kl_is_its_spread_but_near_equal_shares(shares, ratio):
    rng, num_modes = np.random.default_rng(0), len(shares)
    found = [coverage.coverage_of(rng.choice(num_modes, 1000, p=shares), num_modes)["reverse_kl"] for _ in range(400)]
    estimates, errors = np.array(found).T
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(errors))) / estimates.std(), ratio, rtol=0.12)


@pytest.mark.parametrize("name, num", [("ring", 2500), ("grid", 2500), ("ring", 300)])
def test_the_floor_is_that_of_a_perfect_generator(name, num):
    data = load(name)
    found = coverage.modes_found(sampler_of(data.test), data, options(num_model_samples=num, batch_size=1000))
    num_modes, good = len(data.modes), stats.chi2.cdf(9, 2)  # within 3 deviations in the plane
    rng = np.random.default_rng(1)
    shares = rng.multinomial(int(good * num), [1 / num_modes] * num_modes, size=2000) / int(good * num)
    simulated = np.sum(shares * np.log(num_modes * shares, where=shares > 0, out=np.zeros_like(shares)), axis=1)
    error = simulated.std() / np.sqrt(coverage.NUM_DRAWS)
    assert abs(found["reverse_kl_floor"] - simulated.mean()) < 4 * error
    assert abs(found["reverse_kl_floor"] - found["reverse_kl_of_perfect_generator"]) < 4 * error
    assert found["reverse_kl_of_perfect_generator"] == (num_modes - 1) / (2 * num)
    assert 0.7 < found["reverse_kl_floor_deviation"] / simulated.std() < 1.4
    assert (found["modes_found_floor"], found["modes_found_floor_deviation"]) == (num_modes, 0)
    deviation = np.sqrt(good * (1 - good) / num)
    assert abs(found["high_quality_share_floor"] - good) < 5 * deviation / np.sqrt(coverage.NUM_DRAWS)
    assert abs(found["reverse_kl"] - simulated.mean()) < 5 * simulated.std()  # held-out rows are as good


def test_the_modes_of_stacked_images_are_what_the_judge_says_of_each_channel(monkeypatch):
    """Channels of one grey value, black or white, and a judge that takes one image in five of either for the other."""
    grey, rng = np.array([0, 255], np.uint8), np.random.default_rng(0)
    channel = data_of(*2 * [grey[:, None, None, None]], labels=(np.arange(2), np.arange(2)))
    labels = rng.integers(8, size=4000)
    rows = grey[np.stack(np.unravel_index(labels, (2, 2, 2)), axis=1)][:, None, None]
    data = replace(data_of(rows[:8], rows, labels=(labels, labels)), num_classes=8, channel=channel)

    def classes(images):
        assert images.shape[1:] == (1, 1, 1)
        return np.where(rng.random(len(images)) < 0.2, 1 - images.ravel(), images.ravel()).astype(np.int64)

    judge = SimpleNamespace(
        classes=classes, accuracy=0.8, checksum="c", features=lambda images: images[:, 0, 0] + [[0, 9]]
    )
    of_data = classifier.judge_of
    monkeypatch.setattr(
        classifier, "judge_of", lambda given, *more: judge if given is channel else of_data(given, *more)
    )
    stacked = classifier.judge_of(data)
    np.testing.assert_array_equal(
        stacked.features(rows[:1] / 255.0), [np.ravel([[c / 255, c / 255 + 9] for c in rows[0].ravel()])]
    )
    assert stacked.accuracy == pytest.approx(0.8**3) and stacked.checksum == "c"
    white = coverage.modes_found(sampler_of(np.ones([2000, 1, 1, 3])), data, options(num_model_samples=2000))
    truth = np.ravel(np.einsum("i,j,k->ijk", *3 * [[0.2, 0.8]]))
    assert white["reverse_kl"] == pytest.approx(
        np.sum(truth * np.log(8 * truth)), abs=5 * white["reverse_kl_standard_error"]
    )
    assert white["reverse_kl_floor"] == pytest.approx(white["reverse_kl_of_perfect_generator"], abs=8e-4) == 7 / 4000
    assert white["modes_found"] == white["num_modes"] == 8 and "high_quality_share" not in white
    assert (white["judge"], white["judge_accuracy"]) == ("c", pytest.approx(0.8**3))


@pytest.mark.parametrize("binarized, modes", [(False, 1), (True, 2)])
def test_the_floor_of_images_is_of_rows_as_the_run_has_them(binarized, modes, monkeypatch):
    """Grey images for a judge of black, which these are at first, and white, which half of them become."""
    grey = np.full([200, 1, 1, 1], 100, np.uint8)
    judge = SimpleNamespace(classes=lambda x: np.rint(x[:, 0, 0, 0]).astype(np.int64), checksum="", accuracy=1.0)
    monkeypatch.setattr(classifier, "judge_of", lambda data: judge)
    run = sampler_of(np.zeros([10, 1, 1, 1]))
    run.settings.dynamic_binarization = binarized
    data = data_of(grey, grey, labels=(np.arange(200) % 2, np.arange(200) % 2))
    found = coverage.modes_found(run, data, options(num_model_samples=10))
    assert found["modes_found_floor"] == pytest.approx(modes, abs=0.1)


def test_modes_over_time(tmp_path):
    ring = load("ring")
    samples = {
        100: np.repeat(ring.modes[:3], 10, axis=0),
        200: np.concatenate([ring.modes[:2], np.zeros([6, 2])]),
        300: ring.modes,
        400: ring.modes[:1],  # after the checkpoint: of a run that was interrupted
    }
    keep(tmp_path, samples)
    found = coverage.modes_over_time(run_of(model_of(), tmp_path), ring, options())
    share = {"high_quality_share": 1.0, "high_quality_share_standard_error": 0.0}
    assert found == {"modes_found": 8, "num_modes": 8, **share, "fewest_modes_in_second_half": 2}
    assert (tmp_path / "modes.png").stat().st_size > 1000
