"""The multi-level VAE against a linear-Gaussian model of groups in closed form, and the VAE that it is without them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from zoo.parts import noise
from zoo.variational.ml_vae import MLVAE
from zoo.variational.vae import VAE

SIZE, STYLE, CONTENT = 5, 1, 2
LABEL = np.array([4, 0, 4, 1, 0, 4])  # groups of 3, 2 and 1


class LinearGaussian:
    """p(x_i|s_i, c) = N(A c + B s_i + b, diag S), of directions that are orthogonal after whitening."""

    def __init__(self, group_size):
        """As a model whose q(c|X_G) is the posterior of groups of this size."""
        rng = np.random.default_rng(0)
        S = np.exp(rng.uniform(-1, 0.5, SIZE))
        directions = np.sqrt(S)[:, None] * np.linalg.qr(rng.normal(size=[SIZE, STYLE + CONTENT]))[0] * [1.5, 0.7, 1.2]
        self.B, self.A, self.S, self.b = directions[:, :STYLE], directions[:, STYLE:], S, rng.normal(size=SIZE)
        precision = np.sum(directions**2 / S[:, None], axis=0)  # of z, in one x
        share = np.array([1.0] * STYLE + [1.0 / group_size] * CONTENT)  # of the prior's, for each row
        variance = 1.0 / (share + precision)
        keras.utils.set_random_seed(0)
        self.model = MLVAE(
            data_shape=(SIZE,), style_size=STYLE, content_size=CONTENT, hidden_units=(), likelihood="gaussian",
            log_prob_samples=2,
        )  # fmt: skip
        to_raw = lambda log_variance: 8.0 * np.arctanh(log_variance / 8.0)  # noqa: E731
        kernel = variance * directions / S[:, None]
        zeros = np.zeros([SIZE, STYLE + CONTENT])
        self.model.encoder.set_weights(
            [np.hstack([kernel, zeros]), np.concatenate([-self.b @ kernel, to_raw(np.log(variance))])]
        )
        self.model.decoder.set_weights(
            [np.hstack([directions.T, np.zeros([STYLE + CONTENT, SIZE])]), np.concatenate([self.b, to_raw(np.log(S))])]
        )
        self.precision, self.variance, self.kernel = precision[STYLE:], variance[STYLE:], kernel[:, STYLE:]
        c = rng.normal(size=[5, CONTENT])[LABEL]
        mean = c @ self.A.T + rng.normal(size=[len(LABEL), STYLE]) @ self.B.T + self.b
        self.x = (mean + np.sqrt(S) * rng.normal(size=mean.shape)).astype(np.float32)

    def log_evidence(self, x):
        """log p(X_G), one Gaussian of all rows."""
        own, common = self.B @ self.B.T + np.diag(self.S), self.A @ self.A.T
        n = len(x)
        covariance = np.kron(np.eye(n), own) + np.kron(np.ones([n, n]), common)
        return stats.multivariate_normal(np.tile(self.b, n), covariance).logpdf(np.ravel(x))

    def gap(self, x):
        """KL(q(c|X_G) || p(c|X_G))."""
        n = len(x)
        variance, posterior = self.variance / n, 1.0 / (1.0 + n * self.precision)
        u = (x - self.b) @ self.kernel / self.variance
        shift = u.mean(0) * self.variance - u.sum(0) * posterior
        return 0.5 * np.sum(variance / posterior + shift**2 / posterior - 1 - np.log(variance / posterior))


def exact_bound(model, x, label):
    """Each row's share of the bound, over points at which means of quadratic functions of the noise are exact."""
    points = np.sqrt(STYLE + CONTENT) * np.concatenate([np.eye(STYLE + CONTENT), -np.eye(STYLE + CONTENT)])
    values = []
    for point in points:
        epsilon = tf.constant(np.tile(point, [len(x), 1]), tf.float32)
        model.draw_noise = lambda q, leading, epsilon=epsilon: epsilon
        values.append(-model.negative_bound(x, label, training=True)["autoencoder"].numpy())
    return np.mean(values, axis=0)


@pytest.mark.parametrize("group_size", [1, 2, 3])
def test_the_evidence_of_a_group_bounds_its_bound_by_the_divergence_of_content(group_size):
    """And is met where q(c|X_G) is the posterior: for groups of one size, as the product knows no prior."""
    truth = LinearGaussian(group_size)
    bound = exact_bound(truth.model, truth.x, tf.constant(LABEL))
    for label in np.unique(LABEL):
        x = truth.x[label == LABEL].astype(np.float64)
        expected = truth.log_evidence(x) - truth.gap(x)
        np.testing.assert_allclose(bound[label == LABEL].sum(), expected, atol=2e-4)
        assert (truth.gap(x) < 1e-9) == (len(x) == group_size)


def test_groups_of_one_are_a_vae():
    """Of z = (s, c), with its losses, its bounds on log p(x) and its encoding."""
    truth = LinearGaussian(1)
    vae = VAE(
        data_shape=(SIZE,),
        latent_size=STYLE + CONTENT,
        hidden_units=(),
        likelihood="gaussian",
        seed=3,
        log_prob_samples=2,
    )
    vae.set_weights(truth.model.get_weights())
    truth.model.seed = 3
    found = truth.model.negative_bound(truth.x, tf.range(len(truth.x)), training=True)
    expected = vae.negative_bound(truth.x, training=True)
    np.testing.assert_allclose(found["autoencoder"], expected["autoencoder"], rtol=1e-5)
    np.testing.assert_allclose(found["style_kl"] + found["content_kl"], expected["kl"], rtol=1e-5)
    seeds = tf.range(len(truth.x), dtype=tf.int64)
    for found, expected in zip(*(m.log_prob(truth.x, seeds).values() for m in (truth.model, vae)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    encoded, alone = truth.model.encode(truth.x), truth.model.encode_group(truth.x, np.arange(len(truth.x)))
    np.testing.assert_allclose(np.hstack([encoded["style"], encoded["content"]]), vae.encode(truth.x)["z"], rtol=1e-5)
    for part, value in alone.items():
        np.testing.assert_allclose(value, encoded[part], rtol=1e-5)


def test_a_swap_is_the_style_of_one_and_the_content_of_another():
    truth = LinearGaussian(2)
    x, y = truth.x[:3], truth.x[3:]
    (style, _), (_, content) = ((encoded["style"], encoded["content"]) for encoded in map(truth.model.encode, (x, y)))
    swapped = truth.model.signatures()["swap"][0](style_points=x, content_points=y)["points"]
    np.testing.assert_allclose(swapped, style @ truth.B.T + content @ truth.A.T + truth.b, rtol=1e-4, atol=1e-5)
    grouped = truth.model.encode_group(truth.x, LABEL)["content"].numpy()
    np.testing.assert_allclose(grouped[LABEL == 4], np.tile(grouped[:1], [3, 1]), rtol=1e-6)
    assert noise.Noise("normal", (STYLE + CONTENT,)) == truth.model.q(x).noise
