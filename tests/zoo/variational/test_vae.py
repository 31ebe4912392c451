"""The VAE against linear-Gaussian models in closed form, numerical quadrature, finite differences and a second VAE."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.zoo.steps import assert_weights, descend, in_float64, train_by_adam
from zoo.parts import aggregate, estimators, noise
from zoo.variational.vae import VAE

LATENTS = 2
# Averages over these four points are exact for quadratic functions of a standard normal in two dimensions.
SIGMA_POINTS = np.sqrt(LATENTS) * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)


def set_linear(network, mean_map, mean, log_variance):
    """Makes a linear network the parameters of N(mean_map u + mean, diag exp(log_variance)), its weights float32."""
    halves = np.arange(np.prod(network.output_shape[1:])).reshape(network.output_shape[1:])
    halves = [half.ravel() for half in np.split(halves, 2, axis=-1)]  # where each pixel's mean and raw variance lie
    kernel, bias = (np.zeros(w.shape) for w in network.get_weights())
    kernel[:, halves[0]], bias[halves[0]], bias[halves[1]] = mean_map.T, mean, 8.0 * np.arctanh(log_variance / 8.0)
    network.set_weights([kernel, bias])


def make(**arguments):
    """A model of 8x8 images with a few units, unless it is told otherwise."""
    return VAE(**{"data_shape": (8, 8, 1), "latent_size": LATENTS, "filters": 2, "hidden_units": (5,), **arguments})


def bound(model, x, epsilon):
    """What `negative_bound` returns in training, for noise [K, batch, latent_size]."""
    epsilon = tf.constant(epsilon, tf.float32)
    model.draw_noise = lambda q, leading: tf.ensure_shape(epsilon, [*leading, model.latent_size])
    return model.negative_bound(x, training=True)


def log_weight(model, x, epsilon):
    return model.log_weight(x, model.q(x), epsilon)


class LinearGaussian:
    """p(x|z) = N(W z + b, S) with S^-1/2 W of orthogonal columns, so that the posterior is a diagonal Gaussian."""

    def __init__(self, size):
        rng = np.random.default_rng(size)
        self.log_S = rng.uniform(-2, 0.5, size)
        directions = np.linalg.qr(rng.normal(size=[size, LATENTS]))[0] * [1.5, 0.7]
        self.W, self.b = np.exp(self.log_S / 2)[:, None] * directions, rng.normal(size=size)
        scaled = self.W.T / np.exp(self.log_S)
        self.variance = 1 / (1 + np.diag(scaled @ self.W))  # of the posterior
        self.posterior_map = self.variance[:, None] * scaled
        self.data = stats.multivariate_normal(self.b, self.W @ self.W.T + np.diag(np.exp(self.log_S)))
        self.x = self.data.rvs(5, rng).astype(np.float32)
        self.log_px, self.mean = self.data.logpdf(self.x), (self.x - self.b) @ self.posterior_map.T

    def vae(self, data_shape, shift=0.0, stretch=0.0, **arguments):
        """This model; its posterior means moved by `shift` and log-variances by `stretch` of the exact ones."""
        model = make(data_shape=data_shape, hidden_units=(), likelihood="gaussian", **arguments)
        set_linear(model.decoder, self.W, self.b, self.log_S)
        offset = shift - self.posterior_map @ self.b
        set_linear(model.encoder, self.posterior_map, offset, np.log(self.variance) + stretch)
        return model


EXACT = [((4,), 0.0, 0.0), ((2, 1, 2), 0.0, 0.0), ((2, 2, 1), 0.0, 0.0)]


@pytest.mark.slow
@pytest.mark.parametrize("data_shape, shift, stretch", [*EXACT, ((3,), 0.5, 0.0), ((3,), 0.0, -1.0), ((3,), -0.3, 0.8)])
def test_gap_of_the_bound_is_the_divergence_from_the_posterior(data_shape, shift, stretch):
    """ELBO = log p(x) - KL(q || p(z|x)); and beta weighs KL(q || p(z)) alone."""
    truth = LinearGaussian(np.prod(data_shape))
    x, mean, variance = truth.x.reshape(5, *data_shape), truth.mean + shift, truth.variance * np.exp(stretch)
    gap = 0.5 * np.sum(np.exp(stretch) + shift**2 / truth.variance - 1 - stretch)
    kl = 0.5 * np.sum(variance + mean**2 - 1 - np.log(variance), axis=1)
    epsilon = np.repeat(SIGMA_POINTS[:, None], 5, 1)
    model = truth.vae(data_shape, shift, stretch, num_samples=4, log_prob_samples=3)
    outcome = bound(model, x, epsilon)
    np.testing.assert_allclose(outcome["autoencoder"], gap - truth.log_px, atol=1e-4)
    np.testing.assert_allclose(estimators.elbo(log_weight(model, x, epsilon)), truth.log_px - gap, atol=1e-4)
    np.testing.assert_allclose(outcome["kl"], kl, rtol=1e-4)
    for beta in (0.0, 0.5, 4.0):
        weighed = bound(truth.vae(data_shape, shift, stretch, beta=beta, num_samples=4), x, epsilon)
        np.testing.assert_allclose(weighed["autoencoder"], gap - truth.log_px + (beta - 1) * kl, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(weighed["reconstruction"], outcome["reconstruction"])
        np.testing.assert_allclose(weighed["kl"], outcome["kl"])
    encoded = model.encode(x)
    np.testing.assert_allclose(encoded["z"], mean, atol=1e-5)
    np.testing.assert_allclose(encoded["z_log_var"], np.tile(np.log(variance), [5, 1]), atol=1e-5)
    log_w = log_weight(model, x, noise.normal([0, 1], [20000, 5, 2])).numpy().astype(np.float64)
    if (data_shape, shift, stretch) not in EXACT:
        error = np.exp(log_w - truth.log_px).std(0) / np.sqrt(20000)
        assert np.all(abs(estimators.iwae(log_w) - truth.log_px) < 5 * error + 1e-5)
        return
    iwae = bound(truth.vae(data_shape, estimator="iwae", num_samples=4), x, epsilon)
    scores = tf.function(model.log_prob)(x, tf.range(5, dtype=tf.int64))
    estimates = (estimator(log_w[:100]) for estimator in estimators.ESTIMATORS.values())
    for found in (*log_w[:100], -iwae["autoencoder"], *scores.values(), *estimates):
        np.testing.assert_allclose(found, truth.log_px, atol=1e-4)


@pytest.mark.slow
def test_inpainting_draws_what_is_missing_given_what_is_known():
    """Where q is the posterior, from the Gaussian p(missing | known), for each row with its own mask."""
    truth, num = LinearGaussian(3), 2000
    known = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
    x = np.tile(truth.x[:2], [num, 1])
    model = truth.vae((3,), inpaint_steps=20)
    found = model.signatures()["inpaint"][0](points=x, mask=np.tile(known, [num, 1]), seed=tf.range(2 * num))
    for i, k in enumerate(known.astype(bool)):
        draws, means = found["points"][i::2].numpy(), found["mean"][i::2].numpy()
        np.testing.assert_array_equal(draws[:, k], x[i::2][:, k])
        cov, gain = truth.data.cov, np.linalg.solve(truth.data.cov[k][:, k], truth.data.cov[k][:, ~k])
        mean = truth.b[~k] + (truth.x[i, k] - truth.b[k]) @ gain
        expected = cov[~k][:, ~k] - cov[~k][:, k] @ gain
        error = np.sqrt(np.diag(expected) / num)
        assert np.all(abs(draws[:, ~k].mean(0) - mean) < 4 * error) and np.all(
            abs(means[:, ~k].mean(0) - mean) < 4 * error
        )
        np.testing.assert_allclose(np.cov(draws[:, ~k].T), expected, atol=0.1 * np.max(expected))


def test_log_weights_draw_noise_of_their_own():
    """By the keys of a use, a step and a seed, once for each."""
    truth = LinearGaussian(3)
    model = truth.vae((3,), 0.5)
    for step, seed in ((0, 8), (1, 8), (0, 9)):
        epsilon = noise.normal(noise.key(seed, step, noise.EVALUATION), [7, 5, LATENTS])
        with model.drawing(noise.EVALUATION, step, seed):
            np.testing.assert_array_equal(model.log_weights(truth.x, 7), log_weight(model, truth.x, epsilon))
            with pytest.raises(ValueError, match="drawn before"):
                model.log_weights(truth.x, 7)


@pytest.mark.slow
def test_bernoulli_likelihood_by_quadrature():
    """All 16 binary 2x2 images, one latent: log p(x) = log of an integral over z, and the p(x) sum to one."""
    keras.utils.set_random_seed(2)
    model = make(data_shape=(2, 2, 1), latent_size=1, hidden_units=(6,), log_prob_samples=1000)
    rng = np.random.default_rng(0)
    model.decoder.set_weights([2.0 * w + 0.3 * rng.normal(size=w.shape) for w in model.decoder.get_weights()])
    kernel_1, bias_1, kernel_2, _ = model.encoder.get_weights()  # q wider than the posterior: weights are bounded
    model.encoder.set_weights([kernel_1, bias_1, 0.3 * kernel_2, np.array([0.2, 0.5])])
    x = np.array(list(itertools.product([0, 1], repeat=4)), np.float32)
    z = np.linspace(-9, 9, 2001)
    kernel_1, bias_1, kernel_2, bias_2 = (w.astype(np.float64) for w in model.decoder.get_weights())
    logits = np.tanh(z[:, None] @ kernel_1 + bias_1) @ kernel_2 + bias_2
    log_px_z = special.log_expit(logits) @ x.T + special.log_expit(-logits) @ (1 - x).T  # [z, x]
    p_x = np.trapezoid(np.exp(log_px_z) * stats.norm.pdf(z)[:, None], z, axis=0)
    np.testing.assert_allclose(p_x.sum(), 1, rtol=1e-9)

    images, num = x.reshape(16, 2, 2, 1), 20000
    log_w = log_weight(model, images, noise.normal([0, 0], [num, 16, 1])).numpy().astype(np.float64)
    error = np.exp(log_w).std(0) / p_x
    assert np.all(error > 0.01)  # the posterior is not exact
    assert np.all(abs(estimators.iwae(log_w) - np.log(p_x)) < 5 * error / np.sqrt(num))
    scores = tf.function(model.log_prob)(images, tf.range(16, dtype=tf.int64))
    assert np.all(abs(scores["log_prob_lower_bound"] - np.log(p_x)) < 5 * error / np.sqrt(1000))
    assert np.all(abs(scores["elbo"] - log_w.mean(0)) < 5 * log_w.std(0) / np.sqrt(1000))


FAMILIES = {  # log p of levels 0, 1, 2 given a decoder's numbers [..., pixel, parameter]
    "binomial": lambda a: stats.binom.logpmf(np.arange(3), 2, special.expit(a)),
    "poisson": lambda a: special.log_softmax(stats.poisson.logpmf(np.arange(3), np.exp(a)), axis=-1),
    "categorical": lambda a: special.log_softmax(a, axis=-1),
    "discretized_logistic": lambda a: np.log(1e-300 + np.diff(
        special.expit((np.array([-np.inf, 0.25, 0.75, np.inf]) - a[..., :1]) / np.exp(8 * np.tanh(a[..., 1:] / 8)))
    )),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", FAMILIES)
def test_likelihoods_of_levels_by_quadrature(likelihood):
    """All images of two pixels of three levels, one latent: the p(x) sum to one, and the bounds are below them."""
    keras.utils.set_random_seed(2)
    model = make(
        data_shape=(2, 1, 1), latent_size=1, hidden_units=(), likelihood=likelihood, num_levels=3, log_prob_samples=3000
    )
    model.encoder.set_weights([0.3 * model.encoder.get_weights()[0], np.array([0.2, 0.5])])
    kernel, bias = (w.astype(np.float64) for w in model.decoder.get_weights())
    z = np.linspace(-9, 9, 2001)
    log_p = FAMILIES[likelihood]((z[:, None] * kernel + bias).reshape(2001, 2, -1))  # [z, pixel, level]
    levels = np.array(list(itertools.product(range(3), repeat=2)))
    log_px_z = log_p[:, 0, levels[:, 0]] + log_p[:, 1, levels[:, 1]]
    p_x = np.trapezoid(np.exp(log_px_z) * stats.norm.pdf(z)[:, None], z, axis=0)
    np.testing.assert_allclose(p_x.sum(), 1, rtol=1e-9)
    images = (levels / 2).astype(np.float32).reshape(9, 2, 1, 1)
    log_w = log_weight(model, images, noise.normal([0, 0], [20000, 9, 1])).numpy().astype(np.float64)
    error = np.exp(log_w).std(0) / p_x
    assert np.all(error > 0.01) and np.all(abs(estimators.iwae(log_w) - np.log(p_x)) < 5 * error / np.sqrt(20000))
    scores = tf.function(model.log_prob)(images, tf.range(9, dtype=tf.int64))
    assert np.all(abs(scores["log_prob_lower_bound"] - np.log(p_x)) < 5 * error / np.sqrt(3000))
    assert np.all(scores["elbo"] < np.log(p_x))


@pytest.mark.parametrize("arguments, why", [
    ({"data_shape": (2,), "likelihood": "binomial"}, "points have no grey levels"),
    ({"likelihood": "binomial", "num_levels": 1}, "at least 2"),
    ({"likelihood": "binomial", "likelihood_variance": 0.025}, "a gaussian's"),
    ({"estimator": "iwae", "beta": 2.0}, "beta=2 weighs the KL, which iwae has no term of: choose elbo"),
    ({"estimator": "jvi", "jackknife_order": 2, "num_samples": 2}, "num_samples must be greater, but is 2"),
])  # fmt: skip
def test_models_that_can_not_be(arguments, why):
    with pytest.raises(ValueError, match=why):
        make(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", estimators.ESTIMATORS)
@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_bound_of_several_draws_is_made_of_single_ones_and_its_gradient_of_finite_differences(estimator, network):
    model = make(latent_size=3, num_samples=5, estimator=estimator, network=network, activation="softplus")
    model.compile({"autoencoder": keras.optimizers.SGD(1.0)})
    rng = np.random.default_rng(0)
    x, epsilon = rng.random([4, 8, 8, 1], np.float32), rng.normal(size=[5, 4, 3]).astype(np.float32)
    for part in (model.decoder, model.encoder):
        before, start = model.get_weights(), part.get_weights()
        model.minimize(lambda: bound(model, x, epsilon))  # moves by minus the gradient
        gradient = [a - b for a, b in zip(start, part.get_weights(), strict=True)]
        norm, losses = np.sqrt(sum(np.sum(g**2) for g in gradient)), []
        model.set_weights(before)
        for h in (0.02, -0.02):
            part.set_weights([w + h * g / norm for w, g in zip(start, gradient, strict=True)])
            losses.append(np.mean(bound(model, x, epsilon)["autoencoder"]))
        part.set_weights(start)
        np.testing.assert_allclose((losses[0] - losses[1]) / 0.04, norm, rtol=5e-3)

    together = bound(model, x, epsilon)
    model.num_samples, model.estimator = 1, "elbo" if estimator == "elbo" else "iwae"
    singles = [bound(model, x, epsilon[k : k + 1]) for k in range(5)]
    loss = np.stack([single["autoencoder"] for single in singles]).astype(np.float64)
    expected = -estimators.ESTIMATORS[estimator](tf.constant(-loss))
    np.testing.assert_allclose(together["autoencoder"], expected, rtol=1e-5)
    reconstruction = np.mean([single["reconstruction"] for single in singles], axis=0)
    np.testing.assert_allclose(together["reconstruction"], reconstruction, rtol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "categorical"])
@pytest.mark.parametrize("channels", [1, 3])
def test_decoder_gives_every_pixel_its_parameters(network, likelihood, channels):
    rng = np.random.default_rng(0)
    model = make(data_shape=(8, 8, channels), latent_size=3, network=network, likelihood=likelihood, num_levels=4)
    z = rng.normal(size=[2, 4, 3]).astype(np.float32)
    p = model.p(z)
    assert p.batch_shape == (2, 4) and p.event_shape == (8, 8, channels)
    x = rng.random([4, 8, 8, channels])
    for k in range(2):
        out = model.decoder(z[k]).numpy().astype(np.float64)
        if likelihood == "bernoulli":
            mean, log_p = special.expit(out), x * special.log_expit(out) + (1 - x) * special.log_expit(-out)
        elif likelihood == "categorical":
            log_masses = special.log_softmax(out.reshape(4, 8, 8, 4, channels), axis=3)
            level = np.rint(3 * x).astype(int)
            log_p = np.take_along_axis(log_masses, level[..., None, :], axis=3)[..., 0, :]
            mean = np.einsum("bhwlc,l->bhwc", np.exp(log_masses), np.arange(4) / 3)
        else:
            mean, raw = out[..., :channels], out[..., channels:]
            log_p = stats.norm.logpdf(x, mean, np.exp(4 * np.tanh(raw / 8)))
        np.testing.assert_allclose(p.mean()[k], mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(p.log_prob(x.astype(np.float32))[k], log_p.sum((1, 2, 3)), rtol=1e-5)
        np.testing.assert_allclose(model.decode(z[k]), np.clip(mean, 0, 1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("estimator, num_samples, beta", [("elbo", 1, 1.0), ("elbo", 3, 0.5), ("iwae", 4, 1)])
@pytest.mark.parametrize("likelihood, data_shape", [("bernoulli", (2, 2, 1)), ("gaussian", (2, 1, 2))])
def test_steps_of_a_second_implementation(estimator, num_samples, beta, likelihood, data_shape):
    """Two steps of SGD written out in float64: tanh layers, and the bound from its densities."""
    options = {"estimator": estimator, "num_samples": num_samples, "beta": beta, "likelihood": likelihood, "seed": 3}
    model = make(data_shape=data_shape, **options)
    (weights,) = in_float64(model, 0.1)
    rng = np.random.default_rng(0)

    def squash(raw):
        return 8 * tf.tanh(raw / 8)

    def log_normal(x, mean, log_variance):
        return -0.5 * (np.log(2 * np.pi) + log_variance + (x - mean) ** 2 * tf.exp(-log_variance))

    for i in range(2):
        x = rng.random([6, *data_shape], np.float32)
        model.train_step(tf.constant(x))
        epsilon = noise.normal(noise.key(3, i, 0), [num_samples, 6, 2]).numpy().astype(np.float64)
        flat, channels = x.reshape(6, 4).astype(np.float64), data_shape[-1]

        def loss():
            a, b, c, d, e, f, g, h = weights
            code = tf.tanh(flat @ a + b) @ c + d
            mean, log_variance = code[:, :2], squash(code[:, 2:])
            z = mean + tf.exp(log_variance / 2) * epsilon
            out = tf.tanh(z @ e + f) @ g + h  # [K, batch, parameters]
            if likelihood == "bernoulli":
                log_px = -tf.nn.sigmoid_cross_entropy_with_logits(tf.broadcast_to(flat, out.shape), out)
            else:
                out = tf.reshape(out, [num_samples, 6, 4 // channels, 2 * channels])
                pixels = tf.reshape(flat, [6, 4 // channels, channels])
                log_px = log_normal(pixels, out[..., :channels], squash(out[..., channels:]))
            log_px = tf.reduce_sum(tf.reshape(log_px, [num_samples, 6, -1]), -1)
            if estimator == "elbo":
                kl = 0.5 * tf.reduce_sum(tf.exp(log_variance) + mean**2 - 1 - log_variance, -1)
                return beta * kl - tf.reduce_mean(log_px, 0)
            log_ratio = log_normal(z, 0.0, tf.zeros_like(z)) - log_normal(z, mean, log_variance)
            return -tf.math.log(tf.reduce_mean(tf.exp(log_px + tf.reduce_sum(log_ratio, -1)), 0))

        descend(0.1, (weights, loss))
    assert_weights(model, [weights], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("weights", [(1.0, 6.0, 1.0), (0.0, 1.0, 1.0), (0.5, 3.0, 2.0), (3.0, 3.0, 3.0)])
@pytest.mark.parametrize("sampling", aggregate.SAMPLING)
def test_weights_of_the_parts_of_the_kl(weights, sampling):
    """Row by row: what Chen et al. 2018 descend, but for the parts of weight 1, whose mean is in closed form."""
    named = dict(zip(("index_code_weight", "total_correlation_weight", "dimension_wise_weight"), weights, strict=True))
    model = make(latent_size=3, num_samples=2, beta=0.7, aggregate_sampling=sampling, num_train=50, **named)
    rng = np.random.default_rng(0)
    x, epsilon = rng.random([4, 8, 8, 1], np.float32), rng.normal(size=[2, 4, 3]).astype(np.float32)
    found = bound(model, x, epsilon)
    assert set(found) == {"autoencoder", *model.metric_names} > set(aggregate.PARTS)
    mean, scale = (np.array(v, np.float64) for v in (model.q(x).mean(), model.q(x).density.stddev()))
    w = np.full([4, 4], 1 / 200) if sampling == "weighted" else np.full([4, 4], 49 / 150)
    np.fill_diagonal(w, 1 / 200 if sampling == "weighted" else 1 / 50)
    expected = np.zeros(4)
    for e, i in itertools.product(epsilon, range(4)):
        z = mean[i] + scale[i] * e[i]
        of_each = stats.norm.pdf(z, mean, scale)  # [row, dimension]
        log_qz, log_pz = np.log(of_each[i]).sum(), stats.norm.logpdf(z).sum()
        joint, product = np.log(w[i] @ of_each.prod(1)), np.log(w[i] @ of_each).sum()
        parts = np.array([log_qz - joint, joint - product, product - log_pz])
        expected[i] += 0.7 * parts @ (np.array(weights) - 1.0) / 2
    expected += found["reconstruction"] + 0.7 * np.array(found["kl"])
    np.testing.assert_allclose(found["autoencoder"], expected, rtol=1e-4)


@pytest.mark.parametrize("arguments, why", [
    ({"total_correlation_weight": 6.0}, "need num_train, how many training rows"),
    ({"index_code_weight": 0.0, "num_train": 9, "estimator": "iwae"}, "no weights in iwae: choose elbo"),
])  # fmt: skip
def test_weights_of_parts_that_can_not_be(arguments, why):
    with pytest.raises(ValueError, match=why):
        make(**arguments)


@pytest.mark.slow
def test_training_reaches_the_likelihood_of_the_truth():
    """On data of a linear-Gaussian model no log-likelihood beats that model's own, and the bound can attain it."""
    keras.utils.set_random_seed(0)
    truth, rng = LinearGaussian(3), np.random.default_rng(0)
    data, held_out = (truth.data.rvs(num, rng).astype(np.float32) for num in (4000, 2000))
    model = make(data_shape=(3,), hidden_units=(), likelihood="gaussian")
    train_by_adam(model, tf.constant(data), 500, 200, 0.05)
    model.reset_metrics()
    loss = model.test_step(tf.constant(held_out))["autoencoder_loss"]
    best = -truth.data.logpdf(held_out).mean()
    untrained = -stats.multivariate_normal.logpdf(held_out, cov=np.eye(3)).mean()
    assert untrained > best + 0.5 and abs(loss - best) < 0.06
