"""Metrics against closed forms, SciPy, quadrature and hand-made samples."""

import dataclasses
import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats
from scipy.spatial.distance import cdist, pdist

from trainers import evaluate
from trainers.data import Data
from trainers.evaluate import energy_distance
from zoo.gan import GAN
from zoo.parts import estimators, noise
from zoo.vae import VAE

NUM_ROWS = 23


def gaussian_distance(mean, std):
    """E|X| for X ~ N(mean, std^2)."""
    return std * np.sqrt(2 / np.pi) * np.exp(-0.5 * (mean / std) ** 2) + mean * special.erf(mean / std / np.sqrt(2))


def quantiles(num, mean, std):
    return stats.norm.ppf((np.arange(num) + 0.5) / num, mean, std)[:, None]


@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (0.7, 1.0), (0.0, 3.0), (-2.0, 0.3)])
def test_energy_distance_of_gaussians(mean, std):
    expected = 2 * gaussian_distance(mean, np.hypot(1, std)) - gaussian_distance(0, np.sqrt(2)) * (1 + std)
    estimate = energy_distance(quantiles(1500, 0, 1), quantiles(1000, mean, std))
    np.testing.assert_allclose(estimate, expected, atol=5e-3)
    np.testing.assert_allclose(energy_distance(quantiles(1000, mean, std), quantiles(1500, 0, 1)), estimate)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 2, 1)])
def test_energy_distance_against_scipy(shape):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=[40, *shape]), 5.0 + rng.gamma(2.0, size=[30, *shape]).astype(np.float32)
    flat_x, flat_y = x.reshape(40, -1), y.reshape(30, -1)
    expected = 2 * cdist(flat_x, flat_y).mean() - pdist(flat_x).mean() - pdist(flat_y).mean()
    np.testing.assert_allclose(energy_distance(x, y), expected, rtol=1e-9)
    if shape == (1,):  # SciPy's is the root of the V-statistic, which counts each sample's distance 0 to itself
        v_statistic = energy_distance(x, y) + pdist(flat_x).mean() / 40 + pdist(flat_y).mean() / 30
        np.testing.assert_allclose(np.sqrt(v_statistic), stats.energy_distance(x[:, 0], y[:, 0]), rtol=1e-6)


def test_energy_distance_is_unbiased_and_exact_for_equal_points():
    rng = np.random.default_rng(0)
    estimates = [energy_distance(rng.normal(size=[5, 2]), rng.normal(size=[3, 2])) for _ in range(2000)]
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(2000) < 0.1 * np.std(estimates)
    np.testing.assert_allclose(energy_distance(np.ones([4, 3]) * 1e3, np.ones([2, 3]) * 1e3), 0.0, atol=1e-3)


# --- Metrics of a run -------------------------------------------------------------------------------------------------


def options(**more):
    return SimpleNamespace(**{"batch_size": 10, "seed": 0, "num_model_samples": 100, **more})


def run_of(model):
    return SimpleNamespace(model=model, settings=SimpleNamespace(dynamic_binarization=False))


def sampler_of(rows):
    """A run whose model samples row `seed` of the given rows."""
    return run_of(
        SimpleNamespace(
            conditional=False,
            signatures=lambda: {"sample": None},
            sample=lambda seeds: tf.gather(tf.constant(rows, tf.float32), seeds),
        )
    )


def data_of(train, test, modes=None, mode_std=None):
    return Data("made", train, test, None, None, None, "", "", modes, mode_std)


MODES = np.array([[0, 0], [4, 0], [0, 4], [4, 4]], np.float32)


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
    found = evaluate.modes_found(sampler_of(samples), data, given)
    assert found["modes_found"] == modes_found and found["num_modes"] == 4
    assert found["num_model_samples"] == len(samples)
    np.testing.assert_allclose(found["high_quality_share"], share)


