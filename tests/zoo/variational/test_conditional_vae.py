"""The conditional VAE of Gaussian classes, whose likelihoods and posteriors are known."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.trainers.metrics.made import data_of, options, run_of
from trainers.metrics.likelihood import classification_accuracy, importance_weighted_nll
from zoo.variational.conditional_vae import ConditionalVAE

W, MEANS, VARIANCE = np.array([[1.0], [0.5]]), np.array([[0.0, 0.0], [1.5, -1.0], [-1.0, 2.0]]), 0.5
CLASSES = [stats.multivariate_normal(mean, W @ W.T + VARIANCE * np.eye(2)) for mean in MEANS]
rng = np.random.default_rng(0)
LABELS = rng.integers(0, 3, 300)
X = np.array([CLASSES[label].rvs(random_state=rng) for label in LABELS], np.float32)


@pytest.fixture(scope="module")
def model():
    """p(x|z, y) = N(W z + mean of y, VARIANCE I), and the exact q(z|x, y)."""
    sizes = {"latent_size": 1, "hidden_units": (), "num_classes": 3, "log_prob_samples": 3, "inpaint_steps": 20}
    model = ConditionalVAE(data_shape=(2,), likelihood="gaussian", likelihood_variance=VARIANCE, **sizes)
    model.decoder.set_weights([np.concatenate([W.T, MEANS]), np.zeros(2)])
    variance = 1.0 / (1.0 + float((W.T @ W)[0, 0]) / VARIANCE)
    kernel, bias = np.zeros([5, 2]), np.array([0.0, 8.0 * np.arctanh(np.log(variance) / 8.0)])
    to_mean = variance * W[:, 0] / VARIANCE
    kernel[:, 0] = np.concatenate([to_mean, -MEANS @ to_mean])
    model.encoder.set_weights([kernel, bias])
    return model


@pytest.mark.slow
def test_classes_by_the_rule_of_bayes(model):
    log_p = np.stack([each.logpdf(X) for each in CLASSES], axis=1)
    seeds = tf.range(len(X), dtype=tf.int64)
    found = model.classify(X, seeds)
    np.testing.assert_allclose(found["probability"], special.softmax(log_p, axis=1), atol=1e-4)
    np.testing.assert_allclose(found["log_prob_lower_bound"], special.logsumexp(log_p, axis=1) - np.log(3), atol=1e-4)
    of_labels = model.log_prob(X, seeds, label=LABELS)
    np.testing.assert_allclose(of_labels["elbo"], log_p[np.arange(len(X)), LABELS], atol=1e-4)


@pytest.mark.slow
def test_metrics_take_the_labels_of_rows(model):
    data, run = data_of(X, X, labels=(LABELS, LABELS)), run_of(model)
    log_p = np.stack([each.logpdf(X) for each in CLASSES], axis=1)
    given = options(num_importance_samples=2)
    right = np.mean(log_p.argmax(axis=1) == LABELS)
    assert classification_accuracy(run, data, given)["classification_accuracy"] == pytest.approx(right, abs=0.004)
    found = importance_weighted_nll(run, data, given)
    assert found["conditional_nll"] == pytest.approx(-log_p[np.arange(len(X)), LABELS].mean(), abs=1e-4)


def test_samples_are_of_their_class(model):
    seeds = tf.range(6000, dtype=tf.int64)
    x = model.sample(seeds, label=seeds % 3).numpy()
    for label, each in enumerate(CLASSES):
        np.testing.assert_allclose(x[label::3].mean(0), each.mean, atol=4 * np.sqrt(np.diag(each.cov).max() / 2000))
        np.testing.assert_allclose(np.cov(x[label::3].T), each.cov, atol=0.15)


@pytest.mark.slow
def test_inpainting_is_told_the_class_of_a_row(model):
    """What is missing is drawn from its Gaussian given the known number and the class, q being exact."""
    num, x = 3000, X[:1]
    for label, each in enumerate(CLASSES):
        rows = {"points": np.repeat(x, num, 0), "mask": np.tile([[1.0, 0.0]], [num, 1]), "seed": tf.range(num)}
        found = model.signatures()["inpaint"][0](**rows, label=tf.fill([num], label))["points"].numpy()
        gain = each.cov[0, 1] / each.cov[0, 0]
        mean, variance = each.mean[1] + gain * (x[0, 0] - each.mean[0]), each.cov[1, 1] - gain * each.cov[0, 1]
        assert np.all(found[:, 0] == x[0, 0]) and abs(found[:, 1].mean() - mean) < 4 * np.sqrt(variance / num)
        np.testing.assert_allclose(found[:, 1].var(), variance, rtol=0.15)
