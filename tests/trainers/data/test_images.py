"""The images that scikit-learn brings, and images in other sizes."""

import numpy as np
import sklearn.datasets

from trainers import data


def test_digits_are_all_of_them_with_their_labels():
    one = data.load("digits")
    assert (one.shape, len(one.train), len(one.test), one.num_classes) == ((8, 8, 1), 1500, 297, 10)
    images, labels = np.concatenate([one.train, one.test]), np.concatenate([one.train_labels, one.test_labels])
    truth = sklearn.datasets.load_digits()
    assert images.max() == 255 and np.unique(images).size == 17
    for digit in range(10):  # sums of pixels in 0..16 are a fingerprint that needs no order
        mine = np.sort(np.rint(images[labels == digit] * (16 / 255)).sum(axis=(1, 2, 3)))
        np.testing.assert_array_equal(mine, np.sort(truth.images[truth.target == digit].sum(axis=(1, 2))))


def test_other_images_can_be_resized_too():
    small, large = data.load("digits"), data.load("digits", image_side=16, image_channels=3)
    assert large.shape == (16, 16, 3) and large.test.shape == (297, 16, 16, 3) and large.checksum == small.checksum
    assert (large.train[..., 0] == large.train[..., 2]).all()
    assert np.abs(large.train.mean() - small.train.mean()) < 2
    np.testing.assert_array_equal(data.load("digits", image_side=8).train, small.train)