def test_metrics_that_do_not_apply():
    points = np.zeros([5, 2], np.float32)
    assert evaluate.modes_found(None, data_of(points, points), options()) is None
    for metric in (evaluate.importance_weighted_nll, evaluate.ais_nll):
        assert metric(run_of(SimpleNamespace()), None, options()) is None
    assert evaluate.class_accuracy(sampler_of(points), data_of(points, points, MODES, 0.1), options()) is None
    assert evaluate.nearest_neighbour_accuracy(run_of(SimpleNamespace()), data_of(points, points), options()) is None
    assert evaluate.nearest_neighbour_accuracy(run_of(Encoder()), data_of(points, points), options()) is None
    assert evaluate.class_accuracy(class_sampler_of(MODES), data_of(points, points), options()) is None


def class_sampler_of(rows):
    """A run whose conditional model samples row `label` of the given rows, for every tenth seed the next row."""

    def sample(seeds, label):
        wrong = tf.cast(seeds % 10 == 0, tf.int64)
        return tf.gather(tf.constant(rows, tf.float32), (label + wrong) % len(rows))

    return run_of(
        SimpleNamespace(conditional=True, num_classes=len(rows), sample=sample, signatures=lambda: {"sample": None})
    )


@pytest.mark.parametrize("num, batch_size", [(120, 7), (None, 1000)])
def test_class_accuracy_of_a_mixture(num, batch_size):
    """Samples off by less than half the distance of the modes, but one in ten at another; then all next to the last."""
    data = data_of(MODES, MODES, MODES, 0.1)
    given = options(num_model_samples=num, batch_size=batch_size)
    expected = {"class_accuracy": pytest.approx(0.9), "num_model_samples": num or 10_000}
    assert evaluate.class_accuracy(class_sampler_of(MODES + 1.9), data, given) == expected
    assert evaluate.class_accuracy(class_sampler_of(MODES + 2.1), data, given)["class_accuracy"] == 0.25


def test_class_accuracy_of_images_is_what_the_classifier_says(monkeypatch):
    """Images of one grey value for each class, and a judge that takes the nearest and is wrong on one test image."""
    grey = np.array([0, 100, 200], np.uint8)
    images = np.tile(grey[:, None, None, None], [1, 2, 2, 1])
    labels = np.array([0, 1, 1])
    data = Data("made", images, images, labels, labels, 3, "", "")
    monkeypatch.setattr(evaluate.classifier, "trained", lambda given: given)
    nearest = lambda judge, x: np.abs(255 * x[:, 0, 0, :1] - grey).argmin(1)  # noqa: E731
    monkeypatch.setattr(evaluate.classifier, "classes_of", nearest)
    result = evaluate.class_accuracy(class_sampler_of(images / 255.0), data, options(num_model_samples=90))
    assert result == {
        "class_accuracy": pytest.approx(0.9),
        "classifier_test_accuracy": pytest.approx(2 / 3),
        "num_model_samples": 90,
    }


def test_energy_distance_of_a_conditional_model_has_the_classes_of_the_data():
    """Nine of ten training rows are of class 1: a sampler that is right is as near as the training data."""
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.9).astype(np.int64)
    rows = MODES[labels] + 0.01 * rng.normal(size=[400, 2]).astype(np.float32)
    data = Data("made", rows, rows[::-1], labels, labels[::-1], 2, "", "")
    run = class_sampler_of(MODES[:2])
    run.model.sample = lambda seeds, label: tf.gather(tf.constant(MODES), label)
    result = evaluate.sample_energy_distance(run, data, options(num_model_samples=400))
    assert abs(result["energy_distance"]) < 0.02
    assert evaluate.energy_distance(MODES[np.arange(400) % 2], rows) > 0.3


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
    data = dataclasses.replace(data_of(train, test), train_labels=labels[0], test_labels=labels[1])
    found = evaluate.nearest_neighbour_accuracy(run_of(Encoder()), data, options(seed=seed))
    assert set(found) == {"data", "z", "features", "num_train", "num_test"}
    spaces = {"data": lambda x: x.reshape(len(x), 4) / 255.0}
    spaces["features"] = spaces["data"]  # twice the distances, the same neighbours
    spaces["z"] = lambda x: np.stack(
        [x[:, 0, 0, 0] / 255.0, (seed + (80 if x is test else 0) + np.arange(len(x))) / 1e3], axis=1
    )  # every row has noise of its own, whatever the batches
    for space, rows in spaces.items():
        nearest = cdist(rows(test), rows(train)).argmin(1)
        np.testing.assert_allclose(found[space], np.mean(labels[0][nearest] == labels[1]))
    assert found["data"] != found["z"] and (found["num_train"], found["num_test"]) == (80, 60)


