"""Nearest neighbours in spaces whose distances are known, linear probes and units of known distributions."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, stats
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from tests.trainers.metrics.made import NUM_ROWS, data_of, encoder_of, options, run_of
from trainers.data import load
from trainers.metrics import DoesNotApply
from trainers.metrics.representation import (
    active_units,
    aggregate_posterior,
    linear_probe,
    mean_over_pairs,
    nearest_neighbour_accuracy,
)
from zoo import DBM
from zoo.parts import noise


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
    errors = {f"{space}_standard_error" for space in ("data", "z", "features")}
    assert set(found) == {"data", "z", "features", "num_train", "num_test"} | errors

    def z(x):  # every row has noise of its own, whatever the batches
        return np.stack([x[:, 0, 0, 0] / 255.0, (seed + 80 * (x is test) + np.arange(len(x))) / 1e3], axis=1)

    pixels = lambda x: x.reshape(len(x), 4) / 255.0  # noqa: E731
    for space, rows in {"data": pixels, "features": pixels, "z": z}.items():  # twice the distances, the same neighbours
        nearest = cdist(rows(test), rows(train)).argmin(1)
        right = labels[0][nearest] == labels[1]
        np.testing.assert_allclose(found[space], np.mean(right))
        np.testing.assert_allclose(found[f"{space}_standard_error"], stats.sem(right, ddof=0))
    assert found["data"] != found["z"] and (found["num_train"], found["num_test"]) == (80, 60)


def test_nearest_neighbours_of_a_vae(vae, images):
    """Its z tells black from white images: each row finds itself."""
    white = (images.test.reshape(NUM_ROWS, 4).sum(1) > 510).astype(np.int64)
    data = data_of(images.train, images.test, labels=(white, white))
    assert nearest_neighbour_accuracy(run_of(vae), data, options())["z"] == 1.0
    with pytest.raises(DoesNotApply, match="no labels"):
        nearest_neighbour_accuracy(run_of(vae), images, options())


def test_layers_of_a_boltzmann_machine_are_spaces():
    digits = load("digits")
    digits = dataclasses.replace(digits, test=digits.test[:20], test_labels=digits.test_labels[:20])
    model = DBM(data_shape=(8, 8, 1), hidden_units=(5, 4))
    found = nearest_neighbour_accuracy(run_of(model), digits, options(batch_size=1000))
    assert {"data", "h1", "h2"} < set(found)


@pytest.mark.parametrize("distance", [1.0, 3.0])
def test_linear_probe_reaches_the_bayes_accuracy(distance):
    """Two Gaussians of unit variance, whose means are a distance apart along an oblique axis: Phi(distance / 2)."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 2, num) for num in (12_000, 20_000)]
    axis = np.array([0.6, 0.8])
    rows = [(rng.normal(size=[len(y), 2]) + np.outer(y * distance, axis)).astype(np.float32) for y in labels]
    run = run_of(encoder_of(lambda x: 1e3 * x[:, :1]))  # one coordinate, in other units
    found = linear_probe(run, data_of(*rows, labels=labels), options(batch_size=5000))
    for space, d in (("data", distance), ("z", 0.6 * distance)):
        expected = stats.norm.cdf(d / 2)
        error = found[f"{space}_standard_error"]
        np.testing.assert_allclose(error, np.sqrt(expected * (1 - expected) / 20_000), rtol=0.05)
        assert abs(found[space] - expected) < 3 * error
    assert (found["num_train"], found["num_test"]) == (10_000, 20_000)


def test_linear_probe_against_a_minimum_by_scipy():
    """Three classes of few rows, that overlap, in other units, where weights depend on the penalty."""
    rng = np.random.default_rng(0)
    y, y_test = rng.integers(0, 3, 60), rng.integers(0, 3, 20_000)
    units = [1.0, 30.0, 0.1]
    x, x_test = (((rng.normal(size=[len(of), 3]) + np.eye(3)[of]) * units).astype(np.float32) for of in (y, y_test))
    mean, deviation = x.mean(0), x.std(0)

    def loss(parameters):
        w, b = parameters[:9].reshape(3, 3), parameters[9:]
        logits = (x - mean) / deviation @ w + b
        return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(60), y]) + 0.005 * np.square(w).sum()

    found = optimize.minimize(loss, np.zeros(12), tol=1e-9).x
    answers = ((x_test - mean) / deviation @ found[:9].reshape(3, 3) + found[9:]).argmax(1)
    data = data_of(x, x_test, labels=(y, y_test))
    result = linear_probe(run_of(encoder_of(lambda x: x)), data, options(batch_size=5000))
    np.testing.assert_allclose(result["data"], np.mean(answers == y_test), atol=3 / 20_000)


@pytest.mark.parametrize("scale", [0.0, 0.7])
def test_active_units_of_a_linear_encoder(scale):
    """z = scale * noise + a x + 7 of independent x of unit variance: A is a^2, whatever the noise."""
    a = np.array([1.0, 0.12, 0.08, 0.0], np.float32)  # squared 1, .0144, .0064, 0
    test = stats.norm.ppf((np.random.default_rng(0).permuted(np.tile(np.arange(4000), [4, 1]), axis=1).T + 0.5) / 4000)

    def draw(x, seeds):
        return scale * noise.normal_rows(seeds, 4) + a * x + 7.0

    model = encoder_of(draw, draws=True) if scale else encoder_of(lambda x: a * x + 7.0)
    test = test.astype(np.float32)
    found = active_units(run_of(model), data_of(test[:10], test), options(batch_size=4000))
    expected = {"num_units": 4, "threshold": 0.01, "num_test": 4000} | ({"num_draws": 10} if scale else {})
    assert found == {"active_units": 2} | expected


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_error_of_a_mean_over_nearest_neighbours(share):
    """The deviation over 300 sets of points with random labels; that of independent rows is three quarters of it."""
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        z = rng.normal(size=[200, 2])
        other = cKDTree(z).query(z, 2)[1][:, 1]
        labels = rng.random(200) < share
        found.append(mean_over_pairs(labels[other] == labels, other))
    means, errors = np.array(found).T
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(errors))), means.std(), rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("scale, draws, equal", [(0.6, True, True), (1.0, False, True), (1.0, True, False)])
def test_aggregate_posterior_of_a_known_encoder(scale, draws, equal):
    """x is N(0, 1): a x + sqrt(1 - a^2) noise is the prior's, a x alone where a is 1, and x + noise is not."""
    x = np.random.default_rng(0).normal(size=[2000, 2]).astype(np.float32)
    rest = 0.8 if equal else 1.0
    function = (lambda x, seed: scale * x + rest * noise.normal_rows(seed, 2)) if draws else (lambda x: scale * x)
    model = encoder_of(function, draws=draws)
    encode = model.signatures()
    model.latent = lambda seeds: noise.normal_rows(seeds, 2, 7)
    model.signatures = lambda: encode | {"latent": (model.latent, None)}
    model.data_name = "x"
    found = aggregate_posterior(run_of(model), data_of(x[:10], x), options(batch_size=1000))
    assert found["num_draws"] == 2000 and (found["two_sample_p_value"] > 0.01) == equal
