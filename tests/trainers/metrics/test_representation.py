"""Nearest neighbours in spaces whose distances are known."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.distance import cdist

from tests.trainers.metrics.made import NUM_ROWS, data_of, options, run_of
from trainers.metrics import DoesNotApply
from trainers.metrics.representation import nearest_neighbour_accuracy


class Encoder:
    """A model whose z are the first pixel and noise of its seed, and whose features are all pixels doubled."""

    def encode(self, images, seed):
        return {"z": tf.stack([images[:, 0, 0, 0], tf.cast(seed, tf.float32) / 1e3], axis=1)}

    def features(self, images):
        return {"features": 2.0 * tf.reshape(images, [-1, 4])}

    def signatures(self):
        image = {"images": tf.TensorSpec([None, 2, 2, 1], tf.float32)}
        seed = {"seed": tf.TensorSpec([None], tf.int64)}
        return {"encode": (self.encode, image | seed), "features": (self.features, image)}


@pytest.mark.parametrize("seed", [0, 5])
def test_nearest_neighbour_accuracy_against_all_distances(seed):
    rng = np.random.default_rng(seed)
    train, test = (rng.integers(0, 256, [num, 2, 2, 1], np.uint8) for num in (80, 60))
    labels = [rng.integers(0, 3, len(x)) for x in (train, test)]
    data = data_of(train, test, labels=labels)
    found = nearest_neighbour_accuracy(run_of(Encoder()), data, options(seed=seed))
    assert set(found) == {"data", "z", "features", "num_train", "num_test"}

    def z(x):  # every row has noise of its own, whatever the batches
        return np.stack([x[:, 0, 0, 0] / 255.0, (seed + 80 * (x is test) + np.arange(len(x))) / 1e3], axis=1)

    pixels = lambda x: x.reshape(len(x), 4) / 255.0  # noqa: E731
    for space, rows in {"data": pixels, "features": pixels, "z": z}.items():  # twice the distances, the same neighbours
        nearest = cdist(rows(test), rows(train)).argmin(1)
        np.testing.assert_allclose(found[space], np.mean(labels[0][nearest] == labels[1]))
    assert found["data"] != found["z"] and (found["num_train"], found["num_test"]) == (80, 60)


def test_nearest_neighbours_of_a_vae(vae, images):
    """Its z tells black from white images: each row finds itself."""
    white = (images.test.reshape(NUM_ROWS, 4).sum(1) > 510).astype(np.int64)
    data = data_of(images.train, images.test, labels=(white, white))
    assert nearest_neighbour_accuracy(run_of(vae), data, options())["z"] == 1.0
    with pytest.raises(DoesNotApply, match="no labels"):
        nearest_neighbour_accuracy(run_of(vae), images, options())
