"""AVB with Gaussians in closed form and an adversary that is optimal by formula; a second Algorithm 1 in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.zoo.steps import assert_weights, descend, in_float64, train_by_adam
from zoo.parts import estimators, noise
from zoo.variational.avb import AVB

SIZE, LATENTS = 3, 2
NUM_BASIS, NOISE_SIZE = 3, 2
IDENTITY = np.eye(LATENTS)


def small(adaptive_contrast, adversary_network="residual", units=(4,), data_shape=(SIZE,), **arguments):
    """A model with linear networks, unless it is told otherwise."""
    options = {"latent_size": LATENTS, "hidden_units": (), "num_basis": NUM_BASIS, "noise_size": NOISE_SIZE}
    options |= {"noise_units": (), "adversary_network": adversary_network, "adversary_units": units, **arguments}
    return AVB(data_shape=data_shape, adaptive_contrast=adaptive_contrast, **options)


class LinearGaussian:
    """p(x|z) = N(W z + b, S) and an AVB model with linear networks whose q(z|x) is the exact posterior.

    The posterior N(M (x - b), C) is correlated, so that its diagonal Gaussian r is another. `shift` moves its mean, and
    `stretch` multiplies its covariance by exp(stretch).
    """

    def __init__(self, adaptive_contrast, shift=0.0, stretch=0.0, **arguments):
        rng = np.random.default_rng(2)  # a posterior whose latents have a correlation of 0.83
        log_S, W, b = rng.uniform(-1, 0.5, SIZE), rng.normal(size=[SIZE, LATENTS]), rng.normal(size=SIZE)
        self.posterior = np.linalg.inv(np.eye(LATENTS) + W.T / np.exp(log_S) @ W)
        M = self.posterior @ W.T / np.exp(log_S)
        self.C, marginal = np.exp(stretch) * self.posterior, W @ W.T + np.diag(np.exp(log_S))
        self.deviations = np.sqrt(np.diag(self.C))
        self.correlations = self.C / np.outer(self.deviations, self.deviations)
        self.x = rng.multivariate_normal(b, marginal).astype(np.float32)
        self.log_px = stats.multivariate_normal.logpdf(self.x, b, marginal)
        self.mean = M @ (self.x - b) + shift

        self.model = small(adaptive_contrast, likelihood="gaussian", **arguments)
        bias = np.concatenate([b, 8.0 * np.arctanh(log_S / 8.0)])
        self.model.decoder.set_weights([np.hstack([W.T, np.zeros([LATENTS, SIZE])]), bias])
        root, offset = np.linalg.cholesky(self.C), shift - M @ b
        if adaptive_contrast:  # z = z_0(x) + sum_i a_i * (V_i eps_i + c_i) with constant a_i = exp(raw - 5) below 1
            a, c = rng.uniform(0.2, 0.9, [2, NUM_BASIS, LATENTS])
            kernel = np.hstack([M.T, np.zeros([SIZE, NUM_BASIS * LATENTS])])
            bias = np.concatenate([offset - (a * c).sum(0), np.ravel(5.0 + np.log(a))])
            self.model.coefficients.set_weights([kernel, bias])
            self.model.basis.set_weights([(root[None] / a[:, :, None] / np.sqrt(NUM_BASIS)).transpose(0, 2, 1), c])
        else:
            self.model.encoder.set_weights([np.vstack([M.T, root.T]), offset])

    def plug_in_optimal_adversary(self):
        """T* = log q(z|x) - log p(z) (paper, proposition 1); for z~, the q(z~|x) of the correlations of C."""
        contrast = self.model.adaptive_contrast
        q = stats.multivariate_normal(*(([0.0] * LATENTS, self.correlations) if contrast else (self.mean, self.C)))
        prior = stats.multivariate_normal(cov=IDENTITY)

        def T(x, z, training=True):
            return tf.constant(q.logpdf(z) - prior.logpdf(z), tf.float32)

        self.model.T = T

    def sigma_points(self):
        """x repeated, with noise over which averages of quadratic functions are exact."""
        size = int(np.prod(self.model.noise_shape))
        points = np.sqrt(size) * np.concatenate([np.eye(size), -np.eye(size)]).astype(np.float32)
        return np.tile(self.x, [2 * size, 1]), points.reshape(-1, *self.model.noise_shape)


def kl(mean, covariance, other=IDENTITY):
    """KL(N(mean, covariance) || N(0, other)) in nats; the other is the prior by default."""
    inverse = np.linalg.inv(other)
    log_ratio = np.linalg.slogdet(other)[1] - np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(inverse @ covariance) + mean @ inverse @ mean - len(mean) + log_ratio)


with_and_without_contrast = pytest.mark.parametrize("adaptive_contrast", [False, True])


@with_and_without_contrast
@pytest.mark.parametrize("shift, stretch", [(0.0, 0.0), (0.7, 0.0), (0.0, 1.0), (-0.4, -1.5)])
def test_optimal_adversary_gives_the_divergence_and_the_bound(adaptive_contrast, shift, stretch):
    """E_q[T* + log r - log p] = KL(q || p), and the bound is log p(x) - KL(q || posterior)."""
    truth = LinearGaussian(adaptive_contrast, shift, stretch)
    truth.plug_in_optimal_adversary()
    x, epsilon = truth.sigma_points()
    losses = truth.model.losses(x, epsilon, np.zeros([len(x), LATENTS], np.float32))
    np.testing.assert_allclose(np.mean(losses["estimated_kl"]), kl(truth.mean, truth.C), atol=1e-3)
    gap = kl(np.full(LATENTS, shift), truth.C, truth.posterior)
    np.testing.assert_allclose(np.mean(losses["estimated_bound"]), truth.log_px - gap, atol=1e-3)
    if gap < 1e-9:  # then log p(x, z) - log q(z|x) is log p(x) at every z
        np.testing.assert_allclose(losses["estimated_bound"], np.full(len(x), truth.log_px), atol=1e-3)
    np.testing.assert_array_equal(losses["encoder"], -losses["estimated_bound"].numpy())
    np.testing.assert_allclose(losses["estimated_bound"], -losses["decoder"] - losses["estimated_kl"], rtol=1e-5)
    if adaptive_contrast:  # T*'s share is KL(q || r), that of the correlations alone (paper, section 4)
        z, r = truth.model.draw_q(x, epsilon, training=True)
        np.testing.assert_allclose(z.numpy().mean(0), truth.mean, atol=1e-5)
        np.testing.assert_allclose(np.cov(z.numpy().T, bias=True), truth.C, atol=1e-5)
        np.testing.assert_allclose(r.mean(), np.tile(truth.mean, [len(x), 1]), atol=1e-5)
        np.testing.assert_allclose(r.stddev(), np.tile(truth.deviations, [len(x), 1]), rtol=1e-4)
        share = -0.5 * np.linalg.slogdet(truth.correlations)[1]
        np.testing.assert_allclose(np.mean(truth.model.T(x, (z - r.mean()) / r.stddev())), share, atol=1e-3)
        assert share > 0.5 and (gap > 1e-9 or share < 0.6 * kl(truth.mean, truth.C))


@pytest.mark.slow
@pytest.mark.parametrize("network, adaptive_contrast", [("residual", False), ("bilinear", False), ("bilinear", True)])
def test_a_trained_adversary_approaches_the_divergence(network, adaptive_contrast):
    keras.utils.set_random_seed(0)
    truth = LinearGaussian(adaptive_contrast, 0.3, 1.0, adversary_network=network, units=(64, 64))
    model, exact = truth.model, kl(truth.mean, truth.C)

    def step(x):
        epsilon, z = model.draw(x, 0)
        model.minimize(lambda: {"adversary": model.losses(x, epsilon, z)["adversary"]})
        model.step.assign_add(1)

    def estimate():
        x = np.tile(truth.x, [20_000, 1])
        with model.drawing(noise.EVALUATION, 0):
            return np.mean(model.losses(x, *model.draw(x, 0), training=False)["estimated_kl"])

    untrained = estimate()
    train_by_adam(model, tf.constant(np.tile(truth.x, [500, 1])), 400, 500, 5e-3, step)
    assert abs(untrained - exact) > 0.1 * exact and abs(estimate() - exact) < 0.05 * exact


# --- Algorithm 1, written a second time -------------------------------------------------------------------------------


def reference_losses(arguments, weights, x, epsilon, z):
    """The losses of decoder, encoder and adversary from lists of float64 weights, of linear and one-layer networks."""
    decoder, encoder, adversary = weights

    def log_normal(z, mean, deviation):
        return tf.reduce_sum(-0.5 * ((z - mean) / deviation) ** 2 - tf.math.log(deviation) - 0.5 * np.log(2 * np.pi), 1)

    if arguments["adaptive_contrast"]:
        kernel, bias, V, c = encoder
        raw = tf.reshape(x @ kernel + bias, [-1, 1 + NUM_BASIS, LATENTS])
        z_q = mean = raw[:, 0]
        variance = 1e-6
        for i in range(NUM_BASIS):
            a, v = tf.nn.elu(raw[:, 1 + i] - 5.0) + 1.0, epsilon[:, i] @ V[i] + c[i]
            z_q += a * v
            mean += a * tf.reduce_mean(v, 0)
            variance += a**2 * tf.math.reduce_variance(v, 0)
        mean, deviation = tf.stop_gradient(mean), tf.stop_gradient(tf.sqrt(variance))
    else:
        kernel, bias = encoder
        z_q = tf.concat([x, epsilon], 1) @ kernel + bias
        mean, deviation = 0.0, tf.ones_like(z_q)

    def T(z):
        if arguments["adversary_network"] == "residual":
            kernel, bias, output, output_bias = adversary
            return (tf.nn.elu(tf.concat([x, z], 1) @ kernel + bias) @ output + output_bias)[:, 0]
        theta, theta_bias, kernel, bias, s, s_bias = adversary
        on_x, on_z = x @ theta + theta_bias, tf.nn.elu(z @ kernel + bias) @ s + s_bias
        return tf.reduce_sum(on_x[:, 1:] * on_z[:, 1:], 1) + on_x[:, 0] + on_z[:, 0] + 0.5 * tf.reduce_sum(z**2, 1)

    kernel, bias = decoder
    log_px = -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(x, z_q @ kernel + bias), 1)
    T_q, T_p = T((z_q - mean) / deviation), T(z)
    divergence = T_q + log_normal(z_q, mean, deviation) - log_normal(z_q, 0.0, tf.ones_like(z_q))
    adversarial = -tf.math.log(tf.sigmoid(T_q)) - tf.math.log(1.0 - tf.sigmoid(T_p))
    return -log_px, divergence - log_px, adversarial


@pytest.mark.slow
@pytest.mark.parametrize("num_adversary_steps", [1, 3])
@pytest.mark.parametrize("adversary_network, adaptive_contrast", [("residual", False), ("bilinear", True)])
def test_steps_of_a_second_implementation(num_adversary_steps, adversary_network, adaptive_contrast):
    """All gradients come before all updates; further adversary steps come first, each on a minibatch of its own."""
    arguments = {"adversary_network": adversary_network, "adaptive_contrast": adaptive_contrast}
    units = (5,) if adversary_network == "residual" else (5, 4)
    model = small(**arguments, units=units, num_adversary_steps=num_adversary_steps, seed=3)
    if adaptive_contrast:  # larger coefficients a: with those at the start, z - mu is a difference of near equals
        kernel = model.coefficients.get_weights()[0]
        model.coefficients.set_weights([kernel, np.full(kernel.shape[1], 4.5)])
    weights = in_float64(model, 0.1)  # of decoder, encoder and adversary
    rng, rows = np.random.default_rng(0), 6
    for t in range(2):
        batches = rng.random([num_adversary_steps, rows, SIZE], np.float32)
        model.train_step(tf.constant(batches.reshape(-1, SIZE)))
        keys = [noise.key(3, t, 0, i) for i in range(2 * num_adversary_steps)]
        for i, x in enumerate(batches):
            shapes = [rows, *model.noise_shape], [rows, LATENTS]
            drawn = [noise.normal(key, shape) for key, shape in zip(keys[2 * i : 2 * i + 2], shapes, strict=True)]
            drawn = [tf.cast(v, tf.float64) for v in (x, *drawn)]
            moved = range(3) if i == num_adversary_steps - 1 else [2]
            descend(0.1, *((weights[j], lambda j=j: reference_losses(arguments, weights, *drawn)[j]) for j in moved))
    assert_weights(model, weights, atol=2e-6, rtol=1e-5)


# --- Likelihoods and draws --------------------------------------------------------------------------------------------


@pytest.mark.slow
@with_and_without_contrast
def test_encodings_are_draws_of_q_and_importance_weights_those_of_its_density(adaptive_contrast):
    """E[w] = p(x), whatever the encoder and its moments are; and the exported bounds are those of its draws."""
    truth, num = LinearGaussian(adaptive_contrast, 0.2, 1.0, log_prob_samples=500), 20_000
    model, x = truth.model, truth.x[None]
    assert ("log_prob" in model.signatures()) == adaptive_contrast
    if adaptive_contrast:  # r has the moments of q
        r = model.proposal(x)
        np.testing.assert_allclose(r.mean()[0], truth.mean, atol=0.1)
        np.testing.assert_allclose(r.density.stddev()[0], truth.deviations, rtol=0.1)
        log_w = model.log_weight(x, r, noise.normal([0, 1], [num, 1, LATENTS])).numpy()[:, 0].astype(np.float64)
        error = np.exp(log_w - truth.log_px).std()
        assert 0.01 < error < 20
        assert abs(estimators.iwae(log_w) - truth.log_px) < 5 * error / np.sqrt(num) + 1e-4
        scores = tf.function(model.log_prob)(np.tile(x, [3, 1]), tf.range(3, dtype=tf.int64))
        assert set(scores) == {"log_prob_lower_bound"}  # r's ELBO is not the model's
        assert np.all(abs(scores["log_prob_lower_bound"] - truth.log_px) < 5 * error / np.sqrt(500) + 1e-4)
    else:  # p(z) as a proposal would be right too, in the limit only
        with pytest.raises(ValueError, match="without adaptive_contrast"):
            model.proposal(x)

    x, seeds = np.tile(x, [num, 1]), tf.range(num, dtype=tf.int64)
    z = model.encode(x, seeds)["z"].numpy()
    assert np.all(abs(z.mean(0) - truth.mean) < 5 * truth.deviations / np.sqrt(num))
    np.testing.assert_allclose(np.cov(z.T), truth.C, atol=0.05 * truth.C.max())
    np.testing.assert_allclose(model.encode(x[:1], seeds[7:8])["z"][0], z[7], atol=1e-6)
    reconstructed = model.signatures()["reconstruct"][0](points=x[:5], seed=seeds[:5])["points"]
    np.testing.assert_allclose(reconstructed, model.decode(z[:5]), atol=1e-6)


def test_outside_training_a_row_has_no_company():
    """In training, the moments of r are those of the minibatch."""
    truth = LinearGaussian(True)
    x, z = np.tile(truth.x, [9, 1]), np.zeros([9, 2], np.float32)
    epsilon = noise.normal([0, 1], [9, NUM_BASIS, NOISE_SIZE])
    for training in (True, False):
        alone = truth.model.losses(x[:1], epsilon[:1], z[:1], training)["estimated_kl"][0]
        difference = abs(alone - truth.model.losses(x, epsilon, z, training)["estimated_kl"][0])
        assert difference > 1.0 if training else difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("network, adaptive_contrast, adversary_network, likelihood", [
    ("mlp", False, "bilinear", "bernoulli"), ("mlp", True, "residual", "gaussian"),
    ("convolutional", False, "residual", "bernoulli"), ("convolutional", True, "bilinear", "gaussian"),
])  # fmt: skip
def test_every_network_takes_part(network, adaptive_contrast, adversary_network, likelihood):
    """Whatever is chosen, one step moves every weight but those that start behind a zero."""
    keras.utils.set_random_seed(0)
    model = small(
        adaptive_contrast, adversary_network, units=(6, 5), data_shape=(8, 8, 1), network=network, hidden_units=(5,),
        filters=2, likelihood=likelihood, num_basis=2, noise_size=3, noise_units=(4,),
    )  # fmt: skip
    model.compile(jit_compile=False)
    before = [w.numpy() for w in model.trainable_variables]
    x = np.random.default_rng(0).random([4, 8, 8, 1], np.float32)
    model.train_step(tf.constant(x))
    moved = [np.any(old != new.numpy()) for old, new in zip(before, model.trainable_variables, strict=True)]
    assert moved.count(False) == (2 if adversary_network == "residual" else 0)
    assert model.T(x, np.zeros([4, 2], np.float32)).shape == (4,)