def test_nearest_neighbours_of_well_separated_classes_and_of_a_vae(vae, images):
    """Points of a mixture are all right in their own space; a VAE's z tells black from white images."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 10)
    points = (MODES[labels] + 0.1 * rng.normal(size=[40, 2])).astype(np.float32)
    data = dataclasses.replace(data_of(points, points[::-1]), train_labels=labels, test_labels=labels[::-1])
    model = VAE(data_shape=(2,), latent_size=2, hidden_units=(), likelihood="gaussian")
    model.encoder.set_weights([np.concatenate([np.eye(2), np.zeros([2, 2])], 1), np.zeros(4)])  # the mean is x
    found = evaluate.nearest_neighbour_accuracy(run_of(model), data, options())
    assert found == {"data": 1.0, "z": 1.0, "num_train": 40, "num_test": 40}
    white = (images.test.reshape(NUM_ROWS, 4).sum(1) > 510).astype(np.int64)
    data = dataclasses.replace(images, train_labels=white, test_labels=white)
    assert evaluate.nearest_neighbour_accuracy(run_of(vae), data, options())["z"] == 1.0  # each row finds itself


def test_sample_energy_distance_serves_images_and_compares_equal_numbers():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, [num, 2, 2, 1], np.uint8) for num in (60, 40))
    result = evaluate.sample_energy_distance(sampler_of(test / 255.0), data_of(train, test), options())
    assert result["num_model_samples"] == 40
    within = pdist(test.reshape(40, -1) / 255.0).mean()  # the samples are the test set: only the diagonal differs
    np.testing.assert_allclose(result["energy_distance"], -2 * within / 40, rtol=1e-5)
    assert abs(result["of_training_data"]) < 0.2 * within
    black = evaluate.sample_energy_distance(sampler_of(np.zeros_like(test)), data_of(train, test), options())
    expected = 2 * np.linalg.norm(test.reshape(40, -1) / 255.0, axis=1).mean() - within
    np.testing.assert_allclose(black["energy_distance"], expected, rtol=1e-5)


@pytest.fixture(scope="module")
def images():
    rows = np.array(list(itertools.product([0, 255], repeat=4)), np.uint8)
    rows = np.concatenate([rows, rows[: NUM_ROWS - 16]]).reshape(NUM_ROWS, 2, 2, 1)
    return data_of(rows, rows)


@pytest.fixture(scope="module")
def vae():
    """One latent, and a posterior wider than the true one, so that importance weights are bounded."""
    keras.utils.set_random_seed(3)
    model = VAE(data_shape=(2, 2, 1), latent_size=1, hidden_units=(6,))
    rng = np.random.default_rng(0)
    model.decoder.set_weights([2.0 * w + 0.3 * rng.normal(size=w.shape) for w in model.decoder.get_weights()])
    kernel_1, bias_1, kernel_2, _ = model.encoder.get_weights()
    model.encoder.set_weights([kernel_1, bias_1, 0.3 * kernel_2, np.array([0.2, 0.5])])
    model.compile()
    return model


@pytest.fixture(scope="module")
def truth(vae, images):
    """log p(x) by quadrature over z, and the ELBO by Gauss-Hermite quadrature over epsilon, for every row."""
    x = images.test.astype(np.float32) / 255.0
    z = np.linspace(-9, 9, 1001, dtype=np.float32)
    joint = vae.p(z[:, None, None]).log_prob(x).numpy() + stats.norm.logpdf(z)[:, None]
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    log_w = vae.log_weights(x, np.tile(nodes.astype(np.float32)[:, None, None], [1, NUM_ROWS, 1])).numpy()
    return np.log(np.trapezoid(np.exp(joint), z, axis=0)), weights / weights.sum() @ log_w


@pytest.mark.parametrize("batch_size, chunk", [(NUM_ROWS, 2000), (10, 2000), (10, 300), (4, 1999)])
def test_importance_weighted_nll_by_quadrature(vae, images, truth, batch_size, chunk, monkeypatch):
    """In any batches and chunks, the last ones smaller, it is the same but for its Monte Carlo error."""
    num, iwae, draws = 2000, estimators.iwae, set()
    monkeypatch.setattr(evaluate, "MAX_ELEMENTS", chunk * batch_size * evaluate.LAYER_SIZE)
    monkeypatch.setattr(estimators, "iwae", lambda log_w: draws.add(len(log_w)) or iwae(log_w))
    given = options(batch_size=batch_size, num_importance_samples=num)
    result = evaluate.importance_weighted_nll(run_of(vae), images, given)
    assert draws == {num}
    log_px, elbo = truth
    log_w = vae.log_weights(images.test / np.float32(255), noise.normal([1, 1], [num, NUM_ROWS, 1])).numpy()
    error = np.sqrt(np.mean(np.exp(log_w - log_px).var(0)) / num / NUM_ROWS)
    assert 1e-4 < error < 0.02 and np.mean(log_px - elbo) > 0.02
    assert abs(result["nll"] + log_px.mean()) < 5 * error
    assert abs(result["negative_elbo"] + elbo.mean()) < 5 * np.sqrt(np.mean(log_w.var(0)) / num / NUM_ROWS)
    np.testing.assert_allclose(result["standard_error"], log_px.std() / np.sqrt(NUM_ROWS), rtol=0.1)
    assert result["num_importance_samples"] == num and result["num_examples"] == NUM_ROWS


@pytest.mark.parametrize("batch_size, num_examples", [(NUM_ROWS, 100), (5, 7)])
def test_ais_nll_by_quadrature(vae, images, truth, batch_size, num_examples):
    """Of all rows, or of some drawn without replacement, in batches whose last one is smaller."""
    more = {"num_ais_examples": num_examples, "num_ais_chains": 40, "num_ais_temperatures": 30}
    given = options(batch_size=batch_size, num_ais_leapfrog_steps=3, **more)
    result = evaluate.ais_nll(run_of(vae), images, given)
    num = result["num_examples"]
    assert num == min(num_examples, NUM_ROWS)
    rows = np.random.default_rng(0).choice(NUM_ROWS, num, replace=False)
    assert len(set(rows)) == num
    log_px, _ = truth
    np.testing.assert_allclose(result["nll"], -log_px[rows].mean(), atol=0.05)
    np.testing.assert_allclose(result["standard_error"], log_px[rows].std() / np.sqrt(num), rtol=0.2)
    assert 0.5 < result["acceptance_rate"] <= 1.0


def test_held_out_objectives_are_means_over_all_rows(vae, images):
    """23 rows in batches of 10: the last three count as much as the others."""
    result = evaluate.held_out_objectives(run_of(vae), images, options())
    x, rows = images.test.astype(np.float32) / 255.0, []
    for i, first in enumerate(range(0, NUM_ROWS, 10)):
        batch = x[first : first + 10]
        epsilon = noise.normal(noise.keys(0, i, 0, 1)[0], [1, len(batch), 1])
        rows.append(vae.negative_bound(batch, epsilon, training=False))
    for name, key in {"autoencoder_loss": "autoencoder", "reconstruction": "reconstruction", "kl": "kl"}.items():
        expected = np.concatenate([row[key] for row in rows])
        assert len(expected) == NUM_ROWS
        np.testing.assert_allclose(result[name], expected.mean(), rtol=1e-5)
    assert set(result) == {"autoencoder_loss", "reconstruction", "kl"}


def test_held_out_objectives_scale_images_to_the_models_range(images):
    model = GAN(data_shape=(2, 2, 1), latent_size=2, generator_units=(3,), discriminator_units=())
    model.compile()
    model.discriminator.set_weights([np.ones([4, 1]), np.array([0.5])])  # logit: the sum of the pixels, plus 1/2
    result = evaluate.held_out_objectives(run_of(model), images, options())
    sums = (images.test.astype(np.float64) / 127.5 - 1).sum((1, 2, 3)) + 0.5
    np.testing.assert_allclose(result["accuracy_on_real"], np.mean(sums > 0), rtol=1e-6)
