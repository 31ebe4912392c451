"""Batches against their contract: permutations, shares of replicas, exact scales, honest binarisation."""

import numpy as np
import pytest
from scipy import stats

from tests.trainers.data.made import images, numbered, steps
from trainers import data


@pytest.mark.parametrize("batch_size", [7, 30])
def test_every_epoch_is_a_permutation_of_its_own_and_batches_are_full(batch_size):
    one = numbered()
    dataset = data.batches(one, batch_size=batch_size, seed=3, with_labels=True)
    assert [tuple(spec.shape) for spec in dataset.element_spec] == [(batch_size, 4, 4, 1), (batch_size,)]
    x, rows = map(np.concatenate, zip(*steps(dataset, 210 // batch_size), strict=True))
    np.testing.assert_allclose(255 * x, one.train[rows], rtol=1e-6)  # a label stays with its image
    epochs = rows.reshape(7, 30)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(30), (7, 1)))
    assert len(np.unique(epochs, axis=0)) == 7


@pytest.mark.slow
def test_the_order_depends_on_the_seed_and_does_not_come_back():
    def epoch(step, seed=0):
        dataset = data.batches(numbered(), batch_size=30, seed=seed, start_step=step, with_labels=True)
        return tuple(steps(dataset, 1)[0][1])

    assert len({epoch(0), epoch(256), epoch(2**16), epoch(0, 256), epoch(0, -1)}) == 5  # 8 bits would be too few


@pytest.mark.slow
@pytest.mark.parametrize("binarize", [False, True])
def test_resumed_is_uninterrupted_and_replicas_share_what_one_would_get(binarize):
    one = numbered()

    def run(num, **arguments):
        arguments = {"batch_size": 12, "seed": 1, "binarize": binarize, **arguments}
        return np.array(steps(data.batches(one, **arguments), num))

    whole = run(8)
    np.testing.assert_array_equal(whole[5:], run(3, start_step=5))
    np.testing.assert_array_equal(whole, run(24, num_replicas=3).reshape(whole.shape))
    np.testing.assert_array_equal(whole[:, 4:], run(16, num_replicas=3, replica_ids=[1, 2]).reshape(8, 8, 4, 4, 1))


def test_pixels_are_scaled_exactly_at_the_ends():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    (x,) = steps(data.batches(images(ramp), batch_size=1, seed=0), 1)
    np.testing.assert_array_equal([x], steps(data.held_out_batches(images(ramp), 1), 1))
    assert x.dtype == np.float32 and (x.min(), x.max()) == (0, 1)
    np.testing.assert_allclose(x.ravel(), np.linspace(0, 1, 256), atol=1e-7)


@pytest.mark.slow
def test_binarised_pixels_have_the_mean_of_their_grey_and_are_drawn_anew():
    grey = np.tile(np.array([0, 1, 64, 128, 254, 255], np.uint8).reshape(1, 6, 1, 1), (2000, 1, 10, 1))
    first, second = steps(data.batches(images(grey), batch_size=2000, seed=0, binarize=True), 2)
    assert (first != second).any()
    for x in (first, *steps(data.held_out_batches(images(grey), 2000, binarize=True), 1)):
        assert set(np.unique(x)) == {0, 1}
        mean = (x.mean(axis=(0, 2, 3)) - grey[0, :, 0, 0] / 255) * np.sqrt(20_000)
        assert mean[0] == mean[-1] == 0 and np.abs(mean).max() < 4 * 0.5  # standard deviations are at most 1/2


@pytest.mark.slow
def test_dequantised_pixels_are_uniform_within_their_level_and_always_the_same():
    levels = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (40, 1, 1, 1))
    x, again = (
        np.concatenate(steps(data.held_out_batches(images(levels), size, dequantize=True), 40)) for size in (7, 40)
    )
    np.testing.assert_array_equal(x, again)
    within = 256.0 * x.astype(np.float64) - levels
    assert stats.kstest(within.ravel(), "uniform").pvalue > 1e-3
    grey = images(np.full_like(levels, 128))  # of no noise that binarisation draws by, too
    (x,), (black_or_white,) = (
        steps(data.held_out_batches(grey, 40, **{of: True}), 1) for of in ("dequantize", "binarize")
    )
    assert abs(np.corrcoef(x.ravel(), black_or_white.ravel())[0, 1]) < 4 / np.sqrt(x.size)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_evaluation_sees_every_row_once_in_order_and_always_the_same(split):
    one = numbered()
    batches = steps(data.held_out_batches(one, 8, with_labels=True, split=split), 9)
    np.testing.assert_array_equal(np.concatenate([label for _, label in batches]), np.arange(30))
    np.testing.assert_allclose(255 * np.concatenate([x for x, _ in batches]), one.test, rtol=1e-6)
    assert [len(x) for x, _ in batches] == [8, 8, 8, 6]
    for of in ("binarize", "dequantize"):
        draws = [np.concatenate(steps(data.held_out_batches(one, size, **{of: True}), 30)) for size in (7, 64)]
        np.testing.assert_array_equal(*draws)
        some = steps(data.held_out_batches(one, 2, with_labels=True, rows=[5, 29, 1], **{of: True}), 2)
        np.testing.assert_array_equal(np.concatenate([x for x, _ in some]), draws[0][[5, 29, 1]])
        np.testing.assert_array_equal(np.concatenate([label for _, label in some]), [5, 29, 1])


def test_points_stay_as_they_are():
    one = data.load("ring")
    np.testing.assert_array_equal(steps(data.held_out_batches(one, 10_000), 2), [one.test])
    (x,) = steps(data.batches(one, batch_size=64, seed=0), 1)
    assert x.dtype == np.float32 and x.shape == (64, *one.shape)
