"""The density ratio estimator against Gaussians whose ratio is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.zoo.steps import train_by_adam
from zoo.implicit.density_ratio import DensityRatio

P = stats.multivariate_normal([0.5, 0.0], [[1.0, 0.3], [0.3, 0.6]])
Q = stats.multivariate_normal([-0.5, 0.5], [[1.0, -0.2], [-0.2, 0.8]])


def kl(p, q):
    difference = q.mean - p.mean
    inverse = np.linalg.inv(q.cov)
    trace = np.trace(inverse @ p.cov) + difference @ inverse @ difference
    return 0.5 * (trace - len(p.mean) + np.log(np.linalg.det(q.cov) / np.linalg.det(p.cov)))


def log_ratio(model, x, key="log_ratio"):
    return model.log_ratio(tf.constant(x, tf.float32))[key].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("loss, rate, of_kl, of_other_kl, of_log_ratio, of_probability", [
    ("logistic", 0.01, 0.05, 0.05, 0.05, 0.05),
    ("pearson", 0.003, 0.15, 0.6, 0.2, 0.25),  # which hardly sees how small a small ratio is
    ("kl", 0.003, 0.1, 0.2, 0.1, 0.12),
])  # fmt: skip
def test_ratio_probability_and_divergences_where_the_data_are(
    loss, rate, of_kl, of_other_kl, of_log_ratio, of_probability
):
    """Trained on twice as many rows of q (label 0) as of p (label 1), asked about others: by tolerances of each."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = DensityRatio(data_shape=(2,), hidden_units=(64, 64), loss=loss)
    label = np.arange(300_000) % 3 == 0
    x = np.where(label[:, None], P.rvs(300_000, rng), Q.rvs(300_000, rng))
    train_by_adam(model, (tf.constant(x, tf.float32), tf.constant(label, tf.int64)), 1500, 900, rate)
    of_p, of_q = P.rvs(20_000, rng), Q.rvs(20_000, rng)
    np.testing.assert_allclose(log_ratio(model, of_p).mean(), kl(P, Q), rtol=of_kl)
    np.testing.assert_allclose(-log_ratio(model, of_q).mean(), kl(Q, P), rtol=of_other_kl)
    np.testing.assert_allclose(np.exp(log_ratio(model, of_q)).mean(), 1.0, rtol=0.05)
    x = np.concatenate([of_p[:2000], of_q[:2000]])
    truth = P.logpdf(x) - Q.logpdf(x)
    assert np.median(np.abs(log_ratio(model, x) - truth)) < of_log_ratio
    error = np.abs(log_ratio(model, x, "probability") - special.expit(truth))  # of equally many rows, not of one third
    assert np.quantile(error, 0.99) < of_probability


def test_the_share_of_p_is_the_mean_of_all_minibatches():
    model = DensityRatio(data_shape=(2,), numerator=(0, 4), hidden_units=())
    model.compile(jit_compile=False)
    labels = np.random.default_rng(0).integers(0, 6, [5, 8])
    for label in labels:
        model.train_step((tf.zeros([8, 2]), tf.constant(label)))
    np.testing.assert_allclose(model.pi, np.isin(labels, [0, 4]).mean(), rtol=1e-5)
    model.classifier.set_weights([np.zeros([2, 1]), np.array([special.logit(float(model.pi.numpy()))])])
    np.testing.assert_allclose(log_ratio(model, np.ones([3, 2])), np.zeros(3), atol=1e-6)


def test_images_can_have_convolutions():
    model = DensityRatio(data_shape=(8, 8, 1), network="convolutional", filters=2)
    model.compile(jit_compile=False)
    model.train_step((tf.ones([4, 8, 8, 1]), tf.constant([0, 1, 0, 1])))
    assert model.log_ratio(tf.ones([3, 8, 8, 1]))["log_ratio"].shape == (3,)
